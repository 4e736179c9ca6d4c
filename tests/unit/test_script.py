"""SQL files become statements with true positions; what cannot run is refused with its place."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confiture.exceptions import MigrationFault
from confiture.migrations.folder import read_folder
from confiture.models.migration import SqlScript, Statement
from confiture.sql.lexer import find_statement_start
from confiture.sql.script import (
    extract_line,
    find_transaction_control,
    locate_offset,
    locate_server_position,
    read_sql,
    read_sql_text,
    split_statements,
)

FILE = Path("1_a.sql")
DATA = Path(__file__).parent.parent / "data" / "sql"


def read(text: str, **options) -> SqlScript:
    script = read_sql_text(text, FILE, **options)
    assert script is not None
    return script


def statements(text: str, **options) -> list[tuple[str, int, int]]:
    return [
        (statement.sql, statement.line, statement.column) for statement in read(text, **options).statements
    ]


def refused(text: str, **options) -> MigrationFault:
    with pytest.raises(MigrationFault) as caught:
        read_sql_text(text, FILE, **options)
    assert caught.value.file == FILE
    assert caught.value.exit_code == 4
    return caught.value


def place(fault: MigrationFault) -> tuple[int | None, int | None]:
    return fault.line, fault.column


# Statements and their places


def test_statements_stand_without_semicolon_and_comments():
    text = (
        "-- é\n/* a /* b */ */ SELECT 1 /* c */ ; ;;\n\n\tSELECT 'é' -- d\n ; SELECT $$a;b$$ -- e\n/* f */\n"
    )

    assert statements(text) == [("SELECT 1", 2, 17), ("SELECT 'é'", 4, 2), ("SELECT $$a;b$$", 5, 4)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'a;b', E'it\\'s;', \"x;y\", U&'\\00e9;', $t$;$$;$t$",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END",
        "CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM u; DELETE FROM v)",
        "SELECT a$b$c, 1 FROM t",
        "SELECT 'a'\n'b;'",
        "SELECT E'a'\n'\\';'",
        "DO $body$ BEGIN NULL; -- migrate:down\nEND $body$",
        "SELECT a[:x], b[1:2], c[:]",
        "SELECT '-- confiture: nonsense', '\\connect x', ':v', ':''v'''",
    ],
)
def test_semicolons_inside_a_statement_do_not_end_it(sql):
    script = read(f"{sql};\nSELECT 2;")

    assert [statement.sql for statement in script.statements] == [sql, "SELECT 2"]


def test_each_statement_knows_its_kind():
    script = read("CREATE TABLE t (); CREATE INDEX i ON t (a); INSERT INTO t VALUES (1)")

    assert [statement.kind for statement in script.statements] == ["create_stmt", "index_stmt", "insert_stmt"]


@pytest.mark.parametrize("count", [20, 60, 1000])
def test_deep_expressions_are_read(count):
    deep = "SELECT " + " || ".join(["'é'"] * count)
    nested = "SELECT " + "(SELECT " * count + "1" + ")" * count

    assert [statement.sql for statement in read(f"{deep};\n{nested};").statements] == [deep, nested]


FRAGMENTS = st.sampled_from(
    [
        "SELECT 1",
        "SELECT 'é;☃'",
        "SELECT E'\\';'",
        "SELECT $q$ ; ' \" $q$",
        'SELECT 1 AS "a;""b"',
        "SELECT 1 -- ;\n + 2",
        "SELECT /* ; /* ' */ */ 3",
        "INSERT INTO naïve VALUES ('𝒳')",
        "DO $$ BEGIN NULL; END $$",
        "UPDATE t SET a = 1\nWHERE b",
        "COPY t FROM STDIN",
    ]
)
GAPS = st.lists(
    st.sampled_from(
        [" ", "\n", "\t", "-- it's é\n", '/* " ; $$ */', "/* /* é */ ' */", ";", "\n\n", "\\echo 'x\n"]
    ),
    max_size=5,
).map("".join)
ROWS = st.lists(
    st.text(st.sampled_from("é1;'\"$\\-*/ \t"), max_size=6).filter(lambda row: row != "\\."), max_size=3
)


@given(st.lists(st.tuples(GAPS, FRAGMENTS, GAPS, ROWS), min_size=1, max_size=6), GAPS)
def test_joined_statements_come_apart_again(pieces, tail):
    text, expected, data = "", [], []
    for before, sql, after, rows in pieces:
        text += f"\n{before}"
        expected.append((sql, *locate_offset(text, len(text))))
        copy = sql.startswith("COPY")
        text += sql + ("\n;" if not copy else ";\n" + "".join(f"{row}\n" for row in rows) + "\\.\n")
        data.append("".join(f"{row}\n" for row in rows) if copy else None)
        text += after
    text += f"\n{tail}"

    found = read(text)

    assert [(statement.sql, statement.line, statement.column) for statement in found.statements] == expected
    assert [statement.copy_data for statement in found.statements] == data


@given(st.text(st.sampled_from("aé☃\t\n "), max_size=40), st.data())
def test_a_position_leads_back_to_its_character(text, data):
    offset = data.draw(st.integers(0, len(text)))

    line, column = locate_offset(text, offset)

    lines = text.split("\n")
    assert sum(len(item) + 1 for item in lines[: line - 1]) + column - 1 == offset
    assert extract_line(text, line) == lines[line - 1]


@given(st.text(st.sampled_from("é-;'\"$\\/*E \nab"), max_size=30))
def test_no_text_ends_in_anything_but_a_script_or_a_fault(text):
    try:
        script = read_sql_text(text, FILE, divided=True)
    except MigrationFault as raised:
        where = (raised.file, bool(raised.message))
    else:
        assert script is not None
        where = (script.file, bool(script.statements) == (find_statement_start(text) is not None))

    assert where == (FILE, True)


def test_the_servers_position_is_found_in_the_file():
    (_, second) = read("SELECT 1;\n  SELECT 'é',\n\tnope;").statements

    assert locate_server_position(second, second.sql.index("'é'") + 1) == (2, 10)
    assert locate_server_position(second, second.sql.index("nope") + 1) == (3, 2)


def test_a_line_past_the_end_is_none():
    assert extract_line("a\nb", 2) == "b"
    assert extract_line("a\nb", 3) is None


# Syntax


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("SELECT 1;\n\tSELECT 'é' frm fro fram;", (2, 17), 'syntax error at or near "fro"'),
        ("SELECT 'é☃𝒳'; SELEC 1", (1, 15), 'syntax error at or near "SELEC"'),
        ("\n" * 6 + "SELECT 1 + FROM t", (7, 12), 'syntax error at or near "FROM"'),
        ("SELECT 'é', 'open;\nSELECT 2;\n", (1, 13), "unterminated quoted string"),
        ("SELECT 1;\nSELECT $f$ open;\n", (2, 8), "unterminated dollar-quoted string"),
        ('SELECT "open;\n', (1, 8), "unterminated quoted identifier"),
        ("SELECT 1; /* open", (1, 11), "unterminated /* comment"),
        ("SELECT E'open\\", (1, 8), "unterminated quoted string"),
        ("COPY t FROM STDIN;\né\tb\n\\.\nSELECT 'é' x y z;", (4, 14), 'syntax error at or near "y"'),
        ("SELECT 1 +", (1, 11), "syntax error at end of input"),
        ("SELECT 1 NOT /* é */ IN (2);\nSELECT 1 /* a */ + /* b */;", (2, 27), 'at or near ";"'),
        ("SELECT 1 NOT /* */ IN (2); /* open", (1, 28), "unterminated /* comment"),
        ("SELECT 'a' /* PostgreSQL refuses it too */\n'b'", (2, 1), "syntax error"),
    ],
)
def test_a_syntax_error_names_line_and_column_in_characters(text, where, said):
    fault = refused(text)

    assert place(fault) == where
    assert said in fault.message
    assert fault.source_line == text.split("\n")[where[0] - 1]


def test_an_unclosed_quote_does_not_print_the_rest_of_the_file():
    fault = refused("SELECT 'open\n" + "x\n" * 1000)

    assert fault.message == 'unterminated quoted string at or near "\'open…"'


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("text", ["", "-- nothing\n", ";;"])
def test_a_file_without_a_statement_has_none(text, direction):
    assert read(text, direction=direction).statements == ()


def test_directives_count_in_a_file_without_a_statement():
    script = read("-- confiture: no-transaction\n-- confiture: lock_timeout=1s\n/* later */\n")

    assert (script.transactional, script.lock_timeout) == (False, "1s")


# Transactions


@pytest.mark.parametrize(
    ("text", "around"),
    [
        ("BEGIN; SELECT 1; COMMIT;", "BEGIN in line 1 and COMMIT in line 1"),
        (
            "-- é\n;begin  work;\nSELECT 1;;\nEND\nTRANSACTION -- z\n;",
            "begin work in line 2 and END TRANSACTION in line 4",
        ),
        (
            "\\set ON_ERROR_STOP on\nSTART TRANSACTION;\n-- confiture: lock_timeout=1s\nSELECT 1;\ncommit",
            "START TRANSACTION in line 2 and commit in line 5",
        ),
        ("BEGIN; SELECT 1; COMMIT AND NO CHAIN", "BEGIN in line 1 and COMMIT AND NO CHAIN in line 1"),
    ],
)
@pytest.mark.parametrize("keep_refused", [False, True])
def test_a_begin_at_the_top_and_a_commit_at_the_end_are_passed_over(text, around, keep_refused):
    script = read(text, keep_refused=keep_refused)

    assert [statement.sql for statement in script.statements] == ["SELECT 1"]
    assert script.passed_over == around
    assert script.transactional


def test_a_begin_and_a_commit_with_nothing_between_do_nothing():
    assert read("BEGIN; COMMIT;").statements == ()


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("BEGIN;\nSELECT 1;", (1, 1)),
        ("SELECT 1;\nCOMMIT;", (2, 1)),
        ("SELECT 1;\nBEGIN;\nSELECT 2;\nCOMMIT;", (2, 1)),
        ("BEGIN;\nSELECT 1;\nCOMMIT;\nSELECT 2;", (1, 1)),
        ("BEGIN;\nSELECT 1;\nCOMMIT;\nBEGIN;\nSELECT 2;\nCOMMIT;", (3, 1)),
        ("BEGIN;\nSELECT 1;\nROLLBACK;", (1, 1)),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE;\nSELECT 1;\nCOMMIT;", (1, 1)),
        ("BEGIN;\nSELECT 1;\nCOMMIT AND CHAIN;", (1, 1)),
        ("BEGIN;\nSAVEPOINT a;\nCOMMIT;", (2, 1)),
        ("BEGIN;", (1, 1)),
        ("COMMIT;\nBEGIN;", (1, 1)),
        ("-- confiture: no-transaction\nBEGIN;\nSELECT 1;\nCOMMIT;", (2, 1)),
    ],
)
def test_any_other_begin_and_commit_are_refused(text, where):
    assert place(refused(text)) == where


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("BEGIN", "BEGIN"),
        ("begin isolation level serializable", "BEGIN"),
        ("START TRANSACTION", "START"),
        ("COMMIT AND CHAIN", "COMMIT"),
        ("END", "END"),
        ("ROLLBACK", "ROLLBACK"),
        ("ABORT", "ABORT"),
        ("SAVEPOINT x", "SAVEPOINT"),
        ("RELEASE x", "RELEASE"),
        ("ROLLBACK TO x", "ROLLBACK TO SAVEPOINT"),
        ("PREPARE TRANSACTION 'x'", "PREPARE TRANSACTION"),
        ("COMMIT PREPARED 'x'", "COMMIT PREPARED"),
        ("ROLLBACK PREPARED 'x'", "ROLLBACK PREPARED"),
        ("SET TRANSACTION READ ONLY", "SET TRANSACTION"),
        ("SET TRANSACTION SNAPSHOT 'x'", "SET TRANSACTION"),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "SET SESSION CHARACTERISTICS AS TRANSACTION",
        ),
    ],
)
@pytest.mark.parametrize("head", ["", "-- confiture: no-transaction\n"])
def test_transaction_control_is_refused(sql, words, head):
    fault = refused(f"{head}SELECT 1;\n  {sql};")

    assert fault.message == f"{words} in a migration: confiture begins and ends the transaction itself"
    assert place(fault) == (head.count("\n") + 2, 3)
    assert find_transaction_control(f"SELECT 1; {sql}") == words


@pytest.mark.parametrize(
    "sql",
    [
        "DO $$ BEGIN RAISE 'COMMIT'; END $$",
        "CREATE PROCEDURE p() LANGUAGE plpgsql AS 'BEGIN COMMIT; END'",
        "PREPARE x AS SELECT 1",
        "SET LOCAL transaction_read_only = on",
        "SELECT 'COMMIT'",
        "CREATE TABLE begin (commit int)",
    ],
)
def test_what_only_looks_like_transaction_control_is_allowed(sql):
    assert len(read(sql).statements) == 1
    assert find_transaction_control(sql) is None


def test_transaction_control_of_unreadable_text_is_left_to_the_server():
    assert find_transaction_control("COMMIT; nonsense") is None
    assert find_transaction_control("COMMIT '\0'") is None


OUTSIDE = [
    ("CREATE INDEX CONCURRENTLY i ON t (a)", "CREATE INDEX CONCURRENTLY"),
    ("CREATE UNIQUE INDEX CONCURRENTLY ON t (a)", "CREATE INDEX CONCURRENTLY"),
    ("DROP INDEX CONCURRENTLY i", "DROP INDEX CONCURRENTLY"),
    ("REINDEX TABLE CONCURRENTLY t", "REINDEX TABLE CONCURRENTLY"),
    ("REINDEX (CONCURRENTLY) INDEX i", "REINDEX INDEX CONCURRENTLY"),
    ("REINDEX SCHEMA s", "REINDEX SCHEMA"),
    ("REINDEX DATABASE d", "REINDEX DATABASE"),
    ("ALTER TABLE t DETACH PARTITION p CONCURRENTLY", "ALTER TABLE … DETACH PARTITION CONCURRENTLY"),
    ("VACUUM t", "VACUUM"),
    ("CREATE DATABASE d", "CREATE DATABASE"),
    ("DROP DATABASE d", "DROP DATABASE"),
    ("ALTER DATABASE d SET TABLESPACE s", "ALTER DATABASE … SET TABLESPACE"),
    ("CREATE TABLESPACE s LOCATION '/x'", "CREATE TABLESPACE"),
    ("DROP TABLESPACE s", "DROP TABLESPACE"),
    ("ALTER SYSTEM SET work_mem = '1GB'", "ALTER SYSTEM"),
    ("CLUSTER", "CLUSTER"),
    ("DISCARD ALL", "DISCARD ALL"),
    ("CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p", "CREATE SUBSCRIPTION with a replication slot"),
    ("ALTER SUBSCRIPTION s REFRESH PUBLICATION", "ALTER SUBSCRIPTION … REFRESH PUBLICATION"),
]


@pytest.mark.parametrize(("sql", "words"), OUTSIDE)
def test_what_cannot_run_in_a_transaction_says_how_to_mark_it(sql, words):
    fault = refused(f"SELECT 1;\n {sql};")

    assert fault.message == f"{words} cannot run inside a transaction"
    assert fault.hint == "put this line above the first statement: -- confiture: no-transaction"
    assert place(fault) == (2, 2)


@pytest.mark.parametrize("sql", [sql for sql, _ in OUTSIDE] + ["CALL p()", "DO $$ BEGIN COMMIT; END $$"])
def test_without_a_transaction_it_runs_by_itself(sql):
    script = read(f"-- confiture: no-transaction\nSELECT 1;\n{sql}")

    assert script.transactional is False
    assert [statement.in_transaction for statement in script.statements] == [True, False]


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE INDEX i ON t (a)",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY m",
        "REINDEX TABLE t",
        "REINDEX (CONCURRENTLY false) TABLE t",
        "ALTER TABLE t DETACH PARTITION p",
        "ANALYZE t",
        "CLUSTER t",
        "ALTER TYPE e ADD VALUE 'x'",
        "ALTER DATABASE d SET work_mem = '1GB'",
        "DISCARD TEMP",
        "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (connect = false)",
        "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (create_slot = off)",
        "CALL p()",
        "DO $$ BEGIN END $$",
    ],
)
def test_what_may_run_in_a_transaction_does(sql):
    (statement,) = read(sql).statements

    assert statement.in_transaction is True


@pytest.mark.parametrize(
    "body, inside",
    [
        ("BEGIN INSERT INTO t VALUES (1); END", True),
        ("BEGIN Commit; END", False),
        ("BEGIN CALL p(); END", False),
        ("plpy.rollback()", False),
    ],
)
def test_a_block_is_recorded_in_its_own_transaction_unless_it_may_commit(body, inside):
    (statement,) = read(f"-- confiture: no-transaction\nDO $$ {body} $$").statements

    assert statement.in_transaction is inside


# Directives


def test_directives_above_the_first_statement_concern_the_migration():
    script = read(
        "-- orders\n--confiture: no-transaction\n/* and */\n  -- confiture:lock_timeout = 7s\n"
        "-- Confiture: statement_timeout='10 min'\n"
        "-- confiture: ignore a-b, c reason=\"small, 'quiet'\"\nSELECT 1;"
    )

    assert (script.transactional, script.lock_timeout, script.statement_timeout) == (False, "7s", "10 min")
    assert script.ignores == (("a-b", "small, 'quiet'"), ("c", "small, 'quiet'"))


def test_an_ignore_above_a_statement_is_that_statements():
    script = read(
        'SELECT 1;\n-- why\n-- confiture: ignore a\n-- confiture: ignore b reason="x"\nSELECT 2;\nSELECT 3;'
    )

    assert script.ignores == ()
    assert [statement.ignores for statement in script.statements] == [(), (("a", None), ("b", "x")), ()]


@pytest.mark.parametrize(
    ("text", "where", "said", "hint"),
    [
        (
            "-- confiture: no_transaction\nSELECT 1",
            (1, 1),
            "no directive 'no_transaction'",
            "-- confiture: no-transaction",
        ),
        ("-- a\n  -- confiture: lock-timeout=5s\nSELECT 1", (2, 3), "no directive", "lock_timeout=5s"),
        ("-- confiture: zzz\nSELECT 1", (1, 1), "no directive 'zzz'", "the directives are"),
        ("-- confiture:\nSELECT 1", (1, 1), "no directive ''", "the directives are"),
        ("-- confiture: lock_timeout=soon\nSELECT 1", (1, 1), "cannot read", "lock_timeout=5s"),
        ("-- confiture: lock_timeout='; DROP TABLE x\nSELECT 1", (1, 1), "cannot read", "lock_timeout=5s"),
        (
            "-- confiture: lock_timeout=5\nSELECT 1",
            (1, 1),
            "lock_timeout: 5 has no unit; write 5s, 5ms or 5min",
            "lock_timeout=5s",
        ),
        ("-- confiture: statement_timeout='0.5'\nSELECT 1", (1, 1), "0.5 has no unit", "=10min"),
        ("-- confiture: lock_timeout=400us\nSELECT 1", (1, 1), "shortest timeout, 1ms", "lock_timeout=5s"),
        ("-- confiture: lock_timeout=25d\nSELECT 1", (1, 1), "longest timeout, 24 days", "lock_timeout=5s"),
        ("-- confiture: no-transaction please\nSELECT 1", (1, 1), "cannot read", "no-transaction"),
        ("-- confiture: ignore a reason=none\nSELECT 1", (1, 1), "cannot read", 'reason="why"'),
        (
            "-- confiture: lock_timeout=1s\n-- confiture: lock_timeout=2s\nSELECT 1",
            (2, 1),
            "given twice",
            "keep one",
        ),
        (
            "SELECT 1;\n-- confiture: no-transaction\nSELECT 2",
            (2, 1),
            "below its first statement",
            "above the first",
        ),
        ("SELECT 1; -- confiture: ignore a\nSELECT 2", (1, 11), "out of place", "alone on a line"),
        ("SELECT 1\n-- confiture: ignore a\n+ 1", (2, 1), "out of place", "above any statement"),
        ("SELECT 1;\n-- confiture: ignore a\n", (2, 1), "out of place", "above any statement"),
    ],
)
def test_a_directive_that_cannot_be_followed_is_refused(text, where, said, hint):
    fault = refused(text)

    assert place(fault) == where
    assert said in fault.message
    assert hint in (fault.hint or "")


def test_what_looks_like_a_directive_inside_a_string_is_text():
    assert (
        len(read("SELECT 1; DO $$\n-- confiture: nonsense\n$$; SELECT '\n-- confiture: x'").statements) == 3
    )


# Up and down


DIVIDED = (
    "-- confiture: lock_timeout=1s\n-- migrate:up\nCREATE TABLE é ();\n-- confiture: ignore a\nSELECT 1;\n"
    "-- migrate:down\n-- confiture: statement_timeout=2s\nDROP TABLE é;\n"
)


def test_a_divided_file_is_read_one_direction_at_a_time():
    up, down = read(DIVIDED, divided=True), read(DIVIDED, divided=True, direction="backward")

    assert [(statement.sql, statement.line) for statement in up.statements] == [
        ("CREATE TABLE é ()", 3),
        ("SELECT 1", 5),
    ]
    assert [(statement.sql, statement.line) for statement in down.statements] == [("DROP TABLE é", 8)]
    assert (up.lock_timeout, up.statement_timeout) == ("1s", None)
    assert (down.lock_timeout, down.statement_timeout) == ("1s", "2s")


def test_a_fault_of_the_other_direction_does_not_matter():
    text = "-- migrate:up\nSELECT 1;\n-- migrate:down\nnonsense;"

    assert statements(text, divided=True) == [("SELECT 1", 2, 1)]
    assert place(refused(text, divided=True, direction="backward")) == (4, 1)


def test_dbmates_option_means_no_transaction():
    text = (
        "-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY i ON t (a);\n"
        "-- migrate:down transaction:true\nDROP INDEX i;"
    )

    assert read(text, divided=True).transactional is False
    assert read(text, divided=True, direction="backward").transactional is True


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("-- migrate:down\nSELECT 1;", (1, 1)),
        ("-- migrate:up\nSELECT 1;\n-- migrate:up\nSELECT 2;", (3, 1)),
        ("-- migrate:up\n-- migrate:down\n-- migrate:down\n", (3, 1)),
        ("-- a\n SELECT 1;\n-- migrate:up\nSELECT 2;", (2, 2)),
        ("-- migrate:up transaction:maybe\nSELECT 1;", (1, 1)),
    ],
)
def test_markers_out_of_order_are_refused(text, where):
    assert place(refused(text, divided=True)) == where


def test_an_empty_up_does_nothing():
    assert read("-- migrate:up\n-- migrate:down\nSELECT 1;", divided=True).statements == ()


@pytest.mark.parametrize(
    "text", ["SELECT 1;", "-- migrate:up\nSELECT 1;", "-- migrate:up\nSELECT 1;\n-- migrate:down\n\n"]
)
def test_a_down_that_nobody_wrote_is_none(text):
    assert read_sql_text(text, FILE, "backward", divided=True) is None


@pytest.mark.parametrize(
    "text",
    [
        "-- migrate:up\nSELECT 1;\n-- migrate:down\n-- nothing to undo\n",
        "-- migrate:up\n\n\n-- migrate:down\n\n",
        "-- migrate:up\n",
        "-- nothing is done here\n",
    ],
)
def test_a_down_that_has_nothing_to_undo_does_nothing(text):
    assert read(text, direction="backward", divided=True).statements == ()


def test_a_marker_inside_a_string_divides_nothing():
    text = "SELECT '\n-- migrate:down\n';\nSELECT 2;"

    assert len(read(text, divided=True).statements) == 2


@pytest.mark.parametrize(
    ("files", "backward"),
    [
        ({"1_a.sql": "SELECT 1;"}, None),
        ({"1_a.up.sql": "SELECT 1;"}, None),
        ({"1_a.up.sql": "SELECT 1;", "1_a.down.sql": "-- nothing"}, ("1_a.down.sql", None, None)),
        ({"1_a.up.sql": "SELECT 1;", "1_a.down.sql": "\nSELECT 3;"}, ("1_a.down.sql", "SELECT 3", 2)),
        ({"1_a.sql": "-- migrate:up\nSELECT 1;\n-- migrate:down\nSELECT 4;"}, ("1_a.sql", "SELECT 4", 4)),
    ],
)
def test_the_way_back_is_where_the_file_names_say(tmp_path, files, backward):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (script,) = read_folder(tmp_path)

    down = read_sql(script, "backward")

    first = down.statements[0] if down and down.statements else None
    assert (down and (down.file.name, first and first.sql, first and first.line)) == backward
    assert read_sql(script, "forward") is not None


# psql


def test_copy_data_goes_with_its_statement():
    script = read(
        "COPY t (a) FROM STDIN; -- data\n1\t'x\n\\N\t;\\\\\n\\.\nSELECT 'é';\n"
        "copy public.u from stdin with (format csv);\n\\.\nSELECT 2;"
    )

    assert [(statement.kind, statement.line, statement.copy_data) for statement in script.statements] == [
        ("copy_stmt", 1, "1\t'x\n\\N\t;\\\\\n"),
        ("select_stmt", 5, None),
        ("copy_stmt", 6, ""),
        ("select_stmt", 8, None),
    ]


def test_what_follows_copy_on_its_line_runs_after_the_data():
    text = "COPY t FROM STDIN; COPY u FROM STDIN; SELECT 1;\na\n\\.\nb\n\\.\nSELECT 2;"

    script = read(text)

    assert [(statement.sql, statement.copy_data) for statement in script.statements] == [
        ("COPY t FROM STDIN", "a\n"),
        ("COPY u FROM STDIN", "b\n"),
        ("SELECT 1", None),
        ("SELECT 2", None),
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT * FROM stdin) TO '/stdin'",
        "COPY t FROM '/stdin'",
        "COPY t FROM PROGRAM 'cat stdin'",
        "COPY stdin TO PROGRAM 'cat'",
        "SELECT 1 FROM stdin",
        "DO $$ COPY t FROM STDIN; $$",
    ],
)
def test_other_statements_have_no_data(sql):
    script = read(f"{sql};\nSELECT 2;")

    assert [statement.copy_data for statement in script.statements] == [None, None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT 1;\nCOPY t FROM STDIN;\n1\nSELECT 2;\n", "without the end of its data"),
        ("SELECT 1;\nCOPY t FROM STDIN", "without its data"),
    ],
)
def test_copy_without_the_end_of_its_data_is_refused(text, said):
    fault = refused(text)

    assert said in fault.message
    assert place(fault) == (2, 1)


def test_harmless_lines_of_psql_are_passed_over():
    text = (
        "\\restrict aBc1\n\\set ON_ERROR_STOP on\nSELECT 1;\n\\echo 'quo\\ted' it :x\n"
        "SELECT\n\\echo\n 'é';\\unrestrict aBc1\nSELECT 3;"
    )

    assert [(line, column) for _, line, column in statements(text)] == [(3, 1), (5, 1), (8, 1)]


@pytest.mark.parametrize(
    ("text", "where", "command"),
    [
        ("SELECT 1;\n  \\connect other\n", (2, 3), "\\connect"),
        ("\\c other", (1, 1), "\\c"),
        ("\\i other.sql", (1, 1), "\\i"),
        ("SELECT 'é' \\gexec", (1, 12), "\\gexec"),
        ("\\set name value\nSELECT 1;", (1, 1), "\\set"),
        ("\\echo a \\connect b", (1, 9), "\\connect"),
        ("\\echo x \\\\ SELECT 1;", (1, 9), "\\\\"),
        ("\\echox", (1, 1), "\\echox"),
        ("\\! rm -rf x", (1, 1), "\\!"),
        ("SELECT 1;\n\\.\n", (2, 1), "\\."),
        ("\\copy t from 'x'", (1, 1), "\\copy"),
        ("\\", (1, 1), "\\"),
    ],
)
def test_other_commands_of_psql_are_refused(text, where, command):
    fault = refused(text)

    assert fault.message == f"{command} is a psql command, not SQL"
    assert place(fault) == where
    assert fault.hint


@pytest.mark.parametrize(
    ("text", "column", "variable"),
    [
        ("SELECT 'é', :foo", 13, ":foo"),
        ("SELECT :'foo'", 8, ":'foo'"),
        ('SELECT * FROM :"schema".t', 15, ':"schema"'),
        ("INSERT INTO :schema.t VALUES (1)", 13, ":schema"),
        ("SELECT 1 WHERE a=:v::int", 18, ":v"),
        ("SELECT :{?x}", 8, ":{?x}"),
    ],
)
def test_variables_of_psql_are_refused(text, column, variable):
    fault = refused(text)

    assert fault.message == f"{variable} is a psql variable, not SQL"
    assert place(fault) == (1, column)


def test_a_lone_colon_is_a_plain_syntax_error():
    assert refused("SELECT a := 1").message == 'syntax error at or near ":="'


# Python migrations


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SELECT 1", ("SELECT 1",)),
        (" SELECT 1 ;\n", (" SELECT 1 ;\n",)),
        ("SELECT ';'; -- a\nSELECT 'é' -- b\n;", ("SELECT ';'", "SELECT 'é'")),
        ("SELECT ';'", ("SELECT ';'",)),
        ("SELECT 1; SELECT %(name)s x y", ("SELECT 1; SELECT %(name)s x y",)),
        ("SELECT 1; SELECT '\ud800'", ("SELECT 1; SELECT '\ud800'",)),
        ("-- ; nothing\n", ("-- ; nothing\n",)),
        ("", ("",)),
    ],
)
def test_a_text_of_several_statements_comes_apart(sql, found):
    assert split_statements(sql) == found


# Real files


def test_a_dump_of_pg_dump_is_read():
    text = (DATA / "pg_dump.sql").read_text()

    script = read(text)

    data = {
        statement.line: statement.copy_data
        for statement in script.statements
        if statement.copy_data is not None
    }
    assert list(data.values()) == ["1\tplum\n2\tit's; a \\\\ fig\n3\t\\N\n"]
    assert all(_stands_there(text, statement) for statement in script.statements)
    assert script.statements[-1].sql.startswith("ALTER TABLE ONLY public.jam")


def test_procrastinates_migrations_are_read():
    procrastinate = pytest.importorskip("procrastinate")
    folder = Path(procrastinate.__file__).parent / "sql" / "migrations"

    scripts = read_folder(folder)

    assert len(scripts) == 38
    for script in scripts:
        parsed = read_sql(script, "forward")
        assert parsed is not None
        assert all(_stands_there(script.text, statement) for statement in parsed.statements)


def _stands_there(text: str, statement: Statement) -> bool:
    line = extract_line(text, statement.line)
    return line is not None and line[statement.column - 1 :].startswith(statement.sql.split("\n", 1)[0])
