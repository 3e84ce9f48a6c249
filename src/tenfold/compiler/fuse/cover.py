"""From groups of nodes to regions: domains in storage order, operands as strides, bodies as straight-line programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tenfold.codegen.region import (
    Anchored,
    Body,
    Index,
    Instruction,
    Load,
    Operand,
    Phase,
    Pointwise,
    Region,
    Row,
    Uniform,
)
from tenfold.compiler.fuse.grow import TOLD, Group, Growth, has_several_results, is_number
from tenfold.compiler.layout import Layout, storage_axes
from tenfold.compiler.views import Shape, broadcast_strides
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Node, Value
from tenfold.ir.op import Op
from tenfold.ir.tensor import Tensor
from tenfold.ops.arithmetic import Add, Mul
from tenfold.ops.constant import Constant, Fill, Iota, Sizes, scalar
from tenfold.ops.logic import Cast, Equal, Where
from tenfold.ops.moments import LineSums, Moments
from tenfold.ops.primitive import Copy, Pick
from tenfold.ops.reduce import ArgReduce, Reduce


def region_of(group: Group, growth: Growth) -> Region:
    """The region that computes a group's nodes."""
    if group.is_row:
        return _row(group, growth)
    if group.anchor is not None:
        return _anchored(group, growth)
    return _pointwise(group, growth)


class BodyBuilder:
    """Writes the nodes of a group as one straight-line program.

    `axes` lists the domain's axes in the order in which the region states them; `loads` collects the operands from
    outside, `given` the registers of values that the region supplies.
    """

    def __init__(self, layout: Layout, domain: Shape, axes: Sequence[int]) -> None:
        self.layout = layout
        self.domain = domain
        self.axes = tuple(axes)
        self.uniforms: list[Size] = []
        self.loads: dict[Value, Operand] = {}
        self.gathered: dict[Value, tuple[int, Operand]] = {}

    def operand(self, value: Value) -> Operand:
        """A value as walked over the domain."""
        view = self.layout.view(value)
        strides = broadcast_strides(view.strides, value.type.shape, self.domain)
        shape = tuple(self.domain[axis] for axis in self.axes)
        return Operand(view.root, value.type.dtype, shape, tuple(strides[a] for a in self.axes), view.offset)

    def collect(self, nodes: Iterable[Node], given: Iterable[Value]) -> None:
        """Note every value that these nodes read from memory."""
        inside = {value for node in nodes for value in node.outputs} | set(given)
        for node in nodes:
            for value in node.inputs[1:] if isinstance(node.op, Pick) else node.inputs:
                if value not in inside and value not in self.loads and not is_number(value):
                    self.loads[value] = self.operand(value)

    def body(self, nodes: Iterable[Node], inputs: Sequence[Value], results: Sequence[Value]) -> Body:
        """The program that computes `results` from `inputs` in its first registers, with what is needed of `nodes`."""
        writer = _Writer(self, {value: register for register, value in enumerate(inputs)}, set(nodes))
        outputs = tuple(writer.register(value) for value in results)
        return Body(tuple(value.type.dtype for value in inputs), tuple(writer.code), outputs)


