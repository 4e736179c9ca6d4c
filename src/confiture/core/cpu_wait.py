"""How long a server process of this machine has waited for a CPU, which is other programs' doing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from psycopg import Connection

_HERE = ("", "localhost", "127.0.0.1", "::1")


def cpu_wait_ms(conn: Connection[Any]) -> float | None:
    """Return it in milliseconds since the session began; ``None`` where it cannot be seen from here."""
    host = conn.info.host
    if host not in _HERE and not host.startswith("/"):
        return None
    process = Path(f"/proc/{conn.info.backend_pid}")
    try:
        # Behind a port that is forwarded, the process of that number is somebody else's.
        if not (process / "comm").read_text().startswith("postgres"):
            return None
        return int((process / "schedstat").read_text().split()[1]) / 1e6
    except (OSError, ValueError, IndexError):
        return None
