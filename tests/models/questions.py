"""What each model is asked: its inputs by name, prepared as the model's own package prepares them.

Each function takes a seed: 0 is the sample that answers.py judges, others differ in content and where they can in size.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from tests.models import samples
from tests.models.samples import HALF, IMAGENET, Array, padded, photograph, picture, pixels

STRING = 220.0
WINDOW, CONTEXT = 512, 64


def page(seed: int) -> dict[str, Array]:
    """The page, its short side at least 736, both sides multiples of 32."""
    image = picture("page.png")
    height = (736, 320, 480, 608, 256)[seed % 5]
    width = 32 * round(image.width * height / image.height / 32)
    return {"x": pixels(image.resize((width, height), Image.Resampling.BILINEAR), HALF)}


def ppocr_line(seed: int) -> dict[str, Array]:
    """A line of text 48 pixels high."""
    return {"x": pixels(samples.line_of_text(seed, 48), HALF)}


def upright_and_turned(seed: int) -> dict[str, Array]:
    """The start of a line of text, 48 x 192, and the same turned by 180 degrees."""
    line = samples.line_of_text(seed, 48).crop((0, 0, 192, 48))
    return {"x": np.concatenate([pixels(image, HALF) for image in (line, line.rotate(180))])}


def page_in_four_turns(seed: int) -> dict[str, Array]:
    """The middle of the page turned by 0, 90, 180 and 270 degrees; other seeds: as many of them as the seed."""
    image = picture("page.png")
    turned = [image.rotate(-angle, expand=True) for angle in (0, 90, 180, 270)]
    short = [part.resize([round(side * 256 / min(part.size)) for side in part.size]) for part in turned]
    middles = [
        part.crop((x := (part.width - 224) // 2, y := (part.height - 224) // 2, x + 224, y + 224)) for part in short
    ]
    return {"x": np.concatenate([pixels(image, IMAGENET) for image in middles[: seed or 4]])}


def captcha_boxes(seed: int) -> dict[str, Array]:
    """Words of the page on a grey square, in 0..255."""
    return {"images": 255 * pixels(padded(samples.line_of_text(seed, 48), 416, fill=114))}


def captcha_line(seed: int) -> dict[str, Array]:
    """A word of the page, grey, 64 pixels high."""
    line = samples.line_of_text(seed, 64)
    word = line.crop((line.width // 2, 0, line.width, 64)) if seed == 0 else line
    return {"input1": np.asarray(word.convert("L"), np.float32)[None, None] / 255}


def speech(seed: int) -> dict[str, Array]:
    """A window of the voice with the end of the one before it, and a fresh state."""
    start = 30336 - seed * WINDOW
    sound = samples.voice()[None, start - CONTEXT : start + WINDOW]
    return {"input": np.ascontiguousarray(sound), "state": np.zeros((2, 1, 128), np.float32)}


def speech_with_rate(seed: int) -> dict[str, Array]:
    """The same, and the sampling rate."""
    return {**speech(seed), "sr": np.array(16000, np.int64)}


def speech_windows(seed: int) -> dict[str, Array]:
    """Windows of the voice, each with the end of the one before it."""
    sound, count = samples.voice(), 40 - 7 * (seed % 5)
    windows = [sound[start - CONTEXT : start + WINDOW] for start in range(WINDOW, WINDOW * (count + 1), WINDOW)]
    return {"input": np.stack(windows), "h": np.zeros((1, 1, 128), np.float32), "c": np.zeros((1, 1, 128), np.float32)}


def file_bytes(seed: int) -> dict[str, Array]:
    """The first and last 1,024 bytes of each file, 256 where there are none; other seeds: as many files as the seed."""
    rows = []
    for content in list(samples.files().values())[: seed or None]:
        first = np.frombuffer(content[:4096].lstrip()[:1024], np.uint8).astype(np.int32)
        last = np.frombuffer(content[-4096:].rstrip()[-1024:], np.uint8).astype(np.int32)
        pad = [np.full(1024 - len(part), 256, np.int32) for part in (first, last)]
        rows.append(np.concatenate([first, pad[0], pad[1], last]))
    return {"bytes": np.stack(rows)}


def sentences(seed: int) -> dict[str, Array]:
    """Two pairs of sentences, their words and which of them are there."""
    return samples.tokens(seed, "input_ids", "attention_mask")


def sentences_with_types(seed: int) -> dict[str, Array]:
    """The same, and the sentence each word belongs to."""
    return samples.tokens(seed, "input_ids", "attention_mask", "token_type_ids")


def cat_and_cup(seed: int) -> dict[str, Array]:
    """A cat's portrait and a cup of coffee; other seeds: as many photographs as the seed."""
    chosen = [picture("chelsea.png", (75, 0, 375, 300)), picture("coffee.png", (100, 0, 500, 400))]
    chosen = chosen if seed == 0 else [photograph(turn) for turn in range(seed)]
    norm = ((127 / 255,) * 3, (128 / 255,) * 3)
    return {"image": np.concatenate([pixels(image.resize((224, 224)), norm) for image in chosen])}


def focus(seed: int) -> dict[str, Array]:
    """A photograph on a square of 224; seed 0 is the astronaut's."""
    return {"input_image": pixels(padded(photograph(seed), 224), IMAGENET)}


def moderation(seed: int) -> dict[str, Array]:
    """The middle of a photograph in BGR, channels last, less Caffe's mean."""
    middle = photograph(seed).resize((256, 256), Image.Resampling.BILINEAR).crop((16, 16, 240, 240))
    colours = np.asarray(middle, np.float32)[None, ..., ::-1] - np.array([104, 117, 123], np.float32)
    return {"input:0": np.ascontiguousarray(colours)}


def people(seed: int) -> dict[str, Array]:
    """A photograph on a square of 320 (other seeds: of other sizes)."""
    return {"images": pixels(padded(photograph(seed), 320 - 32 * (seed % 4)))}


def string(seed: int) -> dict[str, Array]:
    """Two seconds of a plucked string: an A."""
    pitch = STRING * 2 ** (seed / 12)
    return {"serving_default_input_2:0": samples.plucked(pitch, 43844)[None, :, None]}
