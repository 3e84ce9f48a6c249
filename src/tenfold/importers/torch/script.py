"""TorchScript: a traced or scripted module, read from its own graph by following it once.

Numbers, lists, dicts and attributes are followed as Python's own while the graph is read; tensors become values. A
branch or loop whose condition is known is followed; one that only a call decides becomes If or Loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from tenfold.errors import ModelError, TenfoldError, UnsupportedError
from tenfold.importers import sources
from tenfold.importers.convert import Missing, report
from tenfold.importers.settle import from_sizes
from tenfold.importers.shorthand import reshaped
from tenfold.importers.torch import scalars, sizes
from tenfold.importers.torch.aliases import SAME, VIEWS, Cell, Ref, pieces
from tenfold.importers.torch.calls import Calls
from tenfold.importers.torch.promote import as_value, dtype_of
from tenfold.importers.torch.recurrent import Packed
from tenfold.importers.torch.signal import Complex
from tenfold.importers.torch.subgraph import Memory, branched
from tenfold.importers.torch.tables import COMPLEX, TABLE, find
from tenfold.importers.torch.turns import Repeated, Rows, joined
from tenfold.importers.torch.weights import Weights, array_of
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Dim, Size
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ir.tensor import Tensor
from tenfold.ops.constant import Constant

MOST_TURNS = 4096
"""A loop whose turns are known is followed turn by turn up to this many."""

_SCALAR_TYPES = {
    **{0: torch.uint8, 1: torch.int8, 2: torch.int16, 3: torch.int32, 4: torch.int64, 5: torch.float16},
    **{6: torch.float32, 7: torch.float64, 9: torch.complex64, 10: torch.complex128, 11: torch.bool},
    15: torch.bfloat16,
}
"""PyTorch's numbers for its element types."""


_FUNCTIONAL = {"normal": "normal_functional"}
"""What an operator that writes into its argument is called where it does not, if not by its own name."""


class Raised(Exception):
    """The program raises here: this way through it is not taken."""


@dataclass(frozen=True)
class Handle:
    """A module or object of the program, by its path."""

    path: str
    target: Any

    def child(self, name: str) -> str:
        """The path of an attribute."""
        return f"{self.path}.{name}" if self.path else name


