"""What stands inside procedural text is found by PL/pgSQL's own parser."""

import pytest

from confiture.rehearsal.trace.functions import find_not_seen
from confiture.sql.procedural import FunctionCall, InnerStatement, parse_body


def statements(sql):
    """Return the texts that were found."""
    return [statement.sql for statement in parse_body(sql).statements]


def names(sql):
    """Return the functions that are called."""
    return [call.name for call in parse_body(sql).calls]


def block(body, declare=""):
    """Return a DO block."""
    return f"DO $$ {declare} BEGIN {body} END $$"


@pytest.mark.parametrize(
    "body, found",
    [
        ("LOCK TABLE jam;", ["LOCK TABLE jam"]),
        ("LOCK jam; TRUNCATE jar;", ["LOCK jam", "TRUNCATE jar"]),
        (
            "IF true THEN LOCK a; ELSIF false THEN LOCK b; ELSE LOCK c; END IF;",
            ["LOCK a", "LOCK b", "LOCK c"],
        ),
        ("CASE 1 WHEN 1 THEN LOCK a; ELSE LOCK b; END CASE;", ["LOCK a", "LOCK b"]),
        ("CASE WHEN true THEN LOCK a; END CASE;", ["LOCK a"]),
        ("LOOP LOCK a; EXIT; END LOOP;", ["LOCK a"]),
        ("<<outer>> WHILE true LOOP LOCK a; CONTINUE outer; END LOOP;", ["LOCK a"]),
        ("FOR i IN 1..3 LOOP LOCK a; END LOOP;", ["LOCK a"]),
        ("FOR i IN REVERSE 3..1 BY 1 LOOP LOCK a; END LOOP;", ["LOCK a"]),
        ("FOREACH n IN ARRAY ARRAY[1] LOOP LOCK a; END LOOP;", ["LOCK a"]),
        ("FOR r IN SELECT * FROM jam LOOP LOCK a; END LOOP;", ["LOCK a", "SELECT * FROM jam"]),
        ("FOR r IN EXECUTE 'SELECT 1' LOOP LOCK a; END LOOP;", ["SELECT 1", "LOCK a"]),
        ("BEGIN BEGIN LOCK a; END; END;", ["LOCK a"]),
        ("PERFORM stir();", ["SELECT stir()"]),
        ("CALL stir();", ["CALL stir()"]),
        ("DO $in$ BEGIN LOCK a; END $in$;", ["LOCK a"]),
        ("DO 'BEGIN LOCK a; END';", ["LOCK a"]),
        ("SELECT 1 INTO n;", ["SELECT 1"]),
        ("UPDATE jam SET id = n;", ["UPDATE jam SET id = n"]),
        ("OPEN cur FOR SELECT 2;", ["SELECT 2"]),
        ("OPEN cur FOR EXECUTE 'SELECT 2';", ["SELECT 2"]),
        ("n := 1; n = 2; r.id := 3; NULL; COMMIT;", []),
        ("RAISE NOTICE 'LOCK TABLE jam';", []),
        ("-- LOCK TABLE jam;\n /* LOCK TABLE jam; */ NULL;", []),
        ('LOCK "Odd; ""Jam""";', ['LOCK "Odd; ""Jam"""']),
        ("EXECUTE 'LOCK a';", ["LOCK a"]),
        ("EXECUTE 'LOCK a; LOCK b';", ["LOCK a", "LOCK b"]),
        ("EXECUTE 'LOCK ' || 'a';", ["LOCK a"]),
        ("EXECUTE 'LOCK '\n'a';", ["LOCK a"]),
        ("EXECUTE ('LOCK a'::text);", ["LOCK a"]),
        ("EXECUTE $q$LOCK a$q$;", ["LOCK a"]),
        ("EXECUTE E'LOCK\\x20a';", ["LOCK a"]),
        ("EXECUTE 'DO $in$ BEGIN LOCK a; END $in$';", ["LOCK a"]),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';", None),
        ("IF n not /* é */ in (2) THEN LOCK a; END IF;", ["LOCK a"]),
        ("DECLARE at timestamp with -- UTC\n time zone; BEGIN LOCK a; END;", ["LOCK a"]),
        ("EXECUTE 'LOCK ' -- two pieces\n 'a';", ["LOCK a"]),
    ],
)
def test_statements_are_found_wherever_they_stand(body, found):
    sql = block(body, "DECLARE n int; r record; cur refcursor;")

    assert statements(sql) == (found if found is not None else [body.removesuffix(";")])


