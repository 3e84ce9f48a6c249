"""Branches and loops: PyTorch's higher-order operators on graphs of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tenfold.errors import UnsupportedError
from tenfold.importers.shorthand import reshaped
from tenfold.importers.torch.attention import Run, flex
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Dim
from tenfold.ir.graph import Graph, Value
from tenfold.ir.type import Type
from tenfold.ops.constant import Sizes, scalar
from tenfold.ops.control import If, Loop, Scan


def branch(run: Run, condition: Any, yes: Any, no: Any, operands: Sequence[Any]) -> tuple[Any, ...]:
    """torch.cond: one of two graphs on the same operands."""
    if not isinstance(condition, Value | Dim):
        return tuple(run(yes if condition else no, operands))
    test = condition if isinstance(condition, Value) else _as_bool(condition)
    entries = test.type.entries
    if entries is not None and isinstance(entries[0], int):
        return tuple(run(yes if entries[0] else no, operands))
    tensors = [one for one in operands if isinstance(one, Value)]
    graphs = [traced(run, one, operands, [value.type for value in tensors]) for one in (yes, no)]
    return _listed(If(*graphs)(reshaped(test, ()), *tensors))


def _as_bool(condition: Dim) -> Value:
    found: Value = Sizes((condition,), (), dt.boolean)()
    return found


def traced(run: Run, inner: Any, operands: Sequence[Any], types: Sequence[Type]) -> Graph:
    """A graph of PyTorch's as one of ours, whose inputs are the tensors among the operands."""
    graph = Graph()
    formal = iter([graph.input(f"x{at}", type) for at, type in enumerate(types)])
    given = [next(formal) if isinstance(one, Value) else one for one in operands]
    found = _tensors(run(inner, given))
    graph.set_outputs(found, [f"y{at}" for at in range(len(found))])
    return graph


def _tensors(found: Sequence[Any]) -> list[Value]:
    if not all(isinstance(one, Value) for one in found):
        raise UnsupportedError("a branch or loop that returns something else than tensors")
    return [one for one in found if isinstance(one, Value)]


def loop(run: Run, test: Any, body: Any, state: Sequence[Any], more: Sequence[Any] = ()) -> tuple[Any, ...]:
    """torch.while_loop: the body while the test holds."""
    carried, captured = _tensors(state), [one for one in more if isinstance(one, Value)]
    types = [Type(one.type.dtype, one.type.shape) for one in carried]
    graph = Graph()
    graph.input("turn", Type(dt.i64, ()))
    graph.input("condition", Type(dt.boolean, ()))
    inner = [graph.input(f"x{at}", type) for at, type in enumerate(types)]
    formal = iter([graph.input(f"c{at}", one.type) for at, one in enumerate(captured)])
    rest = [next(formal) if isinstance(one, Value) else one for one in more]
    after = _tensors(run(body, [*inner, *rest]))
    for old, new in zip(types, (one.type for one in after), strict=True):
        if old.shape != new.shape and not all(map(dim.known_equal, old.shape, new.shape)):
            raise UnsupportedError(f"its state is {old} before a turn and {new} after it")
    again = _truth(run(test, [*after, *rest]))
    graph.set_outputs([again, *after], ["condition", *(f"y{at}" for at in range(len(after)))])
    first = _truth(run(test, [*carried, *more]))
    endless: Value = scalar(2**63 - 1, dt.i64)()
    return _listed(Loop(graph, len(carried))(endless, first, *carried, *captured))


def scan(run: Run, body: Any, first: Sequence[Any], sequences: Sequence[Any], more: Sequence[Any] = ()) -> Any:
    """torch's scan: the body over the elements of sequences along their first axis; the last states, then results."""
    carried, running = _tensors(first), _tensors(sequences)
    captured = [one for one in more if isinstance(one, Value)]
    graph = Graph()
    states = [graph.input(f"s{at}", Type(one.type.dtype, one.type.shape)) for at, one in enumerate(carried)]
    elements = [graph.input(f"x{at}", Type(one.type.dtype, one.type.shape[1:])) for at, one in enumerate(running)]
    formal = iter([graph.input(f"c{at}", one.type) for at, one in enumerate(captured)])
    found = _tensors(run(body, [*states, *elements, *(next(formal) if isinstance(x, Value) else x for x in more)]))
    graph.set_outputs(found, [f"y{at}" for at in range(len(found))])
    return _listed(Scan(graph, len(carried), len(running))(*carried, *running, *captured))


def effect(run: Run, token: Any, operator: Any, *given: Any, **named: Any) -> tuple[Any, None]:
    """What only checks how a factorisation went, which a call does by itself."""
    if "_linalg_check_errors" not in str(operator):
        raise UnsupportedError(f"{operator} has effects beside its results")
    return token, None


def _truth(found: Sequence[Any]) -> Value:
    (one,) = found
    if isinstance(one, Value):
        return reshaped(one, ())
    if isinstance(one, Dim):
        return _as_bool(one)
    known: Value = scalar(bool(one), dt.boolean)()
    return known


def _listed(found: Value | tuple[Value, ...]) -> tuple[Value, ...]:
    return (found,) if isinstance(found, Value) else found


TABLE: Mapping[str, Callable[..., Any]] = {
    "cond": branch,
    "while_loop": loop,
    "scan": scan,
    "flex_attention": flex,
    "with_effects": effect,
}