@dataclass
class Script:
    """The graph that is being made of one program."""

    graph: Graph
    weights: Weights
    contents: set[str]
    calls: Calls
    held: dict[str, Any] = field(default_factory=dict)
    """Attributes that differ from the module's own: those that the program sets, by path."""
    changed: dict[str, Any] = field(default_factory=dict)
    """Those that it has set, with what they are then."""
    env: dict[str, Any] = field(default_factory=dict)
    missing: dict[Missing, None] = field(default_factory=dict)
    assumptions: dict[tuple[Size, str], None] = field(default_factory=dict)
    labelled: set[Node] = field(default_factory=set)

    def run(self, graph: Any, given: Sequence[Any]) -> Any:
        """What the program returns on these arguments, the module first among them."""
        for value, one in zip(graph.inputs(), given, strict=True):
            self.env[value.debugName()] = one
        self.block(graph)
        found = [self.env[value.debugName()] for value in graph.outputs()]
        if self.missing:
            raise report(list(self.missing))
        self.graph.assumptions = tuple(self.assumptions)
        return found[0] if len(found) == 1 else tuple(found)

    def block(self, block: Any) -> None:
        """Follow a block."""
        for node in block.nodes():
            try:
                results = self._results(node)
            except UnsupportedError as error:
                raise report([*self.missing, _missing(node, error.message)]) from error
            except TenfoldError as error:
                error.operator = error.operator or _label(node)
                raise
            except (ValueError, IndexError, OverflowError, ZeroDivisionError, TypeError, KeyError) as error:
                self._require_numbers(node)
                raise ModelError(f"{node.kind()}: {error}", operator=_label(node)) from error
            for value, result in zip(node.outputs(), results, strict=True):
                self.env[value.debugName()] = result

    def _require_numbers(self, node: Any) -> None:
        """An error that names the operator where a number that it takes is one that only a call decides."""
        for value in node.inputs():
            if str(value.type()) in ("int", "float", "bool") and isinstance(self.env[value.debugName()], Ref):
                raise report([_missing(node, "it takes a number that only the data of a call decide")])

    def inputs(self, node: Any) -> list[Any]:
        """The arguments of a node."""
        return [self.env[value.debugName()] for value in node.inputs()]

    def returned(self, block: Any) -> list[Any]:
        """What a block gives."""
        return [self.env[value.debugName()] for value in block.outputs()]

    def _results(self, node: Any) -> Sequence[Any]:
        kind = node.kind()
        special = _NODES.get(kind)
        if special is not None:
            return special(self, node)
        space, _, name = kind.partition("::")
        given = self.inputs(node)
        if any(map(_is_open, given)) and name not in ("append", "stack", "cat"):
            raise UnsupportedError("a list whose length only a call decides can be stacked or joined, and no more")
        if space in ("aten", "prim") and not _of_tensors(name, given):
            convert = scalars.TABLE.get(name)
            if convert is not None:
                return _outputs(node, convert(*given))
        if space != "aten" and find(self.calls.added, kind) is None:
            raise UnsupportedError(f"{kind} is not followed")
        return _outputs(node, self._operator(node, name, given))

    def _operator(self, node: Any, name: str, given: list[Any]) -> Any:
        schema = torch._C.parse_schema(node.schema())
        given = [_typed(one, argument.name) for one, argument in zip(given, schema.arguments, strict=True)]
        if name.endswith("_") and not name.endswith("__"):
            return self._in_place(node, schema, name[:-1], given)
        query = _QUERIES.get(name)
        if query is not None:
            return query(*given)
        view = self._viewed(name, given)
        if view is not None:
            return view
        return self._refs(self._called(schema, name, given), _label(node))

    def _in_place(self, node: Any, schema: Any, name: str, given: list[Any]) -> Any:
        target = given[0]
        if name == "zero":
            new: Any = find(TABLE, "zeros_like")(target.value)  # type: ignore[misc]
        else:
            new = self._called(schema, _FUNCTIONAL.get(name, name), given)
        target.write(self._settled(new, _label(node)))
        return target

    def _viewed(self, name: str, given: list[Any]) -> Any:
        if not given or not isinstance(given[0], Ref) or isinstance(given[0].value, Complex):
            return None
        target, rest = given[0], [_plain(one) for one in given[1:]]
        if name == "to":
            kind = next((one for one in rest if isinstance(one, DType)), None)
            return target.view(SAME) if kind in (None, target.value.type.dtype) else None
        several = pieces(target.value, name, rest)
        if several is not None:
            return [target.view(step) for step in several]
        make = VIEWS.get(name)
        return None if make is None else target.view(make(target.value, *rest))

    def _called(self, schema: Any, name: str, given: list[Any]) -> Any:
        values = [_plain(one) for one in given]
        if name in ("stack", "cat") and any(isinstance(one, Rows) for one in values[0]):
            return joined(name, *values)
        if name == "to":
            table = COMPLEX if isinstance(values[0], Complex) else TABLE
            return find(table, "_to_copy")(values[0], dtype=_dtype_in(values[1:]))  # type: ignore[misc]
        return self.calls(schema, name, values)

    def _refs(self, found: Any, source: str) -> Any:
        if isinstance(found, Value | Complex):
            return Ref(Cell(self._settled(found, source)))
        if isinstance(found, tuple):
            return tuple(self._refs(one, source) for one in found)
        return [self._refs(one, source) for one in found] if isinstance(found, list) else found

    def _settled(self, found: Any, source: str) -> Any:
        if isinstance(found, Complex):
            return Complex(self._settled(found.real, source), self._settled(found.imaginary, source))
        value = from_sizes(found, self.contents)
        sources.label(value, source, self.labelled)
        return value

    def attribute(self, home: Handle, name: str) -> Any:
        """An attribute of a module or object, as it is now."""
        path = home.child(name)
        if path in self.changed:
            return self.changed[path]
        if path in self.held:
            return self.held[path]
        return self._own(path, getattr(home.target, name))

    def _own(self, path: str, found: Any) -> Any:
        if isinstance(found, torch.Tensor):
            self.held[path] = Ref(Cell(self.weights.of_tensor(found, path)))
            return self.held[path]
        if isinstance(found, list):
            return [self._own(f"{path}.{at}", one) for at, one in enumerate(found)]
        if isinstance(found, torch.nn.Module | torch.ScriptObject):
            return Handle(path, found)
        return found

    def branch(self, node: Any) -> Sequence[Any]:
        """prim::If."""
        (condition,) = self.inputs(node)
        known = _known(condition)
        yes, no = node.blocks()
        if known is not None:
            chosen = yes if known else no
            self.block(chosen)
            return self.returned(chosen)
        memory, outside = self._memory(), set(self.labelled)
        ways = [memory.trial(lambda block=block: self._taken(block)) for block in (yes, no)]  # type: ignore[misc]
        test = _condition(condition)
        for taken, other in ((0, 1), (1, 0)):
            if ways[other][0] is None and ways[taken][0] is not None:
                self._assume(test, bool(taken == 0), _label(node))
                memory.set(ways[taken][1])
                results: Sequence[Any] = ways[taken][0]
                return results
        if ways[0][0] is None:
            raise UnsupportedError("both ways of a branch raise")
        return branched(memory, test, outside, ways)

    def _assume(self, condition: Value, holds: bool, label: str) -> None:
        entry = condition.type.entries[0] if condition.type.entries else None
        met = entry if holds or entry is None else dim.logical_not(entry)
        if isinstance(met, Dim):
            self.assumptions[met, label] = None

    def _taken(self, block: Any) -> list[Any] | None:
        try:
            self.block(block)
        except Raised:
            return None
        return self.returned(block)

    def _memory(self) -> Memory:
        return Memory.behind([*self.env.values(), *self.held.values()], self.changed)

    def loop(self, node: Any) -> Sequence[Any]:
        """prim::Loop: turn by turn as long as it is known to go on, the rest as one operation."""
        trips, condition, *state = self.inputs(node)
        (body,) = node.blocks()
        turn = 0
        while isinstance(trips, int) and _known(condition) is not None:
            if not _known(condition) or turn >= trips:
                return state
            if turn >= MOST_TURNS:
                raise UnsupportedError(f"a loop of more than {MOST_TURNS} turns")
            condition, state = self._turn(body, turn, state)
            turn += 1
        rest = Repeated(self._memory(), set(self.labelled), partial(self._turn, body), state, turn)
        return rest.run(trips, condition)

    def _turn(self, body: Any, turn: Any, state: Sequence[Any]) -> tuple[Any, list[Any]]:
        """The condition and the state after a turn."""
        for value, one in zip(body.inputs(), (turn, *state), strict=True):
            self.env[value.debugName()] = one
        self.block(body)
        again, *after = self.returned(body)
        return again, after


