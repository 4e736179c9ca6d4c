"""Django's migrations of several apps are taken over, by the SQL that Django itself writes."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent, indent

import pytest

from tests.catalog import read_catalog
from tests.project import applied

pytest.importorskip("django")
pytestmark = pytest.mark.slow

MANAGE = """\
import os
import sys


def main():
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")
    from django.core.management import execute_from_command_line

    print("hello from manage.py")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
"""
SETTINGS = """\
import os
from psycopg.conninfo import conninfo_to_dict

_url = conninfo_to_dict(os.environ["APP_URL"])
SECRET_KEY = "test"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "people", "orders"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _url["dbname"],
        "USER": _url.get("user", ""),
        "HOST": _url.get("host", ""),
        "PORT": _url.get("port", ""),
    }
}
"""
HEADER = """\
from django.contrib.postgres.operations import AddIndexConcurrently, HStoreExtension
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = {dependencies!r}
{more}    operations = [
{operations}    ]
"""
PERSON = """\
migrations.CreateModel(
    name="Person",
    fields=[
        ("id", models.BigAutoField(primary_key=True)),
        ("email", models.EmailField(max_length=100, unique=True)),
        ("name", models.CharField(max_length=20, default="100% new's")),
    ],
),
"""
ORDER = """\
migrations.CreateModel(
    name="Order",
    fields=[
        ("id", models.BigAutoField(primary_key=True)),
        ("code", models.CharField(max_length=10, db_index=True)),
        ("person", models.ForeignKey("people.Person", on_delete=models.CASCADE)),
    ],
    options={"unique_together": {("code", "person")}},
),
"""
NOTE = """\
migrations.AddField("order", "note", models.TextField(default="50% -- off")),
migrations.RunSQL("UPDATE orders_order SET note = 'a;b'; SELECT 1;", migrations.RunSQL.noop),
"""
DROPS = """\
migrations.AlterUniqueTogether("order", set()),
migrations.AlterField("order", "code", models.CharField(max_length=20)),
migrations.RemoveField("order", "person"),
"""
INDEX = """\
AddIndexConcurrently("order", models.Index(fields=["note"], name="orders_note")),
"""


class DjangoProject:
    """A project of Django with the apps ``people`` and ``orders``, and Django itself."""

    def __init__(self, project):
        self.project, self.folder = project, project.folder
        project.environ["APP_URL"] = project.url
        (self.folder / "manage.py").write_text(MANAGE)
        (self.folder / "site_settings.py").write_text(SETTINGS)
        for app in ("people", "orders"):
            (self.folder / app / "migrations").mkdir(parents=True)
            (self.folder / app / "__init__.py").touch()
            (self.folder / app / "migrations" / "__init__.py").touch()

    def write(self, app, name, operations, *dependencies, more=""):
        """Write a migration."""
        text = HEADER.format(
            dependencies=list(dependencies),
            more=indent(dedent(more), "    "),
            operations=indent(dedent(operations), " " * 8),
        )
        path = self.folder / app / "migrations" / f"{name}.py"
        path.write_text(text)
        return path

    def manage(self, *arguments, url=None):
        """Run a command of Django, and return what it prints."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.folder,
            env=self.project.environment(APP_URL=url or self.project.url),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def __call__(self, *arguments):
        """Run a command of confiture on this project."""
        return self.project(*arguments, "--migrations", ".")


@pytest.fixture
def django(project):
    """A project without migrations."""
    return DjangoProject(project)


@pytest.fixture
def shop(django):
    """A project with six migrations in two apps, of which one cannot run in a transaction."""
    django.write("people", "0001_initial", PERSON)
    django.write("orders", "0001_initial", ORDER, ("people", "0001_initial"))
    django.write("orders", "0002_note", NOTE, ("orders", "0001_initial"))
    django.write("orders", "0003_drops", DROPS, ("orders", "0002_note"))
    django.write("orders", "0004_index", INDEX, ("orders", "0003_drops"), more="atomic = False\n")
    return django


CONTENT_TYPES = ["contenttypes.0001_initial", "contenttypes.0002_remove_content_type_name"]
ORDERS = ["orders.0001_initial", "orders.0002_note", "orders.0003_drops", "orders.0004_index"]


