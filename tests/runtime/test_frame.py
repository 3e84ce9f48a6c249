"""Frames: sizes of a call, computed once for each combination; what does not fit is refused by name."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tenfold.errors import InputError
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size, symbol
from tenfold.ir.program import Program
from tenfold.runtime import frame as frames
from tenfold.runtime.frame import Frames
from tenfold.runtime.plan import Check, Plan, Spec, Symbol

H, W, K, THREADS = symbol("H", 2, 64, 2), symbol("W", 1), symbol("k[1]", None), symbol("threads", 1)


def plan(*sizes: Size, check: Size | None = None) -> Plan:
    """A plan that takes x: f32[3, H, W] and k: i64[2] and gives y of these sizes; its arena is H·W bytes."""
    shapes: list[tuple[Size, ...]] = [(3, H, W), (2,), sizes]
    wanted = [size for shape in shapes for size in shape] + [H * W, 1 if check is None else check]
    program = Program.compile(wanted, ["H", "W", "k[1]", "threads"])
    results = iter(program.results)
    slots = tuple(tuple(next(results) for _ in shape) for shape in shapes)
    inputs = Spec("x", dt.f32, (3, "H", "W")), Spec("k", dt.i64, (2,))
    symbols = (
        Symbol("H", 0, 1, -1, 2, 64, 2),
        Symbol("W", 0, 2, -1, 1),
        Symbol("k[1]", 1, -1, 1, None),
        Symbol("threads", low=1),
    )
    empty = np.zeros((0, 8), np.int32)
    width = program.symbols + len(program.rows)
    arena, kept = next(results), next(results)
    checks = () if check is None else (Check(kept, "these do not fit", "fold"),)
    outputs = (Spec("y", dt.f32, tuple(map(str, sizes))),)
    binds = np.zeros((0, 3), np.int64)
    ends = ((width,), (arena,))
    return Plan(
        inputs, outputs, symbols, program, width, empty, np.zeros(0, np.int32), binds, (), slots, *ends, checks=checks
    )


def x(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def k(*entries: int) -> np.ndarray:
    return np.array(entries, np.int64)


def test_sizes_follow_from_shapes_contents_and_threads() -> None:
    found = Frames(plan(H * 2, K + W, THREADS), 3)
    frame = found.find([x(3, 4, 5), k(0, 9)])
    assert frame.outputs == ((8, 14, 3),)
    assert frame.arena == 20
    assert found.sizes(frame) == {"H": 4, "W": 5, "k[1]": 9, "threads": 3}


def test_equal_sizes_are_one_frame() -> None:
    found = Frames(plan(H, K), 1)
    first = found.find([x(3, 4, 5), k(0, 9)])
    assert found.find([x(3, 4, 5) + 1, k(0, 9)]) is first
    assert found.find([x(3, 4, 5), k(0, 8)]) is not first
    assert found.find([x(3, 4, 6), k(0, 9)]) is not first


def test_frames_are_forgotten_in_order_of_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "REMEMBERED", 2)
    found = Frames(plan(H), 1)
    one, two = (found.find([x(3, 2, n), k(0, 0)]) for n in (1, 2))
    assert found.find([x(3, 2, 1), k(0, 0)]) is one
    found.find([x(3, 2, 3), k(0, 0)])
    assert found.find([x(3, 2, 1), k(0, 0)]) is one
    assert found.find([x(3, 2, 2), k(0, 0)]) is not two


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((3, 4), "'x' has 2 axes"),
        ((3, 4, 5, 6), "'x' has 4 axes"),
        ((4, 4, 5), r"'x' has shape \(4, 4, 5\); expected \(3, 4, 5\)"),
        ((3, 0, 5), "H = 0 .axis 1. is less than 2"),
        ((3, 66, 5), "H = 66 .axis 1. is more than 64"),
        ((3, 5, 5), "H = 5 .axis 1. is not a multiple of 2"),
        ((3, 4, 0), "W = 0 .axis 2. is less than 1"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        Frames(plan(H), 1).find([x(*shape), k(0, 0)])
    assert caught.value.argument == "x"
    assert caught.value.remedy


def test_what_must_hold_of_sizes_is_checked() -> None:
    found = Frames(plan(H, check=dim.equal(H, W)), 1)
    assert found.find([x(3, 4, 4), k(0, 0)]).outputs == ((4,),)
    with pytest.raises(InputError, match="W 5 is not 4, required by fold") as caught:
        found.find([x(3, 4, 5), k(0, 0)])
    assert caught.value.operator == "fold"


def test_a_refused_call_is_not_remembered() -> None:
    found = Frames(plan(H), 1)
    for _ in range(2):
        with pytest.raises(InputError):
            found.find([x(3, 5, 5), k(0, 0)])


def test_threads_find_frames_together() -> None:
    found = Frames(plan(H, K), 1)
    made: list[list[tuple[tuple[int, ...], ...]]] = [[] for _ in range(4)]

    def work(results: list[tuple[tuple[int, ...], ...]]) -> None:
        for number in range(300):
            results.append(found.find([x(3, 2, 1 + number % 7), k(0, number % 5)]).outputs)

    threads = [threading.Thread(target=work, args=(results,)) for results in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made[0] == made[1] == made[2] == made[3]
    assert made[0][8] == ((2, 3),)
