"""Write a recipe as files: what stays in the file at hand, and the migrations that follow it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from attrs import evolve, frozen

from confiture.migrations.version import parse_filename
from confiture.models.report import RecipeFile
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.recipes import NO_TRANSACTION, Recipe, RecipePart, is_directive
from confiture.sql.parser import find_nodes

_DOWN = re.compile(r"^[ \t]*--[ \t]*migrate:down\b", re.MULTILINE)
_MARKER = re.compile(r"[ \t]*--[ \t]*migrate:(?:up|down)\b")
# The BEGIN and COMMIT around a whole file, which a run passes over; in separate files they are refused.
_BEGIN = re.compile(r"(?im)^[ \t]*(?:BEGIN|START TRANSACTION)\b[^;]*;[ \t]*\n?")
_COMMIT = re.compile(r"(?i)^[ \t]*(?:COMMIT|END)\b[^;\n]*;?\s*\Z", re.MULTILINE)
# goose ends a statement at each semicolon, but for those inside such lines of its own.
_BODY = re.compile(r"^((?:DO|CREATE FUNCTION)\b.*?^END \$\w+\$;)", re.MULTILINE | re.DOTALL)
_SET_LOCAL = re.compile(r"\bSET[ \t\n]+LOCAL\b", re.IGNORECASE)
_TIMESTAMP = "%Y%m%d%H%M%S"
# The text of these statements does not show what they do.
_OPAQUE_KINDS = ("do_stmt", "call_stmt", "select_stmt")
_LONGEST_KEPT_LINES = 3
# Conventions with a folder a migration: diesel's and Prisma's.
_ONE_A_FOLDER = ("up.sql", "migration.sql")
_FLYWAY = re.compile(r"[VB](?P<version>\d+(?:[._]\d+)*)(?:__(?P<name>.*))?\.sql")
_MOST_FILES = 10


@frozen
class _Segment:
    """A piece of a file; ``kept`` if it stays as it is."""

    text: str
    kept: bool = False


@frozen
class _Draft:
    """A file without its name."""

    segments: tuple[_Segment, ...]
    directives: tuple[str, ...] = ()
    label: str = ""
    down: str | None = None

    def add(self, *segments: _Segment) -> _Draft:
        return evolve(self, segments=(*self.segments, *segments))


def write_files(statement: ParsedStatement, recipe: Recipe) -> tuple[RecipeFile, ...]:
    """Return the files to write instead of the file of a statement.

    The file at hand keeps its name for what runs first. What must be committed separately gets files of its
    own, and so does the rest of the file if it may need what they do. All names derive from that of the file
    at hand, so that a report is the same wherever it is made; none of them is that of another migration.
    """
    migration = statement.migration
    replaced = [inner for inner in migration.statements if inner.index in recipe.replaces]
    going = sorted((statement, *replaced), key=lambda inner: inner.index)
    # The recipe runs where the last of them is.
    statement, recipe = going[-1], evolve(recipe, replaces=tuple(inner.index for inner in going))
    path = PurePosixPath(migration.file)
    hand = path.name
    taken = {other.version for other in migration.plan.migrations} if migration.plan else set()
    # Advice in a comment does not replace a statement.
    if not any(part.directives or any(map(_is_sql, part.lines)) for part in recipe.parts):
        return ()
    # The text of a Python migration, of a DO block and between a tool's dividers is not cut: the reader moves
    # the statement.
    if not migration.text or statement.inside or not any(statement.span) or migration.divider:
        drafts = [_draft_part(part, ()) for part in recipe.parts]
        drafts[0] = evolve(drafts[0], segments=(_Segment(_say_what_goes(going)), *drafts[0].segments))
        named = (_name(draft, _propose_name(path, n, draft, taken)) for n, draft in enumerate(drafts, 1))
        return tuple(_divide(file, *migration.divider) if migration.divider else file for file in named)
    drafts = _draft_files(statement, recipe)
    down = _DOWN.search(migration.text, statement.span[1]) if not hand.endswith(".up.sql") else None
    if down:
        drafts[0] = drafts[0].add(_Segment(migration.text[down.start() :], kept=True))
    if down and len(drafts) == 1:
        # The SQL that undoes the statement undoes its safer form too.
        drafts[0] = evolve(drafts[0], down=None)
    names = [hand, *(_propose_name(path, n, draft, taken) for n, draft in enumerate(drafts[1:], 1))]
    return tuple(map(_name, drafts, names))


def _divide(file: RecipeFile, up: str, down: str) -> RecipeFile:
    """Return a file with the dividers of its tool; our directives stand below the first."""
    sql = file.sql.rstrip("\n")
    if "goose" in up:
        sql = _BODY.sub(r"-- +goose StatementBegin\n\1\n-- +goose StatementEnd", sql)
    whole = "\n".join(filter(None, (up, *file.directives, sql, down))) + "\n"
    return evolve(file, directives=(), sql=whole, excerpt=whole)


def _say_what_goes(statements: Sequence[ParsedStatement]) -> str:
    migration, last = statements[-1].migration, statements[-1]
    block = f"the DO block on line {migration.statements[last.index].line} of " if last.inside else ""
    hand = PurePosixPath(migration.file).name
    if len(statements) == 1:
        return f"-- in place of the statement in {block}{hand}: remove it there"
    lines = ", ".join(str(statement.line) for statement in statements)
    return f"-- in place of the statements on lines {lines} of {block}{hand}: remove them there"


def _is_sql(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("--")


def _draft_files(statement: ParsedStatement, recipe: Recipe) -> list[_Draft]:
    migration = statement.migration
    kept_directives, before, after, later = _cut_file(statement, recipe)
    # Above the first statement: a function body or a DO block has a BEGIN too.
    wrapped = _BEGIN.search(migration.text[: migration.statements[0].span[0]])
    if migration.statements[0].kind != "transaction_stmt" and before and wrapped:
        before = (_Segment(_BEGIN.sub("", before[0].text, 1), kept=True), *before[1:])
        after = tuple(_Segment(_COMMIT.sub("", segment.text), kept=True) for segment in after)
    parts = list(recipe.parts)
    if not any(part.lines for part in parts):
        # A directive that is missing: everything else stays.
        added = tuple(line for part in parts for line in part.directives)
        return [_Draft(before, (*kept_directives, *added))]
    settings = _list_settings(statement)
    first = parts[0]
    works = any(
        inner.kind != "variable_set_stmt" and inner.index not in recipe.replaces
        for inner in statement.earlier_statements
    )
    alone = len(parts) == 1 and first.outside is not migration.transactional
    if alone:
        own = None if works or later else _draft_down(first, settings)
        return [_Draft((*before, _Segment(first.text), *after), kept_directives, down=own)]
    if later and may_run_first(statement, later):
        before, after, works = (*before, *after), (), True
    if not works or (first.outside is not migration.transactional and _is_brief(first)):
        own = None if works else _draft_down(first, settings)
        drafts = [evolve(_draft_first(first, before, kept_directives), down=own)]
        parts = parts[1:]
    else:
        drafts = [_Draft(before, kept_directives)]
    drafts += [_draft_part(part, settings, kept_directives) for part in parts]
    if later and after:
        rest = RecipePart((), outside=not migration.transactional)
        drafts.append(evolve(_draft_part(rest, settings, kept_directives), label="rest").add(*after))
    return drafts


def _cut_file(
    statement: ParsedStatement, recipe: Recipe
) -> tuple[tuple[str, ...], tuple[_Segment, ...], tuple[_Segment, ...], list[ParsedStatement]]:
    """Return the file's directives, the text before and after the statement, and the later statements."""
    text = statement.migration.text
    directives, at = _read_header(text)
    before: list[_Segment] = []
    removed = [inner for inner in statement.earlier_statements if inner.index in recipe.replaces]
    # A directive that is missing replaces nothing.
    whole = any(part.lines for part in recipe.parts)
    for inner in (*removed, statement) if whole else ():
        before.append(_Segment(text[at : _find_cut_start(text, at, inner)], kept=True))
        at = _find_cut_end(text, inner)
    found = _DOWN.search(text, statement.span[1]) if statement.migration.file[-7:] != ".up.sql" else None
    rest = _Segment(text[at : found.start() if found else len(text)], kept=True)
    if not whole:
        return directives, (rest,), (), []
    later = list(statement.migration.statements[statement.index + 1 :])
    return directives, tuple(before), (rest,), later


