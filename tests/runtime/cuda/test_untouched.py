"""Results' tensors are given out again only when they are as they were and nobody has them, whatever is done to one."""

from __future__ import annotations

import copy
import ctypes
import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tenfold
from tenfold import ops
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph
from tenfold.ir.type import Type
from tests.runtime.cuda.emulated import FakeDriver
from tests.runtime.cuda.pretended import Current

from tenfold.runtime.cuda import repeat, untouched  # isort: skip

SHAPE = 4, 8


@pytest.fixture
def engine(driver: FakeDriver, current: Current) -> tenfold.Engine:
    graph = Graph(name="again")
    x = graph.input("x", Type(dt.f32, SHAPE))
    graph.set_outputs([ops.Add()(x, x), ops.Relu()(x)], ["twice", "positive"])
    return tenfold.build(graph, target="cuda:sm_90", cache=False, effort=0)


def right(found: Any, x: torch.Tensor) -> None:
    torch.testing.assert_close(found[0], x + x)
    torch.testing.assert_close(found[1], x.clamp(min=0))


def test_words_tell_all_uses_here() -> None:
    assert untouched.watchable(torch)
    assert all(untouched._seen(use, torch) for use in untouched._uses(torch))
    assert not untouched._seen(lambda tensor: None, torch)
    assert all(untouched._noticed(change, torch) for change in untouched._changes(torch))
    assert not untouched._noticed(lambda tensor: tensor.add_(1), torch)


def test_the_same_tensors_come_again(engine: tenfold.Engine) -> None:
    x = torch.randn(SHAPE)
    with engine.context() as context:
        for _ in range(2):
            context.call([x])
        numbers = [*map(id, context.call([x]))]
        for _ in range(3):
            x.normal_()
            found = context.call([x])
            right(found, x)
            assert [*map(id, found)] == numbers
            del found
        first = context.call([x])
        kept = [one.clone() for one in first]
        x.normal_()
        other = context.call([x])
        right(other, x)
        assert all(map(torch.equal, first, kept)) and not {*map(id, first)} & {*map(id, other)}
        assert len(context._repeats._all[0]._sets) == 2  # type: ignore[attr-defined]


def tagged(tensor: torch.Tensor) -> None:
    tensor.tag = 1  # type: ignore[attr-defined]


def elsewhere(tensor: torch.Tensor) -> None:
    tensor.data = torch.zeros(3)


def swapped(tensor: torch.Tensor) -> None:
    torch.utils.swap_tensors(tensor, torch.zeros(2))


CHANGES: dict[str, Callable[[torch.Tensor], object]] = {
    "attribute": tagged,
    "other data": elsewhere,
    "swapped": swapped,
    "wants a gradient": lambda one: one.requires_grad_() is None,
    "transposed": lambda one: one.t_() is None,
    "resized": lambda one: one.resize_(2, 2) is None,
    "squeezed": lambda one: one.unsqueeze_(0) is None,
    "set": lambda one: one.set_(torch.zeros(5)) is None,  # type: ignore[call-overload]
    "written": lambda one: one.add_(1) is None,
    "strided": lambda one: one.as_strided_((4,), (1,), 2) is None,
}
HOLDS: dict[str, Callable[[torch.Tensor], Any]] = {
    "itself": lambda one: one,
    "a view": lambda one: one[1:],
    "detached": lambda one: one.detach(),
    "a shallow copy": copy.copy,
    "a storage": lambda one: one.untyped_storage(),
    "NumPy's": lambda one: one.numpy(),
    "DLPack's": lambda one: torch.from_dlpack(one),
    "a gradient's": lambda one: torch.ones(1, requires_grad=True) * one,
    "a closure": lambda one: lambda: one,
}


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_what_a_caller_changed_is_made_anew(
    change: str, watched: bool, engine: tenfold.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeat, "watchable", lambda _: watched)
    x = torch.randn(SHAPE)
    with engine.context() as context:
        context.call([x])
        for _ in range(2 * repeat.CHANCES):
            x.normal_()
            found = context.call([x])
            right(found, x)
            assert not any(one.requires_grad or hasattr(one, "tag") for one in found)
            CHANGES[change](found[1])
            del found
        assert len(context._repeats._all[0]._sets) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize("hold", HOLDS)
