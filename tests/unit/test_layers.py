"""Imports go one way: the table says which package may use which, and no two packages use each other."""

import ast
from collections import Counter
from pathlib import Path

import confiture

ROOT = Path(confiture.__file__).parent

# From top to bottom. A package may import only what its line names, all of it further down.
ARROWS = {
    "__main__": "cli",
    "cli": "api config confiture did_you_mean engine escape estimate exceptions fleet gate ledger logs migrations models"
    " output plugins postgres rehearsal rules server sources streams units wizard",
    "wizard": "api catalog config escape exceptions ledger migrations models output plugins postgres rehearsal rules sources"
    " sql units",
    "fleet": "api catalog config did_you_mean estimate exceptions gate hooks ledger migrations models plugins postgres"
    " rules sources sql",
    "core": "api hooks",
    "gate": "config exceptions migrations models rules units",
    "rules": "api config did_you_mean exceptions hooks migrations models plugins postgres schema sources sql"
    " units",
    "schema": "api config migrations models postgres server sql",
    "output": "confiture escape estimate exceptions hooks models plugins units",
    "api": "catalog config engine estimate exceptions hooks ledger migrations models plugins postgres rehearsal"
    " server sources sql",
    "testing": "config exceptions hooks postgres server",
    "estimate": "config exceptions migrations models postgres rehearsal sources sql",
    "rehearsal": "config engine exceptions hooks ledger migrations models postgres server sql units",
    "engine": "exceptions hooks ledger migrations models postgres sql",
    "ledger": "catalog config exceptions migrations models plugins postgres sources sql",
    "sources": "config did_you_mean exceptions migrations models plugins postgres sql",
    "catalog": "exceptions models postgres",
    "plugins": "config confiture did_you_mean exceptions hooks migrations models sql streams units",
    "confiture": "hooks",
    "hooks": "exceptions logs models postgres sql units",
    "postgres": "config did_you_mean exceptions models server sql",
    "config": "did_you_mean exceptions migrations units",
    "migrations": "exceptions models sql units",
    "sql": "exceptions models units",
    "server": "exceptions models",
    "logs": "escape streams",
    "models": "",
    "exceptions": "",
    "units": "",
    "did_you_mean": "",
    "escape": "",
    "streams": "",
}

# Reports, plans and estimates are computed from values; these modules of `estimate` fetch the values.
PURE = ("migrations.planner", "gate", "output", "estimate")
READS_A_DATABASE = (
    "confiture.estimate.count_rows",
    "confiture.estimate.export",
    "confiture.estimate.prediction_store",
    "confiture.estimate.rehearse_sizes",
)


def list_modules() -> dict[str, Path]:
    """Return our modules by dotted name."""
    return {
        ".".join(("confiture", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): file
        for file in ROOT.rglob("*.py")
    }


def find_imports(file: Path, *, at_load: bool = False) -> set[str]:
    """Return what a file imports: anywhere in it, or only what loading it imports."""
    tree = ast.parse(file.read_text())
    found: set[str] = set()
    for node in tree.body if at_load else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


def name_package(module: str) -> str:
    """Return the package of a module of ours: ``sql`` for ``confiture.sql.parser``."""
    return module.split(".")[1] if "." in module else module


def list_arrows() -> set[tuple[str, str]]:
    """Return each pair of packages of which the first imports the second."""
    modules = list_modules()
    arrows = set()
    for module, file in modules.items():
        targets = find_imports(file) & modules.keys()
        arrows |= {(name_package(module), name_package(target)) for target in targets}
    return {(source, target) for source, target in arrows if source != target}


def test_every_import_follows_an_arrow_of_the_table():
    """Imports inside functions and under TYPE_CHECKING count too."""
    allowed = {(source, target) for source, targets in ARROWS.items() for target in targets.split()}

    assert list_arrows() - allowed == set()


def test_the_table_names_no_arrow_that_is_gone():
    """A package that stops using another one does not get it back unnoticed."""
    allowed = {(source, target) for source, targets in ARROWS.items() for target in targets.split()}

    assert allowed - list_arrows() == set()


def test_every_arrow_points_down():
    """The table is in order, so no two packages can import each other, over however many steps."""
    order = {package: place for place, package in enumerate(ARROWS)}

    backwards = [
        (source, target)
        for source, targets in ARROWS.items()
        for target in targets.split()
        if order[source] >= order[target]
    ]

    assert backwards == []


def test_no_two_modules_have_one_name():
    """A name in a traceback or an editor's tab says which file it is."""
    names = Counter(file.name for file in ROOT.rglob("*.py") if file.name != "__init__.py")

    assert [name for name, count in names.items() if count > 1] == []


def test_planning_gating_estimating_and_output_never_load_the_driver():
    """They work on values, and start fast."""
    modules = list_modules()
    found = []
    for start in modules:
        if not start.removeprefix("confiture.").startswith(PURE) or start in READS_A_DATABASE:
            continue
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for name in find_imports(modules[waiting.pop()], at_load=True) - seen:
                seen.add(name)
                if name in modules:
                    waiting.append(name)
        found += [start] if "psycopg" in {name.split(".")[0] for name in seen} else []

    assert found == []
