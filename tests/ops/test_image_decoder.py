"""Image files, decoded by Pillow."""

from __future__ import annotations

import builtins
import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tenfold.errors import ExecutionError, LimitError
from tenfold.ir import dtype as dt
from tenfold.ir.type import Type
from tenfold.ops import ImageDecoder

Array = NDArray[Any]

PICTURE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def file(format: str, picture: Array = PICTURE) -> Array:
    """The bytes of an image file."""
    written = io.BytesIO()
    Image.fromarray(picture).save(written, format)
    return np.frombuffer(written.getvalue(), np.uint8)


@pytest.mark.parametrize("format", ["BMP", "PNG", "TIFF", "PPM"])
def test_lossless_formats(format: str) -> None:
    assert (ImageDecoder().evaluate(file(format)) == PICTURE).all()
    assert (ImageDecoder("BGR").evaluate(file(format)) == PICTURE[..., ::-1]).all()


@pytest.mark.parametrize("format", ["JPEG", "JPEG2000", "WEBP"])
def test_lossy_formats(format: str) -> None:
    flat = np.full((8, 8, 3), 90, np.uint8)
    assert np.abs(ImageDecoder().evaluate(file(format, flat)).astype(int) - 90).max() < 8


def test_gray() -> None:
    found = ImageDecoder("Grayscale").evaluate(file("PNG", PICTURE[..., 0]))
    assert found.shape == (5, 7, 1) and (found[..., 0] == PICTURE[..., 0]).all()


def test_types() -> None:
    assert ImageDecoder().infer(Type(dt.u8, (100,))).shape[2] == 3
    with pytest.raises(ValueError, match="bytes of a file"):
        ImageDecoder().infer(Type(dt.f32, (100,)))


@pytest.mark.parametrize(
    "data", [b"", b"no image", file("PNG").tobytes()[:60], file("JPEG").tobytes()[:200], b"BM" + bytes(60)]
)
def test_what_is_no_image_is_empty(data: bytes) -> None:
    assert ImageDecoder().evaluate(np.frombuffer(data, np.uint8)).shape == (0, 0, 3)


def test_a_file_that_states_too_many_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(LimitError, match="too many pixels"):
        ImageDecoder().evaluate(file("PNG"))


def test_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name == "PIL":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ExecutionError, match="pip install"):
        ImageDecoder().evaluate(np.zeros(3, np.uint8))
