"""Files that are no migrations: named by file, line and column, before anything is applied."""

from __future__ import annotations

import pytest

from tests.project import Project, applied, tables

pytestmark = pytest.mark.slow

MIGRATION = "from confiture.models.migration import Migration\n"


@pytest.fixture
def refused(project, database):
    """Run a faulty file behind a sound one, and return what is said; nothing of either may be there."""
    project.write("1_sound.sql", "CREATE TABLE sound (i int)")

    def run(name: str, text: str | bytes) -> str:
        project.write(name, text)
        answer = project("run")
        assert (answer.code, answer.out) == (4, ""), answer
        assert tables(database) == []
        return str(answer.err)

    return run


@pytest.mark.parametrize("command", ["status", "plan", "run", "dry-run", "down"])
def test_no_migrations_folder_is_two_and_names_the_folder(project, database, command):
    answer = project(command)

    assert answer.code == 2
    assert "there is no migrations folder migrations" in answer.err
    assert "hint: create it: confiture init; or name another: --migrations DIR" in answer.err
    assert answer.out == ""
    assert tables(database) == []


@pytest.mark.parametrize("command", ["status", "plan", "run", "dry-run", "down"])
def test_an_empty_migrations_folder_is_two_and_names_the_next_step(project, database, command):
    project.write("README.md", "Nothing yet.")

    answer = project(command)

    assert answer.code == 2
    assert "no migrations in migrations" in answer.err
    assert "confiture new NAME" in answer.err
    assert tables(database) == []


@pytest.mark.parametrize(
    "names, evidence, way",
    [
        (
            ("20260101120000_init/migration.sql", "migration_lock.toml"),
            "Prisma",
            "confiture adopt --from prisma",
        ),
        (("2026-01-01-000000_a/up.sql", "2026-01-01-000000_a/down.sql"), "Diesel", "adopt --from diesel"),
        (("V1__a.sql", "R__views.sql"), "Flyway", "confiture adopt --from flyway"),
        (("env.py", "script.py.mako", "versions/ae1027a6acf3_a.py"), "Alembic", "adopt --from alembic"),
        (("00001_a.go",), "goose", "confiture adopt --from goose"),
    ],
)
@pytest.mark.parametrize("command", ["status", "plan", "run", "dry-run", "lint", "baseline"])
def test_a_folder_of_another_tool_is_told_apart_from_an_empty_one(project, command, names, evidence, way):
    for name in names:
        (project.migrations / name).parent.mkdir(parents=True, exist_ok=True)
        project.write(name, "SELECT 1;")

    answer = project(command, *(("1",) if command == "baseline" else ()))

    assert answer.code == 2
    assert f"is one of {evidence}" in answer.err
    assert way in answer.err
    assert "confiture baseline V" in answer.err or "confiture adopt --from" in answer.err
    assert "confiture new" not in answer.err


def test_a_file_name_of_another_tool_is_told_its_way(refused):
    assert "if it is one of yoyo: confiture adopt --from yoyo" in refused("0002.a.sql", "SELECT 1")


@pytest.mark.parametrize("command", ["status", "plan"])
def test_an_sql_file_without_a_version_is_named(project, command):
    project.write("1_a.sql", "SELECT 1")
    for name in ("users.sql", "V2__b.SQL", ".hidden.sql", "notes.txt"):
        project.write(name, "SELECT 1")

    answer, quiet, as_json = (project(command, *flags) for flags in ((), ("-q",), ("--output", "json")))

    assert answer.code == 0
    assert "not read, because no version begins its name: V2__b.SQL, users.sql" in answer.err
    assert "not read" not in quiet.err
    assert len(as_json.json["migrations"]) == 1


def test_nothing_but_sql_files_without_a_version_is_told_how_to_name_them(project):
    for name in ("a.sql", "b.sql", "c.sql", "d.sql"):
        project.write(name, "SELECT 1")

    answer = project("run")

    assert answer.code == 2
    assert "no version begins the name of a.sql, b.sql, c.sql and 1 more" in answer.err
    assert "hint: name a migration VERSION_name.sql" in answer.err


