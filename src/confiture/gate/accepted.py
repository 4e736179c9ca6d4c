"""Read and write the file of accepted findings, which may only shrink."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable

from attrs import frozen

from confiture.exceptions import ConfigurationFault
from confiture.models.report import Finding

_ENTRY_KEYS = ("file", "rule", "relation", "basis", "fingerprint")


@frozen(order=True)
class AcceptedFinding:
    """A finding that no longer fails the gate.

    Attributes:
        file: The migration's file, as reports show it.
        relation: The relation; empty if the finding names none.
        basis: ``measured`` (found by a rehearsal) or ``static`` (found in the text).
        fingerprint: Identifies the finding, even if its line moves.
    """

    file: str
    rule: str
    relation: str
    basis: str
    fingerprint: str


@frozen
class AcceptedChange:
    """The difference between the file of accepted findings and the current findings.

    Attributes:
        kept: Findings to keep in the file.
        new: Findings not in the file; added only if it may grow.
        gone: Findings in the file that no longer occur.
    """

    kept: tuple[AcceptedFinding, ...]
    new: tuple[AcceptedFinding, ...]
    gone: tuple[AcceptedFinding, ...]


def select_acceptable(findings: Iterable[Finding]) -> tuple[AcceptedFinding, ...]:
    """Return the findings that can be accepted: errors and warnings that are not ignored.

    An exceeded limit cannot be accepted: its fingerprint would be the same however far it is exceeded. Raise
    the limit in the configuration instead.
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
    """Compare the accepted findings with the current ones.

    Args:
        before: The findings in the file.
        found: The current findings.
        examined: The part of ``before`` that this run would have found if it still existed. Only these can be
            gone.
    """
    current = {entry.fingerprint for entry in found}
    known = {entry.fingerprint for entry in before}
    gone = tuple(sorted(entry for entry in examined if entry.fingerprint not in current))
    return AcceptedChange(
        kept=tuple(sorted({*before} - {*gone})),
        new=tuple(sorted(entry for entry in found if entry.fingerprint not in known)),
        gone=gone,
    )


def format_accepted(accepted: Iterable[AcceptedFinding]) -> str:
    """Return the file's text: JSON, sorted, with one finding per line, so that git can merge branches."""
    lines = [json.dumps({key: getattr(entry, key) for key in _ENTRY_KEYS}) for entry in sorted(accepted)]
    body = ",\n".join(f"    {line}" for line in lines)
    return '{\n  "accepted": [\n' + body + ("\n" if lines else "") + "  ]\n}\n"


def parse_accepted(text: str, name: str) -> tuple[AcceptedFinding, ...]:
    """Return the findings in the file's text.

    Raises:
        ConfigurationFault: The text does not have the form that ``format_accepted`` writes.
    """
    try:
        entries = json.loads(text)["accepted"]
        return tuple(
            AcceptedFinding(**{key: _read_text(entry, key) for key in _ENTRY_KEYS}) for entry in entries
        )
    except json.JSONDecodeError as error:
        why = f"{name}:{error.lineno}:{error.colno}: this is not JSON: {error.msg}"
    # RecursionError: JSON that is nested thousands of levels deep.
    except (KeyError, TypeError, AttributeError, RecursionError):
        why = f'{name} is not a list of findings under "accepted", each with {", ".join(_ENTRY_KEYS)}'
    raise ConfigurationFault(
        why, hint="restore it from the repository, or delete it and run confiture accept"
    )


def _read_text(entry: dict[str, object], key: str) -> str:
    value = entry[key]
    if not isinstance(value, str):
        raise TypeError(key)
    return value
