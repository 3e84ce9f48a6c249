from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.attention.flex_attention
import torch.nn.functional as F
from torch import nn
from torch._higher_order_ops.scan import scan

import tenfold
from tenfold.errors import InputError, ModelError, OptionError, UnsupportedError
from tenfold.importers import open_model
from tenfold.importers.torch import import_module
from tenfold.ops.attention import Attention
from tenfold.ops.constant import Constant
from tenfold.ops.recurrent import GRU, LSTM, RNN
from tests.importers.torch.running import assert_same, check, expected

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore::FutureWarning:torch")


class Wrapped(nn.Module):
    def __init__(self, function: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *given: Any) -> Any:
        return self.function(self, *given)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("both", [False, True])
def test_recurrent_layers_stay_whole(kind: type[nn.Module], both: bool) -> None:
    module = kind(3, 5, num_layers=2, bidirectional=both, batch_first=True).eval()
    graph = check(module, (torch.randn(2, 7, 3),))
    cells = [node for node in graph.nodes if isinstance(node.op, LSTM | GRU | RNN)]
    assert len(cells) == (4 if both else 2)


def test_recurrent_layers_without_bias_and_with_states() -> None:
    check(nn.LSTM(3, 5, bias=False), (torch.randn(7, 2, 3), (torch.randn(1, 2, 5), torch.randn(1, 2, 5))))
    check(nn.RNN(3, 5, nonlinearity="relu"), (torch.randn(7, 3), torch.randn(1, 5)))
    check(nn.LSTMCell(3, 5), (torch.randn(2, 3),))
    check(nn.GRUCell(3, 5), (torch.randn(2, 3),))


@pytest.mark.parametrize("options", [{}, {"need_weights": False}, {"is_causal": True, "need_weights": False}])
def test_multi_head_attention(options: dict[str, Any]) -> None:
    mask = torch.triu(torch.full((4, 4), float("-inf")), 1) if options.get("is_causal") else None
    module = Wrapped(lambda self, x: self.inner(x, x, x, attn_mask=mask, **options), inner=nn.MultiheadAttention(8, 2))
    check(module.eval(), (torch.randn(4, 2, 8),))


@pytest.mark.parametrize(
    ("options", "call"),
    [
        ({"batch_first": True}, {"average_attn_weights": False}),
        ({"add_bias_kv": True, "add_zero_attn": True}, {}),
        ({"kdim": 6, "vdim": 5, "bias": False}, {"need_weights": False}),
    ],
)
def test_multi_head_attention_to_other_rows(options: dict[str, Any], call: dict[str, Any]) -> None:
    inner = nn.MultiheadAttention(8, 2, **options).eval()
    module = Wrapped(lambda self, q, k, v, hidden: self.inner(q, k, v, key_padding_mask=hidden, **call), inner=inner)
    rows = (torch.randn(4, 3, 8), torch.randn(5, 3, options.get("kdim", 8)), torch.randn(5, 3, options.get("vdim", 8)))
    given = [one.transpose(0, 1) for one in rows] if options.get("batch_first") else list(rows)
    hidden = torch.arange(5)[None] >= torch.tensor([[5], [3], [1]])
    check(module.eval(), (*given, hidden))


def test_attention_is_one_operation() -> None:
    module = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    graph = check(module, (torch.randn(2, 4, 8),), shapes={"src": ("batch", "time", 8)})
    assert sum(isinstance(node.op, Attention) for node in graph.nodes) == 1


def test_nested_arguments_and_results_keep_their_structure() -> None:
    def forward(self: Any, pair: Any, options: dict[str, Any]) -> Any:
        a, (b, _) = pair
        return {"sum": a + b, "rest": [(a * options["scale"], None), options["x"].shape[0], "word"]}

    given = ((torch.randn(2, 3), [torch.randn(2, 3), None]), {"scale": 2.0, "x": torch.randn(4)})
    engine = tenfold.build(Wrapped(forward), example_inputs=given, cache=False, effort=0)
    assert [spec.name for spec in engine.inputs] == ["given.0.0", "given.0.1.0", "given.1.x"]
    assert [spec.name for spec in engine.outputs] == ["sum", "rest.0.0"]
    found = engine(*given)
    assert isinstance(found["rest"], list) and isinstance(found["rest"][0], tuple)
    assert_same(found, expected(Wrapped(forward), given))
    with pytest.raises(InputError, match=r"given.1.scale.*2.0"):
        engine(given[0], {"scale": 3.0, "x": torch.randn(4)})
    with pytest.raises(InputError, match=r"dict of scale, x"):
        engine(given[0], {"x": torch.randn(4)})


