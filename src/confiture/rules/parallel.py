"""Many files are read by several processes: a file's findings do not depend on the other files."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence

from confiture.exceptions import MigrationFault, MigrationFaults
from confiture.models.migration import MigrationFile
from confiture.models.report import Finding
from confiture.sql.parser import load_parser

FEWEST_FILES = 100
"""As many are read in the time that another process takes to begin."""

Found = tuple[tuple[Finding, ...], frozenset[str]]
Judged = Callable[[Sequence[MigrationFile]], Found]


def run_in_processes(judged: Judged, scripts: Sequence[MigrationFile]) -> Found:
    """Return what ``judged`` finds in all files, in their order; many are shared out.

    Raises:
        MigrationFault: One does not parse.
        MigrationFaults: Several do not.
    """
    count = min(os.cpu_count() or 1, len(scripts) // FEWEST_FILES)
    if count < 2 or not hasattr(os, "fork"):
        return judged(scripts)
    load_parser()
    size = -(-len(scripts) // count)
    shares = [scripts[at : at + size] for at in range(0, len(scripts), size)]
    others = [_start(judged, share) for share in shares[1:]]
    return _join([_try(judged, shares[0]), *(_read_answer(pid, pipe) for pid, pipe in others)])


def _try(judged: Judged, share: Sequence[MigrationFile]) -> Found | Exception:
    try:
        return judged(share)
    except Exception as error:
        return error


def _start(judged: Judged, share: Sequence[MigrationFile]) -> tuple[int, int]:
    """Fork a process that judges its share, and return its number and where it answers."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    code = 1
    try:
        os.close(reading)
        with open(writing, "wb") as pipe:
            pickle.dump(_flatten(_try(judged, share)), pipe)
        code = 0
    finally:
        # Nothing of the parent's is to be written or closed a second time.
        os._exit(code)


def _flatten(answer: Found | Exception) -> tuple[type[Exception], dict[str, object]] | Found:
    """Return what can be pickled: a fault's class takes other arguments than the exception keeps."""
    return (type(answer), dict(vars(answer))) if isinstance(answer, Exception) else answer


def _read_answer(pid: int, pipe: int) -> Found | Exception:
    with open(pipe, "rb") as file:
        data = file.read()
    os.waitpid(pid, 0)
    if not data:
        return MigrationFault("a process that reads migration files was ended", hint="run it again")
    answer = pickle.loads(data)
    if not isinstance(answer[0], type):
        found: Found = answer
        return found
    kind, state = answer
    error: Exception = kind.__new__(kind, state.get("message", ""))
    error.__dict__.update(state)
    return error


def _join(answers: Sequence[Found | Exception]) -> Found:
    errors = [answer for answer in answers if isinstance(answer, Exception)]
    faults = [fault for error in errors for fault in _list_faults(error)]
    if len(faults) > 1:
        raise MigrationFaults(faults)
    if errors:
        raise errors[0]
    found = [answer for answer in answers if not isinstance(answer, Exception)]
    return (
        tuple(finding for findings, _ in found for finding in findings),
        frozenset().union(*(undecided for _, undecided in found)),
    )


def _list_faults(error: Exception) -> list[MigrationFault]:
    if isinstance(error, MigrationFaults):
        return list(error.faults)
    return [error] if isinstance(error, MigrationFault) else []
