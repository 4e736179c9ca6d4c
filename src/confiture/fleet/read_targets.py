"""Read the targets of a fleet: from a file, a command's output, a query, or the schemas of a database."""

from __future__ import annotations

import csv
import io
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from confiture.config.settings import Settings
from confiture.exceptions import UsageFault
from confiture.fleet.target import Target
from confiture.postgres.connect import open_connection
from confiture.postgres.session import fetch_rows, quote_literal

_COLUMNS = ("name", "url", "schema")
_FORM = "a header and one line a target: name,url,schema,region; every other column is a tag"


def read_file(path: Path) -> tuple[Target, ...]:
    """Return the targets in a CSV file.

    Raises:
        UsageFault: The file cannot be read, or a target is not usable.
    """
    try:
        return parse_targets(_decode(path.read_bytes(), str(path)), str(path))
    except OSError as error:
        raise UsageFault(f"the targets cannot be read: {path}: {error.strerror}", hint=_FORM) from None


def run_command(command: str) -> tuple[Target, ...]:
    """Return the targets in a command's output, which is CSV.

    Raises:
        UsageFault: The command failed, or a target is not usable.
    """
    done = subprocess.run(command, shell=True, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        last = said[-1] if said else f"exit code {done.returncode}"
        raise UsageFault(f"the command for targets failed: {last}", hint=f"try it: {command}")
    return parse_targets(_decode(done.stdout, "the command's output"), "the command's output")


def parse_targets(text: str, origin: str) -> tuple[Target, ...]:
    """Return the targets in CSV.

    Raises:
        UsageFault: A column or a value is missing, or a target is listed twice.
    """
    reader = csv.DictReader(io.StringIO(text))
    try:
        names = reader.fieldnames or ()
        if not {"name", "url"} <= set(names):
            raise UsageFault(f"{origin} has no columns name and url", hint=f"write {_FORM}")
        return _check([_build_target(row, f"{origin}:{reader.line_num}") for row in reader], origin)
    except csv.Error as error:
        raise UsageFault(f"{origin}:{reader.line_num}: {error}", hint=f"write {_FORM}") from None


def query_targets(settings: Settings, query: str) -> tuple[Target, ...]:
    """Return the targets that a query on a control database gives, by its columns' names.

    Raises:
        UsageFault: A column is missing, or a target is listed twice.
        ConnectionFault: The control database cannot be reached.
    """
    with open_connection(settings) as conn, conn.cursor() as cursor:
        cursor.execute(query.encode())
        if cursor.description is None:
            raise UsageFault("the query for targets returns no rows", hint="write a SELECT of name and url")
        columns = [column.name for column in cursor.description]
        rows = [dict(zip(columns, map(_write, row), strict=True)) for row in cursor.fetchall()]
    if not {"name", "url"} <= set(columns):
        raise UsageFault("the query for targets has no columns name and url", hint=_FORM)
    return _check([_build_target(row, "the query") for row in rows], "the query")


def list_schemas(settings: Settings, pattern: str) -> tuple[Target, ...]:
    """Return one target for each schema of the settings' database whose name matches, ``*`` for anything.

    Raises:
        UsageFault: No schema matches.
        ConnectionFault: The database cannot be reached.
    """
    like = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%")
    with open_connection(settings) as conn:
        rows = fetch_rows(
            conn,
            f"SELECT nspname::text FROM pg_namespace WHERE nspname LIKE {quote_literal(like)}"
            " AND nspname !~ '^(pg_|information_schema$|confiture(_|$))' ORDER BY nspname COLLATE \"C\"",
        )
    if not rows:
        raise UsageFault(f"no schema matches {pattern!r}", hint="* stands for anything: --schemas 'tenant_*'")
    return tuple(Target(name, settings.url or "", name) for (name,) in rows)


def _decode(text: bytes, origin: str) -> str:
    try:
        # A spreadsheet begins a file with a mark of its encoding.
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise UsageFault(f"{origin}:{line} is not UTF-8", hint=f"write UTF-8: {_FORM}") from None


def _write(value: Any) -> str:
    return "" if value is None else str(value)


def _build_target(row: Mapping[Any, Any], place: str) -> Target:
    name, url = (row.get("name") or "").strip(), (row.get("url") or "").strip()
    if not name or not url:
        raise UsageFault(f"{place}: a target needs a name and a url", hint=_FORM)
    tags = {key: value or "" for key, value in row.items() if key is not None and key not in _COLUMNS}
    return Target(name, url, (row.get("schema") or "").strip() or None, tags)


def _check(targets: Sequence[Target], origin: str) -> tuple[Target, ...]:
    """Return the targets; refuse a name, or a database and schema, that occurs twice."""
    if not targets:
        raise UsageFault(f"{origin} lists no target", hint=_FORM)
    _refuse_twice((target.name for target in targets), "the target {} is listed twice")
    places: dict[str, str] = {}
    for target in targets:
        if target.place in places:
            raise UsageFault(
                f"{places[target.place]} and {target.name} are two names for one database",
                hint="remove one of the two: a target is migrated once",
            )
        places[target.place] = target.name
    return tuple(targets)


def _refuse_twice(values: Iterable[str], words: str) -> None:
    for value, count in Counter(values).items():
        if count > 1:
            raise UsageFault(words.format(value), hint="remove one of the two")
