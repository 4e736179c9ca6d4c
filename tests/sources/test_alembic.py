"""Alembic's revisions are taken over: by its own SQL, with its graph and its heads."""

from __future__ import annotations

import subprocess
import sys

import psycopg
import pytest

from tests.catalog import read_catalog
from tests.project import applied, exists, tables
from tests.tools import find_tool

pytestmark = pytest.mark.slow

ENV = """
import os
import psycopg
from alembic import context
from sqlalchemy import create_engine

config = context.config

if context.is_offline_mode():
    context.configure(
        url=config.get_main_option("sqlalchemy.url"), literal_binds=True, dialect_opts={"paramstyle": "named"}
    )
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(os.environ["APP_URL"]))
    with engine.connect() as connection:
        context.configure(connection=connection, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
"""
HEADER = '''"""{message}

Create Date: {created}
"""
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {down!r}
branch_labels = None
depends_on = {depends!r}

'''


class AlembicFolder:
    """A project's folder of Alembic, and the tool itself."""

    def __init__(self, project):
        self.project, self.count = project, 0
        self.folder = project.migrations
        (self.folder / "versions").mkdir(parents=True)
        (self.folder / "env.py").write_text(ENV)
        (self.folder / "script.py.mako").write_text("")
        (project.folder / "alembic.ini").write_text(
            "[alembic]\nscript_location = %(here)s/migrations\nsqlalchemy.url = driver://u:p@h/d\n"
        )

    def write(self, revision, down, up, back="pass", *, depends=None, message=None):
        """Write a revision; ``up`` and ``back`` are the lines of its functions."""
        self.count += 1
        text = HEADER.format(
            message=message or f"Step {revision}",
            created=f"2026-01-{self.count:02} 10:00:00.000000",
            revision=revision,
            down=down,
            depends=depends,
        )
        for name, body in (("upgrade", up), ("downgrade", back)):
            lines = "".join(f"    {line}\n" for line in body.splitlines())
            text += f"\ndef {name}() -> None:\n{lines}\n"
        path = self.folder / "versions" / f"{revision}_step.py"
        path.write_text(text)
        return path

    def __call__(self, *arguments, url=None):
        """Run Alembic itself, and return what it prints."""
        done = subprocess.run(
            [sys.executable, find_tool("alembic"), *arguments],
            cwd=self.project.folder,
            env=self.project.environment(APP_URL=url or self.project.url),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def alembic(project):
    """An empty folder of Alembic."""
    return AlembicFolder(project)


@pytest.fixture
def shop(alembic):
    """Six revisions: two branches, one that depends on the other, and their merge."""
    alembic.write(
        "aa01",
        None,
        "op.create_table(\n    'orders',\n    sa.Column('id', sa.BigInteger(), primary_key=True),\n"
        "    sa.Column('status', sa.String(20), server_default='new', nullable=False),\n)",
        "op.drop_table('orders')",
        message="Create orders",
    )
    alembic.write(
        "ab02",
        "aa01",
        "op.add_column('orders', sa.Column('note', sa.Text(), comment=\"the customer's; own\"))\n"
        "op.execute(\"INSERT INTO orders (id, note) VALUES (1, '50% -- off')\")",
        "op.execute('DELETE FROM orders')\nop.drop_column('orders', 'note')",
    )
    alembic.write(
        "ac03",
        "ab02",
        "with op.get_context().autocommit_block():\n"
        "    op.create_index('orders_status', 'orders', ['status'], postgresql_concurrently=True)",
        "op.drop_index('orders_status')",
    )
    alembic.write(
        "ba04", "ab02", "op.create_table('jobs', sa.Column('id', sa.Integer()))", "op.drop_table('jobs')"
    )
    alembic.write(
        "bb05",
        "ba04",
        "for name in ('a', 'b'):\n    op.execute(f'CREATE VIEW {name} AS SELECT id FROM jobs')",
        "op.execute('DROP VIEW a, b')",
        depends="ac03",
    )
    alembic.write("cc06", ("ac03", "bb05"), "pass")
    return alembic


def heads(database):
    """Return what Alembic's ledger holds."""
    return [head for (head,) in database.execute("SELECT version_num FROM alembic_version ORDER BY 1")]


def test_adopt_records_what_the_heads_imply_and_run_applies_the_rest(shop, database):
    shop("upgrade", "ab02")

    answer = shop.project("adopt")

    assert answer.code == 0, answer.err
    assert "migrations of Alembic, as env.py shows; ledger public.alembic_version" in answer.out
    assert applied(database) == ["aa01", "ab02"]
    assert shop.project("dry-run", "--no-gate").code == 0
    assert shop.project("run").code == 0
    assert applied(database) == ["aa01", "ab02", "ac03", "ba04", "bb05", "cc06"]
    assert heads(database) == ["ab02"]


def test_the_schema_is_what_alembic_alone_makes(shop, database, alone, tmp_path):
    shop("upgrade", "ab02")
    shop("upgrade", "heads", url=alone)

    shop.project("adopt", "--mirror")
    ran = shop.project("run")

    assert ran.code == 0, ran.err
    database.execute("DROP SCHEMA confiture CASCADE")
    ours, theirs = (read_catalog(url, tmp_path) for url in (shop.project.url, alone))
    assert ours == theirs
    assert database.execute("SELECT note FROM orders").fetchone() == ("50% -- off",)


def test_with_mirror_alembic_finds_nothing_to_do_and_goes_on(shop, database):
    shop("upgrade", "aa01")
    shop.project("adopt", "--mirror")

    assert shop.project("run", "--to", "ba04").code == 0
    assert heads(database) == ["ac03", "ba04"]
    shop("upgrade", "heads")
    assert heads(database) == ["cc06"]
    assert shop.project("adopt", "--from", "alembic", "--mirror").code == 0
    shop("downgrade", "ab02")
    assert heads(database) == ["ab02"]


def test_down_leaves_the_heads_that_alembic_would_leave(shop, database, alone):
    shop("upgrade", "heads")
    shop("upgrade", "heads", url=alone)
    shop.project("adopt", "--mirror")

    ours, theirs = [], []
    with psycopg.connect(alone, autocommit=True) as other:
        for target, steps in (("bb05", 1), ("ba04", 1), ("ab02", 2), ("base", 2)):
            assert shop.project("down", "--steps", str(steps)).code == 0
            shop("downgrade", target, url=alone)
            ours.append(heads(database))
            theirs.append(heads(other))

    assert ours == theirs == [["bb05"], ["ac03", "ba04"], ["ab02"], []]
    assert "public.orders" not in tables(database)


def test_a_run_with_nothing_to_do_starts_no_process(shop, database, monkeypatch):
    shop("upgrade", "heads")
    shop.project("adopt")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))

    assert shop.project("run").code == 0
    assert shop.project("status").code == 0


