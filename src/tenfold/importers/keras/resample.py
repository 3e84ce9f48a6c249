"""Images at other sizes: interpolated, cropped from the middle, with a border."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from tenfold.importers.keras.conv import channels_back, channels_first
from tenfold.importers.keras.layer import Layer, Table
from tenfold.importers.shorthand import apply, cast, part, reshaped
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.image import Resize
from tenfold.ops.movement import Pad

MODES: Mapping[str, Literal["nearest", "linear", "cubic"]] = {
    "nearest": "nearest",
    "bilinear": "linear",
    "bicubic": "cubic",
}
CUBIC = -0.5
"""Keys's parameter, as TensorFlow and JAX have it."""


def resized(layer: Layer, images: Value, sizes: Sequence[Size], mode: str, antialias: bool) -> Value:
    """Images [N, C, H, W] at other sizes, places counted from the middle of elements."""
    if mode not in MODES:
        raise layer.unsupported(f"interpolation {mode!r}", f"use {', '.join(MODES)}")
    shape = (*images.type.shape[:2], *sizes)
    found: Value = Resize(
        shape,
        (1.0, 1.0, 0.0, 0.0),
        MODES[mode],
        coordinates="half_pixel",
        rounding="round_prefer_ceil",
        cubic_a=CUBIC,
        exclude_outside=mode == "bicubic" or antialias,
        antialias=antialias and mode != "nearest",
    )(images)
    return found


def _pixels(layer: Layer, images: Value) -> tuple[int, int]:
    height, width = images.type.shape[2:]
    if not isinstance(height, int) or not isinstance(width, int):
        raise layer.unsupported(f"the height and width of {images.type} must be known", "fix them by dims= or shapes=")
    return height, width


def _middle(x: Value, height: int, width: int) -> Value:
    """The part in the middle, of these sizes."""
    for axis, size in ((2, height), (3, width)):
        own = x.type.shape[axis]
        assert isinstance(own, int)
        x = part(x, axis, int((own - size) / 2), size)
    return x


def of_aspect(layer: Layer, images: Value, height: int, width: int) -> Value:
    """As much of the middle as has the ratio of the wanted sizes."""
    own_height, own_width = _pixels(layer, images)
    rows = max(min(own_height, int(float(own_width * height) / width)), 1)
    columns = max(min(own_width, int(float(own_height * width) / height)), 1)
    return _middle(images, rows, columns)


def bordered(layer: Layer, images: Value, height: int, width: int, value: float) -> Value:
    """The whole, with a border that gives it the ratio of the wanted sizes."""
    own_height, own_width = _pixels(layer, images)
    rows = max(own_height, int(float(own_width * height) / width))
    columns = max(own_width, int(float(own_height * width) / height))
    border = (0, 0, (rows - own_height) // 2, (columns - own_width) // 2)
    return apply(Pad(border, border, "constant", value), images)


def _images(layer: Layer, x: Value) -> Value:
    """One image or several as [N, C, H, W]."""
    batch = x if x.type.rank == 4 else reshaped(x, (1, *x.type.shape))
    return channels_first(batch, layer.channels_last())


def _as_given(layer: Layer, images: Value, x: Value) -> Value:
    found = channels_back(images, layer.channels_last())
    return found if x.type.rank == 4 else reshaped(found, found.type.shape[1:])


def resizing(layer: Layer, x: Value) -> Value:
    """Resizing: stretched, cropped first, or with a border first."""
    height, width = layer.integer("height"), layer.integer("width")
    images = _images(layer, cast(x, layer.compute))
    if layer.flag("crop_to_aspect_ratio", False):
        images = of_aspect(layer, images, height, width)
    elif layer.flag("pad_to_aspect_ratio", False):
        images = bordered(layer, images, height, width, layer.number("fill_value", 0.0))
    mode = layer.text("interpolation", "bilinear").lower()
    found = resized(layer, images, (height, width), mode, layer.flag("antialias", False))
    return _as_given(layer, found, x)


def center_crop(layer: Layer, x: Value) -> Value:
    """The middle of images; of smaller ones as much as has the ratio, enlarged."""
    height, width = layer.integer("height"), layer.integer("width")
    images = _images(layer, cast(x, layer.compute))
    own_height, own_width = _pixels(layer, images)
    if own_height >= height and own_width >= width:
        rows = part(images, 2, (own_height - height) // 2, height)
        return _as_given(layer, part(rows, 3, (own_width - width) // 2, width), x)
    fitting = of_aspect(layer, images, height, width)
    return _as_given(layer, resized(layer, fitting, (height, width), "bilinear", False), x)


def augmentation(layer: Layer, x: Value) -> Value:
    """Images as they are: they are changed in training only."""
    return cast(x, layer.compute)


def pipeline(layer: Layer, x: Value) -> Value:
    """Layers one after another."""
    stated = layer.config.get("layers")
    if not isinstance(stated, list):
        raise layer.invalid("it states no layers")
    for at, one in enumerate(stated):
        x = layer.child(f"layers{at}", one)(x)
    return x


AUGMENTATIONS = (
    *("RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomElasticTransform"),
    *("RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert"),
    *("RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation", "RandomSharpness"),
    *("RandomShear", "RandomTranslation", "RandomZoom", "RandAugment", "AugMix", "CutMix", "MixUp"),
    *("Equalization", "Solarization"),
)

TABLE: Table = {
    "Resizing": resizing,
    "CenterCrop": center_crop,
    "Pipeline": pipeline,
    **dict.fromkeys(AUGMENTATIONS, augmentation),
}
