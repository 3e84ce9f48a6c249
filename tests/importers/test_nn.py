"""Neural-network operators through the importer and the interpreter, against ONNX Runtime.

Each case is one operator on arrays; those marked `Weight` are constants of the model, the others inputs with all
sizes symbolic, so that what the converters do with symbols is what is run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from tenfold.errors import ModelError
from tenfold.importers.onnx import import_onnx
from tenfold.ir.interpret import Interpreter
from tests.ops.oracle import Array, close, random


@dataclass(frozen=True, eq=False)
class Weight:
    array: Array


@dataclass(frozen=True, eq=False)
class Case:
    kind: str
    inputs: Sequence[Array | Weight | None]
    attributes: dict[str, Any] = field(default_factory=dict)
    opset: int = 21
    outputs: int = 1
    domain: str = ""
    tolerance: float = 1e-5

    def __str__(self) -> str:
        shown = ",".join(f"{name}={value}" for name, value in self.attributes.items())
        return f"{self.kind}-{self.opset}({shown})"

    def arrays(self) -> dict[str, Array]:
        return {f"x{at}": one for at, one in enumerate(self.inputs) if isinstance(one, np.ndarray)}

    def model(self, *, symbolic: bool = True) -> onnx.ModelProto:
        names = [f"x{at}" if one is not None else "" for at, one in enumerate(self.inputs)]
        results = [f"y{at}" for at in range(self.outputs)]
        node = helper.make_node(self.kind, names, results, domain=self.domain, **self.attributes)
        inputs = []
        for name, array in self.arrays().items():
            shape = [f"{name}_{axis}" if size > 1 else size for axis, size in enumerate(array.shape)]
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            inputs.append(helper.make_tensor_value_info(name, kind, shape if symbolic else array.shape))
        weights = [
            numpy_helper.from_array(one.array, f"x{at}")
            for at, one in enumerate(self.inputs)
            if isinstance(one, Weight)
        ]
        graph = helper.make_graph([node], "one", inputs, [onnx.ValueInfoProto(name=name) for name in results], weights)
        opsets = [helper.make_opsetid("", self.opset), *([helper.make_opsetid(self.domain, 1)] if self.domain else [])]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def theirs(case: Case) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    model = case.model(symbolic=False).SerializeToString()
    found: list[Array] = onnxruntime.InferenceSession(model, options).run(None, case.arrays())
    return found


def ours(case: Case, *, symbolic: bool = True) -> list[Array]:
    graph = import_onnx(case.model(symbolic=symbolic))
    graph.verify()
    return list(Interpreter().run(graph, case.arrays()).values())


def check(case: Case, *, symbolic: bool) -> None:
    for one, other in zip(ours(case, symbolic=symbolic), theirs(case), strict=True):
        close(one, other, case.tolerance)


X, IMAGE = random(3, 4, 5), random(2, 3, 9, 8)


def w(*shape: int, seed: int = 1) -> Weight:
    return Weight(random(*shape, seed=seed))


def whole(*values: int) -> Weight:
    return Weight(np.array(values, np.int64))


def number(value: float, dtype: Any = np.float32) -> Weight:
    return Weight(np.array(value, dtype))


WINDOWS = [
    Case("Conv", [IMAGE, w(4, 3, 3, 3), w(4, seed=2)], {"pads": [1, 1, 1, 1], "strides": [2, 1]}),
    Case("Conv", [IMAGE, w(4, 3, 3, 2)], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    Case("Conv", [IMAGE, w(4, 3, 3, 2)], {"auto_pad": "SAME_LOWER", "strides": [2, 3]}),
    Case("Conv", [IMAGE, w(4, 3, 3, 2)], {"auto_pad": "VALID", "kernel_shape": [3, 2]}),
    Case("Conv", [IMAGE, w(6, 1, 3, 3)], {"group": 3, "dilations": [2, 2]}),
    Case("Conv", [X, w(2, 4, 3)], {"pads": [2, 0]}),
    Case("ConvTranspose", [IMAGE, w(3, 4, 3, 3), w(4, seed=2)], {"strides": [2, 2], "pads": [1, 0, 1, 1]}),
    Case("ConvTranspose", [IMAGE, w(3, 4, 3, 3)], {"strides": [2, 2], "output_padding": [1, 1]}),
    Case("ConvTranspose", [IMAGE, w(3, 4, 3, 3)], {"strides": [3, 2], "output_shape": [28, 17]}),
    Case("ConvTranspose", [IMAGE, w(3, 4, 3, 3)], {"strides": [3, 2], "auto_pad": "SAME_UPPER"}),
    Case("ConvTranspose", [IMAGE, w(3, 4, 4, 3)], {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    Case("MaxPool", [IMAGE], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, outputs=2),
    Case("MaxPool", [IMAGE], {"kernel_shape": [3, 2], "strides": [2, 3], "ceil_mode": 1}),
    Case("MaxPool", [IMAGE], {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER", "strides": [2, 3]}),
    Case("AveragePool", [IMAGE], {"kernel_shape": [3, 3], "pads": [1, 1, 0, 1], "count_include_pad": 1}),
    Case("AveragePool", [IMAGE], {"kernel_shape": [3, 3], "auto_pad": "SAME_LOWER", "strides": [2, 2]}, opset=11),
    Case("LpPool", [IMAGE], {"kernel_shape": [2, 3], "p": 3}, opset=18),
    Case("GlobalAveragePool", [IMAGE]),
    Case("GlobalMaxPool", [IMAGE]),
    Case("GlobalLpPool", [IMAGE], {"p": 2}),
    Case("GlobalLpPool", [IMAGE], {"p": 3}),
    Case(
        "MaxUnpool",
        [random(1, 1, 2, 2), Weight(np.array([[[[5, 7], [13, 15]]]], np.int64))],
        {"kernel_shape": [2, 2], "strides": [2, 2]},
    ),
]

BIASES = (w(3), w(3, seed=2), w(3, seed=3), Weight(np.array([0.3, 0.8, 1.4], np.float32)))
LAYERS = [
    Case("MatMul", [X, w(5, 6)]),
    Case("Gemm", [random(4, 3), w(5, 4), w(5, seed=2)], {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}),
    Case("Gemm", [random(4, 3), w(3, 5)]),
    Case("Gemm", [random(4, 3), w(3, 5), number(1.5)], opset=7),
    Case("BatchNormalization", [IMAGE, *BIASES], {"epsilon": 1e-3}),
    Case("BatchNormalization", [IMAGE, *BIASES], opset=9),
    Case("BatchNormalization", [IMAGE, *(one.array for one in BIASES)], opset=15),
    Case("InstanceNormalization", [IMAGE[:, :, :4], w(3), w(3, seed=2)]),
    Case("GroupNormalization", [random(2, 6, 4, 5), w(6), w(6, seed=2)], {"num_groups": 3}),
    Case("GroupNormalization", [random(2, 6, 4, 5), w(3), w(3, seed=2)], {"num_groups": 3}, opset=18),
    Case("LayerNormalization", [X, w(5), w(5, seed=2)], outputs=3),
    Case("LayerNormalization", [X, w(4, 5)], {"axis": 1, "epsilon": 1e-2}),
    Case("LRN", [IMAGE], {"size": 3, "alpha": 0.1}),
    Case("LpNormalization", [X], {"axis": 1, "p": 1}),
    Case("MeanVarianceNormalization", [IMAGE]),
    Case("Softmax", [X]),
    Case("Softmax", [X], {"axis": 1}),
    Case("Softmax", [X], opset=11),
    Case("Softmax", [X], {"axis": 2}, opset=11),
    Case("LogSoftmax", [X], {"axis": 0}),
    Case("LogSoftmax", [X], opset=11),
    Case("Hardmax", [X], {"axis": 1}),
    Case("Hardmax", [np.round(X)], opset=11),
    Case("Dropout", [X], outputs=2),
    Case("Dropout", [X], opset=7),
    Case("Clip", [X, number(-0.5), number(0.5)]),
    Case("Clip", [X, None, number(0.5)]),
    Case("Clip", [X, number(0.5)]),
    Case("Clip", [X], {"min": -0.5, "max": 0.25}, opset=6),
    Case("PRelu", [X, w(5)]),
    Case("LeakyRelu", [X], {"alpha": 0.3}),
    Case("Gelu", [X], {"approximate": "tanh"}),
    Case("Selu", [X], opset=6),
    Case("Einsum", [X, w(5, 6)], {"equation": "bij, jk -> bik"}),
    Case("Einsum", [X, random(3, 6, 4, seed=1)], {"equation": "bij,bki->bkj"}),
    Case("Einsum", [X], {"equation": "...i->i..."}),
    Case("Einsum", [X], {"equation": "bij->"}),
    Case("Einsum", [Weight(X[0, :4, :4])], {"equation": "ii->i"}),
    Case("Einsum", [random(2, 3, 4), random(1, 4, 5, seed=1)], {"equation": "...ij,...jk"}),
    Case("Einsum", [random(4), random(5, seed=1)], {"equation": "i,j->ij"}),
    Case("Einsum", [X, random(3, 4, seed=1), random(3, seed=2)], {"equation": "bij,bi,b->bj"}),
]

LENGTHS = np.array([4, 2], np.int32)


def cell(kind: str, gates: int, ways: int, **attributes: Any) -> Case:
    inputs = [
        random(5, 2, 3) if not attributes.get("layout") else random(2, 5, 3),
        w(ways, gates * 6, 3),
        w(ways, gates * 6, 6, seed=2),
        w(ways, 2 * gates * 6, seed=3),
    ]
    return Case(kind, inputs, {"hidden_size": 6, **attributes}, opset=14, outputs=3 if kind == "LSTM" else 2)


def longer(case: Case, *more: Any) -> Case:
    return Case(case.kind, [*case.inputs, *more], case.attributes, case.opset, case.outputs)


RECURRENT = [
    cell("LSTM", 4, 1),
    cell("LSTM", 4, 1, direction="reverse", clip=0.4),
    cell("LSTM", 4, 2, direction="bidirectional"),
    longer(
        cell("LSTM", 4, 2, direction="bidirectional"),
        LENGTHS,
        random(2, 2, 6, seed=5),
        random(2, 2, 6, seed=6),
        w(2, 18),
    ),
    longer(cell("LSTM", 4, 1), None, random(1, 2, 6, seed=5), random(1, 2, 6, seed=6)),
    cell("GRU", 3, 1, linear_before_reset=1),
    longer(cell("GRU", 3, 2, direction="bidirectional"), LENGTHS, random(2, 2, 6, seed=5)),
    cell("RNN", 1, 2, direction="bidirectional", activations=["Relu", "Tanh"]),
    Case("LSTM", [random(5, 2, 3), w(1, 24, 3), w(1, 24, 6)], {"hidden_size": 6}, opset=7, outputs=3),
]

FOUR = [1.0, 1.0, 2.0, 3.0]
EMPTY = Weight(np.zeros(0, np.float32))
IMAGES = [
    Case("Resize", [IMAGE, None, Weight(np.array(FOUR, np.float32))]),
    Case("Resize", [IMAGE, None, Weight(np.array(FOUR, np.float32))], {"mode": "linear"}),
    Case("Resize", [IMAGE, None, Weight(np.array([1, 1, 0.7, 1.3], np.float32))], {"mode": "cubic"}, tolerance=1e-4),
    Case("Resize", [IMAGE, None, None, whole(2, 3, 12, 5)], {"mode": "linear"}),
    Case("Resize", [IMAGE, None, None, whole(12, 5)], {"mode": "nearest", "axes": [2, 3]}),
    Case(
        "Resize",
        [IMAGE, EMPTY, Weight(np.array(FOUR, np.float32))],
        {"coordinate_transformation_mode": "asymmetric"},
        opset=11,
    ),
    Case("Resize", [IMAGE, Weight(np.array(FOUR, np.float32))], opset=10),
    Case("Upsample", [IMAGE, Weight(np.array(FOUR, np.float32))], opset=9),
    Case("Upsample", [IMAGE], {"scales": FOUR}, opset=7),
    Case("GridSample", [IMAGE, (random(2, 4, 5, 2, seed=1) * 0.8)], {"padding_mode": "border"}),
    Case("GridSample", [IMAGE, (random(2, 4, 5, 2, seed=1) * 0.8)], {"mode": "bicubic"}, opset=16),
]

BYTES = np.random.default_rng(0).integers(0, 255, (2, 3, 9, 8)).astype(np.uint8)
SMALL = np.random.default_rng(1).integers(-128, 127, (4, 3, 3, 3)).astype(np.int8)
ZEROS = Weight(np.array([1, -2, 3, 4], np.int8))
SCALED = (BYTES, number(0.02), number(9, np.uint8))
SCALED_ROWS = (BYTES[0, 0], *SCALED[1:])
RESULT = (number(0.1), number(100, np.uint8))
FACTORS = Weight(np.array([0.01, 0.02, 0.005, 0.03], np.float32))
QUANTIZED = [
    Case("QuantizeLinear", [X * 30, number(0.4), number(7, np.uint8)]),
    Case("QuantizeLinear", [X * 30, number(0.4)], opset=13),
    Case("QuantizeLinear", [X * 30, Weight(np.array([0.4, 0.3, 0.2, 0.1], np.float32)), ZEROS], {"axis": 1}),
    Case("DequantizeLinear", [BYTES, number(0.4), number(7, np.uint8)]),
    Case("DequantizeLinear", [Weight(SMALL), Weight(np.array([0.4, 0.3, 0.2, 0.1], np.float32)), ZEROS], {"axis": 0}),
    Case("DynamicQuantizeLinear", [X], outputs=3),
    Case("DynamicQuantizeLinear", [np.abs(X)], outputs=3),
    Case("DynamicQuantizeLinear", [X * 0], outputs=3),
    Case("MatMulInteger", [BYTES[0, 0], Weight(BYTES[0, 1].T.copy()), number(3, np.uint8), number(9, np.uint8)]),
    Case("MatMulInteger", [BYTES[0, 0], Weight(SMALL.reshape(4, -1).T[:8].copy()), number(3, np.uint8)]),
    Case("ConvInteger", [BYTES, Weight(SMALL.astype(np.uint8)), number(5, np.uint8)], {"pads": [1, 1, 1, 1]}),
    Case(
        "QLinearConv",
        [
            *SCALED,
            Weight(SMALL),
            number(0.01),
            number(0, np.int8),
            *RESULT,
            Weight(np.array([5, -900, 30, 4], np.int32)),
        ],
        {"strides": [2, 2]},
    ),
    Case(
        "QLinearConv",
        [*SCALED, Weight(SMALL), FACTORS, Weight(np.zeros(4, np.int8)), *RESULT],
        {"pads": [1, 1, 1, 1]},
    ),
    Case(
        "QLinearMatMul",
        [*SCALED_ROWS, Weight(BYTES[0, 1].T.copy()), number(0.01), number(3, np.uint8), *RESULT],
    ),
]

SEQUENCE = random(2, 6, 8)
HEADS = {"num_heads": 2}
CONTRIB = [
    Case("Gelu", [X], domain="com.microsoft"),
    Case("BiasGelu", [X, w(5)], domain="com.microsoft"),
    Case("FastGelu", [X, w(5)], domain="com.microsoft"),
    Case("QuickGelu", [X], domain="com.microsoft"),
    Case("FusedMatMul", [X, w(6, 5)], {"transB": 1, "alpha": 0.5}, domain="com.microsoft"),
    Case("FusedConv", [IMAGE, w(4, 3, 3, 3), w(4, seed=2)], {"activation": "Relu"}, domain="com.microsoft"),
    Case("SkipLayerNormalization", [SEQUENCE, random(2, 6, 8, seed=4), w(8), w(8, seed=2)], domain="com.microsoft"),
    Case("SkipSimplifiedLayerNormalization", [SEQUENCE, random(2, 6, 8, seed=4), w(8)], domain="com.microsoft"),
    Case("Attention", [SEQUENCE, w(8, 24), w(24)], HEADS, domain="com.microsoft"),
    Case("Attention", [SEQUENCE, w(8, 24), w(24)], {**HEADS, "unidirectional": 1}, domain="com.microsoft"),
    Case(
        "Attention",
        [SEQUENCE, w(8, 24), w(24), np.array([[1] * 6, [1, 1, 0, 0, 0, 0]], np.int32)],
        HEADS,
        domain="com.microsoft",
    ),
    Case(
        "MultiHeadAttention",
        [SEQUENCE, random(2, 5, 8, seed=1), random(2, 5, 8, seed=2), w(24)],
        HEADS,
        domain="com.microsoft",
    ),
    Case(
        "DynamicQuantizeMatMul",
        [X, Weight(SMALL.reshape(-1)[:30].reshape(5, 6).copy()), number(0.02)],
        domain="com.microsoft",
    ),
    Case(
        "QLinearAdd",
        [
            BYTES,
            number(0.1),
            number(3, np.uint8),
            Weight(BYTES[:, :, :1]),
            number(0.2),
            number(5, np.uint8),
            number(0.3),
            number(7, np.uint8),
        ],
        domain="com.microsoft",
    ),
    Case(
        "QLinearGlobalAveragePool",
        [BYTES, number(0.1), number(3, np.uint8), number(0.05), number(7, np.uint8)],
        domain="com.microsoft",
    ),
]

MICROSOFT = "com.microsoft"
PAST = random(2, 2, 2, 3, 4, seed=5)
OTHER = np.roll(BYTES, 3)
TURNS = [w(16, 4), w(16, 4, seed=2)]
WEIGHTS = Weight(np.random.default_rng(5).integers(-128, 127, (2, 3, 24)).astype(np.int8))
LOOPS = Weight(np.random.default_rng(6).integers(-128, 127, (2, 6, 24)).astype(np.int8))
SCALES, NONE = Weight(np.array([0.01, 0.02], np.float32)), Weight(np.array([3, -2], np.int8))
CONTRIB += [
    Case(
        "Attention",
        [SEQUENCE, w(8, 24), w(24), None, PAST],
        {**HEADS, "unidirectional": 1},
        outputs=2,
        domain=MICROSOFT,
    ),
    Case(
        "MultiHeadAttention",
        [SEQUENCE, *(random(2, 6, 8, seed=at) for at in (1, 2)), None, None, None, PAST[0], PAST[1]],
        HEADS,
        outputs=3,
        domain=MICROSOFT,
    ),
    Case("RotaryEmbedding", [random(2, 3, 6, 8), whole(2), *TURNS], domain=MICROSOFT),
    Case(
        "RotaryEmbedding",
        [random(2, 6, 24), np.tile(np.arange(6)[::-1], (2, 1)), *TURNS],
        {"interleaved": 1},
        domain=MICROSOFT,
    ),
    Case(
        "EmbedLayerNormalization",
        [
            np.array([[1, 2, 3], [4, 5, 6]], np.int32),
            np.array([[0, 0, 1], [0, 1, 1]], np.int32),
            w(9, 8),
            w(5, 8, seed=2),
            w(2, 8, seed=3),
            w(8, seed=4),
            w(8, seed=5),
            np.array([[1, 1, 1], [1, 1, 0]], np.int32),
        ],
        outputs=2,
        domain=MICROSOFT,
    ),
    Case(
        "MatMulIntegerToFloat",
        [
            BYTES[0, 0],
            Weight(SMALL.reshape(4, -1).T[:8].copy()),
            number(0.1),
            number(0.2),
            number(3, np.uint8),
            None,
            w(4),
        ],
        domain=MICROSOFT,
    ),
    Case(
        "QLinearMul",
        [*SCALED, OTHER, number(0.2), number(5, np.uint8), number(0.9), number(7, np.uint8)],
        domain=MICROSOFT,
    ),
    Case("QLinearSigmoid", [*SCALED, number(1 / 256), number(0, np.uint8)], domain=MICROSOFT),
    Case("QLinearLeakyRelu", [*SCALED, *RESULT], {"alpha": 0.2}, domain=MICROSOFT),
    Case(
        "QLinearAveragePool",
        [*SCALED, number(0.03), number(9, np.uint8)],
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
        domain=MICROSOFT,
        tolerance=2e-3,
    ),
    Case("QLinearConcat", [*RESULT, *SCALED, OTHER, number(0.2), number(5, np.uint8)], {"axis": 1}, domain=MICROSOFT),
    Case(
        "DynamicQuantizeLSTM",
        [random(5, 2, 3), WEIGHTS, LOOPS, w(2, 48), None, None, None, None, SCALES, NONE, SCALES, NONE],
        {"hidden_size": 6, "direction": "bidirectional"},
        outputs=3,
        domain=MICROSOFT,
        tolerance=2e-2,
    ),
]

ALL = [*WINDOWS, *LAYERS, *RECURRENT, *IMAGES, *QUANTIZED, *CONTRIB]


@pytest.mark.parametrize("case", ALL, ids=str)
def test_with_fixed_sizes(case: Case) -> None:
    check(case, symbolic=False)


@pytest.mark.parametrize("case", [*WINDOWS, *RECURRENT, *IMAGES, *QUANTIZED], ids=str)
def test_with_symbolic_sizes(case: Case) -> None:
    check(case, symbolic=True)


@pytest.mark.parametrize(
    ("case", "error", "message"),
    [
        (Case("Conv", [IMAGE, w(4, 2, 3, 3)]), ModelError, "the channels differ"),
        (
            Case("Conv", [IMAGE, w(4, 3, 3, 3)], {"strides": [1]}),
            ModelError,
            "strides [1] should be 2 positive numbers",
        ),
        (Case("Conv", [IMAGE, w(4, 3, 3, 3)], {"kernel_shape": [2, 3]}), ModelError, "kernel_shape [2, 3] and weights"),
        (Case("MaxPool", [IMAGE], {"kernel_shape": [3]}), ModelError, "kernel_shape [3] does not have one size"),
        (Case("MaxPool", [IMAGE]), ModelError, "MaxPool needs the attribute kernel_shape"),
        (cell("LSTM", 4, 1, activations=["Tanh"]), ModelError, "1 activations for 1 direction(s) of 3"),
        (cell("RNN", 1, 1, activations=["Cube"]), ModelError, "activation 'Cube' is not one of"),
        (Case("Einsum", [X], {"equation": "ij->i"}), ModelError, "the term 'ij' does not fit"),
    ],
    ids=str,
)
def test_misfits_are_named(case: Case, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        import_onnx(case.model(symbolic=False))