def test_what_a_caller_holds_is_not_written(
    hold: str, watched: bool, engine: tenfold.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeat, "watchable", lambda _: watched)
    x = torch.randn(SHAPE)
    with engine.context() as context:
        for _ in range(3):
            context.call([x])
        for _ in range(2):
            found = context.call([x])
            place, bits = found[0].data_ptr(), found[0].numpy().tobytes()
            held = HOLDS[hold](found[0])
            del found
            x.normal_()
            for _ in range(3):
                found = context.call([x])
                right(found, x)
                assert found[0].data_ptr() != place
                del found
            memory = np.frombuffer((ctypes.c_ubyte * len(bits)).from_address(place), np.uint8)
            assert memory.tobytes() == bits
            del held
        right(context.call([x]), x)
        assert len(context._repeats._all[0]._sets) == 2  # type: ignore[attr-defined]


def test_tensors_that_are_waited_for_end(engine: tenfold.Engine) -> None:
    x = torch.randn(SHAPE)
    with engine.context() as context:
        for _ in range(3):
            context.call([x])
        watched = [*map(weakref.ref, context.call([x]))]
        for _ in range(2):
            context.call([x])
        assert all(one() is None for one in watched)
        watched = [weakref.ref(one.untyped_storage()) for one in context.call([x])]
    gc.collect()
    assert all(one() is None for one in watched)


@pytest.mark.parametrize("shape", [(2, 3, 1, 1, 1), (2, 3, 1, 1, 1, 1)])
def test_sizes_of_many_axes_are_told(shape: tuple[int, ...], driver: FakeDriver, current: Current) -> None:
    graph = Graph(name="axes")
    graph.set_outputs([ops.Relu()(graph.input("x", Type(dt.f32, shape)))], ["y"])
    x = torch.randn(shape)
    with tenfold.build(graph, target="cuda:sm_90", cache=False, effort=0).context() as context:
        context.call([x])
        for _ in range(3):
            (found,) = context.call([x])
            torch.testing.assert_close(found, x.clamp(min=0))
            found.resize_(3, 2, *shape[2:])
            del found


def moved(tensor: torch.Tensor) -> None:
    storage = tensor.untyped_storage()
    size = storage.nbytes()
    storage.resize_(0)
    kept.append(torch.zeros(size, dtype=torch.uint8))
    storage.resize_(size)


kept: list[torch.Tensor] = []
"""What takes the place of memory that was given back."""
MOVES: dict[str, Callable[[torch.Tensor], object]] = {
    "nothing": id,
    "a row": lambda one: one[1],
    "a parameter's": lambda one: one.requires_grad_() is None,
    "other data": lambda one: setattr(one, "data", torch.zeros(SHAPE)),
    "set": lambda one: one.set_(torch.zeros(SHAPE)) is None,  # type: ignore[call-overload]
    "swapped": lambda one: torch.utils.swap_tensors(one, torch.zeros(SHAPE)),
    "moved": moved,
    "later rows": lambda one: one.set_(torch.zeros(9, 8)[2:6]) is None,  # type: ignore[call-overload]
    "turned": lambda one: one.set_(torch.zeros(8, 4).t()) is None,  # type: ignore[call-overload]
}


@pytest.mark.parametrize("bound", [True, False])
@pytest.mark.parametrize("move", MOVES)
def test_inputs_are_read_where_they_are(move: str, bound: bool, engine: tenfold.Engine) -> None:
    x = torch.zeros(SHAPE)
    with engine.context() as context:
        if bound:
            y = torch.zeros(SHAPE)
            context.bind(outputs={"twice": y})
        for _ in range(3):
            for _ in range(4):
                with torch.no_grad():
                    x.normal_()
                found = context.call([x])
                right(found, x.detach())
                assert not bound or found[0] is y
                del found
            MOVES[move](x)


def test_a_call_on_the_same_objects_is_not_looked_at_again(
    engine: tenfold.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, other = torch.zeros(SHAPE), torch.zeros(SHAPE)
    with engine.context() as context:
        for given in (x, other) * 4:
            context.call([given])
        with monkeypatch.context() as patch:
            patch.setattr(repeat.Repeat, "run", None)
            for given in (x, other, x):
                given.normal_()
                right(context.call((given,)), given)
                right(list(context.run({"x": given}).values()), given)
            held = context.call([x])
        x.normal_()
        for _ in range(2):
            assert held[0].data_ptr() != context.call([x])[0].data_ptr()
        with monkeypatch.context() as patch:
            patch.setattr(repeat.Repeat, "run", None)
            for _ in range(2):
                right(context.call([x]), x)
