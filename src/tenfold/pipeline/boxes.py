"""Boxes: from what a detector gives to what is where in the image that came."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tenfold.errors import OptionError
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Graph, Value
from tenfold.ir.type import Type
from tenfold.ops.constant import scalar
from tenfold.ops.control import Loop
from tenfold.ops.index import Compress, GatherElements
from tenfold.ops.logic import Not
from tenfold.ops.movement import Concat, Expand, Transpose
from tenfold.ops.reduce import ArgReduce, Cumulative, Reduce
from tenfold.ops.sort import TopK
from tenfold.pipeline.answers import Answers
from tenfold.pipeline.picture import Picture
from tenfold.pipeline.term import Term, counted, measure


@dataclass(frozen=True)
class Decode:
    """A YOLO head as "boxes" f32 [N, A, 4] (left, top, right, bottom, in pixels of the image that came), "scores"
    [N, A] and "labels" i64 [N, A] of each box's best class.

    `head` "yolov8" is [N, 4 + classes, A] (Ultralytics' since version 8), "yolov5" [N, A, 5 + classes] with a score for
    there being anything; both hold centres and sizes in pixels of what the model saw, and scores from 0 to 1.
    """

    head: Literal["yolov8", "yolov5"] = "yolov8"
    of: str | None = None

    def __call__(self, answers: Answers) -> Answers:
        """Boxes, scores and labels in place of the head."""
        name, given = answers.pick(self.of, self)
        if len(given.shape) != 3:
            raise OptionError(f"{self} takes a result of rank 3, not {given.value.type}", argument="after")
        rows = given if self.head == "yolov5" else Term(Transpose((0, 2, 1))(given.value))
        first = 5 if self.head == "yolov5" else 4
        batch, anchors, width = rows.shape
        classes = rows.part(2, first, width - first)
        scores = Term(Reduce("max", (2,))(classes.value))
        if first == 5:
            scores = scores * rows.part(2, 4, 1)
        labels = Term(ArgReduce("max", 2, False)(classes.value))
        corners = _corners(rows, answers.picture)
        return answers.swap(name, boxes=corners, scores=scores.reshape(batch, anchors), labels=labels)


def _corners(rows: Term, picture: Picture | None) -> Term:
    x, y, width, height = (rows.part(2, column, 1) for column in range(4))
    sides = [x - width * 0.5, y - height * 0.5, x + width * 0.5, y + height * 0.5]
    if picture is not None:
        spans = (picture.columns, picture.rows) * 2
        sides = [span.in_the_image(side) for side, span in zip(sides, spans, strict=True)]
    return Term(Concat(2)(*(side.value for side in sides)))


@dataclass(frozen=True)
class Suppress:
    """Of "boxes" [N, A, 4] with "scores" and "labels" [N, A], the best that overlap no better one of their label by
    more than `overlap` (intersection over union): non-maximum suppression.

    Boxes of a score above `score` take part, of each image the best `candidates`; at most `most` stay. What stays is
    listed image by image, best first: "boxes" [count, 4], "scores", "labels", and of which "images" i64 they are.
    """

    overlap: float = 0.45
    score: float = 0.25
    most: int = 300
    candidates: int = 1024

    def __call__(self, answers: Answers) -> Answers:
        """What stays, in place of all boxes."""
        boxes, scores, labels = (answers.pick(name, self)[1] for name in ("boxes", "scores", "labels"))
        batch, anchors = scores.shape
        count = dim.minimum(self.candidates, anchors)
        best, order = (Term(one) for one in TopK(count, 1)(scores.value))
        labels = Term(GatherElements(1)(labels.value, order.value))
        places = Expand((batch, count, 4))(order.reshape(batch, count, 1).value)
        boxes = Term(GatherElements(1)(boxes.value, places))
        kept = self._kept(boxes, best, labels)
        number = Term(Expand((batch, count))(counted(batch, dt.i64).reshape(batch, 1).value))
        flags = kept.reshape(batch * count).value
        flat = {"scores": best, "labels": labels, "images": number}
        found = {"boxes": Term(Compress(0)(boxes.reshape(batch * count, 4).value, flags))}
        found |= {name: Term(Compress(0)(one.reshape(batch * count).value, flags)) for name, one in flat.items()}
        rest = {name: term for name, term in answers.results.items() if name not in found}
        return replace(answers, results={**found, **rest}, ragged=answers.ragged | set(found))

    def _kept(self, boxes: Term, scores: Term, labels: Term) -> Term:
        """Which candidates [N, K], best first, stay."""
        batch, count = scores.shape
        rivals = _overlaps(boxes) > self.overlap
        same = labels.reshape(batch, count, 1).equals(labels.reshape(batch, 1, count))
        place = counted(count, dt.i64)
        better = place.reshape(1, 1, count) < place.reshape(1, count, 1)
        able = scores > self.score
        kept = _undisturbed(able, rivals & same & better)
        return _first(kept, self.most)


def _overlaps(boxes: Term) -> Term:
    """Intersection over union of each box with each: [N, K, K]."""
    batch, count, _ = boxes.shape
    sides = [boxes.part(2, side, 1) for side in range(4)]
    mine = [side.reshape(batch, count, 1) for side in sides]
    theirs = [side.reshape(batch, 1, count) for side in sides]
    far = float("inf")
    shared = [mine[axis + 2].clip(-far, theirs[axis + 2]) - mine[axis].clip(theirs[axis], far) for axis in (0, 1)]
    common = shared[0].clip(0.0, far) * shared[1].clip(0.0, far)
    areas = [(one[2] - one[0]) * (one[3] - one[1]) for one in (mine, theirs)]
    return common / (areas[0] + areas[1] - common).clip(1e-9, far)


def _undisturbed(able: Term, disturbs: Term) -> Term:
    """The candidates that no better one that stays disturbs: repeated until nothing changes, which decides at least one
    candidate more each time.
    """
    batch, count = able.shape
    body = Graph(name="suppress")
    body.input("turn", Type(dt.i64, ()))
    body.input("going", Type(dt.boolean, ()))
    kept, fit, rivals = (
        Term(body.input(name, one.value.type)) for name, one in (("kept", able), ("able", able), ("rivals", disturbs))
    )
    beaten = Reduce("any", (2,), False)((rivals & kept.reshape(batch, 1, count)).value)
    after = fit & Term(Not()(beaten))
    changed = Reduce("any", (0, 1), False)((~after.equals(kept)).value)
    body.set_outputs([changed, after.value], ["changed", "kept"])
    trips = measure(count, dt.i64)
    found: Value = Loop(body, 1)(trips.value, scalar(True, dt.boolean)(), able.value, able.value, disturbs.value)
    return Term(found)


def _first(kept: Term, most: Size) -> Term:
    """Of each row, the first `most` that are true."""
    number = Term(Cumulative("sum", 1)(kept.cast(dt.i64).value))
    return kept & (number <= measure(most, dt.i64))
