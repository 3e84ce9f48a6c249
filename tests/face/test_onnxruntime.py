"""The onnxruntime face: the same names, the same errors, the same answers."""

from __future__ import annotations

import enum
import importlib
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as theirs
import pytest
from onnx import ModelProto
from onnx.parser import parse_model

import tenfold
import tenfold.onnxruntime as ours
from tests.face import models, names


@pytest.fixture(autouse=True, scope="module")
def no_cache() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TENFOLD_CACHE", "off")
        yield


def members(thing: Any) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


same_version = pytest.mark.skipif(
    theirs.__version__ != ours.__version__, reason=f"the list is of onnxruntime {ours.__version__}"
)


@same_version
def test_every_public_name_is_answered_or_listed() -> None:
    public = members(theirs)
    given = set(ours.__all__) | {"capi"}
    assert given - names.OURS[""] == public - set(names.ABSENT)
    assert set(names.ABSENT) <= public
    assert set(ours.__all__) <= members(ours)


@same_version
@pytest.mark.parametrize("kind", sorted(names.ABSENT_MEMBERS))
def test_every_member_is_answered_or_listed(kind: str) -> None:
    instances: dict[str, Callable[[Any], Any]] = {
        "SessionOptions": lambda module: module.SessionOptions(),
        "RunOptions": lambda module: module.RunOptions(),
        "ModelMetadata": lambda module: session(module, models.perceptron()).get_modelmeta(),
        "NodeArg": lambda module: session(module, models.perceptron()).get_inputs()[0],
        "IOBinding": lambda module: session(module, models.perceptron()).io_binding(),
        "InferenceSession": lambda module: session(module, models.perceptron()),
    }
    look = instances.get(kind, lambda module: getattr(module, kind))
    public, given = members(look(theirs)), members(look(ours))
    if isinstance(look(ours), type(enum.Enum)):
        public = public - {"name", "value"}
    absent = set(names.ABSENT_MEMBERS[kind])
    assert given - names.OURS.get(kind, set()) == public - absent
    assert absent <= public


@same_version
def test_every_error_has_its_class() -> None:
    import onnxruntime.capi.onnxruntime_pybind11_state as native

    kinds = {name: getattr(native, name) for name in members(native)}
    errors = {name for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert {kind.__name__ for kind in ours.failures.ALL} == errors


@pytest.mark.parametrize("kind", [ours.SessionOptions, ours.RunOptions])
def test_defaults_are_theirs(kind: type) -> None:
    options, other = kind(), getattr(theirs, kind.__name__)()
    for name in kind._defaults:
        value = getattr(options, name)
        assert getattr(value, "name", value) == getattr(getattr(other, name), "name", getattr(other, name))


def session(module: Any, made: ModelProto, options: Any = None) -> Any:
    return module.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def both() -> tuple[Any, Any]:
    return session(ours, models.perceptron()), session(theirs, models.perceptron())


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)


def test_what_a_session_says(both: tuple[Any, Any]) -> None:
    mine, other = both
    for ask in ("get_inputs", "get_outputs", "get_overridable_initializers"):
        found = [(one.name, one.type, one.shape) for one in getattr(mine, ask)()]
        assert found == [(one.name, one.type, one.shape) for one in getattr(other, ask)()]
    assert mine.get_providers() == ["CPUExecutionProvider"]
    assert mine.get_provider_options() == other.get_provider_options()
    for name in sorted(members(other.get_modelmeta())):
        assert getattr(mine.get_modelmeta(), name) == getattr(other.get_modelmeta(), name)


def test_open_sizes_without_a_name_are_none() -> None:
    mine, other = (session(module, models.two_inputs()) for module in (ours, theirs))
    assert [one.shape for one in mine.get_inputs()] == [one.shape for one in other.get_inputs()] == [["rows", None]] * 2


