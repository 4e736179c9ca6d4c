"""How long a server process of this machine has waited for a CPU, which is other programs' doing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from attrs import define
from psycopg import Connection

_HERE = ("", "localhost", "127.0.0.1", "::1")


@define
class CpuWait:
    """Reads it again and again, for one session.

    Attributes:
        file: The server process's ``schedstat``, open; ``None`` where it cannot be seen from here.
    """

    file: int | None

    @classmethod
    def of(cls, conn: Connection[Any]) -> CpuWait:
        """Find the server process of a session, if it runs on this machine."""
        host = conn.info.host
        if host not in _HERE and not host.startswith("/"):
            return cls(None)
        process = Path(f"/proc/{conn.info.backend_pid}")
        try:
            # Behind a port that is forwarded, the process of that number is somebody else's.
            if not (process / "comm").read_text().startswith("postgres"):
                return cls(None)
            return cls(os.open(process / "schedstat", os.O_RDONLY))
        except (OSError, ValueError):
            return cls(None)

    def ms(self) -> float | None:
        """Return what it has waited since it began, in milliseconds; ``None`` where that is not known."""
        if self.file is None:
            return None
        try:
            return int(os.pread(self.file, 100, 0).split()[1]) / 1e6
        except (OSError, ValueError, IndexError):
            return None

    def __del__(self) -> None:
        if self.file is not None:
            os.close(self.file)
