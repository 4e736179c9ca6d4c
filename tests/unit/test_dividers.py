"""A line that divides up from down for another tool, or misspelt for ours, is refused; a remark is not."""

from pathlib import Path

import pytest

from confiture.exceptions import MigrationFault
from confiture.migrations.folder import read_folder
from confiture.sql.script import read_sql, read_sql_text

FILE = Path("1_a.sql")
UP, DOWN = "CREATE TABLE a (i int);", "DROP TABLE a;"

TOOLS = [
    "-- +goose Down",
    "--+goose Down",
    "  -- +goose down  ",
    "-- +goose Up",
    "-- goose down",
    "-- +migrate Down",
    "-- +migrate Up notransaction",
    "-- +micrate Down",
    "-- rambler down",
    "-- dbmate:down",
    "-- @UNDO",
    "-- //@UNDO",
    "--//@UNDO",
    "-- @down",
    "-- !Downs",
    "# --- !Downs",
    "#--- !Ups",
    "--- !Ups",
    "---- create above / drop below ----",
    "--liquibase formatted sql",
    "-- liquibase formatted sql splitStatements:false",
    "-- ==== DOWN ====",
    "-- [down]",
    "-- Down Migration",
    "-- Down Migration: drop it again",
    "-- Down",
    "--- DOWN ---",
    "-----------\n-- Down\n-----------",
    "-- rollback",
    "-- @rollback",
    "-- Undo:",
    "-- Rollback script",
    "-- DOWN SQL",
    "-- Revert",
    "-- roll back:",
    "-- name: down",
    "-- Section: Down",
    "-- +down",
]
MISSPELT = [
    "-- Migrate:Down",
    "-- MIGRATE:DOWN",
    "--Migrate:Down",
    "-- migrate: down",
    "-- migrate :down",
    "--migrate down",
    "-- migrate-down",
    "-- migrate_down",
    "-- migrate::down",
    "-- migrate:down;",
    "-- migrate:donw",
    "-- migrate:rollback",
    "-- migrate: undo",
    "-- migarte:down",
    "-- migration:down",
    "-- @migrate:down",
    "/* migrate:down */",
    "-- Migrate:Up",
]
REMARKS = [
    "-- rollback plan: restore the backup",
    "-- rollback: DROP TABLE a;",
    "-- rollback\n-- DROP TABLE a;",
    "-- Down\n-- DROP TABLE a;",
    "-- undo the mess",
    "-- revert the order of the columns",
    "-- revert: DROP TABLE a;",
    "-- name: downloads",
    "-- migrate: undo the mess",
    "-- ROLLBACK\n-- ======\n-- DROP TABLE a;",
    "-- rollback script is kept elsewhere",
    "-- migrate the users down below",
    "-- migrate all rows up to 2020",
    "-- migrate: users",
    "-- migrate: done",
    "-- migrates up to version 5",
    "-- down migration drops it\n-- with the other file",
    "-- Up",
    "-- ==== UP ====",
    "-- Up Migration",
    "-- set up",
    "-- step down",
    "-- +1 up",
    "-- up/down votes",
    "-- status: up",
    "-- NOTE: the server was down",
    "-- TODO: up",
    "-- goosebumps up",
    "SELECT '-- +goose Down';",
    "SELECT $$\n-- migrate down\n$$;",
    "/*\n-- +goose Down\n*/",
    "COPY a FROM STDIN;\n-- +goose Down\n\\.",
    "SELECT 1; -- Down",
]


def refused(text: str) -> MigrationFault:
    with pytest.raises(MigrationFault) as caught:
        read_sql_text(text, FILE, divided=True)
    assert caught.value.exit_code == 4
    assert caught.value.file == FILE
    return caught.value