def test_run(both: tuple[Any, Any], x: np.ndarray) -> None:
    for asked in (None, [], ["y"], ["y", "y"]):
        mine, other = (one.run(asked, {"x": x}) for one in both)
        assert isinstance(mine, list) and len(mine) == len(other)
        np.testing.assert_allclose(mine[0], other[0], rtol=1e-5)
    np.testing.assert_allclose(*(one.run(None, {"x": x.tolist()})[0] for one in both), rtol=1e-5)


def test_outputs_are_chosen_by_name(x: np.ndarray) -> None:
    pair = session(ours, models.two_inputs())
    product, total = pair.run(["product", "sum"], {"a": x, "b": x})
    np.testing.assert_array_equal(product, x * x)
    np.testing.assert_array_equal(total, x + x)


CALLS: list[Callable[[Any], object]] = [
    lambda one: one.run(None, {}),
    lambda one: one.run(None, {"x": np.zeros((3, 8))}),
    lambda one: one.run(None, {"x": np.zeros((3, 7), np.float32)}),
    lambda one: one.run(None, {"x": np.zeros((3, 8, 1), np.float32)}),
    lambda one: one.run(None, {"x": np.zeros((3, 8), np.float32), "z": np.zeros(3)}),
    lambda one: one.run(["z"], {"x": np.zeros((3, 8), np.float32)}),
    lambda one: one.run(None, [np.zeros((3, 8), np.float32)]),
    lambda one: one.run("y", {"x": np.zeros((3, 8), np.float32)}),
    lambda one: one.run(iter(["y"]), {"x": np.zeros((3, 8), np.float32)}),
]


@pytest.mark.parametrize("call", CALLS)
def test_bad_calls_raise_what_theirs_raise(both: tuple[Any, Any], call: Callable[[Any], object]) -> None:
    raised = []
    for one in both:
        with pytest.raises(Exception) as caught:
            call(one)
        raised.append(caught.type.__name__)
    assert raised[0] == raised[1]


MODELS: list[Callable[[Path], Any]] = [
    lambda at: str(at / "nowhere.onnx"),
    lambda at: at / "nowhere.onnx",
    lambda at: b"1234",
    lambda at: None,
    lambda at: 3,
]


@pytest.mark.parametrize("given", MODELS)
def test_bad_models_raise_what_theirs_raise(given: Callable[[Path], Any], tmp_path: Path) -> None:
    raised = []
    for module in (ours, theirs):
        with pytest.raises(Exception) as caught:
            module.InferenceSession(given(tmp_path), providers=["CPUExecutionProvider"])
        raised.append(caught.type.__name__)
    assert raised[0] == raised[1]


def test_an_unknown_operator_is_not_implemented() -> None:
    with pytest.raises(ours.failures.NotImplemented, match="Frobnicate"):
        session(ours, models.unsupported())


def test_an_engine_file_is_a_model_too(tmp_path: Path, x: np.ndarray) -> None:
    one = session(ours, models.perceptron())
    one.engine.save(tmp_path / "m.tenfold")
    again = ours.InferenceSession(tmp_path / "m.tenfold")
    np.testing.assert_array_equal(again.run(None, {"x": x})[0], one.run(None, {"x": x})[0])
    assert again.get_modelmeta() == one.get_modelmeta()


def test_options(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("tenfold"), "propagate", True)
    options = ours.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.graph_optimization_level = ours.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_free_dimension_override_by_name("n", 2)
    assert options.ignored == ("enable_cpu_mem_arena", "graph_optimization_level", "session.intra_op.allow_spinning")
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    for name in ("intra_op_threads", "enable_cpu_mem_arenas"):
        with pytest.raises(AttributeError):
            setattr(options, name, 1)
        with pytest.raises(AttributeError):
            getattr(options, name)
    with pytest.raises(TypeError):
        options.intra_op_num_threads = "one"
    with caplog.at_level(logging.INFO, "tenfold"):
        one = session(ours, models.perceptron(), options)
    assert "enable_cpu_mem_arena" in caplog.text
    assert one.get_inputs()[0].shape == [2, 8]
    assert one.engine.frames(None).threads == 1
    assert one.get_session_options() is options


