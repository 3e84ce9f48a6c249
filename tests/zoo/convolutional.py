"""Convolutional families written by hand: the blocks that the well-known networks are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from tests.zoo.entry import Entry, Inputs, pixels


def conv(
    a: int, b: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: type[nn.Module] = nn.ReLU
) -> nn.Sequential:
    """A convolution, a batch norm, an activation."""
    layers = [nn.Conv2d(a, b, kernel, stride, kernel // 2, groups=groups, bias=False), _norm(b), act()]
    return nn.Sequential(*layers)


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    with torch.no_grad():
        norm.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
        norm.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return norm


class Residual(nn.Module):
    """x (projected if its shape changes) + inner(x), then an activation."""

    def __init__(self, inner: nn.Module, project: nn.Module | None = None, act: nn.Module | None = None) -> None:
        super().__init__()
        self.inner, self.project, self.act = inner, project or nn.Identity(), act or nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.project(x) + self.inner(x))


def bottleneck(a: int, b: int, stride: int, groups: int = 1, middle: int = 0) -> nn.Module:
    """1x1, 3x3, 1x1 with a residual."""
    width = middle or b // 2
    inner = nn.Sequential(conv(a, width, 1), conv(width, width, 3, stride, groups), conv(width, b, 1, act=nn.Identity))
    project = None if a == b and stride == 1 else conv(a, b, 1, stride, act=nn.Identity)
    return Residual(inner, project, nn.ReLU())


class Gate(nn.Module):
    """Channels weighed by what they hold on average (squeeze and excitation)."""

    def __init__(self, channels: int, act: type[nn.Module] = nn.SiLU, squeezed: int = 0) -> None:
        super().__init__()
        width = squeezed or channels // 4
        self.down, self.up = nn.Conv2d(channels, width, 1), nn.Conv2d(width, channels, 1)
        self.act = act()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.up(self.act(self.down(F.adaptive_avg_pool2d(x, 1)))))


def inverted(a: int, b: int, stride: int, act: type[nn.Module], gate: bool = False) -> nn.Module:
    """Expand, depthwise, project."""
    wide = 4 * a
    layers = [conv(a, wide, 1, act=act), conv(wide, wide, 3, stride, wide, act)]
    layers += [nn.Sequential(Gate(wide))] if gate else []
    inner = nn.Sequential(*layers, conv(wide, b, 1, act=nn.Identity))
    return Residual(inner) if a == b and stride == 1 else inner


class Shuffled(nn.Module):
    """ShuffleNet's block: half of the channels pass, then both are shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.inner = nn.Sequential(conv(half, half, 1), conv(half, half, 3, 1, half, nn.Identity), conv(half, half, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, 1)
        return F.channel_shuffle(torch.cat([a, self.inner(b)], 1), 2)


class Dense(nn.Module):
    """Each layer sees all before it."""

    def __init__(self, channels: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(_norm(channels + at * growth), nn.ReLU(), nn.Conv2d(channels + at * growth, growth, 3, 1, 1))
            for at in range(layers)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


class Branches(nn.Module):
    """Several ways side by side."""

    def __init__(self, *ways: nn.Module) -> None:
        super().__init__()
        self.ways = nn.ModuleList(ways)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([way(x) for way in self.ways], 1)


class Next(nn.Module):
    """ConvNeXt's block, which computes channels last."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depth = nn.Conv2d(channels, channels, 7, 1, 3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.up, self.down = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), 0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.depth(x).permute(0, 2, 3, 1))
        y = self.down(F.gelu(self.up(y))) * self.scale
        return x + y.permute(0, 3, 1, 2)


class UNet(nn.Module):
    """Down, up, and across."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        a, b, c = widths
        self.first, self.second, self.bottom = conv(3, a), conv(a, b), conv(b, c)
        self.up = nn.ConvTranspose2d(c, b, 2, 2)
        self.third, self.last = conv(2 * b, b), nn.Conv2d(a + b, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.first(x)
        b = self.second(F.max_pool2d(a, 2))
        c = self.up(self.bottom(F.max_pool2d(b, 2)))
        d = F.interpolate(self.third(torch.cat([b, c], 1)), scale_factor=2, mode="bilinear", align_corners=False)
        return self.last(torch.cat([a, d], 1))


class Yolo(nn.Module):
    """A small detector: features of two sizes, boxes decoded from their cells."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 16, 3, 2, act=nn.SiLU), conv(16, 32, 3, 2, act=nn.SiLU))
        self.deep = conv(32, 64, 3, 2, act=nn.SiLU)
        self.across = conv(96, 32, 1, act=nn.SiLU)
        self.heads = nn.ModuleList([nn.Conv2d(32, 9, 1), nn.Conv2d(64, 9, 1)])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        near = self.body(x)
        far = self.deep(near)
        near = self.across(torch.cat([near, F.interpolate(far, scale_factor=2)], 1))
        found = [
            self._decoded(head(one), 4 * 2**at)
            for at, (head, one) in enumerate(zip(self.heads, (near, far), strict=True))
        ]
        rows = torch.cat(found, 1)
        return rows[..., :4], rows[..., 4:].sigmoid()

    def _decoded(self, raw: torch.Tensor, stride: int) -> torch.Tensor:
        height, width = raw.shape[2:]
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        cells = torch.stack([x, y], -1).reshape(1, -1, 2)
        rows = raw.flatten(2).transpose(1, 2)
        centre = (rows[..., :2].sigmoid() * 2 - 0.5 + cells) * stride
        size = (rows[..., 2:4].sigmoid() * 2) ** 2 * stride
        return torch.cat([centre - size / 2, centre + size / 2, rows[..., 4:]], -1)


class Recogniser(nn.Module):
    """Convolutions, then LSTMs over the columns (CRNN)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(1, 16), nn.MaxPool2d(2), conv(16, 32), nn.MaxPool2d((2, 1)))
        self.cells = nn.LSTM(32 * 8, 48, 2, bidirectional=True)
        self.last = nn.Linear(96, 20)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        columns = self.body(x).flatten(1, 2).permute(2, 0, 1)
        return F.log_softmax(self.last(self.cells(columns)[0]), -1)


def classifier(*layers: nn.Module, channels: int, classes: int = 10) -> nn.Module:
    """Layers, then one row of scores."""
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def _stem(width: int, act: type[nn.Module] = nn.ReLU) -> nn.Module:
    return nn.Sequential(conv(3, width, 7, 2, act=act), nn.MaxPool2d(3, 2, 1))


def _inception() -> nn.Module:
    ways = Branches(
        conv(32, 16, 1),
        nn.Sequential(conv(32, 16, 1), conv(16, 24)),
        nn.Sequential(conv(32, 8, 1), conv(8, 16, 5)),
        nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(32, 8, 1)),
    )
    return classifier(_stem(32), ways, nn.AvgPool2d(2, 2, ceil_mode=True), channels=64)


