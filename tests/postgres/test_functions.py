"""What a statement calls is read from the catalog, as far down as it goes."""

from confiture.rehearsal.trace.functions import find_all_not_seen, follow_calls

STIR = """
CREATE TABLE jam (id int);
CREATE FUNCTION fold() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    LOCK jam;
END $$;
CREATE FUNCTION stir() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM fold();
EXCEPTION WHEN others THEN NULL;
END $$;
"""


def texts(each):
    """Return each function with the statements in it."""
    return {one.function: [inner.sql for inner in one.body.statements] for one in each}


def test_functions_are_followed_to_the_bottom(database):
    database.execute(STIR)

    assert texts(follow_calls(database, "SELECT stir()")) == {
        None: [],
        "public.stir": ["SELECT fold()"],
        "public.fold": ["LOCK jam"],
    }


def test_what_is_called_under_exception_can_be_rolled_back_with_it(database):
    database.execute(STIR)

    (missed,) = find_all_not_seen(follow_calls(database, "SELECT stir()"))

    assert (missed.relation, missed.what) == ("jam", "AccessExclusiveLock")
    assert "on line 3 of public.fold" in missed.reason


def test_the_same_function_called_without_exception_keeps_its_lock(database):
    database.execute(STIR)

    assert find_all_not_seen(follow_calls(database, "SELECT fold()")) == ()


def test_a_function_called_both_ways_is_read_as_one_that_may_be_rolled_back(database):
    database.execute(STIR)

    assert find_all_not_seen(follow_calls(database, "DO $$ BEGIN PERFORM fold(); PERFORM stir(); END $$"))


def test_functions_that_call_each_other_come_to_an_end(database):
    database.execute(
        """
        CREATE FUNCTION fold() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
        CREATE FUNCTION stir() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN fold(); EXCEPTION WHEN others THEN RETURN 1; END';
        CREATE OR REPLACE FUNCTION fold() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN stir(); END';
        """
    )

    assert set(texts(follow_calls(database, "SELECT fold()"))) == {None, "public.fold", "public.stir"}


def test_another_schema_and_odd_names_are_found(database):
    name = """"Odd Shelf"."it's \\ ""jam\""" """.strip()
    database.execute(f'CREATE SCHEMA "Odd Shelf"; CREATE PROCEDURE {name}() LANGUAGE sql AS $$ LOCK jam $$')

    found = texts(follow_calls(database, f"CALL {name}()"))

    assert found[name] == ["LOCK jam"]


def test_a_function_beyond_the_search_path_is_not_taken_for_one_of_that_name(database):
    database.execute(
        "CREATE SCHEMA larder; CREATE FUNCTION larder.stir() RETURNS int LANGUAGE sql AS 'SELECT 1'"
    )

    assert set(texts(follow_calls(database, "SELECT stir()"))) == {None}


def test_every_function_of_an_overloaded_name_is_read(database):
    database.execute(
        """
        CREATE FUNCTION stir(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
        CREATE FUNCTION stir(text) RETURNS int LANGUAGE sql AS 'SELECT 2';
        """
    )

    found = [
        one.body.statements[0].sql or "" for one in follow_calls(database, "SELECT stir('a')") if one.function
    ]

    assert sorted(found) == ["SELECT 1", "SELECT 2"]


def test_what_the_server_brings_along_is_not_read(database):
    assert set(texts(follow_calls(database, "SELECT now(), count(*), string_agg('a', 'b')"))) == {None}
