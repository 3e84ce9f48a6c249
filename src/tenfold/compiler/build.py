"""The whole road: a model in, an engine out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tenfold import codegen, passes
from tenfold.codegen.cpu.image import link_image
from tenfold.codegen.cpu.isa import isa_of
from tenfold.codegen.cpu.pool import CompilePool, Failure, ObjectCache, Request
from tenfold.codegen.region import THREADS
from tenfold.codegen.strategy import Strategy
from tenfold.compiler.fuse.cover import region_of, results_of, source_of
from tenfold.compiler.fuse.decompose import decompose
from tenfold.compiler.fuse.grow import Group, Growth, NotFused
from tenfold.compiler.fuse.host import fragment
from tenfold.compiler.layout import Layout, arrange
from tenfold.compiler.report import report_of
from tenfold.compiler.schedule import Branch, HostPiece, Item, Piece, Scheduler, kernels, pieces
from tenfold.compiler.tune import choose
from tenfold.compiler.weights import WeightStore
from tenfold.compiler.cache import EngineCache, cache_folder
from tenfold.errors import OptionError, UnsupportedError
from tenfold.importers import open_model
from tenfold.ir import dim
from tenfold.ir.dim import Dim
from tenfold.ir.dtype import Kind
from tenfold.ir.graph import Graph, Value
from tenfold.ir.type import numbered_unknowns
from tenfold.ops.control import If
from tenfold.options import Options
from tenfold.passes.clean import CommonSubexpressions, DeadCode
from tenfold.rewrite.pipeline import Pipeline, Rewrite
from tenfold.runtime import format
from tenfold.runtime.engine import Engine, from_image
from tenfold.runtime.plan import Check, Label, Plan, Spec, Symbol, to_manifest
from tenfold.target import Target
from tenfold.version import __version__


LOWERED = Pipeline(Rewrite("simplify", passes.SIMPLIFY), CommonSubexpressions(), DeadCode())
"""What tidies a graph after its composites are taken apart; nothing here puts them together again."""


Progress = Callable[[str, int, int], None]


def build_image(graph: Graph, options: Options, pool: CompilePool, progress: Progress) -> format.Bytes:
    """The bytes of an engine file for a graph, which is used up."""
    sections: dict[str, bytes | format.Bytes] = {}
    targets: dict[str, Any] = {}
    passes.PORTABLE(graph)
    for target in options.targets:
        target.require_buildable()
        targets[str(target.portable)] = compile_for(graph, target, options, pool, sections)
    manifest = {"tenfold": __version__, "precision": options.precision, "targets": targets}
    if options.threads:
        manifest["threads"] = options.threads
    if options.memory_limit:
        manifest["memory_limit"] = options.memory_limit
    return format.pack(manifest, sections)


def compile_for(
    graph: Graph,
    target: Target,
    options: Options,
    pool: CompilePool,
    sections: dict[str, bytes | format.Bytes],
) -> dict[str, Any]:
    """One target's part of an engine: its sections are added, its entry of the manifest returned."""
    passes.for_target(target, options)(graph)
    decompose(graph)
    LOWERED(graph)
    layout = arrange(graph)
    refusals: list[NotFused] = []
    items = cover(graph, layout, codegen.strategies_for(target), target, refusals)
    weights = WeightStore()
    scheduler = Scheduler(graph, layout, items, weights)
    blob, entries, crew = _machine_code(items, target, pool)
    scheduler.run(entries)
    plan = _plan(graph, scheduler)
    data, arrays = to_manifest(plan)
    name = str(target.portable)
    sections |= {f"{name}/weights": weights.contents(), f"{name}/code": blob.code, f"{name}/crew": crew.code}
    sections[f"{name}/plan"] = arrays
    report = report_of(scheduler, plan, items, refusals)
    return {
        "plan": data,
        "plan_section": f"{name}/plan",
        "weights": f"{name}/weights",
        "code_section": f"{name}/code",
        "entries": blob.entries,
        "crew_section": f"{name}/crew",
        "crew_entries": crew.entries,
        "report": json.loads(json.dumps(report)),
    }


