"""From chosen kernels to what a file holds: objects linked to code, slots numbered to a plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tenfold.codegen.cpu import fourier
from tenfold.codegen.cpu.attention import strategy as attention
from tenfold.codegen.cpu.image import link_image
from tenfold.codegen.cpu.isa import isa_of
from tenfold.codegen.cpu.pool import CompilePool, Failure, Request, Told
from tenfold.codegen.cuda.arch import PROCESSORS
from tenfold.codegen.region import THREADS
from tenfold.codegen.strategy import Kernel, Strategy
from tenfold.compiler.backend import MachineCode
from tenfold.compiler.frame import FrameBuilder, Slot
from tenfold.compiler.fuse.decompose import take_apart
from tenfold.compiler.items import Item, Piece, kernels
from tenfold.compiler.layout import Assumption, Layout
from tenfold.compiler.portions import portions
from tenfold.compiler.schedule import Scheduler
from tenfold.compiler.tune import Tuning, tune
from tenfold.compiler.ways import Stretch, leave
from tenfold.errors import UnsupportedError
from tenfold.ir import dim
from tenfold.ir.dim import Dim
from tenfold.ir.graph import Carry, Graph, Node, Value, unmet
from tenfold.ops.attention import Attention
from tenfold.ops.movement import Append
from tenfold.ops.signal import Fourier
from tenfold.runtime.cpu.block import ABI_VERSION
from tenfold.runtime.plan import Carried, Check, Label, Plan, Spec, Symbol
from tenfold.target import Target

MACHINE = dim.symbols(THREADS) | dim.symbols(PROCESSORS)
"""Symbols that the machine decides which runs an engine, not the call."""


class CpuBackend:
    """CPUs."""

    scheduler = Scheduler
    tune = staticmethod(tune)

    def stretches(self, graph: Graph, target: Target) -> Sequence[Stretch]:
        """Large batches in portions, or whole; attention by its own kernel, or taken apart."""

        def apart(graph: Graph, nodes: Sequence[Node]) -> None:
            take_apart(graph, nodes[0])

        kept = [node for node in graph.nodes if isinstance(node.op, Attention) and self.keeps(node)]
        found = [Stretch([node], {"attention": leave, "taken apart": apart}) for node in kept]
        return [*portions(graph, isa_of(target)), *found]

    def keeps(self, node: Node) -> bool:
        """Attention and Fourier transforms that have a kernel; other composites run as parts."""
        if isinstance(node.op, Attention):
            return attention.takes(value.type for value in node.inputs)
        return isinstance(node.op, Fourier) and fourier.takes(node.op, node.inputs[0].type)

    def joined(
        self, items: Sequence[Item], layout: Layout, strategies: Sequence[Strategy], tuning: Tuning
    ) -> list[Item]:
        """As they are."""
        return list(items)

    def machine_code(
        self, items: Sequence[Item], target: Target, pool: CompilePool, tell: Told | None = None
    ) -> MachineCode:
        """The linked code of all stages, and where the source of each begins."""
        return linked(list(kernels(items)), target, pool, tell)


def begin(target: Target, pool: CompilePool, kernel: Kernel) -> None:
    """Have a kernel's stages compiled while others are written."""
    isa = isa_of(target)
    pool.begin(Request(stage.source, isa, stage.optimise) for stage in kernel.stages)


def linked(
    pieces: Sequence[Piece], target: Target, pool: CompilePool, tell: Told | None = None, name: str = "code"
) -> MachineCode:
    """The code of all stages of some pieces and the dispatcher's, as the section `name`; UnsupportedError for a stage
    that LLVM refuses.
    """
    isa = isa_of(target)
    stages = {(s.source, s.optimise): s for piece in pieces for s in piece.kernel.stages}
    requests = [Request(stage.source, isa, stage.optimise) for stage in stages.values()]
    objects: dict[str, bytes] = {}
    for number, (stage, made) in enumerate(zip(stages.values(), pool.compile(requests, tell), strict=True)):
        if isinstance(made, Failure):
            raise UnsupportedError(f"LLVM refused a kernel: {made.reason}\n{stage.source[:2000]}")
        objects[f"stage{number}"] = made
    image = link_image(pool, isa, objects)
    blob, crew = image.blob, image.crew
    return MachineCode(
        {key: blob.entries[f"stage{number}"] for number, key in enumerate(stages)},
        {name: blob.code, "crew": crew.code},
        {"entries": blob.entries, "crew_entries": crew.entries, "abi": ABI_VERSION},
        f"{len(stages)} stages, {len(blob.code)} bytes of code",
    )


