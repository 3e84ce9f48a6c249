"""The inputs of a program: their names by path, their element types, their sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind
from torch.utils import _pytree as pytree

from tenfold.errors import UnsupportedError
from tenfold.importers.torch.declared import Declared
from tenfold.importers.torch.promote import dtype_of
from tenfold.importers.torch.structure import described
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.type import ENTRIES_LIMIT, Type
from tenfold.runtime.structure import Node


class Leaf:
    """A tensor among nested arguments or results, by its place when they are laid flat."""

    def __init__(self, at: int) -> None:
        self.at = at


@dataclass
class Inputs:
    """What a call gives: the names that users see and the types, by placeholder; and how arguments are nested."""

    names: dict[str, str] = field(default_factory=dict)
    types: dict[str, Type] = field(default_factory=dict)
    parameters: list[tuple[str, Node]] = field(default_factory=list)
    contents: set[str] = field(default_factory=set)
    """The symbols that stand for contents of small integer inputs."""


def inputs_of(program: ExportedProgram, parameters: list[str] | None, declared: Declared) -> Inputs:
    """The inputs of a program; `parameters` names its arguments by place."""
    found = Inputs()
    specs = [spec for spec in program.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT]
    numbers: dict[str, int] = {}

    def node_of(path: str, leaf: Leaf) -> Node:
        argument = specs[leaf.at].arg
        if isinstance(argument, ConstantArgument):
            return {"constant": argument.value}
        found.names[argument.name] = path
        numbers[argument.name] = len(numbers)
        return numbers[argument.name]

    for name, tree in _arguments(program, parameters):
        found.parameters.append((name, described(name, tree, node_of)))
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    _set_types(program, found, declared, values)
    declared.check(list(found.names.values()))
    return found


def _arguments(program: ExportedProgram, parameters: list[str] | None) -> list[tuple[str, Any]]:
    spec = program.call_spec.in_spec
    args, kwargs = pytree.tree_unflatten([Leaf(at) for at in range(spec.num_leaves)], spec)
    names = parameters or _own_names(program)
    places = [(names[at] if at < len(names) else f"input{at}", tree) for at, tree in enumerate(args)]
    return [*places, *kwargs.items()]


def _own_names(program: ExportedProgram) -> list[str]:
    signature = program.module_call_graph[0].signature if program.module_call_graph else None
    return list(getattr(signature, "forward_arg_names", None) or ())


def _set_types(program: ExportedProgram, found: Inputs, declared: Declared, values: Mapping[str, Any]) -> None:
    known = _Symbols(program, declared)
    for placeholder, name in found.names.items():
        shape = getattr(values[placeholder], "shape", ())
        known.claim(name, shape)
    for placeholder, name in found.names.items():
        value = values[placeholder]
        if not hasattr(value, "shape"):
            found.types[placeholder] = with_entries(Type(dt.i64, ()), name, found.contents)
            continue
        if value.dtype.is_complex:
            raise UnsupportedError(
                f"input {name!r} is {value.dtype}",
                argument=name,
                remedy="take torch.view_as_real of it, and torch.view_as_complex inside the module",
            )
        sizes = tuple(known.size(name, axis, one) for axis, one in enumerate(value.shape))
        found.types[placeholder] = with_entries(Type(dtype_of(value.dtype), sizes), name, found.contents)


class _Symbols:
    """What a program's own symbols are called: as the user says, or "input.axis" of where they stand first."""

    def __init__(self, program: ExportedProgram, declared: Declared) -> None:
        self._ranges = {str(symbol): one for symbol, one in program.range_constraints.items()}
        self._declared = declared
        self._sizes: dict[str, Size] = {}

    def claim(self, name: str, shape: Any) -> None:
        """Let the symbols of an input's sizes be what the user calls them."""
        for axis, asked in enumerate(self._declared.stated(name, [_plain(one) for one in shape])):
            expression = _expression(shape[axis])
            if asked is not None and expression is not None:
                self._sizes.setdefault(str(expression), asked)

    def size(self, name: str, axis: int, size: Any) -> Size:
        """A size of an input."""
        expression = _expression(size)
        if expression is None:
            return int(size)
        key = str(expression)
        if key not in self._sizes:
            self._sizes[key] = self._formula(expression) or self._named(f"{name}.{axis}", key)
        return self._sizes[key]

    def _named(self, label: str, key: str) -> Size:
        known = self._ranges.get(key)
        low, high = (_bound(known.lower), _bound(known.upper)) if known is not None else (0, None)
        return self._declared.between(label, max(low or 0, 0), high)

    def _formula(self, expression: Any) -> Size | None:
        if str(expression) in self._sizes:
            return self._sizes[str(expression)]
        if expression.is_Integer:
            return int(expression)
        if not (expression.is_Add or expression.is_Mul):
            return None
        parts = [self._formula(one) for one in expression.args]
        if any(one is None for one in parts):
            return None
        sizes = [one for one in parts if one is not None]
        return dim.total(sizes) if expression.is_Add else dim.product(sizes)


def _plain(size: Any) -> int | None:
    return int(size) if _expression(size) is None else None


def _expression(size: Any) -> Any:
    found = None if isinstance(size, int) else size.node.expr
    return None if found is None or found.is_Integer else found


def _bound(value: Any) -> int | None:
    return int(value) if getattr(value, "is_Integer", False) else None


def with_entries(type: Type, name: str, contents: set[str]) -> Type:
    """The type of an input, its contents followed as symbols if they are few integers or booleans."""
    count = type.size
    followed = type.dtype.is_integer or type.dtype is dt.boolean
    if not followed or not isinstance(count, int) or count > ENTRIES_LIMIT:
        return type
    low, high = (0, 1) if type.dtype is dt.boolean else (None, None)
    names = [f"{name}[{index}]" for index in range(count)]
    contents.update(names)
    return type.with_entries(tuple(dim.symbol(one, low=low, high=high) for one in names))
