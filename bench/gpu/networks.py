"""The networks that are measured: a model, inputs, and what float64 gives for them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from bench.cpu import vision
from bench.gpu import llama as llamas
from bench.gpu import transformers
from bench.gpu.diffusion import unet
from bench.gpu.exact import exact
from bench.gpu.windows import swin
from tenfold.importers import open_model
from tests.models import light

Array = np.ndarray


@dataclass
class Network:
    """`exact` gives the outputs, or the outputs' first rows."""

    model: Any
    inputs: Sequence[Array]
    exact: Callable[[], Sequence[Array]]
    options: dict[str, Any] = field(default_factory=dict)


def reference(model: bytes | str, inputs: Sequence[Array]) -> Sequence[Array]:
    """ONNX Runtime on this machine's CPU, in f32."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    found: Sequence[Array] = session.run(None, dict(zip(names, inputs, strict=True)))
    return found


def image_network(name: str, batch: int) -> Network:
    """One of onnx's light graphs, its weights drawn; some of the batch is checked."""
    path = light.load(name)
    ((key, image),) = light.image(path).items()
    model = onnx.load(path)
    for one in model.graph.initializer:
        shape = numpy_helper.to_array(one)
        if one.data_type == TensorProto.INT64 and shape.ndim == 1 and shape.size == 2 and shape[0] == 1:
            one.CopyFrom(numpy_helper.from_array(np.array([-1, shape[1]]), one.name))
    images = np.random.default_rng(3).standard_normal((batch, *image.shape[1:]), np.float32)

    some = min(batch, 2)
    shapes = {key: (batch, *image.shape[1:])}
    few = {key: (some, *image.shape[1:])}
    return Network(model, [images], lambda: exact(open_model(model, shapes=few), [images[:some]]), {"shapes": shapes})


def sketched(name: str, batch: int) -> Network:
    """One of the image networks that are written by hand; some of the batch is checked."""
    images = np.random.default_rng(3).standard_normal((batch, 3, 224, 224)).astype("f4")
    some = min(batch, 2)
    make = getattr(vision, name)
    return Network(make(batch), [images], lambda: exact(open_model(make(some)), [images[:some]]))


def module(make: Callable[[int], tuple[Any, tuple[torch.Tensor, ...]]], batch: int) -> Network:
    """A PyTorch module with its inputs, beside float64 on the GPU."""
    model, given = make(batch)

    def answers() -> Sequence[Array]:
        wide = make(batch)[0].double().cuda()
        with torch.no_grad():
            found = wide(*(one.double().cuda() for one in given))
        return [(found if isinstance(found, torch.Tensor) else found[0]).cpu().numpy()]

    return Network(model, [one.numpy() for one in given], answers, {"example_inputs": given})


def perceptron(batch: int) -> Network:
    """784-256-10 with softmax."""
    random = np.random.default_rng(1)
    sizes = (784, 256, 10)
    weights, nodes, last = [], [], "x"
    for number, (m, n) in enumerate(itertools.pairwise(sizes)):
        weights.append(numpy_helper.from_array((random.standard_normal((m, n)) / m**0.5).astype("f4"), f"w{number}"))
        weights.append(numpy_helper.from_array(random.standard_normal(n).astype("f4"), f"b{number}"))
        nodes += [
            helper.make_node("MatMul", [last, f"w{number}"], [f"p{number}"]),
            helper.make_node("Add", [f"p{number}", f"b{number}"], [f"s{number}"]),
            helper.make_node("Relu" if number == 0 else "Softmax", [f"s{number}"], [f"r{number}"]),
        ]
        last = f"r{number}"
    value = helper.make_tensor_value_info
    ends = [value("x", TensorProto.FLOAT, ["n", 784])], [value(last, TensorProto.FLOAT, ["n", 10])]
    graph = helper.make_graph(nodes, "mlp", *ends, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    inputs = [random.standard_normal((batch, 784)).astype("f4")]
    return Network(model, inputs, lambda: reference(model, inputs))


def bert(batch: int, length: int = 128, width: int = 768, layers: int = 12) -> Network:
    """BERT's shape, without its pooler; some of the batch is checked."""
    ids = np.random.default_rng(2).integers(0, 30522, (batch, length))
    some = min(batch, 2)
    return Network(
        transformers.bert(batch, length, width, layers),
        [ids],
        lambda: exact(transformers.bert(some, length, width, layers), [ids[:some]]),
    )


def vit(batch: int, width: int = 768, layers: int = 12) -> Network:
    """ViT with patches of 16; some of the batch is checked."""
    images = np.random.default_rng(2).standard_normal((batch, 3, 224, 224)).astype("f4")
    some = min(batch, 2)
    return Network(
        transformers.vit(batch, width, layers),
        [images],
        lambda: exact(transformers.vit(some, width, layers), [images[:some]]),
    )


def gpt2(batch: int) -> Network:
    """GPT-2's shape over 512 words."""
    ids = np.random.default_rng(2).integers(0, 50257, (batch, 512))
    return Network(transformers.gpt2(batch), [ids], lambda: exact(transformers.gpt2(batch), [ids]))


def whisper(batch: int) -> Network:
    """Whisper-small's encoder over 30 seconds."""
    mels = np.random.default_rng(2).standard_normal((batch, 80, 3000)).astype("f4")
    return Network(transformers.whisper(batch), [mels], lambda: exact(transformers.whisper(batch), [mels]))


def llama(batch: int, length: int, past: int = 0) -> Network:
    """The shape of Llama 3.2 1B: a prompt, or a word behind a past."""
    random, shape = np.random.default_rng(2), llamas.Shape()
    graph = llamas.llama(batch, length, past)
    ids = random.integers(0, shape.words, (batch, length))
    caches = [
        (random.standard_normal(tuple(map(int, one.type.shape))) / 4).astype(np.float16)  # type: ignore[arg-type]
        for one in graph.inputs[1:]
    ]
    return Network(graph, [ids, *caches], lambda: exact(graph, [ids, *caches]))


NETWORKS: dict[str, Callable[[int], Network]] = {
    "mlp": perceptron,
    "bert": bert,
    "bert384": lambda batch: bert(batch, 384),
    "bert-large": lambda batch: bert(batch, 128, 1024, 24),
    "bert-large384": lambda batch: bert(batch, 384, 1024, 24),
    "vit": vit,
    "vit-large": lambda batch: vit(batch, 1024, 24),
    "gpt2-512": gpt2,
    "llama-512": lambda batch: llama(batch, 512),
    "llama-decode": lambda batch: llama(batch, 1, 1024),
    "whisper": whisper,
    "resnet50": lambda batch: image_network("resnet50", batch),
    "mobilenet_v2": lambda batch: sketched("mobilenet_v2", batch),
    "efficientnet_b0": lambda batch: sketched("efficientnet_b0", batch),
    "convnext_t": lambda batch: sketched("convnext_t", batch),
    "unet": lambda batch: module(unet, batch),
    "swin": lambda batch: module(swin, batch),
    "squeezenet": lambda batch: image_network("squeezenet", batch),
    "densenet121": lambda batch: image_network("densenet121", batch),
}
