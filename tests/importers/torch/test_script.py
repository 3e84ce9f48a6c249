from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tenfold
from tenfold.errors import ModelError, OptionError, UnsupportedError
from tenfold.importers import open_model
from tenfold.ir.graph import Graph
from tenfold.ops.control import If
from tests.importers.torch.running import assert_same, interpreted

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def check(module: Any, given: Sequence[Any], *others: Sequence[Any], **opening: Any) -> Graph:
    """Read a TorchScript module, and hold it against PyTorch."""
    graph = open_model(module, example_inputs=tuple(given), **opening)
    with torch.no_grad():
        for one in (given, *others):
            assert_same(interpreted(graph, tuple(one)), module(*one))
    return graph


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.cell = nn.LSTM(4, 5, batch_first=True)

    def forward(self, x: torch.Tensor, times: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.relu_(self.norm(self.conv(x)))
        y[:, 0] += 1
        rows = y.flatten(2).transpose(1, 2)
        found, (h, _) = self.cell(rows)
        kept: list[torch.Tensor] = []
        for at in range(times):
            kept.append(found * at)
        if x.shape[0] > 3:
            return torch.stack(kept), h
        return torch.stack(kept) + 1, h


def test_traced_and_scripted_modules() -> None:
    module, x = Layers().eval(), torch.randn(1, 3, 4, 4)
    check(torch.jit.trace(module, (x,)), (x,))
    check(torch.jit.script(module), (x, 3))


def test_open_sizes() -> None:
    traced = torch.jit.trace(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), torch.randn(2, 4))
    graph = check(traced, (torch.randn(2, 4),), (torch.randn(7, 4),), shapes={"input": ("n", 4)}, dims={"n": (1, 9)})
    assert str(graph.inputs[0].type.shape[0]) == "n"
    assert open_model(traced, shapes={"input": ("n", 4)}).inputs[0].type.shape[1] == 4


class Switch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x * 2 if bool(x.sum() > 0) else x - 1
        return y + 1


def test_a_branch_that_the_data_decide() -> None:
    graph = check(torch.jit.script(Switch()), (torch.ones(3),), (-torch.ones(3),))
    assert any(isinstance(node.op, If) for node in graph.nodes)


class Views(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = x.clone()
        row = y[1]
        row[::2].mul_(3)
        y.transpose(0, 1)[0].add_(1)
        first, second = y.chunk(2, dim=1)
        second.zero_()
        y.view(-1)[3] = 7
        return y, row + first.sum()


def test_views_see_what_is_written_through_others() -> None:
    check(torch.jit.script(Views()), (torch.randn(4, 6),))


class Keeper(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.total = torch.zeros(0)
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.calls == 0:
            self.total = torch.zeros_like(x)
        self.calls = 1
        self.total = self.total + x
        return self.total * 2


def test_attributes_that_are_set_are_state() -> None:
    graph = open_model(torch.jit.script(Keeper()), example_inputs=(torch.ones(3),))
    assert [value.name for value in graph.inputs] == ["x", "total"] and graph.output_names == ("output", "total")
    engine = tenfold.build(graph, cache=False, effort=0)
    assert np.array_equal(engine(np.ones(3, np.float32)), np.full(3, 2.0))
    after = engine.run([np.ones(3, np.float32), np.full(3, 4, np.float32)])
    assert np.array_equal(after["total"], np.full(3, 5.0))


def test_files_and_bytes(tmp_path: Path) -> None:
    module = torch.jit.script(nn.Linear(4, 2))
    path = tmp_path / "linear.pt"
    torch.jit.save(module, path)
    x = torch.randn(3, 4)
    engine = tenfold.build(path, example_inputs=(x,), cache=False, effort=0)
    torch.testing.assert_close(engine(x), module(x).detach())
    kept = io.BytesIO()
    torch.jit.save(module, kept)
    assert open_model(kept.getvalue(), shapes={"input": (3, 4)}).inputs[0].name == "input"
    with pytest.raises(ModelError, match=r"refuses the file|damaged"):
        open_model(path.read_bytes()[:-200])


class Strict(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] != 2:
            raise ValueError("two rows are needed")
        return torch.digamma(x)


def test_what_cannot_be_read_is_named() -> None:
    script = torch.jit.script(Strict())
    with pytest.raises(ModelError, match="two rows are needed"):
        open_model(script, example_inputs=(torch.ones(3, 1),))
    with pytest.raises(UnsupportedError, match=r"aten.digamma at .*test_script.py"):
        open_model(script, example_inputs=(torch.ones(2, 1),))
    with pytest.raises(OptionError, match="nothing says what the argument 'x'"):
        open_model(script)


class Composed(nn.Module):
    """Operators that torch.export never leaves, but TorchScript does."""

    def forward(self, x: torch.Tensor, counts: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = (
            torch.square(x) + torch.absolute(x).multiply(2),
            torch.fft.rfft(x).abs(),
            torch.diff(x, dim=1),
            torch.einsum("ij,kj->ik", x, x),
            F.pairwise_distance(x, x + 1),
            torch.diag(x[:, 0]),
            torch.tensor_split(x, 3, 1)[1],
            torch.std_mean(x, 1)[0],
            x.expand(2, 4, 6),
            (x > 0) & (x < 1),
            torch.stft(x[0], 4, 2, window=torch.ones(4), return_complex=True).abs(),
        )
        return (*found, torch.repeat_interleave(x, counts, 0))


def test_operators_without_converter_are_taken_apart() -> None:
    given = (torch.randn(4, 6), torch.tensor([2, 0, 1, 3]))
    check(torch.jit.trace(Composed(), given), given, (torch.randn(4, 6), torch.tensor([0, 4, 0, 1])))


class Measured(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = int(torch.ceil(torch.tensor(x.shape[1]) / 4) * 4)
        return F.pad(x, (0, size - x.shape[1]))


def test_sizes_that_a_trace_computes_in_tensors() -> None:
    check(torch.jit.trace(Measured(), (torch.randn(2, 6),)), (torch.randn(2, 6),))


class Many(nn.Module):
    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        return given[0] + 2 * given[1]


def test_arguments_that_a_trace_names_alike() -> None:
    given = (torch.randn(3), torch.randn(3))
    graph = check(torch.jit.trace(Many(), given), given)
    assert len({value.name for value in graph.inputs}) == 2


class PackedRows(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], total: int | None, sorted: bool) -> None:
        super().__init__()
        self.cells = kind(3, 4, num_layers=2, bidirectional=True, batch_first=True)
        self.total, self.sorted = total, sorted

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=self.sorted)
        y, last = self.cells(packed)
        return nn.utils.rnn.pad_packed_sequence(y, True, 0.5, self.total), last


@pytest.mark.parametrize(
    ("kind", "total", "sorted"), [(nn.LSTM, 7, True), (nn.LSTM, None, False), (nn.GRU, None, False), (nn.RNN, 9, False)]
)
def test_packed_sequences(kind: type[nn.RNNBase], total: int | None, sorted: bool) -> None:
    module = PackedRows(kind, total, sorted).eval()
    given = (torch.randn(3, 7, 3), torch.tensor([7, 4, 2]))
    others = [(torch.randn(3, 7, 3), torch.tensor(one)) for one in ([6, 5, 1], [2, 7, 3])[: 1 + (not sorted)]]
    if total != 7:
        given, others = (given[0], torch.tensor([2, 5, 1])), [(others[0][0], torch.tensor([3, 2, 6]))]
    check(torch.jit.trace(module, given, check_trace=False), given, *others[:1])
