"""Answer with Django's migrations and their SQL; run by the Python of the user's project, without confiture.

``manage.py`` is executed up to the command that it would call, so settings and paths are the project's.
Nothing is read from the database: where Django would look up the name of a constraint, the SQL does.
"""

from __future__ import annotations

import json
import runpy
import sys
from typing import Any

import django
import django.core.management
from django.db import connections
from django.db.backends.postgresql.psycopg_any import sql as composer
from django.db.migrations.exceptions import NodeNotFoundError
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import RunPython
from django.db.migrations.state import ProjectState

# Some SQL depends on the version of a server that nobody asks here.
_PG_VERSION = 180000
# Introspection's word for a kind of constraint, and the catalog's.
_KINDS = (("foreign_key", "f"), ("check", "c"), ("primary_key", "p"), ("unique", "u"))
_COLUMNS = (
    " AND ARRAY(SELECT attname::text FROM unnest({key}) WITH ORDINALITY AS k(attnum, place)"
    " JOIN pg_catalog.pg_attribute USING (attnum) WHERE attrelid = {relation} ORDER BY place)"
    " = ARRAY[{columns}]::text[]"
)
_FIND_CONSTRAINT = (
    "SELECT conname FROM pg_catalog.pg_constraint"
    " WHERE conrelid = {table}::regclass AND contype = '{kind}'{condition}"
    " AND conname <> ALL (ARRAY[{exclude}]::text[])"
)
_FIND_INDEX = (
    "SELECT c.relname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
    " WHERE i.indrelid = {table}::regclass AND NOT i.indisunique{condition}"
    " AND c.relname <> ALL (ARRAY[{exclude}]::text[])"
)
_FIND_SEQUENCE = (
    "SELECT s.relname FROM pg_catalog.pg_class s"
    " JOIN pg_catalog.pg_depend d ON d.objid = s.oid AND d.classid = 'pg_class'::regclass"
    " JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid"
    " WHERE s.relkind = 'S' AND d.refobjid = {table}::regclass AND a.attname = {column}"
)


class Refused(ValueError):
    """An operation that cannot be written as SQL.

    Attributes:
        operation: Its position.
    """

    def __init__(self, operation: int, reason: str) -> None:
        super().__init__(reason)
        self.operation = operation


class Names:
    """Stands in for names of constraints that only the database knows, until the SQL runs."""

    def __init__(self) -> None:
        self.queries: dict[str, str] = {}

    def add_sequence(self, table: str, column: str) -> str:
        """Return a name for the sequence of a column, if it has one."""
        return self._add(_FIND_SEQUENCE.format(table=_quote(f'"{table}"'), column=_quote(column)))

    def add_constraint(self, model: Any, columns: Any, kinds: dict[str, Any], exclude: Any) -> str:
        """Return a name for the constraints, or the indexes, of columns."""
        kind = next((letter for key, letter in _KINDS if kinds.get(key)), None)
        key, relation = ("conkey", "conrelid") if kind else ("i.indkey::int2[]", "i.indrelid")
        listed = ", ".join(map(_quote, columns or ()))
        condition = _COLUMNS.format(key=key, relation=relation, columns=listed) if listed else ""
        query = (_FIND_CONSTRAINT if kind else _FIND_INDEX).format(
            table=_quote(f'"{model._meta.db_table}"'),
            kind=kind,
            condition=condition,
            exclude=", ".join(map(_quote, sorted(exclude or ()))),
        )
        return self._add(query)

    def _add(self, query: str) -> str:
        name = f"confiture_name_{len(self.queries) + 1}"
        self.queries[name] = query
        return name

    def wrap(self, statement: str) -> str:
        """Return a statement, in a DO block that looks up the name in it if it has one."""
        for name, query in self.queries.items():
            if f'"{name}"' in statement:
                escaped = _quote(statement.rstrip("; ").replace("%", "%%").replace(f'"{name}"', "%1$I"))
                return (
                    f"DO $confiture$ DECLARE name text; BEGIN FOR name IN {query} LOOP "
                    f"EXECUTE format({escaped}, name); END LOOP; END $confiture$"
                )
        return statement


def _quote(value: Any) -> str:
    return str(composer.quote(value, None))


def list_migrations(loader: MigrationLoader) -> list[dict[str, Any]]:
    """Return all migrations in the order of the graph, those that are squashed and their replacement too."""
    plan: dict[tuple[str, str], None] = {}
    for leaf in loader.graph.leaf_nodes():
        plan.update(dict.fromkeys(loader.graph.forwards_plan(leaf)))
    return [
        {
            "app": app,
            "name": name,
            "file": sys.modules[loader.graph.nodes[app, name].__module__].__file__,
            "requires": [parent.key for parent in loader.graph.node_map[app, name].parents],
            "replaces": list(loader.graph.nodes[app, name].replaces),
        }
        for app, name in plan
    ]


