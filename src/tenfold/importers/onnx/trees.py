"""ai.onnx.ml: ensembles of decision trees, all trees of all rows walked side by side, level by level."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tenfold.importers.convert import Operator, Results, Table
from tenfold.importers.onnx.ml import DOMAIN, as_float, constant
from tenfold.importers.onnx.scores import column, flat, labelled, labels, paired, transform, transformed
from tenfold.importers.shorthand import apply, cast, number
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Graph, Value
from tenfold.ir.op import Array
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.ops.arithmetic import Add, Div, Mul, Neg, Sub
from tenfold.ops.constant import scalar
from tenfold.ops.control import Loop
from tenfold.ops.index import Gather, GatherElements
from tenfold.ops.logic import And, BitCast, Equal, Greater, IsNan, LessOrEqual, Or, Where
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Expand
from tenfold.ops.reduce import ArgReduce, Reduce
from tenfold.ops.text import strings

MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
LEQ, LT, GTE, GT, EQ, NEQ, MEMBER = range(7)
AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
MOST_UNROLLED = 16


@dataclass
class Forest:
    """The nodes of all trees. Every test is x[feature] <= split: true leads to `low`, false to `high`.

    NaN leads to `low` where `nan_low`. A leaf leads to itself.
    """

    feature: list[int]
    split: list[float]
    low: list[int]
    high: list[int]
    nan_low: list[bool]
    dtype: DType

    @classmethod
    def of_leaves(cls, count: int, dtype: DType) -> Forest:
        """That many leaves, to be made into nodes by `test`."""
        itself = list(range(count))
        return cls([0] * count, [np.nan] * count, itself, list(itself), [False] * count, dtype)

    def set(self, at: int, feature: int, split: float, low: int, high: int, nan_low: bool) -> int:
        """Make a node of `at`; -1 appends one."""
        if at < 0:
            at = len(self.feature)
            for one in (self.feature, self.split, self.low, self.high):
                one.append(0)
            self.nan_low.append(False)
        self.feature[at], self.split[at], self.low[at], self.high[at] = feature, split, low, high
        self.nan_low[at] = nan_low
        return at

    def before(self, split: float) -> float:
        """The greatest number below; NaN, below which nothing is, if there is none."""
        kind = self.dtype.numpy.type
        return float(np.nextafter(kind(split), kind(-np.inf))) if split != -np.inf else np.nan

    def test(self, at: int, mode: int, feature: int, split: float, yes: int, no: int, missing: bool) -> int:
        """A node that tests in any of the modes but MEMBER; `missing` says whether NaN counts as true."""
        match mode:
            case 0:
                return self.set(at, feature, split, yes, no, missing)
            case 1:
                return self.set(at, feature, self.before(split), yes, no, missing)
            case 2:
                return self.set(at, feature, self.before(split), no, yes, not missing)
            case 3:
                return self.set(at, feature, split, no, yes, not missing)
            case 4:
                below = self.set(-1, feature, self.before(split), no, yes, not missing)
                return self.set(at, feature, split, below, no, missing)
        return self.test(at, EQ, feature, split, no, yes, not missing)

    def member(self, at: int, feature: int, items: Sequence[float], yes: int, no: int, missing: bool) -> int:
        """A node that tests for one of sorted `items`: halves until one is left."""
        if not items:
            return self.set(at, feature, np.nan, no, yes if missing else no, False)
        if len(items) == 1:
            return self.test(at, EQ, feature, items[0], yes, no, missing)
        half = len(items) // 2
        low = self.member(-1, feature, items[:half], yes, no, missing)
        high = self.member(-1, feature, items[half:], yes, no, missing)
        return self.set(at, feature, items[half - 1], low, high, True)

    def depth(self, node: Operator, roots: Array) -> int:
        """The most tests on the way to a leaf; ModelError if a way never ends."""
        children = np.stack([self.low, self.high], 1)
        level, depth = np.unique(roots), 0
        while True:
            level = level[children[level, 0] != level]
            if not len(level):
                return depth
            level, depth = np.unique(children[level]), depth + 1
            if depth > len(children):
                raise node.invalid("its nodes lead in a circle")

    def leaves(self, node: Operator, x: Value, roots: Array) -> Value:
        """The leaf [N, T] that each row of x[N, F] reaches in each tree."""
        if isinstance(x.type.shape[1], int) and max(self.feature) >= x.type.shape[1]:
            raise node.invalid(f"a node asks for feature {max(self.feature)} of {x.type}")
        start = constant(roots[None], dt.i64)
        at: Value = Expand((x.type.shape[0], len(roots)))(start)
        depth = self.depth(node, roots)
        if depth > MOST_UNROLLED:
            body = Graph(name="level")
            body.input("turn", Type(dt.i64, ()))
            going, inner, rows = (
                body.input("go", Type(dt.boolean, ())),
                body.input("at", at.type),
                body.input("x", x.type),
            )
            body.set_outputs([going, self.level(rows, inner)])
            result: Value = Loop(body, 1)(scalar(depth, dt.i64)(), scalar(True, dt.boolean)(), at, x)
            return result
        for _ in range(depth):
            at = self.level(x, at)
        return at

    def level(self, x: Value, at: Value) -> Value:
        """Every walk one test further. What a node says lies side by side: child, child, feature, f32 split."""
        narrow = x.type.dtype is dt.f32
        splits = np.array(self.split, x.type.dtype.numpy)
        sides = [self.high, self.low, self.feature, splits.view(np.int32) if narrow else self.feature]
        nodes, place = constant(np.stack(sides, 1).ravel(), dt.i32), apply(Mul(), at, len(sides))
        found: Value = GatherElements(1)(x, apply(Gather(0), nodes, apply(Add(), place, 2)))
        if narrow:
            split = apply(BitCast(dt.f32), apply(Gather(0), nodes, apply(Add(), place, 3)))
        else:
            split = apply(Gather(0), constant(splits, x.type.dtype), at)
        low = apply(LessOrEqual(), found, split)
        if any(self.nan_low):
            lost = apply(And(), IsNan()(found), apply(Gather(0), constant(np.array(self.nan_low), dt.boolean), at))
            low = apply(Or(), low, lost)
        return cast(apply(Gather(0), nodes, apply(Add(), place, cast(low, dt.i64))), dt.i64)


@dataclass(frozen=True)
class Votes:
    """What leaves add to which targets: parallel arrays, any number of entries a leaf."""

    leaf: Array
    target: Array
    weight: Array
    targets: int

    def table(self, nodes: int, empty: float) -> Array:
        """[nodes, targets]: the sum of each leaf's entries, `empty` where it has none."""
        found = np.zeros((nodes, self.targets), self.weight.dtype)
        np.add.at(found, (self.leaf, self.target), self.weight)
        if empty:
            given = np.zeros(found.shape, bool)
            given[self.leaf, self.target] = True
            found[~given] = empty
        return found


