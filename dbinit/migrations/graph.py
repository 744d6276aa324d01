"""Which migration needs which: an order for running them one by one, and what is wrong with it. Pure."""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence

from .model import Migration
from .problems import Problem
from .text import line_of
from .version import Version

__all__ = ["Graph", "dependencies", "order", "problems_of"]

Graph = Mapping[Version, frozenset[Version]]


def dependencies(migrations: Iterable[Migration]) -> Graph:
    """Return what each versioned migration needs, by version: what it says, or else the one before it."""
    versioned = {migration.version: migration for migration in migrations if migration.version is not None}
    graph: dict[Version, frozenset[Version]] = {}
    before = frozenset[Version]()
    for version in sorted(versioned):
        depends = versioned[version].depends
        graph[version] = before if depends is None else frozenset(depends)
        before = frozenset((version,))
    return graph


def order(graph: Graph) -> Iterable[Version]:
    """Return each version behind all that it needs, and otherwise by number; what stands in a circle is left out."""
    if all(need < version for version, needs in graph.items() for need in needs):
        return sorted(graph)
    return _by_needs(graph)


def _by_needs(graph: Graph) -> Iterator[Version]:
    missing = {version: len(needs) for version, needs in graph.items()}
    needed_by: dict[Version, list[Version]] = {}
    for version, needs in graph.items():
        for need in needs:
            needed_by.setdefault(need, []).append(version)
    ready = [version for version, count in missing.items() if not count]
    heapq.heapify(ready)
    while ready:
        version = heapq.heappop(ready)
        yield version
        for dependent in needed_by.get(version, ()):
            missing[dependent] -= 1
            if not missing[dependent]:
                heapq.heappush(ready, dependent)


def problems_of(migrations: Sequence[Migration]) -> list[Problem]:
    """Return what is wrong with what the migrations say they need: unknown versions, and circles."""
    if all(migration.depends is None for migration in migrations):
        return []  # each needs the one before it, which is there
    graph = dependencies(migrations)
    migration_of = {migration.version: migration for migration in migrations if migration.version is not None}
    problems = [
        _problem(migration_of[version], f"it depends on {need}, and there is no migration with that version")
        for version, needs in graph.items()
        for need in needs
        if need not in graph
    ]
    selfish = [version for version, needs in graph.items() if version in needs]
    problems += [_problem(migration_of[version], "it depends on itself") for version in selfish]
    known = {
        version: frozenset(need for need in needs if need in graph and need != version)
        for version, needs in graph.items()
    }
    if circle := _circle(known):
        names = " -> ".join(migration_of[version].up.path for version in [*circle, circle[0]])
        problems.append(_problem(migration_of[circle[0]], f"migrations depend on each other in a circle: {names}"))
    return problems


def _problem(migration: Migration, message: str) -> Problem:
    return Problem(migration.up.path, message, line_of(migration.up.text, "depends"))


def _circle(graph: Graph) -> list[Version]:
    """Return one circle, from its lowest version on; empty if there is none."""
    left = set(graph).difference(order(graph))
    if not left:
        return []
    version, trail = min(left), dict[Version, int]()
    while version not in trail:
        trail[version] = len(trail)
        version = min(graph[version] & left)
    circle = list(trail)[trail[version] :]
    lowest = circle.index(min(circle))
    return circle[lowest:] + circle[:lowest]
