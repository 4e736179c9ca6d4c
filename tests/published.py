"""The published schema of the report: every JSON report that a test reads is held against it."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator


@cache
def validator() -> Draft202012Validator:
    schema = json.loads(files("confiture.output").joinpath("report.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def read(text: str) -> Any:
    """Return a JSON document; where it is a report, it is a valid one."""
    document = json.loads(text)
    if isinstance(document, dict) and "mode" in document:
        validator().validate(document)
    return document


def read_file(path: Path) -> Any:
    return read(path.read_text())
