"""Large batches in portions of a few images: what lies between the operations of a run stays in the last cache.

Each image's result follows from that image alone, so a run of operations on [N, C, *S] may take the first images
through all of it, then the next ones. It pays while what a layer writes for the whole batch is too much for the last
cache, and its weights, which every portion reads again, are no more than its images are worth: the second cache, for
each of them. So early layers go by an image or two, later ones, in a run of their own, by several. Few portions are
copies of the run, each with its images; many are turns of a loop. A batch that only the call tells goes image by image:
a loop whose turns each see one, up to the layers that write little. Rows of products are images, too, where there are
few products for each byte between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tenfold.codegen.cpu.isa import Isa
from tenfold.compiler.ways import Stretch, leave
from tenfold.ir import dim, unknown
from tenfold.ir.dim import Size
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ir.type import Type
from tenfold.ops.constant import Constant
from tenfold.ops.control import Scan
from tenfold.ops.conv import Conv, ConvTranspose
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Concat, Reshape, Slice
from tenfold.ops.pool import Pool

_MOST = 16
"""The most portions that have steps and arguments of their own; more are turns of a loop."""
_USUAL = 7
"""So many images count as a batch that only the call tells: later layers, which write little, see all at once."""
_PART = 8
"""The part of the last cache that what a layer writes for a portion may take."""
_THIN = 64
"""A product is thin, and its results worth keeping near, if terms by columns are at most so many times their sum."""
_WEIGHTED = (Conv, ConvTranspose, MatMul)
_LAYERS = (*_WEIGHTED, Pool)


def portions(graph: Graph, isa: Isa) -> list[Stretch]:
    """The runs of a graph that may be worth it: in portions, or whole."""

    def divide(graph: Graph, nodes: Sequence[Node]) -> None:
        _divide(graph, _Run(nodes), isa)

    return [
        Stretch(run.nodes, {"in portions": divide, "whole": leave} if isinstance(run.batch, int) else _OPEN)
        for run in _runs(graph, isa)
    ]


@dataclass(frozen=True)
class _Run:
    """Nodes in order, of which only the last one's result is seen outside."""

    nodes: Sequence[Node]

    @property
    def result(self) -> Value:
        return self.nodes[-1].output

    @property
    def batch(self) -> Size:
        return self.result.type.shape[0]


def _bytes(value: Value) -> int:
    """How many bytes a value has, where at most its batch is open."""
    if not value.type.rank:
        return value.type.dtype.itemsize
    batch, *sizes = value.type.shape
    image = dim.product(sizes) * value.type.dtype.itemsize
    return image * (batch if isinstance(batch, int) else _USUAL) if isinstance(image, int) else 0


