"""Find two targets that are one database under two names of its host."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg
from attrs import evolve

from confiture.config.settings import Settings
from confiture.exceptions import UsageFault, UserFault
from confiture.fleet.target import Target
from confiture.fleet.work import expand_url
from confiture.postgres.connect import open_connection
from confiture.postgres.session import fetch_rows

_THREADS = 16
_IDENTITY = (
    "SELECT concat_ws(' ', (SELECT system_identifier FROM pg_control_system()), oid)"
    " FROM pg_database WHERE datname = current_database()"
)


def refuse_aliases(settings: Settings, targets: Sequence[Target]) -> None:
    """Ask the servers who they are, where only the host tells two targets apart.

    A server that does not answer is left out: its target then says itself what is wrong.

    Raises:
        UsageFault: Two targets are one database.
    """
    suspects = list(_find_suspects(targets))
    if not suspects:
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        identities = pool.map(lambda target: _read_identity(settings, target), suspects)
        found: dict[tuple[str, str | None], Target] = {}
        for target, identity in zip(suspects, identities, strict=True):
            if identity is None:
                continue
            other = found.setdefault((identity, target.schema), target)
            if other is not target:
                raise UsageFault(
                    f"{other.name} and {target.name} are two names for one database",
                    hint="remove one of the two: a target is migrated once",
                )


def _find_suspects(targets: Iterable[Target]) -> Iterator[Target]:
    """Yield the targets that share the database's name and the schema with one on another host."""
    by_rest: dict[str, list[Target]] = {}
    for target in targets:
        by_rest.setdefault(target.place.removeprefix(target.host), []).append(target)
    for alike in by_rest.values():
        if len(alike) > 1:
            yield from alike


def _read_identity(settings: Settings, target: Target) -> str | None:
    try:
        with open_connection(evolve(settings, url=expand_url(target, os.environ), direct_url=None)) as conn:
            return str(fetch_rows(conn, _IDENTITY)[0][0])
    except (UserFault, psycopg.Error):
        return None
