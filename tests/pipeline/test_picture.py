"""Crops, frames, colours and numbers, beside those whose they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import tenfold
from tenfold import pipeline
from tenfold.ir import dtype as dt
from tenfold.pipeline.picture import rounded
from tests.pipeline.joined import photograph, seeing, seen


def test_the_middle() -> None:
    for shape in ((30, 41), (33, 32), (31, 30), (47, 45)):
        image = photograph(*shape)
        top, left = round((shape[0] - 30) / 2), round((shape[1] - 30) / 2)
        found = seen(seeing(pipeline.CenterCrop(30)), image)
        np.testing.assert_array_equal(found, image[top : top + 30, left : left + 30])
    engine = tenfold.build(seeing(pipeline.CenterCrop((20, 30))), effort=0)
    with pytest.raises(tenfold.InputError, match="CenterCrop"):
        engine(photograph(19, 40))
    with pytest.raises(tenfold.OptionError, match="does not fit"):
        seeing(pipeline.Resize((10, 10)), pipeline.CenterCrop(11))


def test_halves_are_rounded_to_even() -> None:
    assert [rounded(n, 2) for n in range(9)] == [round(n / 2) for n in range(9)]
    assert [rounded(5 * n, 6) for n in range(9)] == [round(5 * n / 6) for n in range(9)]


@pytest.mark.parametrize("shape", [(30, 41), (64, 20), (97, 97), (10, 100), (33, 64)])
def test_letterbox(shape: tuple[int, int]) -> None:
    cv2 = pytest.importorskip("cv2")
    cv2.ipp.setUseIPP(False)
    image, (height, width) = photograph(*shape), shape
    scale = min(64 / height, 64 / width)
    inner = round(width * scale), round(height * scale)
    right, down = (64 - inner[0]) / 2, (64 - inner[1]) / 2
    border = round(down - 0.1), round(down + 0.1), round(right - 0.1), round(right + 0.1)
    resized = cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
    wanted = cv2.copyMakeBorder(resized, *border, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    np.testing.assert_array_equal(seen(seeing(pipeline.Letterbox(64)), image), wanted)


@pytest.mark.parametrize("like", ["pillow", "opencv", "torch"])
def test_grey(like: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 60, 3)).astype(np.uint8)
    if like == "pillow":
        wanted = np.asarray(Image.fromarray(image).convert("L"))
    elif like == "opencv":
        wanted = pytest.importorskip("cv2").cvtColor(image, 7)
    else:
        red, green, blue = torch.tensor(image).permute(2, 0, 1)
        wanted = (0.2989 * red + 0.587 * green + 0.114 * blue).to(torch.uint8).numpy()
    found = seen(seeing(pipeline.Grey(like=like), channels=1), image)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found[..., 0], wanted)
    three = seen(seeing(pipeline.Grey(3, like=like)), image)  # type: ignore[arg-type]
    np.testing.assert_array_equal(three, np.repeat(wanted[..., None], 3, 2))


def test_red_and_blue() -> None:
    image = photograph(20, 30)
    np.testing.assert_array_equal(seen(seeing(pipeline.SwapRedBlue()), image), image[..., ::-1])
    with pytest.raises(tenfold.OptionError, match="three channels, not 1"):
        seeing(pipeline.Grey(), pipeline.SwapRedBlue(), channels=1)


def test_numbers() -> None:
    image, mean, std = photograph(20, 30), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    found = seen(seeing(pipeline.Normalize(mean, std), dtype=dt.f32), image)
    np.testing.assert_allclose(found, (image / 255 - mean) / std, atol=1e-6)
    plain = seen(seeing(pipeline.Normalize(127.5, 127.5, scale=1), dtype=dt.f32), image)
    np.testing.assert_allclose(plain, image / 127.5 - 1, atol=1e-6)
    with pytest.raises(tenfold.OptionError, match="not for 3 channels"):
        seeing(pipeline.Normalize([0.5, 0.5]))
