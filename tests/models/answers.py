"""What right answers look like: one check for each model, on the sample of seed 0."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from functools import cache
from itertools import groupby

import numpy as np
import onnx

from tests.models import samples
from tests.models.packages import member
from tests.models.samples import Array

Outputs = Mapping[str, Array]
CATS, CUPS = range(281, 287), (504, 967, 968)  # ImageNet: kinds of cat; mug, espresso, cup
FACES = (1, 12)


def only(outputs: Outputs) -> Array:
    """The single output."""
    (value,) = outputs.values()
    return value


def spelled(scores: Array, alphabet: list[str]) -> str:
    """Greedy CTC decoding of (time, character): the best, repeats once, the blank (0) never."""
    best = scores.argmax(-1).ravel().tolist()
    return "".join(alphabet[number] for number, _ in groupby(best) if number)


@cache
def ppocr_alphabet() -> list[str]:
    """The characters that PP-OCR reads, from the model's metadata."""
    path = member("rapidocr-onnxruntime", "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx")
    (text,) = (entry.value for entry in onnx.load(path).metadata_props if entry.key == "character")
    return ["", *text.splitlines(), " "]


@cache
def captcha_alphabet() -> list[str]:
    """The characters that ddddocr reads: a list in its source."""
    tree = ast.parse(member("ddddocr", "ddddocr/charsets.py").read_text())
    (value,) = (
        node.value for node in tree.body if isinstance(node, ast.Assign) and "BETA" in ast.dump(node.targets[0])
    )
    alphabet: list[str] = ast.literal_eval(value)
    return alphabet


def text_is_found(outputs: Outputs) -> None:
    """Text in the title's row, none in the gap above it."""
    found = only(outputs)[0, 0] > 0.3
    height = len(found)
    assert found[round(height * 0.12)].mean() > 0.3
    assert not found[: round(height * 0.03)].any()


def title_is_read(outputs: Outputs) -> None:
    """The title of the page."""
    assert spelled(only(outputs)[0], ppocr_alphabet()).replace(" ", "") == "Region-basedsegmentation"


def second_is_turned(outputs: Outputs) -> None:
    """Upright, then turned by 180 degrees."""
    assert only(outputs).argmax(-1).tolist() == [0, 1]


def four_turns(outputs: Outputs) -> None:
    """0, 90, 180, 270 degrees."""
    assert only(outputs).argmax(-1).tolist() == [0, 1, 2, 3]


def boxes_are_found(outputs: Outputs) -> None:
    """At least one box with a score a reader would keep."""
    (boxes,) = only(outputs)
    assert (boxes[:, 4] * boxes[:, 5]).max() > 0.1


def captcha_is_read(outputs: Outputs) -> None:
    """The word."""
    assert "segment" in spelled(only(outputs), captcha_alphabet()).lower()


def speech_is_heard(outputs: Outputs) -> None:
    """More likely speech than not, from one window."""
    assert 0.5 < next(iter(outputs.values())).item() <= 1


def most_windows_speak(outputs: Outputs) -> None:
    """Speech in most windows."""
    assert np.mean(outputs["speech_probs"] > 0.5) > 0.8


def file_types(outputs: Outputs) -> None:
    """Each file's type by name."""
    labels = json.loads(member("magika", "magika/models/standard_v3_3/config.min.json").read_text())
    found = [labels["target_labels_space"][number] for number in only(outputs).argmax(-1)]
    assert found == list(samples.files())


def near(embeddings: Array) -> None:
    """The first two rows are alike; the first and the last two are not."""
    unit = embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)
    cosine = unit @ unit.T
    assert cosine[0, 1] > 0.6
    assert max(cosine[0, 2], cosine[0, 3]) < 0.3


def like_sentences_are_near(outputs: Outputs) -> None:
    """Judged by the pooled embedding, the last output."""
    near(list(outputs.values())[-1])


def like_words_are_near(outputs: Outputs) -> None:
    """Judged by the mean over the words that are there."""
    present = samples.tokens(0, "attention_mask")["attention_mask"][..., None]
    near((only(outputs) * present).sum(1) / present.sum(1))


def cat_and_cup(outputs: Outputs) -> None:
    """A kind of cat; a cup of some coffee."""
    first, second = only(outputs).argmax(-1)
    assert first in CATS
    assert second in CUPS


def subject_is_in_focus(outputs: Outputs) -> None:
    """The peak lies on the picture's subject, in the middle half from left to right, and stands out."""
    (importance,) = only(outputs).reshape(1, 224, 224)
    _, column = np.unravel_index(importance.argmax(), importance.shape)
    assert 56 < column < 168
    assert importance.max() > 2 * importance.mean()


def portrait_is_safe(outputs: Outputs) -> None:
    """Safe."""
    assert only(outputs)[0, 0] > 0.9


def face_is_found(outputs: Outputs) -> None:
    """A face where the astronaut's is."""
    (rows,) = only(outputs)
    scores = rows[4:][list(FACES)].max(0)
    x, y = rows[:2, scores.argmax()]
    assert scores.max() > 0.5
    assert 110 < x < 170 and 50 < y < 110


def note_is_heard(outputs: Outputs) -> None:
    """The A below middle C: key 36 of the piano."""
    notes = next(value for value in outputs.values() if value.shape[-1] == 88)
    assert notes.mean((0, 1)).argmax() == 36
