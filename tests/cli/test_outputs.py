"""Reports go where ``--output`` says; a place that cannot be written is refused before anything runs."""

from __future__ import annotations

import os
import sys

import pytest

from confiture.cli import main
from confiture.cli.flags import Flags
from confiture.cli.outputs import open_outputs
from confiture.cli.refusals import build_refused_report
from confiture.exceptions import MigrationFault, UsageFault
from tests import published
from tests.page.samples import everyday
from tests.unit.reports import applied, report


def test_text_goes_to_stdout_where_nothing_else_is_asked_for(capsys):
    with open_outputs(Flags()) as out:
        out.write("report", report(applied()))

    assert "1 migration applied" in capsys.readouterr().out


def test_json_goes_to_stdout_alone(capsys):
    with open_outputs(Flags(output=("json",))) as out:
        out.write("report", report(applied()))

    assert published.read(capsys.readouterr().out)["outcome"] == "ok"


def test_a_file_takes_the_machines_report_and_the_person_keeps_the_text(tmp_path, capsys):
    file = tmp_path / "report.json"
    file.write_text("x" * 100_000)

    with open_outputs(Flags(output=(f"json={file}",))) as out:
        out.write("report", report(applied()))

    assert published.read_file(file)["exit_code"] == 0
    assert "1 migration applied" in capsys.readouterr().out


def test_the_report_of_before_stays_until_there_is_a_new_one(tmp_path):
    file = tmp_path / "report.json"
    file.write_text("of before")

    with open_outputs(Flags(output=(f"json={file}",))):
        pass

    assert file.read_text() == "of before"


def test_a_named_pipe_takes_a_report(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    with open_outputs(Flags(output=(f"json={pipe}",))) as out:
        out.write("report", report())

    assert published.read(os.read(reading, 100_000).decode())["mode"] == "run"
    os.close(reading)


def test_quiet_says_nothing_that_nobody_asked_for(capsys):
    with open_outputs(Flags(quiet=True)) as out:
        out.write("report", report(applied()))

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("file", ["missing/report.json", ".", "a\0b"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UsageFault, match="cannot be written"), open_outputs(Flags(output=(f"json={file}",))):
        pytest.fail("it ran")


def test_a_full_disk_is_a_fault():
    with (
        pytest.raises(UsageFault, match="No space left"),
        open_outputs(Flags(output=("json=/dev/full",))) as out,
    ):
        out.write("report", report())


def test_two_reports_cannot_share_a_file(tmp_path):
    file = tmp_path / "report"

    with (
        pytest.raises(UsageFault, match="already takes another report"),
        open_outputs(Flags(output=(f"json={file}", f"text={tmp_path}/./report"))),
    ):
        pytest.fail("it ran")


def test_a_text_report_in_a_file_has_no_colours(tmp_path):
    file = tmp_path / "report.txt"

    with open_outputs(Flags(output=(f"text={file}", "json"))) as out:
        out.write("report", report(applied()))

    assert "✓ applied" in file.read_text(encoding="utf-8")
    assert "\x1b" not in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["run", "dry-run", "down"])
def test_a_refusal_leaves_a_report_for_machines(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "confiture.toml").write_text("urll = 1\n")

    assert main([command, "--output", "json"]) == 2

    said = capsys.readouterr()
    document = published.read(said.out)
    assert (document["mode"], document["outcome"], document["exit_code"]) == (command, "refused", 2)
    assert "unknown key 'urll'" in said.err


def test_a_report_that_cannot_be_written_does_not_hide_what_failed_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "confiture.toml").write_text("urll = 1\n")

    assert main(["run", "--output", "json=/dev/full"]) == 2

    said = capsys.readouterr().err
    assert "No space left" in said
    assert "unknown key 'urll'" in said


def test_what_was_refused_is_a_report_too(tmp_path):
    fault = MigrationFault("no", hint="so", file=tmp_path / "1.sql", line=3, column=4)

    found = build_refused_report("run", fault)

    assert found is not None
    assert (found.outcome, found.exit_code, found.migrations) == ("refused", 4, ())
    assert found.error is not None
    assert (found.error.message, found.error.line, found.error.column) == ("no", 3, 4)


def test_at_a_terminal_a_report_is_wrapped_and_elsewhere_it_is_not(capsys, monkeypatch):
    """What goes into a pipe can be searched line by line."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")

    with open_outputs(Flags()) as out:
        out.write("report", everyday())
        piped = capsys.readouterr().out
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        out.write("report", everyday())

    shown = capsys.readouterr().out
    assert "      blocks writes of public.order_lines for 45 ms, gone before the end\n" in piped
    assert (
        "      blocks writes of\n        public.order_lines for 45 ms,\n        gone before the end\n"
        in shown
    )
    assert "\x1b" not in piped + shown
