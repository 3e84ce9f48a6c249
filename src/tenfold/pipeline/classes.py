"""From scores of classes to answers."""

from __future__ import annotations

from dataclasses import dataclass

from tenfold.errors import OptionError
from tenfold.ops.activation import Sigmoid as SigmoidOp
from tenfold.ops.normalize import Softmax as SoftmaxOp
from tenfold.ops.reduce import ArgReduce
from tenfold.ops.sort import TopK as TopKOp
from tenfold.pipeline.answers import Answers
from tenfold.pipeline.term import Term


@dataclass(frozen=True)
class Softmax:
    """Scores as probabilities that add up to 1 along an axis. `of` names the result (the first if None)."""

    axis: int = -1
    of: str | None = None

    def __call__(self, answers: Answers) -> Answers:
        """The probabilities under the same name."""
        name, scores = answers.pick(self.of, self)
        return answers.swap(name, **{name: Term(SoftmaxOp(_axis(self.axis, scores, self))(scores.value))})


@dataclass(frozen=True)
class Sigmoid:
    """Each score as a probability of its own."""

    of: str | None = None

    def __call__(self, answers: Answers) -> Answers:
        """The probabilities under the same name."""
        name, scores = answers.pick(self.of, self)
        return answers.swap(name, **{name: Term(SigmoidOp()(scores.value))})


@dataclass(frozen=True)
class ArgMax:
    """The place of the greatest score along an axis, as "label" i64."""

    axis: int = -1
    of: str | None = None

    def __call__(self, answers: Answers) -> Answers:
        """The label in place of the scores."""
        name, scores = answers.pick(self.of, self)
        return answers.swap(name, label=Term(ArgReduce("max", _axis(self.axis, scores, self), False)(scores.value)))


@dataclass(frozen=True)
class TopK:
    """The k greatest scores along an axis, best first, and their places: "scores" and "labels" i64."""

    k: int
    axis: int = -1
    of: str | None = None

    def __call__(self, answers: Answers) -> Answers:
        """Scores and labels in place of all scores."""
        name, scores = answers.pick(self.of, self)
        axis = _axis(self.axis, scores, self)
        size = scores.shape[axis]
        if isinstance(size, int) and not 0 < self.k <= size:
            raise OptionError(f"{self} of {size} scores", argument="after", remedy=f"choose k from 1 to {size}")
        best, places = TopKOp(self.k, axis)(scores.value)
        return answers.swap(name, scores=Term(best), labels=Term(places))


def _axis(axis: int, scores: Term, step: object) -> int:
    rank = len(scores.shape)
    if not -rank <= axis < rank:
        raise OptionError(f"{step} of a result of rank {rank}", argument="after", remedy="choose one of its axes")
    return axis % rank