def _read_header(text: str) -> tuple[tuple[str, ...], int]:
    """Return the directives in the first lines of a file, and where they end."""
    lines, at = [], 0
    for line in text.splitlines(keepends=True):
        if not is_directive(line):
            break
        lines.append(line.strip())
        at += len(line)
    return tuple(lines), at


def _find_cut_start(text: str, start: int, statement: ParsedStatement) -> int:
    """Return where the comments directly above a statement begin: they go with it."""
    at = text.rfind("\n", 0, statement.span[0]) + 1
    if text[at : statement.span[0]].strip() or at < start:
        return statement.span[0]
    while at > start:
        above = text.rfind("\n", 0, at - 1) + 1
        line = text[above:at]
        leads = statement.index == 0 and (is_directive(line) or above == 0)
        if above < start or not line.lstrip().startswith("--") or leads or _MARKER.match(line):
            break
        at = above
    return at


def _find_cut_end(text: str, statement: ParsedStatement) -> int:
    """Return where the line of a statement's semicolon ends, if nothing but blanks follows it."""
    at = statement.span[1]
    at += 1 if text[at : at + 1] == ";" else 0
    line = text.find("\n", at)
    end = len(text) if line < 0 else line + 1
    return end if not text[at:end].strip() else at


def _list_settings(statement: ParsedStatement) -> tuple[str, ...]:
    """Return the settings that the file makes before a statement: the next migrations begin without them."""
    return tuple(
        f"{inner.sql.rstrip().rstrip(';')};"
        for inner in statement.earlier_statements
        if inner.kind == "variable_set_stmt"
    )


