"""Compare the query plan of a rehearsed statement with the one that PostgreSQL would choose in production."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from confiture.estimate.comparability import UnknownEstimate
from confiture.models.report import StatementReport


def find_plan_change(statement: StatementReport) -> UnknownEstimate | None:
    """Return an unknown estimate if PostgreSQL would choose another plan in production."""
    if statement.production_plan is None:
        return None
    here, there = (_list_nodes(plan) for plan in (statement.plan, statement.production_plan))
    return UnknownEstimate(
        f"production will use another plan: {_describe_change(here, there)}",
        "rehearse on a copy with as many rows as production, or time it there",
    )


def _list_nodes(plan: Any) -> list[str]:
    """Return the nodes of a plan in the format of ``EXPLAIN (FORMAT JSON)``: ``Seq Scan on orders``.

    Also tells apart all that makes plans differ: ``Index Scan using by_day on orders``, ``Hashed Aggregate``.
    """
    # A rule makes several plans of one statement.
    nodes, waiting = [], [query["Plan"] for query in plan if isinstance(query, dict) and "Plan" in query]
    while waiting:
        node = waiting.pop()
        nodes.append(_describe_node(node))
        waiting += node.get("Plans", ())
    return nodes


def _describe_node(node: Mapping[str, Any]) -> str:
    kinds = (node.get("Strategy"), node.get("Join Type"), node["Node Type"])
    words = [str(kind) for kind in kinds if kind not in (None, "Plain", "Inner")]
    for word, key in (("using", "Index Name"), ("on", "Relation Name")):
        words += [word, str(node[key])] if key in node else []
    return " ".join(words)


def _describe_change(here: Sequence[str], there: Sequence[str]) -> str:
    """Return what production's plan has ``instead of`` the nodes here, ``with`` more, or ``without`` some."""
    new, missing = _list_surplus(there, here), _list_surplus(here, there)
    if new and missing:
        return f"{new} instead of {missing}"
    return f"with {new}" if new else f"without {missing}"


def _list_surplus(nodes: Sequence[str], others: Sequence[str]) -> str:
    """Return the nodes that occur more often than among the others, each once."""
    return ", ".join(Counter(nodes) - Counter(others))