def _agreed(node: Operator, names: Sequence[str], arrays: Sequence[Array]) -> None:
    if len({len(one) for one in arrays}) != 1:
        raise node.invalid(", ".join(f"{len(one)} {name}" for name, one in zip(names, arrays, strict=True)))


def _numbers(node: Operator, name: str, dtype: DType) -> Array:
    """A list of numbers, or the tensor that versions from 3 on have in its place."""
    if f"{name}_as_tensor" in node.attributes:
        return node.tensor(f"{name}_as_tensor").array.ravel().astype(dtype.numpy)
    return np.array(node.numbers(name, ()), np.float32).astype(dtype.numpy)


NODE_LISTS = ("nodes_nodeids", "nodes_featureids", "nodes_truenodeids", "nodes_falsenodeids")


def _forest(node: Operator, dtype: DType) -> tuple[Forest, Array, dict[tuple[int, int], int]]:
    """The trees of versions before 5, their roots, and where each (tree, node) is."""
    trees = np.array(node.integers("nodes_treeids"), np.int64)
    ids, features, yes, no = (np.array(node.integers(name), np.int64) for name in NODE_LISTS)
    splits, modes = _numbers(node, "nodes_values", dtype), node.texts("nodes_modes")
    missing = node.integers("nodes_missing_value_tracks_true", ()) or (0,) * len(trees)
    lists = (trees, ids, features, yes, no, splits, np.array(modes), np.array(missing))
    _agreed(node, ("tree ids", "node ids", "features", "true ids", "false ids", "values", "modes", "missing"), lists)
    places = {key: at for at, key in enumerate(zip(trees.tolist(), ids.tolist(), strict=True))}
    forest = Forest.of_leaves(len(trees), dtype)
    for at, mode in enumerate(modes):
        if mode == "LEAF":
            continue
        if mode not in MODES[:MEMBER]:
            raise node.invalid(f"a node's mode is {mode!r}")
        true, false = (places.get((int(trees[at]), int(one[at])), -1) for one in (yes, no))
        if min(true, false) < 0 or features[at] < 0:
            raise node.invalid(f"node {ids[at]} of tree {trees[at]} leads to a node that there is not")
        forest.test(at, MODES.index(mode), int(features[at]), float(splits[at]), true, false, bool(missing[at]))
    _, roots = np.unique(trees, return_index=True)
    return forest, roots, places


