"""Buffers that a module changes, kept by a context: `state=True`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

import tenfold

BUILD: dict[str, Any] = {"cache": False, "threads": 1}


class Counter(nn.Module):
    count: torch.Tensor
    calls: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.tensor([3.0, 5.0]))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.count += x
        self.calls.add_(1)
        return self.count * 2, self.calls


class Cache(nn.Module):
    """Attention over a cache of fixed size, as transformers' StaticCache keeps it."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(1, 2, 32, 8))
        self.register_buffer("values", torch.zeros(1, 2, 32, 8))

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        self.keys.index_copy_(2, position, k)
        self.values[:, :, position] = v
        mask = torch.arange(32) <= position[:, None]
        return nn.functional.scaled_dot_product_attention(q, self.keys, self.values, attn_mask=mask)


def test_changed_buffers_begin_as_the_module_has_them(tmp_path: Path) -> None:
    x, module = torch.ones(2), Counter()
    engine = tenfold.build(Counter(), example_inputs=(x,), state=True, **BUILD)
    engine.save(tmp_path / "counter.tenfold")
    for one in (engine, tenfold.load(tmp_path / "counter.tenfold")):
        assert [spec.name for spec in one.state] == ["count", "calls"]
        context = one.context()
        for again in range(3):
            count, calls = context.run((x,)).values()
            assert torch.equal(count, 2 * torch.tensor([4.0 + again, 6.0 + again])) and calls == again + 1
        context.reset()
        assert torch.equal(next(iter(context.run((x,)).values())), module(x)[0])
        module = Counter()


def test_only_the_buffers_that_are_named() -> None:
    engine = tenfold.build(Counter(), example_inputs=(torch.ones(2),), state={"count": "count"}, **BUILD)
    context = engine.context()
    found = [context.run((torch.ones(2),)) for _ in range(2)]
    assert [float(one["output.0"][0]) for one in found] == [8, 10] and [int(one["calls"]) for one in found] == [1, 1]


def test_a_cache_of_fixed_size_is_updated_in_place() -> None:
    def given(at: int, count: int = 1) -> tuple[torch.Tensor, ...]:
        return (*(torch.randn(1, 2, count, 8) for _ in range(3)), torch.arange(at, at + count))

    wanted, module = Cache(), Cache()
    engine = tenfold.build(torch.export.export(module, given(0)), state=True, **BUILD)
    assert all(one.in_place for one in engine.plan.carried) and not engine.report["host_steps"]
    context = engine.context()
    for at in (0, 1, 2, 3, 9):
        arrays = given(at)
        (found,) = context.run(arrays).values()
        torch.testing.assert_close(found, wanted(*arrays))
