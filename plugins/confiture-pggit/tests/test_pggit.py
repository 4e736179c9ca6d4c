"""The plugin as a run uses it, on a contract of pgGit's interface and on its own files, if there are any."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import psycopg
import pytest

from confiture.api import operations
from confiture.models.report import HookReport, Report
from confiture_pggit import plugin
from tests.package_plugin import load_plugin

pytestmark = pytest.mark.slow

Database = psycopg.Connection[Any]

CONTRACT = Path(__file__).with_name("contract.sql")
OWN_FILES = os.environ.get("CONFITURE_PGGIT_SQL")
CORE = ("000", "001", "002", "003", "004", "005", "007", "009", "014", "043")
MIRROR = {"mirror": True}


def list_own_files() -> list[Path]:
    return sorted(path for path in Path(OWN_FILES or "").glob("*.sql") if path.name.startswith(CORE))


@pytest.fixture(
    params=[
        "contract",
        pytest.param(
            "own files",
            marks=pytest.mark.skipif(
                not OWN_FILES, reason="CONFITURE_PGGIT_SQL names no folder with pgGit's files"
            ),
        ),
    ]
)
def pggit(request: pytest.FixtureRequest, database: Database) -> Database:
    """A database that has pgGit."""
    if request.param == "contract":
        database.execute(CONTRACT.read_bytes())
        return database
    # psql's own commands are no SQL.
    left_out = ["\\"]
    if not database.execute("SELECT FROM pg_available_extensions WHERE name = 'pgcrypto'").rowcount:
        # The embedded server has none. Only pgGit's hashes of definitions need it, when they are computed.
        left_out.append("CREATE EXTENSION IF NOT EXISTS pgcrypto;")
    for path in list_own_files():
        lines = path.read_text(encoding="utf-8").splitlines()
        database.execute("\n".join(line for line in lines if not line.startswith(tuple(left_out))).encode())
    return database


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "1_jam.up.sql").write_text("CREATE TABLE jam (id int);\nCREATE INDEX by_id ON jam (id);")
    (tmp_path / "1_jam.down.sql").write_text("DROP TABLE jam;")
    return tmp_path


def call(operation: Any, url: str, folder: Path, config: dict[str, Any], **options: Any) -> Report:
    """Call an operation with the plugin that this package's pyproject.toml names."""
    package = Path(__file__).parents[1]
    settings, plugins = load_plugin(package, config, url=url, migrations=folder)
    report = operation(settings, plugins=plugins, **options)
    assert isinstance(report, Report)
    return report


def run(url: str, folder: Path, config: dict[str, Any], **options: Any) -> Report:
    return call(operations.run, url, folder, config, **options)


def get_hook(report: Report, phase: str = "cleanup", migration: int = 0) -> HookReport:
    (hook,) = (hook for hook in report.migrations[migration].hooks if hook.phase == phase)
    return hook


def read_events(conn: Database) -> list[tuple[Any, ...]]:
    return conn.execute(
        "SELECT event_type, event_data FROM pggit.system_events "
        "WHERE event_type LIKE 'confiture%' ORDER BY event_id"
    ).fetchall()


def read_commits(conn: Database) -> list[tuple[Any, ...]]:
    return conn.execute(
        "SELECT name, message, hash, tree_hash "
        "FROM pggit.commits c JOIN pggit.branches b ON b.id = c.branch_id ORDER BY c.id"
    ).fetchall()


def hash_sql(*statements: str) -> str:
    return hashlib.sha256("\n;\n".join(statements).encode()).hexdigest()


