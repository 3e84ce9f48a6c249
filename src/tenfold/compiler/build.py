"""The whole road: a model in, an engine out."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tenfold import codegen, passes
from tenfold.codegen.cpu.image import always
from tenfold.codegen.cpu.isa import isa_of
from tenfold.codegen.cpu.pool import CompilePool, ObjectCache
from tenfold.codegen.strategy import Strategy
from tenfold.compiler.arrange import arrange
from tenfold.compiler.assemble import CpuBackend, begin, plan_of
from tenfold.compiler.backend import Backend
from tenfold.compiler.cache import EngineCache, cache_folder
from tenfold.compiler.carry import Pairs, appends_in_place, carry
from tenfold.compiler.conditions import conditions, late_conditions, written
from tenfold.compiler.contents import constants_section
from tenfold.compiler.cover import Machine, cover
from tenfold.compiler.device.binaries import GpuBackend
from tenfold.compiler.device.placing import by_clock, share, sooner_beside
from tenfold.compiler.formats import Formats, reformat
from tenfold.compiler.fuse.decompose import decompose
from tenfold.compiler.fuse.finish import finish_rows
from tenfold.compiler.fuse.grow import NotFused
from tenfold.compiler.garbage import rarely_collected
from tenfold.compiler.items import HostPiece, pieces
from tenfold.compiler.layout import Assumption
from tenfold.compiler.phases import Phases, Progress
from tenfold.compiler.refit import RefitNotes
from tenfold.compiler.report import report_of
from tenfold.compiler.taps import taps_section
from tenfold.compiler.timings import Timings
from tenfold.compiler.tune import Tuning
from tenfold.compiler.ways import settle
from tenfold.compiler.weights import WeightStore
from tenfold.importers import open_model
from tenfold.ir.graph import Graph, copy, reserve_names
from tenfold.ir.text import Weights, show
from tenfold.ir.type import numbered_unknowns
from tenfold.options import Options
from tenfold.passes.clean import CommonSubexpressions, DeadCode
from tenfold.plugin import Plugin, chosen
from tenfold.rewrite.pipeline import Pipeline, Rewrite
from tenfold.runtime import format
from tenfold.runtime.engine import Engine, from_image
from tenfold.runtime.plan import to_manifest
from tenfold.target import Target
from tenfold.version import __version__

Sections = dict[str, bytes | format.Bytes | format.Content]
BACKENDS: Mapping[str, Backend] = {"cpu": CpuBackend(), "cuda": GpuBackend()}

LOWERED = Pipeline(Rewrite("simplify", (*passes.SIMPLER, finish_rows)), CommonSubexpressions(), DeadCode())
"""What tidies a graph after its composites are taken apart; nothing here puts them together again."""


@dataclass(frozen=True)
class Means:
    """What a build works with beside the graph. `settled`: nothing is left in it that may run in several ways."""

    options: Options
    pool: CompilePool
    phase: Phases
    plugins: Sequence[Plugin] = ()
    timings: Timings = field(default_factory=Timings)
    settled: bool = False


@dataclass(frozen=True)
class Contents:
    """What the targets of an engine share and add to: weights, what refits must know, sections, the tensors that their
    graphs refer to. `needed` is what sizes must fulfil.
    """

    needed: Sequence[Assumption]
    notes: RefitNotes
    weights: WeightStore = field(default_factory=WeightStore)
    sections: Sections = field(default_factory=dict)
    tensors: Weights = field(default_factory=dict)


def build_image(graph: Graph, means: Means) -> format.Bytes:
    """The bytes of an engine file for a graph, which is used up."""
    with means.phase("passes") as said:
        before, needed = len(graph), conditions(graph)
        Pipeline(Rewrite("plugins", tuple(rule for one in means.plugins for rule in one.rules)))(graph)
        passes.for_precision(means.options)(graph)
        passes.PORTABLE(graph)
        said.append(f"{before} operations became {len(graph)}")
    return image_of(graph, needed, means)


def image_of(graph: Graph, needed: Sequence[Assumption], means: Means) -> format.Bytes:
    """The bytes of an engine file for an optimised graph, which is used up, and what its sizes must fulfil."""
    reserve_names(graph)
    options, contents = means.options, Contents(needed, RefitNotes(graph.weights))
    sections, weights = contents.sections, contents.weights
    sections["graph"] = show(graph, contents.tensors).encode(errors="backslashreplace")
    targets: dict[str, Any] = {}
    for number, target in enumerate(options.targets):
        target.require_buildable()
        own = copy(graph) if number + 1 < len(options.targets) else graph
        targets[str(target.portable)] = compile_for(own, target, means, contents)
    sections["constants"] = constants_section(contents.tensors, weights)
    sections |= {"weights": weights, **contents.notes.sections(weights, contents.tensors)}
    manifest: dict[str, Any] = {"tenfold": __version__, "precision": options.precision, "targets": targets}
    threads, limit = (None if one is None else int(one) for one in (options.threads, options.memory_limit))
    manifest |= {"threads": threads, "memory_limit": limit, "model": graph.metadata}
    manifest |= {"winograd": options.winograd, "conditions": written(needed)}
    manifest |= {"structure": graph.structure} if graph.structure else {}
    manifest |= {"carried": [dataclasses.astuple(one) for one in graph.carried]} if graph.carried else {}
    manifest["plugins"] = {one.name: [op.__name__ for op in one.ops] for one in means.plugins if one.ops}
    return format.pack(manifest, sections)


def compile_for(graph: Graph, target: Target, means: Means, contents: Contents) -> dict[str, Any]:
    """One target's part of an engine, added to its contents; its entry of the manifest is returned."""
    backend, name, options, phase = BACKENDS[target.kind], str(target.portable), means.options, means.phase
    if options.precision == "tf32" and target.kind == "cuda":
        target = dataclasses.replace(target, extras=(*target.extras, "tf32"))
    tuning = Tuning(graph.inputs, target, options, means.pool, means.timings, phase.tell, phase.stop)
    passes.for_target(target, options)(graph)
    ways = [] if means.settled else settled_ways(graph, backend, tuning, means)
    with phase("fuse") as said:
        decompose(graph, lambda node: backend.keeps(node) or appends_in_place(graph, node))
        LOWERED(graph)
        layout = arrange(graph)
        layout.checks += (*contents.needed, *late_conditions(graph))
        said.append(f"{len(graph)} operations")
    with phase("kernels") as said:
        refusals: list[NotFused] = []
        machine = machine_of(target, options, [own for one in means.plugins for own in one.strategies])
        if target.kind == "cpu" and options.effort == 0 and not means.settled:
            machine = dataclasses.replace(machine, begin=partial(begin, target, means.pool))
        items = cover(graph, layout, machine, refusals)
        if machine.beside and sooner_beside(graph, items, target, options.effort):
            items = cover(graph, layout, machine.beside, refusals)
        said.append(f"{len(list(pieces(items)))} regions")
    with phase("tune") as said:
        said.append(backend.tune(items, tuning))
        if machine.beside and by_clock(target, options.effort):
            said.append(share(graph, items, layout, machine.beside.strategies, tuning))
        items = backend.joined(items, layout, machine.strategies, tuning)
    with phase("compile") as said:
        scheduler = backend.scheduler(graph, layout, items, contents.weights)
        made = backend.machine_code(items, target, means.pool, lambda done, total: phase.tell("compile", done, total))
        said.append(made.said)
    with phase("link"):
        scheduler.run(made.entries)
        contents.notes.note(graph, hosted=any(isinstance(piece, HostPiece) for piece in pieces(items)))
        plan = plan_of(graph, scheduler)
        data, arrays = to_manifest(plan)
    own = {"plan": arrays, "taps": taps_section(graph, scheduler, scheduler.numbers, contents.tensors), **made.sections}
    contents.sections.update({f"{name}/{key}": content for key, content in own.items()})
    report = report_of(scheduler, plan, items, refusals) | {"decisions": contents.notes.listed(), "ways": ways}
    report |= scheduler.remarks()
    places = {f"{key}_section": f"{name}/{key}" for key in own}
    return {"plan": data, "report": report, **places, **made.manifest, **scheduler.notes()}