def plan_of(graph: Graph, scheduler: Scheduler) -> Plan:
    """The plan of a scheduled graph: every slot has its number."""
    frame = scheduler.frame
    shapes = [[frame.size(size) for size in value.type.shape] for value in (*graph.inputs, *graph.outputs)]
    assumed = [Assumption(size, unmet(size), (operator,)) for size, operator in graph.assumptions]
    named_first = sorted((*scheduler.layout.checks, *assumed), key=lambda one: not one.source)
    decided = [one for one in named_first if scheduler.sections.decide(one.formula)]
    checks = [(frame.size(one.formula), one) for one in decided]
    sizes = [frame.size(buffer.size) for buffer in scheduler.buffers]
    carried = [_carried(graph, one, scheduler.layout, frame) for one in graph.carried]
    named = _symbols(graph, scheduler)
    numbering = frame.finish([symbol.name for symbol in named], scheduler.sections.of)
    missing = scheduler.sections.count + 1 - len(numbering.sections)
    scheduler.numbers = numbers = numbering.numbers
    table, arguments = scheduler.numbered(numbers)
    buffers = tuple(
        (buffer.name, numbers[scheduler.offsets[key]], numbers[size], buffer.first, buffer.last)
        for key, buffer, size in zip(scheduler.keys, scheduler.buffers, sizes, strict=True)
    )
    return Plan(
        inputs=tuple(_spec(value.name, value) for value in graph.inputs),
        outputs=tuple(_spec(name, value) for name, value in zip(graph.output_names, graph.outputs, strict=True)),
        symbols=tuple(named),
        program=numbering.program,
        slots=numbering.slots,
        steps=table,
        argmap=arguments,
        binds=numbering.binds,
        spans=scheduler.spans(numbers),
        shapes=tuple(tuple(numbers[slot] for slot in shape) for shape in shapes),
        sections=numbering.sections + numbering.sections[-1:] * missing,
        arenas=tuple(numbers[arena] for arena in scheduler.arenas),
        kept=len(scheduler.kept),
        scratch=max((piece.kernel.scratch for piece in kernels(scheduler.items)), default=0),
        checks=tuple(Check(numbers[slot], one.message, ", ".join(one.source)) for slot, one in checks),
        labels=tuple(_labels(scheduler, numbers)),
        buffers=buffers,
        makers=tuple(_maker(key) for key in (*scheduler.keys, *graph.outputs)),
        carried=tuple(replace(one, filled=numbers[slot]) for one, slot in carried),
    )


def _carried(graph: Graph, carry: Carry, layout: Layout, frame: FrameBuilder) -> tuple[Carried, Slot]:
    """A state, and the slot of how many rows of it are filled after the call."""
    inputs = [value.name for value in graph.inputs]
    value = graph.inputs[inputs.index(carry.input)]
    output = graph.output_names.index(carry.output)
    made = Carried(_spec(carry.input, value), inputs.index(carry.input), output)
    if carry.along < 0:
        in_place = layout.view(graph.outputs[output]).root is value
        return replace(made, in_place=in_place, start=carry.start), frame.size(0)
    appended = graph.outputs[output].producer
    assert appended is not None and isinstance(appended.op, Append)
    axis, start = appended.op.axis, appended.op.start
    shape = (*made.spec.shape[:axis], str(start), *made.spec.shape[axis + 1 :])
    filled = frame.size(start + appended.inputs[1].type.shape[axis])
    grows = replace(made, spec=replace(made.spec, shape=shape), along=axis, count=inputs.index(carry.count))
    return grows, filled


def _maker(made: Value | Piece) -> str:
    node = made.producer if isinstance(made, Value) else made.label
    return ", ".join(node.source) if node else ""


def _labels(scheduler: Scheduler, numbers: dict[Slot, int]) -> Iterator[Label]:
    for step, label in enumerate(scheduler.labels):
        if step in scheduler.costs:
            flops, moved = (numbers[slot] for slot in scheduler.costs[step])
            label = replace(label, flops=flops, bytes=moved)
        yield label


def _spec(name: str, value: Value) -> Spec:
    shape = tuple(size if isinstance(size, int) else str(size) for size in value.type.shape)
    return Spec(name, value.type.dtype, shape)


def _symbols(graph: Graph, scheduler: Scheduler) -> list[Symbol]:
    """The symbols that formulas use, each with the input that decides it."""
    used = scheduler.frame.symbols()
    found = {name: Symbol(name, low=1) for name in sorted(MACHINE & used)}
    for number, value in enumerate(graph.inputs):
        for axis, size in enumerate(value.type.shape):
            bare = size.symbol if isinstance(size, Dim) else None
            if bare and bare.name in used and bare.name not in found:
                found[bare.name] = Symbol(bare.name, number, axis, -1, bare.low, bare.high, bare.multiple)
        for entry, size in enumerate(value.type.entries or ()):
            bare = size.symbol if isinstance(size, Dim) else None
            if bare and bare.name in used and bare.name not in found:
                found[bare.name] = Symbol(bare.name, number, -1, entry, None)
    decided = scheduler.sections.of
    found |= {name: Symbol(name, section=decided[name]) for name in sorted(used & decided.keys())}
    missing = sorted(used - set(found))
    assert not missing, f"nothing decides the sizes {', '.join(missing)}"
    return list(found.values())