class _Writer:
    def __init__(self, builder: BodyBuilder, registers: dict[Value, int], nodes: set[Node]) -> None:
        self.builder = builder
        self.registers = registers
        self.first = len(registers)
        self.nodes = nodes
        self.code: list[Instruction] = []

    def emit(self, instruction: Instruction) -> int:
        if instruction in self.code:
            return self.first + self.code.index(instruction)
        self.code.append(instruction)
        return self.first + len(self.code) - 1

    def register(self, value: Value) -> int:
        for one in self._missing(value):
            self.registers[one] = self._compute(one)
        return self.registers[value]

    def _missing(self, value: Value) -> Iterable[Value]:
        """What has no register yet, each after what it is computed from; chains may be longer than Python's stack."""
        found: dict[Value, None] = {}
        waiting = [] if value in self.registers else [value]
        while waiting:
            node = waiting[-1].producer
            read = node.inputs if node is not None and node.op.elementwise else ()
            before = [one for one in read if one not in self.registers and one not in found]
            if not before:
                found[waiting.pop()] = None
            waiting.extend(reversed(before))
        return found

    def _compute(self, value: Value) -> int:
        constant = _immediate(value)
        if constant is not None:
            return self.emit(Instruction(Constant(constant), (), value.type.dtype))
        node = value.producer
        assert node is not None and (node in self.nodes or is_number(value)), f"{value} is not known here"
        match node.op:
            case Copy():
                return self.register(node.inputs[0])
            case Fill(_, content):
                return self.emit(Instruction(Constant(content), (), value.type.dtype))
            case Sizes(elements, _, dtype):
                return self._sizes(elements, dtype, value)
            case Iota(start, step, _, dtype):
                return self._iota(start, step, dtype, value)
            case Pick(own, _):
                return self._pick(node, own, value)
        args = tuple(self.register(one) for one in node.inputs)
        return self.emit(Instruction(node.op, args, value.type.dtype))

    def _uniform(self, size: Size) -> int:
        if isinstance(size, int):
            return self.emit(Instruction(scalar(size, dt.i64), (), dt.i64))
        uniforms = self.builder.uniforms
        if size not in uniforms:
            uniforms.append(size)
        return self.emit(Instruction(Uniform(uniforms.index(size)), (), dt.i64))

    def _index(self, value: Value, axis: int) -> int:
        whole = len(self.builder.domain) - value.type.rank + axis
        return self.emit(Instruction(Index(self.builder.axes.index(whole)), (), dt.i64))

    def _cast(self, register: int, dtype: dt.DType) -> int:
        return register if dtype is dt.i64 else self.emit(Instruction(Cast(dtype), (register,), dtype))

    def _iota(self, start: Size, step: Size, dtype: dt.DType, value: Value) -> int:
        position = self._index(value, 0)
        scaled = self.emit(Instruction(Mul(), (position, self._uniform(step)), dt.i64))
        return self._cast(self.emit(Instruction(Add(), (scaled, self._uniform(start)), dt.i64)), dtype)

    def _pick(self, node: Node, own: tuple[int, ...], value: Value) -> int:
        data, *places = node.inputs
        gathered = self.builder.gathered
        number = gathered.setdefault(data, (len(gathered), whole_operand(self.builder.layout, data)))[0]
        rest = iter(places)
        args = tuple(self.register(next(rest)) if axis < 0 else self._index(value, axis) for axis in own)
        return self.emit(Instruction(Load(number), args, data.type.dtype))

    def _sizes(self, elements: tuple[Size, ...], dtype: dt.DType, value: Value) -> int:
        """Element i of a few: a chain of choices by position."""
        position = self._flat_index(value)
        chosen = self._uniform(elements[-1] if elements else 0)
        for number, size in enumerate(elements[:-1]):
            here = self.emit(Instruction(Equal(), (position, self._uniform(number)), dt.boolean))
            chosen = self.emit(Instruction(Where(), (here, self._uniform(size), chosen), dt.i64))
        return self._cast(chosen, dtype)

    def _flat_index(self, value: Value) -> int:
        flat = self._uniform(0)
        for axis, size in enumerate(value.type.shape):
            if size != 1:
                scaled = self.emit(Instruction(Mul(), (flat, self._uniform(size)), dt.i64))
                flat = self.emit(Instruction(Add(), (scaled, self._index(value, axis)), dt.i64))
        return flat


def _immediate(value: Value) -> Tensor | None:
    """The scalar that a constant of one element is."""
    if isinstance(value.op, Constant) and value.op.tensor.size == 1:
        tensor = value.op.tensor
        return Tensor(tensor.array.reshape(()), dtype=tensor.dtype)
    return None


def results_of(group: Group, growth: Growth) -> list[Value]:
    """The values of a group that something outside of it reads, in order."""
    found = []
    for node in group.nodes:
        for value in node.outputs:
            outside = any(growth.of.get(user) is not group for user in value.uses)
            if outside or value in growth.graph.outputs:
                found.append(value)
    return found


def source_of(nodes: Iterable[Node]) -> tuple[str, ...]:
    """The operators of the user's model that these nodes stand for, once each, in order."""
    return tuple(dict.fromkeys(name for node in nodes for name in node.source))


def _pointwise(group: Group, growth: Growth) -> Pointwise:
    results = results_of(group, growth)
    axes = storage_axes(growth.layout, results[0])
    builder = BodyBuilder(growth.layout, group.domain, axes)
    builder.collect(group.nodes, ())
    body = builder.body(group.nodes, (*builder.loads,), results)
    return Pointwise(
        tuple(group.domain[axis] for axis in axes),
        tuple(builder.operand(value) for value in results),
        tuple(builder.loads.values()),
        body,
        source=source_of(group.nodes),
        uniforms=tuple(builder.uniforms),
        gathered=tuple(operand for _, operand in builder.gathered.values()),
    )


