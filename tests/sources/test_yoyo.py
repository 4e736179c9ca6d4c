"""yoyo's folder and ledger are taken over as they are."""

from __future__ import annotations

import subprocess
from urllib.parse import quote

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.project import Project, applied, exists, tables
from tests.tools import find_tool

ORDERS = "-- depends:\nCREATE TABLE orders (id int PRIMARY KEY);\n"
AMOUNT = """\
    -- Adds the amount; its index needs no lock.
    -- transactional: false
    -- depends: 0001.orders

    ALTER TABLE orders ADD amount int;
    CREATE INDEX CONCURRENTLY orders_amount ON orders (amount);
    """
NOTES = '''\
    """Notes of an order."""

    from yoyo import group, step

    __depends__ = {"0002.amount"}

    steps = [
        step("""
            CREATE TABLE notes (id int REFERENCES orders)
        """, "DROP TABLE notes"),
        group(
            step("ALTER TABLE notes ADD body text", "ALTER TABLE notes DROP body"),
            step("CREATE VIEW bodies AS SELECT body FROM notes", "DROP VIEW bodies"),
        ),
    ]
    '''
FILES = {
    "0001.orders.sql": ORDERS,
    "0001.orders.rollback.sql": "DROP TABLE orders;\n",
    "0002.amount.sql": AMOUNT,
    "0002.amount.rollback.sql": "DROP INDEX orders_amount;\nALTER TABLE orders DROP amount;\n",
    "0003.notes.py": NOTES,
    "__init__.py": "",
}


# The table as yoyo creates it.
LEDGER = """
    CREATE TABLE _yoyo_migration (
        migration_hash VARCHAR(64), migration_id VARCHAR(255), applied_at_utc TIMESTAMP,
        PRIMARY KEY (migration_hash)
    )
"""


@pytest.fixture
def shop(project):
    """A project of yoyo's."""
    for name, text in FILES.items():
        project.write(name, text)
    return project


@pytest.fixture
def chosen(project):
    """A project whose configuration names the convention."""
    project.configure('source = "yoyo"\n')
    return project


