"""Write a RENAME COLUMN as a copy: both names can be used until the last migration drops the old one."""

from __future__ import annotations

from confiture.rules.column_copy import ColumnCopy, explain_obstacles, write_copy
from confiture.rules.domains import explain_domain
from confiture.rules.parse_tree import QualifiedName, read_name
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.recipes import NO_RECIPE, Recipe, write_recipe
from confiture.rules.schema_model import ColumnFacts
from confiture.sql.parser import parse_type
from confiture.sql.quote import quote_ident


def write_rename(statement: ParsedStatement) -> Recipe | None:
    """Return migrations that copy the column; ``None`` without a catalog, or if something depends on it.

    Rows can be read and written by either name between the migrations. A write to the new name wins: what
    an INSERT or UPDATE has not changed there is taken from the old name.
    """
    facts = _read_facts(statement)
    if facts is None or not facts.type_name or _explain(statement, facts):
        return None
    copy = ColumnCopy(
        _read_table(statement),
        statement.stmt.subname,
        statement.stmt.newname,
        statement.stmt.newname,
        facts.type_name,
        quote_ident(statement.stmt.subname),
        facts,
    )
    # A comparison of rows by their bytes knows every type, and tells 'a' from 'A' in citext. OLD is NULL
    # in an INSERT.
    assignments = (
        f"IF record_image_ne(ROW(NEW.{copy.new}), ROW(OLD.{copy.new})) THEN",
        f"  NEW.{copy.old} := NEW.{copy.new};",
        "ELSE",
        f"  NEW.{copy.new} := NEW.{copy.old};",
        "END IF;",
    )
    advice = (f"-- first let the application use {copy.new} only",)
    return write_recipe(*write_copy(statement, copy, assignments, advice))


def explain_lack(statement: ParsedStatement) -> str:
    """Return why a rename has no recipe, as the rest of a sentence; empty if it has one, or nobody knows."""
    facts = _read_facts(statement)
    reason = _explain(statement, facts) if facts else None
    return f"{NO_RECIPE}{reason}" if reason else ""


def _explain(statement: ParsedStatement, facts: ColumnFacts) -> str | None:
    plain, _, _ = facts.type_name.partition(" COLLATE ")
    domain = explain_domain(statement.migration.schema, parse_type(plain)) if plain else None
    return explain_obstacles(facts) or domain


def _read_table(statement: ParsedStatement) -> QualifiedName:
    return read_name(statement.stmt.relation)


def _read_facts(statement: ParsedStatement) -> ColumnFacts | None:
    schema, table = statement.migration.schema, _read_table(statement)
    found = schema.find_column(table, statement.stmt.subname)
    # A copy in which the migrations were committed knows the column by its new name only.
    if found is None and schema.after:
        found = schema.find_column(table, statement.stmt.newname)
    return found
