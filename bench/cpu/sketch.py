"""Networks written down as ONNX graphs in a few lines a layer, with weights drawn from a seed.

Each looks as exporters write it: batch norms folded into convolutions, activations as their operators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.models.packages import CACHE, replace

Array = NDArray[Any]
Sizes = Sequence[int | str]
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
OPSET = 17


class Sketch:
    """One ONNX graph. Calling it adds a node and gives the name of its output, or of each of `outputs`."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Array] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.results: list[onnx.ValueInfoProto] = []

    def __call__(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"{operator.lower()}_{len(self.nodes)}" + f".{i}" * bool(i) for i in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, name=names[0], **attributes))
        return names[0] if outputs == 1 else names

    def input(self, name: str, shape: Sizes, kind: int = FLOAT) -> str:
        """An input of the graph."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, value: str, shape: Sizes | None = None, kind: int = FLOAT) -> None:
        """An output of the graph."""
        self.results.append(helper.make_tensor_value_info(value, kind, shape))

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        """A constant."""
        name = f"constant_{len(self.weights)}"
        self.weights[name] = np.array(value, dtype)
        return name

    def drawn(self, *shape: int, scale: float = 1.0, offset: float = 0.0) -> str:
        """A normal constant."""
        return self.constant(self.random.standard_normal(shape, np.float32) * scale + offset, np.float32)

    def conv(
        self,
        x: str,
        channels: tuple[int, int],
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        axes: int = 2,
        pad: int | None = None,
    ) -> str:
        """A convolution with its bias; `channels` before and after, padded to keep the size if `pad` is not given."""
        before, after = channels
        fan = before // groups * kernel**axes
        weight = self.drawn(after, before // groups, *(kernel,) * axes, scale=(2 / fan) ** 0.5)
        border = (kernel - 1) // 2 if pad is None else pad
        sizes = {"kernel_shape": [kernel] * axes, "strides": [stride] * axes, "pads": [border] * (2 * axes)}
        found: str = self("Conv", x, weight, self.drawn(after, scale=0.05), group=groups, **sizes)
        return found

    def linear(self, x: str, before: int, after: int, scale: float = 1.0) -> str:
        """x @ w + b"""
        product = self("MatMul", x, self.drawn(before, after, scale=scale / before**0.5))
        found: str = self("Add", product, self.drawn(after, scale=0.05))
        return found

    def norm(self, x: str, width: int, epsilon: float = 1e-5) -> str:
        """LayerNorm over the last axis."""
        scale, bias = self.drawn(width, scale=0.1, offset=1.0), self.drawn(width, scale=0.1)
        found: str = self("LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon)
        return found

    def gelu(self, x: str) -> str:
        """x/2 (1 + erf(x/√2)), as exporters write it."""
        one, half = self.constant(1, np.float32), self.constant(0.5, np.float32)
        erf = self("Erf", self("Div", x, self.constant(2**0.5, np.float32)))
        found: str = self("Mul", self("Mul", x, self("Add", erf, one)), half)
        return found

    def reshape(self, x: str, *shape: int) -> str:
        """A reshape to constant sizes, 0 being the input's own."""
        found: str = self("Reshape", x, self.constant(shape))
        return found

    def model(self, opset: int = OPSET) -> bytes:
        """The finished file."""
        initializers = [numpy_helper.from_array(value, name) for name, value in self.weights.items()]
        graph = helper.make_graph(self.nodes, "main", self.inputs, self.results, initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        model = onnx.shape_inference.infer_shapes(model)
        onnx.checker.check_model(model)
        content: bytes = model.SerializeToString()
        return content


def stored(name: str, make: Callable[[], bytes]) -> Path:
    """The path of the file that `make` gives the content of, made once."""
    path = CACHE / "bench" / f"{name}.onnx"
    if not path.exists():
        replace(path, make())
    return path
