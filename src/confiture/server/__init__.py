"""The embedded PostgreSQL: started by the first command, stopped by the last one out.

A folder of the project's own holds the data; a private Unix socket is the only way in. Who starts,
shares and stops it is decided by file locks alone, which the kernel gives back when a process dies:

- *gate*: held by whoever is arriving or leaving, for that moment only;
- *users*: shared by every command while it works;
- *steward*: held by the process that started the server, as long as it lives.

The steward waits for *users* to be free, which also happens when the last command was killed, and
stops the server then.
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
