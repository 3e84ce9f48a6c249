"""A model as Keras 2 writes it: calls as lists, models within models that count one of their own, functions of TF."""

from __future__ import annotations

import io
import json
from typing import Any

import h5py
import numpy as np
import pytest

from tenfold.errors import UnsupportedError
from tenfold.importers.keras import import_keras
from tests.importers.keras.running import interpreted

RANDOM = np.random.default_rng(0)
WEIGHTS: dict[str, dict[str, np.ndarray[Any, Any]]] = {
    "mixed": {"mixed/kernel:0": RANDOM.standard_normal((4, 4)), "mixed/bias:0": RANDOM.standard_normal(4)},
    "head": {
        "inner/kernel:0": RANDOM.standard_normal((4, 3)),
        "inner/bias:0": RANDOM.standard_normal(3),
        "norm/gamma:0": RANDOM.random(3),
        "norm/beta:0": RANDOM.random(3),
        "norm/moving_mean:0": RANDOM.random(3),
        "norm/moving_variance:0": RANDOM.random(3) + 0.5,
    },
}


def layer(kind: str, name: str, *calls: Any, **config: Any) -> dict[str, Any]:
    own = {"name": name, "trainable": True, "dtype": "float32", **config}
    return {"class_name": kind, "name": name, "config": own, "inbound_nodes": list(calls)}


def dense(name: str, units: int, *calls: Any, **config: Any) -> dict[str, Any]:
    return layer("Dense", name, *calls, units=units, use_bias=True, **config)


def model(function: str = "math.multiply") -> dict[str, Any]:
    given = {"batch_input_shape": [None, 4], "dtype": "float32", "sparse": False, "ragged": False}
    head = [
        dense("inner", 3, batch_input_shape=[None, 4], activation="hard_sigmoid"),
        layer("BatchNormalization", "norm", axis=[1], epsilon=0.001, center=True, scale=True),
    ]
    layers = [
        {"class_name": "InputLayer", "name": "x", "config": {**given, "name": "x"}, "inbound_nodes": []},
        dense("mixed", 4, [["x", 0, 0, {}]]),
        layer("TFOpLambda", "scaled", ["mixed", 0, 0, {"y": 0.5, "name": None}], function=function),
        {
            "class_name": "Sequential",
            "name": "head",
            "config": {"name": "head", "layers": head},
            "inbound_nodes": [[["x", 0, 0, {}]], [["scaled", 0, 0, {}]]],
        },
        layer("Subtract", "apart", [["head", 1, 0, {}], ["head", 2, 0, {}]]),
        layer("SlicingOpLambda", "piece", ["apart", 0, 0, {"slice_spec": [PLAIN, {**PLAIN, "start": 1}]}]),
    ]
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["piece", 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "older", "layers": layers, **ends}}


PLAIN = {"start": None, "stop": None, "step": None}


def written(config: dict[str, Any]) -> bytes:
    target = io.BytesIO()
    with h5py.File(target, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "2.15.0"
        groups = file.create_group("model_weights")
        groups.attrs["layer_names"] = [name.encode() for name in WEIGHTS]
        for name, weights in WEIGHTS.items():
            group = groups.create_group(name)
            group.attrs["weight_names"] = [path.encode() for path in weights]
            for path, array in weights.items():
                group.create_dataset(path, data=array.astype("f"))
    return target.getvalue()


def test_a_file_of_keras_2_means_what_it_meant_there() -> None:
    x = RANDOM.standard_normal((5, 4)).astype("f")
    own = {path.partition(":")[0]: array for weights in WEIGHTS.values() for path, array in weights.items()}
    scaled = (x @ own["mixed/kernel"] + own["mixed/bias"]) * 0.5

    def head(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        bent = np.clip(0.2 * (value @ own["inner/kernel"] + own["inner/bias"]) + 0.5, 0, 1)
        normal = (bent - own["norm/moving_mean"]) / np.sqrt(own["norm/moving_variance"] + 0.001)
        return normal * own["norm/gamma"] + own["norm/beta"]

    graph = import_keras(written(model()))
    (found,) = interpreted(graph, [x])
    np.testing.assert_allclose(found, (head(x) - head(scaled))[:, 1:], rtol=1e-5, atol=1e-5)
    assert graph.weights.keys() >= {"mixed/kernel", "head/inner/bias", "head/norm/moving_mean"}


def test_a_function_of_tensorflow_without_a_converter_is_named() -> None:
    with pytest.raises(UnsupportedError, match=r"scaled: .*tf\.math\.lgamma"):
        import_keras(written(model("math.lgamma")))
