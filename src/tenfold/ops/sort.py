"""Operations that order elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.op import Array, Cost, Op
from tenfold.ir.type import Type, unknown_size
from tenfold.ops.reduce import check_axes
from tenfold.ops.window import differ, known

ZERO = np.float32(0)


class TopK(Op):
    """The k greatest (or least) elements along an axis, and their i64 positions; of equals the first comes first.

    NaN counts as greatest. Without `sorted` the order of the results is unspecified (here: sorted too).
    """

    k: Size
    axis: int
    largest: bool = True
    sorted: bool = True

    def infer(self, x: Type) -> tuple[Type, Type]:
        """The axis of size k, twice."""
        check_axes((self.axis,), x.rank, self.name)
        size = x.shape[self.axis]
        if isinstance(self.k, int) and (self.k < 0 or (isinstance(size, int) and self.k > size)):
            raise ValueError(f"the {self.k} first of {size} elements")
        shape = (*x.shape[: self.axis], self.k, *x.shape[self.axis + 1 :])
        return Type(x.dtype, shape), Type(dt.i64, shape)

    def evaluate(self, x: Array) -> tuple[Array, Array]:
        """A stable sort, cut off."""
        order = _order(np.moveaxis(x, self.axis, -1), self.largest)
        chosen = np.moveaxis(np.take(order, np.arange(*known((self.k,))), axis=-1), -1, self.axis)
        return np.take_along_axis(x, chosen, self.axis), chosen.astype(np.int64)

    def cost(self, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Cost:
        """A few comparisons an input element."""
        return Cost(8 * inputs[0].size, super().cost(inputs, outputs).bytes)


class Unique(Op):
    """The distinct elements of x as a whole, or (`axis`) its distinct slices along an axis.

    Four outputs: they themselves, ascending if `sorted`, else in order of appearance; where each first stands;
    which of them each element of x is; how often each occurs (the last three i64, of one axis).
    """

    axis: int | None = None
    sorted: bool = True

    def infer(self, x: Type) -> tuple[Type, Type, Type, Type]:
        """Only the data decide the count."""
        count = unknown_size()
        if self.axis is None:
            distinct, total = Type(x.dtype, (count,)), x.size
        else:
            check_axes((self.axis,), x.rank, self.name)
            shape = (*x.shape[: self.axis], count, *x.shape[self.axis + 1 :])
            distinct, total = Type(x.dtype, shape), x.shape[self.axis]
        return distinct, Type(dt.i64, (count,)), Type(dt.i64, (total,)), Type(dt.i64, (count,))

    def evaluate(self, x: Array) -> tuple[Array, ...]:
        """NumPy's unique, put into order of appearance if not sorted."""
        distinct, first, inverse, counts = np.unique(
            x, return_index=True, return_inverse=True, return_counts=True, axis=self.axis
        )
        inverse = inverse.reshape(-1)
        if not self.sorted:
            order = np.argsort(first, kind="stable")
            distinct = np.take(distinct, order, axis=0 if self.axis is None else self.axis)
            first, counts, inverse = first[order], counts[order], np.argsort(order)[inverse]
        return distinct, first.astype(np.int64), inverse.astype(np.int64), counts.astype(np.int64)


