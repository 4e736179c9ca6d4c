"""The findings that were let in before the gate was there: a file that may only shrink."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable

from attrs import frozen

from confiture.exceptions import ConfigurationFault
from confiture.models.report import Finding

_ENTRY_KEYS = ("file", "rule", "relation", "basis", "fingerprint")


@frozen(order=True)
class AcceptedFinding:
    """A finding that does not fail the gate any more.

    Attributes:
        file: As reports show it.
        relation: Empty where the finding names none.
        basis: ``measured`` or ``static``: what found it.
        fingerprint: What tells it from others, lines added above it or not.
    """

    file: str
    rule: str
    relation: str
    basis: str
    fingerprint: str


@frozen
class AcceptedChange:
    """What becomes of the file.

    Attributes:
        kept: What it is to hold.
        new: Findings that it does not hold, and may only hold if it is to grow.
        gone: What it held, and is not found any more.
    """

    kept: tuple[AcceptedFinding, ...]
    new: tuple[AcceptedFinding, ...]
    gone: tuple[AcceptedFinding, ...]


def select_acceptable(findings: Iterable[Finding]) -> tuple[AcceptedFinding, ...]:
    """Return what can be accepted of these: errors and warnings that nothing else lets pass.

    A limit is not: it is raised in the configuration, where one reads how far.
    """
    return tuple(
        sorted(
            {
                AcceptedFinding(
                    finding.file, finding.rule, finding.relation or "", finding.basis, finding.fingerprint
                )
                for finding in findings
                if not finding.ignored
                and finding.severity != "info"
                and not finding.rule.startswith("limit-")
            }
        )
    )


def compare_accepted(
    before: Collection[AcceptedFinding],
    found: Collection[AcceptedFinding],
    examined: Collection[AcceptedFinding],
) -> AcceptedChange:
    """Compare what is accepted with what is found now.

    Args:
        before: What the file holds.
        found: What there is.
        examined: Of ``before``, what would have been found if it were still there.
    """
    there = {each.fingerprint for each in found}
    known = {each.fingerprint for each in before}
    gone = tuple(sorted(each for each in examined if each.fingerprint not in there))
    return AcceptedChange(
        kept=tuple(sorted({*before} - {*gone})),
        new=tuple(sorted(each for each in found if each.fingerprint not in known)),
        gone=gone,
    )


def format_accepted(accepted: Iterable[AcceptedFinding]) -> str:
    """Return the file's text: JSON, sorted, a finding a line, so that two branches merge."""
    lines = [json.dumps({key: getattr(each, key) for key in _ENTRY_KEYS}) for each in sorted(accepted)]
    body = ",\n".join(f"    {line}" for line in lines)
    return '{\n  "accepted": [\n' + body + ("\n" if lines else "") + "  ]\n}\n"


def parse_accepted(text: str, name: str) -> tuple[AcceptedFinding, ...]:
    """Return what the file's text holds.

    Raises:
        ConfigurationFault: It is not what ``written`` returns.
    """
    try:
        entries = json.loads(text)["accepted"]
        return tuple(
            AcceptedFinding(**{key: _read_text(entry, key) for key in _ENTRY_KEYS}) for entry in entries
        )
    except json.JSONDecodeError as error:
        why = f"{name}:{error.lineno}:{error.colno}: this is not JSON: {error.msg}"
    except (KeyError, TypeError, AttributeError, RecursionError):
        why = f'{name} is not a list of findings under "accepted", each with {", ".join(_ENTRY_KEYS)}'
    raise ConfigurationFault(why, hint="restore it from the repository, or write it anew: confiture accept")


def _read_text(entry: dict[str, object], key: str) -> str:
    value = entry[key]
    if not isinstance(value, str):
        raise TypeError(key)
    return value