def test_effort_of_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ours.SessionOptions()
    assert options.effort == 0
    monkeypatch.setenv("TENFOLD_EFFORT", "2")
    assert options.effort == 2
    options.add_session_config_entry("tenfold.effort", "1")
    assert options.effort == 1 and options.ignored == ()
    with pytest.raises(ours.failures.InvalidArgument, match=r"tenfold\.effort"):
        options.add_session_config_entry("tenfold.effort", "4")


def test_providers() -> None:
    made = models.perceptron().SerializeToString()
    one = ours.InferenceSession(made, providers=[("CPUExecutionProvider", {"arena": "1"})])
    assert one.get_providers() == ["CPUExecutionProvider"]
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"):
        ours.InferenceSession(made, providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
    assert ours.get_available_providers() == ["CPUExecutionProvider"] and ours.get_device() == theirs.get_device()


def test_terminate(both: tuple[Any, Any], x: np.ndarray) -> None:
    for one, module in zip(both, (ours, theirs), strict=True):
        options = module.RunOptions()
        options.terminate = True
        with pytest.raises(Exception, match="terminate flag") as caught:
            one.run(None, {"x": x}, options)
        assert caught.type.__name__ == "Fail"
        options.terminate = False
        assert one.run(None, {"x": x}, options)[0].shape == (3, 4)


def test_terminate_ends_a_running_call() -> None:
    endless = session(ours, models.endless())
    options = ours.RunOptions()
    timer = threading.Timer(0.1, lambda: setattr(options, "terminate", True))
    timer.start()
    with pytest.raises(ours.failures.Fail):
        endless.run(None, {"turns": np.array(2**40, np.int64), "x": np.zeros(4, np.float32)}, options)
    timer.join()


def test_run_async(both: tuple[Any, Any], x: np.ndarray) -> None:
    for one in both:
        done = threading.Event()
        got: list[Any] = []

        def callback(results: Any, data: Any, error: str, got: list[Any] = got, done: threading.Event = done) -> None:
            got[:] = [results, data, error]
            done.set()

        one.run_async(["y"], {"x": x}, callback, "mine")
        assert done.wait(10)
        assert got[0][0].shape == (3, 4) and got[1] == "mine" and not got[2]


@pytest.mark.parametrize("given", ["no function", 5, None])
def test_what_cannot_be_called_back_is_told(both: tuple[Any, Any], x: np.ndarray, given: Any) -> None:
    with pytest.raises(TypeError, match="callback"):
        both[0].run_async(["y"], {"x": x}, given, None)


def test_what_a_callback_raises_is_told(both: tuple[Any, Any], x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    done = threading.Event()

    def tell(given: Any) -> None:
        told.append(given.exc_type)
        done.set()

    monkeypatch.setattr(threading, "excepthook", tell)
    both[0].run_async(["y"], {"x": x}, lambda: None, None)
    assert done.wait(10)
    assert told == [TypeError]


def test_io_binding(both: tuple[Any, Any], x: np.ndarray) -> None:
    for one, module in zip(both, (ours, theirs), strict=True):
        binding = one.io_binding()
        binding.bind_cpu_input("x", x)
        binding.bind_output("y")
        one.run_with_iobinding(binding)
        wanted = one.run(None, {"x": x})[0]
        np.testing.assert_array_equal(binding.copy_outputs_to_cpu()[0], wanted)
        into = module.OrtValue.ortvalue_from_shape_and_type((3, 4), np.float32)
        binding.bind_ortvalue_output("y", into)
        binding.bind_ortvalue_input("x", module.OrtValue.ortvalue_from_numpy(x))
        one.run_with_iobinding(binding)
        np.testing.assert_array_equal(into.numpy(), wanted)
        buffer = np.zeros((3, 4), np.float32)
        binding.bind_output("y", "cpu", 0, np.float32, (3, 4), buffer.ctypes.data)
        binding.bind_input("x", "cpu", 0, np.float32, x.shape, x.ctypes.data)
        one.run_with_iobinding(binding)
        np.testing.assert_array_equal(buffer, wanted)
        assert [value.shape() for value in binding.get_outputs()] == [[3, 4]]
        binding.clear_binding_inputs()
        binding.clear_binding_outputs()


def test_an_input_is_bound_as_it_lies(both: tuple[Any, Any], x: np.ndarray) -> None:
    for one in both:
        binding = one.io_binding()
        binding.bind_cpu_input("x", np.asfortranarray(x))
        binding.bind_output("y")
        one.run_with_iobinding(binding)
        np.testing.assert_array_equal(binding.copy_outputs_to_cpu()[0], one.run(None, {"x": x})[0])


def test_bindings_that_cannot_run_raise_what_theirs_raise(both: tuple[Any, Any], x: np.ndarray) -> None:
    for one, module in zip(both, (ours, theirs), strict=True):
        binding = one.io_binding()
        binding.bind_cpu_input("x", x)
        with pytest.raises(RuntimeError, match="At least one output"):
            one.run_with_iobinding(binding)
        binding.bind_output("y")
        with pytest.raises(ValueError, match="session that created it"):
            session(module, models.perceptron()).run_with_iobinding(binding)


def test_memory_that_is_none_is_refused(both: tuple[Any, Any]) -> None:
    binding = both[0].io_binding()
    for dtype, shape, address in [(np.float32, (3, 8), 0), (99, (3, 8), 64), (np.float32, (-3, 8), 64)]:
        with pytest.raises(ours.capi.onnxruntime_pybind11_state.InvalidArgument):
            binding.bind_input("x", "cpu", 0, dtype, shape, address)


def test_options_of_another_kind_are_told(both: tuple[Any, Any], x: np.ndarray) -> None:
    with pytest.raises(TypeError, match="run_options is a dict"):
        both[0].run(None, {"x": x}, {"terminate": False})
    with pytest.raises(TypeError, match="sess_options is a dict"):
        session(ours, models.perceptron(), {})


def test_weights_that_are_inputs_may_be_given(x: np.ndarray) -> None:
    made = models.with_defaults()
    mine, other = session(ours, made), session(theirs, made)
    lists = [[(a.name, a.type, a.shape) for a in one.get_overridable_initializers()] for one in (mine, other)]
    assert lists[0] == lists[1] == [("w", "tensor(float)", [8, 16]), ("b", "tensor(float)", [16])]
    given: list[dict[str, np.ndarray]] = [{}, {"w": np.full((8, 16), 0.1, np.float32)}, {"b": np.ones(16, np.float32)}]
    for more in (*given, given[2], {}):
        found, wanted = (one.run(None, {"x": x, **more})[0] for one in (mine, other))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    with pytest.raises(tenfold.InputError, match=r"refit\(\{'w'"):
        mine.engine.run({"x": x, **given[1]})
    inside = tenfold.build(made, shapes={"w": (8, 16)}, effort=0)
    assert [one.name for one in inside.inputs] == ["x", "w"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8, np.bool_, np.float16])
def test_ort_values(dtype: type, x: np.ndarray) -> None:
    array = (x > 0).astype(dtype)
    mine, other = (module.OrtValue.ortvalue_from_numpy(array.copy()) for module in (ours, theirs))
    asked = ("shape", "data_type", "element_type", "device_name", "has_value", "is_tensor")
    for ask in (*asked, "is_sparse_tensor", "is_tensor_sequence", "tensor_size_in_bytes"):
        assert getattr(mine, ask)() == getattr(other, ask)()
    mine.update_inplace(np.ones_like(array))
    np.testing.assert_array_equal(mine.numpy(), np.ones_like(array))
    assert mine.data_ptr() == mine.numpy().ctypes.data
    np.testing.assert_array_equal(ours.OrtValue.from_dlpack(mine.numpy()).numpy(), mine.numpy())


def test_run_with_ort_values(x: np.ndarray, both: tuple[Any, Any]) -> None:
    mine = both[0].run_with_ort_values(["y"], {"x": ours.OrtValue.ortvalue_from_numpy(x)})
    np.testing.assert_array_equal(mine[0].numpy(), both[0].run(None, {"x": x})[0])


def test_profiling(tmp_path: Path, x: np.ndarray) -> None:
    options = ours.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "trace")
    one = session(ours, models.perceptron(), options)
    wanted = session(ours, models.perceptron()).run(None, {"x": x})[0]
    np.testing.assert_array_equal(one.run(None, {"x": x})[0], wanted)
    events = json.loads(Path(one.end_profiling()).read_text())
    assert any("first" in event["name"] for event in events)
    assert abs(one.get_profiling_start_time_ns() - time.time_ns()) < 60e9


