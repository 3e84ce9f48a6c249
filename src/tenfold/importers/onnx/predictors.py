"""ai.onnx.ml: linear models and support vector machines."""

from __future__ import annotations

import itertools
from functools import reduce

import numpy as np

from tenfold.importers.convert import Operator, Results, Table
from tenfold.importers.onnx.ml import DOMAIN, as_float, constant
from tenfold.importers.onnx.scores import column, flat, labelled, labels, paired, transform, transformed
from tenfold.importers.shorthand import apply, cast, number, part, reshaped
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph, Value
from tenfold.ir.op import Array
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.ops.activation import Sigmoid
from tenfold.ops.arithmetic import Abs, Add, Div, Exp, Maximum, Minimum, Mul, Neg, Pow, Sub, Tanh
from tenfold.ops.constant import scalar
from tenfold.ops.control import Loop
from tenfold.ops.logic import Greater, GreaterOrEqual, Where
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Concat, Expand
from tenfold.ops.reduce import ArgReduce, Reduce


def _rows(node: Operator) -> Value:
    x = as_float(node.input(0))
    x = cast(x, dt.f32) if x.type.dtype is not dt.f64 else x
    x = reshaped(x, (1, *x.type.shape)) if x.type.rank == 1 else x
    if x.type.rank != 2 or not isinstance(x.type.shape[1], int):
        raise node.unsupported(f"it takes rows of a known number of features, not {x.type}")
    return x


def _matrix(node: Operator, name: str, rows: int, columns: int) -> Array:
    found = np.array(node.numbers(name))
    if rows * columns != len(found):
        raise node.invalid(f"{len(found)} {name} for {rows} x {columns}")
    return found.reshape(rows, columns)


def _linear(x: Value, matrix: Array, offset: Array) -> Value:
    """x [N, F] times the transpose of a matrix [C, F], plus an offset [C] or [1]."""
    product = apply(MatMul(), x, constant(matrix.T, x.type.dtype))
    return apply(Add(), product, constant(offset, x.type.dtype)) if len(offset) else product


def linear_regressor(node: Operator) -> Results:
    """x · coefficients + intercepts."""
    x, targets = _rows(node), node.integer("targets", 1)
    width = x.type.shape[1]
    assert isinstance(width, int)
    found = _linear(x, _matrix(node, "coefficients", targets, width), np.array(node.numbers("intercepts", ())))
    return cast(transformed(found, transform(node)), dt.f32)


def linear_classifier(node: Operator) -> Results:
    """A label and f32 scores; one row of coefficients for two classes scores the second, the first is its opposite."""
    x, classes, kind = _rows(node), labels(node, ("classlabels_ints", "classlabels_strings")), transform(node)
    width = x.type.shape[1]
    assert isinstance(width, int)
    coefficients = node.numbers("coefficients")
    rows = len(coefficients) // width if width else classes.size
    offset = np.array(node.numbers("intercepts", ()))
    scores = _linear(x, _matrix(node, "coefficients", rows, width), offset)
    if rows == 1 and classes.size == 2:
        return _two_classes(scores, classes, kind)
    if rows == 1:
        probable = transformed(scores, kind)
        above = flat(apply(GreaterOrEqual(), probable, 0 if kind == "NONE" else 0.5))
        first = constant(classes.array[:1], dt.i64) if classes.dtype is not dt.string else None
        label = cast(above, dt.i64) if first is None else Where()(above, first, number(0, first))
        return [label, cast(probable, dt.f32)]
    chosen = apply(ArgReduce("max", 1, keepdims=False), scores)
    return [labelled(classes, chosen), cast(transformed(scores, kind), dt.f32)]


def _two_classes(score: Value, classes: Tensor, kind: str) -> Results:
    above = flat(apply(Greater(), score, 0))
    pair = transformed(paired(Neg()(score), score), kind)
    return [labelled(classes, cast(above, dt.i64)), cast(pair, dt.f32)]


