"""Count the parallel workers that PostgreSQL takes to build an index, by its own rule.

A small table has none, and the larger the table the more there are. The rule is that of
``plan_create_index_workers`` in PostgreSQL's planner.
"""

from __future__ import annotations

from collections.abc import Mapping

from confiture.estimate.statistics import SettingValue, Statistics

_DEFAULT_LEAST_BYTES = 8 * 1024**2
_DEFAULT_MOST_WORKERS = 2
_DEFAULT_MEMORY_BYTES = 64 * 1024**2
# Each process that sorts, the leader included, needs as much of maintenance_work_mem.
_MEMORY_EACH_BYTES = 32 * 1024**2
# A table must be three times as large for each further worker.
_GROWTH_PER_WORKER = 3
FIRST_PARALLEL_VERSIONS = {"btree": 11, "brin": 17, "gin": 18}
"""The first version of PostgreSQL that builds an index of this access method in parallel."""


def count_index_workers(name: str, side: Statistics, method: str) -> int:
    """Return the workers that help to build an index of a table on that server.

    Args:
        name: The table; of a partitioned table the largest partition counts.
        side: The server and its tables.
        method: The access method of the index, ``"btree"``.
    """
    if int(side.server.version.split(".")[0]) < FIRST_PARALLEL_VERSIONS.get(method, 1000):
        return 0
    pages = max((leaf.pages for leaf in side.find_leaves(name)), default=0)
    return count_workers(pages * side.server.block_bytes, side.settings)


def count_workers(table_bytes: float, settings: Mapping[str, SettingValue]) -> int:
    """Return the workers for a table of this size under these settings."""
    least = _read_number(settings, "min_parallel_table_scan_size", _DEFAULT_LEAST_BYTES)
    most = int(_read_number(settings, "max_parallel_maintenance_workers", _DEFAULT_MOST_WORKERS))
    memory = _read_number(settings, "maintenance_work_mem", _DEFAULT_MEMORY_BYTES)
    workers = 0
    while workers < most and table_bytes >= max(least, 1) * _GROWTH_PER_WORKER**workers:
        workers += 1
    return max(0, min(workers, int(memory // _MEMORY_EACH_BYTES) - 1))


def _read_number(settings: Mapping[str, SettingValue], name: str, default: float) -> float:
    value = settings.get(name)
    return value if isinstance(value, int | float) else default
