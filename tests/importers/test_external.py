"""Tensors in files beside a model: which may be read, and what is refused."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, SparseTensorProto, TensorProto, helper, numpy_helper

from tenfold.errors import LimitError, ModelError
from tenfold.importers import open_model
from tenfold.ir.interpret import Interpreter

DATA = np.arange(6, dtype=np.float32)


def weight(location: str, offset: str = "0", length: str | None = "24", name: str = "w", kind: int = 1) -> TensorProto:
    tensor = TensorProto(name=name, dims=[6], data_type=kind, data_location=TensorProto.EXTERNAL)
    entries = {"location": location, "offset": offset, **({} if length is None else {"length": length})}
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def model(
    tensor: TensorProto | None = None, sparse: SparseTensorProto | None = None, **attribute: TensorProto
) -> ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [6]) for name in "xy")
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    if attribute:
        nodes.insert(0, helper.make_node("Constant", [], ["w"], **attribute))
    graph = helper.make_graph(nodes, "g", [x], [y], [tensor] if tensor else [])
    graph.sparse_initializer.extend([sparse] if sparse else [])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def saved(folder: Path, message: ModelProto) -> Path:
    """The model in a folder of its own, its data beside it, and a secret outside."""
    home = folder / "model"
    home.mkdir(exist_ok=True)
    (home / "data.bin").write_bytes(DATA.tobytes())
    (folder / "secret.bin").write_bytes(DATA.tobytes())
    (home / "model.onnx").write_bytes(message.SerializeToString())
    return home / "model.onnx"


def added(path: Path | bytes, **options: Path) -> list[float]:
    graph = open_model(path, **options)
    return Interpreter().run(graph, {"x": np.zeros(6, np.float32)})["y"].tolist()


def test_data_beside_the_model(tmp_path: Path) -> None:
    assert added(saved(tmp_path, model(weight("data.bin")))) == DATA.tolist()
    assert added(saved(tmp_path, model(weight("data.bin", length=None)))) == DATA.tolist()
    (tmp_path / "model" / "more").mkdir()
    (tmp_path / "model" / "more" / "late.bin").write_bytes(b"\1" * 4096 + DATA.tobytes())
    assert added(saved(tmp_path, model(weight("more/late.bin", "4096")))) == DATA.tolist()


PLACES = [
    "",
    "../secret.bin",
    "/etc/passwd",
    "more/../../secret.bin",
    "..",
    ".",
    "nowhere.bin",
    "da\0ta.bin",
    "/",
    "a" * 5000,
]


@pytest.mark.parametrize("location", PLACES, ids=lambda place: repr(place[:20]))
def test_places_that_are_refused(location: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="tensor w"):
        added(saved(tmp_path, model(weight(location))))


NUMBERS = [
    ("-4", "24"),
    ("1", "24"),
    (str(2**62), "24"),
    ("9" * 5000, "24"),
    ("0", "-24"),
    ("0", str(2**63)),
    ("0", "x"),
]
NUMBERS += [("", "24"), ("1e3", "24"), ("0", "12"), (" 0", "24"), ("٣", "24")]


@pytest.mark.parametrize(("offset", "length"), NUMBERS)
def test_offsets_and_lengths_that_are_refused(offset: str, length: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="tensor w"):
        added(saved(tmp_path, model(weight("data.bin", offset, length))))


LINKS: dict[str, Callable[[Path], None]] = {
    "a link to a file": lambda home: (home / "link.bin").symlink_to("../secret.bin"),
    "a hard link": lambda home: os.link(home.parent / "secret.bin", home / "link.bin"),
    "a link in a circle": lambda home: (home / "link.bin").symlink_to("link.bin"),
    "a pipe": lambda home: os.mkfifo(home / "link.bin"),
    "a folder": lambda home: (home / "link.bin").mkdir(),
    "a device": lambda home: (home / "link.bin").symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("link", LINKS)
def test_links_that_are_refused(link: str, tmp_path: Path) -> None:
    path = saved(tmp_path, model(weight("link.bin")))
    LINKS[link](path.parent)
    with pytest.raises(ModelError, match=r"link\.bin") as caught:
        added(path)
    assert "data_root" in str(caught.value) or link in ("a pipe", "a folder")


def test_a_linked_folder(tmp_path: Path) -> None:
    path = saved(tmp_path, model(weight("link/secret.bin")))
    (path.parent / "link").symlink_to("..")
    with pytest.raises(ModelError, match="leads out of"):
        added(path)


def test_links_inside_the_folder_are_fine(tmp_path: Path) -> None:
    path = saved(tmp_path, model(weight("link.bin")))
    (path.parent / "link.bin").symlink_to("data.bin")
    assert added(path) == DATA.tolist()


def test_a_cache_that_links(tmp_path: Path) -> None:
    """A model and its data under `snapshots`, both links to `blobs`, as hubs lay their caches out."""
    snapshot, blobs = tmp_path / "snapshots" / "main", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "1f").write_bytes(model(weight("data.bin")).SerializeToString())
    (blobs / "2e").write_bytes(DATA.tobytes())
    (snapshot / "model.onnx").symlink_to("../../blobs/1f")
    (snapshot / "data.bin").symlink_to("../../blobs/2e")
    with pytest.raises(ModelError, match="data_root="):
        added(snapshot / "model.onnx")
    assert added(snapshot / "model.onnx", data_root=tmp_path) == DATA.tolist()
    with pytest.raises(ModelError, match="leads out of"):
        added(snapshot / "model.onnx", data_root=tmp_path / "snapshots")


def test_data_of_a_model_without_a_folder(tmp_path: Path) -> None:
    path = saved(tmp_path, model(weight("data.bin")))
    with pytest.raises(ModelError, match="pass the model's path"):
        added(path.read_bytes())
    assert added(path.read_bytes(), data_root=path.parent) == DATA.tolist()
    os.link(path.parent / "data.bin", path.parent / "again.bin")
    assert added(path.read_bytes(), data_root=path.parent) == DATA.tolist(), "who passes the folder vouches for it"


def test_data_of_attributes_branches_functions_and_sparse_tensors(tmp_path: Path) -> None:
    outside = weight("../secret.bin")
    branch = helper.make_graph(
        [helper.make_node("Identity", ["v"], ["b"])],
        "b",
        [],
        [helper.make_empty_tensor_value_info("b")],
        [weight("../secret.bin", name="v")],
    )
    nested = model(value=helper.make_tensor("c", TensorProto.FLOAT, [6], [0] * 6))
    nested.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch))
    nested.graph.initializer.append(helper.make_tensor("c", TensorProto.BOOL, [], [True]))
    nested.graph.output[0].name = "z"
    called = model()
    called.graph.node.insert(0, helper.make_node("f", [], ["w"], domain="local"))
    constant = helper.make_node("Constant", [], ["o"], value=outside)
    called.functions.append(helper.make_function("local", "f", [], ["o"], [constant], [helper.make_opsetid("", 18)]))
    called.opset_import.append(helper.make_opsetid("local", 1))
    places = numpy_helper.from_array(np.arange(6), "places")
    sparse = SparseTensorProto(values=outside, indices=places, dims=[6])
    for message in (model(value=outside), nested, called, model(sparse=sparse)):
        with pytest.raises(ModelError, match="no place beside the model"):
            added(saved(tmp_path, message))


@pytest.mark.parametrize("kind", [TensorProto.STRING, 99])
def test_types_that_no_file_holds(kind: int, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="w"):
        added(saved(tmp_path, model(weight("data.bin", kind=kind))))


def test_bytes_that_are_no_truth_values(tmp_path: Path) -> None:
    tensor = weight("data.bin", length="6", kind=TensorProto.BOOL)
    message = model(tensor)
    message.graph.node[0].CopyFrom(helper.make_node("Where", ["w", "x", "x"], ["y"]))
    graph = open_model(saved(tmp_path, message))
    (constant,) = (one.op.tensor for one in graph.nodes if one.op.name == "Constant")
    assert set(constant.array.view(np.uint8).tolist()) <= {0, 1}


def sparse_of(shape: list[int], values: list[float], places: list[int]) -> SparseTensorProto:
    held = numpy_helper.from_array(np.array(values, np.float32), "w")
    return SparseTensorProto(values=held, indices=numpy_helper.from_array(np.array(places, np.int64), "i"), dims=shape)


def test_sparse_tensors() -> None:
    assert added(model(sparse=sparse_of([6], [5, 7], [1, 4])).SerializeToString()) == [0, 5, 0, 0, 7, 0]
    for shape in ([2**40], [2**31, 2**31], [2**62, 4]):
        with pytest.raises(LimitError, match="dense"):
            open_model(model(sparse=sparse_of(shape, [5], [1])))
    for damaged in (
        sparse_of([6], [5], [6]),
        sparse_of([6], [5], [-1]),
        sparse_of([-6], [5], [0]),
        sparse_of([6], [5], [0, 1]),
    ):
        with pytest.raises(ModelError, match="w"):
            open_model(model(sparse=damaged))


def test_weights_over_two_gigabytes_are_read_where_they_are_used(tmp_path: Path) -> None:
    rows, width = 3 * 2**20, 256
    path = saved(tmp_path, model())
    message = ModelProto()
    message.CopyFrom(model())
    table = TensorProto(name="w", dims=[rows, width], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    table.external_data.add(key="location", value="big.bin")
    last = TensorProto(name="v", dims=[6], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    last.external_data.add(key="location", value="big.bin")
    last.external_data.add(key="offset", value=str(rows * width * 4))
    message.graph.initializer.extend([table, last])
    message.graph.node[0].CopyFrom(helper.make_node("Gather", ["w", "places"], ["rows"]))
    message.graph.node.append(helper.make_node("Add", ["x", "v"], ["y"]))
    message.graph.output.append(helper.make_empty_tensor_value_info("rows"))
    message.graph.initializer.append(numpy_helper.from_array(np.array([0, rows - 1]), "places"))
    with open(path.parent / "big.bin", "wb") as file:
        file.truncate(rows * width * 4)
        file.seek(rows * width * 4 - 4)
        file.write(DATA[5:].tobytes() + DATA.tobytes())
    path.write_bytes(message.SerializeToString())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    graph = open_model(path)
    found = Interpreter().run(graph, {"x": np.zeros(6, np.float32)})
    assert found["rows"][1, -1] == 5 and not found["rows"][0].any() and found["y"].tolist() == DATA.tolist()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18, "kibibytes"


def test_a_model_file_of_two_gigabytes(tmp_path: Path) -> None:
    with open(tmp_path / "huge.onnx", "wb") as file:
        file.truncate(2**31)
    with pytest.raises(ModelError, match="external data"):
        open_model(tmp_path / "huge.onnx")
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(ModelError, match="no file"):
            open_model(path)