def _vgg() -> nn.Module:
    layers: list[nn.Module] = []
    for a, b in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(a, b, 3, 1, 1), nn.ReLU(inplace=True), nn.MaxPool2d(2, 2)]
    head = [
        nn.AdaptiveAvgPool2d((7, 7)),
        nn.Flatten(),
        nn.Linear(64 * 49, 64),
        nn.ReLU(True),
        nn.Dropout(),
        nn.Linear(64, 10),
    ]
    return nn.Sequential(*layers, *head)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ResNet": lambda: classifier(_stem(32), bottleneck(32, 64, 1), bottleneck(64, 128, 2), channels=128),
    "ResNeXt": lambda: classifier(_stem(32), bottleneck(32, 64, 1, 8), bottleneck(64, 64, 1, 8), channels=64),
    "RegNet": lambda: classifier(
        conv(3, 16, 3, 2), bottleneck(16, 48, 2, 3), Gate(48, nn.ReLU), bottleneck(48, 48, 1, 3), channels=48
    ),
    "VGG": _vgg,
    "DenseNet": lambda: classifier(_stem(16), Dense(16, 8, 4), conv(48, 24, 1), nn.AvgPool2d(2), channels=24),
    "SqueezeNet": lambda: classifier(_stem(16), conv(16, 8, 1), Branches(conv(8, 16, 1), conv(8, 16)), channels=32),
    "Inception": _inception,
    "MobileNetV2": lambda: classifier(
        conv(3, 16, 3, 2, act=nn.ReLU6), inverted(16, 24, 2, nn.ReLU6), inverted(24, 24, 1, nn.ReLU6), channels=24
    ),
    "MobileNetV3": lambda: classifier(
        conv(3, 16, 3, 2, act=nn.Hardswish), inverted(16, 24, 2, nn.Hardswish, True), channels=24
    ),
    "EfficientNet": lambda: classifier(
        conv(3, 16, 3, 2, act=nn.SiLU),
        inverted(16, 24, 2, nn.SiLU, True),
        inverted(24, 24, 1, nn.SiLU, True),
        channels=24,
    ),
    "ShuffleNet": lambda: classifier(conv(3, 24, 3, 2), Shuffled(24), Shuffled(24), channels=24),
    "ConvNeXt": lambda: classifier(nn.Conv2d(3, 32, 4, 4), Next(32), Next(32), channels=32),
    "U-Net": lambda: UNet((16, 32, 64)),
    "YOLO head": Yolo,
}
LIGHT = {"ResNet", "EfficientNet", "U-Net"}


def _of_images(make: Callable[[], nn.Module]) -> Callable[[], tuple[nn.Module, Inputs]]:
    return lambda: (make(), (pixels(96),))


ENTRIES = (
    *(Entry(name, _of_images(make), light=name in LIGHT) for name, make in NETWORKS.items()),
    Entry("CRNN", lambda: (Recogniser(), (torch.randn(1, 1, 32, 64),)), light=True),
)