@pytest.mark.parametrize("line", TOOLS)
def test_the_divider_of_another_tool_is_refused_with_its_line(line):
    fault = refused(f"{UP}\n\n{line}\n{DOWN}\n")

    assert fault.line == (4 if line.startswith("------") else 3)
    assert "divides nothing" in fault.message
    assert "-- migrate:up" in (fault.hint or "")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("-- +goose Down", "goose"),
        ("--liquibase formatted sql", "liquibase"),
        ("-- Down Migration", "node-pg-migrate"),
    ],
)
def test_the_divider_of_a_tool_whose_files_can_be_read_names_the_command(line, name):
    fault = refused(f"{UP}\n\n{line}\n{DOWN}\n")

    assert f"confiture adopt --from {name};" in (fault.hint or "")


def test_the_divider_of_a_tool_that_cannot_be_adopted_names_no_command():
    fault = refused(f"{UP}\n\n-- +micrate Down\n{DOWN}\n")

    assert "adopt" not in (fault.hint or "")


@pytest.mark.parametrize("line", MISSPELT)
def test_a_misspelt_divider_of_ours_is_refused_with_the_right_spelling(line):
    fault = refused(f"{UP}\n{line}\n{DOWN}\n")

    assert fault.line == 2
    assert "misspelt" in fault.message
    assert f"write -- migrate:{'up' if 'up' in line.lower() else 'down'} " in (fault.hint or "")


@pytest.mark.parametrize("line", REMARKS)
def test_a_remark_is_no_divider(line):
    script = read_sql_text(f"{UP}\n{line}\n{DOWN}\n", FILE, divided=True)

    assert script is not None
    assert [script.statements[at].kind for at in (0, -1)] == ["create_stmt", "drop_stmt"]


def test_the_tool_is_named():
    assert "goose divides up from down with it" in refused(f"-- +goose Up\n{UP}").message
    assert "mybatis-migrations divides" in refused(f"{UP}\n-- @UNDO\n{DOWN}").message


def test_a_divider_of_ours_behind_a_statement_divides_nothing_and_is_refused():
    fault = refused(f"-- migrate:up\n{UP} -- migrate:down\n{DOWN}\n")

    assert fault.line == 2
    assert fault.hint == "put it alone on its line"


def test_another_divider_below_ours_is_refused_too():
    assert refused(f"-- migrate:up\n{UP}\n-- +goose Down\n{DOWN}\n").line == 3


def test_a_divided_file_of_ours_is_as_it_was():
    text = f"-- migrate:up transaction:false\n{UP}\n-- migrate:down\n{DOWN}\n"

    for direction, kind in (("forward", "create_stmt"), ("backward", "drop_stmt")):
        script = read_sql_text(text, FILE, direction, divided=True)  # type: ignore[arg-type]

        assert script is not None
        assert [statement.kind for statement in script.statements] == [kind]


@pytest.mark.parametrize(
    ("up", "down", "where"),
    [
        (f"-- migrate:up\n{UP}\n-- migrate:down\n{DOWN}", DOWN, ("1_a.up.sql", 3)),
        (f"{UP}\n-- ==== DOWN ====\n{DOWN}", DOWN, ("1_a.up.sql", 2)),
        (f"{UP}\n-- Down\n{DOWN}", DOWN, ("1_a.up.sql", 2)),
        (UP, f"{DOWN}\n-- +goose Up\n{UP}", ("1_a.down.sql", 2)),
        (UP, f"{DOWN}\n-- migrate:up\n{UP}", ("1_a.down.sql", 2)),
        (f"-- migrate:up\n-- Up\n{UP}", f"-- migrate:down\n-- ==== Down ====\n{DOWN}", None),
        (f"-- Up Migration\n{UP}\n-- Down is in the other file", f"-- Down Migration\n{DOWN}", None),
    ],
)
def test_a_file_that_is_one_part_may_say_so_but_not_hold_the_other(tmp_path, up, down, where):
    (tmp_path / "1_a.up.sql").write_text(up)
    (tmp_path / "1_a.down.sql").write_text(down)
    (script,) = read_folder(tmp_path)

    faults = []
    for direction in ("forward", "backward"):
        try:
            read_sql(script, direction)
        except MigrationFault as fault:
            faults.append((fault.file and fault.file.name, fault.line))

    assert faults == ([where] if where else [])
