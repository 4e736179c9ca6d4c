"""Format a recipe: its files one below the other, each with its name and its directives on top."""

from __future__ import annotations

from collections.abc import Iterable

from confiture.models.report import RecipeFile


def format_recipe(recipe: str | None, files: Iterable[RecipeFile]) -> str:
    """Return the files as one SQL text; a recipe without files as it is."""
    texts = (
        "\n".join((f"-- file: {file.name}", *file.directives, (file.excerpt or file.sql).strip("\n")))
        for file in files
    )
    return "\n\n".join(texts) or recipe or ""