class TestMirror:
    """A migration that succeeds becomes an event and a commit."""

    def test_a_migration_becomes_an_event_and_a_commit(
        self, pggit: Database, database_url: str, folder: Path
    ) -> None:
        report = run(database_url, folder, MIRROR)

        ((branch, message, commit_hash, tree_hash),) = read_commits(pggit)
        assert (branch, message) == ("main", "1 jam")
        assert tree_hash == hash_sql("CREATE TABLE jam (id int)", "CREATE INDEX by_id ON jam (id)")
        facts = {"kind": "APPLIED", "version": "1", "name": "jam", "direction": "forward"}
        assert read_events(pggit) == [("confiture_applied", {**facts, "commit_hash": commit_hash})]
        assert get_hook(report).stats == {"event": True, "commit": commit_hash}
        assert (report.exit_code, report.migrations[0].warnings) == (0, ())

    def test_one_that_goes_backward_is_mirrored_as_a_revert(
        self, pggit: Database, database_url: str, folder: Path
    ) -> None:
        run(database_url, folder, MIRROR)

        call(operations.undo, database_url, folder, MIRROR)

        assert [(kind, facts["direction"]) for kind, facts in read_events(pggit)] == [
            ("confiture_applied", "forward"),
            ("confiture_reverted", "backward"),
        ]
        assert [message for _, message, *_ in read_commits(pggit)] == ["1 jam", "Revert 1 jam"]

    def test_commits_go_to_the_branch_of_the_configuration(
        self, pggit: Database, database_url: str, folder: Path
    ) -> None:
        run(database_url, folder, {"branch": "release/7"})

        assert [branch for branch, *_ in read_commits(pggit)] == ["release/7"]

    def test_without_commits_only_the_event_is_written(
        self, pggit: Database, database_url: str, folder: Path
    ) -> None:
        report = run(database_url, folder, {"mirror": True, "commit": False})

        assert read_commits(pggit) == []
        assert [kind for kind, _ in read_events(pggit)] == ["confiture_applied"]
        assert get_hook(report).stats == {"event": True, "commit": None}

    def test_a_python_migration_commits_what_it_executed(
        self, pggit: Database, database_url: str, tmp_path: Path
    ) -> None:
        (tmp_path / "1_fig.py").write_text(
            "from confiture.models.migration import Migration\n"
            "class Fig(Migration):\n"
            "    def up(self):\n"
            "        self.execute('CREATE TABLE fig (id int)')\n"
            "        self.execute('INSERT INTO fig VALUES (%s)', [7])\n"
        )

        run(database_url, tmp_path, MIRROR)

        ((*_, tree_hash),) = read_commits(pggit)
        assert tree_hash == hash_sql("CREATE TABLE fig (id int)", "INSERT INTO fig VALUES (%s)")

    def test_a_no_transaction_migration_is_mirrored(
        self, pggit: Database, database_url: str, folder: Path
    ) -> None:
        (folder / "2_fast.sql").write_text(
            "-- confiture: no-transaction\nCREATE INDEX CONCURRENTLY other ON jam (id);"
        )

        run(database_url, folder, MIRROR)

        assert [facts["version"] for _, facts in read_events(pggit)] == ["1", "2"]
        assert [message for _, message, *_ in read_commits(pggit)] == ["1 jam", "2 fast"]

    @pytest.mark.parametrize("text", [r"E'a\nb'", r"'C:\plums'", r"'\'", r"'\x'", "'é\u2028'"])
    def test_sql_with_backslashes_is_committed(
        self, pggit: Database, database_url: str, tmp_path: Path, text: str
    ) -> None:
        (tmp_path / "1_text.sql").write_text(f"SELECT {text};", encoding="utf-8")

        report = run(database_url, tmp_path, MIRROR)

        assert report.migrations[0].warnings == ()
        assert [commit_hash for *_, commit_hash, _ in read_commits(pggit)] == [
            get_hook(report).stats["commit"]
        ]