def _missing(node: Any, reason: str) -> Missing:
    space, _, name = node.kind().partition("::")
    return Missing(space, name, 0, _label(node), reason)


def _known(condition: Any) -> bool | None:
    found = condition.value.type.entries if isinstance(condition, Ref) else condition
    if isinstance(found, tuple):
        found = found[0]
    return None if found is None or isinstance(found, Dim) else bool(found)


def _condition(condition: Any) -> Value:
    return as_value(condition.value if isinstance(condition, Ref) else condition, dt.boolean)


def _outputs(node: Any, found: Any) -> Sequence[Any]:
    count = node.outputsSize()
    if count == 1:
        return (found,)
    return tuple(found) if count else ()


_MAKERS = frozenset(
    (
        *("zeros", "ones", "full", "empty", "arange", "linspace", "eye", "scalar_tensor", "tensor", "as_tensor"),
        *("hann_window", "hamming_window", "blackman_window", "tril_indices", "triu_indices"),
    )
)


def _of_tensors(name: str, given: Sequence[Any]) -> bool:
    if name in ("append", "len", "__getitem__", "list", "extend", "insert", "pop", "_set_item", "slice", "__is__"):
        return isinstance(given[0], Ref)
    if name in ("__isnot__", "__contains__", "format", "copy", "reverse", "clear", "items", "values", "keys", "get"):
        return isinstance(given[0], Ref) and name == "copy"
    return name in _MAKERS or any(_holds_ref(one) for one in given)


def _holds_ref(one: Any) -> bool:
    return isinstance(one, Ref | Rows) or (isinstance(one, list | tuple) and any(map(_holds_ref, one)))


def _is_open(one: Any) -> bool:
    return isinstance(one, list) and any(isinstance(inner, Rows) for inner in one)


def _plain(one: Any) -> Any:
    if isinstance(one, Ref):
        return one.value
    return tuple(_plain(inner) for inner in one) if isinstance(one, list | tuple) else one


def _typed(one: Any, name: str) -> Any:
    return dtype_of(_SCALAR_TYPES[one]) if name == "dtype" and isinstance(one, int) else one


def _dtype_in(values: Sequence[Any]) -> DType | None:
    for one in values:
        if isinstance(one, DType):
            return one
        if isinstance(one, Value):
            return one.type.dtype
    return None


def _label(node: Any) -> str:
    scope, text = node.scopeName(), node.sourceRange()
    place = text.strip().splitlines()
    where = next((line for line in reversed(place) if "File " in line or ".py" in line), "").strip()
    name = next((value.debugName() for value in node.outputs()), "")
    path = scope.rpartition("/")[2].rpartition("::")[2]
    return f"{path}/{node.kind()}({name})" + (f" {where}" if where and not path else "")


