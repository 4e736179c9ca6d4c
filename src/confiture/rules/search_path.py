"""Follow ``SET search_path`` through a migration, and write the schema into names that leave it out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import evolve, frozen

from confiture.rules.parse_tree import read_name
from confiture.sql.parser import find_nodes, read_enum_name

_NAMED = ("OBJECT_TABLE", "OBJECT_INDEX", "OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_SEQUENCE")
# An INSERT may hold a million values, which takes long to copy, and no rule asks where its table is.
_KEPT = ("insert_stmt", "copy_stmt")


@frozen
class SearchPath:
    """Where PostgreSQL looks for a name without a schema, as far as the text tells.

    Attributes:
        schemas: The schemas that a statement set; none for the role's own search_path.
        temporary: The temporary tables of the migration, which are found before any other.
    """

    schemas: tuple[str, ...] = ()
    temporary: frozenset[str] = frozenset()

    def follow(self, kind: str, node: Any, *, transactional: bool) -> SearchPath:
        """Return the search path that the statements after this one have."""
        temporary = self.temporary | set(_find_temporary(kind, node))
        schemas = _read_setting(kind, node, transactional=transactional)
        if schemas is None and temporary == self.temporary:
            return self
        return evolve(self, schemas=self.schemas if schemas is None else schemas, temporary=temporary)

    def qualify(self, kind: str, node: Any) -> Any:
        """Return the statement's tree with the schema in each name of which it is certain.

        What is created is created in the first schema; what is used may be in any of them.
        """
        if not self.schemas or kind in _KEPT:
            return node
        changed = type(node)()
        changed.CopyFrom(node)
        tree = getattr(changed, kind)
        ranges = _list_named(tree) if len(self.schemas) == 1 else _list_created(kind, tree)
        for name in ranges:
            if not name.schemaname and self._is_ours(name):
                name.schemaname = self.schemas[0]
        if kind == "drop_stmt" and len(self.schemas) == 1:
            self._qualify_dropped(tree)
        return changed

    def _is_ours(self, name: Any) -> bool:
        return (
            name.relpersistence != "t"
            and name.relname not in self.temporary
            # The catalogs are found first, wherever pg_catalog stands in the path.
            and not name.relname.startswith("pg_")
        )

    def _qualify_dropped(self, stmt: Any) -> None:
        if read_enum_name(stmt, "remove_type") not in _NAMED:
            return
        for item in stmt.objects:
            words = item.list.items
            if len(words) == 1 and words[0].string.sval not in self.temporary:
                words.add().CopyFrom(words[0])
                words[0].string.sval = self.schemas[0]


def _list_named(tree: Any) -> Iterator[Any]:
    ctes = {cte.ctename for cte in find_nodes(tree, "CommonTableExpr")}
    return (name for name in find_nodes(tree, "RangeVar") if name.relname not in ctes)


def _list_created(kind: str, tree: Any) -> Iterator[Any]:
    """Yield the names of the relations that a statement creates."""
    if kind == "create_stmt":
        yield tree.relation
    elif kind == "create_foreign_table_stmt":
        yield tree.base_stmt.relation
    elif kind == "create_table_as_stmt":
        yield tree.into.rel
    elif kind == "view_stmt":
        yield tree.view
    elif kind == "create_seq_stmt":
        yield tree.sequence
    elif kind == "select_stmt" and tree.HasField("into_clause"):
        yield tree.into_clause.rel


def _find_temporary(kind: str, node: Any) -> Iterator[str]:
    for name in _list_created(kind, getattr(node, kind)):
        if name.relpersistence == "t":
            yield read_name(name).name


def _read_setting(kind: str, node: Any, *, transactional: bool) -> tuple[str, ...] | None:
    """Return the schemas that a statement sets; ``None`` if it does not set the search path."""
    if kind == "variable_set_stmt":
        return _read_set(node.variable_set_stmt, transactional=transactional)
    if kind == "discard_stmt":
        return () if read_enum_name(node.discard_stmt, "target") == "DISCARD_ALL" else None
    if kind != "select_stmt":
        return None
    found = None
    for call in find_nodes(node.select_stmt, "FuncCall"):
        words = [_read_string(argument) for argument in call.args]
        if call.funcname[-1].string.sval == "set_config" and words[:1] == ["search_path"]:
            local = len(call.args) > 2 and call.args[2].a_const.boolval.boolval
            if words[1] is not None and (transactional or not local):
                found = _split(words[1])
    return found


def _read_set(stmt: Any, *, transactional: bool) -> tuple[str, ...] | None:
    sort = read_enum_name(stmt, "kind")
    if sort == "VAR_RESET_ALL":
        return ()
    if stmt.name != "search_path" or (stmt.is_local and not transactional):
        return None
    if sort in ("VAR_SET_DEFAULT", "VAR_RESET"):
        return ()
    if sort != "VAR_SET_VALUE":
        return None
    return tuple(word for word in map(_read_string, stmt.args) if word and _is_plain(word))


def _split(setting: str) -> tuple[str, ...]:
    """Return the schemas in the value of the setting, ``app, "Odd", public``."""
    words = []
    for part in setting.split(","):
        word = part.strip()
        quoted = len(word) > 1 and word[0] == word[-1] == '"'
        words.append(word[1:-1].replace('""', '"') if quoted else word.lower())
    return tuple(word for word in words if word and _is_plain(word))


def _is_plain(schema: str) -> bool:
    # "$user" is the role's own schema, which rarely exists; a migration creates nothing in pg_catalog.
    return schema != "$user" and not schema.startswith("pg_")


def _read_string(node: Any) -> str | None:
    if node.WhichOneof("node") == "type_cast":
        return _read_string(node.type_cast.arg)
    return str(node.a_const.sval.sval) if node.a_const.WhichOneof("val") == "sval" else None
