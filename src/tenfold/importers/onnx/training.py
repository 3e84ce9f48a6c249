"""Steps of optimisers, of the domain ai.onnx.preview.training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tenfold.importers.convert import Converter, Operator, Results, Table
from tenfold.importers.shorthand import apply, cast, number, reshaped
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Add, Div, Mul, Pow, Sqrt, Sub
from tenfold.ops.logic import Greater, Where
from tenfold.rewrite.gradient import gradient, substituted

DOMAIN = "ai.onnx.preview.training"

Step = Callable[[Operator, Value, Value, Sequence[Value]], Sequence[Value]]


def each_tensor(step: Step, groups: int) -> Converter:
    """A converter of an operator on rate R, count T and `groups` lists of tensors: a step for one of each list.

    Results come list by list, as the inputs do.
    """

    def convert(node: Operator) -> Results:
        count = (len(node.inputs) - 2) // groups
        if count < 1 or count * groups + 2 != len(node.inputs):
            raise node.invalid(f"{len(node.inputs)} inputs are not a rate, a count and {groups} tensors each")
        rows = [[node.input(2 + group * count + at) for group in range(groups)] for at in range(count)]
        rate, turn = (reshaped(node.input(at), ()) for at in (0, 1))
        found = [step(node, cast(rate, row[0].type.dtype), cast(turn, row[0].type.dtype), row) for row in rows]
        return [value for column in zip(*found, strict=True) for value in column]

    return convert


def _regularized(node: Operator, x: Value, gradient: Value) -> Value:
    return apply(Add(), apply(Mul(), x, node.number("norm_coefficient", 0.0)), gradient)


def adagrad(node: Operator, rate: Value, turn: Value, row: Sequence[Value]) -> Sequence[Value]:
    """Adagrad (Duchi et al. 2011)."""
    x, gradient, squares = row
    slower = apply(Div(), rate, apply(Add(), apply(Mul(), turn, node.number("decay_factor", 0.0)), 1))
    way = _regularized(node, x, gradient)
    squares = apply(Add(), squares, apply(Mul(), way, way))
    size = apply(Add(), Sqrt()(squares), node.number("epsilon", 1e-6))
    return apply(Sub(), x, apply(Div(), apply(Mul(), slower, way), size)), squares


def adam(node: Operator, rate: Value, turn: Value, row: Sequence[Value]) -> Sequence[Value]:
    """Adam (Kingma and Ba 2015)."""
    x, gradient, mean, squares = row
    alpha, beta = node.number("alpha", 0.9), node.number("beta", 0.999)
    way = _regularized(node, x, gradient)
    mean = _mixed(mean, way, alpha)
    squares = _mixed(squares, apply(Mul(), way, way), beta)
    left = [apply(Sub(), number(1, turn), apply(Pow(), number(decay, turn), turn)) for decay in (alpha, beta)]
    corrected = apply(Div(), apply(Mul(), rate, Sqrt()(left[1])), left[0])
    rate = Where()(apply(Greater(), turn, 0), corrected, rate)
    size = apply(Add(), Sqrt()(squares), node.number("epsilon", 1e-6))
    x = apply(Sub(), x, apply(Mul(), apply(Div(), mean, size), rate))
    return apply(Mul(), x, 1 - node.number("norm_coefficient_post", 0.0)), mean, squares


def _mixed(old: Value, new: Value, share: float) -> Value:
    return apply(Add(), apply(Mul(), old, share), apply(Mul(), new, 1 - share))


def momentum(node: Operator, rate: Value, turn: Value, row: Sequence[Value]) -> Sequence[Value]:
    """Gradient descent with momentum, or Nesterov's (Sutskever et al. 2013)."""
    x, gradient, speed = row
    alpha = node.number("alpha")
    way = _regularized(node, x, gradient)
    weight = Where()(apply(Greater(), turn, 0), number(node.number("beta"), turn), number(1, turn))
    speed = apply(Add(), apply(Mul(), speed, alpha), apply(Mul(), way, weight))
    nesterov = node.text("mode", choices=("standard", "nesterov")) == "nesterov"
    step = apply(Add(), way, apply(Mul(), speed, alpha)) if nesterov else speed
    return apply(Sub(), x, apply(Mul(), step, rate)), speed


def gradient_of(node: Operator) -> Results:
    """Gradient: the derivative of the value named `y` by those named `xs`, at the inputs in place of `xs` and `zs`."""
    xs = node.texts("xs")
    names = (*xs, *node.texts("zs", ()))
    if len(names) != len(node.inputs) or node.named is None:
        raise node.invalid(f"{len(node.inputs)} inputs for {len(names)} names")
    ends = [node.named(name) for name in names]
    y = node.named(node.text("y"))
    given = [node.input(at) for at in range(len(names))]
    y = substituted(y, dict(zip(ends, given, strict=True)))
    try:
        return gradient(y, given[: len(xs)])
    except ValueError as error:
        raise node.unsupported(str(error)) from error


TABLE: Table = {
    (DOMAIN, "Gradient"): ((1, gradient_of),),
    (DOMAIN, "Adagrad"): ((1, each_tensor(adagrad, 3)),),
    (DOMAIN, "Adam"): ((1, each_tensor(adam, 4)),),
    (DOMAIN, "Momentum"): ((1, each_tensor(momentum, 3)),),
}
