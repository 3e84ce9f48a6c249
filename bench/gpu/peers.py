"""The same networks in PyTorch, in f16 on the GPU: eager in a CUDA graph, and by torch.compile."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torchvision
import transformers

from bench.gpu.diffusion import unet
from bench.gpu.plausible import plausible
from bench.gpu.turns import Turns
from bench.gpu.windows import swin


def _vision(name: str, batch: int) -> tuple[Any, Any]:
    model = getattr(torchvision.models, name)(weights=None)
    images = torch.randn(batch, 3, 224, 224)
    return model.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)


def _vit(batch: int) -> tuple[Any, Any]:
    return torchvision.models.vit_b_16(weights=None), torch.randn(batch, 3, 224, 224)


def _bert(batch: int, length: int = 128, width: int = 768, layers: int = 12) -> tuple[Any, Any]:
    config = transformers.BertConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=width // 64, intermediate_size=4 * width
    )
    model = transformers.BertModel(config, add_pooling_layer=False)
    return model, torch.randint(0, 30522, (batch, length))


def _gpt2(batch: int) -> tuple[Any, Any]:
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(use_cache=False)), torch.randint(0, 50257, (batch, 512))


def _whisper(batch: int) -> tuple[Any, Any]:
    config = transformers.WhisperConfig(
        d_model=768, encoder_layers=12, encoder_attention_heads=12, encoder_ffn_dim=3072, num_mel_bins=80
    )
    return transformers.WhisperModel(config).encoder, torch.randn(batch, 80, 3000)


def _llama(batch: int) -> tuple[Any, Any]:
    config = transformers.LlamaConfig(
        hidden_size=2048, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8, intermediate_size=8192,
        vocab_size=128256, use_cache=False,
    )  # fmt: skip
    with torch.device("cuda"):
        return transformers.LlamaForCausalLM(config), torch.randint(0, 128256, (batch, 512))


MODELS: dict[str, Callable[[int], tuple[Any, Any]]] = {
    "resnet50": lambda batch: _vision("resnet50", batch),
    "mobilenet_v2": lambda batch: _vision("mobilenet_v2", batch),
    "efficientnet_b0": lambda batch: _vision("efficientnet_b0", batch),
    "convnext_t": lambda batch: _vision("convnext_tiny", batch),
    "unet": unet,
    "swin": swin,
    "vit": _vit,
    "vit-large": lambda batch: (torchvision.models.vit_l_16(weights=None), torch.randn(batch, 3, 224, 224)),
    "gpt2-512": _gpt2,
    "whisper": _whisper,
    "llama-512": _llama,
    "bert": _bert,
    "bert384": lambda batch: _bert(batch, 384),
    "bert-large": lambda batch: _bert(batch, 128, 1024, 24),
    "bert-large384": lambda batch: _bert(batch, 384, 1024, 24),
}


def eager(name: str, batch: int, turns: Turns) -> tuple[Callable[[], object], float]:
    """What replays a graph of the model, and its distance from float64."""
    with turns:
        model, given = _prepared(name, batch)
        stream = torch.cuda.Stream()
        with torch.no_grad(), torch.cuda.stream(stream):
            for _ in range(3):
                model(*given)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(graph):
            kept = model(*given)
        graph.replay()
        error = _distance(kept, model, given)
    return lambda graph=graph, kept=kept: graph.replay(), error  # type: ignore[misc]


ASSEMBLER = {"TRITON_PTXAS_PATH": str(Path(torch.__file__).parent / "bin" / "ptxas")}
"""What Inductor's compile workers use. Its own process takes Triton's, another version: without this it finds none of
what they made ready, and compiles every candidate once more, one after the other.
"""


def compiled(name: str, batch: int, turns: Turns) -> tuple[Callable[[], object], float]:
    """What calls the model compiled with max-autotune, which replays a graph of its own; its distance from float64."""
    with turns:
        model, given = _prepared(name, batch)
    fast = torch.compile(model, mode="max-autotune", dynamic=False)

    def call() -> object:
        with torch.no_grad():
            return fast(*given)

    with patch.dict(os.environ, ASSEMBLER):
        for _ in range(4):
            found = call()
    with turns:
        return call, _distance(found, model, given)


Peer = Callable[[str, int, Turns], tuple[Callable[[], object], float]]
PEERS: dict[str, Peer] = {"eager": eager, "torch.compile": compiled}


def _prepared(name: str, batch: int) -> tuple[Any, tuple[Any, ...]]:
    torch.manual_seed(0)
    model, given = MODELS[name](batch)
    placed = [one.cuda() for one in (given if isinstance(given, tuple) else (given,))]
    return plausible(model.eval().cuda(), placed).half(), tuple(
        one.half() if one.is_floating_point() else one for one in placed
    )


def _distance(found: Any, model: Any, given: Sequence[Any]) -> float:
    """Norm-wise, of the first result, from the same weights and inputs in float64."""
    torch.cuda.synchronize()
    wide = copy.deepcopy(model).double()
    with torch.no_grad():
        exact = _first(wide(*(one.double() if one.is_floating_point() else one for one in given)))
    return float((_first(found).double() - exact).norm() / exact.norm())


def _first(found: Any) -> Any:
    return found if isinstance(found, torch.Tensor) else found[0]