def settled_ways(graph: Graph, backend: Backend, tuning: Tuning, means: Means) -> list[dict[str, Any]]:
    """Let what may run in several ways run in one, in place; what a report says of it."""
    quick = dataclasses.replace(means.options, targets=(tuning.target,), effort=0)

    def alone(stretch: Graph) -> format.Bytes:
        return image_of(stretch, (), Means(quick, means.pool, Phases(None), means.plugins, settled=True))

    with means.phase("ways") as said:
        found = settle(graph, backend.stretches(graph, tuning.target), tuning, alone)
        said.append(f"{len(found)} stretches")
    return found


def machine_of(target: Target, options: Options, own: Sequence[Strategy] = ()) -> Machine:
    """Who makes kernels for a target: plugins' strategies first; beside a GPU, its CPU."""
    strategies = [*own, *codegen.strategies_for(target, options)]
    beside = machine_of(target.cpu, options) if target.kind != "cpu" else None
    return Machine(target, strategies, beside)


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
    most and multiple). `precision` is "model" (types as written) or "f32", on GPUs also "tf32", "f16" or "bf16".
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
                graph = _opened(model, opening, options, formats or {})
                said.append(f"{len(graph)} operations")
            image = build_image(graph, Means(options, pool, phase, added, Timings(folder)))
        stored.keep(key, image)
        return from_image(image, graph.name or "engine", **loading, foreign=True)


def _opened(model: Any, opening: Mapping[str, Any], options: Options, formats: Formats) -> Graph:
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
