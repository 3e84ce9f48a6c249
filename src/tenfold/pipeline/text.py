"""Reading: from a score for each letter and step to letters."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tenfold.errors import OptionError
from tenfold.ir import dtype as dt
from tenfold.ir.tensor import Tensor
from tenfold.ops.constant import Constant
from tenfold.ops.index import Compress
from tenfold.ops.movement import Concat, Expand
from tenfold.ops.reduce import ArgReduce, Reduce
from tenfold.pipeline.answers import Answers
from tenfold.pipeline.term import Term


@dataclass(frozen=True)
class CollapseCTC:
    """Scores [N, steps, classes] as the labels that stay when repetitions are merged and blanks left out (Graves 2006,
    greedily): "labels" i64 of all images one after another, "scores" of those steps, and "lengths" i64 [N] of each.
    """

    blank: int = 0
    of: str | None = None

    def __call__(self, answers: Answers) -> Answers:
        """Labels, scores and lengths in place of the scores of all classes."""
        name, given = answers.pick(self.of, self)
        if len(given.shape) != 3:
            raise OptionError(f"{self} takes [N, steps, classes], not {given.value.type}", argument="after")
        batch, steps, _ = given.shape
        best = Term(ArgReduce("max", 2, False)(given.value))
        scores = Term(Reduce("max", (2,), False)(given.value))
        start = Expand((batch, 1))(Constant(Tensor(np.full((1, 1), -1, np.int64)))())
        before = Term(Concat(1)(start, best.part(1, 0, steps - 1).value))
        kept = ~best.equals(self.blank) & ~best.equals(before)
        lengths = Term(Reduce("sum", (1,), False)(kept.cast(dt.i64).value))
        flags = kept.reshape(batch * steps)
        found = {
            key: Term(Compress(0)(one.reshape(batch * steps).value, flags.value))
            for key, one in (("labels", best), ("scores", scores))
        }
        made = answers.swap(name, **found, lengths=lengths)
        return replace(made, ragged=answers.ragged | set(found))