def rows(conn):
    """Return what Django's ledger holds, but for its own apps."""
    found = conn.execute(
        "SELECT app || '.' || name FROM django_migrations WHERE app <> 'contenttypes' ORDER BY 1"
    )
    return [name for (name,) in found]


def test_adopt_records_what_django_applied_and_run_goes_on(shop, database):
    shop.manage("migrate", "orders", "0001")

    answer = shop("adopt")

    assert answer.code == 0, answer.err
    assert "migrations of Django, as manage.py shows; ledger public.django_migrations" in answer.out
    assert applied(database) == ["orders.0001_initial", "people.0001_initial"]
    assert shop("dry-run", "--no-gate").code == 0
    ran = shop("run")
    assert ran.code == 0, ran.err
    assert applied(database) == [*CONTENT_TYPES, *ORDERS, "people.0001_initial"]
    assert rows(database) == ["orders.0001_initial", "people.0001_initial"]


def test_the_schema_is_what_django_alone_makes_and_django_finds_nothing_to_do(
    shop, database, alone, tmp_path
):
    shop.manage("migrate", "people")
    shop.manage("migrate", url=alone)

    shop("adopt", "--mirror")
    ran = shop("run")

    assert ran.code == 0, ran.err
    assert "No migrations to apply" in shop.manage("migrate")
    database.execute("DROP SCHEMA confiture CASCADE")
    assert read_catalog(shop.project.url, tmp_path) == read_catalog(alone, tmp_path)


def test_django_goes_on_and_undoes_what_confiture_applied(shop, database):
    shop.manage("migrate", "people")
    shop("adopt", "--mirror")

    assert shop("run", "--to", "orders.0002_note").code == 0
    shop.manage("migrate", "orders", "0003")
    assert shop("run").code == 7
    assert shop("adopt", "--from", "django", "--mirror").code == 0
    assert shop("run").code == 0
    shop.manage("migrate", "orders", "zero")
    assert rows(database) == ["people.0001_initial"]


def test_confiture_undoes_what_django_applied(shop, database, alone, tmp_path):
    shop.manage("migrate")
    shop.manage("migrate", url=alone)
    shop("adopt", "--mirror")

    undone = shop("down", "--steps", "3")
    shop.manage("migrate", "orders", "0001", url=alone)

    assert undone.code == 0, undone.err
    assert rows(database) == ["orders.0001_initial", "people.0001_initial"]
    database.execute("DROP SCHEMA confiture CASCADE")
    assert read_catalog(shop.project.url, tmp_path) == read_catalog(alone, tmp_path)


def test_a_run_with_nothing_to_do_asks_for_the_list_only(shop, monkeypatch):
    shop.manage("migrate")
    shop("adopt")
    shop.project.configure('source = "django"\n')
    started, run = [], subprocess.run

    def note_and_run(*arguments, **more):
        started.append(more["input"])
        return run(*arguments, **more)

    monkeypatch.setattr(subprocess, "run", note_and_run)

    assert shop("run").code == 0
    assert started == ['{"mode": "list"}']


def test_a_new_migration_of_an_app_that_others_do_not_need_is_not_out_of_order(shop, database):
    shop.manage("migrate")
    shop("adopt")
    field = 'migrations.AddField("person", "age", models.IntegerField(null=True)),\n'
    shop.write("people", "0002_age", field, ("people", "0001_initial"))

    answer = shop("run")

    assert answer.code == 0, answer.err
    assert applied(database)[-1] == "people.0002_age"


def test_python_on_the_rows_is_refused_with_its_line_and_the_way_on(shop, database):
    code = "migrations.RunSQL('SELECT 1'),\nmigrations.RunPython(fill, migrations.RunPython.noop),\n"
    path = shop.write("orders", "0005_fill", code, ("orders", "0004_index"))
    path.write_text("def fill(apps, schema_editor):\n    raise SystemExit(1)\n\n\n" + path.read_text())
    line = 1 + path.read_text()[: path.read_text().index("migrations.RunPython(")].count("\n")
    shop.manage("migrate", "orders", "0001")
    shop("adopt")

    ran = shop("run")

    assert ran.code == 4
    assert f"0005_fill.py:{line}" in ran.err
    assert "orders.0005_fill cannot be run as SQL: RunPython(fill) runs Python on the rows" in ran.err
    assert "manage.py migrate orders 0005_fill, and then: confiture adopt --from django" in ran.err
    assert "orders.0002_note" not in applied(database)