def call_yoyo(project: Project, *arguments: str) -> str:
    """Run the real yoyo on the project's database, and return what it wrote."""
    yoyo = find_tool("yoyo")
    parts = conninfo_to_dict(project.url)
    where = "&".join(
        f"{name}={quote(str(parts[name]), safe='')}" for name in ("host", "port") if name in parts
    )
    user = quote(str(parts.get("user", "postgres")))
    url = f"postgresql+psycopg://{user}@/{parts['dbname']}?{where}"
    command, *rest = arguments
    done = subprocess.run(
        [yoyo, command, "--batch", "--no-config-file", "--database", url, *rest, str(project.migrations)],
        capture_output=True,
        text=True,
        cwd=project.folder,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def dump(project):
    """Return the schema of the project's database, without confiture's own."""
    answer = project("dump", "dumped.sql")
    assert answer.code == 0, answer.err
    return (project.folder / "dumped.sql").read_text()


def recorded(database):
    """Return what yoyo's ledger has, in order."""
    return [
        identifier
        for (identifier,) in database.execute(
            "SELECT migration_id FROM _yoyo_migration ORDER BY applied_at_utc"
        )
    ]


def list_pending(project):
    """Return what the real yoyo would apply."""
    return [line.split()[1] for line in call_yoyo(project, "list").splitlines() if line.startswith("U ")]


def order(project, **files):
    """Return the versions of these files, in the order in which they would run."""
    for name, text in files.items():
        project.write(f"{name}.sql", text)
    answer = project("status", "--output", "json")
    assert answer.code == 0, answer.err
    return [migration["version"] for migration in answer.json["migrations"]]


@pytest.mark.slow
def test_half_with_yoyo_and_half_with_confiture_make_the_schema_that_yoyo_makes(shop, database, alone):
    call_yoyo(shop, "apply", "--revision", "0002.amount")

    adopted = shop("adopt", "--mirror")
    ran = shop("run")
    twin = Project(shop.folder, alone)
    call_yoyo(twin, "apply")

    assert adopted.code == 0, adopted.err
    assert ran.code == 0, ran.err
    assert dump(shop) == dump(twin)
    assert recorded(database) == ["0001.orders", "0002.amount", "0003.notes", "__init__"]
    assert list_pending(shop) == []


@pytest.mark.slow
def test_with_mirror_yoyo_undoes_what_confiture_applied(shop, database):
    call_yoyo(shop, "apply", "--revision", "0001.orders")
    shop("adopt", "--mirror")
    shop("run")

    call_yoyo(shop, "rollback", "--revision", "0003.notes")

    assert recorded(database) == ["0001.orders", "0002.amount", "__init__"]
    assert not exists(database, "notes")


@pytest.mark.slow
def test_with_mirror_yoyo_applies_again_what_confiture_undid(shop, database):
    call_yoyo(shop, "apply")
    shop("adopt", "--mirror")

    down = shop("down", "--steps", "2")

    assert down.code == 0, down.err
    assert not exists(database, "notes")
    assert list_pending(shop) == ["0003.notes", "__init__"]
    call_yoyo(shop, "apply")
    assert exists(database, "bodies")


@pytest.mark.slow
def test_the_order_is_that_of_yoyo(chosen, database):
    ours = order(
        chosen,
        a="-- depends: z\nSELECT 1;",
        b="SELECT 1;",
        c="-- depends: y\nSELECT 1;",
        y="-- depends: b\n-- depends: x\nSELECT 1;",
        x="SELECT 1;",
        z="-- depends: x\nSELECT 1;",
    )

    call_yoyo(chosen, "apply")

    assert ours == ["b", "x", "y", "c", "z", "a"]
    assert recorded(database) == ours


def test_adopt_recognizes_yoyo_and_records_in_its_order(shop, database):
    database.execute(LEDGER)
    database.execute("INSERT INTO _yoyo_migration VALUES ('h', '0001.orders', '2026-01-01 12:00')")

    answer = shop("adopt")

    assert answer.code == 0, answer.err
    assert (
        "migrations of yoyo, as 0001.orders.rollback.sql shows; ledger public._yoyo_migration" in answer.out
    )
    ((moment,),) = database.execute("SELECT extract(epoch FROM applied_at) FROM confiture.ledger").fetchall()
    assert int(moment) == 1767268800


def test_a_run_applies_all_and_down_undoes_all(shop, database):
    shop.configure('source = "yoyo"\n')

    ran = shop("run")
    after_run = tables(database)
    down = shop("down", "--steps", "4")

    assert ran.code == 0, ran.err
    assert "public.notes" in after_run
    assert down.code == 0, down.err
    assert "public.orders" not in tables(database)
    assert applied(database) == []


def test_a_lock_of_yoyo_is_refused(shop, database):
    database.execute(LEDGER)
    database.execute(
        "CREATE TABLE yoyo_lock (locked int PRIMARY KEY DEFAULT 1, ctime timestamp, pid int NOT NULL)"
    )
    database.execute("INSERT INTO yoyo_lock VALUES (1, now(), 4711)")

    answer = shop("adopt")

    assert answer.code == 7
    assert "process 4711 of yoyo holds its lock" in answer.err
    assert "yoyo break-lock" in answer.err


def test_a_file_that_does_not_exist_is_no_dependency(chosen):
    chosen.write("0002.b.sql", "-- depends: 0001.a\nSELECT 1;\n")

    answer = chosen("status")

    assert answer.code == 4
    assert "0002.b.sql depends on 0001.a, which does not exist" in answer.err


def test_migrations_that_depend_on_each_other_are_refused(chosen):
    chosen.write("a.sql", "-- depends: b\nSELECT 1;\n")
    chosen.write("b.sql", "-- depends: a\nSELECT 1;\n")

    answer = chosen("status")

    assert answer.code == 4
    assert "these migrations depend on each other: a and b" in answer.err


def test_a_directive_below_the_first_statement_is_a_comment(chosen):
    assert order(chosen, a="SELECT 1;\n-- depends: nothing\n") == ["a"]


def test_transactional_is_true_or_false(chosen):
    chosen.write("a.sql", "\n-- transactional: no\nSELECT 1;\n")

    answer = chosen("status")

    assert answer.code == 4
    assert "a.sql:2: transactional is true or false, not 'no'" in answer.err


def test_a_migration_without_rollback_is_not_undone(chosen):
    chosen.write("a.sql", "SELECT 1;\n")
    chosen("run")

    answer = chosen("down")

    assert answer.code == 4
    assert "migration a has no rollback" in answer.err
    assert "write a.rollback.sql beside it" in answer.err


def test_empty_files_are_migrations_that_do_nothing(chosen, database):
    chosen.write("a.sql", "")
    chosen.write("b.py", "")
    chosen.write("c.sql", "SELECT 1;\n")
    chosen.write("c.rollback.sql", "")

    assert chosen("run").code == 0
    assert chosen("down", "--steps", "3").code == 0
    assert applied(database) == []


def test_other_files_and_subfolders_are_not_read(chosen):
    (chosen.migrations / "old").mkdir(parents=True)
    for name in ("old/x.sql", "_tmp_yoyonew1.py", "readme.txt"):
        chosen.write(name, "nonsense")

    assert order(chosen, a="SELECT 1;") == ["a"]


def test_a_file_that_runs_after_every_apply_is_refused(chosen):
    chosen.write("a.sql", "SELECT 1;\n")
    chosen.write("post-apply.sql", "SELECT 1;\n")

    answer = chosen("status")

    assert answer.code == 4
    assert "yoyo runs post-apply.sql after every apply, and confiture does not" in answer.err


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("def f(conn):\n    pass\nstep(f)\n", "3:6", "this step is Python, 'f', and not SQL"),
        ("step(lambda conn: 1)\n", "1:6", "this step is Python, 'lambda conn: 1', and not SQL"),
        ("x = 'a'\nsteps = [step(f'DROP TABLE {x}')]\n", "2:15", "this step is Python"),
        ("for i in range(3):\n    step(f'SELECT {i}')\n", "1:1", "only Python can run this"),
        ("step('SELECT 1', ignore_errors='apply')\n", "1:32", "this step ignores errors"),
        ("step('SELECT 1', None, 'all')\n", "1:24", "this step ignores errors"),
        ("__transactional__ = 0\n", "1:21", "__transactional__ is neither True nor False"),
        ("__depends__ = find()\n", "1:15", "__depends__ is not written as names"),
    ],
)
def test_python_that_is_not_plain_sql_is_refused_with_its_place(chosen, text, place, message):
    chosen.write("a.py", text)

    answer = chosen("status")

    assert answer.code == 4
    assert f"a.py:{place}: {message}" in answer.err
    assert "write its SQL to NAME.sql" in answer.err