def _tensor_of(data: Any, dtype: DType | None = None, *_: Any) -> Ref:
    plain = data if not isinstance(data, Ref) else data.value
    if isinstance(plain, Value):
        return Ref(Cell(plain if dtype is None else as_value(plain, dtype)))
    if isinstance(plain, Dim):
        return Ref(Cell(as_value(plain, dtype or dt.i64)))
    array = array_of(torch.tensor(plain))
    made: Value = Constant(Tensor(array if dtype is None else array.astype(dtype.numpy)))()
    return Ref(Cell(made))


def _size(x: Ref | Packed, axis: int | None = None) -> Any:
    if isinstance(x, Packed):
        return Ref(Cell(x.longest()))
    shape = x.value.type.shape
    return list(shape) if axis is None else shape[axis]


def _item(x: Ref) -> Any:
    found = sizes.number_in(x.value)
    return Ref(Cell(found)) if isinstance(found, Value) else found


def _boolean(x: Ref) -> Any:
    found = _known(x)
    return Ref(Cell(as_value(reshaped(x.value, ()), dt.boolean))) if found is None else found


def _length(x: Ref) -> Any:
    return x.value.type.shape[0]


def _first(x: Ref, at: Any) -> Any:
    return x.view(VIEWS["select"](x.value, 0, at))


_QUERIES: Mapping[str, Callable[..., Any]] = {
    "size": _size,
    "dim": lambda x: x.value.type.rank,
    "numel": lambda x: x.value.type.size,
    "len": _length,
    "item": _item,
    "Int": _item,
    "Float": _item,
    "IntImplicit": _item,
    "FloatImplicit": _item,
    "ScalarImplicit": _item,
    "Bool": _boolean,
    "is_nonzero": _boolean,
    "is_floating_point": lambda x: x.value.type.dtype.is_float,
    "is_complex": lambda x: isinstance(x.value, Complex),
    "tensor": _tensor_of,
    "as_tensor": _tensor_of,
    "stride": lambda x: [dim.product(x.value.type.shape[at + 1 :]) for at in range(x.value.type.rank)],
    "__getitem__": _first,
    "get_device": lambda x: -1,
    "is_contiguous": lambda x, *_: True,
}
"""What asks a tensor, or makes one of numbers."""


def _constant(script: Script, node: Any) -> Sequence[Any]:
    value = node.output().toIValue() if node.hasAttributes() else None
    if isinstance(value, torch.Tensor):
        return (Ref(Cell(script.weights.of_tensor(value, f"constant.{node.output().debugName()}"))),)
    return (value,)


def _get(script: Script, node: Any) -> Sequence[Any]:
    (home,) = script.inputs(node)
    return (script.attribute(home, node.s("name")),)


def _set(script: Script, node: Any) -> Sequence[Any]:
    home, value = script.inputs(node)
    script.changed[home.child(node.s("name"))] = value
    return ()


def _raise(script: Script, node: Any) -> Sequence[Any]:
    text = next((one for one in script.inputs(node) if isinstance(one, str)), "")
    raise Raised(text)


def _dict(script: Script, node: Any) -> Sequence[Any]:
    flat = script.inputs(node)
    return (dict(zip(flat[::2], flat[1::2], strict=True)),)


def _numbered(script: Script, node: Any) -> Sequence[Any]:
    (number,) = script.inputs(node)
    return (number if isinstance(number, Ref) else _tensor_of(number),)


def _item_of(script: Script, node: Any) -> Sequence[Any]:
    items, at = script.inputs(node)
    return (items[at],)


def _first_input(script: Script, node: Any) -> Sequence[Any]:
    return (script.inputs(node)[0],)


_NODES: Mapping[str, Callable[[Script, Any], Sequence[Any]]] = {
    "prim::Constant": _constant,
    "prim::GetAttr": _get,
    "prim::SetAttr": _set,
    "prim::If": Script.branch,
    "prim::Loop": Script.loop,
    "prim::RaiseException": _raise,
    "prim::ListConstruct": lambda script, node: (script.inputs(node),),
    "prim::TupleConstruct": lambda script, node: (tuple(script.inputs(node)),),
    "prim::DictConstruct": _dict,
    "prim::TupleUnpack": lambda script, node: tuple(script.inputs(node)[0]),
    "prim::ListUnpack": lambda script, node: tuple(script.inputs(node)[0]),
    "prim::TupleIndex": _item_of,
    "prim::NumToTensor": _numbered,
    "prim::Uninitialized": lambda script, node: (None,),
    "prim::unchecked_cast": _first_input,
    "prim::data": _first_input,
    "prim::device": lambda script, node: (None,),
    "prim::dtype": lambda script, node: (script.inputs(node)[0].value.type.dtype,),
    "prim::is_cuda": lambda script, node: (False,),
    "prim::shape": lambda script, node: (_size(script.inputs(node)[0]),),
    "prim::Print": lambda script, node: (),
    "prim::isinstance": lambda script, node: (True,),
}
