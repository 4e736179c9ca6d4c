"""Write the migrations of a split, and what undoes each, in place of the file that they replace."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from confiture.exceptions import UsageFault
from confiture.models.report import RecipeFile

_UP = re.compile(r"^[ \t]*--[ \t]*migrate:up\b", re.MULTILINE)
_DOWN = re.compile(r"^[ \t]*--[ \t]*migrate:down\b.*\n?", re.MULTILINE)
_REMINDER = "-- remove what undoes the statement that was split: the files after this one undo it\n"


def write_split(folder: Path, files: Sequence[RecipeFile]) -> tuple[Path, ...]:
    """Write the files, with their down parts if known; the first one replaces the file at hand.

    Raises:
        UsageFault: A file of one of the new names exists, or cannot be written. Nothing is left changed.
    """
    texts = _list_texts(folder, files)
    hand = folder / files[0].name
    old = {path: path.read_text(encoding="utf-8") for path in (hand, _find_down(hand)) if path.exists()}
    written: list[Path] = []
    try:
        # The existing file is replaced last.
        for path in sorted(texts, key=lambda path: path in old):
            with path.open("w" if path in old else "x", encoding="utf-8") as stream:
                written.append(path)
                stream.write(texts[path])
    except OSError as error:
        for path in written:
            path.write_text(old[path], encoding="utf-8") if path in old else path.unlink(missing_ok=True)
        raise UsageFault(
            f"the split cannot be written: {error.filename}: {error.strerror}",
            hint="move that file away, or write the split by hand",
        ) from None
    return tuple(texts)


def _list_texts(folder: Path, files: Sequence[RecipeFile]) -> Mapping[Path, str]:
    texts: dict[Path, str] = {}
    for file in files:
        path = folder / file.name
        if file.name.endswith(".up.sql"):
            texts[path] = render_file(file)
            # The down part of a statement undoes its only file as well.
            if file.down is not None and not (len(files) == 1 and _find_down(path).exists()):
                # A finding of the up part is none of the down part.
                header = (line for line in file.directives if " ignore " not in line)
                texts[_find_down(path)] = "\n".join((*header, file.down))
        else:
            texts[path] = render_file(file) if file.down is None else _render_both(file, file.down)
    if files[0].down is None and any(file.down for file in files[1:]):
        _remind(texts, folder / files[0].name)
    return texts


def _find_down(path: Path) -> Path:
    return path.with_name(f"{path.name.removesuffix('.up.sql')}.down.sql")


def _remind(texts: dict[Path, str], hand: Path) -> None:
    """Say in a down part that was there before what the other files undo now."""
    texts[hand] = _DOWN.sub(lambda marker: f"{marker[0]}{_REMINDER}", texts[hand], count=1)
    down = _find_down(hand)
    if hand.name.endswith(".up.sql") and down.exists():
        texts[down] = f"{_REMINDER}{down.read_text(encoding='utf-8')}"


def render_file(file: RecipeFile) -> str:
    """Return the text of a file of a split, without its down part."""
    return "\n".join((*file.directives, *([""] if file.directives else []), file.sql))


def _render_both(file: RecipeFile, down: str) -> str:
    """Return the text of a file with both parts; its directives hold for both."""
    former = _DOWN.search(file.sql)
    sql = file.sql[: former.start()].rstrip("\n") + "\n" if former else file.sql
    marker = () if _UP.search(sql) else ("-- migrate:up",)
    return "\n".join((*file.directives, *marker, f"{sql}\n-- migrate:down\n{down}"))