class TestFailure:
    """A migration that fails is mirrored; pgGit's own failures stop nothing."""

    def test_a_failed_migration_becomes_an_event_after_its_rollback(
        self, pggit: Database, database_url: str, folder: Path
    ) -> None:
        (folder / "2_plum.sql").write_text("CREATE TABLE plum (id int); INSERT INTO jam VALUES (1 / 0);")

        report = run(database_url, folder, MIRROR)

        assert report.exit_code == 4
        kind, facts = read_events(pggit)[-1]
        assert (kind, facts["version"], facts["error"]) == ("confiture_failed", "2", "division by zero")
        assert [message for _, message, *_ in read_commits(pggit)] == ["1 jam"]
        assert pggit.execute("SELECT to_regclass('plum')").fetchone() == (None,)

    def test_a_commit_that_pggit_refuses_is_a_warning_and_the_event_stays(
        self, pggit: Database, database_url: str, folder: Path
    ) -> None:
        report = run(database_url, folder, {"branch": "not a branch"})

        assert report.exit_code == 0
        (warning,) = report.migrations[0].warnings
        assert warning.startswith("pggit: no commit was made: new row for relation")
        assert [kind for kind, _ in read_events(pggit)] == ["confiture_applied"]
        assert read_commits(pggit) == []
        assert pggit.execute("SELECT to_regclass('jam')").fetchone() == ("jam",)

    def test_an_event_that_pggit_refuses_is_a_warning_and_the_commit_stays(
        self, pggit: Database, database_url: str, folder: Path
    ) -> None:
        pggit.execute("ALTER TABLE pggit.system_events ADD CHECK (event_type NOT LIKE 'confiture%')")

        report = run(database_url, folder, MIRROR)

        assert report.exit_code == 0
        (warning,) = report.migrations[0].warnings
        assert warning.startswith("pggit: the event was not mirrored: new row for relation")
        assert [message for _, message, *_ in read_commits(pggit)] == ["1 jam"]

    def test_a_lock_on_pggits_table_is_a_warning(
        self, pggit: Database, second: Database, database_url: str, folder: Path
    ) -> None:
        (folder / "1_jam.up.sql").write_text("-- confiture: lock_timeout=100ms\nCREATE TABLE jam (id int);")

        with second.transaction():
            second.execute("LOCK TABLE pggit.system_events")
            report = run(database_url, folder, MIRROR)

        assert report.exit_code == 0
        assert report.migrations[0].warnings == (
            "pggit: the event was not mirrored: canceling statement due to lock timeout",
        )
        assert get_hook(report).stats["event"] is False

    def test_a_role_without_rights_is_a_warning(
        self, pggit: Database, database_url: str, folder: Path
    ) -> None:
        pggit.execute("CREATE ROLE jam_maker")
        try:
            # It creates nothing: pgGit's event trigger would refuse it.
            (folder / "1_jam.up.sql").write_text("SET ROLE jam_maker; SELECT 1;")
            report = run(database_url, folder, MIRROR)
        finally:
            pggit.execute("DROP OWNED BY jam_maker")
            pggit.execute("DROP ROLE jam_maker")

        assert report.exit_code == 0
        (warning,) = report.migrations[0].warnings
        assert warning == "pggit: pgGit cannot be looked for: permission denied for schema pggit"


class TestRehearsal:
    """A rehearsal leaves nothing in pgGit."""

    @pytest.mark.parametrize("place", ["transaction", "clone"])
    def test_it_mirrors_and_leaves_no_row(
        self, pggit: Database, database_url: str, folder: Path, place: str
    ) -> None:
        # A database is cloned only while nobody is connected to it.
        pggit.close()

        report = run(database_url, folder, MIRROR, dry_run=True, place=place)

        assert report.exit_code == 0
        assert get_hook(report).stats["event"] is True
        assert len(get_hook(report).stats["commit"]) == 64
        with psycopg.connect(database_url) as after:
            assert read_events(after) == read_commits(after) == []

    @pytest.mark.parametrize("place", ["transaction", "clone"])
    def test_one_that_fails_leaves_no_row(
        self, pggit: Database, database_url: str, folder: Path, place: str
    ) -> None:
        (folder / "2_plum.sql").write_text("SELECT 1 / 0;")
        # A database is cloned only while nobody is connected to it.
        pggit.close()

        report = run(database_url, folder, MIRROR, dry_run=True, place=place)

        assert report.exit_code == 4
        assert get_hook(report, "on_error", 1).stats == {"event": True}
        with psycopg.connect(database_url) as after:
            assert read_events(after) == read_commits(after) == []