@pytest.mark.parametrize(
    "body, guarded",
    [
        ("LOCK a;", [False]),
        ("LOCK a; EXCEPTION WHEN others THEN LOCK b;", [True, False]),
        ("LOCK a; BEGIN LOCK b; EXCEPTION WHEN others THEN NULL; END; LOCK c;", [False, True, False]),
        ("BEGIN LOCK a; END; EXCEPTION WHEN others THEN NULL;", [True]),
        ("BEGIN NULL; EXCEPTION WHEN others THEN LOCK a; END; EXCEPTION WHEN others THEN NULL;", [True]),
        ("IF true THEN LOCK a; END IF; EXCEPTION WHEN others THEN NULL;", [True]),
        ("DO $in$ BEGIN LOCK a; END $in$; EXCEPTION WHEN others THEN NULL;", [True]),
        ("EXECUTE 'LOCK a'; EXCEPTION WHEN others THEN NULL;", [True]),
        ("DO $in$ BEGIN LOCK a; EXCEPTION WHEN others THEN NULL; END $in$; LOCK b;", [True, False]),
    ],
)
def test_what_an_exception_clause_rolls_back_is_marked_and_its_handlers_are_not(body, guarded):
    assert [statement.in_exception for statement in parse_body(block(body)).statements] == guarded


def test_lines_are_those_of_the_text():
    sql = """SELECT 1;

DO $$
BEGIN
    LOCK a;

    EXECUTE 'LOCK
        b';
    DO $in$
    BEGIN
        LOCK c;
    END $in$;
END $$"""

    assert [(statement.sql, statement.line) for statement in parse_body(sql).statements] == [
        ("LOCK a", 5),
        ("LOCK\n        b", 7),
        ("LOCK c", 11),
    ]


def test_lines_count_from_the_body_of_a_function():
    sql = "CREATE FUNCTION é()\nRETURNS void\nAS -- the body\n$$\nBEGIN\nLOCK a;\nEND $$\nLANGUAGE plpgsql"

    assert [statement.line for statement in parse_body(sql).statements] == [6]


def test_a_body_with_escapes_has_no_lines_to_tell():
    (found,) = parse_body(r"DO E'BEGIN\n LOCK a; END'").statements

    assert (found.sql, found.line) == ("LOCK a", None)


def test_a_string_that_is_executed_is_dynamic():
    found = parse_body(block("LOCK a; EXECUTE 'LOCK b';")).statements

    assert [inner_statement.dynamic for inner_statement in found] == [False, True]


@pytest.mark.parametrize(
    "text", ["format('LOCK %I', n)", "'LOCK ' || n", "n", "'LOCK ' || quote_ident('a')", "$1 || 'x'", "NULL"]
)
def test_a_text_that_is_made_while_it_runs_is_unknown_and_says_so(text):
    (found,) = parse_body(block(f"EXECUTE {text};", "DECLARE n text;")).statements

    assert (found.sql, found.dynamic) == (None, True)
    assert found.reason == f"its text is built at run time: EXECUTE {text}"


@pytest.mark.parametrize(
    "sql, reason",
    [
        ("DO $$ BEGIN LOCK tabel a; END $$", "it does not parse"),
        ("DO $$ BEGIN IF; END $$", "it does not parse"),
        ("DO $$ this is no block $$", "it does not parse"),
        ("DO LANGUAGE plpython3u $$ plpy.execute('LOCK a') $$", "it is written in plpython3u"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'lib', 'f'", "it is written in c"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT FROM WHERE'", "it does not parse"),
        (block("EXECUTE 'LOCK tabel a';"), "it does not parse"),
        ("DO $$ unfinished", "it does not parse"),
    ],
)
def test_what_cannot_be_read_is_unknown_with_its_reason(sql, reason):
    (found,) = parse_body(sql).unknown

    assert found.reason is not None
    assert reason in found.reason


