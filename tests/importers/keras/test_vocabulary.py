"""Layers of words and keys, which Keras runs under TensorFlow alone: their configurations as it writes them."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import numpy as np
import pytest

import tenfold
from tenfold.errors import UnsupportedError

WORDS = np.array([["b", "a"], ["", "z"]], object)
KEYS = np.array([[7, 5], [0, 9]], np.int64)


def stack(kind: str, dtype: str, config: dict[str, Any], **assets: str) -> bytes:
    """A `.keras` file of one layer."""
    given = {"class_name": "InputLayer", "module": "keras.layers", "config": {"batch_shape": [None, 2], "dtype": dtype}}
    given["config"] |= {"name": "x"}
    own = {"class_name": kind, "module": "keras.layers", "config": {"name": "lookup", "trainable": True, **config}}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        model = {"class_name": "Sequential", "config": {"name": "stack", "layers": [given, own]}}
        archive.writestr("config.json", json.dumps(model))
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        for name, text in assets.items():
            archive.writestr(f"assets/{name}", text)
    return target.getvalue()


def answer(kind: str, x: np.ndarray[Any, Any], **config: Any) -> np.ndarray[Any, Any]:
    dtype = "string" if x.dtype == object else "int64"
    engine = tenfold.build(stack(kind, dtype, config), effort=0, cache=False)
    found: np.ndarray[Any, Any] = engine(x)
    return found


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"num_oov_indices": 1, "mask_token": None}, [[2, 1], [0, 0]]),
        ({"num_oov_indices": 1, "mask_token": ""}, [[3, 2], [0, 1]]),
        ({"num_oov_indices": 1, "mask_token": None, "output_mode": "multi_hot"}, [[0, 1, 1], [1, 0, 0]]),
        ({"num_oov_indices": 1, "mask_token": None, "output_mode": "count"}, [[0, 1, 1], [2, 0, 0]]),
    ],
)
def test_words_become_places(config: dict[str, Any], wanted: list[list[int]]) -> None:
    assert answer("StringLookup", WORDS, vocabulary=["a", "b"], **config).tolist() == wanted


def test_keys_become_places() -> None:
    config: dict[str, Any] = {"vocabulary": [5, 7], "num_oov_indices": 1, "mask_token": None}
    assert answer("IntegerLookup", KEYS, **config).tolist() == [[2, 1], [0, 0]]
    assert answer("IntegerLookup", KEYS, **config | {"num_oov_indices": 2}).tolist() == [[3, 2], [0, 1]]


def test_places_become_words() -> None:
    found = answer(
        "StringLookup", np.array([[1, 2], [0, 3]]), vocabulary=["a", "b"], mask_token=None, oov_token="?", invert=True
    )
    assert found.tolist() == [["a", "b"], ["?", "?"]]


def test_a_layer_that_never_saw_data_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"lookup: .*no vocabulary"):
        answer("StringLookup", WORDS, vocabulary=None)


def test_what_hashes_words_is_refused_with_its_reason() -> None:
    with pytest.raises(UnsupportedError, match="Hashing at lookup: it hashes as TensorFlow does"):
        answer("Hashing", WORDS, num_bins=3)
