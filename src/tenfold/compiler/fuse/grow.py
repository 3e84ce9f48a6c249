"""Growing regions: which nodes are computed together.

Every anchor starts a group; an elementwise node joins the group of a producer that walks the same domain; a reduction
starts a row, and what is computed from its rows joins as further phases. Groups form a directed acyclic graph
throughout: a node joins only if nothing it needs waits for that group. Each refusal keeps its reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tenfold.compiler.fuse.legality import Site, joins_row, row_axes, same_shape
from tenfold.compiler.layout import SOURCES, Layout, of_objects
from tenfold.compiler.views import REVEALING, Shape, is_view
from tenfold.ir import unknown
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ops.constant import Constant
from tenfold.ops.control import If, Loop, Scan
from tenfold.ops.conv import Conv
from tenfold.ops.logic import Cast
from tenfold.ops.matmul import MatMul, PairedMatMul
from tenfold.ops.moments import LineSums, Moments
from tenfold.ops.movement import Append, Concat
from tenfold.ops.primitive import Copy, Pick
from tenfold.ops.reduce import ArgReduce, Reduce

REDUCTIONS = (Reduce, ArgReduce)
ALONE = (If, Loop, Scan, *REVEALING)
TOLD = (Moments, LineSums)
"""What a kernel tells of its result besides."""


@dataclass(eq=False)
class Group:
    """Nodes computed by one kernel. `anchor` is None for elementwise work; `domain` is what it iterates over;
    `axes` are the row's axes where the anchor is a reduction.
    """

    number: int
    domain: Shape
    nodes: list[Node] = field(default_factory=list)
    anchor: Node | None = None
    axes: tuple[int, ...] = ()
    before: int = 0

    @property
    def is_row(self) -> bool:
        """True for a group of reductions over rows."""
        return bool(self.axes)


@dataclass(frozen=True)
class NotFused:
    """Two neighbours that stayed apart, and why."""

    producer: str
    consumer: str
    reason: str


class Growth:
    """The groups of one graph, grown node by node in order."""

    def __init__(self, graph: Graph, layout: Layout) -> None:
        self.graph = graph
        self.layout = layout
        self.groups: list[Group | None] = []
        self.of: dict[Node, Group] = {}
        self.refusals: list[NotFused] = []
        self.deciders = unknown.deciders(graph.nodes)
        for node in graph.nodes:
            if not _is_placed(node) and not self._is_inline(node):
                self._take(node)
        self._absorb_producers()

    def ordered(self) -> list[Group]:
        """The groups, each after those that it needs, as close as that allows to the order of the model's nodes."""
        place = {node: index for index, node in enumerate(self.graph.nodes)}
        live = {group.number: group for group in self.groups if group is not None}
        wished = sorted(live.values(), key=lambda group: max(place[node] for node in group.nodes))
        found: dict[Group, None] = {}
        for wish in wished:
            needed = [live[number] for number in live if wish.before >> number & 1]
            for group in sorted(needed, key=lambda group: (group.before.bit_count(), group.number)):
                found.setdefault(group)
            found.setdefault(wish)
        return list(found)

    def needs(self, value: Value) -> set[Group]:
        """The groups that compute what lies in the buffer of `value` (through views and concatenations)."""
        found, seen, waiting = set[Group](), {value}, [value]
        while waiting:
            node = waiting.pop().producer
            if node is None or isinstance(node.op, Constant):
                continue
            if node in self.of and not _is_placed(node):
                found.add(self.of[node])
                continue
            found |= self._decided_before(node)
            new = set(node.inputs) - seen
            seen |= new
            waiting.extend(new)
        return found

    def _take(self, node: Node) -> None:
        needed = set().union(*(self.needs(value) for value in node.inputs), self._decided_before(node))
        for group in self._candidates(node):
            reason = self._refusal(node, group, needed)
            if reason is None:
                self._join(node, group, needed)
                return
            self.refusals.append(NotFused(_name(group.nodes[-1]), _name(node), reason))
        self._start(node, needed)

    def _decided_before(self, node: Node) -> set[Group]:
        """The groups that decide sizes which a node or the place of its results needs, and its inputs do not have."""
        if not self.deciders:
            return set()
        views = [self.layout.view(value) for value in node.outputs]
        places = unknown.of_sizes(
            size for view in views for size in (view.offset, *view.strides, *view.root.type.shape)
        )
        makers = (self.deciders.get(name) for name in unknown.needed_by(node) | places)
        return {self.of[maker] for maker in makers if maker in self.of and maker is not node}

    def _candidates(self, node: Node) -> list[Group]:
        """Groups of the node's producers, views aside: anchors before plain work, later ones first."""
        if isinstance(node.op, ALONE) or of_objects(node):
            return []
        producers = {self.of[behind] for behind in map(_behind_views, node.inputs) if behind in self.of}
        return sorted(producers | self._beside(node), key=lambda group: (group.anchor is None, -group.number))

    def _beside(self, node: Node) -> set[Group]:
        """Rows that read the one value that this node is computed from."""
        values = {value for value in node.inputs if not is_number(value)}
        if len(values) != 1 or not (node.op.elementwise or isinstance(node.op, REDUCTIONS)):
            return set()
        users = (user for value in values for user in value.uses)
        return {self.of[user] for user in users if user in self.of and self.of[user].is_row}

    def _refusal(self, node: Node, group: Group, needed: set[Group]) -> str | None:
        if any(other is not group and other.before >> group.number & 1 for other in needed):
            return "something else that it needs waits for that kernel"
        if group.anchor is not None and isinstance(group.anchor.op, ALONE):
            return "results of a branch or loop are joined in memory"
        if any(value in self.layout.aliases for value in group.nodes[-1].outputs):
            return "a state is updated in place"
        if self._is_closed(group):
            return f"{group.nodes[-1].op.name} has several results or sizes of its own, and no site after them"
        if any(group in self.needs(v) and v.producer not in group.nodes for v in node.inputs):
            return "it sees a result of that kernel through a view"
        if isinstance(node.op, TOLD):
            return self._told_refusal(node, group)
        walks = sum(isinstance(one.op, REDUCTIONS) for one in group.nodes)
        site = Site(node, group.domain, group.axes, walks, self._inside(node, group))
        if group.is_row or (group.anchor is None and isinstance(node.op, REDUCTIONS)):
            return joins_row(site, pointwise=not group.is_row)
        return self._pointwise_refusal(node, group)

    def _pointwise_refusal(self, node: Node, group: Group) -> str | None:
        if isinstance(node.op, Pick) and group in self.needs(node.inputs[0]):
            return "it picks from data that must be complete first"
        if not is_pointwise(node):
            return f"{node.op.name} is an anchor of its own"
        if group.anchor is not None and isinstance(node.op, Copy):
            return self._copy_refusal(node)
        if group.anchor is not None and _widens(node):
            return "who reads it widens it"
        if not same_shape(node.outputs[0].type.shape, group.domain):
            return "it walks another domain"
        return None

    def _told_refusal(self, node: Node, group: Group) -> str | None:
        """A product tells the moments of its rows by the way, a convolution of one channel a group the sums of its
        lines: of the last that it computes, which is all it stores.
        """
        last, anchor = group.nodes[-1].output, group.anchor
        if isinstance(node.op, Moments):
            tells = anchor is not None and isinstance(anchor.op, MatMul)
        else:
            tells = anchor is not None and isinstance(anchor.op, Conv) and anchor.op.groups == last.type.shape[1]
        if not tells or node.inputs[0] is not last:
            return f"it tells no {node.op.name} of what it makes"
        before = [value for one in group.nodes[:-1] for value in one.outputs]
        inside = all(self.of.get(user) is group for value in before for user in value.uses)
        return None if inside and not any(map(self._visible, before)) else "the product has other results besides"

    def _is_closed(self, group: Group) -> bool:
        """True for what nothing joins: several results, objects, sizes that follow from the data."""
        several = group.anchor is not None and has_several_results(group.anchor)
        several = several or (isinstance(group.nodes[-1].op, TOLD) and len(group.nodes) > 1)
        return several or of_objects(group.nodes[0]) or group.nodes[-1] in self.deciders.values()

    def _inside(self, node: Node, group: Group) -> tuple[Value, ...]:
        return tuple(v for v in node.inputs if v.producer in self.of and self.of[v.producer] is group)

    def _copy_refusal(self, node: Node) -> str | None:
        old, new = self.layout.view(node.inputs[0]), self.layout.view(node.output)
        for before, after in zip(old.strides, new.strides, strict=True):
            if (before == 1) != (after == 1):
                return "the copy has another innermost axis"
        return None

    def _join(self, node: Node, group: Group, needed: set[Group]) -> None:
        if isinstance(node.op, REDUCTIONS) and not group.is_row:
            group.axes, group.anchor = row_axes(node), node
        group.nodes.append(node)
        self.of[node] = group
        self._depend(group, needed - {group})

    def _start(self, node: Node, needed: set[Group]) -> None:
        anchor = None if is_pointwise(node) or isinstance(node.op, SOURCES) else node
        row = isinstance(node.op, REDUCTIONS)
        domain = node.inputs[0].type.shape if row else node.outputs[0].type.shape
        group = Group(len(self.groups), domain, [node], anchor, row_axes(node) if row else ())
        self.groups.append(group)
        self.of[node] = group
        self._depend(group, needed)

    def _depend(self, group: Group, needed: set[Group]) -> None:
        before = group.before
        for other in needed:
            before |= other.before | 1 << other.number
        if before == group.before:
            return
        group.before = before
        for later in self.groups:
            if later is not None and later.before >> group.number & 1:
                later.before |= before

    def _absorb_producers(self) -> None:
        """Move elementwise work into the only kernel that uses it, if that walks the same domain."""
        for group in reversed([g for g in self.groups if g is not None]):
            if group.anchor is None and not any(self._visible(v) for node in group.nodes for v in node.outputs):
                target = self._only_user(group)
                if target is not None and self._may_move(group, target):
                    self._merge(group, target)

    def _visible(self, value: Value) -> bool:
        return value in self.graph.outputs or value in self.layout.placed

    def _may_move(self, group: Group, target: Group) -> bool:
        copies = any(isinstance(node.op, Copy) for node in group.nodes)
        picked = any(isinstance(node.op, Pick) and node.inputs[0].producer in group.nodes for node in target.nodes)
        return not copies and not picked and same_shape(target.domain, group.domain)

    def _is_inline(self, node: Node) -> bool:
        """True for a number that each body which uses it computes for itself."""
        used_in_bodies = all(is_pointwise(user) for user in node.output.uses) if len(node.outputs) == 1 else False
        return used_in_bodies and is_number(node.output) and not self._visible(node.output)

    def _only_user(self, group: Group) -> Group | None:
        users: set[Group] = set()
        for node in group.nodes:
            for user in (user for value in node.outputs for user in value.uses):
                if user not in self.of:
                    return None
                users.add(self.of[user])
        users.discard(group)
        if len(users) != 1:
            return None
        (target,) = users
        if of_objects(target.nodes[0]):
            return None
        takes = target.anchor is None or target.is_row or self._feeds_epilogue(group, target)
        return target if takes and not (target.anchor and isinstance(target.anchor.op, ALONE)) else None

    def _feeds_epilogue(self, group: Group, target: Group) -> bool:
        assert target.anchor is not None
        return not any(value.producer in group.nodes for value in target.anchor.inputs)

    def _merge(self, group: Group, target: Group) -> None:
        target.nodes[:0] = group.nodes
        for node in group.nodes:
            self.of[node] = target
        self.groups[group.number] = None
        bit = 1 << group.number
        target.before = (target.before | group.before) & ~bit
        for later in self.groups:
            if later is not None and later.before & bit:
                later.before = later.before & ~bit | group.before | (1 << target.number if later is not target else 0)


