"""TorchScript modules and files as graphs: their arguments, their state, their results."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from tenfold.errors import ModelError, OptionError, UnsupportedError
from tenfold.importers.overrides import Bounds, Shape
from tenfold.importers.torch.aliases import Cell, Ref
from tenfold.importers.torch.calls import Calls
from tenfold.importers.torch.declared import Declared
from tenfold.importers.torch.inputs import with_entries
from tenfold.importers.torch.promote import dtype_of
from tenfold.importers.torch.results import set_outputs
from tenfold.importers.torch.script import Handle, Raised, Script
from tenfold.importers.torch.structure import described
from tenfold.importers.torch.tables import Converters, with_foreign
from tenfold.importers.torch.weights import Weights
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Dim
from tenfold.ir.graph import Graph, Value
from tenfold.ir.type import Type, numbered_unknowns
from tenfold.ops.constant import Sizes
from tenfold.runtime.structure import Node, Structure

MOST_ROUNDS = 4
"""After so many calls the state of a module must have the types that it keeps."""


def load_script(model: Any) -> Any:
    """The TorchScript module in a file, or in the bytes of one. PyTorch reads its own format; nothing is unpickled."""
    source = io.BytesIO(model) if isinstance(model, bytes | bytearray | memoryview) else os.fspath(model)
    try:
        return torch.jit.load(source, map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"torch.jit.load refuses the file: {reason}", remedy="save it again by torch.jit.save"
        ) from error


def import_script(
    module: Any,
    example_inputs: Any,
    *,
    shapes: Mapping[str, Shape] | None = None,
    dims: Mapping[str, Bounds] | None = None,
    outputs: Sequence[str] | None = None,
    converters: Converters | None = None,
) -> Graph:
    """The graph of a TorchScript module or function.

    A TorchScript graph does not say what its arguments are: `example_inputs` do, or `shapes`, for f32 tensors.
    Arguments that are no tensors are fixed. Attributes that the module sets are its state: those that are tensors come
    in behind the arguments and go out behind the results, under their paths; others keep what the first calls leave.
    """
    is_module = isinstance(module, torch.nn.Module)
    formal = module.forward.schema.arguments[1:] if is_module else module.schema.arguments
    names = _names(formal)
    examples = _examples(formal, names, example_inputs, shapes or {})
    declared = Declared(shapes, dims)
    held: dict[str, Any] = {}
    for _ in range(MOST_ROUNDS):
        attempt = _Attempt(module, names, examples, declared, held, with_foreign(converters))
        found = attempt.run()
        after = attempt.state()
        if all(_kind(held.get(path)) == _kind(one) for path, one in after.items()):
            return attempt.finished(found, outputs)
        held = {path: one.value.type if isinstance(one, Ref) else one for path, one in after.items()}
    raise UnsupportedError("the types of the module's state do not settle")


def _names(formal: Sequence[Any]) -> list[str]:
    """The names of arguments; a trace of `*arguments` may name several alike, which are numbered."""
    found: list[str] = []
    for one in formal:
        same = sum(name.partition(".")[0] == one.name for name in found)
        found.append(f"{one.name}.{same}" if same else one.name)
    return found


def _examples(formal: Sequence[Any], names: list[str], given: Any, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    if isinstance(given, Mapping):
        found = dict(given)
    else:
        items = () if given is None else given if isinstance(given, tuple | list) else (given,)
        found = dict(zip(names, items, strict=False))
    for name, argument in zip(names, formal, strict=True):
        if name in found:
            continue
        if argument.has_default_value():
            found[name] = argument.default_value
        elif name in shapes and str(argument.type) == "Tensor":
            found[name] = torch.empty([one if isinstance(one, int) else 2 for one in shapes[name]])
        else:
            raise OptionError(
                f"nothing says what the argument {name!r} ({argument.type}) is",
                argument="example_inputs",
                remedy="pass example_inputs=(…), or shapes={name: …} for tensors of f32",
            )
    return found


def _kind(one: Any) -> Any:
    if isinstance(one, Ref):
        return one.value.type.dtype, one.value.type.shape
    return (one.dtype, one.shape) if isinstance(one, Type) else one


@dataclass
class _Attempt:
    """One reading of the program, from a given state: the type of each tensor in it, the value of all else."""

    module: Any
    names: list[str]
    examples: Mapping[str, Any]
    declared: Declared
    held: Mapping[str, Any]
    added: Converters
    contents: set[str] = field(default_factory=set)
    parameters: list[tuple[str, Node]] = field(default_factory=list)

    def run(self) -> Any:
        """What the program returns."""
        name = getattr(self.module, "original_name", getattr(self.module, "name", "script"))
        self.graph = Graph(name=str(name))
        given: list[Any] = [self._argument(one, self.examples[one]) for one in self.names]
        self.declared.check([value.name for value in self.graph.inputs])
        self.states = [self.graph.input(path, one) for path, one in self.held.items() if isinstance(one, Type)]
        by_name = {value.name: Ref(Cell(value)) for value in self.states}
        held = {path: by_name.get(path, one) for path, one in self.held.items()}
        is_module = isinstance(self.module, torch.nn.Module)
        tensors = dict(self.module.state_dict(keep_vars=True)) if is_module else {}
        weights = Weights(tensors, self.graph)
        self.script = Script(self.graph, weights, self.contents, Calls(weights, self.added), held)
        root = [Handle("", self.module)] if is_module else []
        with numbered_unknowns():
            try:
                return self.script.run(self.module.inlined_graph, [*root, *given])
            except Raised as error:
                raise ModelError(
                    f"the module raises on these inputs: {error}", remedy="give it what it takes"
                ) from error

    def _argument(self, name: str, example: Any) -> Any:
        made: dict[int, Ref] = {}

        def node_of(path: str, leaf: Any) -> Node:
            if not isinstance(leaf, torch.Tensor):
                raise UnsupportedError(f"argument {path!r} is a {type(leaf).__name__}")
            sizes = self.declared.sizes(path, leaf.shape)
            followed = with_entries(Type(dtype_of(leaf.dtype), sizes), path, self.contents)
            made[id(leaf)] = Ref(Cell(self.graph.input(path, followed)))
            return len(self.graph.inputs) - 1

        self.parameters.append((name, described(name, example, node_of)))
        return _mapped(example, made)

    def state(self) -> dict[str, Any]:
        """What the program has set, with what held before and stays."""
        after = dict(self.held)
        for path, one in self.script.changed.items():
            after[path] = one
        return after

    def finished(self, found: Any, outputs: Sequence[str] | None) -> Graph:
        """The graph, with its results and its state."""
        collected: dict[str, Value] = {}

        def node_of(path: str, leaf: Any) -> Node:
            value = leaf.value if isinstance(leaf, Ref) else leaf
            collected[path] = value if isinstance(value, Value) else _number(value)
            at = len(collected) - 1
            return at if isinstance(value, Value) else {"number": at}

        result = described("" if isinstance(found, dict) else "output", found, node_of)
        after = self.state()
        for state in self.states:
            last = after[state.name]
            collected[state.name] = last.value if isinstance(last, Ref) else state
            self.parameters.append((state.name, _zeros(self.graph.inputs.index(state), state.type)))
        self.graph.states = tuple(state.name for state in self.states)
        self.graph.structure = Structure(tuple(self.parameters), result).written()
        self.graph.metadata = {"producer_name": "torchscript", "graph_name": self.graph.name}
        set_outputs(self.graph, collected, outputs)
        return self.graph


def _mapped(example: Any, made: Mapping[int, Ref]) -> Any:
    if isinstance(example, torch.Tensor):
        return made[id(example)]
    if isinstance(example, list | tuple):
        inner = [_mapped(one, made) for one in example]
        return inner if isinstance(example, list) else tuple(inner)
    return {key: _mapped(one, made) for key, one in example.items()} if isinstance(example, dict) else example


def _number(value: Any) -> Value:
    if isinstance(value, Dim):
        size: Value = Sizes((value,), (), dt.i64)()
        return size
    raise UnsupportedError(f"the module returns {type(value).__name__}", remedy="return tensors")


def _zeros(at: int, type: Type) -> Node:
    if not type.is_static:
        return at
    return {"zeros": [at, type.dtype.numpy.name, [int(size) for size in type.shape if isinstance(size, int)]]}
