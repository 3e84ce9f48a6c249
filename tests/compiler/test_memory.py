"""Arena offsets: buffers that live together never share bytes, whatever the sizes of the call."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.compiler import memory
from tenfold.compiler.frame import FrameBuilder
from tenfold.compiler.memory import Buffer
from tenfold.compiler.typical import USUAL, typical
from tenfold.ir import dim
from tenfold.ir.dim import Size, symbol
from tenfold.ir.substitute import evaluate

SYMBOLS = {"n": symbol("n", 0), "h": symbol("h", 1, 4096), "w": symbol("w", 8, 512, 8)}
SIZES: tuple[Size, ...] = (
    0,
    1,
    64,
    1000,
    65536,
    SYMBOLS["n"] * 4,
    SYMBOLS["h"] * SYMBOLS["w"],
    dim.maximum(SYMBOLS["n"] * 100, SYMBOLS["w"] * 8),
    dim.select(dim.less(SYMBOLS["n"], 3), SYMBOLS["h"] * 4, 0),
    SYMBOLS["n"] * SYMBOLS["h"] // 3,
)

lives = st.lists(st.tuples(st.sampled_from(SIZES), st.integers(0, 12), st.integers(0, 6)), max_size=14)


def buffers_of(rows: Sequence[tuple[Size, int, int]]) -> list[Buffer]:
    return [Buffer(f"b{n}", size, first, first + length) for n, (size, first, length) in enumerate(rows)]


def offsets(buffers: Sequence[Buffer], known: dict[str, int]) -> tuple[list[int], list[int], int]:
    """Offsets, ends and the arena's bytes, by a frame's program."""
    frame = FrameBuilder()
    direct = memory.order(buffers)
    starts, ends = {}, {}
    for one in memory.stacking(direct):
        starts[one] = frame.maximum(ends[other] for other in direct[one])
        ends[one] = frame.add(starts[one], frame.size(memory.aligned(buffers[one].size)))
    arena = frame.maximum(ends.values())
    numbering = frame.finish(list(SYMBOLS))
    values = numbering.program.run([known[name] for name in SYMBOLS])
    slots = [[values[numbering.numbers[table[one]]] for one in range(len(buffers))] for table in (starts, ends)]
    return slots[0], slots[1], values[numbering.numbers[arena]]


def random_sizes(count: int) -> list[dict[str, int]]:
    draw = random.Random(1)
    return [
        {"n": draw.choice((0, 1, 2, 3, 77, 5000)), "h": draw.randint(1, 4096), "w": 8 * draw.randint(1, 64)}
        for _ in range(count)
    ]


@given(lives)
@settings(max_examples=100, derandomize=True, deadline=None)
def test_what_lives_together_lies_apart(rows: list[tuple[Size, int, int]]) -> None:
    buffers = buffers_of(rows)
    for known in random_sizes(20):
        starts, ends, arena = offsets(buffers, known)
        for one, buffer in enumerate(buffers):
            size = evaluate(buffer.size, known)
            assert starts[one] >= 0 and starts[one] % memory.ALIGNMENT == 0
            assert starts[one] + size <= ends[one] <= arena
            for other in range(one):
                if buffer.meets(buffers[other]):
                    assert ends[one] <= starts[other] or ends[other] <= starts[one]


@given(lives)
@settings(max_examples=100, derandomize=True, deadline=None)
def test_at_typical_sizes_the_formulas_give_what_was_solved(rows: list[tuple[Size, int, int]]) -> None:
    buffers = buffers_of(rows)
    usual = {"n": USUAL, "h": USUAL, "w": USUAL}
    assert [typical(size) for size in SIZES] == [evaluate(size, usual) for size in SIZES]
    solved = memory.solve([typical(memory.aligned(buffer.size)) for buffer in buffers], buffers)
    starts, ends, arena = offsets(buffers, usual)
    filled = [one for one, buffer in enumerate(buffers) if typical(buffer.size)]
    assert [starts[one] for one in filled] == [solved[one] for one in filled]
    assert memory.lower_bound(buffers) <= arena == max(ends, default=0)


@given(lives)
@settings(max_examples=100, derandomize=True, deadline=None)
def test_resting_lengthens_lives_and_takes_no_more_memory(rows: list[tuple[Size, int, int]]) -> None:
    buffers = buffers_of(rows)
    rested = memory.rested(buffers)
    for before, after in zip(buffers, rested, strict=True):
        assert (before.name, before.size, before.first) == (after.name, after.size, after.first)
        assert before.last <= after.last <= max(buffer.last for buffer in buffers)
    usual = {"n": USUAL, "h": USUAL, "w": USUAL}
    assert offsets(rested, usual)[2] <= offsets(buffers, usual)[2]


def test_small_buffers_rest_where_a_larger_step_has_room_for_it() -> None:
    rows = [(1 << 16, 0, 1), *((1024, step, step + 1) for step in range(2, 12))]
    starts, *_ = offsets(memory.rested([Buffer("", *row) for row in rows]), random_sizes(1)[0])
    assert all(len(set(starts[one : one + memory.REST])) == memory.REST for one in range(1, 8))


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        ([(1024, n, n + 1) for n in range(10)], 2048),
        ([(1024, 0, 9), (64, 0, 1), (128, 1, 2), (64, 2, 3)], 1216),
        ([(4096, 0, 1), (1024, 1, 2), (1024, 1, 3), (2048, 3, 4), (2048, 2, 3)], 6144),
        ([(100, 0, 0)], 128),
        ([], 0),
    ],
)
def test_simple_networks_take_no_more_than_they_must(rows: list[tuple[int, int, int]], best: int) -> None:
    buffers = [Buffer("", *row) for row in rows]
    *_, arena = offsets(buffers, random_sizes(1)[0])
    assert arena == memory.lower_bound(buffers) == best


def test_a_chain_that_grows_with_a_size_needs_two_buffers_at_every_size() -> None:
    n = SYMBOLS["n"]
    buffers = [Buffer("", 64 * n, step, step + 1) for step in range(8)]
    for size in (0, 1, 9, 1000):
        assert offsets(buffers, {"n": size, "h": 1, "w": 8})[2] == 2 * 64 * size


def test_many_buffers_at_once() -> None:
    buffers = [Buffer("", 64 * n, 0, 5) for n in range(1, 1501)]
    direct = memory.order(buffers)
    assert direct[0] == (1,) and direct[-1] == ()
    assert memory.stacking(direct) == list(reversed(range(1500)))


def test_each_stands_after_those_below_it() -> None:
    draw = random.Random(2)
    buffers = [Buffer("", draw.randint(1, 999), n // 3, n // 3 + draw.randint(0, 9)) for n in range(60)]
    direct = memory.order(buffers)
    stacked = memory.stacking(direct)
    for one, under in enumerate(direct):
        assert all(stacked.index(other) < stacked.index(one) for other in under)


def test_nothing_rests_where_sizes_become_known_in_mid_call() -> None:
    buffers = [Buffer("", 1024, step, step + 1, section) for step, section in ((0, 0), (4, 0), (8, 1), (12, 0))]
    assert memory.rested(buffers) == buffers
