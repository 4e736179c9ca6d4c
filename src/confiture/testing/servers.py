"""The server that tests run on: the one that ``CONFITURE_TEST_URL`` names, else one of our own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlencode

from attrs import field, frozen

from confiture.config.urls import mask_password

TEST_URL_VARIABLE = "CONFITURE_TEST_URL"
_MEMORY_FOLDER = Path("/dev/shm")
_MIN_FREE_BYTES = 1 << 30


class AnyServer(Protocol):
    """A server to test on."""

    @property
    def bindir(self) -> Path:
        """Where ``psql`` and ``pg_dump`` are."""

    def conninfo(self, dbname: str) -> str:
        """Return the URL of one of its databases."""


@frozen
class NamedServer:
    """The server that ``CONFITURE_TEST_URL`` names.

    Attributes:
        url: Of any of its databases; the role is to be allowed to create more.
    """

    url: str = field(repr=lambda url: repr(mask_password(url)))

    @property
    def bindir(self) -> Path:
        """Where ``psql`` and ``pg_dump`` are."""
        from confiture.server import find_binaries

        return find_binaries()

    def conninfo(self, dbname: str) -> str:
        """Return the URL of one of its databases."""
        from psycopg.conninfo import conninfo_to_dict

        options = {
            name: str(value) for name, value in conninfo_to_dict(self.url).items() if value is not None
        }
        return f"postgresql:///{quote(dbname, safe='')}?" + urlencode(
            {name: value for name, value in options.items() if name != "dbname"}, quote_via=quote, safe=""
        )


@contextmanager
def open_test_server() -> Iterator[AnyServer]:
    """Lend the server that is named, else one of our own without fsync, as long as the block lasts.

    Raises:
        ServerFault: None is named, and our own cannot be started.
    """
    if named := os.environ.get(TEST_URL_VARIABLE):
        yield NamedServer(named)
        return
    from confiture.server import open_temporary_server

    with open_temporary_server(choose_fast_folder(), fsync=False) as ours:
        yield ours


def choose_fast_folder() -> Path:
    """Return the memory file system if it has room, else the temporary folder."""
    if (
        _MEMORY_FOLDER.is_dir()
        and os.access(_MEMORY_FOLDER, os.W_OK)
        and shutil.disk_usage(_MEMORY_FOLDER).free >= _MIN_FREE_BYTES
    ):
        return _MEMORY_FOLDER
    return Path(tempfile.gettempdir())
