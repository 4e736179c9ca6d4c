"""Share many files out among processes: the findings about a file do not depend on the other files."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence

from confiture.exceptions import MigrationFault, MigrationFaults
from confiture.models.migration import MigrationFile
from confiture.models.report import Finding
from confiture.sql.parser import load_parser

FEWEST_FILES = 100
"""Files per process, at least: about as many are checked in the time that a process takes to start."""

Found = tuple[tuple[Finding, ...], frozenset[str], frozenset[str]]
"""Findings, the rules that could not decide, and the files that could not be read."""
Judged = Callable[[Sequence[MigrationFile]], Found]


def run_in_processes(judged: Judged, scripts: Sequence[MigrationFile]) -> Found:
    """Return what ``judged`` returns for all files, in their order; many files are shared out.

    Raises:
        MigrationFault: One file does not parse.
        MigrationFaults: Several files do not parse.
    """
    count = min(os.cpu_count() or 1, len(scripts) // FEWEST_FILES)
    # Windows has no fork: a new process would import everything again, and `judged` cannot be pickled.
    if count < 2 or not hasattr(os, "fork"):
        return judged(scripts)
    # Loaded once here, or each process would load the parser by itself.
    load_parser()
    # Rounded up, so that no files are left over.
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
    """Fork a process that judges its share; return its process id and the pipe that it answers on."""
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
        # Not sys.exit(): the child would flush the parent's buffers a second time and run its exit handlers.
        os._exit(code)


def _flatten(answer: Found | Exception) -> tuple[type[Exception], dict[str, object]] | Found:
    """Return an answer that can be pickled.

    An exception is pickled as its class and ``args``, but a fault's ``__init__`` takes other arguments. Its
    class and its attributes are sent instead.
    """
    return (type(answer), dict(vars(answer))) if isinstance(answer, Exception) else answer


def _read_answer(pid: int, pipe: int) -> Found | Exception:
    # Read before waiting: a child whose answer is larger than the pipe's buffer ends only after it is read.
    with open(pipe, "rb") as file:
        data = file.read()
    os.waitpid(pid, 0)
    if not data:
        return MigrationFault("a process that checks migration files died", hint="run lint again")
    answer = pickle.loads(data)
    if not isinstance(answer[0], type):
        result: Found = answer
        return result
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
    results = [answer for answer in answers if not isinstance(answer, Exception)]
    return (
        tuple(finding for findings, _, _ in results for finding in findings),
        frozenset().union(*(undecided for _, undecided, _ in results)),
        frozenset().union(*(unread for _, _, unread in results)),
    )


def _list_faults(error: Exception) -> list[MigrationFault]:
    if isinstance(error, MigrationFaults):
        return list(error.faults)
    return [error] if isinstance(error, MigrationFault) else []