def test_python_that_does_nothing_is_left_out(shop, database):
    code = "migrations.RunPython(migrations.RunPython.noop, fill),\n"
    path = shop.write("orders", "0005_fill", code, ("orders", "0004_index"))
    path.write_text("def fill(apps, schema_editor):\n    pass\n\n\n" + path.read_text())
    shop.project.configure('source = "django"\n')

    ran, undone = shop("run"), shop("down", "--to", "orders.0004_index")

    assert ran.code == 0, ran.err
    assert undone.code == 4
    assert "orders.0005_fill cannot be undone as SQL: RunPython(fill)" in undone.err


def test_lint_checks_the_sql_and_names_what_has_none(shop):
    shop.write("orders", "0005_fill", "migrations.RunPython(print),\n", ("orders", "0004_index"))
    shop.project.configure('source = "django"\n')

    answer = shop("lint")

    assert answer.code in (0, 1), answer.err
    assert "orders/migrations/0003_drops.py" in answer.out
    assert "not checked, as no SQL can be made of it: orders/migrations/0005_fill.py" in answer.out


def test_what_cannot_be_reversed_is_said(shop):
    shop.write("orders", "0005_once", "migrations.RunSQL('SELECT 1'),\n", ("orders", "0004_index"))
    shop.project.configure('source = "django"\n')
    shop("run")

    answer = shop("down")

    assert answer.code == 4
    assert "orders.0005_once cannot be undone as SQL: RunSQL is not reversible" in answer.err


def test_an_error_of_the_server_names_the_line_of_the_operation(shop):
    code = "migrations.RunSQL('SELECT 1'),\nmigrations.RunSQL(\n    'SELECT nothing'\n),\n"
    path = shop.write("orders", "0005_bad", code, ("orders", "0004_index"))
    line = 1 + path.read_text()[: path.read_text().index("migrations.RunSQL(\n")].count("\n")
    shop.project.configure('source = "django"\n')

    answer = shop("run")

    assert answer.code == 4
    assert f"0005_bad.py:{line}" in answer.err


WIDE = (
    """
    HStoreExtension(),
    migrations.CreateModel("Tag", [
        ("code", models.CharField(max_length=5, primary_key=True)),
        ("rank", models.IntegerField(unique=True, db_index=True)),
        ("slug", models.SlugField()),
    ]),
    migrations.CreateModel("Box", [
        ("id", models.AutoField(primary_key=True)),
        ("tags", models.ManyToManyField("people.Tag")),
        ("tag", models.ForeignKey("people.Tag", models.SET_NULL, null=True, related_name="+")),
        ("size", models.PositiveIntegerField(default=1)),
        ("born", models.DateTimeField(auto_now_add=True)),
        ("data", models.JSONField(default=dict)),
    ]),
    """,
    """
    migrations.AlterField("Tag", "code", models.CharField(max_length=50, primary_key=True)),
    migrations.AlterField("Tag", "rank", models.BigIntegerField(null=True)),
    migrations.AlterField("Tag", "slug", models.TextField(db_index=True)),
    migrations.AlterField("Box", "id", models.BigAutoField(primary_key=True)),
    migrations.AlterField("Box", "size", models.IntegerField(default=5, null=True)),
    migrations.AlterField("Box", "tag", models.ForeignKey("people.Person", models.CASCADE, null=True)),
    migrations.AddConstraint("Box", models.CheckConstraint(condition=models.Q(size__gt=0), name="size_pos")),
    migrations.AddConstraint(
        "Box", models.UniqueConstraint(fields=["size"], condition=models.Q(born__isnull=False), name="size_once")
    ),
    migrations.AddIndex("Box", models.Index(fields=["born", "size"], name="born_size")),
    migrations.AddField("Box", "level", models.CharField(max_length=9, default="it's", db_comment="how it's")),
    """,
    """
    migrations.RemoveConstraint("Box", "size_once"),
    migrations.RemoveConstraint("Box", "size_pos"),
    migrations.RenameModel("Box", "Crate"),
    migrations.RenameField("Crate", "size", "volume"),
    migrations.AlterModelTable("Crate", "the crates"),
    migrations.AlterField("Crate", "volume", models.BigIntegerField(default=7)),
    migrations.RemoveField("Crate", "tag"),
    migrations.AlterUniqueTogether("Crate", {("level", "volume")}),
    migrations.AlterField("Person", "email", models.EmailField(max_length=100)),
    """,
    """
    migrations.AlterUniqueTogether("Crate", set()),
    migrations.RemoveField("Crate", "tags"),
    migrations.AlterField("Tag", "slug", models.CharField(max_length=9)),
    migrations.DeleteModel("Tag"),
    """,
)