@pytest.mark.parametrize(
    "sql, called",
    [
        ("SELECT stir(), jar.shake(1)", ["stir", "shake"]),
        ("CALL stir(fold(1))", ["stir", "fold"]),
        ("SELECT * FROM stir() WHERE fold()", ["stir", "fold"]),
        ("UPDATE jam SET id = fold(id)", ["fold"]),
        ("SELECT pg_catalog.now()", ["now"]),
        (block("n := fold(1);", "DECLARE n int;"), ["fold"]),
        (block("n[fold(1)] := stir(2);", "DECLARE n int[];"), ["fold", "stir"]),
        (block("r.id := stir(2);", "DECLARE r record;"), ["stir"]),
        (block("NULL;", "DECLARE n int := fold(1);"), ["fold"]),
        (block("IF fold() THEN NULL; END IF;"), ["fold"]),
        (block("WHILE fold() LOOP NULL; END LOOP;"), ["fold"]),
        (block("FOR i IN fold()..stir() LOOP NULL; END LOOP;"), ["fold", "stir"]),
        (block("ASSERT fold();"), ["fold"]),
        (block("RAISE NOTICE '%', fold();"), ["fold"]),
        (block("EXECUTE 'SELECT stir($1)' USING fold();"), ["stir", "fold"]),
        (block("EXECUTE fold();"), ["fold"]),
        (block("CALL stir(); PERFORM fold();"), ["stir", "fold"]),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN fold(1); END'", ["fold"]),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT fold(1); END", ["fold"]),
    ],
)
def test_the_functions_that_are_called_are_named(sql, called):
    assert names(sql) == called


def test_a_call_says_where_it_stands():
    sql = "DO $$\nBEGIN\n  PERFORM jar.stir();\nEXCEPTION WHEN others THEN PERFORM fold();\nEND $$"

    assert parse_body(sql).calls == (
        FunctionCall("jar", "stir", 3, True),
        FunctionCall(None, "fold", 4, False),
    )


def test_what_is_called_from_a_block_with_exception_can_be_rolled_back_too():
    sql = "CREATE FUNCTION stir() RETURNS void LANGUAGE plpgsql AS 'BEGIN LOCK jam; END'"

    assert parse_body(sql, in_exception=True).statements == (
        InnerStatement("LOCK jam", 1, in_exception=True),
    )


def test_a_trigger_function_is_read():
    sql = """CREATE FUNCTION stir() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN NEW.fruit := '{}},' || TG_OP; LOCK jam; RETURN NEW; END $$"""

    assert statements(sql) == ["LOCK jam"]


def test_an_event_trigger_function_is_read():
    sql = "CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN LOCK jam; RAISE '%', tg_tag; END $$"

    assert statements(sql) == ["LOCK jam"]


def test_a_procedure_in_sql_is_read_statement_by_statement():
    sql = "CREATE PROCEDURE p() LANGUAGE sql AS $$\nLOCK a;\nTRUNCATE b;\n$$"

    assert [(statement.sql, statement.line) for statement in parse_body(sql).statements] == [
        ("LOCK a", 2),
        ("TRUNCATE b", 3),
    ]


def test_a_plain_statement_has_nothing_inside():
    assert parse_body("LOCK TABLE jam; SELECT 1").statements == ()


def test_a_function_that_is_only_created_inside_a_block_is_not_gone_into():
    sql = block("CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS 'BEGIN LOCK jam; END';")

    assert [statement for statement in statements(sql) if statement == "LOCK jam"] == []


