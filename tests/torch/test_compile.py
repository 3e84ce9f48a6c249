from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

import tenfold
from tenfold.errors import InputError
from tenfold.torch import CAPTURES

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
FAST = {"cache": False, "effort": 0}


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    torch.manual_seed(0)
    torch._dynamo.reset()
    CAPTURES.clear()
    with torch.no_grad():
        yield


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2)).eval()


def test_an_engine_for_each_combination_of_shapes() -> None:
    module = _mlp()
    fast = tenfold.torch.compile(module, **FAST)
    assert not fast.engines
    for batch in (3, 5, 3):
        x = torch.randn(batch, 4)
        torch.testing.assert_close(fast(x), module(x))
    assert len(fast.engines) == 2


@pytest.mark.parametrize(
    "open_sizes", [{"dynamic_batch": True}, {"shapes": {"input": ("n", 4)}, "dims": {"n": (1, 9)}}]
)
def test_one_engine_for_every_batch(open_sizes: dict[str, object]) -> None:
    module = _mlp()
    fast = tenfold.torch.compile(module, **open_sizes, **FAST)
    for batch in (1, 5, 9):
        x = torch.randn(batch, 4)
        torch.testing.assert_close(fast(x), module(x))
    assert len(fast.engines) == 1


class Running(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.total += x
        return self.total * 2


def test_buffers_that_the_module_changes_are_changed() -> None:
    module, other = Running(), Running()
    fast = tenfold.torch.compile(module, **FAST)
    for _ in range(3):
        torch.testing.assert_close(fast(torch.ones(3)), other(torch.ones(3)))
    assert torch.equal(module.get_buffer("total"), torch.full((3,), 3.0))


def test_an_argument_that_needs_a_gradient_is_refused() -> None:
    fast = tenfold.torch.compile(_mlp(), **FAST)
    with torch.enable_grad(), pytest.raises(InputError, match="inference_mode"):
        fast(torch.randn(1, 4, requires_grad=True))


def test_the_backend_of_torch_compile() -> None:
    module = _mlp()
    fast = torch.compile(module, backend="tenfold", options=FAST)
    x = torch.randn(3, 4)
    torch.testing.assert_close(fast(x), module(x))
    assert [(len(one.engines), one.reason) for one in CAPTURES] == [(1, "")]


class Broken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.inner(x)
        y = y + 1 if y.sum() > 0 else y - 1
        return self.inner(y).relu(), torch.digamma(y.abs())


def test_what_cannot_be_built_runs_in_pytorch_and_is_reported() -> None:
    module = Broken().eval()
    x = torch.randn(3, 4)
    torch.testing.assert_close(torch.compile(module, backend="tenfold", options=FAST)(x), module(x))
    built, left = CAPTURES
    assert len(built.engines) == 1 and not built.reason
    assert not left.engines and "aten.digamma" in left.reason


def test_a_graph_to_be_differentiated_runs_in_pytorch() -> None:
    module = _mlp()
    x = torch.randn(3, 4)
    with torch.enable_grad():
        found = torch.compile(module, backend="tenfold", options=FAST)(x)
    assert found.requires_grad and "differentiated" in CAPTURES[0].reason
