"""Loops and scans in native steps: right, in one span, at any size, and stopped at will."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, parser

from tenfold import build
from tenfold.errors import Cancelled, InputError
from tenfold.importers.onnx import import_onnx
from tenfold.ir.interpret import Interpreter

Arrays = dict[str, Any]


def model(text: str) -> ModelProto:
    """A model of operator set 18 whose graph `text` states in ONNX's textual form."""
    made = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')
    return made


def engine_of(text: str) -> Any:
    """An engine that ends in one native span."""
    engine = build(model(text), cache=False)
    assert engine.report["host_steps"] == 0, engine.report["regions"]
    assert engine.report["native_spans"] == 1
    return engine


def check(text: str, *calls: Arrays, native: bool = True, relative: float = 1e-5) -> None:
    """Each call's results agree with the interpreter's and with ONNX Runtime's."""
    engine = engine_of(text) if native else build(model(text), cache=False)
    session = onnxruntime.InferenceSession(model(text).SerializeToString(), providers=["CPUExecutionProvider"])
    graph = import_onnx(model(text))
    context = engine.context()
    for feeds in calls:
        for _ in range(3):
            found = context.run(feeds)
            for name, theirs in zip(found, session.run(None, feeds), strict=True):
                if theirs.size or found[name].size:  # ONNX Runtime gives other sizes to what no turn made
                    np.testing.assert_allclose(found[name], theirs, relative, relative / 10, err_msg=name)
        for name, theirs in Interpreter().run(graph, feeds).items():
            np.testing.assert_allclose(found[name], theirs, relative, relative / 10, err_msg=name)


