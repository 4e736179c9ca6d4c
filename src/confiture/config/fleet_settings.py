"""Read ``[tool.confiture.fleet]``: which targets a fleet has, and how they are migrated."""

from __future__ import annotations

from attrs import frozen

from confiture.config.table_reader import DURATION_S, POSITIVE, TEXT, TEXTS, TableReader

FLEET_KEYS = {
    "targets": "A CSV file of targets: name,url,schema and tags.",
    "query": "A query on the control database that gives the same columns.",
    "command": "A command that prints the same CSV.",
    "schemas": "The schemas of the database that are targets: tenant_*.",
    "control": "The database that keeps the record of runs; embedded: if it is not set.",
    "executor": "serial, threads, dask, or one of a plugin.",
    "scheduler": "The address of a Dask scheduler: tcp://host:8786.",
    "workers": "How many targets are migrated at the same time.",
    "waves": 'The size of each wave, as counts or shares: ["1", "10%"]; what is left is the last.',
    "canary": "The targets that go first: tag=value.",
    "order_by": "The tag that orders the targets.",
    "soak": "How long to wait after each wave.",
    "stop_after": "Stop if more targets than this fail: a count or a share.",
    "connections_per_host": "How many connections to one host are open at a time; a target takes three.",
}


@frozen
class FleetSettings:
    """The fleet's table; see :data:`FLEET_KEYS`."""

    targets: str | None = None
    query: str | None = None
    command: str | None = None
    schemas: str | None = None
    control: str | None = None
    executor: str = "threads"
    scheduler: str | None = None
    workers: int = 8
    waves: tuple[str, ...] = ("1", "10%")
    canary: str | None = None
    order_by: str | None = None
    soak_s: float = 0.0
    stop_after: str = "0"
    connections_per_host: int = 24


def read_fleet(table: TableReader) -> FleetSettings:
    """Return the settings that the fleet's table describes.

    Raises:
        ConfigurationFault: A value cannot be used.
    """
    unset = FleetSettings()
    return FleetSettings(
        targets=table.get("targets", TEXT, unset.targets),
        query=table.get("query", TEXT, unset.query),
        command=table.get("command", TEXT, unset.command),
        schemas=table.get("schemas", TEXT, unset.schemas),
        control=table.get("control", TEXT, unset.control),
        executor=table.get("executor", TEXT, unset.executor),
        scheduler=table.get("scheduler", TEXT, unset.scheduler),
        workers=table.get("workers", POSITIVE, unset.workers),
        waves=table.get("waves", TEXTS, unset.waves),
        canary=table.get("canary", TEXT, unset.canary),
        order_by=table.get("order_by", TEXT, unset.order_by),
        soak_s=table.get("soak", DURATION_S, unset.soak_s),
        stop_after=table.get("stop_after", TEXT, unset.stop_after),
        connections_per_host=table.get("connections_per_host", POSITIVE, unset.connections_per_host),
    )