def test_results_of_one_tensor_in_a_tuple_and_saved_engines(tmp_path: Path) -> None:
    engine = tenfold.build(Wrapped(lambda self, x: (x + 1,)), example_inputs=(torch.zeros(2),), cache=False, effort=0)
    engine.save(tmp_path / "one.tenfold")
    found = tenfold.load(tmp_path / "one.tenfold")(torch.ones(2))
    assert isinstance(found, tuple) and torch.equal(found[0], torch.full((2,), 2.0))


def test_tensors_come_back_as_what_came_in() -> None:
    engine = tenfold.build(nn.Linear(3, 2), example_inputs=(torch.zeros(1, 3),), cache=False, effort=0)
    x = torch.randn(1, 3, requires_grad=True)
    assert isinstance(engine(x), torch.Tensor)
    assert not isinstance(engine(x.detach().numpy()), torch.Tensor)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 8)
        self.head = nn.Linear(8, 50, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.table(ids))


def test_tied_weights_are_one_constant() -> None:
    graph = check(Tied(), (torch.arange(4),))
    large = {node.op.tensor for node in graph.nodes if isinstance(node.op, Constant) and node.op.tensor.size == 400}
    assert len(large) == 1


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.total += x
        return self.total * 2


def test_a_changed_buffer_is_an_output() -> None:
    engine = tenfold.build(Counter(), example_inputs=(torch.ones(3),), cache=False, effort=0)
    assert [spec.name for spec in engine.outputs] == ["output", "total"]
    assert torch.equal(engine(torch.ones(3)), torch.full((3,), 2.0))
    assert torch.equal(engine.run([torch.ones(3)])["total"], torch.ones(3))


def test_named_dimensions() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1)).eval()
    graph = check(
        module,
        (torch.randn(1, 3, 32, 32),),
        (torch.randn(5, 3, 64, 96),),
        shapes={"input": ("batch", 3, "H", "W")},
        dims={"batch": (1, 8), "H": (32, 640, 32), "W": (32, 640, 32)},
    )
    assert [str(size) for size in graph.inputs[0].type.shape] == ["batch", "3", "H", "W"]


def test_a_size_by_its_place() -> None:
    graph = check(nn.Linear(3, 2), (torch.randn(4, 3),), (torch.randn(9, 3),), dims={"input.0": (1, 16)})
    assert str(graph.inputs[0].type.shape[0]) == "input.0"


def test_loops_and_branches() -> None:
    def forward(self: Any, x: torch.Tensor) -> Any:
        return torch.while_loop(lambda i, y: i < 4, lambda i, y: (i + 1, y * 2), (torch.tensor(0), x))

    check(Wrapped(forward), (torch.ones(3),))


def test_programs_and_their_files(tmp_path: Path) -> None:
    module = nn.Linear(3, 2)
    x = torch.randn(4, 3)
    batch = torch.export.Dim("batch", min=1, max=16)
    program = torch.export.export(module, (x,), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "linear.pt2")
    for model in (program, tmp_path / "linear.pt2", (tmp_path / "linear.pt2").read_bytes()):
        graph = open_model(model)
        assert graph.inputs[0].name == "input" and str(graph.inputs[0].type.shape[0]) == "input.0"
    assert open_model(program, shapes={"input": (2, 3)}).inputs[0].type.shape == (2, 3)
    with pytest.raises(OptionError, match="example_inputs"):
        open_model(program, example_inputs=(x,))