def _kernel(node: Operator, x: Value, vectors: Array) -> Value:
    """k(x, v) [N, V] of every row and every support vector [V, F]."""
    kind = node.text("kernel_type", "LINEAR", ("LINEAR", "POLY", "RBF", "SIGMOID"))
    gamma, offset, degree = (*node.numbers("kernel_params", ()), 0.0, 0.0, 0.0)[:3]
    products = apply(MatMul(), x, constant(vectors.T, x.type.dtype))
    match kind:
        case "LINEAR":
            return products
        case "RBF":
            lengths = constant((vectors**2).sum(1), x.type.dtype)
            own = apply(Reduce("sum_square", (1,)), x)
            apart = apply(Sub(), apply(Add(), own, lengths), apply(Mul(), products, 2))
            return apply(Exp(), apply(Mul(), apply(Maximum(), apart, 0), -gamma))
    scaled = apply(Add(), apply(Mul(), products, gamma), offset)
    return apply(Tanh(), scaled) if kind == "SIGMOID" else apply(Pow(), scaled, degree)


def svm_regressor(node: Operator) -> Results:
    """Σ coefficient · k(x, vector) + rho; its sign where it knows one class only."""
    x, supports = _rows(node), node.integer("n_supports", 0)
    width = x.type.shape[1]
    assert isinstance(width, int)
    rho = np.array(node.numbers("rho", (0.0,)))[:1]
    if supports > 0:
        x = _kernel(node, x, _matrix(node, "support_vectors", supports, width))
        width = supports
    found = _linear(x, _matrix(node, "coefficients", 1, width), rho)
    if node.flag("one_class", False):
        found = Where()(apply(Greater(), found, 0), number(1, found), number(-1, found))
    return cast(transformed(found, transform(node)), dt.f32)


def svm_classifier(node: Operator) -> Results:
    """One machine for each pair of classes; the class with most of their votes, or the likeliest, is the label."""
    x, classes, kind = _rows(node), labels(node, ("classlabels_ints", "classlabels_strings")), transform(node)
    counts = node.integers("vectors_per_class", ())
    if not sum(counts):
        return _linear_machines(node, x, classes, kind)
    if len(counts) != classes.size:
        raise node.invalid(f"support vectors of {len(counts)} classes for {classes.size} labels")
    scores = _machines(node, x, counts)
    votes = _votes(scores, classes.size)
    chosen = apply(ArgReduce("max", 1, keepdims=False), votes)
    chances = _chances(node, scores, classes.size)
    if chances is None and classes.size == 2:
        return [labelled(classes, chosen), cast(transformed(paired(Neg()(scores), scores), kind), dt.f32)]
    return [labelled(classes, chosen), cast(transformed(scores if chances is None else chances, kind), dt.f32)]


def _linear_machines(node: Operator, x: Value, classes: Tensor, kind: str) -> Results:
    width = x.type.shape[1]
    assert isinstance(width, int)
    rho = np.array(node.numbers("rho", (0.0,)))
    scores = _linear(x, _matrix(node, "coefficients", classes.size, width), rho[:1])
    chosen = apply(ArgReduce("max", 1, keepdims=False), scores)
    return [labelled(classes, chosen), cast(transformed(scores, kind), dt.f32)]


def _machines(node: Operator, x: Value, counts: tuple[int, ...]) -> Value:
    """[N, pairs]: for classes i < j, the vectors of i by the coefficients against j, and of j by those against i."""
    width, total, classes = x.type.shape[1], sum(counts), len(counts)
    assert isinstance(width, int)
    kernels = _kernel(node, x, _matrix(node, "support_vectors", total, width))
    against = _matrix(node, "coefficients", classes - 1, total)
    ends = list(itertools.accumulate(counts, initial=0))
    rows = []
    for i, j in itertools.combinations(range(classes), 2):
        row = np.zeros(total)
        row[ends[i] : ends[i + 1]] = against[j - 1, ends[i] : ends[i + 1]]
        row[ends[j] : ends[j + 1]] = against[i, ends[j] : ends[j + 1]]
        rows.append(row)
    rho = np.array(node.numbers("rho"))
    if len(rho) != len(rows):
        raise node.invalid(f"{len(rho)} rho for {len(rows)} pairs of classes")
    return _linear(kernels, np.stack(rows), rho)


def _votes(scores: Value, classes: int) -> Value:
    """[N, classes]: how many pairs each class wins."""
    pairs = list(itertools.combinations(range(classes), 2))
    first = np.array([[i == c for c in range(classes)] for i, _ in pairs], float)
    second = np.array([[j == c for c in range(classes)] for _, j in pairs], float)
    won = cast(apply(Greater(), scores, 0), scores.type.dtype)
    return _linear(won, (first - second).T, second.sum(0))


