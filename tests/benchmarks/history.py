"""A history of 350 migrations as a product of some years has it: made from nothing but its number of files.

Each file changes little, and what exists grows: so it shows what a rehearsal costs for each relation that is
there, and not only for what a file does. The same number of files gives the same text.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from attrs import define, field

_SEED = 7
_NOUNS = ("account", "booking", "cart", "delivery", "event", "file", "grant", "hotel", "invoice", "journal")
_TYPES = ("text", "integer", "bigint", "boolean DEFAULT false", "jsonb", "timestamptz", "numeric(10, 2)")
_SEED_ROWS = 20


@define
class History:
    """Writes migration after migration, and remembers the tables that they made.

    Attributes:
        tables: The tables so far, with the number of columns that were added to each.
    """

    tables: dict[str, int] = field(factory=dict)
    _chance: random.Random = field(factory=lambda: random.Random(_SEED))
    _objects: int = 0

    def write(self, folder: Path, count: int) -> Path:
        """Write ``count`` migrations into a new folder."""
        folder.mkdir(parents=True)
        for number in range(1, count + 1):
            name, statements = self._compose()
            (folder / f"{number:05d}_{name}.sql").write_text("".join(f"{sql};\n" for sql in statements))
        return folder

    def _compose(self) -> tuple[str, tuple[str, ...]]:
        """Return the name and the statements of the next migration: four in ten make a table."""
        self._objects += 1
        if len(self.tables) < 3 or self._chance.random() < 0.4:
            return f"table_{self._objects}", tuple(self._make_table())
        table = self._chance.choice(list(self.tables))
        make = self._chance.choice(
            (self._add_columns, self._add_index, self._add_key, self._add_logic, self._fill)
        )
        return f"{make.__name__.strip('_')}_{self._objects}", tuple(make(table))

    def _make_table(self) -> Iterator[str]:
        name = f"{self._chance.choice(_NOUNS)}_{self._objects}"
        parents = self._chance.sample(list(self.tables), min(2, len(self.tables)))
        references = "".join(f", {parent}_id bigint REFERENCES {parent} (id)" for parent in parents)
        yield (
            f"CREATE TABLE {name} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, "
            f"made_at timestamptz NOT NULL DEFAULT now(){references})"
        )
        yield from (f"CREATE INDEX ON {name} ({parent}_id)" for parent in parents)
        self.tables[name] = 0

    def _add_columns(self, table: str) -> Iterator[str]:
        for _ in range(2):
            self.tables[table] += 1
            yield f"ALTER TABLE {table} ADD COLUMN extra_{self.tables[table]} {self._chance.choice(_TYPES)}"
        yield f"COMMENT ON COLUMN {table}.extra_{self.tables[table]} IS 'Added by file {self._objects}'"

    def _add_index(self, table: str) -> Iterator[str]:
        yield f"CREATE INDEX {table}_made_{self._objects} ON {table} (made_at, name)"

    def _add_key(self, table: str) -> Iterator[str]:
        other = self._chance.choice(list(self.tables))
        yield f"ALTER TABLE {table} ADD COLUMN link_{self._objects} bigint"
        yield (
            f"ALTER TABLE {table} ADD CONSTRAINT link_{self._objects} "
            f"FOREIGN KEY (link_{self._objects}) REFERENCES {other} (id)"
        )

    def _add_logic(self, table: str) -> Iterator[str]:
        yield f"CREATE VIEW recent_{self._objects} AS SELECT id, name FROM {table} ORDER BY made_at DESC LIMIT 10"
        yield (
            f"CREATE FUNCTION touch_{self._objects}() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN NEW.made_at := now(); RETURN NEW; END'"
        )
        yield (
            f"CREATE TRIGGER touch_{self._objects} BEFORE UPDATE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION touch_{self._objects}()"
        )

    def _fill(self, table: str) -> Iterator[str]:
        yield f"INSERT INTO {table} (name) SELECT 'seed ' || n FROM generate_series(1, {_SEED_ROWS}) AS n"
        yield f"UPDATE {table} SET name = upper(name) WHERE name LIKE 'seed 1%'"