def _votes(
    node: Operator, name: str, weights: str, places: dict[tuple[int, int], int], targets: int, dtype: DType
) -> Votes:
    lists = [np.array(node.integers(f"{name}_{kind}"), np.int64) for kind in ("treeids", "nodeids", "ids")]
    weight = _numbers(node, weights, dtype)
    _agreed(node, ("trees", "nodes", "targets", "weights"), (*lists, weight))
    trees, nodes, target = lists
    leaf = [places.get((int(a), int(b)), -1) for a, b in zip(trees, nodes, strict=True)]
    if min(leaf, default=0) < 0 or not np.isin(target, np.arange(targets)).all():
        raise node.invalid(f"a weight belongs to no leaf, or to none of the {targets} targets")
    return Votes(np.array(leaf, np.int64), target, weight, targets)


def regressor(node: Operator) -> Results:
    """TreeEnsembleRegressor: f32, whatever the input."""
    x = as_float(node.input(0))
    kind = x.type.dtype
    forest, roots, places = _forest(node, kind)
    targets = node.integer("n_targets", 1)
    votes = _votes(node, "target", "target_weights", places, targets, kind)
    found = _gathered(
        forest, votes, forest.leaves(node, x, roots), roots, node.text("aggregate_function", "SUM", AGGREGATES)
    )
    found = _based(node, found, _numbers(node, "base_values", kind))
    return cast(transformed(found, transform(node)), dt.f32)


def _based(node: Operator, found: Value, base: Array) -> Value:
    if not len(base):
        return found
    if len(base) not in (1, found.type.shape[1]):
        raise node.invalid(f"{len(base)} base values for {found.type.shape[1]} targets")
    return apply(Add(), found, constant(base, found.type.dtype))


def _gathered(forest: Forest, votes: Votes, at: Value, roots: Array, aggregate: str) -> Value:
    """[N, targets]: what the reached leaves [N, T] say, put together."""
    nodes = len(forest.feature)
    if aggregate in ("SUM", "AVERAGE"):
        total = _summed(forest, votes, at, roots, nodes)
        return total if aggregate == "SUM" else apply(Div(), total, len(roots))
    empty = np.inf if aggregate == "MIN" else -np.inf
    table = constant(votes.table(nodes, empty), forest.dtype)
    found = apply(Reduce("min" if aggregate == "MIN" else "max", (1,), keepdims=False), apply(Gather(0), table, at))
    result: Value = Where()(apply(Equal(), found, empty), number(0, found), found)
    return result


def _summed(forest: Forest, votes: Votes, at: Value, roots: Array, nodes: int) -> Value:
    owner = _only_targets(forest, votes, roots)
    if owner is None:
        each = apply(Gather(0), constant(votes.table(nodes, 0), forest.dtype), at)
        return apply(Reduce("sum", (1,), keepdims=False), each)
    single = np.zeros(nodes, votes.weight.dtype)
    np.add.at(single, votes.leaf, votes.weight)
    each = apply(Gather(0), constant(single, forest.dtype), at)
    if votes.targets == 1:
        return apply(Reduce("sum", (1,)), each)
    return apply(MatMul(), each, constant(owner[:, None] == np.arange(votes.targets), forest.dtype))


def _only_targets(forest: Forest, votes: Votes, roots: Array) -> Array | None:
    """The one target that each tree speaks to, if that is so of all trees and all weights are finite."""
    if votes.targets == 1:
        return np.zeros(len(roots), np.int64)
    tree = _tree_of(forest, roots)[votes.leaf]
    least, most = np.full(len(roots), votes.targets), np.full(len(roots), -1)
    np.minimum.at(least, tree, votes.target)
    np.maximum.at(most, tree, votes.target)
    return least if (least >= most).all() and np.isfinite(votes.weight).all() else None


def _tree_of(forest: Forest, roots: Array) -> Array:
    owner = np.zeros(len(forest.feature), np.int64)
    children = np.stack([forest.low, forest.high], 1)
    level, trees = roots, np.arange(len(roots))
    while len(level):
        owner[level] = trees
        inner = children[level, 0] != level
        level, trees = children[level[inner]].ravel(), np.repeat(trees[inner], 2)
    return owner


def classifier(node: Operator) -> Results:
    """TreeEnsembleClassifier: a label and f32 scores.

    Where two classes share one score, or there is one class only, the score decides: above 0, or above one half if
    it is a share (no weight is negative).
    """
    x = as_float(node.input(0))
    kind = x.type.dtype
    forest, roots, places = _forest(node, kind)
    classes, base = labels(node, ("classlabels_int64s", "classlabels_strings")), _numbers(node, "base_values", kind)
    votes = _votes(node, "class", "class_weights", places, classes.size, kind)
    scores = _gathered(forest, votes, forest.leaves(node, x, roots), roots, "SUM")
    told = set(votes.target.tolist())
    if classes.size > 2 or len(told) > 1:
        scores = _based(node, scores, base)
        chosen = apply(ArgReduce("max", 1, keepdims=False), scores)
        return [labelled(classes, chosen), cast(transformed(scores, transform(node)), dt.f32)]
    at = max(told, default=0)
    score = column(scores, at)
    score = _based(node, score, base[at : at + 1] if len(base) else base)
    shares = bool((votes.weight >= 0).all())
    above = flat(apply(Greater(), score, 0.5 if shares and classes.size == 2 else 0))
    if classes.size == 1:
        return [
            _alone(classes, above),
            cast(score if transform(node) != "PROBIT" else transformed(score, "PROBIT"), dt.f32),
        ]
    other = _other(score, shares, at, base, transform(node))
    pair = paired(other, score)
    return [labelled(classes, cast(above, dt.i64)), cast(transformed(pair, transform(node)), dt.f32)]