class TestPartOfPgGit:
    """What is there is found by its signature."""

    def test_without_pggit_nothing_is_written_and_a_warning_says_so(
        self, database: Database, database_url: str, folder: Path
    ) -> None:
        report = run(database_url, folder, MIRROR)

        assert report.exit_code == 0
        assert report.migrations[0].warnings == (
            "pggit: not mirrored: the database has neither pggit.system_events nor pggit.create_commit",
        )

    def test_without_create_commit_only_the_event_is_written(
        self, pggit: Database, database_url: str, folder: Path
    ) -> None:
        pggit.execute("DROP FUNCTION pggit.create_commit(text, text, text, uuid[])")

        report = run(database_url, folder, MIRROR)

        assert report.migrations[0].warnings == ()
        assert get_hook(report).stats == {"event": True, "commit": None}

    def test_without_system_events_only_the_commit_is_made(
        self, pggit: Database, database_url: str, folder: Path
    ) -> None:
        pggit.execute("DROP TABLE pggit.system_events")

        report = run(database_url, folder, MIRROR)

        assert report.migrations[0].warnings == ()
        assert [message for _, message, *_ in read_commits(pggit)] == ["1 jam"]
        assert get_hook(report).stats["event"] is False

    def test_the_signature_of_older_releases_is_found(
        self, database: Database, database_url: str, folder: Path
    ) -> None:
        contract = CONTRACT.read_text().replace("p_parent_ids uuid[]", "p_parent_commit_id uuid")
        database.execute(contract.encode())

        run(database_url, folder, MIRROR)

        assert [message for _, message, *_ in read_commits(database)] == ["1 jam"]

    def test_a_commit_with_another_hash_is_kept_and_its_hash_is_unknown(
        self, database: Database, database_url: str, folder: Path
    ) -> None:
        database.execute(CONTRACT.read_text().replace("sha256((p_message", "sha512((p_message").encode())

        report = run(database_url, folder, MIRROR)

        assert [message for _, message, *_ in read_commits(database)] == ["1 jam"]
        assert get_hook(report).stats == {"event": True, "commit": None}

    def test_unconfigured_it_does_nothing(self, pggit: Database, database_url: str, folder: Path) -> None:
        report = run(database_url, folder, {})

        assert (report.exit_code, report.migrations[0].warnings) == (0, ())
        assert read_events(pggit) == read_commits(pggit) == []

    def test_a_value_that_cannot_be_used_is_refused(
        self, pggit: Database, database_url: str, folder: Path
    ) -> None:
        report = run(database_url, folder, {"mirror": "yes"})

        assert report.exit_code == 5
        assert pggit.execute("SELECT to_regclass('jam')").fetchone() == (None,)