def test_a_migrations_folder_that_is_a_file_is_two(project):
    (project.folder / "migrations").write_text("SELECT 1")

    answer = project("run")

    assert answer.code == 2
    assert "is not a folder" in answer.err


@pytest.mark.parametrize("other", ["001_b.sql", "1_b.sql", "1_b.py"])
def test_two_files_of_one_version_are_both_named(project, database, other):
    project.write("1_a.sql", "CREATE TABLE a (i int)")
    project.write(other, MIGRATION + "class B(Migration):\n    def up(self):\n        pass\n")

    answer = project("run")

    assert answer.code == 4
    assert "is used 2 times" in answer.err
    assert "1_a.sql" in answer.err
    assert other in answer.err
    assert tables(database) == []


def test_a_file_that_is_not_utf8_is_shown_where_it_stops_being(refused):
    said = refused("2_faulty.sql", "SELECT 1;\nSELECT 'café';\n".encode("latin-1"))

    assert "migrations/2_faulty.sql:2:12" in said
    assert "not UTF-8: byte 0xe9" in said
    assert "iconv -f LATIN1 -t UTF-8" in said


def test_a_file_in_utf16_is_told_how_to_be_converted(refused):
    said = refused("2_faulty.sql", "SELECT 1;\n".encode("utf-16"))

    assert "2_faulty.sql is not UTF-8" in said
    assert "iconv -f UTF-16" in said


def test_a_nul_is_shown_where_it_is(refused):
    said = refused("2_faulty.sql", b"SELECT 1;\nSELECT\0 2;\n")

    assert "migrations/2_faulty.sql:2:7" in said
    assert "NUL" in said
    assert "\0" not in said


@pytest.mark.parametrize(
    "text, message",
    [
        ("SELECT 1;\nSELECT 'jam;\n", "2:8: unterminated quoted string"),
        ('SELECT 1;\nSELECT "jam;\n', "2:8: unterminated quoted identifier"),
        ("SELECT 1;\nDO $x$ BEGIN;\n", "2:4: unterminated dollar-quoted string"),
        ("SELECT 1;\n  /* jam;\n", "2:3: unterminated /* comment"),
    ],
)
def test_an_unclosed_quote_is_shown_where_it_opens(refused, text, message):
    assert f"migrations/2_faulty.sql:{message}" in refused("2_faulty.sql", text)


@pytest.mark.parametrize("line", ["\\connect other", "\\i more.sql", "\\! rm -r jam"])
def test_a_psql_command_is_shown_where_it_is(refused, line):
    said = refused("2_faulty.sql", f"SELECT 1;\n{line}\n")

    assert "migrations/2_faulty.sql:2:1" in said
    assert "psql" in said
    assert f"2 | {line}" in said


@pytest.mark.parametrize("variable", [":jam", ":'jam'", ':"jam"'])
def test_a_psql_variable_is_shown_where_it_is(refused, variable):
    said = refused("2_faulty.sql", f"SELECT 1;\nSELECT {variable};\n")

    assert "migrations/2_faulty.sql:2:8" in said
    assert "psql variable" in said


def test_a_syntax_error_shows_file_line_column_and_a_caret_below(refused):
    said = refused("2_faulty.sql", "CREATE TABLE jam (i int);\n\n\n\n\n\nSELECT 1 , FROM jam;\n")

    assert "error: migrations/2_faulty.sql:7:12: syntax error at or near" in said
    lines = said.splitlines()
    (above,) = [at for at, line in enumerate(lines) if "SELECT 1 , FROM jam" in line]
    assert lines[above + 1].index("^") == lines[above].index("FROM")


