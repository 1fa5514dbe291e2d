"""Where the flow can go: exits that lead nowhere, nodes nobody reaches, circles without a question."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from app.whatsapp.engine.validate.checks import Checks


def check_graph(start: Any, nodes: list[dict[str, Any]], checks: Checks) -> None:
    """Add the problems of the way through the flow."""
    edges = {node["id"]: _edges(node, checks) for node in nodes}
    if not isinstance(start, str) or not start:
        checks.add("/start", "missing_start", "The flow does not say where it starts.")
    elif start not in checks.ids:
        checks.add(
            "/start", "unknown_start", "It starts at %(start)s, which does not exist.", start=start[:64]
        )
    else:
        reached = _reached(start, edges)
        for node in nodes:
            if node["id"] not in reached:
                checks.add(node["id"], "warning_unreachable", "No way leads to this node.")
    types = {node["id"]: node.get("type") for node in nodes}
    running = {
        id_: [t for t in targets if types[t] != "ask"]
        for id_, targets in edges.items()
        if types[id_] != "ask"
    }
    for circle in _circles(running):
        where = min(circle)
        if any(types[id_] == "branch" for id_ in circle):
            checks.add(where, "warning_loop", "This may go in circles without ever asking anything.")
        else:
            checks.add(where, "endless_loop", "This goes in circles without ever asking anything.")


def _edges(node: dict[str, Any], checks: Checks) -> list[str]:
    """The nodes that can follow, after naming exits that lead nowhere or that the node does not have."""
    where = node["id"]
    found: list[str | None] = []
    if node.get("type") == "go_to":
        if node.get("target") is None:
            checks.add(where, "dangling_exit", "It does not say where to go on.")
        found.append(checks.target(where, "target", node.get("target")))
        return [target for target in found if target]
    exits = node.get("exits")
    if not isinstance(exits, dict):
        return []
    known = set(_exit_names(node))
    for name, value in exits.items():
        if name in known:
            found.append(checks.target(where, name, value))
        elif value is not None:
            checks.add(
                where, "warning_unknown_exit", "The exit %(exit)s is never taken.", exit=str(name)[:80]
            )
    return [target for target in found if target]


def _exit_names(node: dict[str, Any]) -> Iterable[str]:
    kind = node.get("type")
    if kind == "branch":
        yield "otherwise"
        yield from (f"case:{id_}" for id_ in _ids(node.get("cases")))
    elif kind == "ask":
        yield from ("next", "failed", "timeout")
        if node.get("kind") == "choice":
            yield from (f"choice:{id_}" for id_ in _ids(node.get("choices")))
    elif kind not in ("hand_over", "end"):
        yield "next"


def _ids(items: Any) -> list[str]:
    if not isinstance(items, list):
        return []
    return [item["id"] for item in items if isinstance(item, dict) and isinstance(item.get("id"), str)]


def _reached(start: str, edges: dict[str, list[str]]) -> set[str]:
    reached, waiting = {start}, [start]
    while waiting:
        for target in edges[waiting.pop()]:
            if target not in reached:
                reached.add(target)
                waiting.append(target)
    return reached


def _circles(edges: dict[str, list[str]]) -> list[list[str]]:
    """Strongly connected nodes (Tarjan, without recursion: a flow may be a thousand nodes deep)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    circles: list[list[str]] = []
    for root, first in edges.items():
        if root in index:
            continue
        work = [(root, iter(first))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            id_, targets = work[-1]
            target = next(targets, None)
            if target is None:
                work.pop()
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[id_])
                if low[id_] == index[id_]:
                    circle = stack[stack.index(id_) :]
                    del stack[-len(circle) :]
                    on_stack.difference_update(circle)
                    if len(circle) > 1 or id_ in edges[id_]:
                        circles.append(circle)
            elif target not in index:
                index[target] = low[target] = len(index)
                stack.append(target)
                on_stack.add(target)
                work.append((target, iter(edges[target])))
            elif target in on_stack:
                low[id_] = min(low[id_], index[target])
    return circles
