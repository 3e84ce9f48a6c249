"""Detectors whose number of results only the image decides: a grid detector with NMS, a two-stage one with RoIAlign.

They call torchvision's operators; where torchvision is not installed, plain PyTorch stands in for it.
"""

from __future__ import annotations

import importlib.util

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.convolutional import Yolo, bottleneck, conv
from tests.zoo.entry import Entry, pixels

if importlib.util.find_spec("torchvision") is None:

    @torch.library.custom_op("torchvision::nms", mutates_args=(), schema="(Tensor d, Tensor s, float t) -> Tensor")
    def _nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
        order = scores.argsort(descending=True, stable=True)
        ranked = boxes[order]
        area = (ranked[:, 2:] - ranked[:, :2]).prod(1)
        low = torch.maximum(ranked[:, None, :2], ranked[None, :, :2])
        high = torch.minimum(ranked[:, None, 2:], ranked[None, :, 2:])
        shared = (high - low).clamp(min=0).prod(2)
        over = (shared / (area[:, None] + area[None] - shared) > threshold).triu(1)
        kept = torch.ones(len(order), dtype=torch.bool)
        for at in range(len(order)):
            if kept[at]:
                kept &= ~over[at]
        return order[kept]

    @_nms.register_fake
    def _(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
        return boxes.new_empty(torch.library.get_ctx().new_dynamic_size(), dtype=torch.long)

    @torch.library.custom_op(
        "torchvision::roi_align",
        mutates_args=(),
        schema="(Tensor x, Tensor rois, float scale, SymInt h, SymInt w, int sampling, bool aligned) -> Tensor",
    )
    def _roi_align(
        x: Tensor, rois: Tensor, scale: float, height: int, width: int, sampling: int, aligned: bool
    ) -> Tensor:
        image, edges = rois[:, 0].long(), rois[:, 1:] * scale - (0.5 if aligned else 0.0)
        extent = edges[:, 2:] - edges[:, :2]
        extent = extent if aligned else extent.clamp(min=1.0)
        across = _points(edges[:, 0], extent[:, 0], width, sampling)
        down = _points(edges[:, 1], extent[:, 1], height, sampling)
        (rows, a), (columns, b) = _taps(down, x.shape[2]), _taps(across, x.shape[3])
        seen = x[image[:, None, None], :, rows[:, :, None], columns[:, None, :]]
        weighted = seen * (a[:, :, None] * b[:, None, :])[..., None]
        shape = (len(rois), height, 2 * sampling, width, 2 * sampling, x.shape[1])
        return weighted.reshape(shape).sum((2, 4)).permute(0, 3, 1, 2).contiguous() / sampling**2

    @_roi_align.register_fake
    def _(x: Tensor, rois: Tensor, scale: float, height: int, width: int, sampling: int, aligned: bool) -> Tensor:
        return x.new_empty(rois.shape[0], x.shape[1], height, width)


def _points(first: Tensor, extent: Tensor, count: int, sampling: int) -> Tensor:
    steps = (torch.arange(count * sampling, dtype=first.dtype) + 0.5) / (count * sampling)
    return first[:, None] + extent[:, None] * steps


def _taps(at: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The two neighbours of each point, and their weights, both [regions, 2 * points]."""
    inside = (at >= -1) & (at <= size)
    at = at.clamp(0, size - 1)
    low = at.floor()
    places = torch.stack([low, (low + 1).clamp(max=size - 1)], -1).long()
    weights = torch.stack([low + 1 - at, at - low], -1) * inside[..., None]
    return places.flatten(1), weights.flatten(1)


class YoloNms(nn.Module):
    """The grid detector, its hundred best boxes thinned out class by class."""

    def __init__(self) -> None:
        super().__init__()
        self.grid = Yolo()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        boxes, found = self.grid(x)
        scores, kinds = (found[0, :, :1] * found[0, :, 1:]).max(1)
        best, places = scores.topk(100)
        near, kind = boxes[0][places], kinds[places]
        kept = torch.ops.torchvision.nms(near + 1000.0 * kind[:, None], best, 0.45)
        return near[kept], best[kept], kind[kept]


class FasterRcnn(nn.Module):
    """Proposals by anchors, regions cut out of the features, boxes by class."""

    def __init__(self, width: int = 32, classes: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 16, 3, 2), conv(16, width, 3, 2), bottleneck(width, width, 2))
        self.near = conv(width, width)
        self.objectness, self.moves = nn.Conv2d(width, 3, 1), nn.Conv2d(width, 12, 1)
        self.hidden = nn.Linear(width * 49, 64)
        self.kinds, self.boxes = nn.Linear(64, classes), nn.Linear(64, 4)
        self.register_buffer("sizes", torch.tensor([16.0, 32.0, 64.0]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.body(x)
        regions = self._proposed(features, x.shape[-1])
        image = torch.zeros_like(regions[:, :1])
        cut = torch.ops.torchvision.roi_align(features, torch.cat([image, regions], 1), 1 / 8, 7, 7, 2, False)
        hidden = F.relu(self.hidden(cut.flatten(1)))
        scores, kinds = self.kinds(hidden).softmax(-1)[:, 1:].max(1)
        boxes = _moved(regions, 0.1 * self.boxes(hidden)).clamp(0, x.shape[-1])
        kept = torch.ops.torchvision.nms(boxes + 1000.0 * kinds[:, None], scores, 0.5)
        return boxes[kept], scores[kept], kinds[kept]

    def _proposed(self, features: Tensor, extent: int) -> Tensor:
        near = self.near(features)
        height, width = near.shape[2:]
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        centres = 8.0 * torch.stack([x, y], -1).reshape(-1, 1, 2).expand(-1, 3, 2)
        half = self.sizes[None, :, None].expand(len(centres), 3, 2) / 2
        anchors = torch.cat([centres - half, centres + half], -1).reshape(-1, 4)
        moves = self.moves(near)[0].reshape(3, 4, -1).permute(2, 0, 1).reshape(-1, 4)
        scores = self.objectness(near)[0].permute(1, 2, 0).reshape(-1)
        best, places = scores.topk(64)
        boxes = _moved(anchors[places], 0.1 * moves[places]).clamp(0, extent)
        return boxes[torch.ops.torchvision.nms(boxes, best, 0.7)]


def _moved(boxes: Tensor, by: Tensor) -> Tensor:
    """Boxes with their centres moved and their sizes scaled."""
    size = boxes[:, 2:] - boxes[:, :2]
    centre = boxes[:, :2] + size / 2 + by[:, :2] * size
    half = size * torch.exp(by[:, 2:]) / 2
    return torch.cat([centre - half, centre + half], 1)


ENTRIES = (
    Entry("YOLO with NMS", lambda: (YoloNms(), (pixels(96),)), light=True),
    Entry("Faster-RCNN", lambda: (FasterRcnn(), (pixels(128),)), light=True),
)
