"""ONNX graphs for weights that come without one: BERT from safetensors, EfficientNet-Lite0 from a state dict."""

from __future__ import annotations

import io
import json
import pickle
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


class Builder:
    """Nodes and weights of one ONNX graph; calling it adds a node and gives its output's name."""

    def __init__(self, weights: dict[str, Array]) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.used: dict[str, Array] = {}

    def __call__(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node; its output is called `name`, or after its operator and number."""
        output = name or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def weight(self, name: str) -> str:
        """A weight by its name in the file."""
        self.used[name] = self.weights[name]
        return name

    def transposed(self, name: str) -> str:
        """A linear layer's weight, turned for x @ w."""
        self.used[f"{name}.T"] = np.ascontiguousarray(self.weights[name].T)
        return f"{name}.T"

    def constant(self, value: Array) -> str:
        """A constant that the file does not name."""
        self.used[(name := f"constant_{len(self.used)}")] = value
        return name

    def model(self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto], opset: int) -> bytes:
        """The finished file."""
        initializers = [numpy_helper.from_array(value, name) for name, value in self.used.items()]
        graph = helper.make_graph(self.nodes, "main", inputs, outputs, initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        onnx.checker.check_model(model)
        content: bytes = model.SerializeToString()
        return content


def safetensors(content: bytes) -> dict[str, Array]:
    """Tensors of a safetensors file: eight bytes of length, a JSON header, raw data."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    kinds = {"F32": np.float32, "I64": np.int64}
    tensors = {}
    for name, entry in header.items():
        first, end = (start + at for at in entry["data_offsets"])
        tensors[name] = np.frombuffer(content[first:end], kinds[entry["dtype"]]).reshape(entry["shape"])
    return tensors


class StateDict(pickle.Unpickler):
    """Reads a state dict in PyTorch's format from before 1.6; it can make tensors and nothing else."""

    kinds = {"FloatStorage": np.float32, "LongStorage": np.int64}  # noqa: RUF012

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.storages: dict[str, Array] = {}

    def find_class(self, module: str, name: str) -> object:
        """The few names a state dict holds."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _strided
        if module == "torch" and name in self.kinds:
            return self.kinds[name]
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a state dict")

    def persistent_load(self, pid: tuple[Any, ...]) -> Array:
        """An empty array for ("storage", kind, key, location, count, view); it is filled later."""
        _, kind, key, _, count, _ = pid
        return self.storages.setdefault(str(key), np.empty(count, kind))


def _strided(storage: Array, offset: int, shape: Sequence[int], strides: Sequence[int], *_: object) -> Array:
    steps = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps)


def state_dict(content: bytes) -> dict[str, Array]:
    """Tensors of a `torch.save`d state dict: three headers, the dict, the storages' keys, the storages."""
    file = io.BytesIO(content)
    for _ in range(3):
        StateDict(file).load()
    reader = StateDict(file)
    tensors: dict[str, Array] = reader.load()
    for key in StateDict(file).load():
        storage = reader.storages[key]
        assert int.from_bytes(file.read(8), "little") == storage.size
        storage[:] = np.frombuffer(file.read(storage.nbytes), storage.dtype)
    return dict(tensors)


def bert(content: bytes, heads: int = 12) -> bytes:
    """A sentence encoder: BERT, the mean over the words that are there, length one."""
    build = Builder(safetensors(content))
    hidden, bias = _embeddings(build), _mask(build)
    layers = 1 + max(int(name.split(".")[2]) for name in build.weights if name.startswith("encoder.layer."))
    for index in range(layers):
        hidden = _layer(build, f"encoder.layer.{index}", hidden, bias, heads)
    present = build("Unsqueeze", "mask", build.constant(np.array([-1])))
    total = build("ReduceSum", build("Mul", hidden, present), build.constant(np.array([1])), keepdims=0)
    count = build("ReduceSum", present, build.constant(np.array([1])), keepdims=0)
    mean = build("Div", total, count)
    length = build("ReduceL2", mean, axes=[-1], keepdims=1)
    build("Div", mean, length, name="sentence_embedding")
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = [helper.make_tensor_value_info(name, INT64, ["batch", "sequence"]) for name in names]
    width = build.weights["embeddings.LayerNorm.weight"].size
    return build.model(inputs, [helper.make_tensor_value_info("sentence_embedding", FLOAT, ["batch", width])], 17)


def _norm(build: Builder, name: str, x: str) -> str:
    return build(
        "LayerNormalization", x, build.weight(f"{name}.weight"), build.weight(f"{name}.bias"), axis=-1, epsilon=1e-12
    )


def _linear(build: Builder, name: str, x: str) -> str:
    return build("Add", build("MatMul", x, build.transposed(f"{name}.weight")), build.weight(f"{name}.bias"))


def _embeddings(build: Builder) -> str:
    length = build("Slice", build("Shape", "input_ids"), *(build.constant(np.array([at])) for at in (1, 2)))
    scalar = build("Squeeze", length, build.constant(np.array([0])))
    positions = build("Range", build.constant(np.array(0)), scalar, build.constant(np.array(1)))
    table = "embeddings.{}_embeddings.weight"
    words = build("Gather", build.weight(table.format("word")), "input_ids")
    kinds = build("Gather", build.weight(table.format("token_type")), "token_type_ids")
    places = build("Gather", build.weight(table.format("position")), positions)
    return _norm(build, "embeddings.LayerNorm", build("Add", build("Add", words, kinds), places))


def _mask(build: Builder) -> str:
    build("Cast", "attention_mask", to=FLOAT, name="mask")
    missing = build("Sub", build.constant(np.array(1, np.float32)), "mask")
    bias = build("Mul", missing, build.constant(np.array(np.finfo(np.float32).min)))
    return build("Unsqueeze", bias, build.constant(np.array([1, 2])))


def _layer(build: Builder, name: str, x: str, bias: str, heads: int) -> str:
    width = build.weights[f"{name}.output.LayerNorm.weight"].size
    shape = build.constant(np.array([0, 0, heads, width // heads]))
    split = {
        part: build("Reshape", _linear(build, f"{name}.attention.self.{part}", x), shape)
        for part in ("query", "key", "value")
    }
    query, value = (build("Transpose", split[part], perm=[0, 2, 1, 3]) for part in ("query", "value"))
    scores = build("MatMul", query, build("Transpose", split["key"], perm=[0, 2, 3, 1]))
    scaled = build("Div", scores, build.constant(np.array((width / heads) ** 0.5, np.float32)))
    weights = build("Softmax", build("Add", scaled, bias), axis=-1)
    joined = build("Transpose", build("MatMul", weights, value), perm=[0, 2, 1, 3])
    joined = build("Reshape", joined, build.constant(np.array([0, 0, width])))
    x = _norm(
        build,
        f"{name}.attention.output.LayerNorm",
        build("Add", _linear(build, f"{name}.attention.output.dense", joined), x),
    )
    inner = _gelu(build, _linear(build, f"{name}.intermediate.dense", x))
    return _norm(build, f"{name}.output.LayerNorm", build("Add", _linear(build, f"{name}.output.dense", inner), x))


def _gelu(build: Builder, x: str) -> str:
    erf = build("Erf", build("Div", x, build.constant(np.array(2**0.5, np.float32))))
    grown = build("Mul", x, build("Add", erf, build.constant(np.array(1, np.float32))))
    return build("Mul", grown, build.constant(np.array(0.5, np.float32)))


def efficientnet_lite0(content: bytes, size: int = 224) -> bytes:
    """EfficientNet-Lite0 (Tan, 2020): seven stages of expand, depthwise, project, each with ReLU6 between."""
    build = Builder(state_dict(content))
    x, size = _convolve(build, "_conv_stem", "_bn0", "image", 2, size)
    stages = ((1, 1, 1), (2, 2, 6), (2, 2, 6), (3, 2, 6), (3, 1, 6), (4, 2, 6), (1, 1, 6))
    block = 0
    for repeats, stride, expansion in stages:
        for turn in range(repeats):
            x, size = _block(build, f"_blocks.{block}", x, stride if turn == 0 else 1, expansion, size)
            block += 1
    x, _ = _convolve(build, "_conv_head", "_bn1", x, 1, size)
    x = build("Flatten", build("GlobalAveragePool", x))
    logits = build("Gemm", x, build.weight("_fc.weight"), build.weight("_fc.bias"), transB=1)
    build("Softmax", logits, axis=-1, name="probability")
    image = helper.make_tensor_value_info("image", FLOAT, ["batch", 3, 224, 224])
    return build.model([image], [helper.make_tensor_value_info("probability", FLOAT, ["batch", 1000])], 13)


def _convolve(
    build: Builder, conv: str, norm: str, x: str, stride: int, size: int, grouped: bool = False, clip: bool = True
) -> tuple[str, int]:
    weight = build.weights[f"{conv}.weight"]
    kernel = weight.shape[-1]
    after = -(-size // stride)
    missing = max((after - 1) * stride + kernel - size, 0)
    pads = [missing // 2] * 2 + [missing - missing // 2] * 2
    group = weight.shape[0] if grouped else 1
    x = build("Conv", x, build.weight(f"{conv}.weight"), strides=[stride] * 2, pads=pads, group=group)
    parts = (build.weight(f"{norm}.{part}") for part in ("weight", "bias", "running_mean", "running_var"))
    x = build("BatchNormalization", x, *parts, epsilon=1e-3)
    if clip:
        x = build("Clip", x, *(build.constant(np.array(bound, np.float32)) for bound in (0, 6)))
    return x, after


def _block(build: Builder, name: str, x: str, stride: int, expansion: int, size: int) -> tuple[str, int]:
    inner, channels = x, build.weights[f"{name}._project_conv.weight"].shape[0]
    if expansion > 1:
        inner, size = _convolve(build, f"{name}._expand_conv", f"{name}._bn0", inner, 1, size)
    inner, after = _convolve(build, f"{name}._depthwise_conv", f"{name}._bn1", inner, stride, size, grouped=True)
    inner, after = _convolve(build, f"{name}._project_conv", f"{name}._bn2", inner, 1, after, clip=False)
    first = build.weights[f"{name}._depthwise_conv.weight"].shape[0] // expansion
    return (build("Add", inner, x) if stride == 1 and first == channels else inner), after
