"""Decide which columns can hold personal data, and propose what becomes of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import frozen

from confiture_anonymize.source_schema import Column

# Numbers, keys and booleans are personal only if their name says so; everything else may always be.
_NOT_BY_TYPE = frozenset({"boolean", "enum", "uuid", "integer", "number"})
_PERSONAL_WORDS = re.compile(
    r"(?:^|_)(phone|mobile|fax|ssn|national|passport|licen[cs]e|tax|vat|iban|card|account_number|salary|wage"
    r"|income|birth|age|weight|height|latitude|longitude|lat|lon|lng|zip|postcode|postal|pin|gender|sex)(?:_|$)"
)


@frozen
class Proposal:
    """What a column seems to hold.

    Attributes:
        pattern: What its name or its comment matches.
        rule: The value to write in the profile, as TOML.
        sorts: The sorts of columns that the rule fits.
    """

    pattern: re.Pattern[str]
    rule: str
    sorts: frozenset[str] = frozenset({"text"})


def _propose(words: str, rule: str, *sorts: str) -> Proposal:
    return Proposal(re.compile(rf"(?:^|[_ ])(?:{words})(?:[_ ]|$)"), rule, frozenset(sorts or ("text",)))


_PROPOSALS = (
    _propose("e?mail|e_mail|email_?address", '"email"'),
    _propose("phone|mobile|fax|tel|telephone|msisdn", '"phone"'),
    _propose("iban", '{ strategy = "pattern", check = "iban" }'),
    _propose("card_?number|pan|credit_?card|card", '{ strategy = "pattern", check = "luhn" }'),
    _propose("first_?name|given_?name|forename", '{ strategy = "pseudonym", of = "first_name" }'),
    _propose("last_?name|surname|family_?name", '{ strategy = "pseudonym", of = "last_name" }'),
    _propose("user_?name|login|nickname|handle", '{ strategy = "pseudonym", of = "user_name" }'),
    _propose("company|organi[sz]ation|employer", '{ strategy = "pseudonym", of = "company" }'),
    _propose("street|address_?line", '{ strategy = "pseudonym", of = "street" }'),
    _propose("city|town", '{ strategy = "pseudonym", of = "city" }'),
    _propose("address", '{ strategy = "pseudonym", of = "address" }'),
    _propose("full_?name|holder_?name|recipient_?name|signer_?name|billing_?name|person|contact_?name",
             '{ strategy = "pseudonym", of = "name" }'),
    _propose("password|secret|token|api_?key|hash", '"hash"'),
    _propose("ssn|national|passport|licen[cs]e|tax|vat|zip|postcode|postal|bic|account_?number", '"pattern"'),
    _propose("notes?|comments?|message|body|remarks?|description|reason|bio", '"redact"'),
    _propose("birth|born|birthday|dob", '"date_shift"', "date", "timestamp"),
    _propose("salary|wage|income", '"noise"', "integer", "number"),
)  # fmt: skip


def may_be_personal(column: Column) -> bool:
    """Return True if nobody may copy this column without saying so.

    Texts, JSON, addresses, dates, bytes and whatever is not known may be personal. Booleans, enums, UUIDs and
    numbers are not, unless their name says so. What the server computes follows from other columns.
    """
    if column.generated:
        return False
    return column.sort not in _NOT_BY_TYPE or _PERSONAL_WORDS.search(column.name.lower()) is not None


def propose_rule(column: Column) -> str | None:
    """Return the rule that a column's type, name or comment suggests, as TOML; ``None`` if none does."""
    return '"hash"' if column.sort == "inet" else next(_match_names(column), None)


def _match_names(column: Column) -> Iterator[str]:
    for text in (column.name.lower(), (column.comment or "").lower()):
        for proposal in _PROPOSALS:
            if column.sort in proposal.sorts and proposal.pattern.search(text):
                yield proposal.rule


def render_rule(table_name: str, column: Column, rule: str | None) -> str:
    """Return the line of a profile that classifies a column."""
    # Nothing is proposed for what nobody recognized: somebody has to decide.
    value = rule or '{ strategy = "keep", reason = "…" }'
    return f'"{table_name}.{column.name}" = {value}'
