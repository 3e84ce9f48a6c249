"""Resizing, beside those whose numbers it states."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import tenfold
from tenfold import pipeline
from tenfold.ir.op import Array
from tenfold.pipeline.resize import METHODS
from tests.pipeline.joined import photograph, seeing, seen

SIZES = [(24, 24), (40, 97), (96, 70), (11, 5)]
SHAPES = [(48, 64), (70, 61), (33, 150), (97, 97)]
PILLOW = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}


def by_pillow(image: Array, size: tuple[int, int], filter: str) -> Array:
    """Columns first, then rows, as every version does where it does not find the other order cheaper."""
    height, width = size
    columns = Image.fromarray(image).resize((width, image.shape[0]), PILLOW[filter])
    return np.asarray(columns.resize((width, height), PILLOW[filter]))


def by_torch(image: Array, size: tuple[int, int], filter: str) -> Array:
    smooth = {} if filter == "nearest" else {"antialias": True}
    x = torch.tensor(image).permute(2, 0, 1)[None].float()
    found = torch.nn.functional.interpolate(x, size, mode=filter, **smooth)
    return found.round().clamp(0, 255).byte()[0].permute(1, 2, 0).numpy()


def by_opencv(image: Array, size: tuple[int, int], filter: str) -> Array:
    cv2 = pytest.importorskip("cv2")
    cv2.ipp.setUseIPP(False)
    return np.asarray(cv2.resize(image, size[::-1], interpolation=getattr(cv2, f"INTER_{filter.upper()}")))


PEERS = {"pillow": by_pillow, "torch": by_torch, "opencv": by_opencv}
OFTEN_EQUAL = {"pillow hamming", "opencv area", "opencv cubic", "torch bilinear", "torch bicubic"}
"""Sums of floats: a level apart where a sum lies between two."""


@pytest.mark.parametrize(("like", "filter"), [(like, filter) for like in METHODS for filter in METHODS[like]])
def test_equal_to_its_model(like: str, filter: str) -> None:
    for size in SIZES:
        graph = seeing(pipeline.Resize(size, filter, like))  # type: ignore[arg-type]
        for shape in SHAPES:
            if filter == "area" and (shape[0] < size[0] or shape[1] < size[1]):
                continue
            image = photograph(*shape)
            found, wanted = seen(graph, image), PEERS[like](image, size, filter)
            apart = np.abs(found.astype(int) - wanted)
            if f"{like} {filter}" in OFTEN_EQUAL:
                assert apart.max() <= 1 and (apart > 0).sum() <= 1 + 0.005 * apart.size
            else:
                assert apart.max() == 0


@pytest.mark.parametrize(("like", "filter"), [("pillow", "bicubic"), ("opencv", "linear"), ("torch", "bilinear")])
def test_engines_compute_the_same_and_nothing_on_the_host(like: str, filter: str) -> None:
    graph = seeing(pipeline.Resize(40, filter, like))  # type: ignore[arg-type]
    engine = tenfold.build(graph, effort=0)
    assert all(span.is_native for span in engine.plan.spans)
    for shape in SHAPES:
        image = photograph(*shape)
        apart = np.abs(engine(image).astype(int) - seen(graph, image))
        assert apart.max() <= (like == "torch") and (apart > 0).sum() <= 0.005 * apart.size


def test_lines_of_pixels_are_walked_as_vectors() -> None:
    engine = tenfold.build(seeing(pipeline.Resize(40)), effort=0)
    rows = [one["tactic"] for one in engine.report["regions"] if len(one["domain"]) > 2 and "sum" in one["kind"]]
    assert rows == ["reduce(lanes=across)"] * 2


def test_sizes() -> None:
    image = photograph(40, 100)
    assert seen(seeing(pipeline.Resize(20)), image).shape == (20, 50, 3)
    assert seen(seeing(pipeline.Resize(33)), image).shape == (33, 82, 3)
    assert seen(seeing(pipeline.Resize(50, longer=True)), image).shape == (20, 50, 3)
    assert seen(seeing(pipeline.Resize(20)), image.transpose(1, 0, 2)).shape == (50, 20, 3)


def test_refusals() -> None:
    with pytest.raises(tenfold.OptionError, match="Resize like 'pil'") as one:
        pipeline.Resize(8, like="pil")  # type: ignore[arg-type]
    assert "pillow" in str(one.value)
    with pytest.raises(tenfold.OptionError, match="no filter 'area'"):
        pipeline.Resize(8, "area")
    with pytest.raises(tenfold.OptionError, match="takes u8"):
        seeing(pipeline.Normalize(), pipeline.Resize(8))
    area = tenfold.build(seeing(pipeline.Resize((50, 50), "area", "opencv")), effort=0)
    with pytest.raises(tenfold.InputError, match="Resize"):
        area(photograph(40, 100))
