"""torchvision's operators, against plain PyTorch (torchvision's own where it is installed)."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tests.zoo.detection  # noqa: F401  (stands in for torchvision where it is not installed)
from tests.importers.torch.running import check

if importlib.util.find_spec("torchvision") is None:
    _SCHEMA = (
        "(Tensor x, Tensor w, Tensor offset, Tensor mask, Tensor bias, SymInt sh, SymInt sw, SymInt ph, SymInt pw, "
        "SymInt dh, SymInt dw, SymInt groups, SymInt parts, bool use_mask) -> Tensor"
    )

    @torch.library.custom_op("torchvision::deform_conv2d", mutates_args=(), schema=_SCHEMA)
    def _deform(x: Tensor, w: Tensor, offset: Tensor, mask: Tensor, bias: Tensor, *sizes: Any) -> Tensor:
        """Right for offsets of whole numbers that are the same everywhere."""
        down, across = (int(one) for one in offset[0, :2, 0, 0])
        moved = torch.roll(x, (-down, -across), (2, 3))
        return F.conv2d(moved, w, bias, sizes[:2], sizes[2:4], sizes[4:6]) * (mask[:, :1] if sizes[8] else 1)

    @_deform.register_fake
    def _(x: Tensor, w: Tensor, offset: Tensor, mask: Tensor, bias: Tensor, *sizes: Any) -> Tensor:
        return x.new_empty(x.shape[0], w.shape[0], *offset.shape[2:])


class Thinned(nn.Module):
    def forward(self, boxes: Tensor, scores: Tensor) -> Tensor:
        return torch.ops.torchvision.nms(boxes, scores, 0.4)


class Cut(nn.Module):
    def __init__(self, aligned: bool) -> None:
        super().__init__()
        self.aligned = aligned

    def forward(self, x: Tensor, regions: Tensor) -> Tensor:
        return torch.ops.torchvision.roi_align(x, regions, 0.5, 3, 4, 2, self.aligned)


class Deformed(nn.Module):
    def forward(self, x: Tensor, w: Tensor, offsets: Tensor, mask: Tensor, bias: Tensor) -> Tensor:
        return torch.ops.torchvision.deform_conv2d(x, w, offsets, mask, bias, 1, 1, 0, 0, 1, 1, 1, 1, True)


def _boxes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=made) * 20
    return torch.cat([low, low + torch.rand(count, 2, generator=made) * 12], 1), torch.rand(count, generator=made)


def test_overlapping_boxes_are_left_out() -> None:
    check(Thinned(), *(_boxes(count, count) for count in (40, 3, 90)), shapes={"boxes": ("n", 4), "scores": ("n",)})


@pytest.mark.parametrize("aligned", [False, True])
def test_regions_are_cut_out(aligned: bool) -> None:
    torch.manual_seed(0)
    boxes, _ = _boxes(5, 1)
    regions = torch.cat([torch.tensor([[0.0], [1], [1], [0], [1]]), boxes], 1)
    check(Cut(aligned), (torch.randn(2, 3, 12, 14), regions))


def test_taps_are_moved() -> None:
    torch.manual_seed(0)
    x, w, bias = torch.randn(1, 2, 8, 8), torch.randn(3, 2, 3, 3), torch.randn(3)
    x[:, :, 6:], x[:, :, :, 6:] = 0, 0
    offsets = torch.tensor([1.0, 2.0]).repeat(9)[None, :, None, None].expand(1, 18, 6, 6).contiguous()
    x[:, :, :1], x[:, :, :, :2] = 0, 0
    mask = torch.full((1, 9, 6, 6), 1.0)
    check(Deformed(), (x, w, offsets, mask, bias))