def _other(score: Value, shares: bool, at: int, base: Array, kind: str) -> Value:
    """The score of the class that no leaf speaks of."""
    if at == 1:
        empty = number(float(base[0]) if len(base) == 2 else 0.0, score)
        result: Value = Expand(score.type.shape)(empty)
        return result
    return apply(Sub(), number(1, score), score) if shares and kind != "LOGISTIC" else Neg()(score)


def _alone(classes: Tensor, above: Value) -> Value:
    """The label of an only class: 1 or 0 where it is a number, the name or nothing where it is a string."""
    if classes.dtype is dt.string:
        return labelled(Tensor(strings(["", classes.array[0]], (2,))), cast(above, dt.i64))
    return cast(above, dt.i64)


def ensemble(node: Operator) -> Results:
    """TreeEnsemble of version 5: leaves stand in lists of their own, each with one target."""
    x = node.input(0)
    kind = x.type.dtype
    features, yes, no = (
        np.array(node.integers(f"nodes_{name}")) for name in ("featureids", "truenodeids", "falsenodeids")
    )
    yes_leaf, no_leaf = (np.array(node.integers(f"nodes_{name}"), bool) for name in ("trueleafs", "falseleafs"))
    splits, modes = (node.tensor(f"nodes_{name}").array.ravel() for name in ("splits", "modes"))
    missing = np.array(node.integers("nodes_missing_value_tracks_true", ()) or (0,) * len(features), bool)
    lists = (features, yes, no, yes_leaf, no_leaf, splits, modes, missing)
    _agreed(
        node, ("features", "true ids", "false ids", "true leafs", "false leafs", "splits", "modes", "missing"), lists
    )
    weight, target = node.tensor("leaf_weights").array.ravel(), np.array(node.integers("leaf_targetids"))
    roots, count = np.array(node.integers("tree_roots")), len(features)
    yes, no = yes + count * yes_leaf, no + count * no_leaf
    places = np.concatenate([yes, no, roots, features + count + len(weight) if min(features, default=0) < 0 else roots])
    if not len(roots) or (places < 0).any() or (places >= count + len(weight)).any():
        raise node.invalid("a node leads to a node that there is not")
    forest = Forest.of_leaves(count + len(weight), kind)
    sets = _memberships(node, modes)
    for at in range(count):
        to = (int(yes[at]), int(no[at]), bool(missing[at]))
        if modes[at] == MEMBER:
            forest.member(at, int(features[at]), next(sets), *to)
        elif modes[at] < MEMBER:
            forest.test(at, int(modes[at]), int(features[at]), float(splits[at]), *to)
        else:
            raise node.invalid(f"a node's mode is {modes[at]}")
    targets = node.integer("n_targets", 1)
    if len(target) != len(weight) or not np.isin(target, np.arange(targets)).all():
        raise node.invalid(f"{len(target)} targets for {len(weight)} leaves, each below {targets}")
    votes = Votes(count + np.arange(len(weight)), target, weight, targets)
    aggregate = AGGREGATES[node.integer("aggregate_function", 1)]
    found = _gathered(forest, votes, forest.leaves(node, x, roots), roots, aggregate)
    kinds = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
    return transformed(found, kinds[node.integer("post_transform", 0)])


def _memberships(node: Operator, modes: Array) -> Iterator[list[float]]:
    """One sorted set for each node that tests for membership; NaN ends each set in the list of them all."""
    wanted = int((modes == MEMBER).sum())
    if not wanted:
        return iter(())
    values = node.tensor("membership_values").array.ravel()
    found: list[list[float]] = [[]]
    for value in values.tolist():
        if value != value:
            found.append([])
        else:
            found[-1].append(value)
    found = found[:-1] if not found[-1] else found
    if len(found) != wanted:
        raise node.invalid(f"{len(found)} sets for {wanted} nodes that test for membership")
    return iter([sorted(set(one)) for one in found])


TABLE: Table = {
    (DOMAIN, "TreeEnsemble"): ((5, ensemble),),
    (DOMAIN, "TreeEnsembleClassifier"): ((1, classifier),),
    (DOMAIN, "TreeEnsembleRegressor"): ((1, regressor),),
}
