"""Values that describe a schema: its objects, its fingerprint, and how two schemas differ."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen, validators

Change = Literal["added", "removed", "changed"]
DriftBasis = Literal["recorded", "migrations"]

# Plugins make these values, perhaps of what a function in the database returns.
_IS_TEXT = validators.instance_of(str)
_MAY_BE_TEXT = validators.optional(_IS_TEXT)


@frozen(order=True)
class SchemaObject:
    """One object of a schema.

    Attributes:
        kind: ``table``, ``index``, ``function``… in PostgreSQL's words, in lower case.
        identity: The name, schema-qualified and quoted; for a function with its argument types.
        ddl: Its canonical definition.
    """

    kind: str
    identity: str
    ddl: str


@frozen
class ObjectChange:
    """One change in the history of an object, as a plugin knows it.

    Attributes:
        kind: ``CREATE``, ``ALTER``…
        description: What was changed; ``None`` if that is not known.
        at: When, as the plugin's source says.
        by: The role that changed it.
    """

    kind: str = field(validator=_IS_TEXT)
    description: str | None = field(default=None, validator=_MAY_BE_TEXT)
    at: str | None = field(default=None, validator=_MAY_BE_TEXT)
    by: str | None = field(default=None, validator=_MAY_BE_TEXT)


@frozen
class ObjectVersion:
    """The version of one object, as a plugin knows it.

    Attributes:
        identity: The object's name.
        version: Its version, such as ``1.2.0``; ``None`` if it has none.
        changes: Its last changes, newest first.
    """

    identity: str = field(validator=_IS_TEXT)
    version: str | None = field(validator=_MAY_BE_TEXT)
    changes: tuple[ObjectChange, ...] = ()


@frozen
class SchemaVersion:
    """The fingerprint of a schema.

    Attributes:
        fingerprint: The SHA-256 of all objects, as 64 hexadecimal digits.
        server_version: The version of the server that has or had this schema, ``"18.1"``.
        recorded_at: When it was recorded, in ISO 8601 with time zone; ``None`` if it is the present one.
        migration: The version of the migration after which it was recorded; ``None`` likewise.
        objects: The versions of objects that plugins know.
        warnings: Why a plugin could not say them.
    """

    fingerprint: str
    server_version: str
    recorded_at: str | None = None
    migration: str | None = None
    objects: tuple[ObjectVersion, ...] = ()
    warnings: tuple[str, ...] = ()


@frozen
class ObjectDifference:
    """One object that two schemas do not have alike.

    Attributes:
        kind: The kind of object.
        identity: Its name.
        change: ``added`` if only the second schema has it, ``removed`` if only the first has.
        diff: A unified diff of the canonical DDL, without a newline at its end.
    """

    kind: str
    identity: str
    change: Change
    diff: str


@frozen
class Drift:
    """How the live schema differs from what it should be.

    Attributes:
        against: What the live schema was compared with: what the last run ``recorded``, or what the
            ``migrations`` make.
        compared: The number of objects that were compared.
        differences: The objects that differ, by kind and name; empty if there is no drift.
        unread: The last migration, if it is compared with the migrations because the schema was not read
            after that one.
    """

    against: DriftBasis
    compared: int
    differences: tuple[ObjectDifference, ...] = ()
    unread: str | None = None


@frozen
class VersionDiff:
    """How the schema differs between two versions.

    Attributes:
        before: The first version, as its file writes it.
        after: The second version.
        differences: The objects that differ, by kind and name.
    """

    before: str
    after: str
    differences: tuple[ObjectDifference, ...] = ()
