"""Models whose weights lie in files: some that climb out of the model's folder, some that are not there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, SparseTensorProto, TensorProto, ValueInfoProto, helper, numpy_helper

import tenfold
from tenfold.errors import ModelError
from tests.hostile.case import BOOL, Case, Gives, Raises, info, model, node

DATA = np.arange(6, dtype=np.float32)
FAR = 5 << 30
"""An offset that 32 bits do not hold."""
_X = (info("x", [6]),)


def _outside(location: str, offset: int = 0, length: int = 24) -> TensorProto:
    tensor = TensorProto(name="w", dims=[6], data_type=1, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def _dense(tensor: TensorProto) -> ModelProto:
    return model(node("Add", "x w"), inputs=_X, weights=(tensor,))


def _sparse(tensor: TensorProto) -> ModelProto:
    made = model(node("Add", "x w"), inputs=_X)
    places = numpy_helper.from_array(np.arange(6), "places")
    made.graph.sparse_initializer.append(SparseTensorProto(values=tensor, indices=places, dims=[6]))
    return made


def _attribute(tensor: TensorProto) -> ModelProto:
    return model(node("Constant", "", "w", value=tensor), node("Add", "x w"), inputs=_X)


def _branch(name: str, kind: str, tensor: TensorProto) -> GraphProto:
    made = helper.make_graph([node(kind, "x w", name)], name, [], [ValueInfoProto(name=name)])
    made.initializer.append(tensor)
    return made


def _subgraph(tensor: TensorProto) -> ModelProto:
    branches = {"then_branch": _branch("t", "Add", tensor), "else_branch": _branch("e", "Sub", tensor)}
    return model(node("If", "c", **branches), inputs=(*_X, info("c", [], BOOL)))


def _function(tensor: TensorProto) -> ModelProto:
    made = model(helper.make_node("f", ["x"], ["z"], name="the call", domain="local"), inputs=_X)
    nodes = [node("Constant", "", "w", value=tensor), node("Add", "a w", "b")]
    made.functions.append(helper.make_function("local", "f", ["a"], ["b"], nodes, [helper.make_opsetid("", 18)]))
    return made


CARRIERS: dict[str, Callable[[TensorProto], ModelProto]] = {
    "a weight": _dense,
    "a sparse weight": _sparse,
    "an attribute": _attribute,
    "a weight of a branch": _subgraph,
    "an attribute in a function": _function,
}


def _home(folder: Path) -> Path:
    """A folder with a model's data, a secret outside of it, and links to that."""
    home = folder / "model"
    home.mkdir()
    for path in (home / "data.bin", folder / "secret.bin"):
        path.write_bytes(DATA.tobytes())
    (home / "link.bin").symlink_to("../secret.bin")
    (home / "parent").symlink_to("..")
    os.link(folder / "secret.bin", home / "hard.bin")
    return home


PLACES = {
    "'..'": lambda folder: "../secret.bin",
    "an absolute path": lambda folder: str(folder / "secret.bin"),
    "a link": lambda folder: "link.bin",
    "a linked folder": lambda folder: "parent/secret.bin",
    "a hard link": lambda folder: "hard.bin",
}


def _built(message: ModelProto, folder: Path, **options: Any) -> Any:
    path = _home(folder) / "model.onnx" if not (folder / "model").exists() else folder / "model" / "model.onnx"
    path.write_bytes(message.SerializeToString())
    given = [np.zeros(6, np.float32), np.array(True)]
    engine = tenfold.build(path, cache=False, effort=0, **options)
    return engine(*given[: len(engine.inputs)])


def _climbing(carrier: str, place: str) -> Callable[[Path], Any]:
    def act(folder: Path) -> Any:
        return _built(CARRIERS[carrier](_outside(PLACES[place](folder))), folder)

    return act


def _read(carrier: str) -> Callable[[Path], Any]:
    return lambda folder: _built(CARRIERS[carrier](_outside("data.bin")), folder)


def _at(offset: int, length: int = 24) -> Callable[[Path], Any]:
    return lambda folder: _built(_dense(_outside("data.bin", offset, length)), folder)


def _vouched(folder: Path) -> Any:
    return _built(_dense(_outside("link.bin")), folder, data_root=folder)


def _far(folder: Path) -> Any:
    with (_home(folder) / "far.bin").open("wb") as file:
        file.seek(FAR)
        file.write(DATA.tobytes())
    return _built(_dense(_outside("far.bin", FAR)), folder)


def _no_folder(folder: Path) -> None:
    tenfold.build(_dense(_outside("data.bin")).SerializeToString(), cache=False)


CASES = (
    *(
        Case(f"{carrier} behind {place}", _climbing(carrier, place), Raises(ModelError, says="tensor w|Constant"))
        for carrier in CARRIERS
        for place in PLACES
    ),
    *(Case(f"{carrier} in a file beside the model", _read(carrier), Gives(DATA)) for carrier in CARRIERS),
    Case("a link that data_root= vouches for", _vouched, Gives(DATA)),
    Case("data at byte 2^32 and more of a file", _far, Gives(DATA)),
    Case("data in a file of a model that came as bytes", _no_folder, Raises(ModelError, says="path")),
    Case(
        "data in a file that is not there",
        lambda folder: _built(_dense(_outside("no.bin")), folder),
        Raises(ModelError, says="no.bin"),
    ),
    Case("data at a negative offset", _at(-4), Raises(ModelError, says="tensor w")),
    Case("data at offset 2^62", _at(2**62), Raises(ModelError, says="tensor w")),
    Case("data past the end of a file", _at(4), Raises(ModelError, says="tensor w")),
    Case("data of a negative length", _at(0, -24), Raises(ModelError, says="tensor w")),
    Case("data of 2^63 bytes", _at(0, 2**63), Raises(ModelError, says="tensor w")),
    Case("data of too few bytes", _at(0, 12), Raises(ModelError, says="tensor w")),
)