def _runs(graph: Graph, isa: Isa) -> Iterator[_Run]:
    """From each node that no run holds yet, the longest that is worth it."""
    waiting = [node for node in graph.nodes if not isinstance(node.op, Constant)]
    while any(_bytes(value) >= isa.l3 // _PART for node in waiting for value in node.outputs):
        run = _longest(graph, waiting, isa) if _begins(waiting[0]) else None
        if run:
            yield run
        waiting = waiting[len(run.nodes) if run else 1 :]


def _begins(node: Node) -> bool:
    """Whether a run may begin here: elementwise work belongs to what computes its operands."""
    return isinstance(node.op, _LAYERS) or not any(value.inputs for value in node.inputs)


def _longest(graph: Graph, nodes: Sequence[Node], isa: Isa) -> _Run | None:
    """The longest run at the start of these nodes that ends in a large result, or where one has been read, with the
    elementwise work behind it.
    """
    found: _Run | None = None
    waiting: dict[Value, int] = {}
    layers = largest = heaviest = 0
    for count, node in enumerate(nodes, 1):
        result = node.output if _by_image(node) else None
        if result is None or result.type.shape[0] != nodes[0].output.type.shape[0]:
            break
        largest, heaviest = max(largest, _bytes(result)), max(heaviest, _weights(node))
        if heaviest > isa.l2 * _together(result.type.shape[0], largest, isa):
            break
        for value in dict.fromkeys(node.inputs):
            if value in waiting:
                waiting[value] -= 1
                if not waiting[value]:
                    del waiting[value]
        layers += isinstance(node.op, _LAYERS)
        large = any(_bytes(value) >= isa.l3 // _PART for value in (result, *_images(node)))
        follows = not _begins(node) and found is not None and len(found.nodes) == count - 1
        if not waiting and layers > 1 and (large or follows) and _comes_out(result.type, largest, isa):
            found = _Run(tuple(nodes[:count]))
        if result in graph.outputs:
            break
        waiting[result] = len(result.uses)
    return found


def _count(batch: int, largest: int, isa: Isa) -> int:
    """How many portions a run has whose largest result has so many bytes: even ones, where there are not too many, or
    they are turns of a loop.
    """
    least = min(batch, max(1, -(-largest // (isa.l3 // _PART))))
    even = next(count for count in range(least, batch + 1) if batch % count == 0)
    return even if even < 2 * least or least > _MOST else least


def _comes_out(result: Type, largest: int, isa: Isa) -> bool:
    """Whether rows come in about as many portions as they should; images may go one by one."""
    batch = result.shape[0]
    return result.rank > 2 or not isinstance(batch, int) or _count(batch, largest, isa) < 4 * largest * _PART // isa.l3


def _together(batch: Size, largest: int, isa: Isa) -> int:
    """The images of a portion."""
    return batch // _count(batch, largest, isa) if isinstance(batch, int) and batch else 1


def _by_image(node: Node) -> bool:
    """Whether each image of a result follows from the same image of the operands."""
    if len(node.outputs) != 1 or node.output.type.rank < 2 or not _bytes(node.output):
        return False
    batch = node.output.type.shape[0]
    if batch == 1 or unknown.of_sizes((batch,)):
        return False
    if not all(_follows(value, node) or _is_one(value, node) for value in _images(node)):
        return False
    if isinstance(node.op, MatMul):
        return isinstance(batch, int) and _is_thin(node.inputs[1])
    if isinstance(node.op, Conv | ConvTranspose):
        return isinstance(node.inputs[1].op, Constant)
    return isinstance(node.op, Pool) or node.op.elementwise


def _is_thin(matrix: Value) -> bool:
    """Whether products by a matrix, a constant, take less time for each of a row's bytes than these take."""
    sizes = matrix.type.shape
    terms, columns = sizes if len(sizes) == 2 else (None, None)
    if not isinstance(matrix.op, Constant) or not isinstance(terms, int) or not isinstance(columns, int):
        return False
    return terms * columns <= _THIN * (terms + columns)


def _weights(node: Node) -> int:
    """Bytes of a layer's filters."""
    return _bytes(node.inputs[1]) if isinstance(node.op, _WEIGHTED) else 0


def _images(node: Node) -> Sequence[Value]:
    """The operands that may have an axis of images: all but filters."""
    return node.inputs[:1] if isinstance(node.op, _WEIGHTED) else node.inputs


def _follows(value: Value, node: Node) -> bool:
    """Whether an operand has an image for each of the result's."""
    return value.type.rank == node.output.type.rank and value.type.shape[0] == node.output.type.shape[0]


def _is_one(value: Value, node: Node) -> bool:
    """Whether an operand is the same for all images."""
    return value.type.rank < node.output.type.rank or value.type.shape[0] == 1


def _divide(graph: Graph, run: _Run, isa: Isa) -> None:
    """Replace a run by its portions and their concatenation."""
    assert isinstance(run.batch, int)
    count = _count(run.batch, max(_bytes(node.output) for node in run.nodes), isa)
    if count > _MOST:
        _turn(graph, run, run.batch // count)
        return
    ends = [run.batch * number // count for number in range(count + 1)]
    parts = [_portion(run, first, end) for first, end in pairwise(ends)]
    _replace(graph, run, Node(Concat(0), parts, name=run.nodes[-1].name, source=run.nodes[-1].source).output)


def _replace(graph: Graph, run: _Run, result: Value) -> None:
    graph.replace_uses(run.result, result)
    for node in reversed(run.nodes):
        graph.remove(node)


def _portion(run: _Run, first: int, end: int) -> Value:
    """The result's images from `first` to `end`."""

    def images(value: Value) -> Value:
        starts, shape = (first, *(0,) * (value.type.rank - 1)), (end - first, *value.type.shape[1:])
        part: Value = Slice(starts, shape, (1,) * value.type.rank)(value)
        return part

    return _again(run, {value: images(value) for value in _divided(run)}, f"[{first}:{end}]")


def _divided(run: _Run) -> list[Value]:
    """What a run reads of which each portion takes its own images."""
    made = {node.output for node in run.nodes}
    found = (value for node in run.nodes for value in _images(node) if _follows(value, node))
    return [value for value in dict.fromkeys(found) if value not in made]


def _again(run: _Run, known: dict[Value, Value], suffix: str) -> Value:
    """The result of copies of a run's nodes, which read what is `known` in place of what they read."""
    for node in run.nodes:
        inputs = [known.get(value, value) for value in node.inputs]
        made = Node(node.op, inputs, name=f"{node.name}{suffix}" if node.name else "", source=node.source)
        made.output.name = f"{node.output.name}{suffix}" if node.output.name else ""
        known[node.output] = made.output
    return known[run.result]


def _by_turns(graph: Graph, nodes: Sequence[Node]) -> None:
    """Replace a run by a loop over its images."""
    _turn(graph, _Run(nodes), 1)


def _turn(graph: Graph, run: _Run, images: int) -> None:
    """Replace a run by a loop whose turns see so many images each."""
    body, sequences, shared = Graph(name="image"), _divided(run), _shared(run)
    known = {value: body.input("", Type(value.type.dtype, (images, *value.type.shape[1:]))) for value in sequences}
    for value in shared:
        known[value] = Node(value.op, ()).output if isinstance(value.op, Constant) else body.input("", value.type)
    body.set_outputs([_again(run, known, f"[{-images}:]")], ["result"])
    captures = [value for value in shared if not isinstance(value.op, Constant)]
    rows = [Reshape((run.batch // images, images, *value.type.shape[1:]))(value) for value in sequences]
    last = run.nodes[-1]
    loop = Node(Scan(body, 0, len(rows)), [*rows, *captures], name=last.name, source=last.source)
    whole: Value = Reshape(run.result.type.shape)(loop.output)
    whole.name = run.result.name
    _replace(graph, run, whole)


def _shared(run: _Run) -> list[Value]:
    """What a run reads whole for each portion."""
    made = {*(node.output for node in run.nodes), *_divided(run)}
    return list(dict.fromkeys(value for node in run.nodes for value in node.inputs if value not in made))


_OPEN = {"image by image": _by_turns}