def test_a_new_branch_below_what_is_applied_is_not_out_of_order(shop, database):
    shop("upgrade", "heads")
    shop.project("adopt")
    path = shop.write("a100", "aa01", "op.create_table('late', sa.Column('id', sa.Integer()))")
    path.write_text(path.read_text().replace("2026-01", "2025-01"))

    assert shop.project("run").code == 0
    assert exists(database, "public.late")


def test_a_revision_that_reads_from_the_database_is_refused_with_its_line(shop, database):
    path = shop.write("dd07", "cc06", "rows = op.get_bind().execute(sa.text('SELECT 1')).fetchall()")
    line = (
        path.read_text().split("\n").index("    rows = op.get_bind().execute(sa.text('SELECT 1')).fetchall()")
        + 1
    )

    answer = shop.project("adopt", "--from", "alembic")
    ran = shop.project("run")

    assert answer.code == 0, answer.err
    assert ran.code == 4
    assert f"versions/dd07_step.py:{line}" in ran.err
    assert "upgrade() of revision dd07 cannot be rendered as SQL" in ran.err
    assert "alembic upgrade" in ran.err
    assert "public.orders" not in tables(database)


def test_an_error_of_the_server_names_the_line_of_the_revision(shop, database):
    path = shop.write("dd07", "cc06", "op.execute('SELECT 1')\nop.execute(\n    '''SELECT\n    nothing''')")
    line = path.read_text().split("\n").index("    op.execute(") + 1
    shop.project.configure('source = "alembic"\n')

    ran = shop.project("run")

    assert ran.code == 4
    assert f"versions/dd07_step.py:{line}" in ran.err


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('revision = "cc06"', "revision = make()", "revision is computed"),
        ('revision = "cc06"', "", "declares no revision"),
        ('revision = "cc06"', 'revision = "bb05"', "revision bb05 is used twice"),
        ("'bb05'", "'ffff'", "revision cc06 requires ffff, which no file declares"),
        ("'bb05'", "'cc06'", "requires itself"),
        ("import sqlalchemy as sa", "import (", "is not Python"),
    ],
)
def test_a_faulty_file_is_refused_by_its_name(shop, old, new, words):
    path = shop.folder / "versions" / "cc06_step.py"
    text = path.read_text()
    path.write_text(text.replace(old, new).replace("\n" + new, "\n" + new))
    shop.project.configure('source = "alembic"\n')

    answer = shop.project("run")

    assert answer.code == 4
    assert words in answer.err
    assert "cc06_step.py" in answer.err or "bb05_step.py" in answer.err


