"""A model in, an engine out: what is asked, what is remembered, and the road between."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.codegen.cpu.image import always
from tenfold.codegen.cpu.isa import isa_of
from tenfold.codegen.cpu.pool import CompilePool, ObjectCache
from tenfold.compiler.cache import EngineCache, cache_folder
from tenfold.compiler.carry import Pairs, carry
from tenfold.compiler.formats import Formats, reformat
from tenfold.compiler.garbage import rarely_collected
from tenfold.compiler.phases import Phases, Progress
from tenfold.compiler.road import Means, build_image
from tenfold.compiler.timings import Timings
from tenfold.importers import open_model
from tenfold.ir.graph import Graph, copy
from tenfold.ir.type import numbered_unknowns
from tenfold.options import Options
from tenfold.plugin import Plugin, chosen
from tenfold.runtime.engine import Engine, from_image
from tenfold.target import Target


def build(
    model: Any,
    *,
    target: str | Target | Sequence[str | Target] = "cpu",
    shapes: Mapping[str, Sequence[Any]] | None = None,
    dims: Mapping[str, Any] | None = None,
    precision: str = "model",
    effort: int = 1,
    threads: int | None = None,
    memory_limit: int | None = None,
    winograd: str = "auto",
    state: Pairs = False,
    outputs: Sequence[str] | None = None,
    formats: Formats | None = None,
    example_inputs: Any = None,
    data_root: str | os.PathLike[str] | None = None,
    plugins: Sequence[Any] = (),
    cache: bool | str | os.PathLike[str] = True,
    progress: Progress | None = None,
) -> Engine:
    """An engine for a model: a path, bytes, an onnx.ModelProto, a PyTorch module or program, a Keras model, or a Graph.

    `target` names machines, a comma or a sequence for several in one engine. `shapes` overrides what the model declares
    ({"x": (1, 3, "H", "W")}), `dims` bounds or fixes named sizes ({"batch": 8, "H": (32, 640, 32)}: value, or least,
    most and multiple). `precision` is "model" (types as written) or "f32", on GPUs also "tf32" (products of f32 with
    operands rounded to 11 bits: 3e-4 off), "f16" or "bf16".
    `effort` 0 to 3 is how long to look for faster kernels, `threads` the most threads a call uses, `memory_limit` the
    most bytes of weights and arena. `winograd` "off" keeps convolutions and products to the sums that define
    them.
    `state` says which outputs are inputs of the next call, {"past": "present"}, or True to find them by their names:
    contexts then keep them. `outputs` names any values of the model to return instead of its own outputs;
    `formats` say how the caller's arrays differ: an element type, "channels_last" (axis 1 comes last) or both,
    {"image": "f16 channels_last", "logits": "f16"}. `example_inputs` are what a PyTorch module is traced on: a tuple of
    arguments, or a dict of them by name; `data_root` is where external data lie. `plugins` are values of
    `tenfold.plugin.Plugin`, beside those that are installed. `cache` is True, False or a folder;
    `progress(phase, done, total)` is called as work goes on.

    Raises ModelError for a damaged model, UnsupportedError for one this version cannot build, OptionError for an
    argument that cannot hold, TargetError for a machine there is no code for.
    """
    options = Options(Target.parse(target), precision, effort, threads, memory_limit, winograd)
    added, folder, phase = chosen(plugins), cache_folder(cache), Phases(progress)
    opening: dict[str, Any] = {"shapes": shapes, "dims": dims, "outputs": outputs, "data_root": data_root}
    stored, asked = EngineCache(folder), {**opening, "state": state, "formats": formats}
    key = stored.key(model, options, asked, added) if example_inputs is None else None
    loading: dict[str, Any] = {"threads": threads, "memory_limit": memory_limit, "plugins": added}
    if found := stored.find(key, **loading):
        return found
    opening |= {**_converters(added), "example_inputs": example_inputs, "states": state}
    with rarely_collected():
        with numbered_unknowns(), CompilePool(workers(), ObjectCache(folder)) as pool:
            if cpus := [one for one in options.targets if one.kind == "cpu"]:
                pool.start()
                pool.begin(request for one in cpus for request in always(isa_of(one)))
            with phase("import") as said:
                graph = _opened(model, opening, formats or {})
                said.append(f"{len(graph)} operations")
            image = build_image(graph, Means(options, pool, phase, added, Timings(folder)))
        stored.keep(key, image)
        return from_image(image, graph.name or "engine", **loading, foreign=True)


def _opened(model: Any, opening: Mapping[str, Any], formats: Formats) -> Graph:
    """The graph of a model, or a copy of one, with its state and formats."""
    graph = open_model(model, **opening)
    if graph is model:
        graph = copy(graph)
    carry(graph, opening["states"])
    reformat(graph, formats)
    return graph


def _converters(plugins: Sequence[Plugin]) -> dict[str, Any]:
    return {
        "converters": {key: rows for one in plugins for key, rows in one.onnx.items()},
        "torch_converters": {name: convert for one in plugins for name, convert in one.torch.items()},
        "keras_converters": {name: convert for one in plugins for name, convert in one.keras.items()},
    }


def workers() -> int:
    """How many compile workers suit this machine."""
    return max(1, min(4, len(os.sched_getaffinity(0))))
