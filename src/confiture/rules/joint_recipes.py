"""Write one recipe for several statements of a file: separate ones would each rewrite the same file."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from attrs import evolve, frozen

from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.recipe_files import may_run_first
from confiture.rules.recipes import Recipe, write_non_transactional, write_recipe


@frozen
class StatementRecipe:
    """A statement that a rule reports, and its recipe.

    Attributes:
        statement: The statement.
        recipe: What to write instead; ``None`` if there is nothing.
        note: Words for the end of the message: where the recipe is, if another finding has it.
        ignored: True if the statement is to stay as it is.
    """

    statement: ParsedStatement
    recipe: Recipe | None
    note: str = ""
    ignored: bool = False


def join_recipes(found: Sequence[StatementRecipe]) -> list[StatementRecipe]:
    """Return what was found in one file, with one recipe for all that runs outside a transaction.

    The first statement has the recipe. A later one that something between them may need, or that may need
    something between them, gets its own once the first recipe is applied.
    """
    # Two rules may report one statement.
    outside = {
        candidate.statement.index: candidate for candidate in reversed(found) if _runs_outside(candidate)
    }
    if len(outside) < 2:
        return list(found)
    first, *later = (outside[index] for index in sorted(outside))
    chosen = _choose_group(first, later)
    joint = _join([first, *(candidate for candidate in later if candidate.statement.index in chosen)])
    place = f"the recipe of line {first.statement.line}"

    def place_recipe(candidate: StatementRecipe) -> StatementRecipe:
        if candidate is first:
            return evolve(candidate, recipe=joint)
        if not _runs_outside(candidate):
            return candidate
        included = f"; {place} includes it"
        after = f"; apply {place}, then lint again for that of this line"
        return evolve(candidate, recipe=None, note=included if candidate.statement.index in chosen else after)

    return [place_recipe(candidate) for candidate in found]


def _runs_outside(candidate: StatementRecipe) -> bool:
    recipe = candidate.recipe
    if (
        recipe is None
        or recipe.replaces
        or len(recipe.parts) != 1
        or candidate.statement.inside
        or candidate.ignored
    ):
        return False
    (part,) = recipe.parts
    return part.outside and not part.directives


def _choose_group(first: StatementRecipe, later: Sequence[StatementRecipe]) -> set[int]:
    """Return the positions of the statements that may run together, where the last of them is."""
    group = [first.statement]
    for candidate in later:
        if not all(_may_wait(waiting, candidate.statement, group) for waiting in group):
            break
        group.append(candidate.statement)
    return {statement.index for statement in group}


def _may_wait(waiting: ParsedStatement, until: ParsedStatement, group: Sequence[ParsedStatement]) -> bool:
    chosen = {statement.index for statement in group}
    between = until.migration.statements[waiting.index + 1 : until.index]
    others = [statement for statement in between if statement.index not in chosen]
    return not others or may_run_first(waiting, others)


def _join(found: Sequence[StatementRecipe]) -> Recipe:
    parts = [candidate.recipe.parts[0] for candidate in found if candidate.recipe]
    lines = chain.from_iterable(part.lines for part in parts)
    downs = [part.down for part in reversed(parts)]
    down = tuple(chain.from_iterable(down or () for down in downs)) if None not in downs else None
    replaced = tuple(candidate.statement.index for candidate in found[1:])
    return write_recipe(write_non_transactional(*lines, down=down), replaces=replaced)