def test_a_server_error_shows_file_line_column_caret_and_sqlstate(project, database):
    project.write("1_sound.sql", "CREATE TABLE sound (i int)")
    project.write("2_faulty.sql", "CREATE TABLE jam (i int);\n\n\n\n\n\nUPDATE    jamm SET i = 1;\n")

    answer = project("run")

    assert answer.code == 4
    assert 'relation "jamm" does not exist' in answer.err
    assert "migrations/2_faulty.sql:7:11" in answer.err
    assert "SQLSTATE 42P01" in answer.err
    lines = answer.err.splitlines()
    (above,) = [at for at, line in enumerate(lines) if "UPDATE    jamm" in line]
    assert lines[above + 1].index("^") == lines[above].index("jamm")
    assert applied(database) == ["1"]
    assert "public.jam" not in tables(database)
    assert "applied before: 1 sound" in answer.out


def test_an_error_of_the_server_tells_its_detail_and_hint(project, database):
    project.write(
        "1_faulty.sql",
        "DO $$BEGIN RAISE 'no sugar' USING DETAIL = 'none', HINT = 'buy some', ERRCODE = 'JAM01'; END$$",
    )

    answer = project("run")

    assert answer.code == 4
    for words in ("no sugar", "detail: none", "hint: buy some", "SQLSTATE JAM01"):
        assert words in answer.err
    assert applied(database) == []


@pytest.mark.parametrize(
    "statement", ["COMMIT", "BEGIN", "ROLLBACK", "SAVEPOINT s", "SET TRANSACTION READ ONLY"]
)
def test_transaction_control_is_shown_where_it_is(refused, statement):
    said = refused("2_faulty.sql", f"CREATE TABLE jam (i int);\n{statement};\n")

    assert "migrations/2_faulty.sql:2:1" in said
    assert f"2 | {statement};" in said
    assert "hint: " in said


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX CONCURRENTLY ON sound (i)",
        "DROP INDEX CONCURRENTLY jam",
        "REINDEX TABLE CONCURRENTLY sound",
        "VACUUM sound",
    ],
)
def test_concurrently_in_a_transaction_is_told_how_to_be_marked(refused, statement):
    said = refused("2_faulty.sql", f"SELECT 1;\n{statement};\n")

    assert "migrations/2_faulty.sql:2:1" in said
    assert "-- confiture: no-transaction" in said


@pytest.mark.parametrize("name", ["2.sql.sql", "2-faulty.sql", "20x.sql", "2_.sql", "2_faulty.UP.SQL"])
def test_a_name_that_starts_with_a_digit_and_is_none_is_an_error(refused, name):
    said = refused(name, "CREATE TABLE jam (i int)")

    assert name in said
    assert "hint: " in said


def test_a_down_without_its_up_is_named(refused):
    said = refused("2_faulty.down.sql", "DROP TABLE jam")

    assert "2_faulty.down.sql has no 2_faulty.up.sql" in said


def test_an_unknown_directive_is_shown_and_the_nearest_named(refused):
    said = refused("2_faulty.sql", "-- confiture: no-transactoin\nSELECT 1")

    assert "migrations/2_faulty.sql:1:1" in said
    assert "did you mean -- confiture: no-transaction" in said


@pytest.mark.parametrize("command", ["dry-run", "plan"])
def test_a_faulty_file_is_refused_by_rehearsal_and_plan_too(project, database, command):
    project.write("1_sound.sql", "CREATE TABLE sound (i int)")
    project.write("2_faulty.sql", "SELEC 1")

    answer = project(command)

    assert answer.code == 4
    assert "migrations/2_faulty.sql:1:1" in answer.err
    assert answer.out == ""
    assert tables(database) == []


def test_every_faulty_file_is_named_at_once(refused):
    refused("2_faulty.sql", "SELEC 1")

    said = refused("3_faulty.sql", "SELECT 'x")

    assert "2_faulty.sql:1:1" in said
    assert "3_faulty.sql:1:8" in said


def test_a_bom_and_crlf_are_no_part_of_the_text(project, database):
    text = b"CREATE TABLE jam (t text);\r\nINSERT INTO jam VALUES ('a\r\nb');\r\n"
    project.write("1_a.sql", b"\xef\xbb\xbf" + text)

    assert project("run").code == 0

    assert database.execute("SELECT t FROM jam").fetchall() == [("a\nb",)]
    project.write("1_a.sql", "CREATE TABLE jam (t text);\nINSERT INTO jam VALUES ('a\nb');\n")
    assert project("run").out == "nothing to do\n"


