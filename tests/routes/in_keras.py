"""The networks once more, written in Keras, with the weights of the PyTorch modules."""

from __future__ import annotations

from typing import Any

import keras
from torch import nn

FIRST = "channels_first"


def convolutional(module: Any) -> keras.Model:
    """A functional model that computes what `networks.Convolutional` computes."""
    image = keras.Input((3, 96, 96), batch_size=1, name="x")
    x = _conv(module.stem[0], image)
    x = keras.layers.MaxPooling2D(3, 2, data_format=FIRST)(x)
    for block in module.residual:
        inner = _conv(block.inner[1], _conv(block.inner[0], x))
        x = keras.layers.ReLU()(keras.layers.Add()([x, inner]))
    for block in module.down:
        x = _conv(block, x)
    gate = keras.layers.GlobalAveragePooling2D(FIRST, keepdims=True)(x)
    gate = keras.layers.Activation("sigmoid")(_convolved(module.gate[1], gate))
    x = keras.layers.Multiply()([x, gate])
    x = keras.layers.Concatenate(axis=1)([_conv(module.left, x), _conv(module.right, x)])
    x = keras.layers.GlobalAveragePooling2D(FIRST)(x)
    head = keras.layers.Dense(10, activation="softmax")
    x = head(x)
    head.set_weights([_array(module.head.weight).T, _array(module.head.bias)])
    return keras.Model(image, x)


def encoder(module: Any) -> keras.Model:
    """A functional model that computes what `networks.Encoder` computes."""
    ids = keras.Input((32,), batch_size=1, dtype="int64", name="ids")
    words = keras.layers.Embedding(*module.words.weight.shape)
    x = words(ids) + _array(module.places)
    words.set_weights([_array(module.words.weight)])
    for block in module.layers:
        x = keras.layers.Add()([x, _mixed(block, _normed(block.first, x))])
        inner = _dense(block.mlp[0], _normed(block.second, x), activation="gelu")
        x = keras.layers.Add()([x, _dense(block.mlp[2], inner)])
    return keras.Model(ids, keras.layers.GlobalAveragePooling1D()(_normed(module.last, x)))


def _mixed(block: Any, x: Any) -> Any:
    width, heads = block.out.in_features, block.heads
    layer = keras.layers.MultiHeadAttention(heads, width // heads)
    y = layer(x, x)
    weights = []
    for one in (block.q, block.k, block.v):
        weights += [_array(one.weight).T.reshape(width, heads, -1), _array(one.bias).reshape(heads, -1)]
    layer.set_weights([*weights, _array(block.out.weight).T.reshape(heads, -1, width), _array(block.out.bias)])
    return y


def _normed(norm: nn.LayerNorm, x: Any) -> Any:
    layer = keras.layers.LayerNormalization(epsilon=norm.eps)
    y = layer(x)
    layer.set_weights([_array(norm.weight), _array(norm.bias)])
    return y


def _dense(linear: nn.Linear, x: Any, **settings: Any) -> Any:
    layer = keras.layers.Dense(linear.out_features, **settings)
    y = layer(x)
    layer.set_weights([_array(linear.weight).T, _array(linear.bias)])
    return y


def _array(tensor: Any) -> Any:
    return tensor.detach().numpy()


def _padded(x: Any, by: int) -> Any:
    return keras.layers.ZeroPadding2D(by, data_format=FIRST)(x) if by else x


def _conv(block: nn.Sequential, x: Any) -> Any:
    """Convolution, batch norm and, if the block has it, ReLU."""
    conv, norm, *rest = block
    x = _convolved(conv, x)
    layer = keras.layers.BatchNormalization(axis=1, epsilon=norm.eps)
    x = layer(x)
    layer.set_weights([_array(one) for one in (norm.weight, norm.bias, norm.running_mean, norm.running_var)])
    return keras.layers.ReLU()(x) if rest else x


def _convolved(conv: nn.Conv2d, x: Any) -> Any:
    settings = {"strides": conv.stride, "use_bias": conv.bias is not None, "data_format": FIRST}
    depthwise = conv.groups > 1
    if depthwise:
        layer = keras.layers.DepthwiseConv2D(conv.kernel_size, **settings)
    else:
        layer = keras.layers.Conv2D(conv.out_channels, conv.kernel_size, **settings)
    x = layer(_padded(x, conv.padding[0]))
    kernel = _array(conv.weight).transpose(2, 3, 0, 1) if depthwise else _array(conv.weight).transpose(2, 3, 1, 0)
    layer.set_weights([kernel, *([] if conv.bias is None else [_array(conv.bias)])])
    return x