def may_run_first(statement: ParsedStatement, later: Iterable[ParsedStatement]) -> bool:
    """Return True if these statements of the file surely need nothing of what a statement does."""
    names = {relation.relname for relation in find_nodes(statement.node, "RangeVar")}
    if statement.kind == "index_stmt":
        names.add(statement.stmt.idxname)
        if statement.stmt.unique:
            return False
    words = re.compile("|".join(map(re.escape, filter(None, names))) or r"\Z.", re.IGNORECASE)
    return bool(names) and not any(
        inner.kind in _OPAQUE_KINDS or inner.kind == "variable_set_stmt" or words.search(inner.sql)
        for inner in later
    )


def _is_brief(part: RecipePart) -> bool:
    # The scan of a VALIDATE must not run under the locks of the statements before it.
    return "VALIDATE CONSTRAINT" not in part.text


def _draft_first(part: RecipePart, before: tuple[_Segment, ...], directives: tuple[str, ...]) -> _Draft:
    if not part.outside:
        kept = tuple(line for line in directives if line != NO_TRANSACTION)
        return _Draft((*before, _Segment(part.text)), (*kept, *part.directives))
    # SET LOCAL has no effect outside a transaction.
    texts = tuple(evolve(segment, text=_SET_LOCAL.sub("SET", segment.text)) for segment in before)
    kept = tuple(line for line in directives if line not in part.header)
    return _Draft((*texts, _Segment(part.text)), (*part.header, *kept))


def _draft_part(part: RecipePart, settings: Sequence[str], directives: Sequence[str] = ()) -> _Draft:
    timeouts = tuple(line for line in directives if "_timeout" in line and not part.outside)
    given = [_SET_LOCAL.sub("SET", line) if part.outside else line for line in settings]
    segment = _Segment("\n".join((*given, *part.lines)))
    return _Draft((segment,), (*part.header, *timeouts), part.label, _draft_down(part, settings))


def _draft_down(part: RecipePart, settings: Sequence[str]) -> str | None:
    """Return the down part of a migration, with the settings that its statements ran under."""
    if part.down is None:
        return None
    header = [line for line in part.down if is_directive(line)]
    lines = [line for line in part.down if not is_directive(line)]
    outside = part.outside or NO_TRANSACTION in header
    given = [_SET_LOCAL.sub("SET", line) if outside else line for line in settings]
    return "\n".join((*header, *(given if any(map(_is_sql, lines)) else ()), *lines)) + "\n"