def test_a_lock_in_a_block_with_exception_that_nobody_saw_is_reported():
    sql = block("LOCK jam IN SHARE MODE; TRUNCATE larder.jar; EXCEPTION WHEN others THEN NULL;")

    missed = find_not_seen(parse_body(sql))

    assert [(unseen.relation, unseen.what) for unseen in missed] == [
        ("jam", "ShareLock"),
        ("larder.jar", "AccessExclusiveLock"),
    ]
    assert "EXCEPTION" in missed[0].reason


def test_what_an_observer_saw_is_not_reported_again():
    sql = block('LOCK jam; LOCK "Odd Jam"; LOCK larder.jar; EXCEPTION WHEN others THEN NULL;')

    assert find_not_seen(parse_body(sql), {"public.jam", 'public."Odd Jam"', "larder.jar"}) == ()


def test_a_lock_outside_of_exception_is_held_to_the_end_and_not_reported():
    assert find_not_seen(parse_body(block("LOCK jam;"))) == ()


def test_an_unknown_text_in_a_block_with_exception_is_reported_with_its_reason():
    (missed,) = find_not_seen(
        parse_body(block("EXECUTE format('LOCK %I', 'a'); EXCEPTION WHEN others THEN NULL;"))
    )

    assert missed.relation is None
    assert "built at run time" in missed.reason


def test_a_body_in_another_language_may_have_rolled_back_locks():
    (missed,) = find_not_seen(parse_body("DO LANGUAGE plpython3u $$ x $$"))

    assert "plpython3u" in missed.reason


@pytest.mark.parametrize(
    "declared",
    [
        "a larder.kind;",
        "a larder.kind := 'x';",
        "a CONSTANT larder.kind NOT NULL DEFAULT 'x';",
        "a kind[];",
        "a larder.kind[] := '{}';",
        "a kind ARRAY;",
        'a "Odd Schema"."Kind";',
        "a larder.kind(3);",
        "a jam%ROWTYPE; b int; c larder.jam%ROWTYPE;",
        "a larder.jam.id%TYPE; b larder\n.\nkind;",
        "a pg_catalog.int4; b larder.kind;",
    ],
)
def test_types_that_only_a_server_knows_are_no_obstacle(declared):
    body = "LOCK jam;\nBEGIN LOCK jar; EXCEPTION WHEN others THEN NULL; END;"

    found = parse_body(block(body, f"DECLARE {declared}")).statements

    assert [(inner_statement.sql, inner_statement.in_exception) for inner_statement in found] == [
        ("LOCK jam", False),
        ("LOCK jar", True),
    ]


def test_fields_of_a_row_are_assigned_to():
    sql = block("a.id := 1; LOCK jam; BEGIN b.id := 2; END;", "DECLARE a jam%ROWTYPE; b larder.jam;")

    assert statements(sql) == ["LOCK jam"]


def test_types_of_an_inner_block_are_no_obstacle():
    assert statements(block("IF true THEN DECLARE a larder.kind; BEGIN LOCK jam; END; END IF;")) == [
        "LOCK jam"
    ]


@pytest.mark.parametrize(
    "head",
    [
        "f(a larder.kind, b kind[]) RETURNS void",
        "f(a larder.kind[]) RETURNS SETOF larder.kind",
        "f(VARIADIC a kind[] DEFAULT '{}') RETURNS larder.kind",
        "f(OUT a larder.kind, OUT b larder.kind)",
        "f() RETURNS TABLE (a kind[], b larder.kind)",
        "f(a larder.jam.id%TYPE) RETURNS larder.jam.id%TYPE",
        "f(a anyarray) RETURNS anyelement",
    ],
)
def test_types_of_a_signature_are_no_obstacle(head):
    sql = f"CREATE FUNCTION {head} LANGUAGE plpgsql AS $$\nBEGIN LOCK jam;\nEND $$"

    assert [(statement.sql, statement.line) for statement in parse_body(sql).statements] == [("LOCK jam", 2)]


def test_lines_stay_where_types_are_replaced():
    sql = "DO $$\nDECLARE a larder\n.\nkind;\nBEGIN\nLOCK jam;\nEND $$"

    assert [statement.line for statement in parse_body(sql).statements] == [6]