def test_copy_data_in_a_file_works(project, database):
    data = "1\tplum\n2\t\\N\n3\ttab\\tand ; and ' and :x\n"
    project.write(
        "1_a.sql",
        f"CREATE TABLE jam (i int, t text);\nCOPY jam FROM STDIN;\n{data}\\.\nDELETE FROM jam WHERE i = 2;",
    )

    answer = project("run", "--output", "json")

    assert answer.code == 0
    assert database.execute("SELECT i, t FROM jam ORDER BY i").fetchall() == [
        (1, "plum"),
        (3, "tab\tand ; and ' and :x"),
    ]
    assert [item["rows"] for item in answer.json["migrations"][0]["statements"]] == [None, 3, 1]


def test_copy_data_that_the_table_refuses_undoes_the_migration(project, database):
    project.write("1_a.sql", "CREATE TABLE jam (i int);\nCOPY jam FROM STDIN;\n1\nplum\n\\.\n")

    answer = project("run")

    assert answer.code == 4
    assert "invalid input syntax for type integer" in answer.err
    assert "migrations/1_a.sql:2:1" in answer.err
    assert applied(database) == []
    assert "public.jam" not in tables(database)


PYTHON = "from confiture.models.migration import Migration\n\n\nclass Jam(Migration):\n"


@pytest.mark.parametrize(
    "body, message",
    [
        ("async def up(self):\n        pass", "up() in 2_jam.py is async: nothing of it would run"),
        ("def up(self):\n        yield", "up() in 2_jam.py is a generator: nothing of it would run"),
        ("transactional = 'no'\n\n    def up(self):\n        pass", "transactional in 2_jam.py is 'no'"),
    ],
)
def test_a_class_of_which_nothing_would_run_is_refused(project, database, body, message):
    project.write("1_fig.sql", "CREATE TABLE fig (i int);\n")
    project.write("2_jam.py", f"{PYTHON}    {body}\n")

    answer = project("run")

    assert answer.code == 4
    assert message in answer.err
    assert tables(database) == []


def test_a_class_that_cannot_be_made_leaves_the_report(project, database):
    project.write("1_fig.sql", "CREATE TABLE fig (i int);\n")
    project.write(
        "2_jam.py", f"{PYTHON}    def __init__(self):\n        pass\n\n    def up(self):\n        pass\n"
    )

    rehearsed, answer = project("dry-run"), project("run", "--output", "json")

    assert (rehearsed.code, answer.code) == (4, 4)
    assert "Jam in 2_jam.py cannot be made: TypeError" in answer.json["error"]["message"]
    assert [migration["outcome"] for migration in answer.json["migrations"]] == ["applied", "pending"]
    assert applied(database) == ["1"]


@pytest.mark.parametrize(
    "argument, message",
    [
        ("None", "execute() takes SQL, not a NoneType"),
        ("'SELECT \\0 1'", "the SQL contains a NUL character"),
    ],
)
def test_what_is_no_sql_is_refused_with_the_line_of_the_call(project, argument, message):
    project.write("1_jam.py", f"{PYTHON}    def up(self):\n        self.execute({argument})\n")

    (migration,) = project("run", "--output", "json").json["migrations"]

    assert (migration["error"]["message"], migration["error"]["line"]) == (message, 6)


@pytest.mark.parametrize("transactional", [True, False])
def test_execute_in_a_pipeline_is_told_the_way_which_works(project, database, transactional):
    text = (
        f"{PYTHON}    transactional = {transactional}\n\n    def up(self):\n"
        "        with self.connection.pipeline():\n"
        "            self.execute('CREATE TABLE jam (i int)')\n"
    )
    project.write("1_jam.py", text)

    rehearsed, refused = project("dry-run"), project("run")
    project.write("1_jam.py", text.replace("self.execute", "self.connection.execute"))

    assert (rehearsed.code, refused.code) == (4, 4)
    for answer in (rehearsed, refused):
        assert "execute() inside a pipeline" in answer.err
        assert "hint: use self.connection.execute() there" in answer.err
    assert (project("dry-run").code, project("run").code) == (0, 0)
    assert "public.jam" in tables(database)