def _chances(node: Operator, scores: Value, classes: int) -> Value | None:
    """[N, classes]: probabilities by Platt's sigmoids of the pairs; None where the model states none."""
    a, b = (np.array(node.numbers(name, ())) for name in ("prob_a", "prob_b"))
    if not len(a):
        return None
    pairs = list(itertools.combinations(range(classes), 2))
    if len(a) != len(pairs) or len(b) != len(pairs):
        raise node.invalid(f"{len(a)} prob_a and {len(b)} prob_b for {len(pairs)} pairs of classes")
    fitted = apply(Add(), apply(Mul(), scores, constant(a, scores.type.dtype)), constant(b, scores.type.dtype))
    chance = apply(Minimum(), apply(Maximum(), Sigmoid()(Neg()(fitted)), 1e-7), 1 - 1e-7)
    beats: dict[tuple[int, int], Value] = {}
    for at, (i, j) in enumerate(pairs):
        beats[i, j] = column(chance, at)
        beats[j, i] = apply(Sub(), number(1, chance), beats[i, j])
    return coupled(beats, classes)


def coupled(beats: dict[tuple[int, int], Value], classes: int) -> Value:
    """The probabilities [N, C] that agree best with those of the pairs [N, 1].

    At most max(100, C) sweeps of the fixed-point iteration of Wu, Lin and Weng (2004, method 2).
    """
    rows = [Concat(1)(*(_element(beats, t, j, classes) for j in range(classes))) for t in range(classes)]
    quadratic: Value = Concat(1)(*(reshaped(row, (row.type.shape[0], 1, classes)) for row in rows))
    start: Value = Expand((quadratic.type.shape[0], classes))(number(1 / classes, quadratic))
    body = Graph(name="sweep")
    body.input("turn", Type(dt.i64, ()))
    body.input("go", Type(dt.boolean, ()))
    shares, q = body.input("shares", start.type), body.input("quadratic", quadratic.type)
    body.set_outputs(_sweep(shares, q, classes))
    result: Value = Loop(body, 1)(scalar(max(100, classes), dt.i64)(), scalar(True, dt.boolean)(), start, quadratic)
    return result


def _element(beats: dict[tuple[int, int], Value], t: int, j: int, classes: int) -> Value:
    """Q[t, j] [N, 1] = -r(j, t) r(t, j), and on the diagonal the sum of r(j, t) squared over all others."""
    if t != j:
        return apply(Mul(), Neg()(beats[j, t]), beats[t, j])
    squares = [apply(Mul(), beats[j, t], beats[j, t]) for j in range(classes) if j != t]
    return reduce(lambda a, b: apply(Add(), a, b), squares)


def _sweep(shares: Value, q: Value, classes: int) -> list[Value]:
    """Whether some row goes on, and the shares after one turn of each coordinate; rows that have settled stay."""
    n = shares.type.shape[0]
    before = shares
    product = apply(Reduce("sum", (2,), keepdims=False), apply(Mul(), q, reshaped(shares, (n, 1, classes))))
    whole = apply(Reduce("sum", (1,)), apply(Mul(), shares, product))
    error = apply(Reduce("max", (1,)), Abs()(apply(Sub(), product, whole)))
    moving = apply(GreaterOrEqual(), error, 0.005 / classes)
    for t in range(classes):
        row = reshaped(part(q, 1, t, 1), (n, classes))
        own, ours = part(row, 1, t, 1), part(product, 1, t, 1)
        step = apply(Div(), apply(Sub(), whole, ours), own)
        scale = apply(Add(), step, 1)
        unit = constant(np.eye(classes)[t : t + 1], shares.type.dtype)
        shares = apply(Div(), apply(Add(), shares, apply(Mul(), step, unit)), scale)
        gain = apply(Mul(), step, apply(Add(), apply(Mul(), step, own), apply(Mul(), ours, 2)))
        whole = apply(Div(), apply(Add(), whole, gain), apply(Mul(), scale, scale))
        product = apply(Div(), apply(Add(), product, apply(Mul(), step, row)), scale)
    going = reshaped(apply(Reduce("any", (0, 1), keepdims=False), moving), ())
    return [going, Where()(moving, shares, before)]


TABLE: Table = {
    (DOMAIN, "LinearClassifier"): ((1, linear_classifier),),
    (DOMAIN, "LinearRegressor"): ((1, linear_regressor),),
    (DOMAIN, "SVMClassifier"): ((1, svm_classifier),),
    (DOMAIN, "SVMRegressor"): ((1, svm_regressor),),
}
