"""Models of several layers, as people write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import layers as L
from keras import ops


def convolutional() -> Any:
    return keras.Sequential(
        [
            keras.Input((12, 10, 3), name="image"),
            L.Rescaling(1 / 255),
            L.Conv2D(8, 3, padding="same", activation="relu"),
            L.BatchNormalization(),
            L.MaxPooling2D(),
            L.SeparableConv2D(8, 3, activation="relu"),
            L.Dropout(0.5),
            L.Flatten(),
            L.Dense(4, activation="softmax"),
        ]
    )


def residual() -> Any:
    x = image = keras.Input((8, 8, 3), name="image")
    x = shortcut = L.Conv2D(8, 1)(x)
    for _ in range(2):
        x = L.ReLU()(L.BatchNormalization()(L.Conv2D(8, 3, padding="same", use_bias=False)(x)))
    x = L.Add()([x, shortcut])
    gate = L.Dense(8, activation="sigmoid")(L.GlobalAveragePooling2D(keepdims=True)(x))
    return keras.Model(image, L.GlobalAveragePooling2D()(L.Multiply()([x, gate])))


def transformer() -> Any:
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = L.Embedding(20, 8, mask_zero=True)(tokens)
    x = L.LayerNormalization()(x + L.MultiHeadAttention(2, 4)(x, x))
    x = L.LayerNormalization()(x + L.Dense(8)(L.Dense(16, activation="gelu")(x)))
    return keras.Model(tokens, L.GlobalAveragePooling1D()(x))


def encoder_and_decoder() -> Any:
    source, target = (keras.Input((None, 4), name=name) for name in ("source", "target"))
    _, h, c = L.LSTM(5, return_state=True, name="encoder")(source)
    y = L.LSTM(5, return_sequences=True, name="decoder")(target, initial_state=[h, c])
    return keras.Model([source, target], L.TimeDistributed(L.Dense(3))(y))


def shared_and_nested() -> Any:
    """A layer and a model used twice, a model within a model, one of them behind another; batch norms inside."""
    inner_in = keras.Input((6,))
    inner_x = L.BatchNormalization(name="norm")(L.Dense(4, name="shared_name")(inner_in))
    inner = keras.Model(inner_in, [inner_x, L.Dense(2)(inner_x)], name="inner")
    stack = keras.Sequential([L.Dense(6, activation="relu"), L.BatchNormalization(), L.Dense(6)], name="stack")
    outer_in = keras.Input((6,), name="x")
    outer = keras.Model(outer_in, [one * 2 for one in inner(stack(outer_in))], name="outer")
    x, dense = keras.Input((6,), name="features"), L.Dense(6, name="shared_name")
    first, second = outer(dense(x))
    third, fourth = outer(dense(dense(x)))
    joined = L.Concatenate()([first, third])
    return keras.Model(x, [joined, second - fourth])


def named_results() -> Any:
    inputs = {name: keras.Input((4,), name=name) for name in ("b", "a")}
    x = L.Dense(3, name="mixed")(L.Subtract()([inputs["a"], inputs["b"]]))
    return keras.Model(inputs, {"logits": x, "best": ops.argmax(x, axis=-1)})


def frozen() -> Any:
    model = shared_and_nested()
    model.get_layer("outer").get_layer("stack").trainable = False
    model.get_layer("shared_name").trainable = False
    return model


def mixed_precision() -> Any:
    return keras.Sequential(
        [keras.Input((6,), name="x"), L.Dense(8, dtype="mixed_float16"), L.LayerNormalization(dtype="mixed_float16")]
    )


NETWORKS: Mapping[str, Callable[[], Any]] = {
    one.__name__: one
    for one in (
        *(convolutional, residual, transformer, encoder_and_decoder, shared_and_nested, named_results, frozen),
        mixed_precision,
    )
}
