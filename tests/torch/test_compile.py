from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

import tenfold
from tenfold.errors import InputError
from tenfold.runtime import context
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


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, given: dict[str, Any], scale: float = 1.0) -> dict[str, Any]:
        x, (y, _) = given["x"], given["more"]
        found = self.inner(x).reshape(x.shape[0] * x.shape[1], 3) * scale
        return {"rows": found, "rest": [(y + x.mean(), None), x.shape[0]], "word": "kept"}


def _nested(rows: int, columns: int) -> dict[str, Any]:
    return {"x": torch.randn(rows, columns, 4), "more": [torch.randn(2), None]}


def _assert_alike(found: Any, wanted: Any) -> None:
    ours, theirs = pytree.tree_flatten(found), pytree.tree_flatten(wanted)
    assert ours[1] == theirs[1]
    for a, b in zip(ours[0], theirs[0], strict=True):
        assert torch.allclose(a, b, atol=1e-5) if isinstance(b, torch.Tensor) else a == b


def test_open_sizes_of_torch_compile_are_open_in_the_engine() -> None:
    module = Nested().eval()
    fast = torch.compile(module, backend="tenfold", dynamic=True, options=FAST)
    for rows, columns in ((3, 5), (6, 7), (2, 9)):
        given = _nested(rows, columns)
        _assert_alike(fast(given), module(given))
    assert [(len(one.engines), one.reason) for one in CAPTURES] == [(1, "")]


def test_torch_compile_opens_a_size_that_changes() -> None:
    module = _mlp()
    fast = torch.compile(module, backend="tenfold", options=FAST)
    for rows in (3, 5, 7, 9):
        x = torch.randn(rows, 4)
        torch.testing.assert_close(fast(x), module(x))
    assert [len(one.engines) for one in CAPTURES] == [1, 1]


def test_nested_arguments_and_results() -> None:
    module = Nested().eval()
    for fast in (tenfold.torch.compile(module, **FAST), torch.compile(module, backend="tenfold", options=FAST)):
        for rows, scale in ((3, 1.0), (2, 0.5)):
            given = _nested(rows, 5)
            _assert_alike(fast(given, scale), module(given, scale))


class Same(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


def test_tensors_are_neither_copied_in_nor_out(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray[Any, Any]] = []
    arrays = context.as_input

    def watched(*given: Any) -> Any:
        seen.append(arrays(*given))
        return seen[-1]

    monkeypatch.setattr(context, "as_input", watched)
    fast = tenfold.torch.compile(Same(), **FAST)
    x = torch.randn(1000, 64)
    for _ in range(2):
        found = fast(x)
        assert seen[-1].ctypes.data == x.data_ptr()
        assert torch.equal(found, x * 2)
    engine = fast.engines[0]
    y = torch.empty_like(x)
    with engine.context() as running:
        running.bind({"x": x}, {"output": y})
        running.run()
    assert torch.equal(y, x * 2)


def test_what_does_not_fit_a_call_is_named() -> None:
    engine = tenfold.build(Nested(), example_inputs=(_nested(3, 5),), **FAST)
    given = _nested(3, 5)
    with pytest.raises(InputError, match=r"given.x.*float64|given.x.*f64"):
        engine({**given, "x": given["x"].double()})
    with pytest.raises(InputError, match=r"'given.x' is a Tensor in the memory of another device"):
        engine({**given, "x": given["x"].to("meta")})
    with pytest.raises(InputError, match=r"'given' is a dict of x, and the model takes a dict of x, more"):
        engine({"x": given["x"]})
    with pytest.raises(InputError, match=r"given.more.*list of 2"):
        engine({**given, "more": [given["x"]]})
    with pytest.raises(InputError, match=r"given.x.*4, 5, 4"):
        engine(_nested(4, 5))


def test_a_graph_to_be_differentiated_runs_in_pytorch() -> None:
    module = _mlp()
    x = torch.randn(3, 4)
    with torch.enable_grad():
        found = torch.compile(module, backend="tenfold", options=FAST)(x)
    assert found.requires_grad and "differentiated" in CAPTURES[0].reason
