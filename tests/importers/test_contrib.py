"""Operators of ONNX Runtime's own domain against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tenfold.errors import UnsupportedError
from tenfold.importers.onnx import import_onnx
from tenfold.ir.interpret import Interpreter
from tests.importers.test_nn import BYTES, Case, Weight, check, number, ours, theirs, w
from tests.ops.oracle import Array, close, random

MICROSOFT = "com.microsoft"


def case(kind: str, inputs: list[Any], attributes: dict[str, Any] | None = None, **settings: Any) -> Case:
    return Case(kind, inputs, attributes or {}, domain=MICROSOFT, **settings)


def whole(*numbers: int, dtype: type = np.int32) -> Array:
    return np.array(numbers, dtype)


def grouped(steps: int, past: int, lengths: list[int], total: int, extra: dict[int, Any], **attributes: Any) -> Case:
    """Two batches, four heads of queries and two of keys, 16 numbers each; `extra` by input."""
    inputs: list[Any] = [random(2, steps, 64), random(2, steps, 32, seed=1), random(2, steps, 32, seed=2)]
    inputs += [random(2, 2, past, 16, seed=3), random(2, 2, past, 16, seed=4)] if past else [None, None]
    inputs += [whole(*lengths), Weight(np.array(total, np.int32))]
    for index in range(7, 1 + max(extra, default=6)):
        inputs.append(extra.get(index))
    settings = {"num_heads": 4, "kv_num_heads": 2, **attributes}
    return case("GroupQueryAttention", inputs, settings, outputs=3)


TURNS = {7: w(16, 8), 8: w(16, 8, seed=2)}
PACKED = np.random.default_rng(0).integers(0, 256, (6, 3, 8), dtype=np.uint8)
LEVELS = np.random.default_rng(1).integers(0, 256, (6, 2), dtype=np.uint8)
MASK = whole(4, 6, 1, 0)
QUANTIZED = [BYTES, number(0.1), number(3, np.uint8)]
RESULT = [number(0.9), number(1, np.uint8)]
SHORTS = whole(1, -2, 300, 4, 5, 6000, dtype=np.int16).reshape(2, 3)
SQUARE = {"mode": "bilinear", "padding_mode": "border"}
TABLE = np.random.default_rng(2).integers(0, 256, (5, 16), dtype=np.uint8)

GROUPED = [
    grouped(5, 0, [4, 4], 5, {}),
    grouped(5, 0, [4, 2], 5, TURNS, do_rotary=1),
    grouped(1, 4, [4, 4], 5, TURNS, do_rotary=1, rotary_interleaved=1),
    grouped(1, 4, [4, 2], 5, TURNS, do_rotary=1),
    grouped(1, 8, [4, 2], 5, TURNS, do_rotary=1),
    grouped(6, 0, [5, 5], 6, {}, local_window_size=2, softcap=3.0),
    grouped(1, 7, [7, 5], 8, {}, local_window_size=3),
    grouped(4, 0, [3, 3], 4, {}, smooth_softmax=1),
    grouped(4, 0, [3, 3], 4, {11: random(4, seed=9)}),
    grouped(4, 0, [3, 3], 4, {10: random(2, 4, 4, 4, seed=9)}),
]

CASES = [
    case("Attention", [random(2, 6, 8), w(8, 24), w(24), whole(4, 6)], {"num_heads": 2}),
    case("Attention", [random(2, 6, 8), w(8, 24), w(24), MASK], {"num_heads": 2}),
    case("FusedMatMul", [random(2, 3, 4), w(3, 4, 5)], {"transBatchA": 1}),
    case("FusedMatMul", [random(2, 3, 4), w(3, 2, 5)], {"transBatchA": 1, "transA": 1}),
    case(
        "MultiHeadAttention",
        [*(random(2, 6, 8, seed=at) for at in range(3)), None, whole(3, 6), random(1, 2, 6, 6, seed=4)],
        {"num_heads": 2},
    ),
    case("MatMulNBits", [random(2, 4, 40), Weight(PACKED), w(6, 3)], {"K": 40, "N": 6, "bits": 4, "block_size": 16}),
    case(
        "MatMulNBits",
        [random(4, 48), Weight(PACKED), w(6, 3), Weight(LEVELS), None, w(6)],
        {"K": 48, "N": 6, "bits": 4, "block_size": 16},
    ),
    case(
        "MatMulNBits",
        [random(4, 48), Weight(np.concatenate([PACKED, PACKED], 2)), w(6, 3)],
        {"K": 48, "N": 6, "bits": 8, "block_size": 16},
    ),
    case("MatMulNBits", [random(3, 48), PACKED, random(6, 3)], {"K": 48, "N": 6, "bits": 4, "block_size": 16}),
    case("QLinearSoftmax", [*QUANTIZED, number(1 / 256), number(0, np.uint8)], {"axis": -1, "opset": 13}),
    case("QLinearSoftmax", [*QUANTIZED, number(1 / 256), number(0, np.uint8)], {"axis": 2, "opset": 11}),
    case("NhwcMaxPool", [np.moveaxis(BYTES, 1, -1).copy()], {"kernel_shape": [3, 3], "strides": [2, 1]}),
    case(
        "QLinearConv",
        [*QUANTIZED, Weight(BYTES[:, :, :2, :2].copy()), number(0.02), number(7, np.uint8), *RESULT],
    ),
    case(
        "QLinearWhere",
        [BYTES > 100, *QUANTIZED, np.roll(BYTES, 1), number(0.2), number(9, np.uint8), *RESULT],
    ),
    case(
        "QGemm",
        [BYTES[0, 0], number(0.1), number(3, np.uint8), Weight(BYTES[0, 1]), number(0.2), number(4, np.uint8)],
        {"transB": 1, "alpha": 0.5},
    ),
    case(
        "QAttention",
        [BYTES[0, :2, :, :8].copy() if BYTES.shape[3] >= 8 else np.tile(BYTES[0, :2], (1, 1, 8))[:, :, :8].copy(),
         Weight(np.tile(BYTES[0, 0], (8, 24))[:8, :24].copy()), w(24), number(0.02), number(0.01), None,
         number(3, np.uint8), number(120, np.uint8)],
        {"num_heads": 2},
        tolerance=1e-3,
    ),
    case("QuantizeLinear", [random(3, 4), number(0.1), number(7, np.uint16)]),
    case("DequantizeLinear", [whole(1, 2, 300, dtype=np.uint16), number(0.1), number(7, np.uint16)]),
    case("MatMulInteger16", [SHORTS, SHORTS.T.copy()]),
    case("GatherBlockQuantized", [Weight(TABLE), whole(3, 0, 4), w(5, 2)], {"block_size": 16, "bits": 4}),
    case(
        "GatherBlockQuantized",
        [Weight(TABLE), whole(3, 0, 4), w(5, 2), Weight(np.array([[1], [32], [53], [7], [200]], np.uint8))],
        {"block_size": 16, "bits": 4},
    ),
    case("TransposeMatMul", [random(4, 3), w(4, 5)], {"transA": 1}),
    case("ExpandDims", [random(2, 3), Weight(np.array(-1, np.int32))]),
    case("Range", [number(2.0), number(9.0)]),
    case("Range", [Weight(whole(2)), Weight(whole(9)), Weight(whole(3))]),
    case("GatherND", [random(3, 4), np.array([[0, 1], [2, 3]], np.int32)]),
    case("Pad", [random(2, 3), Weight(np.array([[1, 0, 0, 2]], np.int64)), number(0.5)]),
    case("Trilu", [random(4, 5), Weight(np.array(1, np.int64))], {"upper": 0}),
    case("Unique", [np.array([2, 1, 1, 3, 4, 3], np.float32)], outputs=3),
    case("GridSample", [random(1, 2, 4, 4), random(1, 3, 3, 2, seed=3)], SQUARE),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_onnx_runtime(case: Case) -> None:
    check(case, symbolic=False)


@pytest.mark.parametrize("case", GROUPED, ids=str)
def test_shared_heads_of_keys(case: Case) -> None:
    """What lies behind the lengths of a batch is unspecified."""
    lengths, steps = case.arrays()["x5"] + 1, case.arrays()["x0"].shape[1]
    for at, (one, other) in enumerate(zip(ours(case, symbolic=False), theirs(case), strict=True)):
        for batch, length in enumerate(lengths):
            kept = np.s_[batch, : min(length, steps)] if at == 0 else np.s_[batch, :, :length]
            close(one[kept], other[kept], 1e-5)


def test_what_has_no_kernel_there() -> None:
    x, scale, bias, skip = random(2, 3, 5, 4), random(4, seed=1), random(4, seed=2), random(2, 4, seed=3)
    settings = {"groups": 2, "activation": 1}
    model = case("SkipGroupNorm", [x, scale, bias, skip, random(4, seed=5)], settings, outputs=2).model(symbolic=False)
    feeds = {"x0": x, "x1": scale, "x2": bias, "x3": skip, "x4": random(4, seed=5)}
    from_ours = interpret(model, feeds)
    total = x + skip[:, None, None] + feeds["x4"]
    parts = total.reshape(2, 15, 2, 2)
    mean, variance = parts.mean((1, 3), keepdims=True), parts.var((1, 3), keepdims=True)
    normal = ((parts - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape) * scale + bias
    np.testing.assert_allclose(from_ours[1], total, rtol=1e-6)
    np.testing.assert_allclose(from_ours[0], normal / (1 + np.exp(-normal)), atol=1e-5)


def test_packed_heads() -> None:
    parts = [random(2, 6, 2, 4, seed=at) for at in range(3)]
    flat = [one.reshape(2, 6, 8) for one in parts]
    apart = interpret(case("MultiHeadAttention", flat, {"num_heads": 2}).model(symbolic=False), named(*flat))
    for inputs in ([np.stack(parts, 3)], [flat[0], np.stack(parts[1:], 3)]):
        together = case("MultiHeadAttention", inputs, {"num_heads": 2}).model(symbolic=False)
        np.testing.assert_array_equal(interpret(together, named(*inputs))[0], apart[0])


def named(*arrays: Array) -> dict[str, Array]:
    return {f"x{at}": array for at, array in enumerate(arrays)}


def interpret(model: Any, feeds: dict[str, Array]) -> list[Array]:
    return list(Interpreter().run(import_onnx(model), feeds).values())


@pytest.mark.parametrize("attribute", [{"sliding_window_cache": 1}, {"k_quant_type": "PER_TENSOR"}])
def test_refusals(attribute: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match=next(iter(attribute))):
        import_onnx(grouped(5, 0, [4, 4], 5, {}, **attribute).model(symbolic=False))