def _name(draft: _Draft, name: str) -> RecipeFile:
    return RecipeFile(
        name,
        draft.directives,
        _join(segment.text for segment in draft.segments),
        _join(_shorten(segment) for segment in draft.segments),
        draft.down,
    )


def _join(texts: Iterable[str]) -> str:
    return "\n".join(filter(None, (text.strip("\n") for text in texts))) + "\n"


def _shorten(segment: _Segment) -> str:
    lines = segment.text.strip("\n").split("\n")
    if not segment.kept or len(lines) <= _LONGEST_KEPT_LINES:
        return segment.text
    return f"{lines[0]}\n-- … {len(lines) - 2} lines as they are …\n{lines[-1]}"


def _propose_name(path: PurePosixPath, number: int, draft: _Draft, taken: Collection[str]) -> str:
    """Return a name for the n-th file after the file at hand, which sorts directly behind it."""
    hand = path.name
    found = parse_filename(hand)
    label = draft.label or f"step_{number + 1}"
    if hand in _ONE_A_FOLDER:
        return f"{_follow_folder(path, number, label, taken)}/{hand}"
    if found is None and (flyway := _FLYWAY.fullmatch(hand)):
        dotted = {version.replace(".", "_") for version in taken}
        version = _follow(flyway["version"].replace(".", "_"), number, dotted).replace("_", ".")
        return f"V{version}__{'_'.join(filter(None, (flyway['name'], label)))}.sql"
    if found is None:
        return f"{hand.removesuffix('.py').removesuffix('.sql')}_{number}_{label}.sql"
    suffix = ".sql" if found.part == "whole" else ".up.sql"
    words = "_".join(filter(None, (_follow(found.version, number, taken), found.name, label)))
    return f"{words}{suffix}"


def _follow_folder(path: PurePosixPath, number: int, label: str, taken: Collection[str]) -> str:
    folder = path.parent.name
    version, _, name = folder.partition("_")
    times = {other.replace("-", "").partition("_")[0] for other in taken}
    later = [_add_seconds(version.replace("-", ""), n) for n in range(1, _MOST_FILES + 1)]
    if None not in later and number <= _MOST_FILES and times.isdisjoint(later):
        at = later[number - 1] or ""
        if "-" in version:
            at = f"{at[:4]}-{at[4:6]}-{at[6:8]}-{at[8:]}"
        return "_".join(filter(None, (at, name, label)))
    # Both sort folders as text: diesel by what stands before the first underscore, Prisma by the whole name.
    if path.name == "up.sql":
        while any(other.startswith(version.replace("-", "") + "000") for other in times):
            version += "-0000"
        return "_".join(filter(None, (f"{version}-{number:04}", name, label)))
    while any(re.match(rf"{re.escape(folder)}_\d+_", other) for other in taken):
        folder += "_0"
    return f"{folder}_{number}_{label}"


def _follow(version: str, number: int, taken: Collection[str]) -> str:
    # Some write timestamps that are one second apart: the seconds must be free for all files of a recipe.
    seconds = [one for n in range(1, _MOST_FILES + 1) if (one := _add_seconds(version, n))]
    if len(seconds) == _MOST_FILES and number <= _MOST_FILES and not any(one in taken for one in seconds):
        return seconds[number - 1]
    # Versions compare number by number: 0004 < 0004_1 < 0005, and the next file may already be called 0005.
    # If an earlier recipe has taken 0004_1, its files come after these: 0004 < 0004_0_1 < 0004_1.
    while any(f"{version}_{n}" in taken for n in range(1, _MOST_FILES + 1)):
        version = f"{version}_0"
    return f"{version}_{number}"


def _add_seconds(version: str, seconds: int) -> str | None:
    """Return a version that is a time, some seconds later; ``None`` if it is none."""
    if len(version) == len("YYYYMMDDHHMMSS") and version.isdecimal():
        try:
            return (datetime.strptime(version, _TIMESTAMP) + timedelta(seconds=seconds)).strftime(_TIMESTAMP)
        except (ValueError, OverflowError):
            pass
    return None
