from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers as L

import tenfold
from tenfold import importers, ops
from tenfold.errors import ModelError, OptionError, UnsupportedError
from tenfold.importers.keras import import_keras
from tenfold.importers.keras.layer import Layer
from tenfold.ir.graph import Graph, Value
from tenfold.ops.movement import Transpose
from tenfold.passes import PORTABLE
from tenfold.plugin import Plugin
from tests.importers.keras.networks import NETWORKS, convolutional, named_results, residual, transformer
from tests.importers.keras.running import assert_close, by_name, expected, interpreted, randomised, samples

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_model_is_the_same_from_memory_and_from_files(name: str, tmp_path: Path) -> None:
    model = randomised(NETWORKS[name]())
    given = samples(model)
    wanted = expected(model, given)
    paths = [tmp_path / f"model.{kind}" for kind in ("keras", "h5")]
    for path in paths:
        model.save(path)
    tolerance = 2e-2 if name == "mixed_precision" else 2e-5
    for source in (model, *paths, paths[0].read_bytes(), paths[1].read_bytes()):
        graph = import_keras(source)
        assert_close(_in_order(model, interpreted(graph, _ordered(model, given, graph)), graph), wanted, tolerance)


def _ordered(model: Any, given: Any, graph: Graph) -> Any:
    named = {one.name: array for one, array in zip(model.inputs, given, strict=True)}
    return [named[one.name] for one in graph.inputs]


def _in_order(model: Any, found: list[Any], graph: Graph) -> list[Any]:
    """Keras lays dicts flat in the order of their keys."""
    if not isinstance(getattr(model, "output", None), dict):
        return found
    return [found[at] for at in sorted(range(len(found)), key=lambda at: graph.output_names[at])]


def test_importing_a_file_needs_no_keras(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    randomised(convolutional()).save(path)
    code = (
        "import sys, tenfold; from tenfold.importers import open_model; "
        f"open_model({str(path)!r}); assert not {{'keras', 'tensorflow', 'torch'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_a_built_model_answers_as_keras_does() -> None:
    model = randomised(residual())
    given = samples(model)
    engine = tenfold.build(model, effort=0, cache=False)
    assert engine.report["host_steps"] == 0
    assert_close([engine(*given)], expected(model, given))


def test_open_sizes_are_named_after_the_input_and_the_batch_is_one() -> None:
    graph = import_keras(NETWORKS["encoder_and_decoder"]())
    shapes = {one.name: [str(size) for size in one.type.shape] for one in graph.inputs}
    assert shapes == {
        "source": ["source.0", "source.1", "4"],
        "target": ["source.0", "target.1", "4"],
    }
    graph = import_keras(transformer(), shapes={"tokens": ("batch", 12)}, dims={"batch": (1, 8)})
    assert [str(size) for size in graph.inputs[0].type.shape] == ["batch", "12"]


def test_results_in_a_dict_come_in_a_dict() -> None:
    model = randomised(named_results())
    engine = tenfold.build(model, effort=0, cache=False)
    given = samples(model)
    found = engine(**by_name(given, import_keras(model)))
    assert set(found) == {"logits", "best"}


def test_outputs_name_layers_also_within_models() -> None:
    model = randomised(NETWORKS["shared_and_nested"]())
    graph = import_keras(model, outputs=["outer/inner/norm", "shared_name"])
    assert graph.output_names == ("outer/inner/norm", "shared_name")
    with pytest.raises(OptionError, match="no layer 'sharedname'") as refused:
        import_keras(model, outputs=["sharedname"])
    assert "did you mean 'shared_name'?" in str(refused.value)


def test_what_chosen_outputs_do_not_need_need_not_be_known() -> None:
    x = keras.Input((3,))
    model = keras.Model(x, L.Lambda(lambda value: value + 1)(L.Dense(2, name="before")(x)))
    assert import_keras(model, outputs=["before"]).output_names == ("before",)


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.keras"
    convolutional().save(path)
    monkeypatch.setattr(importers, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"pip install 'tenfold\[keras\]'"):
        importers.open_model(path)


def test_images_are_transposed_only_where_they_come_in() -> None:
    graph = import_keras(residual())
    PORTABLE(graph)
    moved = [one for one in graph.nodes if isinstance(one.op, Transpose) and one.inputs[0].type.rank == 4]
    assert [one.inputs[0].name for one in moved if one.inputs[0].producer is None] == ["image"]
    assert len(moved) <= 2


def test_refit_knows_weights_by_their_layers() -> None:
    model = randomised(convolutional())
    engine = tenfold.build(model, effort=0, cache=False)
    dense = model.layers[-1]
    kernel = np.asarray(dense.kernel.value.detach()) * 2
    dense.kernel.assign(kernel)
    given = samples(model)
    refitted = engine.refit({f"{dense.name}/kernel": kernel})
    assert_close([refitted(*given)], expected(model, given))


class Double(L.Layer):  # type: ignore[misc]
    """A layer of the user's own."""

    def call(self, x: Any) -> Any:
        return x * 2


def test_layers_of_ones_own_are_refused_by_name_and_converted_by_plugins() -> None:
    x = keras.Input((3,))
    model = keras.Model(x, L.Dense(2)(Double(name="twice")(x)))
    with pytest.raises(UnsupportedError, match="Double at twice") as refused:
        import_keras(model)
    assert "plugin" in str(refused.value)

    def double(layer: Layer, value: Value) -> Value:
        found: Value = ops.Mul()(value, ops.scalar(2, value.type.dtype)())
        return found

    plugin = Plugin("double", keras={"Double": double})
    engine = tenfold.build(randomised(model), effort=0, cache=False, plugins=[plugin])
    given = samples(model)
    assert_close([engine(*given)], expected(model, given))


def test_lambdas_are_refused_by_name(tmp_path: Path) -> None:
    x = keras.Input((3,))
    model = keras.Model(x, L.Lambda(lambda value: value + 1, name="shift")(x))
    model.save(tmp_path / "model.keras")
    for source in (model, tmp_path / "model.keras"):
        with pytest.raises(UnsupportedError, match=r"Lambda at shift: it holds Python code, which is never run"):
            import_keras(source)
    model = keras.Sequential([x, L.Dense(2, activation=lambda value: value * 2, name="bent")])
    model.save(tmp_path / "model.keras")
    with pytest.raises(UnsupportedError, match=r"bent: .*Python code"):
        import_keras(tmp_path / "model.keras")


class Subclassed(keras.Model):  # type: ignore[misc]
    """A model whose call is code."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = L.Dense(2)

    def call(self, x: Any) -> Any:
        return self.dense(x)


class Functional(keras.Model):  # type: ignore[misc]
    """A functional model of a class of one's own."""

    def __init__(self) -> None:
        x = keras.Input((3,), name="x")
        super().__init__(inputs=x, outputs=L.Dense(2)(x))


def test_subclasses_are_taken_for_their_graph_if_they_have_one() -> None:
    model = randomised(Functional())
    given = samples(model)
    assert_close(interpreted(import_keras(model), given), expected(model, given))
    code = Subclassed()
    code(np.zeros((1, 3), np.float32))
    with pytest.raises(UnsupportedError, match="Python code"):
        import_keras(code)


def test_what_is_only_weights_is_refused(tmp_path: Path) -> None:
    model = convolutional()
    model.save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(UnsupportedError, match="weights without a model"):
        import_keras(tmp_path / "model.weights.h5")


def test_a_stack_without_an_input_asks_for_its_shape() -> None:
    model = keras.Sequential([L.Dense(2, name="first")], name="stack")
    with pytest.raises((OptionError, ModelError)):
        import_keras(model)
