"""Weights that are stored as one: each is refitted by itself, files do not grow, reports and taps name operators."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from onnx import ModelProto, helper

import tenfold
from tenfold import passes
from tenfold.compiler.retune import retune
from tenfold.rewrite.pipeline import Pipeline, Rewrite
from tenfold.runtime.engine import Engine, from_image
from tests.face import models

N, HEADS = 512, 8
Weights = dict[str, np.ndarray]
CASES = (("qkv", 5), ("", 600), ("qv", 5))
"""What has a bias, and rows: few, and enough for Strassen's products, whose factors lie beside the weights."""
X = {rows: np.random.default_rng(1).standard_normal((rows, N)).astype(np.float32) for _, rows in CASES}


def drawn(biased: str, seed: int = 0) -> Weights:
    """Matrices for queries, keys and values, and rows for those that have a bias."""
    random = np.random.default_rng(seed)
    weights: Weights = {name: random.standard_normal((N, N)).astype(np.float32) / 32 for name in "qkv"}
    return weights | {f"{name}.bias": random.standard_normal(N).astype(np.float32) for name in biased}


def attention(weights: Weights, rows: int) -> ModelProto:
    """Attention over queries, keys and values of one tensor; the matrix of the keys lies transposed."""
    fixed = {"split": np.array([rows, HEADS, N // HEADS], np.int64), "whole": np.array([rows, N], np.int64)}
    nodes = [helper.make_node("Transpose", ["k"], ["k.t"], perm=[1, 0], name="turn")]
    for name in "qkv":
        matrix, end = "k.t" if name == "k" else name, f"{name}.product"
        nodes.append(helper.make_node("MatMul", ["x", matrix], [end], name=f"to.{name}"))
        if f"{name}.bias" in weights:
            nodes.append(helper.make_node("Add", [end, f"{name}.bias"], [f"{name}.sum"], name=f"add.{name}"))
            end = f"{name}.sum"
        nodes.append(helper.make_node("Reshape", [end, "split"], [f"{name}.split"], name=f"split.{name}"))
        order = [1, 2, 0] if name == "k" else [1, 0, 2]
        nodes.append(helper.make_node("Transpose", [f"{name}.split"], [f"{name}.heads"], perm=order, name=f"h.{name}"))
    nodes += [
        helper.make_node("MatMul", ["q.heads", "k.heads"], ["scores"], name="scores"),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=-1, name="softmax"),
        helper.make_node("MatMul", ["shares", "v.heads"], ["mixed"], name="mix"),
        helper.make_node("Transpose", ["mixed"], ["back"], perm=[1, 0, 2], name="back"),
        helper.make_node("Reshape", ["back", "whole"], ["y"], name="join"),
    ]
    ends = [models.floats("x", rows, N)], [models.floats("y", rows, N)]
    return models.model(nodes, *ends, weights | fixed)


def built(weights: Weights, rows: int) -> Engine:
    return tenfold.build(attention(weights, rows), effort=0, cache=False)


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> tuple[Engine, Weights, int]:
    biased, rows = request.param
    weights = drawn(biased)
    return built(weights, rows), weights, rows


def products(engine: Engine) -> list[tuple[str, ...]]:
    """The operators that the regions of products stand for."""
    return [tuple(one["source"]) for one in engine.report["regions"] if one["kind"].startswith("MatMul")]


def test_each_weight_by_itself(case: tuple[Engine, Weights, int]) -> None:
    engine, weights, rows = case
    others = drawn("qkv", seed=7)
    for names in ({"k"}, {"q", "v", "q.bias"} & weights.keys(), weights.keys()):
        given = {name: others[name] for name in names}
        refitted = engine.refit(given)
        fresh = built(weights | given, rows)
        np.testing.assert_array_equal(refitted.file.section("weights"), fresh.file.section("weights"))
        np.testing.assert_array_equal(refitted(X[rows]), fresh(X[rows]))
    np.testing.assert_array_equal(engine.refit({"q": others["q"]}).refit({"k": others["k"]})(X[rows]),
                                  engine.refit({"q": others["q"], "k": others["k"]})(X[rows]))  # fmt: skip


@pytest.mark.parametrize("biased", ["qkv", "qv"])
def test_files_do_not_grow(biased: str) -> None:
    engine = built(drawn(biased), 5)
    with patch.object(passes, "CPU", Pipeline(Rewrite("lines", passes.BY_LINES))):
        apart = built(drawn(biased), 5)
    assert len(products(engine)) < len(products(apart))
    assert engine.file.section("weights").nbytes <= apart.file.section("weights").nbytes
    np.testing.assert_array_equal(engine(X[5]), apart(X[5]))


def test_the_same_bytes_again(case: tuple[Engine, Weights, int]) -> None:
    engine, weights, rows = case
    np.testing.assert_array_equal(built(weights, rows).file.image, engine.file.image)


def test_a_tuned_engine_is_refitted_alike(case: tuple[Engine, Weights, int]) -> None:
    engine, _, rows = case
    given = {"k": drawn("", seed=7)["k"]}
    refitted = engine.refit(given)
    tuned = from_image(retune(refitted.file, 0, cache=False), "tuned")
    np.testing.assert_array_equal(tuned(X[rows]), refitted(X[rows]))
    again = from_image(retune(engine.file, 0, cache=False), "again").refit(given)
    np.testing.assert_array_equal(again(X[rows]), refitted(X[rows]))


def test_what_reports_and_taps_say(case: tuple[Engine, Weights, int]) -> None:
    engine, weights, rows = case
    joined = max(products(engine), key=len)
    assert {f"to.{name}" for name in ("qkv" if len(weights) != 5 else "qv")} <= set(joined)
    x = X[rows]
    for name in "qkv":
        matrix = weights[name].T if name == "k" else weights[name]
        exact = x @ matrix + weights.get(f"{name}.bias", np.float32(0))
        tap = f"{name}.sum" if f"{name}.bias" in weights else f"{name}.product"
        np.testing.assert_allclose(engine.tap({"x": x}, [tap])[tap], exact, rtol=1e-3, atol=1e-4)


def test_weights_of_equal_content_are_told_apart() -> None:
    same = drawn("")["q"]
    weights, given = dict.fromkeys("qkv", same), {"k": 2 * same}
    np.testing.assert_array_equal(built(weights, 5).refit(given)(X[5]), built(weights | given, 5)(X[5]))


def test_branches_of_an_image() -> None:
    random = np.random.default_rng(0)
    weights = {f"w{n}": random.standard_normal((n, 16, 1, 1)).astype(np.float32) for n in (24, 32)}
    weights |= {f"b{n}": random.standard_normal(n).astype(np.float32) for n in (24, 32)}
    weights |= {f"v{n}": random.standard_normal((8, n, 3, 3)).astype(np.float32) / 16 for n in (24, 32)}
    nodes = []
    for n in (24, 32):
        nodes.append(helper.make_node("Conv", ["x", f"w{n}", f"b{n}"], [f"a{n}"], name=f"reduce{n}"))
        nodes.append(helper.make_node("Relu", [f"a{n}"], [f"r{n}"], name=f"relu{n}"))
        nodes.append(helper.make_node("Conv", [f"r{n}", f"v{n}"], [f"y{n}"], pads=[1, 1, 1, 1], name=f"wide{n}"))
    nodes.append(helper.make_node("Concat", ["y24", "y32"], ["y"], axis=1, name="block"))
    ends = [models.floats("x", 1, 16, 9, 7)], [models.floats("y", 1, 16, 9, 7)]

    def made(weights: Weights) -> Engine:
        return tenfold.build(models.model(nodes, *ends, weights), effort=0, cache=False)

    engine, x = made(weights), random.standard_normal((1, 16, 9, 7)).astype(np.float32)
    convolutions = [set(one["source"]) for one in engine.report["regions"] if one["kind"].startswith("Conv")]
    assert len(convolutions) == 3 and {"reduce24", "reduce32"} <= convolutions[0]
    for given in ({"w24": weights["w24"] * 2}, {"b32": weights["b32"] * 2}):
        np.testing.assert_array_equal(engine.refit(given)(x), made(weights | given)(x))
    exact = np.maximum(np.einsum("nchw,oc->nohw", x, weights["w24"][:, :, 0, 0]) + weights["b24"][:, None, None], 0)
    np.testing.assert_allclose(engine.tap({"x": x}, ["r24"])["r24"], exact, rtol=1e-4, atol=1e-4)
