"""Where the blocks of a chain meet."""

from __future__ import annotations

from collections.abc import Sequence

from tenfold.codegen.region import Operand
from tenfold.ir import dtype as dt
from tests.codegen.cpu.cases import tensor
from tests.codegen.cuda import interpreting  # noqa: F401  decides that Triton's functions are interpreted

from tenfold.codegen.cuda.links import ARRIVE, POINTS, PRODUCT, WAIT  # isort: skip
from tenfold.codegen.cuda.order import Link, ordered  # isort: skip

X, A, B, C, D = (tensor(dt.f16, (8,)) for _ in range(5))


def link(kind: object, reads: Sequence[Operand], writes: Sequence[Operand], points: int = 0, weight: int = 0) -> Link:
    sides = [frozenset(one.value for one in some) for some in (reads, writes)]
    return Link(kind.value, *sides, points=points, weight=weight)  # type: ignore[attr-defined]


def kinds(found: Sequence[Link]) -> list[int]:
    return [one.kind for one in found]


def test_blocks_meet_where_one_reads_what_others_wrote() -> None:
    found = ordered([link(PRODUCT, [X], [A]), link(PRODUCT, [X], [B]), link(PRODUCT, [A], [C], weight=1)])
    assert kinds(found) == [PRODUCT.value, PRODUCT.value, ARRIVE.value, WAIT.value, PRODUCT.value]


def test_many_points_are_shared() -> None:
    found = ordered(
        [link(PRODUCT, [X], [A], weight=1), link(POINTS, [A], [B], points=1 << 20), link(PRODUCT, [B], [C])]
    )
    assert kinds(found).count(WAIT.value) == 2


def test_what_waits_for_nothing_is_done_while_others_arrive() -> None:
    copy = link(POINTS, [X], [D], points=1 << 20)
    found = ordered([link(PRODUCT, [X], [A], weight=1), link(PRODUCT, [A], [B]), copy])
    assert kinds(found) == [PRODUCT.value, ARRIVE.value, POINTS.value, WAIT.value, PRODUCT.value]


def test_before_the_heaviest_matrix_nobody_is_kept_from_it() -> None:
    copy = link(POINTS, [X], [D], points=1 << 20)
    made = [link(PRODUCT, [X], [A]), link(PRODUCT, [A], [B], weight=9), link(PRODUCT, [B], [C]), copy]
    middle = [ARRIVE.value, WAIT.value, PRODUCT.value, ARRIVE.value, POINTS.value, WAIT.value]
    assert kinds(ordered(made)) == [PRODUCT.value, *middle, PRODUCT.value]