def test_a_history_of_many_operations_makes_the_same_schemas_there_and_back(shop, alone, tmp_path):
    before = ("people", "0001_initial")
    for number, operations in enumerate(WIDE, 2):
        shop.write("people", f"000{number}_step", operations, before)
        before = ("people", f"000{number}_step")
    shop.manage("migrate", "people", "0001")
    shop("adopt", "--mirror")

    def read_both():
        ours, theirs = (read_catalog(url, tmp_path) for url in (shop.project.url, alone))
        return {text for text in ours if "SCHEMA confiture" not in text and "confiture." not in text}, theirs

    ran = shop("run")
    shop.manage("migrate", url=alone)
    ours, theirs = read_both()
    assert ran.code == 0, ran.err
    assert ours == theirs

    undone = shop("down", "--steps", "3")
    shop.manage("migrate", "people", "0002", url=alone)
    ours, theirs = read_both()
    assert undone.code == 0, undone.err
    assert ours == theirs


def write_squashed(shop):
    """Squash the first two migrations of ``orders``, and let a new one depend on that."""
    replaces = "replaces = [('orders', '0001_initial'), ('orders', '0002_note')]\n"
    note = 'migrations.AddField("order", "note", models.TextField(default="50% -- off")),\n'
    name = "0001_squashed_0002_note"
    shop.write("orders", name, ORDER + note, ("people", "0001_initial"), more=replaces)
    (shop.folder / "orders" / "migrations" / "0004_index.py").unlink()
    shop.write("orders", "0003_drops", DROPS, ("orders", name))


def test_migrations_that_were_squashed_are_what_counts_while_their_files_are_there(shop, database):
    shop.manage("migrate", "orders", "0002")
    write_squashed(shop)

    assert shop("adopt", "--mirror").code == 0
    assert shop("run").code == 0
    assert applied(database) == [*CONTENT_TYPES, *ORDERS[:3], "people.0001_initial"]
    assert "No migrations to apply" in shop.manage("migrate")


def test_a_squashed_migration_is_applied_if_all_that_it_replaces_is(shop, database):
    shop.manage("migrate", "orders", "0002")
    write_squashed(shop)
    for name in ("0001_initial", "0002_note"):
        (shop.folder / "orders" / "migrations" / f"{name}.py").unlink()

    assert shop("adopt").code == 0
    assert applied(database) == ["orders.0001_squashed_0002_note", "people.0001_initial"]
    database.execute("DELETE FROM django_migrations WHERE name = '0002_note'")
    database.execute("DROP SCHEMA confiture CASCADE")
    refused = shop("adopt")
    assert refused.code == 7
    assert "applied in part: orders.0001_squashed_0002_note, of which 1 are applied" in refused.err


def test_a_project_that_does_not_start_is_said_with_the_command_to_try(shop):
    (shop.folder / "site_settings.py").write_text("raise RuntimeError('no settings')\n")
    shop.project.configure('source = "django"\n')

    answer = shop("run")

    assert answer.code == 2
    assert "RuntimeError: no settings" in answer.err
    assert "showmigrations" in answer.err


def test_a_project_of_another_database_is_refused(shop):
    settings = SETTINGS.replace("django.db.backends.postgresql", "django.db.backends.sqlite3")
    (shop.folder / "site_settings.py").write_text(settings)
    shop.project.configure('source = "django"\n')

    answer = shop("run")

    assert answer.code == 2
    assert 'DATABASES["default"] is sqlite, not PostgreSQL' in answer.err


def test_a_folder_without_manage_py_is_said(shop):
    answer = shop.project("adopt", "--from", "django", "--migrations", "orders")

    assert answer.code == 2
    assert "it has no manage.py" in answer.err