def cover(
    graph: Graph, layout: Layout, strategies: Sequence[Strategy], target: Target, refusals: list[NotFused]
) -> list[Item]:
    """The pieces of a graph in the order in which they run."""
    growth = Growth(graph, layout)
    refusals += growth.refusals
    items: list[Item] = []
    for group in growth.ordered():
        node = group.nodes[0]
        if isinstance(node.op, If):
            branches = (node.op.then_branch, node.op.else_branch)
            then, otherwise = (cover(one, layout, strategies, target, refusals) for one in branches)
            native = all(isinstance(piece, Piece) for piece in pieces((*then, *otherwise)))
            items.append(Branch(node.inputs[0], then, otherwise) if native else host_piece(group, growth, []))
            continue
        piece = choose(region_of(group, growth), strategies, target) if is_region(group) else []
        items.append(host_piece(group, growth, piece) if isinstance(piece, list) else piece)
    return items


def is_region(group: Group) -> bool:
    """False for what has no element type a kernel handles, or sizes that only the data decide."""
    values = [value for node in group.nodes for value in (*node.inputs, *node.outputs)]
    return all(value.type.dtype.kind not in (Kind.STRING, Kind.COMPLEX) for value in values)


def host_piece(group: Group, growth: Growth, refused: list[tuple[str, str]]) -> HostPiece:
    """A group for the interpreter."""
    results = results_of(group, growth)
    text, reads, tensors = fragment(group.nodes, results)
    kind = " ".join(dict.fromkeys(node.op.name for node in group.nodes))
    return HostPiece(text, reads, results, tensors, Label(source_of(group.nodes), kind, "host"), tuple(refused))


def _machine_code(items: Sequence[Item], target: Target, pool: CompilePool) -> Any:
    isa = isa_of(target)
    stages = {(s.source, s.optimise): s for piece in kernels(items) for s in piece.kernel.stages}
    requests = [Request(stage.source, isa, stage.optimise) for stage in stages.values()]
    objects: dict[str, bytes] = {}
    for number, (stage, made) in enumerate(zip(stages.values(), pool.compile(requests), strict=True)):
        if isinstance(made, Failure):
            raise UnsupportedError(f"LLVM refused a kernel: {made.reason}\n{stage.source[:2000]}")
        objects[f"stage{number}"] = made
    image = link_image(pool, isa, objects)
    entries = {key: image.blob.entries[f"stage{number}"] for number, key in enumerate(stages)}
    return image.blob, entries, image.crew


def _plan(graph: Graph, scheduler: Scheduler) -> Plan:
    frame = scheduler.frame
    arena = scheduler.arena
    shapes = [[frame.size(size) for size in value.type.shape] for value in (*graph.inputs, *graph.outputs)]
    checks = [(frame.size(one.formula), one) for one in scheduler.layout.checks]
    sizes = [frame.size(buffer.size) for buffer in scheduler.buffers]
    named = _symbols(graph, scheduler)
    numbering = frame.finish([symbol.name for symbol in named])
    numbers = numbering.numbers
    table, arguments = scheduler.numbered(numbers)
    buffers = tuple(
        (buffer.name, numbers[scheduler.offsets[key]], numbers[size], buffer.first, buffer.last)
        for key, buffer, size in zip(scheduler.keys, scheduler.buffers, sizes, strict=True)
    )
    return Plan(
        tuple(_spec(value.name, value) for value in graph.inputs),
        tuple(_spec(name, value) for name, value in zip(graph.output_names, graph.outputs, strict=True)),
        tuple(named),
        numbering.program,
        numbering.slots,
        table,
        arguments,
        numbering.binds,
        scheduler.spans(numbers),
        tuple(tuple(numbers[slot] for slot in shape) for shape in shapes),
        numbers[arena],
        max((piece.kernel.scratch for piece in kernels(scheduler.items)), default=0),
        tuple(Check(numbers[slot], one.message, ", ".join(one.source)) for slot, one in checks),
        tuple(scheduler.labels),
        buffers,
    )


