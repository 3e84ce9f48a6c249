"""The families of keras.applications, small images, seeded weights: Keras's own layers, no exporter between.

NASNet is missing: Keras refuses to make it on its PyTorch backend.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import torch

from tests.zoo.entry import Entry, Inputs, pixels

CLASSES = 64


def seeded(model: Any) -> Any:
    """The model with weights that keep signals at their size, and plausible statistics."""
    random = np.random.default_rng(0)
    for variable in model.weights:
        shape, name = tuple(variable.shape), variable.path.rpartition("/")[2]
        if len(shape) < 2:
            low, high = (-0.1, 0.1) if name in ("bias", "beta", "moving_mean") else (0.5, 1.0)
            variable.assign(random.uniform(low, high, shape).astype("float32"))
            continue
        each = shape[:-2] if "depthwise" in variable.path else shape[:-1]
        variable.assign((random.standard_normal(shape) / np.sqrt(max(1, np.prod(each)))).astype("float32"))
    return model


def application(name: str, size: int, dtype: str = "float32") -> Any:
    """A model of that name whose layers compute in a type."""
    keras.config.set_dtype_policy(dtype)
    try:
        kind = getattr(keras.applications, name)
        return kind(weights=None, input_shape=(size, size, 3), classes=CLASSES, classifier_activation=None)
    finally:
        keras.config.set_dtype_policy("float32")


def made(name: str, size: int) -> tuple[Any, Inputs]:
    """The model and an image with the channels last."""
    image = pixels(size).permute(0, 2, 3, 1).contiguous()
    return seeded(application(name, size)), (image,)


def in_double(name: str, size: int, module: Any, inputs: Inputs) -> Any:
    """What the model gives when its layers compute in f64."""
    wide = application(name, size, "float64")
    wide.set_weights(module.get_weights())
    assert isinstance(inputs, tuple)
    with torch.no_grad():
        return wide(inputs[0].double())


SIZES = {
    "ConvNeXtTiny": 64,
    "DenseNet121": 64,
    "EfficientNetB0": 64,
    "EfficientNetV2B0": 64,
    "InceptionResNetV2": 96,
    "InceptionV3": 96,
    "MobileNet": 64,
    "MobileNetV2": 64,
    "MobileNetV3Large": 64,
    "MobileNetV3Small": 64,
    "ResNet50": 64,
    "ResNet50V2": 64,
    "VGG16": 64,
    "Xception": 96,
}
LIGHT = frozenset({"MobileNetV3Small"})


def _entry(name: str, size: int) -> Entry:
    make: Callable[[], tuple[Any, Inputs]] = partial(made, name, size)
    return Entry(f"Keras {name}", make, name in LIGHT, native="keras", double=partial(in_double, name, size))


ENTRIES = tuple(_entry(name, size) for name, size in SIZES.items())