class NonMaxSuppression(Op):
    """Boxes chosen greedily by score, leaving out those that overlap a chosen one.

    Inputs: boxes [N, B, 4] (corners y1, x1, y2, x2 in any order, or `centred`: x, y, width, height) and scores
    [N, C, B] in f32 or f64, and of rank 0 or 1: most boxes a class i64, the greatest overlap, the score threshold.
    Output: i64[count, 3], each row (batch, class, box).
    """

    centred: bool = False

    def infer(self, boxes: Type, scores: Type, most: Type, overlap: Type, threshold: Type) -> Type:
        """Only the data decide the count."""
        known_type = boxes.dtype == scores.dtype and boxes.dtype in (dt.f32, dt.f64)
        if boxes.rank != 3 or scores.rank != 3 or not known_type:
            raise ValueError(f"NonMaxSuppression takes boxes and scores of rank 3 in f32, not {boxes} and {scores}")
        pairs = ((boxes.shape[0], scores.shape[0]), (boxes.shape[1], scores.shape[2]), (boxes.shape[2], 4))
        if any(differ(a, b) for a, b in pairs):
            raise ValueError(f"NonMaxSuppression of the boxes {boxes} and the scores {scores}")
        limits = (
            (most, most.dtype.is_integer),
            (overlap, overlap.dtype == boxes.dtype),
            (threshold, threshold.dtype == boxes.dtype),
        )
        for limit, fits in limits:
            if not fits or differ(limit.size, 1):
                raise ValueError(
                    f"NonMaxSuppression takes one number of boxes and two thresholds as its scores, not {limit}"
                )
        return Type(dt.i64, (unknown_size(), 3))

    def evaluate(self, boxes: Array, scores: Array, most: Array, overlap: Array, threshold: Array) -> Array:
        """The definition, class by class."""
        rows: list[tuple[int, int, int]] = []
        for batch, kind in np.ndindex(*scores.shape[:2]):
            chosen: list[int] = []
            row = scores[batch, kind]
            for box in np.argsort(-row, kind="stable"):
                if len(chosen) >= most.item() or not row[box] > threshold.item():
                    break
                if all(self._overlap(boxes[batch, box], boxes[batch, other]) <= overlap.item() for other in chosen):
                    chosen.append(int(box))
            rows.extend((batch, kind, box) for box in chosen)
        return np.array(rows, dtype=np.int64).reshape(-1, 3)

    def _overlap(self, a: Array, b: Array) -> Any:
        (top, left, bottom, right), (top2, left2, bottom2, right2) = self._corners(a), self._corners(b)
        shared = max(ZERO, min(bottom, bottom2) - max(top, top2)) * max(ZERO, min(right, right2) - max(left, left2))
        union = (bottom - top) * (right - left) + (bottom2 - top2) * (right2 - left2) - shared
        return shared / union if union > 0 else ZERO

    def _corners(self, box: Array) -> tuple[Any, Any, Any, Any]:
        a, b, c, d = box
        if self.centred:
            return b - d / 2, a - c / 2, b + d / 2, a + c / 2
        return min(a, c), min(b, d), max(a, c), max(b, d)


class Suppression(Op):
    """The boxes that NonMaxSuppression chooses, in a table as long as it can get.

    Inputs: as of NonMaxSuppression, the limits of rank 0 and the first in i64. Outputs: i64[N * C * room, 3], whose
    first rows are those of NonMaxSuppression and the rest any numbers, and i64[]: how many rows those are. `room` is
    as many boxes of a class as may be chosen.
    """

    room: Size
    centred: bool = False

    def infer(self, boxes: Type, scores: Type, most: Type, overlap: Type, threshold: Type) -> tuple[Type, Type]:
        """The table, and a number."""
        NonMaxSuppression(self.centred).infer(boxes, scores, most, overlap, threshold)
        if most.dtype is not dt.i64 or most.rank or overlap.rank or threshold.rank:
            raise ValueError(f"Suppression takes limits of rank 0, not {most}, {overlap} and {threshold}")
        images, classes, _ = scores.shape
        return Type(dt.i64, (images * classes * self.room, 3)), Type(dt.i64, ())

    def evaluate(self, boxes: Array, scores: Array, *limits: Array) -> tuple[Array, Array]:
        """Zeros behind the rows."""
        assert isinstance(self.room, int)
        rows = NonMaxSuppression(self.centred).evaluate(boxes, scores, *limits)
        table = np.zeros((scores.shape[0] * scores.shape[1] * self.room, 3), np.int64)
        table[: len(rows)] = rows
        return table, np.array(len(rows))


def _order(x: Array, largest: bool) -> Array:
    keys = x.astype(np.float32) if dt.of(x.dtype).is_float and x.dtype.itemsize < 4 else x
    if not largest:
        return np.argsort(keys, axis=-1, kind="stable")
    backwards = np.argsort(np.flip(keys, -1), axis=-1, kind="stable")
    return np.flip(x.shape[-1] - 1 - backwards, -1)