def _spec(name: str, value: Value) -> Spec:
    shape = tuple(size if isinstance(size, int) else str(size) for size in value.type.shape)
    return Spec(name, value.type.dtype, shape)


def _symbols(graph: Graph, scheduler: Scheduler) -> list[Symbol]:
    """The symbols that formulas use, each with the input that decides it."""
    used = scheduler.frame.symbols()
    found = {name: Symbol(name, low=1) for name in dim.symbols(THREADS) & used}
    for number, value in enumerate(graph.inputs):
        for axis, size in enumerate(value.type.shape):
            bare = size.symbol if isinstance(size, Dim) else None
            if bare and bare.name in used and bare.name not in found:
                found[bare.name] = Symbol(bare.name, number, axis, -1, bare.low, bare.high, bare.multiple)
        for entry, size in enumerate(value.type.entries or ()):
            bare = size.symbol if isinstance(size, Dim) else None
            if bare and bare.name in used and bare.name not in found:
                found[bare.name] = Symbol(bare.name, number, -1, entry, None)
    missing = sorted(used - set(found))
    if missing:
        raise UnsupportedError(f"sizes that only the data decide are not run yet: {', '.join(missing)}")
    return list(found.values())


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
    outputs: Sequence[str] | None = None,
    example_inputs: Any = None,
    data_root: str | os.PathLike[str] | None = None,
    plugins: Sequence[Any] = (),
    cache: bool | str | os.PathLike[str] = True,
    progress: Progress | None = None,
) -> Engine:
    """An engine for a model: a path, bytes, an onnx.ModelProto, or a Graph.

    `target` names machines, a comma or a sequence for several in one engine. `shapes` overrides what the model declares
    ({"x": (1, 3, "H", "W")}), `dims` bounds or fixes named sizes ({"batch": 8, "H": (32, 640, 32)}: value, or least,
    most and multiple). `precision` is "model" (types as written) or "f32". `effort` 0 to 3 is how long to look for
    faster kernels, `threads` the most threads a call uses, `memory_limit` the most bytes of weights and arena.
    `outputs` names any values of the model to return instead of its own outputs; `data_root` is where external data lie.
    `cache` is True, False or a folder; `progress(phase, done, total)` is called as work goes on.

    Raises ModelError for a damaged model, UnsupportedError for one this version cannot build, OptionError for an
    argument that cannot hold, TargetError for a machine there is no code for.
    """
    options = Options(Target.parse(target), precision, effort, threads, memory_limit)
    if plugins:
        raise OptionError("this version takes no plugins", argument="plugins", remedy="leave it out")
    if example_inputs is not None:
        raise OptionError("example_inputs belong to PyTorch modules", argument="example_inputs", remedy="leave it out")
    folder = cache_folder(cache)
    opening = {"shapes": shapes, "dims": dims, "outputs": outputs, "data_root": data_root}
    stored = EngineCache(folder)
    key = stored.key(model, options, opening)
    found = stored.find(key, threads=threads, memory_limit=memory_limit)
    if found is not None:
        return found
    report = progress or (lambda phase, done, total: None)
    with numbered_unknowns(), CompilePool(_workers(), ObjectCache(folder)) as pool:
        pool.start()
        report("import", 0, 1)
        graph = open_model(model, **opening)
        image = build_image(graph, options, pool, report)
    stored.keep(key, image)
    return from_image(image, graph.name or "engine", threads=threads, memory_limit=memory_limit)


def _workers() -> int:
    return max(1, min(4, len(os.sched_getaffinity(0))))
