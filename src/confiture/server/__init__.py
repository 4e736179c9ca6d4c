"""The embedded PostgreSQL: the first command starts it, and the last one stops it.

The data is in a folder of the project, and a private Unix socket is the only way to connect. File locks
decide who starts, shares and stops the server, because the kernel releases them when a process dies:

- *gate*: held by a command while it joins or leaves, so that only one does so at a time;
- *users*: shared by every command while it works;
- *supervisor*: held by the supervisor, the process that started the server, as long as it lives.

The supervisor stops the server when nobody holds *users*, which also happens if the last command was
killed with SIGKILL.
"""

from confiture.server.binaries import find_binaries
from confiture.server.extensions import explain_missing_extension
from confiture.server.lifecycle import open_embedded_server, open_temporary_server
from confiture.server.postmaster import Server

__all__ = [
    "Server",
    "explain_missing_extension",
    "find_binaries",
    "open_embedded_server",
    "open_temporary_server",
]
