"""Ensembles of decision trees against ONNX Runtime."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

import tenfold
from tenfold.errors import ModelError
from tenfold.importers.onnx import import_onnx
from tests.importers.single import interpreted, same
from tests.importers.test_ml import Case, agree, expected, message, normal

Array = NDArray[Any]

MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
FEATURES = 4


class Grown:
    """Random trees as lists of nodes: (tree, node, feature, value, mode, true, false, missing)."""

    def __init__(self, trees: int, depth: int, modes: tuple[str, ...], seed: int = 0) -> None:
        self.dice = np.random.default_rng(seed)
        self.modes = modes
        self.rows: list[tuple[int, int, int, float, str, int, int, int]] = []
        self.leaves: list[tuple[int, int]] = []
        for tree in range(trees):
            self.count = itertools.count()
            self.grow(tree, depth)

    def grow(self, tree: int, depth: int) -> int:
        at, place = next(self.count), len(self.rows)
        if depth == 0 or (depth < 3 and self.dice.random() < 0.2):
            self.rows.append((tree, at, 0, 0.0, "LEAF", 0, 0, 0))
            self.leaves.append((tree, at))
            return at
        feature, mode = int(self.dice.integers(FEATURES)), str(self.dice.choice(self.modes))
        value, missing = float(self.dice.integers(-2, 3)) / 2, int(self.dice.integers(2))
        self.rows.append((tree, at, 0, 0.0, "", 0, 0, 0))
        true, false = self.grow(tree, depth - 1), self.grow(tree, depth - 1)
        self.rows[place] = (tree, at, feature, value, mode, true, false, missing)
        return at

    def nodes(self) -> dict[str, Any]:
        names = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
        columns = list(zip(*self.rows, strict=True))
        lists = {f"nodes_{name}": list(column) for name, column in zip(names, columns, strict=False)}
        return {**lists, "nodes_missing_value_tracks_true": list(columns[7])}

    def votes(self, name: str, targets: list[int], each: int = 1, positive: bool = False) -> dict[str, Any]:
        told = [self.dice.choice(targets, each, False) for _ in self.leaves]
        pairs = [(*leaf, int(target)) for leaf, chosen in zip(self.leaves, told, strict=True) for target in chosen]
        weights = self.dice.standard_normal(len(pairs))
        trees, nodes, ids = (list(column) for column in zip(*pairs, strict=True))
        kept = (np.abs(weights) if positive else weights).astype(np.float32).tolist()
        return {f"{name}_treeids": trees, f"{name}_nodeids": nodes, f"{name}_ids": ids, f"{name}_weights": kept}


def rows(count: int = 40, missing: bool = True) -> Array:
    """Features on and between the values that trees ask for."""
    dice = np.random.default_rng(11)
    x = (dice.integers(-5, 6, (count, FEATURES)) / 4).astype(np.float32)
    x[dice.random(x.shape) < (0.1 if missing else 0)] = np.nan
    return x


def regressor(
    modes: tuple[str, ...], targets: int, each: int, depth: int = 4, missing: bool = True, **more: Any
) -> Case:
    grown = Grown(7, depth, modes)
    votes = grown.votes("target", list(range(targets)), each)
    attributes = {**grown.nodes(), **votes, "n_targets": targets, **more}
    return Case("TreeEnsembleRegressor", (rows(missing=missing),), attributes, opset=3)


REGRESSORS = {
    **{mode: regressor((mode,), 1, 1) for mode in MODES[:4]},
    **{mode: regressor((mode,), 1, 1, missing=False) for mode in MODES[4:]},
    "mixed": regressor(MODES[:4], 3, 2),
    "one target of three": regressor(MODES[:2], 3, 1),
    "deep": regressor(("BRANCH_LEQ",), 1, 1, depth=9),
    "average": regressor(("BRANCH_LEQ",), 2, 2, aggregate_function="AVERAGE", base_values=[1.0, 2.0]),
    "least": regressor(("BRANCH_LEQ",), 2, 1, aggregate_function="MIN"),
    "most": regressor(("BRANCH_LEQ",), 2, 1, aggregate_function="MAX"),
    "base": regressor(("BRANCH_LEQ",), 1, 1, base_values=[0.5]),
}


@pytest.mark.parametrize("case", REGRESSORS.values(), ids=REGRESSORS)
def test_regressors(case: Case) -> None:
    agree(case)


def classifier(classes: int, targets: list[int], each: int, kind: str, positive: bool = False, **more: Any) -> Case:
    grown = Grown(7, 4, ("BRANCH_LEQ", "BRANCH_LT"))
    attributes = {
        **grown.nodes(),
        **grown.votes("class", targets, each, positive),
        "classlabels_int64s": list(range(classes)),
        "post_transform": kind,
        **more,
    }
    return Case("TreeEnsembleClassifier", (rows(),), attributes, outputs=2, opset=3)


CLASSIFIERS = {
    **{kind: classifier(3, [0, 1, 2], 3, kind) for kind in ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")},
    "base": classifier(3, [0, 1, 2], 3, "SOFTMAX", base_values=[0.5, -0.5, 1]),
    "one score": classifier(2, [0], 1, "LOGISTIC"),
    "one score raw": classifier(2, [0], 1, "NONE"),
    "one share": classifier(2, [0], 1, "NONE", positive=True),
    "one score with a base": classifier(2, [0], 1, "LOGISTIC", base_values=[0.3]),
    "the second score": classifier(2, [1], 1, "LOGISTIC"),
    "one class": classifier(1, [0], 1, "NONE"),
}


@pytest.mark.parametrize("case", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_classifiers(case: Case) -> None:
    agree(case)


def test_names_as_labels() -> None:
    case = classifier(2, [0, 1], 2, "SOFTMAX")
    numbers = interpreted(import_onnx(message(case)), {"x0": rows()})
    del case.attributes["classlabels_int64s"]
    case.attributes["classlabels_strings"] = ["no", "yes"]
    names = interpreted(import_onnx(message(case)), {"x0": rows()})
    assert names[0].tolist() == [["no", "yes"][number] for number in numbers[0]]
    same(names[1], numbers[1])


def ensemble(kind: Any, **more: Any) -> Case:
    """Two trees of version 5: a test for membership, and one for less or equal."""
    attributes: dict[str, Any] = {
        "tree_roots": [0, 2],
        "nodes_modes": helper.make_tensor("m", 2, [3], [6, 0, 1]),
        "nodes_featureids": [0, 1, 2],
        "nodes_splits": helper.make_tensor("s", kind, [3], [0.0, 0.25, 0.0]),
        "nodes_truenodeids": [0, 1, 3],
        "nodes_falsenodeids": [1, 2, 4],
        "nodes_trueleafs": [1, 1, 1],
        "nodes_falseleafs": [0, 1, 1],
        "leaf_targetids": [0, 1, 0, 1, 1],
        "leaf_weights": helper.make_tensor("w", kind, [5], [1.0, 10.0, 100.0, 0.5, 0.25]),
        "membership_values": helper.make_tensor("v", kind, [4], [0.5, -1.0, 1.25, np.nan]),
        "n_targets": 2,
        **more,
    }
    return Case("TreeEnsemble", (), attributes, opset=5)


@pytest.mark.parametrize(("number", "dtype"), [(1, np.float32), (11, np.float64), (10, np.float16)])
def test_version_5(number: int, dtype: Any) -> None:
    x = rows(missing=False).astype(dtype)
    case = ensemble(number)
    (found,) = interpreted(import_onnx(message(Case(case.kind, (x,), case.attributes, opset=5))), {"x0": x})
    member = np.isin(x[:, 0], [0.5, -1.0, 1.25])
    first = np.where(member, 1.0, np.where(x[:, 1] <= 0.25, 0.0, 100.0))
    second = np.where(~member & (x[:, 1] <= 0.25), 10.0, 0.0) + np.where(x[:, 2] < 0, 0.5, 0.25)
    same(found, np.stack([first, second], 1).astype(dtype))


def test_a_set_of_many() -> None:
    items = np.arange(50, dtype=np.float32) * 2
    values = helper.make_tensor("v", 1, [51], [*items, np.nan])
    case = ensemble(1, membership_values=values)
    x = np.stack([np.arange(100, dtype=np.float32)] * 3, 1)
    (found,) = interpreted(import_onnx(message(Case(case.kind, (x,), case.attributes, opset=5))), {"x0": x})
    assert (found[:, 0] == np.where(np.arange(100) % 2 == 0, 1, np.where(x[:, 1] <= 0.25, 0, 100))).all()


WRONG: dict[str, dict[str, Any]] = {
    "in a circle": {"nodes_falseleafs": [0, 0, 1], "nodes_falsenodeids": [1, 0, 4]},
    "a node that there is not": {"nodes_falsenodeids": [1, 2, 400]},
    "asks for feature": {"nodes_featureids": [0, 1, 9]},
    "2 features": {"nodes_featureids": [0, 1]},
    "sets for": {"membership_values": helper.make_tensor("v", 1, [4], [1, np.nan, 2, np.nan])},
    "each below 1": {"n_targets": 1},
}


@pytest.mark.parametrize("reason", WRONG)
def test_damaged(reason: str) -> None:
    case = ensemble(1, **WRONG[reason])
    with pytest.raises(ModelError, match=reason):
        import_onnx(message(Case(case.kind, (normal(3, 4),), case.attributes, opset=5)))


def chain(length: int) -> Case:
    """One tree in which every test but the last leads to a leaf or to the next test."""
    ids = list(range(2 * length + 1))
    attributes = {
        "nodes_treeids": [0] * len(ids),
        "nodes_nodeids": ids,
        "nodes_featureids": [0] * len(ids),
        "nodes_values": [float(node // 2) for node in ids],
        "nodes_modes": ["BRANCH_LT" if node % 2 == 0 and node < 2 * length else "LEAF" for node in ids],
        "nodes_truenodeids": [node + 1 for node in ids],
        "nodes_falsenodeids": [node + 2 for node in ids],
        "n_targets": 1,
        "target_treeids": [0] * (length + 1),
        "target_nodeids": [*range(1, 2 * length, 2), 2 * length],
        "target_ids": [0] * (length + 1),
        "target_weights": [float(leaf) for leaf in range(length + 1)],
    }
    x = np.stack([np.linspace(-1, length + 1, 50, dtype=np.float32)] * 4, 1)
    return Case("TreeEnsembleRegressor", (x,), attributes, opset=3)


@pytest.mark.parametrize("case", [REGRESSORS["mixed"], CLASSIFIERS["one score"], chain(60)], ids=str)
def test_trees_are_kernels(case: Case) -> None:
    engine = tenfold.build(message(case, sizes=False), effort=0)
    assert engine.report["host_steps"] == 0
    found = engine.run({"x0": case.arrays[0]})
    for ours, other in zip(found.values(), expected(case), strict=True):
        same(ours, other)