def test_sql_that_psycopg_has_composed_is_executed(project, database):
    project.write(
        "1_jam.py",
        f"from psycopg import sql\n{PYTHON}    def up(self):\n"
        "        self.execute(sql.SQL('CREATE TABLE {} (i int)').format(sql.Identifier('Jam')))\n"
        "        self.execute(b'CREATE TABLE fig (i int)')\n",
    )

    assert project("run").code == 0
    assert {'public."Jam"', "public.fig"} < set(tables(database))


def test_an_error_without_a_message_is_named_once(project):
    project.write(
        "1_jam.py",
        "from confiture.models.migration import Migration\n\n\nclass Jam(Migration):\n"
        "    def up(self):\n        assert 1 == 2\n",
    )

    (migration,) = project("run", "--output", "json").json["migrations"]

    assert (migration["error"]["message"], migration["error"]["line"]) == ("AssertionError", 6)


@pytest.mark.parametrize("command", ["lint", "plan", "dry-run", "run"])
@pytest.mark.parametrize("sql", ["COPY jam TO STDOUT", "COPY (SELECT 1) TO STDOUT WITH (FORMAT csv)"])
def test_rows_that_nobody_takes_are_refused_before_anything_runs(project, database, sql, command):
    project.write("1_jam.sql", "CREATE TABLE jam (i int);\n")
    project.write("2_out.sql", f"SELECT 1;\n{sql};\n")

    answer = project(command)

    assert answer.code == 4
    assert "migrations/2_out.sql:2:1: COPY … TO STDOUT in a migration" in answer.err
    assert "hint: remove it" in answer.err
    assert "public.jam" not in tables(database)


@pytest.mark.parametrize("transactional", [True, False])
@pytest.mark.parametrize("how", ["self.execute", "self.connection.execute"])
@pytest.mark.parametrize("sql", ["COPY jam FROM STDIN", "COPY jam TO STDOUT"])
def test_a_copy_that_execute_cannot_carry_is_told_the_way(project, sql, how, transactional):
    project.write("1_jam.sql", "CREATE TABLE jam (i int);\n")
    project.write(
        "2_copy.py",
        "from confiture.models.migration import Migration\n\n\nclass Copy(Migration):\n"
        f"    transactional = {transactional}\n\n    def up(self):\n        {how}('{sql}')\n",
    )

    answer = project("run", "--output", "json")

    error = answer.json["migrations"][1]["error"]
    assert (answer.code, error["line"]) == (4, 8)
    assert "was sent with execute()" in error["message"]
    assert 'cursor.copy("COPY …")' in error["hint"]
    assert "connection was lost" not in (answer.json["migrations"][1]["reason"] or "")


@pytest.mark.parametrize(
    "text, place, message",
    [
        ("import nosuch\n", "1", "fails to import: ModuleNotFoundError: No module named 'nosuch'"),
        ("x = 1\ny = 1 / 0\n", "2", "fails to import: ZeroDivisionError"),
        ("raise SystemExit(3)\n", "1", "fails to import: SystemExit"),
        ("\nclass A(:\n", "2:9", "invalid syntax"),
    ],
)
def test_a_python_migration_that_fails_to_import_is_shown_where(refused, text, place, message):
    said = refused("2_faulty.py", text)

    assert f"migrations/2_faulty.py:{place}" in said
    assert message in said


def test_a_python_file_without_a_migration_is_told_how_to_write_one(refused):
    said = refused("2_faulty.py", MIGRATION + "class Jam:\n    pass\n")

    assert "2_faulty.py defines no Migration" in said
    assert "from confiture.models.migration import Migration" in said


