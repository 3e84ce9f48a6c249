"""The launches of a span at the sizes of a call: their arguments in memory, and one graph that replays them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DeviceError
from tenfold.runtime import steps
from tenfold.runtime.cuda.driver import TILE_MAP, Driver, Graph
from tenfold.runtime.cuda.product import Product
from tenfold.runtime.cuda.resident import Function, Weights
from tenfold.runtime.cuda.turns import Moment, moments, slots_of, turns
from tenfold.runtime.plan import WEIGHTS, Plan, Span

Slots = NDArray[np.int64]


class _Launch:
    """One launch: where its arguments lie among all cells, and its tile descriptors."""

    def __init__(self, function: Function, blocks: int) -> None:
        self.function, self.blocks = function, blocks
        self.parameters: list[tuple[str, int]] = []
        self.pointers: NDArray[np.uint64] = np.zeros(0, np.uint64)
        self.places: list[int] = []


@dataclass(frozen=True)
class Change:
    """Cells that follow from addresses, each with the number of its address and what is added; the launches that are
    given them, and the tile descriptors that begin there.
    """

    cells: tuple[tuple[int, int, int], ...]
    owners: tuple[int, ...]
    tiles: tuple[int, ...]


class Launches:
    """Cells hold what kernels are given, 8 bytes each; `load` fills them from a frame, `run` launches or replays."""

    def __init__(self, driver: Driver, functions: Sequence[Function], plan: Plan, span: Span, slots: Slots) -> None:
        self._driver, self._functions, self._plan, self.span = driver, functions, plan, span
        self._turns = turns(plan, span)
        self._nothing = np.zeros(1, np.int64)
        self._meets = any(one.meets for one in functions)
        self._graph: Graph | None = None
        self._clear()
        if self._turns:
            self._deciding, self._decided = slots_of(plan, span), np.zeros(0, np.int64)
        else:
            for step, row in _taken(plan, span, functions):
                if slots[row[4]] > 0:
                    given = plan.argmap[row[2] : row[2] + row[3]].tolist()
                    self._add(step, functions[row[1]], int(slots[row[4]]), given)
            self._settle()

    def _clear(self) -> None:
        self._work: list[_Launch | Moment] = []
        self._sources: list[int] = []
        self._owners: list[int] = []
        self._products: set[int] = set()
        self._tiles: list[tuple[int, int, tuple[Any, ...], int, int]] = []
        self.steps: list[int] = []
        """The step of each launch."""

    def _settle(self) -> None:
        """Make room for all cells."""
        self._cells = np.zeros(max(len(self._sources), 1), np.int64)
        self._numbers = self._cells.data
        self._from = np.array(self._sources, np.int64)
        self._maps = _aligned(TILE_MAP * max(len(self._tiles), 1))
        self._mapped: list[Any] = [None] * len(self._tiles)
        self._nodes: list[Any] = [None] * len(self._work)
        for one in self._work:
            if isinstance(one, _Launch):
                one.pointers = np.array([self._place(*parameter) for parameter in one.parameters], np.uint64)

    def _add(self, step: int, function: Function, blocks: int, slots: Sequence[int]) -> None:
        number, launch = len(self._work), _Launch(function, blocks)
        self._work.append(launch)
        self.steps.append(step)
        rest = iter(slots)
        if function.product:
            self._products.add(number)
            launch.places = [self._cell(number, slot) for slot in slots]
        for kind, *tile in function.words:
            if kind == "tile":
                rank = len(tile[0])
                launch.parameters.append(("map", len(self._tiles)))
                address, sizes = self._cell(number, next(rest)), [next(rest) for _ in range(2 * rank)]
                self._tiles.append((number, address, tuple(tile), self._cell(number, sizes[0]), rank))
                launch.parameters += [("cell", self._tiles[-1][3])]
                launch.parameters += [("cell", self._cell(number, size)) for size in sizes[1:]]
            else:
                launch.parameters.append(("cell", self._cell(number, next(rest))))
        launch.parameters += [("nothing", 0), ("nothing", 0)]

    def _cell(self, owner: int, slot: int) -> int:
        self._sources.append(slot)
        self._owners.append(owner)
        return len(self._sources) - 1

    def _place(self, kind: str, number: int) -> int:
        match kind:
            case "cell":
                return int(self._cells.ctypes.data) + 8 * number
            case "map":
                return int(self._maps.ctypes.data) + TILE_MAP * number
        return int(self._nothing.ctypes.data)

    def load(self, slots: Slots) -> None:
        """Take addresses and sizes from a frame; a graph that exists is told what changed."""
        if self._turns:
            self._unroll(slots)
            return
        if not self._sources:
            return
        fresh = slots[self._from]
        changed = {self._owners[place] for place in np.nonzero(fresh != self._cells)[0].tolist()}
        if not changed:
            return
        self._cells[:] = fresh
        if self._graph is not None:
            self._prepare(changed)
        self._changed(changed, [number for number, (owner, *_) in enumerate(self._tiles) if owner in changed])

    def cells(self, slots: Mapping[int, int]) -> list[tuple[int, int]]:
        """The cells that are filled from some slots, with what each slot is given for."""
        return [(cell, slots[slot]) for cell, slot in enumerate(self._sources) if slot in slots]

    def feeds_product(self, cells: Iterable[tuple[int, int]]) -> bool:
        """Whether a library's product reads any of these."""
        return any(self._owners[cell] in self._products for cell, _ in cells)

    @property
    def one_by_one(self) -> bool:
        """Whether a graph can be told what changes: if it is one, it has a node for each launch."""
        return not self._turns and (self._graph is None or len(self._graph.nodes) == len(self._work))

    def change(self, cells: Sequence[tuple[int, int, int]]) -> Change:
        """What follows when cells change: each with the number of the address that it holds, and what is added."""
        places = {cell for cell, _, _ in cells}
        owners = tuple({self._owners[cell] for cell in places})
        self._prepare(owners)
        tiles = (number for number, (_, address, *_) in enumerate(self._tiles) if address in places)
        return Change(tuple(cells), owners, tuple(tiles))

    def put(self, change: Change, addresses: Sequence[int]) -> None:
        """Do what `load` does, where it is known what changes."""
        numbers = self._numbers
        for cell, one, more in change.cells:
            numbers[cell] = addresses[one] + more
        if change.owners:
            self._changed(change.owners, change.tiles)

    def _changed(self, owners: Collection[int], tiles: Iterable[int]) -> None:
        """Arguments of these launches are others than before: tell the graph, or give it back where that cannot be."""
        told = self.one_by_one and self._products.isdisjoint(owners)
        try:
            for tile in tiles:
                self._encode(tile)
            if self._graph is not None and told:
                self._driver.change(self._graph, owners, self._nodes)
        except DeviceError:
            self.close()
            raise
        if not told:
            self.close()

    def _prepare(self, owners: Collection[int]) -> None:
        """Make what a graph is told of these launches: where their arguments lie."""
        for owner in owners:
            one = self._work[owner]
            if self._nodes[owner] is None and isinstance(one, _Launch) and not one.places:
                function, arguments = one.function, one.pointers.ctypes.data
                self._nodes[owner] = self._driver.node(
                    function.handle, one.blocks, function.threads, function.room(one.blocks), arguments
                )

    def _unroll(self, slots: Slots) -> None:
        """Take the loops turn by turn; anew where anything differs."""
        decided = slots[self._deciding]
        if np.array_equal(decided, self._decided):
            return
        self.close()
        self._clear()
        numbers: list[int] = []
        for one in moments(self._plan, self.span, slots):
            if one.opcode is steps.Opcode.CALL:
                first = len(numbers)
                numbers += one.numbers
                self._add(one.step, self._functions[one.function], one.blocks, range(first, len(numbers)))
            else:
                self._work.append(one)
                self.steps.append(one.step)
        self._settle()
        self._cells[: len(self._from)] = np.array(numbers, np.int64)[self._from]
        for tile in range(len(self._tiles)):
            self._encode(tile)
        self._decided = decided

    def _encode(self, number: int) -> None:
        """Write a tile descriptor, if it differs."""
        _, address, tile, first, rank = self._tiles[number]
        numbers = self._cells[[address, *range(first, first + 2 * rank)]].tolist()
        if self._mapped[number] != numbers:
            before, place = self._mapped[number], self._place("map", number)
            self._mapped[number] = None
            if before is not None and before[1:] == numbers[1:]:
                self._driver.move_tile_map(place, numbers[0])
            else:
                self._driver.tile_map(place, tile, numbers[0], numbers[1 : 1 + rank], numbers[1 + rank :])
            self._mapped[number] = numbers

    def run(self, stream: Any, home: Any) -> None:
        """Put the launches on a stream: as one graph, which is made the first time, on the stream `home` of ours."""
        if not self._work:
            return
        if self._graph is None:
            self._graph = self._driver.capture(home, lambda: self.launch(home))
        self.replay(stream)

    def replay(self, stream: Any) -> None:
        """Put the graph on a stream once more, with the arguments it has."""
        if self._graph is not None:
            with self._driver.meetings.turn(stream) if self._meets else nullcontext():
                self._driver.replay(self._graph, stream)

    def replayer(self, stream: Any) -> Callable[[], None] | None:
        """What puts the graph on a stream once more from any thread, as long as nothing changes; None without one."""
        if self._graph is None:
            return None
        alone, driver = self._driver.replayer(self._graph, stream), self._driver

        def run() -> None:
            if driver.meetings.several:
                driver.enter()
                self.replay(stream)
            else:
                alone()

        return run if self._meets else alone

    def launch(self, stream: Any) -> None:
        """Put the launches on a stream, one by one."""
        for number in range(len(self._work)):
            self.launch_one(number, stream)

    def launch_one(self, number: int, stream: Any) -> None:
        """Put one launch, or one copy between the turns of a loop, on a stream."""
        one = self._work[number]
        if isinstance(one, Moment):
            to, given, *size = one.numbers
            if size:
                self._driver.copy(to, given, size[0], stream)
            else:
                self._driver.store(to, given, stream)
            return
        function = one.function
        if function.product:
            places = self._cells[one.places].tolist()
            if isinstance(function.product, Product):
                self._driver.cublas.run(function.product, places, int(stream))  # type: ignore[union-attr]
            else:
                self._driver.cudnn.run(function.product, places, int(stream))  # type: ignore[union-attr]
            return
        with self._driver.meetings.turn(stream) if function.meets else nullcontext():
            self._driver.launch(
                function.handle, one.blocks, function.threads, function.room(one.blocks), one.pointers.ctypes.data,
                function.cluster, function.early, stream,
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self._work)

    def close(self) -> None:
        """Give the graph back."""
        if self._graph:
            self._driver.close_graph(self._graph)
            self._graph = None


def _taken(plan: Plan, span: Span, functions: Sequence[Function]) -> Iterator[tuple[int, list[int]]]:
    """The launches of a span: a library's product, or those that stand for it."""
    step = span.begin
    while step < span.end:
        row = plan.steps[step].tolist()
        step += 1
        if row[0] == steps.Opcode.CALL:
            instead = functions[row[1]].instead
            if instead >= 0:
                yield step - 1, row
            step += max(instead, 0)


def _aligned(size: int) -> NDArray[np.uint8]:
    raw = np.zeros(size + TILE_MAP, np.uint8)
    return raw[-raw.ctypes.data % TILE_MAP :][:size]


def addressed(plan: Plan, slots: Slots, bases: NDArray[np.int64], weights: Weights) -> Slots:
    """The slots of a frame with the GPU's addresses filled in."""
    filled = slots.copy()
    if len(plan.binds):
        to, base, offset = plan.binds.T
        at = slots[offset]
        filled[to] = np.where(base == WEIGHTS, weights.addresses(at), bases[base] + at)
    return filled
