"""Image networks: MobileNetV2 and V3, EfficientNet-B0, ConvNeXt-T, ResNet-50 at any batch, MTCNN's three."""

from __future__ import annotations

from bench.cpu.sketch import Sketch

Batch = int | str


def _image(net: Sketch, batch: Batch, size: int | tuple[str, str]) -> str:
    height, width = (size, size) if isinstance(size, int) else size
    return net.input("image", (batch, 3, height, width))


def _classify(net: Sketch, x: str, channels: int, batch: Batch) -> bytes:
    flat = net("Flatten", net("GlobalAveragePool", x))
    net.output(net.linear(flat, channels, 1000), (batch, 1000))
    return net.model()


def _relu6(net: Sketch, x: str) -> str:
    return net("Clip", x, *(net.constant(bound, "float32") for bound in (0, 6)))


def _activated(net: Sketch, x: str, kind: str) -> str:
    match kind:
        case "relu6":
            return _relu6(net, x)
        case "silu":
            return net("Mul", x, net("Sigmoid", x))
        case "":
            return x
    return net(kind, x)


def _squeeze(net: Sketch, x: str, channels: int, inner: int, kind: str, gate: str) -> str:
    """Squeeze and excitation (Hu et al., 2018)."""
    small = _activated(net, net.conv(net("GlobalAveragePool", x), (channels, inner)), kind)
    return net("Mul", x, net(gate, net.conv(small, (inner, channels))))


def mobilenet_v2(batch: Batch = 1, size: int | tuple[str, str] = 224) -> bytes:
    """MobileNetV2 (Sandler et al., 2018)."""
    net = Sketch()
    x, before = _relu6(net, net.conv(_image(net, batch, size), (3, 32), 3, 2)), 32
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, after, turns, first in stages:
        for turn in range(turns):
            stride, inner = first if turn == 0 else 1, before * expansion
            y = _relu6(net, net.conv(x, (before, inner))) if expansion > 1 else x
            y = _relu6(net, net.conv(y, (inner, inner), 3, stride, groups=inner))
            y = net.conv(y, (inner, after))
            x, before = (net("Add", x, y) if stride == 1 and before == after else y), after
    return _classify(net, _relu6(net, net.conv(x, (before, 1280))), 1280, batch)


_V3 = (
    (3, 16, 16, "", "Relu", 1),
    (3, 64, 24, "", "Relu", 2),
    (3, 72, 24, "", "Relu", 1),
    (5, 72, 40, "squeeze", "Relu", 2),
    (5, 120, 40, "squeeze", "Relu", 1),
    (5, 120, 40, "squeeze", "Relu", 1),
    (3, 240, 80, "", "HardSwish", 2),
    (3, 200, 80, "", "HardSwish", 1),
    (3, 184, 80, "", "HardSwish", 1),
    (3, 184, 80, "", "HardSwish", 1),
    (3, 480, 112, "squeeze", "HardSwish", 1),
    (3, 672, 112, "squeeze", "HardSwish", 1),
    (5, 672, 160, "squeeze", "HardSwish", 2),
    (5, 960, 160, "squeeze", "HardSwish", 1),
    (5, 960, 160, "squeeze", "HardSwish", 1),
)


