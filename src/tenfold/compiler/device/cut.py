"""The cheapest division of things between two places: a minimum cut, by Dinic's algorithm (1970)."""

from __future__ import annotations

from collections import deque

FOREVER = float("inf")
HERE, THERE = 0, 1
"""The two nodes that stand for the places."""
_NOTHING = 1e-12


class Cut:
    """Nodes, and what it costs that one is here and another there."""

    def __init__(self) -> None:
        self._ends: list[int] = []
        self._room: list[float] = []
        self._edges: list[list[int]] = [[], []]

    def node(self) -> int:
        """A new node."""
        self._edges.append([])
        return len(self._edges) - 1

    def cost(self, here: int, there: int, seconds: float) -> None:
        """It costs so much that the first is here and the second is there."""
        for start, end, room in ((here, there, seconds), (there, here, 0.0)):
            self._edges[start].append(len(self._ends))
            self._ends.append(end)
            self._room.append(room)

    def here(self) -> set[int]:
        """The nodes that are here in the cheapest division; of equal ones that with the fewest here."""
        while (levels := self._levels())[THERE] >= 0:
            turns = [0] * len(self._edges)
            while self._pushed(levels, turns):
                pass
        return {node for node, level in enumerate(levels) if level >= 0}

    def _levels(self) -> list[int]:
        """How many edges with room lead to each node; -1 where none do."""
        found = [-1] * len(self._edges)
        found[HERE] = 0
        waiting = deque([HERE])
        while waiting:
            node = waiting.popleft()
            for edge in self._edges[node]:
                end = self._ends[edge]
                if found[end] < 0 and self._room[edge] > _NOTHING:
                    found[end] = found[node] + 1
                    waiting.append(end)
        return found

    def _pushed(self, levels: list[int], turns: list[int]) -> bool:
        """Fill one more shortest path; False if there is none."""
        path: list[int] = []
        node = HERE
        while node != THERE:
            edges = self._edges[node]
            while turns[node] < len(edges) and not self._leads(edges[turns[node]], node, levels):
                turns[node] += 1
            if turns[node] < len(edges):
                path.append(edges[turns[node]])
                node = self._ends[path[-1]]
            elif path:
                node = self._ends[path.pop() ^ 1]
                turns[node] += 1
            else:
                return False
        most = min(self._room[edge] for edge in path)
        for edge in path:
            self._room[edge] -= most
            self._room[edge ^ 1] += most
        return True

    def _leads(self, edge: int, node: int, levels: list[int]) -> bool:
        return levels[self._ends[edge]] == levels[node] + 1 and self._room[edge] > _NOTHING
