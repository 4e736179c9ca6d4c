"""Find the targets that differ from most others in their schema, their extensions or their server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from attrs import evolve
from psycopg import Connection

from confiture.catalog.compare_schemas import compare_schemas
from confiture.catalog.read_schema import read_objects, read_tenant_objects
from confiture.config.settings import Settings
from confiture.exceptions import UserFault
from confiture.fleet.ask_targets import ask_targets
from confiture.fleet.executors import FleetExecutor
from confiture.fleet.policy import FleetPolicy, check_connections
from confiture.fleet.shape import ShapeTask, read_target
from confiture.fleet.target import Target
from confiture.fleet.work import ask_database, build_settings, close_connections, select_shared_settings
from confiture.models.fleet_shape import FleetDrift, ShapeGroup, TargetShape
from confiture.models.schema import SchemaObject

_MOST_COMPARED = 10


def find_drift(
    settings: Settings,
    targets: Sequence[Target],
    policy: FleetPolicy,
    executor: FleetExecutor,
    scheduler: str | None = None,
) -> FleetDrift:
    """Read every target with one query, and return how they differ; nothing is written or locked.

    Raises:
        ConnectionFault: The scheduler cannot be reached.
        UsageFault: No target gets as many connections as it takes.
    """
    check_connections(policy.connections_per_host)
    shared = select_shared_settings(settings)
    try:
        with executor.open(policy.workers, scheduler) as pool:
            found = ask_targets(pool, policy, targets, read_target, lambda target: ShapeTask(target, shared))
            shapes = {shape.name: shape for shape in found}
        return compare_shapes(shared, targets, [shapes[target.name] for target in targets])
    finally:
        close_connections()


def compare_shapes(
    settings: Settings, targets: Iterable[Target], shapes: Sequence[TargetShape]
) -> FleetDrift:
    """Return how the targets differ, and in which objects."""
    drift = group_shapes(shapes)
    return evolve(drift, schemas=_add_differences(settings, targets, drift.schemas))


def group_shapes(shapes: Iterable[TargetShape]) -> FleetDrift:
    """Return the shapes by what they have in common, the most frequent first."""
    listed = list(shapes)
    read = [shape for shape in listed if shape.fingerprint is not None]
    return FleetDrift(
        _group(read, lambda shape: shape.fingerprint or ""),
        _group(read, lambda shape: ", ".join(shape.extensions) or "none"),
        _group(read, lambda shape: f"PostgreSQL {shape.server_version}"),
        tuple(shape for shape in listed if shape.fingerprint is None),
    )


def _group(shapes: Iterable[TargetShape], find_value: Callable[[TargetShape], str]) -> tuple[ShapeGroup, ...]:
    names: dict[str, list[str]] = {}
    for shape in shapes:
        names.setdefault(find_value(shape), []).append(shape.name)
    groups = (ShapeGroup(value, tuple(listed)) for value, listed in names.items())
    return tuple(sorted(groups, key=lambda group: -len(group.targets)))


def _add_differences(
    settings: Settings, targets: Iterable[Target], groups: Sequence[ShapeGroup]
) -> tuple[ShapeGroup, ...]:
    """Add to the groups behind the first what they do not have alike, read from one target of each."""
    if len(groups) < 2:
        return tuple(groups)
    by_name = {target.name: target for target in targets}
    most = _read_objects(settings, by_name, groups[0])
    return (
        groups[0],
        *(
            evolve(group, differences=_compare(most, _read_objects(settings, by_name, group)))
            for group in groups[1 : 1 + _MOST_COMPARED]
        ),
        *groups[1 + _MOST_COMPARED :],
    )


def _compare(
    most: tuple[SchemaObject, ...] | None, others: tuple[SchemaObject, ...] | None
) -> tuple[str, ...]:
    if most is None or others is None:
        return ()
    return tuple(f"{one.kind} {one.identity}: {one.change}" for one in compare_schemas(most, others))


def _read_objects(
    settings: Settings, by_name: Mapping[str, Target], group: ShapeGroup
) -> tuple[SchemaObject, ...] | None:
    """Return the objects of the first target of a group; ``None`` if it does not answer any more."""
    target = by_name[group.targets[0]]

    def read(conn: Connection[Any]) -> tuple[SchemaObject, ...]:
        if target.schema is None:
            return read_objects(conn, own.schema)
        return read_tenant_objects(conn, own.schema, target.schema)

    with suppress(UserFault, psycopg.Error):
        own = build_settings(settings, target, os.environ)
        return ask_database(own, target, read)
    return None
