"""Describe the notices that no rule gives: failures, limits of the gate, what could not be observed."""

from __future__ import annotations

from confiture.models.report import RuleText

_MANUAL = "https://www.postgresql.org/docs/current/"
_LOCKS, _ERRORS = f"{_MANUAL}explicit-locking.html", f"{_MANUAL}errcodes-appendix.html"
_TEXTS = (
    RuleText(
        "migration-failed",
        "A migration failed.",
        "The message is PostgreSQL's, with its SQLSTATE. The report says what was applied before, and "
        "what the migration has left.",
        _ERRORS,
    ),
    RuleText(
        "hook-failed",
        "A hook of a plugin, or of the migration, failed.",
        "The hook was rolled back, and the migration stopped. The message names the hook and its plugin.",
        _ERRORS,
    ),
    RuleText(
        "refused",
        "The command was refused before it began.",
        "Nothing was applied and nothing was rehearsed. The message says why, and the hint what to do.",
        _ERRORS,
    ),
    RuleText(
        "stopped",
        "The command was stopped outside any migration.",
        "The report says what was done until then.",
        _ERRORS,
    ),
    RuleText(
        "server-warning",
        "The server gave a warning.",
        "PostgreSQL executed the statement and said something about it. Nothing failed.",
        f"{_MANUAL}plpgsql-errors-and-messages.html",
    ),
    RuleText(
        "not-rehearsed",
        "A statement could not be rehearsed.",
        "The message says why. Nothing is known of its time and its locks; confiture dry-run --in clone or "
        "--in embedded can often rehearse it.",
        _LOCKS,
    ),
    RuleText(
        "not-seen",
        "Something could not be observed.",
        "The statement was rehearsed, but part of what it did could not be measured. The message says why.",
        _LOCKS,
    ),
)
_LIMIT = RuleText(
    "limit",
    "A limit of the gate is exceeded.",
    "The configuration limits the times and sizes of a rehearsal ([gate] in confiture.toml). A rehearsal "
    "exceeded this limit, or could not measure the value. Split the migration, or raise the limit.",
    _LOCKS,
)
_BY_RULE = {text.rule: text for text in _TEXTS}


def find_text(rule: str) -> RuleText | None:
    """Return the text of a notice's rule; ``None`` for the rules that a report describes itself."""
    return _LIMIT if rule.startswith("limit-") else _BY_RULE.get(rule)
