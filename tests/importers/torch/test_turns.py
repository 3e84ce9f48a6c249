"""TorchScript's loops and branches that only a call decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tenfold
from tenfold.errors import UnsupportedError
from tenfold.importers import open_model
from tenfold.ops.control import If, Loop
from tests.importers.torch.running import assert_same, interpreted

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def check(module: Any, *calls: Sequence[Tensor], built: bool = True, **opening: Any) -> None:
    """Read the program on its first call, and hold all calls against PyTorch."""
    script = torch.jit.script(module.eval())
    graph = open_model(script, example_inputs=tuple(calls[0]), **opening)
    assert any(isinstance(node.op, Loop | If) for node in graph.nodes)
    for given in calls:
        assert_same(interpreted(graph, tuple(given)), script(*(one.clone() for one in given)))
    if built:
        engine = tenfold.build(script, example_inputs=tuple(calls[0]), cache=False, effort=0, **opening)
        for given in calls:
            assert_same(engine(*given), script(*(one.clone() for one in given)))


class Doubling(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        turns = 0
        while bool(x.abs().sum() < 100):
            x = x * 2
            turns += 1
        return x, turns


def test_a_loop_that_the_data_end() -> None:
    check(Doubling(), (torch.randn(5),), (torch.randn(5) * 1e-3,), (torch.full((5,), 99.0),))


class Newton(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.ones_like(x)
        error = torch.tensor(1.0)
        step = 0
        while step < 50 and bool(error > 1e-6):
            new = 0.5 * (y + x / y)
            error = (new - y).abs().max()
            y = new
            step += 1
        return y, error


def test_a_loop_with_an_end_of_its_own() -> None:
    check(Newton(), (torch.rand(4) + 0.1,), (torch.rand(4) * 1000 + 1,), built=False)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.Linear(3 + 4, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = torch.zeros(x.size(1), 4)
        found = torch.jit.annotate(list[Tensor], [])
        for step in range(x.size(0)):
            h = torch.tanh(self.cell(torch.cat([x[step], h], 1)))
            found.append(h)
            found.append(h * 2)
        return torch.stack(found), torch.cat(found, 1), h


def test_a_loop_along_an_open_size_stacks_what_it_collects() -> None:
    calls = [(torch.randn(size, 2, 3),) for size in (5, 1, 9)]
    check(Recurrent(), *calls, shapes={"x": ("time", 2, 3)})


class Writing(nn.Module):
    def forward(self, x: Tensor, count: Tensor) -> Tensor:
        y = torch.zeros(6, 3)
        for at in range(int(count)):
            y[at] = x[at] + at
            y[:, 0] += 1
        return y


def test_a_loop_that_writes_into_a_tensor_of_outside() -> None:
    x = torch.randn(6, 3)
    check(Writing(), *((x, torch.tensor(count)) for count in (4, 0, 6)))


class Nested(nn.Module):
    def forward(self, x: Tensor, count: Tensor) -> Tensor:
        total = x
        for outer in range(int(count)):
            inner = torch.zeros(1)
            while bool(inner.sum() < outer):
                inner = inner + 1
            total = total - inner if bool(total.sum() > 3) else total * 0.5 + inner
        return total


def test_loops_and_branches_within_loops() -> None:
    check(Nested(), *((torch.randn(3), torch.tensor(count)) for count in (3, 0, 5)), built=False)


class Growing(nn.Module):
    def forward(self, x: Tensor, count: Tensor) -> Tensor:
        y = x[:1]
        for _ in range(int(count)):
            y = torch.cat([y, y + 1])
        return y


def test_a_state_that_grows() -> None:
    check(Growing(), *((torch.randn(2, 3), torch.tensor(count)) for count in (3, 0, 2)), built=False)


class Aside(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        if bool(x.sum() > 0):
            y[0] = 5.0
        else:
            y.mul_(2)
        return y


def test_a_branch_that_writes_into_a_tensor_of_outside() -> None:
    x = torch.tensor([1.0, 2.0, -0.5])
    check(Aside(), (x,), (-x,))


class Counting(nn.Module):
    def forward(self, x: Tensor) -> int:
        found = torch.jit.annotate(list[Tensor], [])
        while len(found) < 3 or bool(x.sum() > 0):
            x = x - 1
            found.append(x)
        return len(found)


class Sized(nn.Module):
    def forward(self, x: Tensor, count: Tensor) -> Tensor:
        y = x
        for at in range(int(count)):
            y = y.unsqueeze(0) if at > 2 else y
        return y


def test_what_cannot_be_followed_is_named() -> None:
    with pytest.raises(UnsupportedError, match="whose length only a call decides"):
        open_model(torch.jit.script(Counting()), example_inputs=(torch.ones(3),))
    with pytest.raises(UnsupportedError, match=r"aten|prim"):
        open_model(torch.jit.script(Sized()), example_inputs=(torch.ones(3), torch.tensor(3)))
