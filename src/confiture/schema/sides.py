"""Derive the write side and the read side of a schema from its names, comments and function bodies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from attrs import field, frozen

from confiture.config.schema_policy import CqrsPolicy
from confiture.schema.function_body import BodyUse, Name, may_write, read_function_use
from confiture.schema.name_patterns import matches_any
from confiture.schema.schema_catalog import CatalogFunction, CatalogRelation, SchemaCatalog

_SOURCES = re.compile(r"confiture:\s*sources\s+([\w$\".]+(?:\s*,\s*[\w$\".]+)*)")
_WORD = re.compile(r"[^\W\d]\w*")
_FILLED = re.compile(r"confiture:\s*filled\b")


@frozen(slots=False)
class Sides:
    """The two sides of a schema.

    Attributes:
        catalog: The schema.
        policy: The patterns.
        backfilled: The relations that the backfill plugin fills.
    """

    catalog: SchemaCatalog
    policy: CqrsPolicy
    backfilled: frozenset[Name] = field(default=frozenset(), repr=False)
    _uses: dict[str, BodyUse] = field(factory=dict, init=False, repr=False, eq=False)

    def is_write(self, relation: CatalogRelation) -> bool:
        """Return True if the name is one of the write side."""
        return matches_any(self.policy.write, relation.schema, relation.name)

    def is_read(self, relation: CatalogRelation) -> bool:
        """Return True if the name is one of the read side."""
        return matches_any(self.policy.read, relation.schema, relation.name)

    def is_neutral(self, relation: CatalogRelation) -> bool:
        """Return True if the name is on neither side."""
        return matches_any(self.policy.neutral, relation.schema, relation.name)

    def is_function_named(self, function: CatalogFunction) -> bool:
        """Return True if the name of a function is one that functions have."""
        patterns = (*self.policy.functions, *self.policy.neutral)
        return matches_any(patterns, function.schema, function.name)

    def read_use(self, function: CatalogFunction) -> BodyUse:
        """Return what a function uses, parsed when somebody first asks."""
        if function.rel not in self._uses:
            self._uses[function.rel] = read_function_use(function)
        return self._uses[function.rel]

    @cached_property
    def writers(self) -> tuple[CatalogFunction, ...]:
        """The functions that may write something and whose text leads to a read model.

        Only these are parsed: the text of the others names neither a read model nor, directly or not, a
        function whose text does.
        """
        names = {relation.name for relation in self.catalog.relations if self.is_read(relation)}
        words = {function.rel: _find_words(function) for function in self.catalog.functions}
        named: dict[str, CatalogFunction] = {}
        while names:
            found = [
                function
                for function in self.catalog.functions
                if function.rel not in named and not words[function.rel].isdisjoint(names)
            ]
            named |= {function.rel: function for function in found}
            names = {function.name for function in found}
        return tuple(
            function
            for function in named.values()
            if may_write(function) or function.rel in self.before_functions
        )

    def list_declared(self, relation: CatalogRelation) -> tuple[str, ...] | None:
        """Return the sources that a read model declares; ``None`` if it declares none."""
        for name in (relation.name, f"{relation.schema}.{relation.name}"):
            if name in self.policy.sources:
                return self.policy.sources[name]
        found = _SOURCES.search(relation.comment or "")
        return tuple(re.split(r"\s*,\s*", found[1].replace('"', ""))) if found else None

    def list_sources(self, relation: CatalogRelation) -> Iterator[CatalogRelation]:
        """Yield what a read model is derived from: its declared sources, and what its definition reads."""
        names = self.list_declared(relation) or ()
        declared = (self.catalog.resolve_written(name, relation.schema) for name in names)
        yield from (source for source in declared if source)
        yield from self.catalog.select(relation.depends_on)

    def list_models(self, source: CatalogRelation) -> tuple[CatalogRelation, ...]:
        """Return the read models that store what they derive from the relation."""
        return self._models_by_source.get(source.rel, ())

    @cached_property
    def _models_by_source(self) -> Mapping[str, tuple[CatalogRelation, ...]]:
        models: dict[str, tuple[CatalogRelation, ...]] = {}
        for model in self.catalog.relations:
            if model.sort != "view" and not model.partition and self.is_read(model):
                for source in {source.rel for source in self.list_sources(model)}:
                    models[source] = (*models.get(source, ()), model)
        return models

    def list_written_by(self, calls: Iterable[Name]) -> Iterator[CatalogRelation]:
        """Yield the relations that functions of these names write."""
        for schema, name in calls:
            for function in self._functions_by_name.get(name, ()):
                if schema in (None, function.schema):
                    yield from self.list_written(function)

    def list_written(self, function: CatalogFunction) -> Iterator[CatalogRelation]:
        """Yield the relations that a function writes."""
        yield from self._resolve(self.read_use(function).writes, function.schema)

    def list_read(self, function: CatalogFunction) -> Iterator[CatalogRelation]:
        """Yield the relations that a function reads, itself or in functions that write nothing."""
        seen: set[str] = set()
        waiting = [function]
        while waiting:
            current = waiting.pop()
            use = self.read_use(current)
            yield from self._resolve(use.reads, current.schema)
            for _, name in use.calls:
                for called in self._functions_by_name.get(name, ()):
                    if called.rel not in seen and not self.read_use(called).writes:
                        seen.add(called.rel)
                        waiting.append(called)

    @cached_property
    def _functions_by_name(self) -> Mapping[str, tuple[CatalogFunction, ...]]:
        names: dict[str, tuple[CatalogFunction, ...]] = {}
        for function in self.catalog.functions:
            names[function.name] = (*names.get(function.name, ()), function)
        return names

    def _resolve(self, names: frozenset[Name], home: str) -> Iterator[CatalogRelation]:
        for schema, name in sorted(names, key=lambda name: (name[0] or "", name[1])):
            if relation := self.catalog.resolve(schema, name, home):
                yield relation

    @cached_property
    def before_functions(self) -> frozenset[str]:
        """The functions that decide about rows of the write side before they are written."""
        return frozenset(
            trigger.function
            for relation in self.catalog.relations
            if self.is_write(relation)
            for trigger in relation.triggers
            if trigger.before
        )

    @cached_property
    def filled(self) -> frozenset[str]:
        """The relations that something fills: a function, a backfill file, or what the user names."""
        written = {relation.rel for function in self.writers for relation in self.list_written(function)}
        written |= {relation.rel for relation in self._resolve(self.backfilled, "public")}
        written |= {relation.rel for relation in self.catalog.relations if self._is_said_filled(relation)}
        return frozenset(written)

    def _is_said_filled(self, relation: CatalogRelation) -> bool:
        names = (relation.name, relation.rel, f"{relation.schema}.{relation.name}")
        return (
            any(name in self.policy.filled for name in names)
            or relation.name in self._unread_words
            or _FILLED.search(relation.comment or "") is not None
        )

    @cached_property
    def _unread_words(self) -> frozenset[str]:
        """The words of functions that cannot be read in full: one of them may be a name that it writes."""
        unread = [function for function in self.writers if self.read_use(function).unknown]
        return frozenset(word for function in unread for word in _find_words(function))


def _find_words(function: CatalogFunction) -> frozenset[str]:
    return frozenset(_WORD.findall(function.source or function.definition))