def test_a_changed_revision_is_a_changed_migration(shop):
    shop("upgrade", "heads")
    shop.project("adopt")
    path = shop.folder / "versions" / "aa01_step.py"
    path.write_text(path.read_text() + "\n# a remark\n")

    answer = shop.project("run")

    assert answer.code == 7
    assert "changed since it was applied: aa01 create_orders" in answer.err


def test_a_head_without_its_file_is_refused(shop, database):
    shop("upgrade", "ab02")
    database.execute("UPDATE alembic_version SET version_num = 'feed'")

    answer = shop.project("adopt")

    assert answer.code == 7
    assert "applied, but its file is missing: feed" in answer.err


def test_an_env_that_fails_is_said_with_the_command_to_try(shop):
    (shop.folder / "env.py").write_text("import alembic\nraise RuntimeError('no settings')\n")
    shop.project.configure('source = "alembic"\n')

    answer = shop.project("run")

    assert answer.code == 2
    assert "env.py:2: RuntimeError: no settings" in answer.err
    assert "alembic upgrade --sql heads" in answer.err


def test_no_message_shows_the_password_of_a_url(shop):
    (shop.folder / "env.py").write_text(
        "import alembic\nraise RuntimeError('bad: postgresql://u:secret@h/d')\n"
    )
    shop.project.configure('source = "alembic"\n')

    answer = shop.project("run")

    assert "postgresql://u:***@h/d" in answer.err
    assert "secret" not in answer.err


def test_a_commit_written_by_hand_ends_the_transaction(shop, database):
    shop.write(
        "dd07",
        "cc06",
        "op.execute('COMMIT')\nop.execute('CREATE INDEX CONCURRENTLY orders_note ON orders (note)')",
    )
    shop.project.configure('source = "alembic"\n')

    answer = shop.project("run")

    assert answer.code == 0, answer.err
    assert exists(database, "public.orders_note")


def test_pyproject_may_have_the_configuration(shop, database):
    (shop.project.folder / "alembic.ini").unlink()
    extra = shop.project.folder / "extra"
    extra.mkdir()
    (shop.folder / "versions" / "cc06_step.py").rename(extra / "cc06_step.py")
    (shop.project.folder / "pyproject.toml").write_text(
        '[tool.alembic]\nscript_location = "%(here)s/migrations"\n'
        'version_locations = ["%(here)s/migrations/versions", "%(here)s/extra"]\n'
    )
    shop.project.configure('source = "alembic"\n')

    answer = shop.project("run")

    assert answer.code == 0, answer.err
    assert applied(database)[-1] == "cc06"


def test_revisions_may_be_in_several_folders(shop, database):
    extra = shop.project.folder / "extra"
    extra.mkdir()
    (shop.folder / "versions" / "cc06_step.py").rename(extra / "cc06_step.py")
    with (shop.project.folder / "alembic.ini").open("a") as file:
        file.write(
            "path_separator = space\nversion_locations = %(here)s/migrations/versions %(here)s/extra\n"
        )
    shop.project.configure('source = "alembic"\n')

    answer = shop.project("run")

    assert answer.code == 0, answer.err
    assert applied(database)[-1] == "cc06"
