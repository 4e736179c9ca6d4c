"""Where the targets of a fleet are migrated: one after the other, in threads, or on a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from attrs import frozen

from confiture.exceptions import ConnectionFault, UsageFault
from confiture.fleet.work import close_connections

_PATIENCE_S = 10


@frozen
class FleetExecutor:
    """A way to run the work on targets.

    Attributes:
        name: As ``--executor`` writes it.
        open: Called with the number of workers and the scheduler's address; yields an executor of
            ``concurrent.futures``. It must not repeat failed work by itself.
        most_workers: How many targets it can migrate at the same time; ``None`` for any number.
        remote: True if the work may leave this process, which must not carry a secret.
    """

    name: str
    open: Callable[[int, str | None], AbstractContextManager[Executor]]
    remote: bool = False
    most_workers: int | None = None


class _SerialExecutor(Executor):
    """Does the work at once, in the thread that submits it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return a future that is done."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def _open_serial(_workers: int, _scheduler: str | None) -> Iterator[Executor]:
    yield _SerialExecutor()


@contextmanager
def _open_threads(workers: int, _scheduler: str | None) -> Iterator[Executor]:
    with ThreadPoolExecutor(workers, "confiture-fleet") as pool:
        yield pool


@contextmanager
def _open_dask(workers: int, scheduler: str | None) -> Iterator[Executor]:
    try:
        import dask.config
        from distributed import Client
    except ImportError:
        raise UsageFault(
            "--executor dask needs Dask, which is not installed", hint="pip install 'confiture-pg[dask]'"
        ) from None
    # In this process, without a port and without a dashboard.
    local = {"n_workers": 1, "threads_per_worker": workers, "processes": False, "dashboard_address": None}
    options: dict[str, Any] = {"address": scheduler} if scheduler else local
    # Our own record says what is done: the engine must not begin a target twice by itself.
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        try:
            client = Client(set_as_default=False, timeout=_PATIENCE_S, **options)
        except (OSError, ValueError) as error:
            raise ConnectionFault(
                f"the Dask scheduler cannot be reached: {scheduler}: {error or type(error).__name__}",
                hint="check --scheduler, and that `dask scheduler` runs there",
            ) from None
        with client:
            yield client.get_executor(retries=0, pure=False)
            with suppress(Exception):
                client.run(close_connections)


BUILTIN = (
    FleetExecutor("serial", _open_serial, most_workers=1),
    FleetExecutor("threads", _open_threads),
    FleetExecutor("dask", _open_dask, remote=True),
)