def render_all(loader: MigrationLoader, connection: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Return the statements of the migrations that are wanted, or why one has none."""
    wanted = {tuple(key) for key in request["wanted"]}
    state = ProjectState(real_apps=loader.unmigrated_apps)
    answer: dict[str, Any] = {}
    for key in map(tuple, request["plan"]):
        migration = loader.graph.nodes[key]
        before = state
        if key in wanted:
            state = before.clone()
            answer[".".join(key)] = _render(migration, connection, state, request["backwards"])
        if "statements" not in answer.get(".".join(key), ()):
            # Without its models rendered a state is cheap to change.
            state = migration.mutate_state(before, preserve=False)
        if len(answer) == len(wanted):
            break
    return answer


def _render(migration: Any, connection: Any, state: Any, backwards: bool) -> dict[str, Any]:
    statements: list[tuple[int, str]] = []
    names, place = Names(), [0]
    editor = connection.schema_editor(collect_sql=True, atomic=False)

    def execute(sql: Any, params: Any = ()) -> None:
        text = str(sql)
        text = text if params is None else text % tuple(map(_quote, params))
        statements.append((place[0], names.wrap(text)))

    def find_names(
        model: Any, column_names: Any = None, *positional: Any, exclude: Any = None, **kinds: Any
    ) -> list[str]:
        keys = ("unique", "primary_key", "index", "foreign_key", "check", "type_")
        given = {**dict(zip(keys, positional, strict=False)), **kinds}
        return [names.add_constraint(model, column_names, given, exclude)]

    editor.execute = execute
    editor._constraint_names = find_names
    editor._get_sequence_name = names.add_sequence
    try:
        with editor:
            _execute(migration, editor, state, place, backwards)
    except Refused as refused:
        return {"error": str(refused), "operation": refused.operation}
    except (Exception, SystemExit) as error:
        return {"error": f"{type(error).__name__}: {error}", "operation": place[0]}
    return {"statements": statements, "outside": not migration.atomic}


def _execute(migration: Any, editor: Any, state: Any, place: list[int], backwards: bool) -> None:
    steps: list[tuple[int, Any, Any, Any]] = []
    for number, operation in enumerate(migration.operations):
        place[0] = number
        before = state.clone()
        operation.state_forwards(migration.app_label, state)
        if backwards:
            steps.insert(0, (number, operation, before, state.clone()))
        else:
            _execute_operation(migration, editor, (number, operation, before, state), backwards)
    for step in steps:
        place[0] = step[0]
        _execute_operation(migration, editor, step, backwards)


def _execute_operation(migration: Any, editor: Any, step: tuple[int, Any, Any, Any], backwards: bool) -> None:
    number, operation, before, after = step
    if backwards and not operation.reversible:
        raise Refused(number, f"{type(operation).__name__} is not reversible")
    if _is_python(operation):
        _refuse_python(number, operation, backwards)
    elif hasattr(operation, "extension_exists"):
        # CreateExtension asks the database whether there is one, and reads the numbers of its types.
        words = "DROP EXTENSION IF EXISTS" if backwards else "CREATE EXTENSION IF NOT EXISTS"
        editor.execute(f"{words} {editor.quote_name(operation.name)}", None)
    elif backwards:
        operation.database_backwards(migration.app_label, editor, after, before)
    else:
        operation.database_forwards(migration.app_label, editor, before, after)


def _is_python(operation: Any) -> bool:
    return isinstance(operation, RunPython) or not operation.reduces_to_sql


def _refuse_python(number: int, operation: Any, backwards: bool) -> None:
    code = getattr(operation, "reverse_code" if backwards else "code", None)
    if code is not RunPython.noop:
        written = f"RunPython({code.__name__})" if code is not None else type(operation).__name__
        raise Refused(number, f"{written} runs Python on the rows")


def _forbid_connections() -> None:
    for connection in connections.all():
        connection.__dict__["pg_version"] = _PG_VERSION

        def refuse(*_: Any, **__: Any) -> None:
            raise RuntimeError("it reads from the database, or writes to it from Python")

        connection.connect = refuse


def _load() -> MigrationLoader:
    try:
        return MigrationLoader(None, ignore_no_migrations=True, replace_migrations=False)
    except NodeNotFoundError:
        # A migration depends on one that was squashed and whose file is gone.
        return MigrationLoader(None, ignore_no_migrations=True)


def answer_request(request: dict[str, Any]) -> Any:
    """Return what the request asks for."""
    connection = connections["default"]
    if connection.vendor != "postgresql":
        raise RuntimeError(f'DATABASES["default"] is {connection.vendor}, not PostgreSQL')
    _forbid_connections()
    loader = _load()
    if request["mode"] == "list":
        return list_migrations(loader)
    return render_all(loader, connection, request)


def main() -> None:
    """Answer the request on standard input, in the environment that manage.py makes."""
    request, path = json.load(sys.stdin), sys.argv[1]
    sys.argv = ["manage.py", "migrate"]

    def run_instead(*_: Any, **__: Any) -> None:
        try:
            django.setup()
            answer = {"answer": answer_request(request)}
        except (Exception, SystemExit) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        with open(path, "w", encoding="utf-8") as file:
            json.dump(answer, file)

    django.core.management.execute_from_command_line = run_instead
    runpy.run_path("manage.py", run_name="__main__")


if __name__ == "__main__":
    main()
