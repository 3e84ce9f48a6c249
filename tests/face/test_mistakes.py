"""Mistakes that are easily made: each is told by its argument, with what to do instead."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

import tenfold
from tenfold import ops
from tenfold.errors import EngineError, InputError, ModelError, OptionError, TargetError, TenfoldError
from tenfold.plugin import Plugin


def model() -> Any:
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", sides[:1], sides[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def build(source: Any = None, **options: Any) -> tenfold.Engine:
    return tenfold.build(model() if source is None else source, **{"effort": 0, "cache": False, **options})


ONES = np.ones((2, 4), np.float32)


@pytest.fixture(scope="module")
def engine() -> tenfold.Engine:
    return build()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("effort", value) for value in (True, 1.0, "1", 7)),
        *(("cache", value) for value in (None, 5, "", "off", "False")),
        *(("progress", value) for value in (5, "yes", True)),
        *(("threads", value) for value in (True, 0, 2.0)),
        *(("memory_limit", value) for value in (True, "1GB", -1, 1 << 63)),
        *(
            ("shapes", value)
            for value in ([(2, 4)], {"x": (True, 4)}, {"x": (float("nan"), 4)}, {"x": ("", 4)}, {0: (2, 4)})
        ),
        *(
            ("dims", value)
            for value in ([2], {"N": float("nan")}, {"N": (1, 8, 0)}, {"N": True}, {0: 2}, {"N": (-1, 4)})
        ),
        *(("outputs", value) for value in ("y", [0], 5, ["y", "y"])),
        *(("state", 5), ("formats", 5), ("formats", {"x": 5}), ("plugins", 5)),
    ],
)
def test_an_option_that_cannot_hold(name: str, value: Any) -> None:
    with pytest.raises(OptionError) as caught:
        build(**{name: value})
    assert caught.value.argument == name
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        *(("precision", value, "'f16'") for value in ("half", "fp16", "Float16", np.float16, torch.float16)),
        *(("precision", value, "'f32'") for value in ("single", "float32", np.dtype("f4"))),
        *(("precision", "bfloat16", "'bf16'"), ("precision", {"*": "f16"}, "whole model")),
        *(("precision", value, "quantized") for value in ("int8", "fp8", "INT4")),
        *(("winograd", value, "'off'") for value in (False, "OFF", "none", None)),
        *(("winograd", value, "'auto'") for value in (True, "on", "always")),
        *(("effort", 4, "use 3"), ("effort", "2", "use 2"), ("effort", "most", "use 1"), ("effort", "²", "use 1")),
        *(("formats", {"x": "half NHWC"}, "'f16 channels_last'"), ("formats", {"x": "uint8"}, "'u8'")),
        *(("formats", {"x": "half NCHW"}, "write"), ("precision", "double", "'model'")),
    ],
)
def test_what_was_meant_is_guessed(name: str, value: Any, remedy: str) -> None:
    with pytest.raises(OptionError) as caught:
        build(**{name: value})
    assert caught.value.argument == name
    assert remedy in str(caught.value.remedy)


@pytest.mark.parametrize("given", ["model.tenfold", None, 5])
def test_a_context_of_no_engine(given: Any) -> None:
    with pytest.raises(TypeError, match=r"tenfold.load\(path\).context\(\)"):
        tenfold.Context(given)


@pytest.mark.parametrize("name", ["no.tenfold", "."])
def test_a_file_that_is_no_engine(tmp_path: Path, name: str) -> None:
    with pytest.raises(EngineError) as caught:
        tenfold.load(tmp_path / name)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("plugins", value) for value in (5, None, "x", [5], Plugin("one"))),
        *(("verify", value) for value in (True, None, "md5")),
        *(("threads", value) for value in ("2", 0)),
        ("memory_limit", "1GB"),
    ],
)
def test_an_option_of_loading(engine: tenfold.Engine, tmp_path: Path, name: str, value: Any) -> None:
    engine.save(tmp_path / "a.tenfold")
    with pytest.raises(OptionError) as caught:
        tenfold.load(tmp_path / "a.tenfold", **{name: value})
    assert caught.value.argument == name
    assert caught.value.remedy


@pytest.mark.parametrize("target", [None, 5, [], "CUDA"])
def test_a_target_that_is_none(target: Any) -> None:
    with pytest.raises(TargetError) as caught:
        tenfold.Target.parse(target)
    assert caught.value.argument == "target"


def test_numbers_of_numpy_are_numbers() -> None:
    made = build(threads=np.int64(1), memory_limit=np.int64(1 << 20), dims={"N": np.int64(2)})
    assert made(ONES).shape == (2, 4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([[1, 2, 3, 4], [1, 2]], "rows of unlike lengths"),
        ([["a", "b", "c", "d"]], "no number"),
        ([{}], "no number"),
        ("in.npz", "no number"),
        ([[0.1, 2, 3, 4]], "not exact in f32"),
        (np.ma.masked_array(ONES, ONES > 0), "masked"),
        (torch.ones(2, 4).to_sparse(), "sparse"),
    ],
)
def test_an_array_that_is_none(engine: tenfold.Engine, given: Any, said: str) -> None:
    with pytest.raises(InputError, match=f"input 'x'.*{said}") as caught:
        engine(given)
    assert caught.value.argument == "x"


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html>", "web page"),
        (b"GGUF" + bytes(9), "llama.cpp"),
        (b"\x1c\0\0\0TFL3" + bytes(9), "TensorFlow Lite"),
        (b"\x40\0\0\0\0\0\0\0" + b'{"a":{}}', "weights alone"),
        (b"", "downloaded whole"),
    ],
)
def test_a_file_that_is_no_model(tmp_path: Path, content: bytes, remedy: str) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=remedy):
        build(tmp_path / "model.onnx")
    with pytest.raises(ModelError, match=r"did you mean .*model\.onnx"):
        build(tmp_path / "model.onx")


def test_what_is_no_model(engine: tenfold.Engine, tmp_path: Path) -> None:
    engine.save(tmp_path / "a.tenfold")
    net = torch.nn.Linear(4, 3)
    for given, said in (
        (engine, "built already"),
        (tmp_path / "a.tenfold", "built already"),
        (torch.nn.Linear, r"make one first: Linear\("),
        (net.state_dict(), "weights alone"),
        (BytesIO(model().SerializeToString()), r"model\.read\(\)"),
    ):
        with pytest.raises(OptionError, match=said):
            build(given)
    with pytest.raises(OptionError, match="from_numpy"):
        build(net, example_inputs=(ONES,))
    with pytest.raises(OptionError, match="no class"):
        tenfold.torch.compile(torch.nn.Linear)
    with pytest.raises(InputError, match="from_numpy"):
        tenfold.torch.compile(net)(ONES)
    with pytest.raises(OptionError, match="did you mean 'effort'"):
        tenfold.torch.compile(net, efort=0)


CLOSED: tuple[Callable[[tenfold.Context], Any], ...] = (
    lambda context: context.run([ONES]),
    lambda context: context.submit([ONES]),
    lambda context: context.bind({"x": ONES}),
    lambda context: context.profile([ONES]),
    lambda context: context.seed({}),
    lambda context: context.rewind(0),
    lambda context: context.reset(),
    lambda context: context.fork(),
    lambda context: context.state,
)


@pytest.mark.parametrize("use", CLOSED)
def test_a_closed_context(engine: tenfold.Engine, use: Callable[[tenfold.Context], Any]) -> None:
    context = engine.context()
    context.submit([ONES]).result()
    context.close()
    with pytest.raises(EngineError, match="closed"):
        use(context)


def test_what_is_copied_and_pickled(engine: tenfold.Engine) -> None:
    assert copy.deepcopy({"engine": engine})["engine"] is copy.copy(engine) is engine
    for one in (engine, engine.context()):
        with pytest.raises(EngineError) as caught:
            pickle.dumps(one)
        assert caught.value.remedy
    with pytest.raises(EngineError):
        copy.deepcopy(engine.context())


@pytest.mark.parametrize(
    "use",
    [
        lambda engine: engine.context().bind([ONES]),
        lambda engine: engine.context().seed([ONES]),
        lambda engine: engine.memory({"x": (float("nan"), 4)}),
        lambda engine: engine.memory({"q": (2, 4)}),
        lambda engine: engine.memory({"x": 2}),
        lambda engine: engine.run(None),
        lambda engine: engine.run(ONES),
        lambda engine: engine.run([ONES, ONES]),
        lambda engine: engine(ONES, ONES),
        lambda engine: engine.tap([ONES], "y"),
        lambda engine: engine.tap([ONES], 5),
        lambda engine: engine.refit([ONES]),
        lambda engine: engine.refit({"q": ONES}),
        lambda engine: engine.context().submit(ONES).result(60),
        lambda engine: engine.context().unbind("unknown"),
        lambda engine: engine.context().unbind(["x"]),
        lambda engine: engine.context().unbind(5),
        lambda engine: engine.context().bind({"x": None}),
        lambda engine: engine.context().bind({"x": 5}),
        lambda engine: engine.context().bind({"x": np.ones((2, 5), np.float32)}),
        lambda engine: engine.context().bind({"x": np.ones((1, 2, 4), np.float32)}),
        lambda engine: engine.context().bind(outputs={"y": [[1.0, 2.0]]}),
        lambda engine: engine.context().bind(outputs={"y": None}),
        lambda engine: tenfold.Engine("a.tenfold"),
        lambda engine: ops.Relu()(ONES),
    ],
)
def test_a_call_that_names_nothing(engine: tenfold.Engine, use: Callable[[tenfold.Engine], Any]) -> None:
    with pytest.raises(TenfoldError) as caught:
        use(engine)
    assert caught.value.argument
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "given"),
    [
        *(("model", {"model": value}) for value in (5, "a.tenfold", None)),
        *(("input_ids", {"input_ids": value}) for value in ("hello", [[1, 2], [3]], [[1.0]], None, [])),
        *(("attention_mask", {"attention_mask": value}) for value in ([[1, 1], [1]], [[0.5]])),
        *(("max_new_tokens", {"max_new_tokens": value}) for value in ("5", 1.5, None, True, -1)),
        *(("eos_token_id", {"eos_token_id": value}) for value in ("</s>", [1.0], [None])),
        ("pad_token_id", {"pad_token_id": "<pad>"}),
        *(("temperature", {"do_sample": True, "temperature": value}) for value in ("1", 0, float("nan"))),
        *(("top_k", {"do_sample": True, "top_k": value}) for value in (-1, 1.5)),
        *(("top_p", {"do_sample": True, "top_p": value}) for value in (0, 2)),
        ("seed", {"do_sample": True, "seed": "a"}),
        ("logits_processor", {"logits_processor": 5}),
    ],
)
def test_what_generation_is_told(engine: tenfold.Engine, name: str, given: dict[str, Any]) -> None:
    for use in (tenfold.generate, tenfold.stream):
        with pytest.raises(TenfoldError) as caught:
            use(**{"model": engine, "input_ids": [[1]], **given})
        assert caught.value.argument == name
        assert caught.value.remedy


@pytest.mark.parametrize(
    "given",
    [
        {"name": 5},
        {"version": 2},
        {"onnx": [1]},
        {"onnx": {"Relu": 5}},
        {"onnx": {("", "Relu"): lambda node: node}},
        {"torch": {"a::b": 5}},
        {"keras": 5},
        {"rules": 5},
        {"rules": (5,)},
        {"strategies": ("gemm",)},
        {"ops": (5,)},
    ],
)
def test_a_plugin_that_holds_something_else(given: dict[str, Any]) -> None:
    with pytest.raises(OptionError) as caught:
        Plugin(**{"name": "mine", **given})
    assert caught.value.argument in given
    assert caught.value.remedy


@pytest.mark.parametrize("given", [5, None, [5]])
def test_a_converter_that_gives_no_value(given: Any) -> None:
    with pytest.raises(ModelError, match="converter") as caught:
        build(plugins=[Plugin("mine", onnx={("", "Relu"): ((1, lambda node: given),)})])
    assert caught.value.operator
    assert caught.value.remedy