def is_number(value: Value) -> bool:
    """True for one number that follows from the sizes of the call alone."""
    seen, waiting = {value}, [value]
    while waiting:
        one = waiting.pop()
        node = one.producer
        if node is None or one.type.size != 1 or not (node.op.elementwise or isinstance(node.op, (Constant, *SOURCES))):
            return False
        new = set(node.inputs) - seen if node.op.elementwise else set()
        seen |= new
        waiting.extend(new)
    return True


def has_several_results(anchor: Node) -> bool:
    """True for an anchor whose results have places of their own, so that nothing is computed of them on their way."""
    return len(anchor.outputs) > 1 and not isinstance(anchor.op, PairedMatMul)


def is_pointwise(node: Node) -> bool:
    """True for work done point by point of its result."""
    return node.op.elementwise or isinstance(node.op, Pick)


def _is_placed(node: Node) -> bool:
    """True for what no kernel computes: constants, views, and what is joined, whose parts are written into place."""
    joined = isinstance(node.op, (Append, Concat)) and not node.output.type.dtype.is_object
    return joined or isinstance(node.op, Constant) or (is_view(node) and not isinstance(node.op, REVEALING))


def _widens(node: Node) -> bool:
    """True for a cast of floats to more bits, which is written nowhere if all who read it are one kernel."""
    if not isinstance(node.op, Cast):
        return False
    before, after = node.inputs[0].type.dtype, node.op.to
    return before.is_float and after.is_float and before.bits < after.bits


def _behind_views(value: Value) -> Node | None:
    """The node that computes what a value shows."""
    node = value.producer
    while node is not None and is_view(node):
        node = node.inputs[0].producer
    return node


def _name(node: Node) -> str:
    return node.name or (node.source[0] if node.source else node.op.name)
