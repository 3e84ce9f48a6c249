from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers as L

from tenfold.errors import ModelError, TenfoldError, UnsupportedError
from tenfold.importers.keras import import_keras
from tenfold.importers.keras.values import policy_of
from tests.importers.keras.running import randomised

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one layer, whose file the tests damage."""
    path = tmp_path_factory.mktemp("keras") / "model.keras"
    randomised(keras.Sequential([keras.Input((3,), name="x"), L.Dense(2, name="dense")])).save(path)
    return path


Members = dict[str, bytes]


def changed(saved: Path, change: Callable[[Members], None]) -> bytes:
    with zipfile.ZipFile(saved) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target.getvalue()


def of_config(edit: Callable[[Any], Any]) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        found = json.loads(members["config.json"])
        members["config.json"] = json.dumps(edit(found) or found).encode()

    return change


def of_weights(edit: Callable[[h5py.File], None]) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        content = io.BytesIO(members["model.weights.h5"])
        with h5py.File(content, "a") as file:
            edit(file)
        members["model.weights.h5"] = content.getvalue()

    return change


def dense_config(**settings: Any) -> Callable[[Any], Any]:
    return lambda config: config["config"]["layers"][1]["config"].update(settings)


def replaced(name: str, make: Callable[[h5py.Group], Any]) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        group = file["layers/dense/vars"]
        del group[name]
        make(group)

    return edit


def cycle(config: Any) -> Any:
    tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": ["dense", 0, 0]}}
    dense = config["config"]["layers"][1]
    dense |= {"name": "dense", "inbound_nodes": [{"args": [tensor], "kwargs": {}}]}
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["dense", 0, 0]]}
    first = {**config["config"]["layers"][0], "name": "x", "inbound_nodes": []}
    return {**config, "class_name": "Functional", "config": {"name": "f", "layers": [first, dense], **ends}}


def deep(levels: int) -> Callable[[Any], Any]:
    def edit(config: Any) -> None:
        inner = config["config"]["layers"][1]
        for _ in range(levels):
            inner = {"class_name": "SpectralNormalization", "config": {"name": "t", "trainable": True, "layer": inner}}
        config["config"]["layers"][1] = inner

    return edit


def of_module(config: Any) -> None:
    config["config"]["layers"][1] |= {"class_name": "system", "module": "os", "registered_name": "os>system"}


DAMAGES: dict[str, tuple[Callable[[Members], None], str]] = {
    "no config": (lambda members: members.pop("config.json") and None, "no config|config.json|no readable|metadata"),
    "config is no JSON": (lambda members: members.update({"config.json": b"{"}), "no readable JSON"),
    "config is a list": (lambda members: members.update({"config.json": b"[]"}), "must hold a JSON object"),
    "config nests without end": (lambda members: members.update({"config.json": b"[" * 200_000}), "no readable JSON"),
    "config inflates": (
        lambda members: members.update({"config.json": b" " * 2**26 + members["config.json"]}),
        "which no model does",
    ),
    "weights inflate": (lambda members: members.update({"model.weights.h5": bytes(2**27)}), "which no model does"),
    "weights are no HDF5": (lambda members: members.update({"model.weights.h5": b"x" * 999}), "no readable HDF5"),
    "no weights": (lambda members: members.pop("model.weights.h5") and None, "no weight 'kernel'"),
    "no layers": (of_config(lambda config: {**config, "config": {"name": "s", "layers": []}}), "lists no layers"),
    "layers nest too deep": (of_config(deep(60)), "more than 32 deep"),
    "a layer of nothing": (of_config(lambda c: c["config"]["layers"].append({})), "states no configuration"),
    "a class of a module": (of_config(of_module), "os>system"),
    "units are words": (of_config(dense_config(units="many")), "dense: Dense: 'units'"),
    "units are too many": (of_config(dense_config(units=10**12)), "dense: weight 'kernel' has the shape"),
    "units are negative": (of_config(dense_config(units=-1)), "dense"),
    "an activation of one's own": (of_config(dense_config(activation="os.system")), "function of your own"),
    "a type that is none": (of_config(dense_config(dtype="object")), "no element type"),
    "a cycle": (of_config(cycle), "depends on itself"),
    "a weight of another shape": (
        of_weights(replaced("0", lambda group: group.create_dataset("0", data=np.ones((4, 2), "f")))),
        r"dense: weight 'kernel' has the shape \[4, 2\]",
    ),
    "a weight of words": (
        of_weights(replaced("0", lambda group: group.create_dataset("0", data=["a", "b"]))),
        "holds no numbers",
    ),
    "a weight that is not there": (of_weights(replaced("0", lambda group: None)), "no weight 'kernel'"),
    "a weight of a petabyte": (
        of_weights(replaced("0", lambda group: group.create_dataset("0", (3, 2**48), "f", chunks=(3, 2**20)))),
        "the file holds",
    ),
    "a weight elsewhere": (
        of_weights(
            replaced("0", lambda group: group.create_dataset("0", (3, 2), "f", external=[("/etc/passwd", 0, 24)]))
        ),
        "lies in another file",
    ),
    "a link elsewhere": (
        of_weights(replaced("0", lambda group: group.__setitem__("0", h5py.ExternalLink("/etc/passwd", "/")))),
        "link to somewhere else",
    ),
    "a group in a weight's place": (
        of_weights(replaced("0", lambda group: group.create_group("0"))),
        "dense|weights",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_refused_by_a_clear_error(name: str, saved: Path) -> None:
    change, message = DAMAGES[name]
    content = changed(saved, change)
    tracemalloc.start()
    try:
        with pytest.raises(TenfoldError, match=message):
            import_keras(content)
        assert tracemalloc.get_traced_memory()[1] < 2**28
    finally:
        tracemalloc.stop()


def test_members_whose_names_are_paths_are_never_written(saved: Path, tmp_path: Path) -> None:
    names = ["../outside", "/tmp/outside", "assets/../../outside"]
    content = changed(saved, lambda members: members.update(dict.fromkeys(names, b"x")))
    before = set(tmp_path.parent.rglob("*"))
    import_keras(content)
    assert set(tmp_path.parent.rglob("*")) == before


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    with pytest.raises(ModelError):
        import_keras(content[: int(len(content) * share)])


def test_flipped_bytes_end_in_an_answer_or_in_one_of_our_errors(saved: Path) -> None:
    content, random = saved.read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for place in random.integers(0, len(content), 4):
            damaged[place] = int(random.integers(0, 256))
        try:
            import_keras(bytes(damaged))
        except TenfoldError:
            continue


def test_policies_of_quantized_layers_are_refused() -> None:
    mapped = {"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8", "source_name": "float32"}}
    for policy in ("int8_from_float32", {"config": {"name": "int8_from_float32"}}, mapped):
        with pytest.raises(UnsupportedError, match=r"int8_from_float32.*quantized layer"):
            policy_of(policy, "dense")
