"""Prove from a statement's text which relations it can reach: lock in Share or stronger, scan, or rewrite.

Only forms whose whole effect PostgreSQL's source tells are listed. Of any other statement nothing is proven,
and a rehearsal reads all its locks. What no text shows must be excluded elsewhere: event triggers, functions
and operators of the user's that have the names of PostgreSQL's, partitions and inheritance children.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from confiture.sql.lock_modes.alter_table import is_plain_type
from confiture.sql.parser import find_nodes, read_enum_name

RelationRef = tuple[str, str]
"""Schema and name as written, without quotes; the schema is empty if the search path finds it."""


@frozen
class Reach:
    """What a statement can reach.

    Attributes:
        relations: The tables that it names and that must exist; it reaches nothing else that existed before.
        creates: The relation that it creates, ``None`` if none.
        creates_table: True if that relation is a table.
        reads: True if it may scan or rewrite one of the relations, or build an index on it.
        events: What it does to the rows of the first relation, ``"INSERT"`` and so on: triggers on these
            events may run.
        names: All names in the statement, if it has events: of a column that does not exist, PostgreSQL
            looks for a function.
    """

    relations: tuple[RelationRef, ...] = ()
    creates: RelationRef | None = None
    creates_table: bool = False
    reads: bool = False
    events: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()


# They run no function of the user's and no SQL: PostgreSQL evaluates a call with constants when it plans a
# predicate. Some are the parser's own names, of EXTRACT, POSITION and the like.
_KNOWN = (
    "abs avg btrim ceil char_length clock_timestamp concat concat_ws count current_setting date_part "
    "date_trunc extract floor format gen_random_uuid generate_series initcap jsonb_build_object "
    "jsonb_typeof left length like_escape lower lpad ltrim max md5 min mod nextval now num_nonnulls "
    "octet_length overlay position random regexp_replace replace right round row_number rpad rtrim "
    "similar_to_escape split_part statement_timestamp string_agg strpos substr substring sum "
    "timezone to_char to_date to_timestamp trunc upper uuid_generate_v4 uuidv7"
)
KNOWN_FUNCTIONS = frozenset(_KNOWN.split())
# Their validators look at a body's syntax and names only, and take weaker locks than Share.
_VALIDATED_LANGUAGES = ("plpgsql", "sql")
# Without ADD COLUMN and ADD CONSTRAINT, of which some forms are proven.
_OF_THE_TABLE_ONLY = frozenset(
    ["AT_ColumnDefault", "AT_DropNotNull", "AT_EnableRowSecurity", "AT_SetNotNull", "AT_SetStatistics"]
)
_IN_A_NEW_TABLE = frozenset({"column_def", "constraint"})
# PostgreSQL adds or drops nothing else of the table for these.
_IN_A_NEW_COLUMN = frozenset({"CONSTR_DEFAULT", "CONSTR_FOREIGN", "CONSTR_NOTNULL", "CONSTR_NULL"})


def find_reach(kind: str, statement: Any) -> Reach | None:
    """Return what a statement of this kind can reach, ``None`` if its text does not prove it."""
    prove = _PROOFS.get(kind)
    return prove(statement) if prove else None


def _prove_create_table(stmt: Any) -> Reach | None:
    inherits = stmt.inh_relations or stmt.HasField("partbound") or stmt.HasField("of_typename")
    elements = {element.WhichOneof("node") for element in stmt.table_elts}
    if inherits or stmt.if_not_exists or elements - _IN_A_NEW_TABLE or not _may_create(stmt.relation):
        return None
    # A new table has no rows: no default and no check is evaluated.
    referenced = _find_referenced(stmt, evaluated=False)
    if referenced is None:
        return None
    new = _read_name(stmt.relation)
    return Reach(tuple(table for table in referenced if table != new), creates=new, creates_table=True)


def _prove_index(stmt: Any) -> Reach | None:
    if stmt.concurrent or stmt.if_not_exists or not stmt.relation.inh or _find_referenced(stmt) is None:
        return None
    return Reach((_read_name(stmt.relation),), reads=True)


def _prove_alter_table(stmt: Any) -> Reach | None:
    commands = [node.alter_table_cmd for node in stmt.cmds]
    if read_enum_name(stmt, "objtype") != "OBJECT_TABLE" or stmt.missing_ok or not stmt.relation.inh:
        return None
    referenced = _find_referenced(stmt) if all(map(_is_proven, commands)) else None
    if referenced is None:
        return None
    return Reach(tuple(dict.fromkeys((_read_name(stmt.relation), *referenced))), reads=True)


def _is_proven(command: Any) -> bool:
    subtype, definition = read_enum_name(command, "subtype"), getattr(command, "def")
    if command.missing_ok:
        return False
    if subtype == "AT_AddConstraint":
        return bool(read_enum_name(definition.constraint, "contype") == "CONSTR_FOREIGN")
    if subtype == "AT_AddColumn":
        column = definition.column_def
        kinds = {read_enum_name(node.constraint, "contype") for node in column.constraints}
        return bool(kinds <= _IN_A_NEW_COLUMN) and is_plain_type(column.type_name)
    return subtype in _OF_THE_TABLE_ONLY


def _prove_trigger(stmt: Any) -> Reach | None:
    if stmt.replace or stmt.isconstraint or stmt.HasField("constrrel"):
        return None
    return Reach((_read_name(stmt.relation),))


def _prove_view(stmt: Any) -> Reach | None:
    # AccessShare on what it reads. CREATE OR REPLACE locks the view that it finds.
    return None if stmt.replace or not _may_create(stmt.view) else Reach(creates=_read_name(stmt.view))


def _prove_function(stmt: Any) -> Reach | None:
    options = [option.def_elem for option in stmt.options]
    languages = [option.arg.string.sval for option in options if option.defname == "language"]
    if stmt.funcname[-1].string.sval in KNOWN_FUNCTIONS:
        return None
    # Without LANGUAGE it has a body of SQL.
    return Reach() if all(language in _VALIDATED_LANGUAGES for language in languages) else None


def _prove_schema(stmt: Any) -> Reach | None:
    return None if stmt.schema_elts else Reach()


def _prove_insert(stmt: Any) -> Reach | None:
    updates = read_enum_name(stmt.on_conflict_clause, "action") == "ONCONFLICT_UPDATE"
    return _prove_rows(stmt, "INSERT", *(("UPDATE",) if updates else ()))


def _prove_update(stmt: Any) -> Reach | None:
    return _prove_rows(stmt, "UPDATE")


def _prove_delete(stmt: Any) -> Reach | None:
    return _prove_rows(stmt, "DELETE")


def _prove_rows(stmt: Any, *events: str) -> Reach | None:
    # A WITH clause may change other tables, and its names are no relations.
    unknown = next(find_nodes(stmt, "WithClause", "CurrentOfExpr"), None)
    if unknown is not None or stmt.HasField("returning_clause") or _find_referenced(stmt) is None:
        return None
    tables = map(_read_name, (stmt.relation, *find_nodes(stmt, "RangeVar")))
    names = frozenset(node.sval for node in find_nodes(stmt, "String"))
    return Reach(tuple(dict.fromkeys(tables)), reads=True, events=frozenset(events), names=names)


def _prove_nothing_reached(_: Any) -> Reach | None:
    return Reach()


_PROOFS: dict[str, Callable[[Any], Reach | None]] = {
    "alter_table_stmt": _prove_alter_table,
    # ShareUpdateExclusive on the relation, if any.
    "comment_stmt": _prove_nothing_reached,
    "create_enum_stmt": _prove_nothing_reached,
    "create_function_stmt": _prove_function,
    "create_schema_stmt": _prove_schema,
    "create_stmt": _prove_create_table,
    "create_trig_stmt": _prove_trigger,
    "delete_stmt": _prove_delete,
    "index_stmt": _prove_index,
    "insert_stmt": _prove_insert,
    "update_stmt": _prove_update,
    "view_stmt": _prove_view,
}


def _read_name(relation: Any) -> RelationRef:
    return relation.schemaname, relation.relname


def _may_create(relation: Any) -> bool:
    # A temporary table takes precedence over another of its name.
    return bool(relation.relpersistence != "t" and relation.schemaname != "pg_temp")


def _find_referenced(statement: Any, *, evaluated: bool = True) -> tuple[RelationRef, ...] | None:
    """Return the tables that foreign keys reference; ``None`` if a function of the user's may be called.

    Of a domain's, too: a cast to it checks it, where expressions are ``evaluated``.
    """
    referenced: dict[RelationRef, None] = {}
    for node in find_nodes(statement, "Constraint", "FuncCall", "TypeCast"):
        kind = node.DESCRIPTOR.name
        if kind == "FuncCall" and not _is_known([part.string.sval for part in node.funcname]):
            return None
        if kind == "TypeCast" and evaluated and not is_plain_type(node.type_name):
            return None
        if kind == "Constraint" and read_enum_name(node, "contype") == "CONSTR_FOREIGN":
            referenced[_read_name(node.pktable)] = None
    return tuple(referenced)


def _is_known(names: list[str]) -> bool:
    return names[-1] in KNOWN_FUNCTIONS and names[:-1] in ([], ["pg_catalog"])
