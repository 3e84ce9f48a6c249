from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from tenfold.codegen.cpu.attention.strategy import STRATEGY, takes
from tenfold.codegen.region import Body, Instruction, Region
from tenfold.codegen.strategy import Kernel, Refusal, Tactic
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size, symbol
from tenfold.ir.op import Array
from tenfold.ir.type import Type
from tenfold.ops.arithmetic import Add
from tenfold.ops.attention import Attention
from tenfold.target import Target
from tests.codegen.cpu import cases, checking, jit
from tests.codegen.cpu.anchored import Case, Given, check, random, tactics, undefined_symbols
from tests.codegen.cpu.emulated import check_emulated

S, T = symbol("S", 0), symbol("T", 0)
NEAR = 4e-6


class First:
    """The strategy with its best guess alone."""

    name = "first"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """One tactic."""
        found = STRATEGY.tactics(region, target)
        return found if isinstance(found, Refusal) else found[:1]

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """As the strategy does."""
        return STRATEGY.build(region, tactic, target)


def case_of(
    op: Attention,
    s: int,
    t: int,
    *,
    batch: int = 2,
    heads: tuple[int, int] = (2, 2),
    sizes: tuple[int, int] = (20, 12),
    mask: Array | None = None,
    dtype: dt.DType = dt.f32,
    layout: str = "dense",
    symbolic: bool = False,
    body: Body | None = None,
    extra: Sequence[Given] = (),
) -> Case:
    (h, shared), (d, e) = heads, sizes
    queries: tuple[Size, Size] = (S, T) if symbolic else (s, t)
    shapes = [(h, s, d, queries[0]), (shared, t, d, queries[1]), (shared, t, e, queries[1])]
    given = [
        Given(random(dtype, batch, n, rows, width, seed=k), layout, shape=(batch, n, size, width))
        for k, (n, rows, width, size) in enumerate(shapes)
    ]
    if mask is not None:
        rank = mask.ndim
        sized = [queries[axis - rank + 2] if axis >= rank - 2 and n > 1 else n for axis, n in enumerate(mask.shape)]
        given.append(Given(mask, layout, shape=tuple(sized)))
    return Case(op, given, [layout], {"S": s, "T": t} if symbolic else {}, body, extra)


@pytest.mark.parametrize(("s", "t", "sizes"), [(1, 1, (1, 1)), (5, 7, (8, 6)), (33, 17, (3, 33)), (70, 300, (32, 40))])
def test_every_block(s: int, t: int, sizes: tuple[int, int]) -> None:
    check(STRATEGY, case_of(Attention(0.3), s, t, sizes=sizes, batch=1), tolerance=NEAR)


@pytest.mark.parametrize("case", cases.ATTENTION, ids=lambda case: case.name)
def test_case_table(case: cases.Case) -> None:
    for isa in jit.runnable():
        checking.check(STRATEGY, case, isa)


def test_unseen_sizes() -> None:
    for s, t in ((1, 1), (16, 31), (37, 260), (3, 0), (0, 3)):
        for op in (Attention(0.3), Attention(0.3, blind="nan")):
            check(First(), case_of(op, s, t, symbolic=True), tolerance=NEAR)


@pytest.mark.parametrize("offset", [0, 9, -4, -50])
def test_causal(offset: int) -> None:
    blind: Literal["zero", "nan"] = "nan" if offset == -4 else "zero"
    check(First(), case_of(Attention(0.3, True, offset, blind=blind), 40, 35, symbolic=True), tolerance=NEAR)


@pytest.mark.parametrize("scale", [0.02, 1.0, 3.0])
def test_scores_that_grow(scale: float) -> None:
    mask = np.linspace(-30, 10, 300, dtype=np.float32) + np.zeros((70, 1), np.float32)
    for case in (case_of(Attention(scale), 70, 300, batch=1), case_of(Attention(scale), 70, 300, batch=1, mask=mask)):
        check(First(), case, tolerance=2 * NEAR)