def test_a_python_file_with_two_migrations_names_both(refused):
    two = "".join(f"class {name}(Migration):\n    def up(self):\n        pass\n" for name in ("Plum", "Fig"))

    said = refused("2_faulty.py", MIGRATION + two)

    assert "2_faulty.py defines 2 migrations" in said
    assert "Plum (line 2)" in said
    assert "Fig (line 5)" in said


@pytest.mark.parametrize(
    "text, way",
    [
        ("from django.db import migrations\n", "confiture adopt --from django --migrations ."),
        (
            "import sys, types\nsys.modules['yoyo'] = types.ModuleType('yoyo')\nimport yoyo\n",
            "confiture adopt --from yoyo",
        ),
        ("import nosuch\nfrom alembic import op\n", "confiture adopt --from alembic"),
    ],
)
def test_a_python_migration_of_another_tool_is_told_its_way(refused, text, way):
    assert way in refused("2_faulty.py", text)


@pytest.mark.parametrize("line", ["version = '3'", "name = 'other'"])
def test_a_class_that_disagrees_with_its_files_name_is_named(refused, line):
    said = refused(
        "2_faulty.py", MIGRATION + f"class Jam(Migration):\n    {line}\n    def up(self):\n        pass\n"
    )

    assert "migrations/2_faulty.py:2" in said
    assert "hint: " in said


def test_a_python_migration_that_raises_is_shown_where_and_undone(project: Project, database):
    project.write(
        "1_faulty.py",
        MIGRATION
        + "class Jam(Migration):\n    def up(self):\n"
        + "        self.execute('CREATE TABLE jam (i int)')\n        raise ValueError('burnt')\n",
    )

    answer = project("run")

    assert answer.code == 4
    assert "ValueError: burnt" in answer.err
    assert "migrations/1_faulty.py:5" in answer.err
    assert applied(database) == []
    assert "public.jam" not in tables(database)


@pytest.mark.parametrize(
    "name, text, way",
    [
        ("1_a.sql", "CREATE TABLE jam (i int)", "`-- migrate:down`"),
        ("1_a.sql", "-- migrate:up\nCREATE TABLE jam (i int);\n-- migrate:down\n\n", "`-- migrate:down`"),
        ("1.2_a.up.sql", "CREATE TABLE jam (i int)", "write 1.2_a.down.sql; an empty one undoes nothing"),
        ("1_a.py", MIGRATION + "class A(Migration):\n    def up(self):\n        pass\n", "a down() method"),
    ],
)
def test_a_migration_without_a_way_down_is_told_how_to_have_one(project, database, name, text, way):
    project.write(name, text)
    project("run")

    answer = project("down")

    assert answer.code == 4
    assert "a has no down part" in answer.err
    assert way in answer.err
    assert len(applied(database)) == 1


@pytest.mark.parametrize("line", ["-- +goose Down", "-- Migrate:Down", "-- @UNDO", "# --- !Downs", "-- Down"])
@pytest.mark.parametrize("command", ["run", "dry-run", "plan", "lint"])
def test_a_divider_that_is_not_ours_is_shown_and_nothing_runs(project, database, line, command):
    """All of the file would run as up, and the table that it makes would be gone."""
    project.write("1_a.sql", f"CREATE TABLE jam (i int);\n\n{line}\nDROP TABLE jam;\n")

    answer = project(command)

    assert answer.code == 4
    assert "migrations/1_a.sql:3:" in answer.err
    assert f"3 | {line}" in answer.err
    assert "write -- migrate:" in answer.err
    assert tables(database) == []


def test_a_divider_in_a_file_that_is_baselined_stops_nothing(project, database):
    project.write("1_a.sql", "CREATE TABLE jam (i int);\n-- +goose Down\nDROP TABLE jam;\n")
    project.write("2_b.sql", "CREATE TABLE fig (i int)")
    project("baseline", "1")

    assert project("run").code == 0

    assert project("down").code == 4
    assert applied(database) == ["1", "2"]
