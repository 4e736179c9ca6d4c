"""``confiture wizard``: the same as ``confiture run --interactive``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import evolve, frozen

from confiture.cli.early_refusal import ReportCommand
from confiture.cli.execute import execute, rehearse_pending
from confiture.cli.flags import Flags, collect_options, run_options
from confiture.cli.gate_flags import GateOptions, add_gate_flags
from confiture.cli.rehearsal_flags import RehearsalOptions, add_rehearsal_flags
from confiture.cli.wizard_dialog import ANSWERS, Answers, Dialog
from confiture.config.settings import Settings
from confiture.models.report import Report
from confiture.wizard.plan_file import PLAN_FILE

if TYPE_CHECKING:
    from confiture.cli.progress import ProgressDisplay
    from confiture.plugins.load import LoadedPlugin
    from confiture.rehearsal.copies import RehearsalTarget
    from confiture.wizard.card import Card
    from confiture.wizard.plan_file import ApprovedPlan
    from confiture.wizard.wizard_session import WizardSession


# Enough to see whether a split leaves other rows than the migration that it replaces.
_SAMPLE_ROWS = 100


@frozen
class WizardOptions:
    """The wizard's own flags.

    Attributes:
        choose: ``V=CHOICE`` or ``all=CHOICE``, as written.
        database: The name that a high risk asks for.
        applies: True to run the approved plan, False to only save it; ``None`` to ask.
        save: The plan file to write.
    """

    choose: tuple[str, ...] = ()
    database: str | None = None
    applies: bool | None = None
    save: str = PLAN_FILE

    def check(self, *, interactive: bool) -> None:
        """Refuse the flags without the wizard.

        Raises:
            click.UsageError: One was given, and the wizard was not asked for.
        """
        given = {"--choose": self.choose, "--database": self.database, "--apply": self.applies is not None}
        alone = next((flag for flag, value in given.items() if value), None)
        if alone and not interactive:
            raise click.UsageError(f"{alone} is for the wizard: add --interactive")

    def read_answers(self) -> Answers:
        """Return the answers that the flags give.

        Raises:
            click.UsageError: A choice is unknown, or must be asked for and there is no terminal.
        """
        choices = dict(map(_read_choice, self.choose))
        answers = Answers(choices, self.database, self.applies)
        answers.refuse_without_terminal()
        return answers


def _read_choice(written: str) -> tuple[str, str]:
    version, sep, choice = written.partition("=")
    if not sep or choice not in ANSWERS:
        raise click.UsageError(f"--choose {written!r}: write V=CHOICE, with one of {', '.join(ANSWERS)}")
    return version, choice


add_wizard_flags = collect_options(
    WizardOptions,
    "wizard_options",
    click.option(
        "--choose",
        multiple=True,
        metavar="V=CHOICE",
        help=f"Answer for a migration, or for all=CHOICE: {', '.join(ANSWERS)}; repeatable.",
    ),
    click.option("--database", metavar="NAME", help="The database's name, which a high risk asks for."),
    click.option(
        "--apply/--no-apply", "applies", default=None, help="Run the approved plan, or only save it."
    ),
    click.option("--save", metavar="FILE", default=PLAN_FILE, help=f"The plan file to write ({PLAN_FILE})."),
)
"""Add the flags to a command, which gets them as one value, ``wizard_options``."""


@click.command("wizard", cls=ReportCommand, mode="run")
@run_options
@add_rehearsal_flags
@add_gate_flags
@add_wizard_flags
def command(
    flags: Flags,
    rehearsal_options: RehearsalOptions,
    gate_options: GateOptions,
    wizard_options: WizardOptions,
) -> int:
    """Rehearse, decide about each migration, and run what was approved."""
    return walk_through(flags, rehearsal_options, gate_options, wizard_options, check=lambda: None)


def walk_through(
    flags: Flags,
    rehearsal_options: RehearsalOptions,
    gate_options: GateOptions,
    wizard_options: WizardOptions,
    *,
    check: Callable[[], None],
) -> int:
    """Run the wizard and return the exit code."""

    def refuse_early() -> None:
        check()
        rehearsal_options.check(rehearses=True)
        wizard_options.read_answers()

    rehearse = partial(
        rehearse_pending, to=flags.to, rehearsal_options=rehearsal_options, gate_options=gate_options
    )
    work = partial(
        _walk,
        to=flags.to,
        rehearse=rehearse,
        rehearsal_options=rehearsal_options,
        wizard_options=wizard_options,
    )
    return execute(flags, "run", work, check=refuse_early)


def _walk(
    settings: Settings,
    plugins: tuple[LoadedPlugin, ...],
    progress: ProgressDisplay | None,
    *,
    to: str | None,
    rehearse: Callable[..., Report],
    rehearsal_options: RehearsalOptions,
    wizard_options: WizardOptions,
) -> Report:
    from confiture.wizard.approval import approve, describe_pending
    from confiture.wizard.wizard_session import WizardSession

    answers = wizard_options.read_answers()
    dialog = Dialog(answers)
    decisions: dict[str, Any] = {}
    while True:
        current = describe_pending(settings, plugins, to)
        rehearsal = rehearse(settings, plugins, progress)
        if rehearsal.error or rehearsal.outcome == "failed":
            return evolve(rehearsal, notes=(*rehearsal.notes, "nothing was applied"))
        if not rehearsal.migrations:
            return evolve(rehearsal, mode="run")
        cards = _build_cards(settings, rehearsal)
        known = {card.migration.version for card in cards}
        session = WizardSession(cards, {key: value for key, value in decisions.items() if key in known})
        dialog.database, dialog.rehearsal = current.database, rehearsal
        check = partial(_check_split, settings, plugins, rehearsal_options)
        session, ending = _decide_all(dialog, session, settings, check)
        if ending != "split":
            break
        decisions = dict(session.decisions)
    if ending == "stop":
        return _report_nothing(rehearsal, "stopped: nothing was applied")
    approved = approve(session, current)
    if not approved.migrations:
        return _report_nothing(rehearsal, "everything was skipped: nothing was applied")
    note = _save(wizard_options.save, approved)
    if ending == "save" or not dialog.confirm_plan(len(approved.migrations)):
        return _report_nothing(rehearsal, f"{note}; run it: confiture run --plan {wizard_options.save}")
    return _add_note(run_approved(settings, plugins, progress, approved, Path(wizard_options.save), to), note)


def _build_cards(settings: Settings, rehearsal: Report) -> tuple[Card, ...]:
    from confiture.postgres.connect import open_connection
    from confiture.sources.read_migrations import open_migrations
    from confiture.wizard.build_cards import build_cards, list_relations
    from confiture.wizard.database_facts import read_facts

    with open_migrations(settings) as opened, open_connection(settings) as conn:
        facts = read_facts(conn, list_relations(rehearsal))
        return build_cards(opened.settings, rehearsal, opened.migrations, facts)


def _check_split(
    settings: Settings, plugins: tuple[LoadedPlugin, ...], options: RehearsalOptions, card: Card
) -> Card:
    """Return the card with its split rehearsed, in a clone if asked for, else on the embedded server."""
    from confiture.wizard.split_check import check_card

    place: RehearsalTarget = "clone" if options.place == "clone" else "embedded"
    return check_card(settings, plugins, card, place, options.sample_rows or _SAMPLE_ROWS)


def _decide_all(
    dialog: Dialog, session: WizardSession, settings: Settings, check: Callable[[Card], Card]
) -> tuple[WizardSession, str]:
    """Return the session with its decisions, and how it ended: ``done``, ``split``, ``save`` or ``stop``."""
    while undecided := session.undecided:
        # Rehearsing a split takes seconds: it is done when its card is next, and somebody may choose it.
        card = check(undecided) if dialog.may_split(undecided) else undecided
        session = session.replace(undecided, card)
        choice = dialog.decide(session, card)
        if choice in ("save", "stop"):
            return session, choice
        if choice == "split":
            dialog.remember_split(card, _write_split(card, settings))
            return session, "split"
        dependents = session.find_dependents(card) if choice == "skip" else ()
        if dependents:
            names = ", ".join(card.migration.version for card in dependents)
            click.echo(f"skipped with it, because they use what it creates: {names}", err=True)
        session = session.decide(card, "skip" if choice == "skip" else "run")
    return session, "done"


def _write_split(card: Card, settings: Settings) -> list[str]:
    """Write the files, and return their versions."""
    from confiture.migrations.version import parse_filename
    from confiture.wizard.split_files import write_split

    file = card.migration.file
    folder = Path(file).parent if file else settings.migrations
    written = write_split(folder, card.strategy.files)
    click.echo(f"wrote {', '.join(path.name for path in written)}; rehearsing again", err=True)
    named = filter(None, (parse_filename(path.name) for path in written))
    return list(dict.fromkeys(migration.version for migration in named))


def run_approved(
    settings: Settings,
    plugins: tuple[LoadedPlugin, ...],
    progress: ProgressDisplay | None,
    approved: ApprovedPlan,
    path: Path,
    to: str | None = None,
) -> Report:
    """Run an approved plan, unless anything in it is stale.

    Raises:
        LedgerFault: Something in it is stale; nothing was applied.
    """
    from confiture.api.operations import run
    from confiture.wizard.approval import describe_pending, find_rest
    from confiture.wizard.plan_file import refuse_stale

    if approved.skipped:
        # Once the plan has run in part, what it skips is below what it has applied, as was approved.
        settings = evolve(settings, allow_out_of_order=True)
    current = describe_pending(settings, plugins, to)
    rest = find_rest(settings, approved, current)
    refuse_stale(path, rest, current)
    only = frozenset(migration.version for migration in rest.migrations)
    report = run(settings, plugins=plugins, on_progress=progress, watcher=progress, only=only)
    if rest.migrations == approved.migrations:
        return report
    total = len(approved.migrations)
    done = total - len(rest.migrations)
    verb = "was" if done == 1 else "were"
    return _add_note(
        report, f"{path.name} was interrupted: {done} of its {total} migrations {verb} applied before"
    )


def _save(file: str, approved: ApprovedPlan) -> str:
    from confiture.wizard.plan_file import render_plan_file

    Path(file).write_text(render_plan_file(approved), encoding="utf-8")
    return f"wrote {file}"


def _report_nothing(rehearsal: Report, note: str) -> Report:
    return Report("run", "ok", 0, rehearsal.server_version, plugins=rehearsal.plugins, notes=(note,))


def _add_note(report: Report, note: str) -> Report:
    return evolve(report, notes=(*report.notes, note))