MASKS = [(1, 1, 1, 33), (2, 1, 1, 33), (2, 1, 21, 33), (1, 2, 21, 33), (21, 33), (33,), (21, 1), (1, 1), (2, 2, 21, 33)]


@pytest.mark.parametrize("shape", MASKS, ids=str)
def test_masks(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    added = rng.standard_normal(shape).astype(np.float32)
    hidden = rng.random(shape) < 0.4
    for mask in (np.where(hidden, np.float32(-np.inf), added), ~hidden):
        check(First(), case_of(Attention(0.3), 21, 33, mask=mask), tolerance=NEAR)


def test_queries_that_see_nothing() -> None:
    hidden = np.random.default_rng(3).random((2, 1, 21, 33)) < 0.5
    hidden[1, 0, 4] = hidden[0, 0, 20] = True
    check(First(), case_of(Attention(0.3), 21, 33, mask=~hidden), tolerance=NEAR)
    check(First(), case_of(Attention(0.3, True, 5, 2.0, "nan"), 21, 33, mask=~hidden), tolerance=NEAR)
    low = np.where(hidden, np.finfo(np.float32).min, np.float32(0))
    check(First(), case_of(Attention(0.3), 21, 33, mask=low), tolerance=NEAR)


def test_a_single_element_may_have_any_stride() -> None:
    case = case_of(Attention(0.3), 21, 33, sizes=(3, 1))
    outputs = tuple(replace(one, strides=(*one.strides[:3], 0)) for one in case.region.outputs)
    case.region = replace(case.region, outputs=outputs)
    check(First(), case, tolerance=NEAR)


@pytest.mark.parametrize("heads", [(4, 2), (6, 1)])
def test_shared_heads(heads: tuple[int, int]) -> None:
    check(First(), case_of(Attention(0.3, softcap=2.0), 9, 21, heads=heads), tolerance=NEAR)


@pytest.mark.parametrize("layout", ["reversed", "spaced"])
def test_views(layout: str) -> None:
    mask = random(dt.f32, 21, 33)
    check(First(), case_of(Attention(0.3), 21, 33, mask=mask, layout=layout), tolerance=NEAR)
    check(First(), case_of(Attention(0.3), 21, 33, layout=layout, symbolic=True), tolerance=NEAR)


def test_rows_a_page_apart() -> None:
    check(First(), case_of(Attention(0.05), 17, 30, sizes=(1024, 1024), batch=1, heads=(1, 1)), tolerance=NEAR)


@pytest.mark.parametrize(("dtype", "tolerance"), [(dt.f64, 1e-14), (dt.f16, 1e-3), (dt.bf16, 8e-3)], ids=str)
def test_other_types(dtype: dt.DType, tolerance: float) -> None:
    mask = random(dtype, 21, 33)
    check(First(), case_of(Attention(0.3, True, 12), 21, 33, mask=mask, dtype=dtype), tolerance=tolerance)


def test_a_body_on_the_results() -> None:
    twice = Body((dt.f32, dt.f32), (Instruction(Add(), (0, 1), dt.f32),), (2, 0))
    extra = random(dt.f32, 2, 2, 21, 12, seed=9)
    case = case_of(Attention(0.3), 21, 33, body=twice, extra=[Given(extra)])
    (plain,) = case.op.results(tuple(one.array for one in case.inputs))
    check(First(), case, [plain + extra, plain], tolerance=NEAR)


def test_numbers_that_are_none_stay_so() -> None:
    case = case_of(Attention(0.3), 21, 33)
    case.arrays[case.region.inputs[0].value][0, 0, 3, 1] = np.nan
    case.arrays[case.region.inputs[2].value][1, 1, 3, 1] = np.inf
    check(First(), case, tolerance=NEAR)


def test_large_scores() -> None:
    check(First(), case_of(Attention(300.0), 21, 33), tolerance=1e-4)


FEW: list[tuple[Attention, int, int, dict[str, Any]]] = [
    (Attention(0.3), 1, 300, {"heads": (2, 2), "sizes": (64, 32)}),
    (Attention(0.3, softcap=2.0), 1, 513, {"heads": (4, 2), "sizes": (24, 8)}),
    (Attention(0.3, True, 7, blind="nan"), 3, 17, {"mask": random(dt.boolean, 3, 17), "sizes": (16, 16)}),
    (Attention(0.3, True, -2), 3, 5, {"mask": random(dt.f32, 2, 1, 1, 5), "sizes": (8, 8), "layout": "spaced"}),
    (Attention(0.3), 1, 40, {"dtype": dt.f16, "sizes": (32, 16), "mask": random(dt.f16, 2, 2, 1, 40)}),
    (Attention(0.3), 2, 33, {"dtype": dt.f64, "sizes": (16, 24)}),
]


class Sliced(First):
    """The strategy with slices of keys alone."""

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """One tactic."""
        found = STRATEGY.tactics(region, target)
        return found if isinstance(found, Refusal) else [one for one in found if one.parameters[0][0] == "keys"]


@pytest.mark.parametrize("number", range(len(FEW)))
def test_few_queries(number: int) -> None:
    op, s, t, options = FEW[number]
    tolerance = {dt.f16: 1e-3, dt.f64: 1e-14}.get(options.get("dtype", dt.f32), NEAR)
    check(Sliced(), case_of(op, s, t, **options), tolerance=tolerance)


def test_few_queries_of_unseen_keys() -> None:
    for t in (0, 1, 257):
        case = case_of(Attention(0.3, blind="nan"), 1, t, sizes=(16, 16))
        given = [replace(one, shape=(2, 2, T, 16)) if k else one for k, one in enumerate(case.inputs)]
        check(Sliced(), Case(case.op, given, ["dense"], {"T": t}), tolerance=NEAR)


def test_a_body_after_slices() -> None:
    twice = Body((dt.f32, dt.f32), (Instruction(Add(), (0, 1), dt.f32),), (2, 0))
    extra = random(dt.f32, 2, 2, 2, 12, seed=9)
    case = case_of(Attention(0.3), 2, 33, body=twice, extra=[Given(extra)])
    (plain,) = case.op.results(tuple(one.array for one in case.inputs))
    check(Sliced(), case, [plain + extra, plain], tolerance=NEAR)


def test_what_has_no_code() -> None:
    known, unknown = Type(dt.f32, (1, 2, 3, 4)), Type(dt.f32, (1, 2, 3, S))
    assert takes((known, known, known))
    assert not takes((unknown, unknown, known))


def test_needs_nothing_from_elsewhere() -> None:
    mask = random(dt.bf16, 21, 33)
    assert undefined_symbols(First(), case_of(Attention(0.3, True, 0, 2.0), 21, 33, mask=mask, dtype=dt.bf16)) == {}
    assert undefined_symbols(First(), case_of(Attention(0.3), 21, 33, dtype=dt.f64)) == {}


def test_equal_heads_share_code() -> None:
    found = []
    for s, t in ((4, 9), (40, 300)):
        case = case_of(Attention(0.3), s, t, symbolic=True)
        (stage,) = STRATEGY.build(case.region, tactics(STRATEGY, case, jit.V4)[0], Target("cpu", "x86-64-v4")).stages
        found.append(stage.source)
    assert found[0] == found[1]


def test_on_another_machine(tmp_path: Path) -> None:
    check_emulated(STRATEGY, case_of(Attention(0.3), 13, 21), tmp_path, NEAR)
    mask = random(dt.boolean, 14, 23)
    check_emulated(First(), case_of(Attention(0.3, True, 11, 2.0), 14, 23, mask=mask, symbolic=True), tmp_path, NEAR)
    mask = random(dt.f32, 1, 1, 14, 23)
    check_emulated(First(), case_of(Attention(0.3), 14, 23, mask=mask, layout="reversed"), tmp_path, NEAR)
    mask = random(dt.f32, 1, 1, 2, 23)
    check_emulated(Sliced(), case_of(Attention(0.3, True, 9, 2.0), 2, 23, mask=mask, heads=(4, 2)), tmp_path, NEAR)
