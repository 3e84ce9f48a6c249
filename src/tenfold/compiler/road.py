"""The road from a graph to the bytes of an engine file, one part for each target."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tenfold import codegen, passes
from tenfold.codegen.cpu.pool import CompilePool
from tenfold.codegen.strategy import Strategy
from tenfold.compiler.arrange import arrange
from tenfold.compiler.assemble import CpuBackend, begin, plan_of
from tenfold.compiler.backend import Backend
from tenfold.compiler.before import Before
from tenfold.compiler.carry import appends_in_place
from tenfold.compiler.conditions import conditions, late_conditions, written
from tenfold.compiler.contents import constants_section
from tenfold.compiler.cover import Machine, cover
from tenfold.compiler.device.binaries import GpuBackend
from tenfold.compiler.device.placing import by_clock, share, sooner_beside
from tenfold.compiler.fuse.decompose import decompose
from tenfold.compiler.fuse.finish import finish_rows
from tenfold.compiler.fuse.grow import NotFused
from tenfold.compiler.items import HostPiece, pieces
from tenfold.compiler.layout import Assumption
from tenfold.compiler.phases import Phases
from tenfold.compiler.refit import RefitNotes
from tenfold.compiler.report import report_of
from tenfold.compiler.taps import taps_section
from tenfold.compiler.timings import Timings
from tenfold.compiler.tune import Tuning, keep_before
from tenfold.compiler.ways import settle
from tenfold.compiler.weights import WeightStore
from tenfold.ir.graph import Graph, copy, reserve_names
from tenfold.ir.text import Weights, show
from tenfold.options import Options
from tenfold.passes.clean import CommonSubexpressions, DeadCode
from tenfold.plugin import Plugin, require_known
from tenfold.rewrite.pipeline import Pipeline, Rewrite
from tenfold.runtime import format
from tenfold.runtime.plan import to_manifest
from tenfold.target import Target
from tenfold.version import __version__

Sections = dict[str, bytes | format.Bytes | format.Content]
BACKENDS: Mapping[str, Backend] = {"cpu": CpuBackend(), "cuda": GpuBackend()}

LOWERED = Pipeline(Rewrite("simplify", (*passes.SIMPLER, finish_rows)), CommonSubexpressions(), DeadCode())
"""What tidies a graph after its composites are taken apart; nothing here puts them together again."""


@dataclass(frozen=True)
class Means:
    """What a build works with beside the graph. `settled`: nothing is left in it that may run in several ways.
    `before`: what the clock had said, by target, of an engine that is tuned anew.
    """

    options: Options
    pool: CompilePool
    phase: Phases
    plugins: Sequence[Plugin] = ()
    timings: Timings = field(default_factory=Timings)
    settled: bool = False
    before: Mapping[str, Before] = field(default_factory=dict)


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
        require_known(graph, means.plugins)
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
    threads, limit = (None if one is None else int(one) for one in (options.threads, options.memory_limit))
    manifest: dict[str, Any] = {
        "tenfold": __version__,
        "precision": options.precision,
        "targets": targets,
        "threads": threads,
        "memory_limit": limit,
        "model": graph.metadata,
        "winograd": options.winograd,
        "conditions": written(needed),
        **({"structure": graph.structure} if graph.structure else {}),
        **({"carried": [dataclasses.astuple(one) for one in graph.carried]} if graph.carried else {}),
        "plugins": {one.name: [op.__name__ for op in one.ops] for one in means.plugins if one.ops},
    }
    return format.pack(manifest, sections)


def compile_for(graph: Graph, target: Target, means: Means, contents: Contents) -> dict[str, Any]:
    """One target's part of an engine, added to its contents; its entry of the manifest is returned."""
    backend, name, options, phase = BACKENDS[target.kind], str(target.portable), means.options, means.phase
    if options.precision == "tf32" and target.kind == "cuda":
        target = dataclasses.replace(target, extras=(*target.extras, "tf32"))
    before = means.before.get(name, Before())
    tuning = Tuning(graph.inputs, target, options, means.pool, means.timings, phase.tell, phase.stop, before=before)
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
        machine = machine_for(target, means)
        items = cover(graph, layout, machine, refusals)
        if machine.beside and sooner_beside(graph, items, target, options.effort):
            items = cover(graph, layout, machine.beside, refusals)
        said.append(f"{len(list(pieces(items)))} regions")
    with phase("tune") as said:
        said += [backend.tune(items, tuning), *filter(None, [keep_before(items, tuning)])]
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


def machine_for(target: Target, means: Means) -> Machine:
    """Who makes kernels in a build: without tuning, for a CPU, they are compiled as they are written."""
    machine = machine_of(target, means.options, [own for one in means.plugins for own in one.strategies])
    if target.kind == "cpu" and means.options.effort == 0 and not means.settled:
        return dataclasses.replace(machine, begin=partial(begin, target, means.pool))
    return machine


def machine_of(target: Target, options: Options, own: Sequence[Strategy] = ()) -> Machine:
    """Who makes kernels for a target: plugins' strategies first; beside a GPU, its CPU."""
    strategies = [*own, *codegen.strategies_for(target, options)]
    beside = machine_of(target.cpu, options) if target.kind != "cpu" else None
    return Machine(target, strategies, beside)
