"""Every exception that confiture defines has one root."""

import ast
from pathlib import Path

import pytest

import confiture
from confiture.core import DryRunError, HookError, HookPhase
from confiture.exceptions import ConfitureError

ROOT = Path(confiture.__file__).parent
# A signal is no error, and these two never leave their module.
APART = {"ConfitureError", "Interrupted", "_Unresolved"}


def test_no_class_descends_from_pythons_exceptions_alone():
    found = [
        node.name
        for file in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        and node.name not in APART
        and {base.id for base in node.bases if isinstance(base, ast.Name)} & {"Exception", "BaseException"}
    ]

    assert found == []


@pytest.mark.parametrize(
    "error",
    [HookError("burn", HookPhase.AFTER_DDL, ValueError("burnt")), DryRunError("jam", ValueError("burnt"))],
    ids=["hook", "dry run"],
)
def test_one_except_clause_catches_what_an_application_may_see(error):
    with pytest.raises(ConfitureError, match="burnt"):
        raise error