def floats(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


SUM = """sum (int64 n, float[N] x) => (float[N] last) {
    yes = Constant <value = bool {1}> ()
    last = Loop (n, yes, x) <body = turn (int64 i, bool c, float[N] s) => (bool d, float[N] t) {
        d = Identity (c)
        t = Add (s, x)
    }>
}"""


def test_a_sum() -> None:
    check(SUM, *({"n": np.array(n), "x": floats(size)} for n in (0, 1, 7, -3) for size in (1, 5, 300)))


WHILE = """halving (float[N] x) => (float[N] last, int64 turns) {
    zero = Constant <value = int64 {0}> ()
    limit = Constant <value = float {1.0}> ()
    begun = Constant <value = bool {1}> ()
    endless = Constant <value = int64 {9223372036854775807}> ()
    last, turns = Loop (endless, begun, x, zero) <body = turn (int64 i, bool c, float[N] s, int64 k)
            => (bool d, float[N] t, int64 m) {
        half = Constant <value = float {0.5}> ()
        one = Constant <value = int64 {1}> ()
        t = Mul (s, half)
        m = Add (i, one)
        size = ReduceMax <keepdims = 0> (t)
        d = Greater (size, limit)
    }>
}"""


def test_a_loop_that_its_data_end() -> None:
    check(WHILE, *({"x": floats(size) * scale} for size in (1, 9, 100) for scale in (1, 1000)))


SCANS = """scans (int64 n, float[N] x) => (float[N] last, float[T, N] all, int64[T] turns, float[T, M] twice) {
    yes = Constant <value = bool {1}> ()
    last, all, turns, twice = Loop (n, yes, x) <body = turn (int64 i, bool c, float[N] s)
            => (bool d, float[N] t, float[N] row, int64 j, float[M] pair) {
        d = Identity (c)
        k = Cast <to = 1> (i)
        t = Add (s, k)
        row = Mul (t, x)
        j = Identity (i)
        pair = Concat <axis = 0> (t, s)
    }>
}"""


def test_scans_of_every_kind() -> None:
    check(SCANS, *({"n": np.array(n), "x": floats(size)} for n in (0, 1, 6) for size in (1, 5, 40)))


GATED = """gated (int64 n, bool go, float[N] x) => (float[N] last, float[T, N] all) {
    last, all = Loop (n, go, x) <body = turn (int64 i, bool c, float[N] s) => (bool d, float[N] t, float[N] row) {
        d = Identity (c)
        t = Add (s, x)
        row = Identity (s)
    }>
}"""


def test_a_loop_that_may_not_begin() -> None:
    check(
        GATED, *({"n": np.array(3), "go": np.array(go), "x": floats(size)} for go in (True, False) for size in (1, 9))
    )


FIBONACCI = """fibonacci (int64 n, float[N] x) => (
    float[N] a, float[N] b, float[N] c, float[T, N] all, float[T, N] again
) {
    yes = Constant <value = bool {1}> ()
    a, b, c, all, again = Loop (n, yes, x, x, x) <body = turn (int64 i, bool g, float[N] p, float[N] q, float[N] r)
            => (bool d, float[N] u, float[N] v, float[N] w, float[N] e, float[N] f) {
        d = Identity (g)
        u = Identity (q)
        v = Add (p, q)
        w = Identity (r)
        e = Identity (p)
        f = Identity (v)
    }>
}"""


def test_states_that_change_places() -> None:
    check(FIBONACCI, *({"n": np.array(n), "x": floats(size)} for n in (0, 1, 2, 9) for size in (1, 33)))


NUMBERS = ", ".join(str(round(float(one), 3)) for one in floats(64))

DECODE = """decode (int64 n, float[B, 8] x) => (float[B, 8] last, float[T, B, 8] all) {
    yes = Constant <value = bool {1}> ()
    w = Constant <value = float[8, 8] {WEIGHTS}> ()
    bias = Constant <value = float[8] {1, 2, 3, 4, 5, 6, 7, 8}> ()
    last, all = Loop (n, yes, x) <body = turn (int64 i, bool c, float[B, 8] s)
            => (bool d, float[B, 8] t, float[B, 8] row) {
        d = Identity (c)
        y = MatMul (s, w)
        z = Add (y, bias)
        t = Softmax <axis = -1> (z)
        row = Identity (t)
    }>
}""".replace("WEIGHTS", NUMBERS)


def test_a_product_and_a_softmax_each_turn() -> None:
    check(DECODE, *({"n": np.array(n), "x": floats(size, 8)} for n in (0, 1, 5) for size in (1, 7, 64)))


NESTED = """nested (int64 n, int64 m, float[N] x, bool flip) => (float[N] last) {
    yes = Constant <value = bool {1}> ()
    last = Loop (n, yes, x) <body = turn (int64 i, bool c, float[N] s) => (bool d, float[N] t) {
        d = Identity (c)
        inner = Loop (m, c, s) <body = within (int64 j, bool e, float[N] p) => (bool f, float[N] q) {
            f = Identity (e)
            k = Cast <to = 1> (i)
            l = Cast <to = 1> (j)
            z = Add (k, l)
            y = Add (p, z)
            q = If (flip) <
                then_branch = a () => (float[N] u) { u = Add (y, x) },
                else_branch = b () => (float[N] v) {
                    v = Loop (n, e, y) <body = third (int64 o, bool g, float[N] r) => (bool h, float[N] w) {
                        h = Identity (g)
                        w = Sub (r, s)
                    }>
                }
            >
        }>
        t = Mul (inner, x)
    }>
}"""


def test_loops_and_branches_inside_each_other() -> None:
    numbers = ((0, 3), (1, 1), (2, 3), (3, 0))
    check(
        NESTED,
        *(
            {"n": np.array(n), "m": np.array(m), "x": floats(size), "flip": np.array(flip)}
            for n, m in numbers
            for size in (1, 20)
            for flip in (True, False)
        ),
    )


INSIDE = """inside (bool which, int64 n, float[N] x) => (float[N] last) {
    yes = Constant <value = bool {1}> ()
    last = If (which) <
        then_branch = a () => (float[N] u) {
            u = Loop (n, yes, x) <body = turn (int64 i, bool c, float[N] s) => (bool d, float[N] t) {
                d = Identity (c)
                t = Add (s, x)
            }>
        },
        else_branch = b () => (float[N] v) { v = Neg (x) }
    >
}"""


def test_a_loop_in_a_branch() -> None:
    check(
        INSIDE, *({"which": np.array(w), "n": np.array(3), "x": floats(size)} for w in (True, False) for size in (1, 9))
    )


SCAN = """scan (float[B] h, float[T, B] xs, float[B, T] ys) => (float[B] last, float[T, B] all, float[B, T] back) {
    last, all, back = Scan <num_scan_inputs = 2, scan_input_axes = [0, 1], scan_input_directions = [0, 1],
                            scan_output_axes = [0, 1], scan_output_directions = [0, 1],
        body = element (float[B] s, float[B] x, float[B] y) => (float[B] t, float[B] a, float[B] b) {
            z = Mul (x, y)
            t = Add (s, z)
            a = Identity (t)
            b = Sub (s, x)
        }> (h, xs, ys)
}"""


def test_a_scan_along_any_axis_in_any_direction() -> None:
    sizes = ((1, 1), (4, 3), (17, 40))
    check(SCAN, *({"h": floats(b), "xs": floats(t, b), "ys": floats(b, t)} for b, t in sizes))


NESTED_SCAN = """scans (float[B] h, float[T, S, B] xs) => (float[B] last, float[T, B] rows, float[T, S, B] all) {
    last, rows, all = Scan <num_scan_inputs = 1,
        body = outer (float[B] s, float[S, B] x) => (float[B] t, float[B] row, float[S, B] block) {
            t, block = Scan <num_scan_inputs = 1,
                body = inner (float[B] p, float[B] y) => (float[B] q, float[B] r) {
                    q = Add (p, y)
                    r = Tanh (q)
                }> (s, x)
            row = Mul (t, s)
        }> (h, xs)
}"""


def test_a_scan_in_a_scan() -> None:
    sizes = ((1, 1, 1), (4, 3, 2), (17, 5, 6))
    check(NESTED_SCAN, *({"h": floats(b), "xs": floats(t, s, b)} for b, t, s in sizes))


def test_a_scan_of_sequences_of_unlike_lengths_is_refused() -> None:
    text = SCAN.replace("float[B, T] ys", "float[B, U] ys")
    context = build(model(text), cache=False).context()
    with pytest.raises(InputError, match="T 4 is not 5"):
        context.run({"h": floats(3), "xs": floats(4, 3), "ys": floats(3, 5)})


BRANCH = """branch (float[T] xs, bool[T] picks) => (float last, float[T] all) {
    zero = Constant <value = float {0.0}> ()
    last, all = Scan <num_scan_inputs = 2,
        body = element (float s, float x, bool pick) => (float t, float a) {
            a = If (pick) <
                then_branch = yes () => (float u) { u = Add (s, x) },
                else_branch = no () => (float v) { v = Neg (s) }
            >
            t = Identity (a)
        }> (zero, xs, picks)
}"""


def test_a_branch_that_an_element_decides() -> None:
    check(BRANCH, *({"xs": floats(size), "picks": floats(size) > 0} for size in (1, 8, 50)))


MISFIT = """misfit (int64 n, float[N] x, float[M] y) => (float[N] last) {
    yes = Constant <value = bool {1}> ()
    last = Loop (n, yes, x) <body = turn (int64 i, bool c, float[N] s) => (bool d, float[N] t) {
        d = Identity (c)
        z = Add (s, y)
        largest = ReduceMax <keepdims = 0> (z)
        t = Mul (s, largest)
    }>
}"""


def test_no_turn_fails_where_none_is_taken() -> None:
    context = engine_of(MISFIT).context()
    x = floats(3)
    np.testing.assert_array_equal(context.run({"n": np.array(0), "x": x, "y": floats(4)})["last"], x)
    check(MISFIT, {"n": np.array(2), "x": x, "y": floats(3)})
    with pytest.raises(InputError):
        context.run({"n": np.array(1), "x": x, "y": floats(4)})


COUNTING = """counting (int64 n, float[N] x) => (float[N] last) {
    yes = Constant <value = bool {1}> ()
    last = Loop (n, yes, x) <body = turn (int64 i, bool c, float[N] s) => (bool d, float[N] t) {
        d = Identity (c)
        places = NonZero (s)
        many = ReduceSum <keepdims = 0> (places)
        more = Cast <to = 1> (many)
        t = Sub (s, more)
    }>
}"""


def test_sizes_that_follow_from_data_end_the_span_at_each_turn() -> None:
    check(COUNTING, *({"n": np.array(n), "x": floats(size)} for n in (0, 3) for size in (1, 9)), native=False)
    report = build(model(COUNTING), cache=False).report
    (loop,) = report["walked"]
    assert loop["kind"] == "Loop" and loop["reason"] == "sizes in it follow from the data"
    assert report["host_steps"] == 0


SWAPPED = """hosted (int64 n, float[1, 1, 4, 4] x, float[1, 1, 4, 4] y, float[1, 4, 4, 2] grid)
        => (float[1, 1, 4, 4] a, float[1, 1, 4, 4] b) {
    yes = Constant <value = bool {1}> ()
    a, b = Loop (n, yes, x, y) <body = turn (int64 i, bool c, float[1, 1, 4, 4] p, float[1, 1, 4, 4] q)
            => (bool d, float[1, 1, 4, 4] u, float[1, 1, 4, 4] v) {
        d = Identity (c)
        u = Identity (q)
        SAMPLE
    }>
}"""

SAMPLES = (("it holds strings", "words = Cast <to = 8> (p) v = Cast <to = 1> (words)"),)


@pytest.mark.parametrize(("reason", "sample"), SAMPLES)
def test_a_host_step_inside_ends_the_span_at_each_turn(reason: str, sample: str) -> None:
    text = SWAPPED.replace("SAMPLE", sample)
    images, grid = floats(2, 1, 1, 4, 4), np.tanh(floats(1, 4, 4, 2))
    check(text, *({"n": np.array(n), "x": images[0], "y": images[1], "grid": grid} for n in range(4)), native=False)
    (loop,) = build(model(text), cache=False).report["walked"]
    assert reason in loop["reason"]


UNREAD = """unread (int64 n, float[N, 8] x) => (float[N, 8] last, float[T, N, 8] all) {
    yes = Constant <value = bool {1}> ()
    square = Constant <value = float[8, 8] {WEIGHTS}> ()
    zero = Constant <value = float {0.0}> ()
    start = Mul (x, zero)
    last, all = Loop (n, yes, start) <body = turn (int64 i, bool c, float[N, 8] s)
            => (bool d, float[N, 8] t, float[N, 8] row) {
        d = Identity (c)
        k = Cast <to = 1> (i)
        t = Add (x, k)
        w = MatMul (t, square)
        row = Tanh (w)
    }>
}""".replace("WEIGHTS", NUMBERS)


def test_a_state_that_its_loop_never_reads() -> None:
    check(UNREAD, *({"n": np.array(n), "x": floats(size, 8)} for n in (0, 1, 4) for size in (1, 20)))


IMAGES = """conv (int64 n, float[B, 8, H, W] x) => (
    float[B, 8, H, W] last, float[T, B, 8, H, W] all, float[B, 8, H, W] deep
) {
    yes = Constant <value = bool {1}> ()
    w = Constant <value = float[8, 8, 1, 1] {WEIGHTS}> ()
    x1 = Conv <kernel_shape = [1, 1]> (x, w)
    last, all = Loop (n, yes, x1) <body = turn (int64 i, bool c, float[B, 8, H, W] s)
            => (bool d, float[B, 8, H, W] t, float[B, 8, H, W] row) {
        d = Identity (c)
        y = Conv <kernel_shape = [1, 1]> (s, w)
        t = Relu (y)
        row = Add (t, s)
    }>
    deep = Conv <kernel_shape = [1, 1]> (last, w)
}""".replace("WEIGHTS", NUMBERS)


def test_a_state_of_images() -> None:
    sizes = ((1, 1, 1), (2, 5, 7))
    calls = ({"n": np.array(n), "x": floats(b, 8, h, w)} for n in (0, 1, 4) for b, h, w in sizes)
    check(IMAGES, *calls, relative=1e-3)


KINDS = """konst (int64 n, int64[N] x, bool b, float16[N] h) => (
    int64[N] a, bool e, float[2] k, float16[N] hh, float[T, 2] r
) {
    yes = Constant <value = bool {1}> ()
    z = Constant <value = float[2] {7.0, 8.0}> ()
    a, e, k, hh, r = Loop (n, yes, x, b, z, h) <body = turn (
            int64 i, bool c, int64[N] s, bool f, float[2] g, float16[N] p)
            => (bool d, int64[N] t, bool m, float[2] q, float16[N] o, float[2] row) {
        d = Identity (c)
        t = Add (s, i)
        m = Not (f)
        q = Constant <value = float[2] {1.0, 2.0}> ()
        row = Constant <value = float[2] {3.0, 4.0}> ()
        o = Add (p, p)
    }>
}"""


def test_states_of_every_kind() -> None:
    sizes = ((n, size) for n in (0, 1, 4) for size in (1, 9))
    yes = np.array(True)
    check(KINDS, *({"n": np.array(n), "x": np.arange(s), "b": yes, "h": np.ones(s, np.float16)} for n, s in sizes))


ENDLESS = """endless (float[N] x) => (float[N] last) {
    yes = Constant <value = bool {1}> ()
    last = Loop ("", yes, x) <body = turn (int64 i, bool c, float[N] s) => (bool d, float[N] t) {
        d = Identity (c)
        t = Add (s, x)
    }>
}"""


def test_an_endless_loop_ends_when_it_is_cancelled() -> None:
    context = engine_of(ENDLESS).context()
    for _ in range(3):
        threading.Timer(0.2, context.cancel).start()
        with pytest.raises(Cancelled):
            context.run({"x": floats(5)})


INTERRUPTED = """
import sys
import numpy as np
from tests.compiler.test_loops import ENDLESS, engine_of
context = engine_of(ENDLESS).context()
print("running", flush=True)
try:
    context.run({"x": np.ones(3, np.float32)})
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_control_c_ends_an_endless_loop() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True, env=environment)
    assert child.stdout is not None
    assert child.stdout.readline() == "running\n"
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=60)[0] == "interrupted\n"