class TestObjectVersions:
    """What pgGit says of objects."""

    def test_each_object_has_its_version_and_its_last_changes(self, pggit: Database) -> None:
        _add_object(pggit)

        versions = plugin.object_versions(pggit, {**MIRROR, "history": 1})

        assert versions is not None
        (version,) = versions
        assert version.identity == "public.jam"
        assert version.version is not None
        assert [(change.kind, change.description) for change in version.changes] == [("ALTER", "added sugar")]

    def test_changes_of_one_transaction_are_in_their_order_newest_first(self, pggit: Database) -> None:
        _add_object(pggit)
        pggit.execute("""
            INSERT INTO pggit.history
                (object_id, change_type, change_severity, change_description, new_version)
            SELECT id, 'ALTER', 'MINOR', 'change ' || number, number
            FROM pggit.objects, generate_series(9, 11) AS number WHERE full_name = 'public.jam'
        """)

        versions = plugin.object_versions(pggit, {**MIRROR, "history": 2})

        assert versions is not None
        assert [change.description for change in versions[0].changes] == ["change 11", "change 10"]

    def test_an_object_on_several_branches_has_its_newest_version(self, pggit: Database) -> None:
        _add_object(pggit)
        pggit.execute("""
            INSERT INTO pggit.objects
                (object_type, schema_name, object_name, branch_name, version, version_major)
            VALUES ('TABLE', 'public', 'jam', 'dev', 2, 2), ('TABLE', 'public', 'jam', 'old', 1, 1)
        """)

        versions = plugin.object_versions(pggit, MIRROR)

        assert versions is not None
        assert [(version.identity, version.version) for version in versions] == [("public.jam", "2.0.0")]

    def test_columns_and_functions_known_by_a_number_are_left_out(self, pggit: Database) -> None:
        _add_object(pggit)
        pggit.execute(
            "INSERT INTO pggit.objects (object_type, schema_name, object_name) "
            "VALUES ('COLUMN', 'public', 'jam.fruit'), ('FUNCTION', 'public', '16820')"
        )

        versions = plugin.object_versions(pggit, MIRROR)

        assert versions is not None
        assert [version.identity for version in versions] == ["public.jam"]

    @pytest.mark.parametrize("config", [{}, {"mirror": False}])
    def test_unconfigured_there_is_none(self, pggit: Database, config: dict[str, Any]) -> None:
        _add_object(pggit)

        assert plugin.object_versions(pggit, config) is None

    def test_without_pggit_there_is_none(self, database: Database) -> None:
        assert plugin.object_versions(database, MIRROR) is None

    def test_without_get_history_there_are_versions(self, pggit: Database) -> None:
        _add_object(pggit)
        pggit.execute("DROP FUNCTION pggit.get_history(text, integer)")

        versions = plugin.object_versions(pggit, MIRROR)

        assert versions is not None
        assert [(version.identity, version.changes) for version in versions] == [("public.jam", ())]

    @pytest.mark.parametrize(
        ("returns", "version"),
        [
            ("text LANGUAGE sql AS $$ SELECT '1.2.3' $$", None),
            ("TABLE (version text, version_string integer) LANGUAGE sql AS $$ SELECT '1.2', 7 $$", "7"),
        ],
    )
    def test_functions_that_return_something_else_do_no_harm(
        self, pggit: Database, returns: str, version: str | None
    ) -> None:
        _add_object(pggit)
        pggit.execute("DROP FUNCTION pggit.get_version(text); DROP FUNCTION pggit.get_history(text, integer)")
        pggit.execute(f"CREATE FUNCTION pggit.get_version(text) RETURNS {returns}".encode())
        pggit.execute(
            "CREATE FUNCTION pggit.get_history(text, integer)"
            " RETURNS TABLE (change_type integer, created_at date)"
            " LANGUAGE sql AS $$ SELECT 1, date '2026-01-01' $$"
        )

        versions = plugin.object_versions(pggit, MIRROR)

        assert versions is not None
        assert [(item.identity, item.version) for item in versions] == [("public.jam", version)]
        assert [(change.kind, change.at) for change in versions[0].changes] == [("1", "2026-01-01")]


def _add_object(conn: Database) -> None:
    conn.execute(
        "INSERT INTO pggit.objects (object_type, schema_name, object_name) VALUES ('TABLE', 'public', 'jam')"
    )
    conn.execute("""
        INSERT INTO pggit.history (object_id, change_type, change_severity, change_description, created_at)
        SELECT id, kind::pggit.change_type, 'MINOR', description, at
        FROM pggit.objects, (VALUES ('CREATE', 'created', timestamp '2026-01-01'),
            ('ALTER', 'added sugar', '2026-01-02')) AS made (kind, description, at)
        WHERE full_name = 'public.jam'
    """)
