"""``--since``: git tells what changed; where it cannot, that is an error and never *no changes*."""

from __future__ import annotations

from pathlib import Path

import pytest

from confiture.exceptions import UsageFault
from confiture.gate.changed_files import list_changed_files
from tests.gate.conftest import Git
from tests.project import Project

INDEX = "CREATE INDEX orders_day ON orders (day);\n"


def changed(project: Project, since: str = "main") -> list[str]:
    """Return the names of what changed."""
    return sorted(file.name for file in list_changed_files(since, [project.migrations]))


def commit(git: Git) -> None:
    git("add", ".")
    git("commit", "--quiet", "-m", "more")


def test_nothing_has_changed_on_a_branch_that_was_just_made(repository):
    assert changed(repository) == []


def test_what_is_committed_staged_edited_and_new_counts(repository, git):
    repository.write("0002_committed.sql", INDEX)
    commit(git)
    repository.write("0003_staged.sql", INDEX)
    git("add", ".")
    repository.write("0001_orders.sql", "CREATE TABLE orders (id int);\n")
    repository.write("0004_new.sql", INDEX)

    assert changed(repository) == [
        "0001_orders.sql",
        "0002_committed.sql",
        "0003_staged.sql",
        "0004_new.sql",
    ]


def test_a_file_that_git_is_told_to_ignore_counts(repository, git):
    (repository.folder / ".gitignore").write_text("*.sql\n")
    repository.write("0002_day.sql", INDEX)

    assert changed(repository) == ["0002_day.sql"]


def test_what_main_got_meanwhile_has_not_changed_here(repository, git):
    git("switch", "--quiet", "main")
    repository.write("0002_theirs.sql", INDEX)
    commit(git)
    git("switch", "--quiet", "branch")
    repository.write("0003_ours.sql", INDEX)
    commit(git)

    assert changed(repository) == ["0003_ours.sql"]


def test_a_file_under_a_new_name_has_changed_and_one_taken_away_has_not(repository, git):
    git("mv", "migrations/0001_orders.sql", "migrations/0001_jam.sql")
    commit(git)

    assert changed(repository) == ["0001_jam.sql"]


def test_names_that_git_would_quote_are_read_as_they_are(repository, git):
    repository.write('0002_für "größe"\t.sql', INDEX)
    commit(git)

    assert changed(repository) == ['0002_für "größe"\t.sql']


def test_other_folders_do_not_matter_and_the_users_settings_neither(repository, git):
    git("config", "diff.relative", "true")
    git("config", "diff.renames", "copies")
    (repository.folder / "0009_elsewhere.sql").write_text(INDEX)
    repository.write("0002_day.sql", INDEX)
    commit(git)

    assert {*list_changed_files("main", [Path(repository.migrations)])} == {
        (repository.migrations / "0002_day.sql").resolve()
    }


@pytest.mark.parametrize(
    ("since", "message"),
    [
        ("nowhere", "git knows no such commit"),
        ("--output=jam", "is not the name of a commit"),
        ("", "is not the name of a commit"),
        ("a\0b", "is not the name of a commit"),
        ("main:migrations", "git knows no such commit"),
    ],
)
def test_a_commit_that_there_is_not_is_an_error(repository, since, message):
    with pytest.raises(UsageFault, match=message):
        changed(repository, since)


def test_a_folder_in_no_repository_is_an_error(folder, git):
    folder.write("0001_orders.sql", INDEX)

    with pytest.raises(UsageFault, match="not a git repository") as caught:
        changed(folder)

    assert "leave out --since" in (caught.value.hint or "")


def test_without_git_there_is_no_answer(repository, monkeypatch):
    monkeypatch.setenv("PATH", "")

    with pytest.raises(UsageFault, match="git cannot be run: No such file or directory"):
        changed(repository)


def test_branches_without_a_common_commit_are_an_error(repository, git):
    git("switch", "--quiet", "--orphan", "other")
    git("commit", "--quiet", "--allow-empty", "-m", "other")
    repository.write("0001_orders.sql", INDEX)

    with pytest.raises(UsageFault, match="HEAD and main have no common ancestor"):
        changed(repository)


@pytest.fixture
def shallow(repository, git, tmp_path) -> Project:
    """A clone of the repository's branch as CI services make it: its last commit and nothing else."""
    repository.write("0002_day.sql", INDEX)
    commit(git)
    arguments = ("clone", "--quiet", "--depth=1", "--branch=branch")
    git(*arguments, f"file://{repository.folder}", str(tmp_path / "clone"))
    return Project(tmp_path / "clone")


def test_a_shallow_clone_that_does_not_know_the_branch_says_what_to_fetch(shallow):
    with pytest.raises(UsageFault, match="git knows no such commit") as caught:
        changed(shallow, "origin/main")

    assert "fetch-depth: 0" in (caught.value.hint or "")