@pytest.fixture
def installed() -> Iterator[None]:
    ours.install()
    yield
    ours.uninstall()


def test_install(installed: None) -> None:
    found = importlib.import_module("onnxruntime")
    assert found is ours and found.capi is sys.modules["onnxruntime.capi"]
    native = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    assert native.InvalidArgument is ours.failures.InvalidArgument
    assert importlib.import_module("onnxruntime.capi._pybind_state") is native
    ours.install()
    ours.uninstall()
    assert importlib.import_module("onnxruntime") is theirs
    assert importlib.import_module("onnxruntime.capi").__file__


def test_install_for_a_program_that_cannot_be_edited(tmp_path: Path) -> None:
    model = models.saved(models.perceptron(), tmp_path)
    program = f"""
import tenfold.onnxruntime
tenfold.onnxruntime.install()
import numpy
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
from onnxruntime import SessionOptions, InferenceSession
one = InferenceSession({str(model)!r}, SessionOptions(), providers=ort.get_available_providers())
try:
    one.run(None, {{"x": numpy.zeros((2, 8))}})
except InvalidArgument as error:
    print(type(one).__module__, one.run(None, {{"x": numpy.zeros((2, 8), numpy.float32)}})[0].shape)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.split(maxsplit=1) == ["tenfold.onnxruntime.session", "(2, 4)\n"]


OBJECTS = """<ir_version: 10, opset_import: ["" : 20]>
objects (seq(float[K]) rows, string[N] words, float[N] x) => (float[M] one, string[N] twice, int64[1, P] places) {
    at = Constant <value_int = 1> ()
    one = SequenceAt (rows, at)
    twice = StringConcat (words, words)
    places = NonZero (x)
}"""


def test_strings_and_sequences() -> None:
    model = parse_model(OBJECTS).SerializeToString()
    mine, other = ours.InferenceSession(model), theirs.InferenceSession(model)
    assert [one.type for one in mine.get_inputs()] == [one.type for one in other.get_inputs()]
    assert [one.type for one in mine.get_outputs()] == [one.type for one in other.get_outputs()]
    rows = [np.ones(2, np.float32), np.arange(3, dtype=np.float32)]
    feed = {"rows": rows, "words": np.array(["a", "bc"]), "x": np.array([0, 2], np.float32)}
    for found, expected in zip(mine.run(None, feed), other.run(None, feed), strict=True):
        assert found.shape == expected.shape and found.tolist() == expected.tolist()
    with pytest.raises(ours.capi.onnxruntime_pybind11_state.InvalidArgument):
        mine.run(None, feed | {"rows": np.ones(2, np.float32)})


def test_a_callback_is_told_what_the_log_says() -> None:
    log, told = logging.getLogger("tenfold"), []
    before = log.level
    try:
        ours.set_default_logger_callback(lambda *said: told.append(said), 1)
        log.info("one %d", 1)
        log.debug("two")
        ours.set_default_logger_callback(None)
        log.error("three")
        assert [(severity, category, message) for severity, category, _, _, message in told] == [
            (1, "tenfold", "one 1")
        ]
        assert "test_onnxruntime.py" in told[0][3]
        for module in (ours, theirs):
            with pytest.raises(RuntimeError, match="callable"):
                module.set_default_logger_callback(3)
    finally:
        log.setLevel(before)
