"""Modules whose sizes stay open, at other sizes than the example's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tenfold
from tenfold.errors import InputError, UnsupportedError
from tests.importers.torch.running import check

Function = Callable[[torch.Tensor], torch.Tensor]


class Of(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


OPEN: dict[str, Function] = {
    "a size's share": lambda x: x * (x.shape[0] / 3) + 1 / x.shape[1],
    "a size's root": lambda x: x * x.shape[1] ** -0.5,
    "full of a share": lambda x: torch.full((x.shape[0],), x.shape[1] / 3),
    "clamped by a share": lambda x: x.clamp(max=x.shape[0] / 8),
    "the diagonal": torch.diagonal,
    "a diagonal above": lambda x: torch.diagonal(x, 2),
    "a diagonal below": lambda x: torch.diagonal(x[None], -1, 1, 2),
    "the diagonal of a square": lambda x: torch.einsum("ii->i", x @ x.T),
    "the median": torch.median,
    "the median of rows": lambda x: torch.median(x, 1)[0],
    "windows": lambda x: x.unfold(0, 2, 1),
    "frames": lambda x: torch.view_as_real(
        torch.stft(x.repeat(1, 8), 16, hop_length=4, window=torch.ones(16), return_complex=True)
    ),
    "in two parts": lambda x: x.clone().index_put_((torch.arange(x.shape[0]),), x[:, :1] + 1),
}


@pytest.mark.parametrize("name", OPEN)
def test_functions_give_what_pytorch_gives_at_other_sizes(name: str) -> None:
    example, other = torch.randn(4, 6), torch.randn(9, 7)
    check(Of(OPEN[name]), (example,), (other,), shapes={"x": ("n", "m")})


@pytest.mark.parametrize("shape", [(0, 5, 0), (0, 5)])
def test_nothing_of_an_open_size_keeps_its_axes(shape: tuple[int, ...]) -> None:
    check(Of(torch.zeros_like), (torch.zeros(shape),), shapes={"x": (0, "n", 0)[: len(shape)]})


@pytest.mark.parametrize("pick", [lambda x: x[:, 0], lambda x: x[:, -1], lambda x: x.median(1)[0]])
def test_one_of_nothing_is_an_error_that_names_the_operator(pick: Function) -> None:
    engine = tenfold.build(Of(pick), example_inputs=(torch.randn(4, 6),), shapes={"x": ("n", "m")}, effort=0)
    assert engine(torch.ones(2, 1)).tolist() == [1, 1]
    assert engine(torch.ones(0, 1)).shape == (0,)
    with pytest.raises(InputError, match=r"m 0 is less than 1, required by (select|median)"):
        engine(torch.ones(2, 0))


def test_widened_filters_with_aligned_corners_go_by_the_corners_distance() -> None:
    for size in (5, 7), (20, 30), (1, 3):
        resize = Of(lambda x, s=size: F.interpolate(x, s, mode="bilinear", antialias=True, align_corners=True))  # type: ignore[misc]
        check(resize, (torch.randn(2, 3, 10, 20),), shapes={"x": ("n", 3, 10, 20)})
    with pytest.raises(UnsupportedError, match="align_corners over sizes"):
        check(resize, (torch.randn(2, 3, 10, 20),), shapes={"x": (2, 3, 10, "w")})


def test_signs_are_those_of_endless_numbers_too() -> None:
    x = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, 2.0, -2.0])
    check(Of(lambda x: torch.copysign(torch.ones_like(x), x)), (x,))
    check(Of(torch.signbit), (x,))
    check(Of(torch.signbit), (torch.arange(-2, 3),))


def test_a_line_that_stands_in_no_file_is_named_by_its_number() -> None:
    made: dict[str, type[nn.Module]] = {}
    text = "from torch import nn\n\nclass Typed(nn.Module):\n    def forward(self, x):\n        return x.lgamma()"
    exec(compile(text, "<stdin>", "exec"), {"__name__": __name__}, made)
    with pytest.raises(UnsupportedError, match=r"lgamma \(<stdin>:5\)"):
        check(made["Typed"](), (torch.ones(3),))


@pytest.mark.parametrize("counts", [(0, 2), (2, 1, 1, 1)])
def test_nothing_of_an_open_size_is_repeated(counts: tuple[int, ...]) -> None:
    x = torch.zeros(3, 0, dtype=torch.int64)
    check(Of(lambda x: x.repeat(*counts)), (x,), (x[:1],), shapes={"x": ("n", 0)})


def test_whole_numbers_stay_what_they_are() -> None:
    check(Of(lambda x: F.threshold(x, 1, 7)), (torch.arange(5),))
    check(Of(torch.nan_to_num), (torch.arange(5),))