def mobilenet_v3(batch: Batch = 1) -> bytes:
    """MobileNetV3-Large (Howard et al., 2019)."""
    net = Sketch()
    x, before = net("HardSwish", net.conv(_image(net, batch, 224), (3, 16), 3, 2)), 16
    for kernel, inner, after, squeeze, kind, stride in _V3:
        y = net(kind, net.conv(x, (before, inner))) if inner != before else x
        y = net(kind, net.conv(y, (inner, inner), kernel, stride, groups=inner))
        if squeeze:
            y = _squeeze(net, y, inner, -(-inner // 32) * 8, "Relu", "HardSigmoid")
        y = net.conv(y, (inner, after))
        x, before = (net("Add", x, y) if stride == 1 and before == after else y), after
    x = net("GlobalAveragePool", net("HardSwish", net.conv(x, (160, 960))))
    x = net("HardSwish", net.linear(net("Flatten", x), 960, 1280))
    net.output(net.linear(x, 1280, 1000), (batch, 1000))
    return net.model()


def efficientnet_b0(batch: Batch = 1) -> bytes:
    """EfficientNet-B0 (Tan and Le, 2019)."""
    net = Sketch()
    x, before = _activated(net, net.conv(_image(net, batch, 224), (3, 32), 3, 2), "silu"), 32
    stages = (
        *((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3)),
        *((6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)),
    )
    for expansion, after, turns, first, kernel in stages:
        for turn in range(turns):
            stride, inner = first if turn == 0 else 1, before * expansion
            y = _activated(net, net.conv(x, (before, inner)), "silu") if expansion > 1 else x
            y = _activated(net, net.conv(y, (inner, inner), kernel, stride, groups=inner), "silu")
            y = _squeeze(net, y, inner, max(1, before // 4), "silu", "Sigmoid")
            y = net.conv(y, (inner, after))
            x, before = (net("Add", x, y) if stride == 1 and before == after else y), after
    return _classify(net, _activated(net, net.conv(x, (before, 1280)), "silu"), 1280, batch)


def convnext_t(batch: Batch = 1) -> bytes:
    """ConvNeXt-T (Liu et al., 2022)."""
    net = Sketch()
    x = net.conv(_image(net, batch, 224), (3, 96), 4, 4, pad=0)
    before = 96
    for number, (depth, width) in enumerate(((3, 96), (3, 192), (9, 384), (3, 768))):
        if number:
            x = net.conv(_norm_of_channels(net, x, before), (before, width), 2, 2, pad=0)
        else:
            x = _norm_of_channels(net, x, width)
        for _ in range(depth):
            x = _next_block(net, x, width)
        before = width
    flat = net("Flatten", net("GlobalAveragePool", x))
    net.output(net.linear(net.norm(flat, 768), 768, 1000), (batch, 1000))
    return net.model()


def _norm_of_channels(net: Sketch, x: str, width: int) -> str:
    y = net.norm(net("Transpose", x, perm=[0, 2, 3, 1]), width, 1e-6)
    return net("Transpose", y, perm=[0, 3, 1, 2])


def _next_block(net: Sketch, x: str, width: int) -> str:
    y = net("Transpose", net.conv(x, (width, width), 7, groups=width), perm=[0, 2, 3, 1])
    y = net.gelu(net.linear(net.norm(y, width, 1e-6), width, 4 * width))
    y = net("Mul", net.linear(y, 4 * width, width), net.drawn(width, scale=0.01, offset=0.1))
    return net("Add", x, net("Transpose", y, perm=[0, 3, 1, 2]))


def resnet50(batch: Batch = 1) -> bytes:
    """ResNet-50 v1.5 (He et al., 2016)."""
    net = Sketch()
    x = net("Relu", net.conv(_image(net, batch, 224), (3, 64), 7, 2))
    x = net("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    before = 64
    for number, (turns, inner) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512))):
        for turn in range(turns):
            stride = 2 if number and turn == 0 else 1
            y = net("Relu", net.conv(x, (before, inner)))
            y = net("Relu", net.conv(y, (inner, inner), 3, stride))
            y = net("Mul", net.conv(y, (inner, 4 * inner)), net.constant(0.5, "float32"))
            other = x if turn else net.conv(x, (before, 4 * inner), 1, stride)
            x, before = net("Relu", net("Add", y, other)), 4 * inner
    return _classify(net, x, before, batch)


def mtcnn(size: int) -> bytes:
    """One of MTCNN's networks (Zhang et al., 2016) by its image: 12 (proposals), 24 (refinement) or 48 (output)."""
    net = Sketch()
    x = net.input("image", (1, 3, size, size))
    layers = {
        12: ((10, 3, 2), (16, 3, 0), (32, 3, 0)),
        24: ((28, 3, 3), (48, 3, 3), (64, 2, 0)),
        48: ((32, 3, 3), (64, 3, 3), (64, 3, 2), (128, 2, 0)),
    }
    before, side = 3, size
    for after, kernel, pool in layers[size]:
        x = net("PRelu", net.conv(x, (before, after), kernel, pad=0), net.drawn(after, 1, 1, scale=0.1, offset=0.25))
        side -= kernel - 1
        if pool:
            x = net("MaxPool", x, kernel_shape=[pool] * 2, strides=[2, 2], ceil_mode=1)
            side = -(-(side - pool) // 2) + 1
        before = after
    if size == 12:
        faces, boxes = net.conv(x, (before, 2)), net.conv(x, (before, 4))
    else:
        width = 128 if size == 24 else 256
        x = net.linear(net("Flatten", x), before * side * side, width)
        x = net("PRelu", x, net.drawn(width, scale=0.1, offset=0.25))
        faces, boxes = net.linear(x, width, 2), net.linear(x, width, 4)
    net.output(net("Softmax", faces, axis=1))
    net.output(boxes)
    return net.model()
