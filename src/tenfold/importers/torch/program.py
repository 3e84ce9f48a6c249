"""From an exported program to a graph: its calls in order, each through its converter."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, InputSpec, OutputKind
from torch.fx import Node as Call

from tenfold.errors import ModelError, TenfoldError, UnsupportedError
from tenfold.importers import sources
from tenfold.importers.convert import Missing, report
from tenfold.importers.settle import from_sizes
from tenfold.importers.torch import control, random, sizes
from tenfold.importers.torch.arguments import bound
from tenfold.importers.torch.origin import label, site
from tenfold.importers.torch.promote import dtype_of
from tenfold.importers.torch.signal import Complex
from tenfold.importers.torch.tables import COMPLEX, TABLE, Converters, find
from tenfold.importers.torch.weights import Weights
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Dim, Size
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ir.type import Type
from tenfold.ops.constant import Sizes, scalar

IGNORED = frozenset({"_assert_tensor_metadata", "_assert_async", "sym_constrain_range", "sym_constrain_range_for_size"})


class Poisoned:
    """Stands for the results of an operator that cannot be imported, which has been noted."""


POISON = Poisoned()


@dataclass
class Walk:
    """The graph that is being made of one program."""

    program: ExportedProgram
    graph: Graph
    weights: Weights
    added: Converters
    types: Mapping[str, Type]
    """The types of the tensors that a call gives, by the name of their placeholder."""
    names: Mapping[str, str]
    """What the graph calls them."""
    contents: set[str] = field(default_factory=set)
    values: dict[Call, Any] = field(default_factory=dict)
    missing: dict[Missing, None] = field(default_factory=dict)
    assumptions: dict[tuple[Size, str], None] = field(default_factory=dict)
    labelled: set[Node] = field(default_factory=set)
    draws: Iterator[int] = field(default_factory=itertools.count)
    states: dict[str, Value] = field(default_factory=dict)

    def run(self, states: Sequence[str] = ()) -> list[Any]:
        """Convert all calls; what the program returns, in the order of its outputs.

        The tensors of the module that `states` names are inputs, behind all others.
        """
        specs = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs}
        held = {name: self.weights.value(name) for name in states}
        self.states = {name: Value(Type(one.type.dtype, one.type.shape), name=name) for name, one in held.items()}
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = self._given(node, specs[node.name])
            elif node.op == "get_attr":
                self.values[node] = self._attribute(str(node.target), self.program.graph_module)
            elif node.op == "call_function":
                self.values[node] = self._called(node)
        found = self._returned(self.program.graph)
        if self.missing:
            raise report(list(self.missing))
        self.graph.inputs.extend(self.states.values())
        self.graph.assumptions = tuple(self.assumptions)
        return found

    def _returned(self, graph: Any) -> list[Any]:
        (end,) = graph.output_node().args
        return [self._read(one) for one in (end if isinstance(end, tuple | list) else (end,))]

    def block(self, module: Any, given: Sequence[Any]) -> list[Any]:
        """What a graph within the program returns on these values."""
        places = [node for node in module.graph.nodes if node.op == "placeholder"]
        self.values.update(zip(places, given, strict=True))
        for node in module.graph.nodes:
            if node.op == "get_attr":
                self.values[node] = self._attribute(str(node.target), module)
            elif node.op == "call_function":
                self.values[node] = self._called(node)
        found = self._returned(module.graph)
        if _holds(POISON, found):
            raise UnsupportedError("it holds an operator that cannot be imported")
        return found

    def _given(self, node: Call, spec: InputSpec) -> Any:
        if spec.kind is InputKind.USER_INPUT:
            if isinstance(spec.arg, ConstantArgument):
                return spec.arg.value
            return self.graph.input(self.names[node.name], self.types[node.name])
        if spec.target in self.states:
            return self.states[spec.target]
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR) and spec.target:
            return self.weights.value(spec.target)
        return None

    def _attribute(self, target: str, home: Any) -> Any:
        found = home
        for name in target.split("."):
            found = getattr(found, name)
        return self.weights.of_tensor(found, target) if isinstance(found, torch.Tensor) else found

    def _read(self, argument: Any) -> Any:
        if isinstance(argument, Call):
            return self.values[argument]
        if isinstance(argument, tuple | list):
            return tuple(self._read(one) for one in argument)
        if isinstance(argument, torch.dtype):
            return dtype_of(argument)
        return argument

    def _called(self, node: Call) -> Any:
        given = self._read(node.args)
        named = {name: self._read(one) for name, one in node.kwargs.items()}
        if _holds(POISON, (*given, *named.values())):
            return POISON
        try:
            return self._converted(node, given, named)
        except UnsupportedError as error:
            self._miss(node, f"{error.message}: {error.remedy}" if error.remedy else str(error.message))
        except TenfoldError as error:
            error.operator = error.operator or label(node)
            raise
        except (ValueError, IndexError, OverflowError, ZeroDivisionError, TypeError) as error:
            failure = ModelError(f"{node.target}: {error}", operator=f"{label(node)} ({site(node)})")
            raise failure from error
        return POISON

    def _miss(self, node: Call, reason: str = "") -> None:
        name = str(getattr(node.target, "__name__", node.target)) if callable(node.target) else str(node.target)
        self.missing[
            Missing(getattr(node.target, "namespace", "aten"), name, 0, f"{label(node)} ({site(node)})", reason)
        ] = None

    def _converted(self, node: Call, given: Sequence[Any], named: dict[str, Any]) -> Any:
        if node.target is operator.getitem:
            return _picked(node, given[0], given[1])
        on_numbers = sizes.on_numbers(node.target)
        if on_numbers is not None:
            return on_numbers(*given)
        nested = control.TABLE.get(getattr(node.target, "_name", ""))
        if nested is not None:
            return self._finished(node, nested(self.block, *given, **named))
        schema = getattr(node.target, "_schema", None)
        if schema is None:
            raise UnsupportedError("it is no operator of aten")
        name = f"{schema.name.partition('::')[2]}.{schema.overload_name or 'default'}"
        if name.partition(".")[0] in IGNORED:
            return None
        if name.startswith("_assert_scalar"):
            return self._assumed(node, given[0])
        convert = find(self.added, f"{schema.name.partition('::')[0]}::{name}")
        if convert is not None:
            convert = partial(_of_plugin, node, convert)
        elif schema.name.startswith("aten::"):
            convert = self._converter(name, given)
        if convert is None:
            self._miss(node)
            return POISON
        places, keywords = bound(schema, given, named)
        return self._finished(node, convert(*places, **keywords))

    def _converter(self, name: str, given: Sequence[Any]) -> Callable[..., Any] | None:
        if _holds_kind(Complex, given):
            return find(COMPLEX, name)
        by_chance = find(random.TABLE, name)
        if by_chance is not None:
            return partial(by_chance, next(self.draws))
        return find(sizes.TABLE, name) or find(TABLE, name)

    def _assumed(self, node: Call, condition: Any) -> None:
        if isinstance(condition, Dim):
            self.assumptions[condition, label(node)] = None
        elif not isinstance(condition, Value) and not condition:
            raise ModelError(
                "a condition that the module asserts never holds", operator=f"{label(node)} ({site(node)})"
            )

    def _finished(self, node: Call, result: Any) -> Any:
        if isinstance(result, Value):
            settled = from_sizes(result, self.contents)
            settled.name = settled.name or node.name
            sources.label(settled, label(node), self.labelled)
            return settled
        if isinstance(result, tuple | list):
            return tuple(self._finished(node, one) for one in result)
        if isinstance(result, Complex):
            return Complex(self._finished(node, result.real), self._finished(node, result.imaginary))
        return result


def _of_plugin(node: Call, convert: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """What a plugin's converter gives; ModelError for anything but tensors of the module's element types."""
    result, known = convert(*given, **named), node.meta.get("val")
    several = isinstance(result, tuple | list)
    found, fakes = (result, known) if several and isinstance(known, tuple | list) else ([result], [known])
    for one, fake in zip(found, fakes, strict=False):
        problem, remedy = "", "have it return a value, or a tuple of them"
        if not isinstance(one, Value) and (one is not None or not several):
            problem = f"its converter gives a {type(one).__name__}"
        elif one is not None and isinstance(fake, torch.Tensor) and one.type.dtype is not dtype_of(fake.dtype):
            problem, remedy = f"its converter gives {one.type}, and the module {fake.dtype}", "cast it, by ops.Cast"
        if problem:
            raise ModelError(f"{node.target}: {problem}", operator=f"{label(node)} ({site(node)})", remedy=remedy)
    return result


def _picked(node: Call, results: Sequence[Any], place: int) -> Any:
    maker: Any = node.args[0]
    if results[place] is None and node.users and hasattr(maker.target, "_schema"):
        raise UnsupportedError(f"result {place} of {label(maker)} is not computed")
    return results[place]


def _holds(wanted: Any, found: Sequence[Any]) -> bool:
    return any(one is wanted or (isinstance(one, tuple) and _holds(wanted, one)) for one in found)


def _holds_kind(kind: type, found: Sequence[Any]) -> bool:
    return any(isinstance(one, kind) or (isinstance(one, tuple) and _holds_kind(kind, one)) for one in found)


def as_output(found: Any) -> Value:
    """What a program returns, as a tensor."""
    if isinstance(found, Value):
        return found
    if isinstance(found, Dim):
        size: Value = Sizes((found,), ())()
        return size
    if isinstance(found, Complex):
        raise UnsupportedError("the model returns complex numbers", remedy="return torch.view_as_real of them")
    if isinstance(found, bool | int | float):
        kind = dt.boolean if isinstance(found, bool) else dt.i64 if isinstance(found, int) else dt.f32
        number: Value = scalar(found, kind)()
        return number
    raise UnsupportedError(f"the model returns {type(found).__name__}", remedy="return tensors, or containers of them")


_CHANGES = (OutputKind.BUFFER_MUTATION, OutputKind.PARAMETER_MUTATION, OutputKind.USER_INPUT_MUTATION)


def changed(program: ExportedProgram) -> tuple[str, ...]:
    """The module's own tensors that the program changes, by name."""
    specs = program.graph_signature.output_specs
    return tuple(str(spec.target) for spec in specs if spec.kind in _CHANGES[:2])


def new_states(program: ExportedProgram, found: Sequence[Any]) -> dict[str, Value]:
    """What the program changes, its own tensors or arguments, by name, as it is after a call."""
    specs = program.graph_signature.output_specs
    pairs = zip(specs, found, strict=True)
    return {str(spec.target): as_output(one) for spec, one in pairs if spec.kind in _CHANGES}
