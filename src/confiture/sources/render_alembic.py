"""Answer with the SQL of Alembic's revisions; run by the Python of the user's project, without confiture.

Does what ``alembic upgrade --sql`` does, with one run of ``env.py`` for all revisions. What Alembic adds to a
revision's own statements is left out: BEGIN and COMMIT, and those on its ledger.
"""

from __future__ import annotations

import io
import json
import os
import sys
import traceback
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

# env.py needs a URL for the dialect only; nobody connects to it.
_URL = "postgresql://localhost/offline"


def render_all(request: dict[str, Any]) -> dict[str, Any]:
    """Return the statements of each revision that the request names, or why it has none."""
    config = _read_config(request)
    scripts = ScriptDirectory.from_config(config)
    answer: dict[str, Any] = {}

    def render(_heads: Any, context: Any) -> list[Any]:
        answer["dialect"] = context.dialect.name
        for revision in request["revisions"]:
            answer[revision] = _render(scripts.get_revision(revision), request["function"], context)
        return []

    with EnvironmentContext(config, scripts, fn=render, as_sql=True, dont_mutate=True):
        scripts.run_env()
    return answer


def _read_config(request: dict[str, Any]) -> Config:
    # Older releases of Alembic do not know toml_file.
    config = Config(toml_file=request["toml"]) if request["toml"] else Config(request["ini"])
    config.set_main_option("script_location", request["folder"].replace("%", "%%"))
    try:
        url = config.get_main_option("sqlalchemy.url") or ""
    except Exception:
        # It has a placeholder that env.py fills in.
        url = ""
    if not url.startswith("postgres"):
        config.set_main_option("sqlalchemy.url", _URL)
    # What Alembic says beside the SQL would go to our standard output.
    config.output_buffer = io.StringIO()
    return config


def _render(script: Any, name: str, context: Any) -> dict[str, Any]:
    function = getattr(script.module, name, None)
    if function is None:
        return {"missing": True}
    impl, path = context.impl, os.path.abspath(script.module.__file__)
    statements: list[tuple[int, str]] = []
    # Without a transaction for all of DDL, Alembic commits after each statement.
    outside = [not impl.transactional_ddl]

    def take(text: str) -> None:
        word = text.strip().rstrip(";").strip().upper()
        # Written by hand for a statement that cannot run in a transaction, like an autocommit_block.
        if word in ("COMMIT", "BEGIN"):
            outside.append(True)
        else:
            statements.append((_find_line(path, name), text))

    impl.static_output = take
    # An autocommit_block ends the transaction and begins the next.
    impl.emit_commit = lambda: outside.append(True)
    impl.emit_begin = lambda: None
    try:
        function()
    except (Exception, SystemExit) as error:
        return {"error": f"{type(error).__name__}: {error}", "line": _find_error_line(error, path)}
    finally:
        del impl.static_output, impl.emit_commit, impl.emit_begin
    return {"statements": statements, "outside": any(outside)}


def _find_line(path: str, name: str) -> int:
    """Return the line of ``upgrade()`` or ``downgrade()`` that is being executed."""
    frame: Any = sys._getframe(1)
    line = 1
    while frame is not None:
        if os.path.abspath(frame.f_code.co_filename) == path:
            line = frame.f_lineno
            if frame.f_code.co_name == name:
                break
        frame = frame.f_back
    return line


def _find_error_line(error: BaseException, path: str) -> int | None:
    lines = [
        entry.lineno
        for entry in traceback.extract_tb(error.__traceback__)
        if os.path.abspath(entry.filename) == path
    ]
    return lines[-1] if lines else None


def main() -> None:
    """Answer the request on standard input."""
    request = json.load(sys.stdin)
    try:
        answer = render_all(request)
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{last.filename}:{last.lineno}: "
        answer = {"error": f"{place}{type(error).__name__}: {error}"}
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(answer, file)


if __name__ == "__main__":
    main()
