"""Hash with a key, HMAC-SHA-256, in the server and here: both give the same digest."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen
from psycopg import Connection

from confiture_anonymize.errors import ProfileFault
from confiture_anonymize.source_schema import quote_text

SECRET_VARIABLE = "CONFITURE_ANONYMIZE_SECRET"
MIN_SECRET_BYTES = 16
_BLOCK_BYTES = 64
_HINT = (
    f'export {SECRET_VARIABLE}="$(openssl rand -hex 32)", and keep it: the same secret gives the same copy'
)


@frozen
class Key:
    """The secret of a copy.

    Attributes:
        secret: Its bytes.
    """

    secret: bytes = field(repr=False)

    def digest(self, domain: str, value: str) -> bytes:
        """Return the keyed hash of a value within an identity domain."""
        return hmac.digest(self.secret, f"{domain}:{value}".encode(), "sha256")

    def install(self, conn: Connection[Any]) -> None:
        """Set what :func:`render_digest` reads; as parameters, which the server's statistics do not show."""
        inner, outer = self._pad(0x36), self._pad(0x5C)
        conn.execute(
            "SELECT pg_catalog.set_config('confiture_anonymize.inner', %s, false),"
            " pg_catalog.set_config('confiture_anonymize.outer', %s, false)",
            (inner.hex(), outer.hex()),
        )

    def _pad(self, byte: int) -> bytes:
        short = self.secret if len(self.secret) <= _BLOCK_BYTES else hashlib.sha256(self.secret).digest()
        return bytes(number ^ byte for number in short.ljust(_BLOCK_BYTES, b"\0"))


def read_key(environ: Mapping[str, str] = os.environ) -> Key:
    """Return the key that the environment holds.

    Raises:
        ProfileFault: It is missing, empty or shorter than 16 bytes.
    """
    secret = environ.get(SECRET_VARIABLE, "").strip().encode()
    if not secret:
        raise ProfileFault(f"{SECRET_VARIABLE} is not set, or empty", hint=_HINT)
    if len(secret) < MIN_SECRET_BYTES:
        raise ProfileFault(
            f"{SECRET_VARIABLE} has {len(secret)} bytes; it needs {MIN_SECRET_BYTES} or more", hint=_HINT
        )
    return Key(secret)


def refuse_written_secret(config: Mapping[str, Any], file: Path | None) -> None:
    """Refuse a secret in the configuration file, which is committed, copied and read by others.

    Raises:
        ProfileFault: There is one, wherever in ``[anonymize]``.
    """
    path = _find_secret(config)
    if path is None:
        return
    name = file.name if file else "the configuration"
    readers = file is not None and file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)
    exposed = (
        f", a file that others can read (mode {file.stat().st_mode & 0o777:o})" if file and readers else ""
    )
    raise ProfileFault(
        f"{name}: {'.'.join(('anonymize', *path))} is a secret in a file{exposed}",
        hint=f"remove it, do not use it again, and make another: {_HINT}",
    )


def _find_secret(table: Mapping[str, Any]) -> tuple[str, ...] | None:
    for name, value in table.items():
        if name == "secret":
            return (name,)
        if isinstance(value, Mapping) and (path := _find_secret(value)) is not None:
            return (name, *path)
    return None


def render_digest(domain: str, value_sql: str) -> str:
    """Return SQL for the keyed hash of a text, 32 bytes; NULL for NULL.

    The construction of HMAC is written out with ``sha256()``, which every server has: pgcrypto may not be
    installed in production, and nothing is installed there.
    """
    return f"pg_catalog.sha256({_render_pad('outer')} || {render_order(domain, value_sql)})"


def render_order(domain: str, value_sql: str) -> str:
    """Return SQL to order rows by, in an order that only the key decides: the inner half of the keyed hash.

    It is half the work, and enough for what is never shown.
    """
    message = f"pg_catalog.convert_to({quote_text(domain + ':')} || {value_sql}, 'UTF8')"
    return f"pg_catalog.sha256({_render_pad('inner')} || {message})"


def _render_pad(part: str) -> str:
    return f"(SELECT pg_catalog.decode(pg_catalog.current_setting('confiture_anonymize.{part}'), 'hex'))"


def render_number(domain: str, value_sql: str) -> str:
    """Return SQL for a whole number from 0 to 2⁵⁶-1 that the keyed hash decides."""
    digest = render_digest(domain, value_sql)
    return f"('x' || pg_catalog.encode(pg_catalog.substr({digest}, 1, 7), 'hex'))::bit(56)::bigint"
