"""Engine and Context as section "the face" promises them."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper

import tenfold
from tenfold.runtime.engine import Engine
from tests.face import models


@pytest.fixture(scope="module")
def perceptron() -> Engine:
    return tenfold.build(models.perceptron(), cache=False)


@pytest.fixture(scope="module")
def pair() -> Engine:
    return tenfold.build(models.two_inputs(), cache=False)


@pytest.fixture(scope="module")
def endless() -> Engine:
    return tenfold.build(models.endless(), cache=False)


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((3, 8)).astype(np.float32)


FOREVER = {"turns": np.array(2**40, np.int64), "x": np.zeros(4, np.float32)}


def test_what_it_takes_and_gives(perceptron: Engine) -> None:
    assert [(s.name, s.dtype.name, s.shape) for s in perceptron.inputs] == [("x", "f32", ("n", 8))]
    assert [(s.name, s.dtype.name, s.shape) for s in perceptron.outputs] == [("y", "f32", ("n", 4))]


def test_one_output_is_an_array_and_several_a_tuple(perceptron: Engine, pair: Engine, x: np.ndarray) -> None:
    assert perceptron(x).shape == (3, 4)
    total, product = pair(x, x)
    np.testing.assert_array_equal(total, x + x)
    np.testing.assert_array_equal(product, x * x)


def test_run_gives_a_dict_in_the_models_order(pair: Engine, x: np.ndarray) -> None:
    assert list(pair.run({"b": x, "a": x})) == ["sum", "product"]
    assert list(pair.run([x, x])) == ["sum", "product"]


def test_inputs_by_position_and_by_name(pair: Engine, x: np.ndarray) -> None:
    np.testing.assert_array_equal(pair(x, b=2 * x)[0], 3 * x)
    for arguments, names in (((x, x, x), {}), ((x,), {}), ((x, x), {"b": x}), ((x,), {"c": x}), ((x, x, x), {"b": x})):
        with pytest.raises(tenfold.InputError):
            pair(*arguments, **names)


def test_results_are_fresh(perceptron: Engine, x: np.ndarray) -> None:
    results = [perceptron(x) for _ in range(6)]
    assert len({result.ctypes.data for result in results}) == 6
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, ml_dtypes.bfloat16])
def test_a_wrong_dtype_is_never_cast(perceptron: Engine, dtype: type) -> None:
    with pytest.raises(tenfold.InputError, match="the model takes x: f32") as caught:
        perceptron(np.zeros((3, 8), dtype))
    assert caught.value.argument == "x" and caught.value.remedy
    with pytest.raises(tenfold.InputError):
        perceptron([np.zeros((3, 8), dtype)][0])


@pytest.mark.parametrize("shape", [(3, 7), (8,), (1, 3, 8), ()])
def test_a_wrong_shape_is_refused(perceptron: Engine, shape: tuple[int, ...]) -> None:
    with pytest.raises(tenfold.InputError) as caught:
        perceptron(np.zeros(shape, np.float32))
    assert caught.value.argument == "x"


def test_numbers_and_lists_take_the_declared_dtype_if_exact(perceptron: Engine) -> None:
    ones = perceptron(np.ones((1, 8), np.float32))
    np.testing.assert_array_equal(perceptron([[1] * 8]), ones)
    np.testing.assert_array_equal(perceptron([[1.0] * 8]), ones)
    for bad in ([[0.1] * 8], [[2**24 + 1] * 8], [["a"] * 8], [[1] * 8, [1]], [[None] * 8]):
        with pytest.raises(tenfold.InputError):
            perceptron(bad)


@pytest.mark.parametrize("inputs", [None, np.zeros((1, 1, 8), np.float32), {"x"}, 3])
def test_what_is_neither_a_dict_nor_a_list_is_refused(perceptron: Engine, inputs: object) -> None:
    for _ in range(3):
        with pytest.raises(tenfold.InputError, match=f"the inputs are a {type(inputs).__name__}"):
            perceptron.run(inputs)
        perceptron.run([np.ones((1, 8), np.float32)])


def test_strange_layouts_are_copied(perceptron: Engine, x: np.ndarray) -> None:
    wanted = perceptron(x)
    misaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    misaligned[...] = x
    wide = np.zeros((3, 16), np.float32)
    wide[:, ::2] = x
    for strange in (x.astype(">f4"), np.asfortranarray(x), misaligned, wide[:, ::2], x.view(np.matrix)):
        for _ in range(4):
            np.testing.assert_array_equal(perceptron(strange), wanted)


class Foreign:
    """An array of a library that speaks DLPack and nothing else."""

    def __init__(self, array: np.ndarray, device: int = 1) -> None:
        self.array, self.device = array, device

    def __dlpack__(self, **options: object) -> object:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (self.device, 0)


def test_dlpack(perceptron: Engine, x: np.ndarray) -> None:
    np.testing.assert_array_equal(perceptron(Foreign(x)), perceptron(x))
    with pytest.raises(tenfold.InputError, match="another device"):
        perceptron(Foreign(x, device=2))


def from_dlpack(array: np.ndarray) -> Foreign:
    return Foreign(array)


def test_results_are_of_the_first_inputs_kind(pair: Engine, x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Foreign, "__module__", __name__)
    monkeypatch.setitem(__import__("sys").modules, __name__.partition(".")[0], __import__("sys").modules[__name__])
    total, _ = pair(Foreign(x), x)
    assert isinstance(total, Foreign)
    np.testing.assert_array_equal(total.array, 2 * x)
    assert isinstance(pair(x, Foreign(x))[0], np.ndarray)


def test_memory(perceptron: Engine) -> None:
    small, large = (perceptron.memory({"x": (n, 8)}) for n in (1, 4096))
    assert small["weights"] == large["weights"] > 0
    assert 0 < small["arena"] <= large["arena"] <= large["buffers"] + 4096
    with pytest.raises(tenfold.InputError):
        perceptron.memory({})
    with pytest.raises(tenfold.InputError, match="no input 'z'"):
        perceptron.memory({"x": (1, 8), "z": (1,)})


def test_threads_are_checked(perceptron: Engine, tmp_path: Path) -> None:
    perceptron.save(tmp_path / "one.tenfold")
    for make in (lambda: perceptron.context(threads=0), lambda: tenfold.load(tmp_path / "one.tenfold", threads=-1)):
        with pytest.raises(tenfold.OptionError):
            make()


def test_load_verifies(perceptron: Engine, x: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "one.tenfold"
    perceptron.save(path)
    for verify in ("default", "sha256"):
        np.testing.assert_array_equal(tenfold.load(path, verify=verify)(x), perceptron(x))
    with pytest.raises(tenfold.OptionError):
        tenfold.load(path, verify="never")


def test_every_flipped_section_is_found(perceptron: Engine, tmp_path: Path) -> None:
    path = tmp_path / "one.tenfold"
    perceptron.save(path)
    whole = path.read_bytes()
    for name, section in perceptron.manifest["sections"].items():
        if not section["size"]:
            continue
        bad = bytearray(whole)
        bad[section["offset"] + section["size"] // 2] ^= 1
        path.write_bytes(bad)
        with pytest.raises(tenfold.EngineError, match=name):
            tenfold.load(path)
    path.write_bytes(whole[:-100])
    with pytest.raises(tenfold.EngineError):
        tenfold.load(path)


def test_bound_outputs_are_written_in_place(perceptron: Engine, x: np.ndarray) -> None:
    wanted = perceptron(x)
    buffer = np.full((5, 4), 7, np.float32)
    with perceptron.context() as context:
        context.bind(inputs={"x": x}, outputs={"y": buffer})
        for _ in range(4):
            result = context.run()["y"]
            assert result.ctypes.data == buffer.ctypes.data and result.shape == (3, 4)
            np.testing.assert_array_equal(result, wanted)
        assert (buffer.reshape(-1)[12:] == 7).all()
        x *= 2
        np.testing.assert_array_equal(context.run()["y"], perceptron(x))
        np.testing.assert_array_equal(context.run({"x": x[:1]})["y"], perceptron(x[:1]))
        context.unbind("y")
        assert context.run()["y"].ctypes.data != buffer.ctypes.data
        context.unbind()
        with pytest.raises(tenfold.InputError, match="missing"):
            context.run()


def test_bound_calls_take_the_native_way(perceptron: Engine, x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    with perceptron.context() as context:
        context.bind(inputs={"x": x}, outputs={"y": np.zeros((3, 4), np.float32)})
        for _ in range(3):
            context.run()
        monkeypatch.setattr(context, "_run", None)
        context.run()
        context.run({"x": x})


@pytest.mark.parametrize(
    "bound",
    [
        {"inputs": {"z": np.zeros(3, np.float32)}},
        {"outputs": {"z": np.zeros(3, np.float32)}},
        {"inputs": {"x": np.zeros((3, 8))}},
        {"inputs": {"x": np.zeros((8, 3), np.float32).T}},
        {"outputs": {"y": np.zeros((3, 4))}},
        {"outputs": {"y": np.zeros((4, 3), np.float32).T}},
        {"outputs": {"y": np.broadcast_to(np.float32(0), (3, 4))}},
    ],
)
def test_what_cannot_be_bound(perceptron: Engine, bound: dict[str, dict[str, np.ndarray]]) -> None:
    with perceptron.context() as context, pytest.raises(tenfold.InputError):
        context.bind(**bound)


def test_too_small_an_output(perceptron: Engine, x: np.ndarray) -> None:
    with perceptron.context() as context:
        context.bind(outputs={"y": np.zeros((2, 4), np.float32)})
        with pytest.raises(tenfold.InputError, match="larger"):
            context.run([x])


def test_many_threads_call_one_engine(perceptron: Engine) -> None:
    wrong = []

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(30):
            x = random.standard_normal((int(random.integers(1, 5)), 8)).astype(np.float32)
            if not np.array_equal(perceptron(x), reference[seed % 1](x)):
                wrong.append(seed)

    alone = perceptron.context(threads=1)
    lock = threading.Lock()

    def serial(x: np.ndarray) -> np.ndarray:
        with lock:
            return alone.run([x])["y"]

    reference = [serial]
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    alone.close()


def test_a_context_may_be_closed_by_a_callback(perceptron: Engine, x: np.ndarray) -> None:
    context, ended = perceptron.context(), threading.Event()
    told: list[BaseException] = []

    def close(_: object) -> None:
        try:
            context.close()
        except BaseException as error:
            told.append(error)
        ended.set()

    context.submit({"x": x}).add_done_callback(close)
    assert ended.wait(10) and not told
    with pytest.raises(tenfold.EngineError, match="the context is closed"):
        context.submit({"x": x})


def test_ctrl_c_in_a_block_waits_for_no_call(endless: Engine) -> None:
    with pytest.raises(KeyboardInterrupt), endless.context() as context:
        future = context.submit(FOREVER)
        raise KeyboardInterrupt
    with pytest.raises(tenfold.Cancelled):
        future.result(10)


def test_submitted_calls_run_in_order(perceptron: Engine, x: np.ndarray) -> None:
    buffer = np.zeros((3, 4), np.float32)
    with perceptron.context() as context:
        futures = [context.submit({"x": x * n}) for n in range(8)]
        for n, future in enumerate(futures):
            np.testing.assert_array_equal(future.result()["y"], perceptron(x * np.float32(n)))
        context.bind(outputs={"y": buffer})
        for n in range(8):
            context.submit({"x": x * n})
        context.submit({"x": x}).result()
    np.testing.assert_array_equal(buffer, perceptron(x))


def test_run_async(perceptron: Engine, x: np.ndarray) -> None:
    async def both() -> list[dict[str, np.ndarray]]:
        with perceptron.context() as context:
            return await asyncio.gather(context.run_async([x]), context.run_async([2 * x]))

    one, two = asyncio.run(both())
    np.testing.assert_array_equal(one["y"], perceptron(x))
    np.testing.assert_array_equal(two["y"], perceptron(2 * x))


def test_a_bad_call_fails_in_its_future(perceptron: Engine) -> None:
    with perceptron.context() as context, pytest.raises(tenfold.InputError):
        context.submit({"x": np.zeros(3)}).result()


def test_cancel_ends_running_and_queued_calls(endless: Engine) -> None:
    with endless.context() as context:
        futures = [context.submit(FOREVER) for _ in range(3)]
        while not futures[0].running():
            time.sleep(0.001)
        time.sleep(0.05)
        context.cancel()
        for future in futures:
            with pytest.raises(tenfold.Cancelled):
                future.result(10)
        np.testing.assert_array_equal(
            context.run([np.array(3, np.int64), np.zeros(4, np.float32)])["y"], np.full(4, 3.0)
        )


def test_cancelling_an_awaiting_task_ends_its_call_alone(endless: Engine) -> None:
    async def work() -> dict[str, np.ndarray]:
        with endless.context() as context:
            stuck = asyncio.create_task(context.run_async(FOREVER))
            await asyncio.sleep(0.05)
            after = asyncio.create_task(context.run_async([np.array(2, np.int64), np.zeros(4, np.float32)]))
            await asyncio.sleep(0.01)
            stuck.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stuck
            return await asyncio.wait_for(after, 10)

    np.testing.assert_array_equal(asyncio.run(work())["y"], np.full(4, 2.0))


def test_cancel_before_a_call_changes_nothing(perceptron: Engine, x: np.ndarray) -> None:
    with perceptron.context() as context:
        context.cancel()
        assert context.run([x])["y"].shape == (3, 4)


def test_a_closed_context_refuses(perceptron: Engine, x: np.ndarray) -> None:
    context = perceptron.context()
    for _ in range(4):
        context.run([x])
    context.close()
    context.close()
    with pytest.raises(tenfold.EngineError, match="closed"):
        context.run([x])


def test_a_profile_names_operators(perceptron: Engine, x: np.ndarray) -> None:
    with perceptron.context() as context:
        profile = context.profile([x])
    np.testing.assert_array_equal(profile.outputs["y"], perceptron(x))
    assert {name for total in profile.operators() for name in total.source} >= {"first", "relu", "second"}
    assert abs(sum(total.share for total in profile.operators()) - 1) < 1e-9
    events = profile.chrome_trace()["traceEvents"]
    assert len(events) == len(profile.steps) > 0 and events[0]["ts"] == 0
    assert all(event["ph"] == "X" and event["dur"] >= 0 for event in events)


def test_memory_limit(tmp_path: Path) -> None:
    with pytest.raises(tenfold.LimitError):
        tenfold.build(models.perceptron(), cache=False, memory_limit=100)
    engine = tenfold.build(models.perceptron(), cache=False, memory_limit=1 << 16)
    assert engine(np.zeros((1, 8), np.float32)).shape == (1, 4)
    with pytest.raises(tenfold.LimitError, match="memory"):
        engine(np.zeros((1 << 14, 8), np.float32))


def test_integer_and_scalar_inputs() -> None:
    info = helper.make_tensor_value_info
    node = helper.make_node("Mul", ["a", "b"], ["c"], name="times")
    ends = [info("a", TensorProto.INT64, []), info("b", TensorProto.INT64, ["n"])]
    engine = tenfold.build(models.model([node], ends, [info("c", TensorProto.INT64, ["n"])], {}), cache=False)
    for _ in range(3):
        np.testing.assert_array_equal(engine(3, [1, 2]), [3, 6])
        np.testing.assert_array_equal(engine(np.int64(3), np.array([1, 2])), [3, 6])
    for bad in (3.5, np.int32(3), "3"):
        with pytest.raises(tenfold.InputError):
            engine(bad, [1, 2])
