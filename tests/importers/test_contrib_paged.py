"""PagedAttention of ONNX Runtime's domain, which only runs on GPUs there, beside its definition token by token."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import tenfold
from tenfold.errors import UnsupportedError
from tenfold.ir.op import Array
from tests.runtime.cuda.emulated import emulate

HEADS, SHARED, WIDTH, PAGE, PAGES, MOST = 4, 2, 8, 4, 7, 3
random = np.random.default_rng(8)
angles = np.arange(PAGE * MOST)[:, None] * 100.0 ** (-np.arange(WIDTH // 2) * 2 / WIDTH)
COS, SIN = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def model(**attributes: Any) -> Any:
    """One operator; the numbers of tokens and of sequences are open."""
    f32, i32 = TensorProto.FLOAT, TensorProto.INT32
    pool = [PAGES, PAGE, SHARED, WIDTH]
    inputs = [
        ("q", f32, ["tokens", HEADS * WIDTH]),
        *((name, f32, ["tokens", SHARED * WIDTH]) for name in ("k", "v")),
        *((name, f32, pool) for name in ("k_pool", "v_pool")),
        *(("starts", i32, ["ends"]), ("past", i32, ["batch"]), ("table", i32, ["batch", MOST])),
        *((name, f32, list(COS.shape)) for name in ("cos", "sin")),
    ]
    outputs = [("y", f32, ["tokens", HEADS * WIDTH]), ("k_pool_out", f32, pool), ("v_pool_out", f32, pool)]
    values = [[helper.make_tensor_value_info(*one) for one in side] for side in (inputs, outputs)]
    names = [[one[0] for one in side] for side in (inputs, outputs)]
    node = helper.make_node(
        "PagedAttention",
        *names,
        domain="com.microsoft",
        num_heads=HEADS,
        kv_num_heads=SHARED,
        do_rotary=1,
        **attributes,
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(helper.make_graph([node], "paged", *values), opset_imports=opsets)


def turned(x: Array, place: int) -> Array:
    a, b = x[..., : WIDTH // 2], x[..., WIDTH // 2 :]
    cos, sin = COS[place], SIN[place]
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], -1)


class Naive:
    """Keys and values of each sequence in lists."""

    def __init__(self, batch: int) -> None:
        self.keys: list[list[Array]] = [[] for _ in range(batch)]
        self.values: list[list[Array]] = [[] for _ in range(batch)]

    def step(self, q: Array, k: Array, v: Array, counts: list[int]) -> Array:
        found = []
        for token, sequence in enumerate(np.repeat(np.arange(len(counts)), counts)):
            keys, values = self.keys[sequence], self.values[sequence]
            place = len(keys)
            keys.append(np.repeat(turned(k[token].reshape(SHARED, WIDTH), place), HEADS // SHARED, 0))
            values.append(np.repeat(v[token].reshape(SHARED, WIDTH), HEADS // SHARED, 0))
            scores = np.einsum("hd,thd->ht", turned(q[token].reshape(HEADS, WIDTH), place), np.stack(keys)) / WIDTH**0.5
            weights = np.exp(scores - scores.max(1, keepdims=True))
            weights /= weights.sum(1, keepdims=True)
            found.append(np.einsum("ht,thd->hd", weights, np.stack(values)).reshape(-1))
        return np.stack(found)


@pytest.mark.parametrize("target", ["cpu", "cuda:sm_90"])
def test_prompts_and_steps_with_the_pool_as_state(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if target != "cpu":
        emulate(monkeypatch)
    pairs = {"k_pool": "k_pool_out", "v_pool": "v_pool_out"}
    engine = tenfold.build(model(), target=target, state=pairs, cache=False, effort=0)
    assert all(one.in_place for one in engine.plan.carried)
    context, naive, past = engine.context(), Naive(2), np.zeros(2, np.int32)
    table = np.array([[5, 0, 2], [3, 6, -1]], np.int32)
    for counts in ([3, 6], [1, 1], [1, 1], [2, 0]):
        drawn = [
            random.standard_normal((sum(counts), many * WIDTH)).astype(np.float32) for many in (HEADS, SHARED, SHARED)
        ]
        starts = np.cumsum([0, *counts]).astype(np.int32)
        found = context.run([*drawn, starts, past, table, COS, SIN])["y"]
        np.testing.assert_allclose(found, naive.step(*drawn, counts), atol=1e-5)
        past = past + np.array(counts, np.int32)


def test_what_is_not_built_is_named() -> None:
    with pytest.raises(UnsupportedError, match="local_window_size"):
        tenfold.build(model(local_window_size=4), cache=False, effort=0)
