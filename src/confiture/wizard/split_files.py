"""Write the migrations of a split in place of the file that they replace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from confiture.exceptions import UsageFault
from confiture.models.report import RecipeFile


def write_split(folder: Path, files: Sequence[RecipeFile]) -> tuple[Path, ...]:
    """Write the files; the first one replaces the file at hand.

    Raises:
        UsageFault: A file of one of the new names exists, or cannot be written. Nothing is left changed.
    """
    written: list[Path] = []
    try:
        for file in files[1:]:
            path = folder / file.name
            with path.open("x", encoding="utf-8") as stream:
                written.append(path)
                stream.write(render_file(file))
        (folder / files[0].name).write_text(render_file(files[0]), encoding="utf-8")
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise UsageFault(
            f"the split cannot be written: {error.filename}: {error.strerror}",
            hint="move that file away, or write the split by hand",
        ) from None
    return (folder / files[0].name, *written)


def render_file(file: RecipeFile) -> str:
    """Return the text of a file of a split."""
    return "\n".join((*file.directives, *([""] if file.directives else []), file.sql))
