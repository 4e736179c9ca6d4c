"""Derive the write side and the read side of a schema from its names, comments and function bodies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from attrs import field, frozen

from confiture.config.schema_policy import CqrsPolicy
from confiture.schema.function_body import BodyUse, Name, read_function_use
from confiture.schema.name_patterns import matches_any
from confiture.schema.schema_catalog import CatalogFunction, CatalogRelation, SchemaCatalog

_SOURCES = re.compile(r"confiture:\s*sources\s+([\w$\".]+(?:\s*,\s*[\w$\".]+)*)")
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

    def is_write(self, relation: CatalogRelation) -> bool:
        """Return True if the name is one of the write side."""
        return matches_any(self.policy.write, relation.schema, relation.name)

    def is_read(self, relation: CatalogRelation) -> bool:
        """Return True if the name is one of the read side."""
        return matches_any(self.policy.read, relation.schema, relation.name)

    def is_neutral(self, relation: CatalogRelation) -> bool:
        """Return True if the name is on neither side."""
        return matches_any(self.policy.neutral, relation.schema, relation.name)

    @cached_property
    def uses(self) -> Mapping[str, BodyUse]:
        """What each function uses, by the function's name as reports spell it."""
        return {function.rel: read_function_use(function) for function in self.catalog.functions}

    def list_declared(self, relation: CatalogRelation) -> tuple[str, ...] | None:
        """Return the sources that a read model declares; ``None`` if it declares none."""
        for name in (relation.name, f"{relation.schema}.{relation.name}"):
            if name in self.policy.sources:
                return self.policy.sources[name]
        found = _SOURCES.search(relation.comment or "")
        return tuple(re.split(r"\s*,\s*", found[1].replace('"', ""))) if found else None

    def list_sources(self, relation: CatalogRelation) -> Iterator[CatalogRelation]:
        """Yield what a read model is derived from: its declared sources, and what its definition reads."""
        declared = (self.catalog.resolve_written(name) for name in self.list_declared(relation) or ())
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
        yield from self._resolve(self.uses[function.rel].writes)

    def list_read(self, function: CatalogFunction) -> Iterator[CatalogRelation]:
        """Yield the relations that a function reads, itself or in functions that write nothing."""
        seen: set[str] = set()
        waiting = [function]
        while waiting:
            use = self.uses[waiting.pop().rel]
            yield from self._resolve(use.reads)
            for _, name in use.calls:
                for called in self._functions_by_name.get(name, ()):
                    if called.rel not in seen and not self.uses[called.rel].writes:
                        seen.add(called.rel)
                        waiting.append(called)

    @cached_property
    def _functions_by_name(self) -> Mapping[str, tuple[CatalogFunction, ...]]:
        names: dict[str, tuple[CatalogFunction, ...]] = {}
        for function in self.catalog.functions:
            names[function.name] = (*names.get(function.name, ()), function)
        return names

    def _resolve(self, names: frozenset[Name]) -> Iterator[CatalogRelation]:
        for schema, name in sorted(names, key=lambda name: (name[0] or "", name[1])):
            if relation := self.catalog.resolve(schema, name):
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
        written = {
            relation.rel for function in self.catalog.functions for relation in self.list_written(function)
        }
        written |= {relation.rel for relation in self._resolve(self.backfilled)}
        written |= {relation.rel for relation in self.catalog.relations if self._is_said_filled(relation)}
        return frozenset(written)

    def _is_said_filled(self, relation: CatalogRelation) -> bool:
        names = (relation.name, relation.rel, f"{relation.schema}.{relation.name}")
        return any(name in self.policy.filled for name in names) or bool(
            _FILLED.search(relation.comment or "") or self._is_mentioned_unread(relation.name)
        )

    def _is_mentioned_unread(self, name: str) -> bool:
        """Return True if a function that cannot be read in full has the name in its text."""
        word = re.compile(rf"\b{re.escape(name)}\b")
        return any(
            self.uses[function.rel].unknown and word.search(function.source)
            for function in self.catalog.functions
        )