def test_python_that_does_not_parse_is_refused(chosen):
    chosen.write("a.py", "step(\n")

    answer = chosen("status")

    assert answer.code == 4
    assert "a.py:1" in answer.err
    assert "this is no Python" in answer.err


def test_nothing_of_a_python_file_is_run(chosen, tmp_path):
    chosen.write("a.py", f"import os\n\ndef unused(conn):\n    open({str(tmp_path / 'x')!r}, 'w')\n")

    assert chosen("run").code == 0
    assert not (tmp_path / "x").exists()


def test_an_error_in_a_step_shows_its_place_in_the_python_file(chosen):
    chosen.write("a.py", 'SQL = """\nCREATE TABLE ok ();\nCREATE TABEL bad ();\n"""\nstep(SQL)\n')

    answer = chosen("run")

    assert answer.code == 4
    assert "a.py:3:8" in answer.err


def test_python_outside_a_transaction(chosen, database):
    chosen.write("a.py", "step('CREATE TABLE t (id int)')\n")
    chosen.write(
        "b.py",
        "__depends__ = ['a']\n__transactional__ = False\n"
        "step('CREATE INDEX CONCURRENTLY t_id ON t (id) -- at leisure')\nstep('VACUUM t')\n",
    )

    answer = chosen("run")

    assert answer.code == 0, answer.err
    assert exists(database, "t_id")