def test_a_shallow_clone_without_the_common_commit_says_what_to_fetch(shallow, git):
    git("fetch", "--quiet", "--depth=1", "origin", "main:refs/remotes/origin/main", folder=shallow.folder)

    with pytest.raises(UsageFault, match="this clone is shallow") as caught:
        changed(shallow, "origin/main")

    assert "git fetch --unshallow" in (caught.value.hint or "")


def test_a_shallow_clone_with_the_common_commit_will_do(shallow, git):
    git("fetch", "--quiet", "--unshallow", "origin", "main:refs/remotes/origin/main", folder=shallow.folder)

    assert changed(shallow, "origin/main") == ["0002_day.sql"]


class TestLint:
    """``confiture lint --since``."""

    def test_a_dangerous_old_migration_does_not_count_and_a_new_one_does(self, repository, git):
        repository.write("0002_old.sql", INDEX)
        commit(git)
        git("branch", "--quiet", "--force", "main")
        repository.write("0003_day.sql", INDEX.replace("orders_day", "again"))

        lint = repository("lint", "--since", "main", "--output", "json")

        errors = [item for item in lint.json["findings"] if item["severity"] == "error"]
        assert [(error["file"], error["ignored"]) for error in errors] == [
            ("migrations/0002_old.sql", True),
            ("migrations/0003_day.sql", False),
        ]
        assert lint.code == 1

    def test_a_file_given_by_name_is_judged_where_it_changed(self, repository, git):
        loose = repository.folder / "loose.sql"
        loose.write_text("SELECT 1;\n")
        git("add", ".")
        commit(git)
        git("branch", "--quiet", "--force", "main")

        assert repository("lint", "loose.sql", "--since", "main").code == 2
        loose.write_text(INDEX)
        assert repository("lint", "loose.sql", "--since", "main").code == 1

    @pytest.mark.parametrize("how", ["--since", "judge_after"])
    def test_a_merged_file_that_is_faulty_blocks_nobody(self, repository, git, how):
        """Nobody may edit it any more; where it would run, a run refuses it."""
        repository.write("0002_other.sql", "SELECT 1;\n-- +goose Down\nSELECT 2;\n")
        repository.write("0003_latin.sql", b"SELECT 'caf\xe9';\n")
        commit(git)
        git("branch", "--quiet", "--force", "main")
        repository.write("0004_day.sql", "CREATE TABLE days (day date);\n")
        flags = ("--since", "main") if how == "--since" else ()
        if how == "judge_after":
            repository.configure('[gate]\njudge_after = "0003"\n')

        lint = repository("lint", *flags)

        assert lint.code == 0, lint
        assert (
            "not among the files to check: migrations/0002_other.sql, migrations/0003_latin.sql" in lint.out
        )
        assert "2 files read" in lint.out
        repository.write("0004_day.sql", "SELEC 1;\n")
        assert repository("lint", *flags).code == 4

    def test_a_merged_file_that_is_edited_is_checked(self, repository, git):
        repository.write("0002_other.sql", "SELECT 1;\n-- +goose Down\nSELECT 2;\n")
        commit(git)
        git("branch", "--quiet", "--force", "main")
        repository.write("0002_other.sql", "SELECT 1;\n-- +goose Down\nSELECT 3;\n")

        assert repository("lint", "--since", "main").code == 4

    def test_no_changed_file_is_an_error_unless_that_is_allowed(self, repository):
        refused = repository("lint", "--since", "main")
        allowed = repository("lint", "--since", "main", "--allow-empty")

        assert (refused.code, allowed.code) == (2, 0)
        assert "--since main: no migration has changed" in refused.err
        assert "--allow-empty" in refused.err

    def test_a_failing_git_is_no_reason_to_pass(self, repository):
        lint = repository("lint", "--since", "nowhere", "--allow-empty")

        assert lint.code == 2
        assert "git fetch origin nowhere" in lint.err

    def test_a_changed_companion_has_its_migration_judged(self, repository, git):
        repository.write("0002_day.sql", INDEX)
        commit(git)
        git("branch", "--quiet", "--force", "main")
        repository.write("0002_day.check.sql", "SELECT 1;\n")

        assert repository("lint", "--since", "main").code == 1

    def test_the_folder_may_lie_elsewhere_and_the_command_be_called_from_below(self, repository, git):
        repository.configure('migrations = "db/changes"\n')
        changes = repository.folder / "db" / "changes"
        changes.mkdir(parents=True)
        (changes / "0001_orders.sql").write_text("CREATE TABLE orders (id int, day date);\n")
        commit(git)
        git("branch", "--quiet", "--force", "main")
        (changes / "0002_day.sql").write_text(INDEX)
        repository.folder = changes

        lint = repository("lint", "--since", "main", "--output", "json")

        assert lint.code == 1
        judged = [item for item in lint.json["findings"] if not item["ignored"]]
        assert {item["file"] for item in judged} == {"db/changes/0002_day.sql"}