def _row(group: Group, growth: Growth) -> Row:
    reductions = [node for node in group.nodes if isinstance(node.op, (Reduce, ArgReduce))]
    order = storage_axes(growth.layout, _leading_operand(group, reductions[0]))
    axes = [a for a in order if a not in group.axes] + [a for a in order if a in group.axes]
    assert len(axes) == len(group.domain)
    builder = BodyBuilder(growth.layout, group.domain, axes)
    scalars = [node.output for node in reductions]
    builder.collect(group.nodes, scalars)
    work = [node for node in group.nodes if node not in reductions]
    results = results_of(group, growth)
    levels = _row_level(group, scalars)
    whole = [value for value in results if value not in levels]
    single = [value for value in results if value in levels]
    phases = tuple(
        Phase(builder.body(work, (*builder.loads, *scalars[:number]), [node.inputs[0]]), _combine(node))
        for number, node in enumerate(reductions)
    )
    flat = [value for value in builder.loads if _is_flat(value, group)]
    return Row(
        domain=tuple(group.domain[axis] for axis in axes),
        outputs=tuple(builder.operand(value) for value in whole),
        reduced=len(group.axes),
        inputs=tuple(builder.loads.values()),
        phases=phases,
        body=builder.body(work, (*builder.loads, *scalars), whole) if whole else None,
        finish=builder.body(work, (*flat, *scalars), single) if single else None,
        finish_inputs=tuple(builder.loads[value] for value in flat) if single else (),
        finish_outputs=tuple(builder.operand(value) for value in single),
        source=source_of(group.nodes),
        uniforms=tuple(builder.uniforms),
        gathered=tuple(operand for _, operand in builder.gathered.values()),
    )


def _is_flat(value: Value, group: Group) -> bool:
    """True if a value does not move along the row's axes."""
    missing = len(group.domain) - value.type.rank
    return all(axis < missing or value.type.shape[axis - missing] == 1 for axis in group.axes)


def _combine(node: Node) -> Any:
    if isinstance(node.op, ArgReduce):
        return f"arg{node.op.kind}" + ("_last" if node.op.last else "")
    assert isinstance(node.op, Reduce)
    return node.op.kind


def _row_level(group: Group, scalars: list[Value]) -> set[Value]:
    """The values of a row group that are one number a row."""
    level = set(scalars)
    inside = {value for node in group.nodes for value in node.outputs}
    for node in group.nodes:
        if node.output in level:
            continue
        if _is_flat(node.output, group) and all(value in level or value not in inside for value in node.inputs):
            level.add(node.output)
    return level


def _leading_operand(group: Group, first: Node) -> Value:
    """A value from outside that fills the whole domain, to take the storage order from."""
    inside = {value: node for node in group.nodes for value in node.outputs}
    stack = [first.inputs[0]]
    while stack:
        value = stack.pop()
        if value not in inside:
            if value.type.shape == group.domain:
                return value
            continue
        stack.extend(reversed(inside[value].inputs))
    return first.inputs[0]


def _anchored(group: Group, growth: Growth) -> Anchored:
    anchor = group.anchor
    assert anchor is not None
    layout = growth.layout
    rank = len(group.domain)
    builder = BodyBuilder(layout, group.domain, range(rank))
    told = [node for node in group.nodes if isinstance(node.op, TOLD) and node is not anchor]
    epilogue = [node for node in group.nodes if node is not anchor and node not in told]
    if has_several_results(anchor):
        return _several_results(group, growth)
    builder.collect(epilogue, anchor.outputs)
    results = [value for value in results_of(group, growth) if value.producer not in told]
    body = builder.body(epilogue, (*anchor.outputs, *builder.loads), results)
    return Anchored(
        group.domain,
        tuple(builder.operand(value) for value in results),
        anchor.op,
        tuple(whole_operand(layout, value) for value in anchor.inputs),
        body,
        tuple(builder.loads.values()),
        len(anchor.outputs),
        moments=_told(told, Moments, layout),
        sums=_told(told, LineSums, layout),
        source=source_of(group.nodes),
        uniforms=tuple(builder.uniforms),
        gathered=tuple(operand for _, operand in builder.gathered.values()),
    )


def _told(nodes: Iterable[Node], kind: type[Op], layout: Layout) -> Operand | None:
    return next((whole_operand(layout, node.output) for node in nodes if isinstance(node.op, kind)), None)


def _several_results(group: Group, growth: Growth) -> Anchored:
    anchor = group.anchor
    assert anchor is not None
    types = tuple(value.type.dtype for value in anchor.outputs)
    return Anchored(
        group.domain,
        tuple(whole_operand(growth.layout, value) for value in anchor.outputs),
        anchor.op,
        tuple(whole_operand(growth.layout, value) for value in anchor.inputs),
        Body(types, (), tuple(range(len(types)))),
        results=len(types),
        source=source_of(group.nodes),
    )


def whole_operand(layout: Layout, value: Value) -> Operand:
    """A value as walked over its own axes."""
    view = layout.view(value)
    return Operand(view.root, value.type.dtype, value.type.shape, view.strides, view.offset)
