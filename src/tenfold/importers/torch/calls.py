"""Operators of TorchScript on values: by their converters, or taken apart by PyTorch into operators that have one."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from tenfold.errors import UnsupportedError
from tenfold.importers.torch import random, sizes
from tenfold.importers.torch.arguments import STORAGE, bound
from tenfold.importers.torch.export import decomposed, quiet
from tenfold.importers.torch.promote import dtype_of, torch_dtype
from tenfold.importers.torch.recurrent import Packed
from tenfold.importers.torch.signal import Complex
from tenfold.importers.torch.tables import COMPLEX, TABLE, Converters, find
from tenfold.importers.torch.weights import Weights
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value

OTHER_NAMES = {
    **{f"__{name}__": f"bitwise_{name}" for name in ("and", "or", "xor")},
    **{f"arc{name}": f"a{name}" for name in ("cos", "cosh", "sin", "sinh", "tan", "tanh", "tan2")},
    **{"absolute": "abs", "negative": "neg", "multiply": "mul", "subtract": "sub", "divide": "div", "fix": "trunc"},
    **{"true_divide": "div", "less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge"},
    "not_equal": "ne",
}
"""Operators that are others under another name; torch.export knows them under that one only."""

OF_PACKED = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu", "_pad_packed_sequence"})


@dataclass
class Calls:
    """Converts calls. `added` are a user's converters."""

    weights: Weights
    added: Converters
    draws: Iterator[int] = field(default_factory=itertools.count)

    def __call__(self, schema: Any, name: str, values: Sequence[Any]) -> Any:
        """What an operator, of that name without overload, gives on these arguments."""
        if any(isinstance(one, Packed) for one in values) and name not in OF_PACKED:
            raise UnsupportedError("it takes packed sequences", remedy="apply it to the padded ones")
        space, own = schema.name.partition("::")[0], OTHER_NAMES.get(name, name)
        full = f"{own}.{schema.overload_name or 'default'}"
        convert = self.converter(space, full, any(isinstance(one, Complex) for one in values))
        if convert is None:
            return self._apart(schema, f"{name}.{schema.overload_name or 'default'}", values)
        places, keywords = bound(schema, values, {})
        names = {one.name: at for at, one in enumerate(schema.arguments)}
        return convert(*places, **{key: values[at] for key, at in names.items() if key in keywords})

    def converter(self, space: str, full: str, is_complex: bool) -> Callable[..., Any] | None:
        """The converter of an operator's overload ("add.Tensor"); None if there is none."""
        given = find(self.added, f"{space}::{full}")
        if given is not None or space != "aten":
            return given
        by_chance = find(random.TABLE, full)
        if by_chance is not None:
            return partial(by_chance, next(self.draws))
        return find(sizes.TABLE, full) or find(COMPLEX if is_complex else TABLE, full)

    def _apart(self, schema: Any, full: str, values: Sequence[Any]) -> Any:
        """An operator by those that PyTorch makes of it on tensors of these sizes."""
        tensors = [one for one in pytree.tree_leaves(list(values)) if isinstance(one, Value)]
        shapes = [[size for size in one.type.shape if isinstance(size, int)] for one in tensors]
        known = all(len(shape) == one.type.rank for shape, one in zip(shapes, tensors, strict=True))
        if not known or any(isinstance(one, Complex) for one in values):
            raise UnsupportedError("it has no converter", remedy="fix the sizes by shapes=, or export the module")
        name, _, overload = full.partition(".")
        target = getattr(getattr(torch.ops.aten, name, None), overload, None)
        if target is None:
            raise UnsupportedError("it has no converter")
        leaves, tree = pytree.tree_flatten(list(values))
        keywords = [one.name if one.kwarg_only else None for one in schema.arguments]

        def again(*given: Any) -> Any:
            rest = iter(given)
            plain = pytree.tree_unflatten([next(rest) if isinstance(x, Value) else _torch(x) for x in leaves], tree)
            pairs = list(zip(keywords, plain, strict=True))
            named = {key: one for key, one in pairs if key is not None and key not in STORAGE}
            return target(*(one for key, one in pairs if key is None), **named)

        pairs = zip(shapes, tensors, strict=True)
        examples = [torch.empty(shape, dtype=torch_dtype(one.type.dtype)) for shape, one in pairs]
        try:
            with quiet(), torch.no_grad():
                program = decomposed(torch.export.export(_Once(again), tuple(examples)), self.added)
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UnsupportedError(f"it has no converter, and PyTorch does not take it apart: {reason}") from error
        found = self._walked(program, full, tensors)
        several = len(schema.returns) > 1 or str(schema.returns[0].type).startswith("List")
        return found if several else found[0]

    def _walked(self, program: ExportedProgram, full: str, tensors: Sequence[Value]) -> Any:
        given, known = iter(tensors), dict[Any, Any]()
        specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
        for node in program.graph.nodes:
            if node.op == "placeholder" and specs[node.name].kind is InputKind.USER_INPUT:
                known[node] = next(given)
            elif node.op == "placeholder":
                held = program.constants[str(specs[node.name].target)]
                known[node] = self.weights.of_tensor(held, f"constant.{full}.{node.name}")
            elif node.op == "call_function":
                known[node] = self._part(node, full, known)
        (end,) = program.graph.output_node().args
        return _read(end, known)

    def _part(self, node: Any, full: str, known: Mapping[Any, Any]) -> Any:
        args, named = _read(node.args, known), {key: _read(one, known) for key, one in node.kwargs.items()}
        if node.target is operator.getitem:
            return args[0][args[1]]
        schema = node.target._schema
        space, _, name = schema.name.partition("::")
        part = f"{name}.{schema.overload_name or 'default'}"
        convert = None
        if part != full:
            convert = self.converter(space, part, any(isinstance(one, Complex) for one in args))
        if convert is None:
            raise UnsupportedError("it has no converter" if part == full else f"it has no converter, nor has {part}")
        places, keywords = bound(schema, args, named)
        return convert(*places, **keywords)


class _Once(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *given: Any) -> Any:
        return self.function(*given)


def _read(one: Any, known: Mapping[Any, Any]) -> Any:
    if isinstance(one, torch.fx.Node):
        return known[one]
    if isinstance(one, tuple | list):
        return tuple(_read(inner, known) for inner in one)
    return dtype_of(one) if isinstance(one, torch.dtype) else one


def _torch(one: Any) -> Any:
    return torch_dtype(one) if isinstance(one, DType) else one