def test_a_checkpoint_is_refused_unopened(tmp_path: Path) -> None:
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "weights.pt")
    torch.save({"a": 1}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("weights.pt", "old.pth"):
        with pytest.raises(ModelError, match="weights_only=True"):
            open_model(tmp_path / name)


def test_a_refusal_names_the_line_and_the_reason() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return x
        return -x

    with pytest.raises(UnsupportedError, match=r"test_export.py:\d+: if x.sum\(\) > 0") as caught:
        import_module(Wrapped(forward), (torch.randn(3),))
    assert "torch.cond" in str(caught.value.remedy)


def test_a_module_that_fails_is_the_users_own_error() -> None:
    with pytest.raises(ModelError, match=r"the module fails on its example inputs"):
        import_module(nn.Linear(3, 2), (torch.randn(4, 5),))
    with pytest.raises(OptionError, match="cannot be called"):
        import_module(nn.Linear(3, 2), (torch.randn(4, 3), 5))
    with pytest.raises(OptionError, match="needs example inputs"):
        import_module(nn.Linear(3, 2), None)


class Rare(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.digamma(x) + 1


def test_an_operator_without_converter_is_named_with_its_line() -> None:
    with pytest.raises(
        UnsupportedError, match=r"aten.digamma.* at inner/digamma \(test_export.py:\d+: .*torch.digamma"
    ):
        import_module(Wrapped(lambda self, x: self.inner(x), inner=Rare()), (torch.randn(3),))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(OptionError, match=r"no input 'inptu'.*\n.*'input'"):
        import_module(nn.Linear(3, 2), (torch.randn(4, 3),), shapes={"inptu": ("n", 3)})
    with pytest.raises(OptionError, match="no dimension 'm'"):
        import_module(nn.Linear(3, 2), (torch.randn(4, 3),), shapes={"input": ("n", 3)}, dims={"m": 4})


def test_a_size_that_the_module_fixes_is_named() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return x.view(4, 3) + F.relu(x)

    with pytest.raises(UnsupportedError, match="batch"):
        import_module(Wrapped(forward), (torch.randn(4, 3),), shapes={"given.0": ("batch", 3)})


@dataclass
class Unregistered:
    y: torch.Tensor


def test_what_the_exporter_cannot_follow_is_not_called_the_modules_fault() -> None:
    with pytest.raises(UnsupportedError, match=r"torch\.export refuses the module") as caught:
        tenfold.build(Wrapped(lambda self, x: Unregistered(x + 1)), example_inputs=(torch.ones(2),))
    assert "register_dataclass" in str(caught.value.remedy)


def test_modules_that_are_not_ready_are_refused_with_what_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    x = torch.ones(2, 3)
    with torch.device("meta"):
        empty = nn.Linear(3, 4)
    with pytest.raises(ModelError, match=r"2 weights of the module are on the meta device.*weight, bias"):
        tenfold.build(empty, example_inputs=(x,))
    with pytest.raises(ModelError, match="the module is on cpu, its example inputs on meta"):
        tenfold.build(nn.Linear(3, 4), example_inputs=(x.to("meta"),))
    with pytest.raises(UnsupportedError, match=r"dropout in training mode: call module.eval\(\) first"):
        tenfold.build(nn.Dropout(), example_inputs=(x,))
    with caplog.at_level("WARNING", "tenfold"):
        open_model(nn.BatchNorm1d(3), example_inputs=(x,))
    assert "training mode" in caplog.text


@pytest.mark.parametrize("function", [lambda self, x: torch.fft.fft(x), lambda self, x: x], ids=["returned", "given"])
def test_complex_numbers_at_the_border_are_refused_by_name(function: Callable[..., Any]) -> None:
    x = torch.ones(2, dtype=torch.float32 if function(None, torch.ones(2)).is_complex() else torch.complex64)
    with pytest.raises(UnsupportedError, match="complex") as caught:
        tenfold.build(Wrapped(function), example_inputs=(x,))
    assert "view_as_" in str(caught.value.remedy)


def test_flexible_attention() -> None:
    flex = torch.nn.attention.flex_attention
    window = flex.create_block_mask(lambda b, h, i, j: (i >= j) & (i - j < 5), None, None, 12, 12, device="cpu")
    q, k, slope = torch.randn(2, 4, 12, 8), torch.randn(2, 2, 12, 8), torch.rand(4)
    masked = Wrapped(lambda self, q, k: flex.flex_attention(q, k, k, block_mask=window, enable_gqa=True))
    graph = check(masked, (q, k))
    assert sum(isinstance(node.op, Attention) for node in graph.nodes) == 1

    def leaning(score: torch.Tensor, b: Any, h: Any, i: Any, j: Any) -> torch.Tensor:
        return torch.where(i >= j, score + slope[h] * (j - i), -float("inf"))

    check(Wrapped(lambda self, q, k: flex.flex_attention(q, k, k, score_mod=leaning, enable_gqa=True)), (q, k))


def test_scan_and_a_softmax_of_nothing() -> None:
    x = torch.randn(5, 3)
    check(Wrapped(lambda self, x: scan(lambda c, a: (c + a, c * a), torch.zeros(3), x)), (x,))
    hidden = torch.tensor([[1.0, -math.inf], [-math.inf, -math.inf]])
    check(Wrapped(lambda self, x: torch.ops.aten._safe_softmax(x, -1)), (hidden,))


def test_linear_algebra() -> None:
    x = torch.eye(4) * 3 + torch.rand(2, 4, 4)
    square = x @ x.mT

    def several(self: Any, x: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
        solved = torch.linalg.solve(x, b), torch.linalg.solve(x, b[..., 0]), torch.linalg.inv(x)
        triangle = torch.linalg.solve_triangular(x.triu(), b, upper=True)
        factors = torch.linalg.cholesky(x), torch.linalg.eigvalsh(x), torch.linalg.svdvals(x)
        return *solved, triangle, *factors, torch.linalg.qr(x)[1].abs(), torch.linalg.slogdet(x)[1]

    check(Wrapped(several), (square, torch.randn(2, 4, 2)))
    check(Wrapped(lambda self, x, v: torch.searchsorted(x, v)), (square.sort(-1)[0], torch.randn(2, 4, 3)))
