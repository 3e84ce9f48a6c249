"""Keras models as they are saved: the configuration and the weights of `.keras` and `.h5` files, and of live models.

Nothing of a file is run, and nothing of it is taken for a path.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from tenfold.errors import ModelError, UnsupportedError
from tenfold.importers.keras.weights import Flat, Grouped, NoWeights, Stored, Weights, entry, undamaged

MOST_CONFIG = 2**28
MOST_EXPANSION = 256
HDF5 = b"\x89HDF\r\n\x1a\n"
_DAMAGES = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, OSError),
    *(ValueError, OverflowError),
)
AGAIN = "save it again by model.save('model.keras')"


@dataclass(frozen=True)
class Saved:
    """A model: what Keras writes of its class and configuration, where its weights lie, Keras's major version, and
    the texts of its vocabularies by their place in the file.
    """

    config: Mapping[str, Any]
    weights: Weights
    version: int
    assets: Mapping[str, bytes]


def opened(model: Any, stack: ExitStack) -> Saved:
    """A file's path, its bytes, or a live model; what is opened for its weights is closed with the stack.

    ModelError for a damaged file, UnsupportedError for one that holds weights alone.
    """
    if not isinstance(model, str | os.PathLike | bytes | bytearray | memoryview):
        return live(model)
    source: Any = model if isinstance(model, str | os.PathLike) else io.BytesIO(model)
    if isinstance(source, io.BytesIO):
        first = bytes(source.getbuffer()[: len(HDF5)])
    else:
        with open(source, "rb") as file:
            first = file.read(len(HDF5))
    return _whole_file(source, stack) if first == HDF5 else _archive(source, stack)


def _archive(source: Any, stack: ExitStack) -> Saved:
    try:
        archive = stack.enter_context(zipfile.ZipFile(source))
        members = {one.filename: one for one in archive.infolist()}
        config = _json(_read(archive, members, "config.json", MOST_CONFIG), "config.json")
        metadata = _json(_read(archive, members, "metadata.json", MOST_CONFIG), "metadata.json")
        weights: Weights = NoWeights()
        if "model.weights.h5" in members:
            _require_sound(members["model.weights.h5"])
            weights = Stored(_hdf5(stack.enter_context(archive.open("model.weights.h5")), stack))
        elif any(name.startswith("model.weights") for name in members):
            raise UnsupportedError("the weights of the file are in parts or not in HDF5", remedy=AGAIN)
        names = [name for name in members if name.startswith("assets/") and not name.endswith("/")]
        assets = {name: _read(archive, members, name, MOST_CONFIG) for name in names}
    except _DAMAGES as error:
        raise ModelError(f"the .keras file is damaged: {error}", remedy=AGAIN) from error
    version = str(metadata.get("keras_version", "3"))
    return Saved(config, weights, 2 if version.startswith("2") else 3, assets)


def _read(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], name: str, most: int) -> bytes:
    if name not in members:
        raise ModelError(f"the .keras file has no {name}", remedy=AGAIN)
    _require_sound(members[name])
    if members[name].file_size > most:
        raise ModelError(f"{name} of the .keras file states {members[name].file_size} bytes; {most} are the most")
    return archive.read(name)


def _require_sound(member: zipfile.ZipInfo) -> None:
    if member.file_size > MOST_EXPANSION * member.compress_size + 2**20:
        raise ModelError(
            f"{member.filename} of the .keras file grows from {member.compress_size} to {member.file_size} bytes, "
            "which no model does",
            remedy=AGAIN,
        )


def _json(text: bytes, name: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{name} is no readable JSON: {error}", remedy=AGAIN) from error
    if not isinstance(found, dict):
        raise ModelError(f"{name} must hold a JSON object, not a {type(found).__name__}", remedy=AGAIN)
    return found


def _hdf5(source: Any, stack: ExitStack) -> Any:
    try:
        return stack.enter_context(h5py.File(source, "r"))
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"the weights are no readable HDF5: {error}", remedy=AGAIN) from error


@undamaged()
def _whole_file(source: Any, stack: ExitStack) -> Saved:
    file = _hdf5(source, stack)
    text = file.attrs.get("model_config")
    if text is None:
        raise UnsupportedError(
            "the .h5 file holds weights without a model",
            remedy="save the whole model by model.save('model.keras') instead of save_weights",
        )
    config = _json(text if isinstance(text, bytes) else str(text).encode(errors="replace"), "model_config")
    groups = entry(file, "model_weights")
    layers: dict[str, Weights] = {}
    for name in [] if groups is None else _names(groups, "layer_names"):
        group = entry(groups, name)
        layers[name] = Flat(
            [] if group is None else [(path, _at(group, path)) for path in _names(group, "weight_names")]
        )
    stated = file.attrs.get("keras_version", "2")
    version = stated.decode() if isinstance(stated, bytes) else str(stated)
    return Saved(config, Grouped(layers), 3 if version.startswith("3") else 2, {})


def _names(group: Any, attribute: str) -> list[str]:
    """A list of names in an attribute, or in numbered ones where it is long."""
    numbered = (group.attrs.get(f"{attribute}{number}") for number in itertools.count())
    rows = [group.attrs[attribute]] if attribute in group.attrs else itertools.takewhile(_is_there, numbered)
    found = [one for row in rows for one in np.ravel(row)]
    return [one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in found]


def _is_there(one: Any) -> bool:
    return one is not None


def _at(group: Any, path: str) -> Any:
    for name in filter(None, path.split("/")):
        group = entry(group, name)
        if group is None:
            raise ModelError(f"the file names the weight {path!r} and does not hold it", remedy=AGAIN)
    return group


def live(model: Any) -> Saved:
    """A model in memory, by the configuration that it would save itself with; Keras is already imported.

    A subclass made by `keras.Model.__init__(inputs, outputs)` is taken as the graph of its layers. UnsupportedError
    for other subclasses, whose `call` is code.
    """
    keras = sys.modules.get("keras")
    kinds = [f"{one.__module__}.{one.__qualname__}" for one in type(model).__mro__]
    if keras is None or not any("keras.src." in kind for kind in kinds):
        raise UnsupportedError(
            f"a {kinds[0]} is no model of Keras 3", remedy="save it by model.save('model.h5') and build from the file"
        )
    functional = any(kind.endswith((".Functional", ".Sequential")) for kind in kinds)
    own = next(one for one in type(model).__mro__ if "call" in vars(one))
    if not functional or not own.__module__.startswith("keras."):
        raise UnsupportedError(
            f"the call of {kinds[0]} is Python code",
            operator=str(model.name),
            remedy="build it as a functional model, keras.Model(inputs, model.call(inputs)); or under Keras's torch "
            "backend pass example_inputs=; or under TensorFlow's model.export(folder), and build from the folder",
        )
    if not type(model).__module__.startswith("keras."):
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    config = _as_read(keras.saving.serialize_keras_object(model))
    return Saved(config, _live_weights(model), 3, _live_assets(model))


def _as_read(nest: Any) -> Any:
    """A configuration as it would come out of a file: lists where there are tuples."""
    if isinstance(nest, Mapping):
        return {name: _as_read(one) for name, one in nest.items()}
    return [_as_read(one) for one in nest] if isinstance(nest, list | tuple) else nest


def _live_weights(model: Any) -> Weights:
    layers: dict[str, Weights] = {}
    for layer in model.layers:
        inner = hasattr(layer, "layers") and hasattr(layer, "get_layer")
        variables: Sequence[Any] = () if inner else layer.weights
        layers[layer.name] = _live_weights(layer) if inner else Flat([(one.path, one) for one in variables])
    return Grouped(layers)


def _live_assets(model: Any) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for layer in model.layers:
        if hasattr(layer, "layers"):
            found |= _live_assets(layer)
        elif hasattr(layer, "get_vocabulary"):
            words = layer.get_vocabulary(include_special_tokens=False)
            found[f"{layer.name}/vocabulary.txt"] = "\n".join(map(str, words)).encode()
    return found
