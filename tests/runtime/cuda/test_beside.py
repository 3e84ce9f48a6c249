"""Engines on a GPU and the CPU beside it, the GPU emulated: right answers, few transfers, memory given back."""

from __future__ import annotations

import gc
import io
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import parser
from rich.console import Console

import tenfold
from tenfold.diagnose import report, tables
from tenfold.errors import TargetError
from tenfold.target import machine_gpu
from tests.conformance.run import by_name, disagreement
from tests.runtime.cuda.emulated import FakeDriver, compiled, gpu

from tenfold.codegen.cuda import pool, strategies  # isort: skip
from tenfold.runtime.cuda import shared  # isort: skip

RNG = np.random.default_rng(3)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    driver: FakeDriver = gpu(monkeypatch)
    return driver


@pytest.fixture
def no_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that has no kernel for running sums."""
    kept = tuple(one for one in strategies.STRATEGIES if one.name != "scan")
    monkeypatch.setattr(strategies, "STRATEGIES", kept)


def model(text: str) -> Any:
    return parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def held(text: str, *calls: dict[str, Any], target: str = "cuda:sm_90") -> tenfold.Engine:
    """Each call gives what ONNX Runtime gives, several times."""
    engine = tenfold.build(model(text), target=target, cache=False, effort=0)
    session = onnxruntime.InferenceSession(model(text).SerializeToString(), providers=["CPUExecutionProvider"])
    with engine.context() as context:
        for feeds in (*calls, *calls):
            for (name, found), wanted in zip(context.run(feeds).items(), session.run(None, feeds), strict=True):
                np.testing.assert_allclose(found, wanted, 1e-4, 1e-5, err_msg=name)
    return engine


def places(engine: tenfold.Engine) -> list[str]:
    return [region["place"] for region in engine.report["regions"]]


MIDDLE = """middle (float[N, 12] x, float[12, 12] w) => (float[N, 12] y) {
    one = Constant<value_int = 1> ()
    a = MatMul(x, w)
    s = CumSum(a, one)
    y = Relu(s)
}"""


def test_a_step_of_the_cpu_between_two_of_the_gpu(driver: FakeDriver, no_scans: None) -> None:
    text = """middle (float[N, 12] x, float[12, 12] w) => (float[N, 12] y) {
        one = Constant<value_int = 1> ()
        a = MatMul(x, w)
        s = CumSum(a, one)
        y = MatMul(s, w)
    }"""
    w = floats(12, 12)
    engine = held(text, {"x": floats(3, 12), "w": w}, {"x": floats(7, 12), "w": w})
    assert places(engine).count("cpu") == 1 and places(engine).count("cuda") >= 2
    moved = [(one["value"], one["to"]) for one in engine.report["transfers"]]
    assert [to for _, to in moved] == ["cuda", "cuda", "cpu", "cuda", "cpu"], moved
    shown = Console(width=200, file=io.StringIO(), record=True)
    shown.print(*tables.inspection(report.describe(engine.file)))
    text = shown.export_text()
    assert "5 transfers" in text and "kernel on cpu" in text


def test_what_orders_sums_and_places_stays_on_the_gpu(driver: FakeDriver) -> None:
    text = """families (float[3, 9] x, int64[4, 1] at, float[4, 9] rows) => (float[3, 2] y, int64[3, 2] where) {
        one = Constant<value_int = 1> ()
        two = Constant<value_ints = [2]> ()
        s = CumSum(x, one)
        t = ScatterND<reduction = "add">(s, at, rows)
        u = Relu(t)
        y, where = TopK<axis = 1>(u, two)
    }"""
    at = np.array([[2], [0], [-1], [2]], np.int64)
    engine = held(text, {"x": floats(3, 9), "at": at, "rows": floats(4, 9)})
    assert set(places(engine)) == {"cuda"}


def test_sizes_that_data_decide(driver: FakeDriver) -> None:
    text = """decided (float[N, 4] x, float[4, 6] w) => (float[M, K] y) {
        a = MatMul(x, w)
        zero = Constant<value_float = 0.0> ()
        flag = Greater(a, zero)
        flat = Constant<value_ints = [-1]> ()
        f = Reshape(flag, flat)
        v = Reshape(a, flat)
        kept = Compress<axis = 0>(v, f)
        minus = Neg(kept)
        n = Constant<value_ints = [1, -1]> ()
        y = Reshape(minus, n)
    }"""
    w = floats(4, 6)
    held(text, {"x": floats(3, 4), "w": w}, {"x": floats(5, 4), "w": w})


SCAN = """scanned (float[8] start, float[T, 8] x) => (float[8] last, float[T, 8] all) {
    last, all = Scan<num_scan_inputs = 1, body = turn (float[8] h, float[8] e) => (float[8] h2, float[8] o) {
        s = Add(h, e)
        h2 = Tanh(s)
        o = Neg(h2)
    }>(start, x)
}"""


def test_a_loop_is_unrolled(driver: FakeDriver) -> None:
    text = SCAN.replace("[T,", "[5,")
    engine = held(text, {"start": floats(8), "x": floats(5, 8)}, {"start": floats(8), "x": floats(5, 8)})
    assert set(places(engine)) == {"cuda"}


def test_a_loop_of_any_length_runs_on_the_cpu(driver: FakeDriver) -> None:
    engine = held(SCAN, {"start": floats(8), "x": floats(5, 8)}, {"start": floats(8), "x": floats(2, 8)})
    assert "cpu" in places(engine)


def test_a_branch_that_data_decide(driver: FakeDriver) -> None:
    text = """chosen (float[4, 4] x) => (float[4, 4] y) {
        s = ReduceSum<keepdims = 0>(x)
        zero = Constant<value_float = 0.0> ()
        c = Greater(s, zero)
        y = If(c) <then_branch = a () => (float[4, 4] p) { p = Exp(x) },
                   else_branch = b () => (float[4, 4] q) { q = Neg(x) }>
    }"""
    held(text, {"x": np.abs(floats(4, 4))}, {"x": -np.abs(floats(4, 4))})


def test_contexts_give_everything_back(driver: FakeDriver, no_scans: None) -> None:
    engine = tenfold.build(model(MIDDLE), target="cuda:sm_90", cache=False, effort=0)
    gc.collect()
    before = driver.live
    context = engine.context()
    assert isinstance(context, shared.SharedContext)
    weights = driver.live
    for n in (2, 9, 4):
        context.run({"x": floats(n, 12), "w": floats(12, 12)})
    assert driver.live > weights
    context.close()
    assert driver.live <= weights
    engine.resident.close()
    assert driver.live == before


def test_only_what_the_gpu_reads_is_uploaded(driver: FakeDriver, no_scans: None) -> None:
    text = """weights (float[N, 8] x) => (float[N, 8] y) {
        w = Constant<value = float[8] {1, 2, 3, 4, 5, 6, 7, 8}> ()
        a = Mul(x, w)
        one = Constant<value_int = 1> ()
        y = CumSum(a, one)
    }"""
    engine = held(text, {"x": floats(3, 8)})
    assert sum(end - begin for begin, end in engine.entry["uploaded"]) <= engine.weights.nbytes


@pytest.mark.skipif(machine_gpu() is not None, reason="this machine has a GPU")
def test_a_machine_without_a_gpu_refuses_readably(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool.GpuPool, "compile", lambda self, programs, tell=None: compiled(programs))
    with pytest.raises(TargetError, match="no such target"):
        tenfold.build(model(SCAN), target="cpu/cuda", cache=False, effort=0)
    engine = tenfold.build(model(SCAN), target="cuda:sm_90/cpu:x86-64-v3", cache=False, effort=0)
    with pytest.raises(TargetError, match="needs an NVIDIA GPU"):
        engine.context()


def test_a_small_model_runs_on_the_cpu_that_is_named(driver: FakeDriver) -> None:
    text = """small (float[1, 16] x, float[16, 16] w) => (float[1, 16] y) { a = MatMul(x, w) y = Relu(a) }"""
    feeds = {"x": floats(1, 16), "w": floats(16, 16)}
    assert set(places(held(text, feeds))) == {"cuda"}
    engine = held(text, feeds, target="cuda:sm_90/cpu:x86-64-v3")
    assert set(places(engine)) == {"cpu"} and engine.target == "cuda:sm_90" and not engine.report["transfers"]
    engine.resident.close()
    large = text.replace("[1, 16]", "[2048, 1024]").replace("[16, 16]", "[1024, 1024]")
    there = tenfold.build(model(large), target="cuda:sm_90/cpu:x86-64-v3", cache=False, effort=0)
    assert set(places(there)) == {"cuda"}


@pytest.mark.parametrize(
    "name",
    [
        "test_top_k_negative_axis",
        "test_gru_reverse",
        "test_nonmaxsuppression_two_batches",
        "test_string_concat",
        "test_if_opt",
        "test_col2im",
    ],
)
def test_what_the_gpu_has_no_kernel_for(driver: FakeDriver, name: str) -> None:
    case = by_name()[name]
    engine = tenfold.build(case.model(), target="cuda:sm_90", cache=False, effort=0)
    assert disagreement(case, engine) is None
