"""Calls with other inputs than the engine takes, endless loops, files that cannot be written, damaged engines."""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from onnx import ValueInfoProto, helper

import tenfold
from tenfold.errors import Cancelled, EngineError, InputError, LimitError, OptionError, OutOfMemory
from tests.hostile.case import BOOL, INT64, Case, Gives, Raises, f32, info, model, node, run, weight

_NEG = model(node("Mul", "x w"), inputs=(info("x", ["n", 3]),), weights=(weight("w", [[-1, -1, -1]], "f4"),))


def _called(*arrays: Any, **named: Any) -> Callable[[Path], Any]:
    def act(folder: Path) -> Any:
        return tenfold.build(_NEG, cache=folder)(*arrays, **named)

    return act


CALLS = (
    Case("a wrong dtype", _called(np.zeros((2, 3))), Raises(InputError, says="float64")),
    Case("a wrong rank", _called(f32(3)), Raises(InputError, says="axes")),
    Case("a wrong shape", _called(f32(2, 4)), Raises(InputError, says="shape|axis")),
    Case("a missing input", _called(), Raises(InputError, says="missing")),
    Case("an input too many", _called(f32(2, 3), f32(2, 3)), Raises(InputError, says="takes 1")),
    Case("an unknown input", _called(y=f32(2, 3)), Raises(InputError, says="'y'")),
    Case("an input twice", _called(f32(2, 3), x=f32(2, 3)), Raises(InputError, says="twice")),
    Case("None as an input", _called(None), Raises(InputError)),
    Case("text as an input", _called("hello"), Raises(InputError)),
    Case("ragged lists as an input", _called([[1, 2, 3], [4]]), Raises(InputError)),
    Case("numbers that f32 lacks", _called([[1, 2, 2**24 + 1]]), Raises(InputError, says="exact")),
    Case("an object as an input", _called(object()), Raises(InputError)),
    Case("no rows", _called(f32(0, 3)), Gives(f32(0, 3))),
    Case("a big-endian array", _called(f32(2, 3).astype(">f4")), Gives(-f32(2, 3))),
    Case("an array turned round", _called(f32(3, 2).T), Gives(-f32(3, 2).T)),
    Case(
        "a misaligned array",
        _called(np.frombuffer(b"0" + f32(2, 3).tobytes(), np.uint8)[1:].view("f4").reshape(2, 3)),
        Gives(-f32(2, 3)),
    ),
)


def _endless(*scans: str, fused: bool = True) -> Any:
    """2^62 turns of x = -x, perhaps collecting x."""
    step = node("Neg", "s", "t") if fused else node("Reshape", "s n", "t")
    formal = [info("i", [], INT64), info("c", [], BOOL), info("s", [2, 3])]
    results = [ValueInfoProto(name=name) for name in ("c", "t", *scans)]
    body = helper.make_graph([step], "body", formal, results)
    outputs = "z" + " y" * len(scans)
    return model(node("Loop", "trips - x", outputs, body=body), weights=(weight("trips", 2**62),), outputs=outputs)


def _cancelled(folder: Path) -> None:
    context = tenfold.build(_endless(), cache=folder).context()
    timer = threading.Timer(0.3, context.cancel)
    timer.start()
    try:
        context.run([f32(2, 3)])
    finally:
        timer.join()


def _limited(folder: Path) -> None:
    with mock.patch.dict(os.environ, TENFOLD_CALL_SECONDS="0.3"):
        tenfold.build(_endless(), cache=folder)(f32(2, 3))


def _interrupted(folder: Path) -> str:
    engine = tenfold.build(_endless(), cache=folder)

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        engine(f32(2, 3))
    except KeyboardInterrupt:
        return "KeyboardInterrupt"
    finally:
        signal.signal(signal.SIGALRM, before)
    return "it ended"


LOOPS = (
    Case("a Loop of 2^62 turns, cancelled", _cancelled, Raises(Cancelled)),
    Case("a Loop of 2^62 turns, limited", _limited, Raises(LimitError, says="TENFOLD_CALL_SECONDS")),
    Case(
        "a Loop of 2^62 turns, interrupted",
        _interrupted,
        Gives(None, lambda one: one == "KeyboardInterrupt", "KeyboardInterrupt"),
    ),
    Case("a Loop that collects 2^62 results", run(_endless("t"), f32(2, 3)), Raises((LimitError, OutOfMemory), "Loop")),
)


def _engine(folder: Path) -> Path:
    path = folder / "engine.tenfold"
    if not path.exists():
        tenfold.build(_NEG, cache=folder).save(path)
    return path


def _damaged(change: Callable[[bytearray], Any]) -> Callable[[Path], Any]:
    def act(folder: Path) -> Any:
        data = bytearray(_engine(folder).read_bytes())
        other = change(data)
        path = folder / "damaged.tenfold"
        path.write_bytes(data if other is None else other)
        return tenfold.load(path)(f32(2, 3))

    return act


def _flip(at: int) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        data[at] ^= 0x10

    return change


def _flip_section(end: str) -> Callable[[bytearray], None]:
    """A bit in the middle of the section whose name ends so."""

    def change(data: bytearray) -> None:
        size = struct.unpack_from("<8sHHIQ", data)[4]
        sections = json.loads(data[64 : 64 + size])["sections"]
        (entry,) = (one for name, one in sections.items() if name.endswith(end))
        data[entry["offset"] + entry["size"] // 2] ^= 1

    return change


def _every_cut(folder: Path) -> str:
    data, path = _engine(folder).read_bytes(), folder / "cut.tenfold"
    for length in range(0, len(data), max(1, len(data) // 200)):
        path.write_bytes(data[:length])
        try:
            tenfold.load(path)
        except EngineError:
            continue
        raise AssertionError(f"an engine cut to {length} bytes is loaded")
    return "EngineError each time"


def _version(data: bytearray) -> None:
    data[8:10] = struct.pack("<H", 99)


def _full_disk(folder: Path) -> Any:
    """What a disk without room does: a file may not grow past 8 KiB."""
    engine = tenfold.build(_NEG, cache=folder)
    target = folder / "full"
    target.mkdir(exist_ok=True)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        engine.save(target / "engine.tenfold")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
        assert not os.listdir(target), "a part of a file is left"


def _no_folder(folder: Path) -> Any:
    tenfold.build(_NEG, cache=folder).save(folder / "nowhere" / "engine.tenfold")


def _old_one_stays(folder: Path) -> str:
    """A save that is killed half-way leaves the older file as it was."""
    path = folder / "old" / "engine.tenfold"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"the old one")
    engine = tenfold.build(_NEG, cache=folder)
    child = os.fork()
    if child == 0:
        os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)
        engine.save(path)
        os._exit(0)
    os.waitpid(child, 0)
    return path.read_bytes().decode()


def _load_nothing(folder: Path) -> Any:
    path = folder / "empty.tenfold"
    path.write_bytes(b"")
    tenfold.load(path)


def _load_model(folder: Path) -> Any:
    path = folder / "model.onnx"
    path.write_bytes(_NEG.SerializeToString())
    tenfold.load(path)


def _memory_limit(folder: Path) -> Any:
    nodes = node("MatMul", "x y", "p"), node("Softmax", "p", "s"), node("MatMul", "s p")
    made = model(*nodes, inputs=(info("x", ["n", 1]), info("y", [1, "n"])))
    return tenfold.build(made, cache=folder, memory_limit=1 << 20)(np.ones((2048, 1), "f4"), np.ones((1, 2048), "f4"))


FILES = (
    Case("an engine cut at 200 places", _every_cut, Gives(None, lambda one: True, "EngineError each time"), 30),
    Case("an engine's magic changed", _damaged(_flip(0)), Raises(EngineError, says="not a Tenfold engine")),
    Case("an engine of another version", _damaged(_version), Raises(EngineError, says="version")),
    Case("an engine's manifest changed", _damaged(_flip(100)), Raises(EngineError, says="manifest")),
    Case("an engine's code changed", _damaged(_flip_section("code")), Raises(EngineError, says="section")),
    Case("an engine's plan changed", _damaged(_flip_section("plan")), Raises(EngineError, says="section")),
    Case("an engine's graph changed", _damaged(_flip_section("graph")), Raises(EngineError, says="section")),
    Case("an engine's weights changed", _damaged(_flip_section("weights")), Raises(EngineError, says="section")),
    Case("an engine with bytes after its end", _damaged(lambda data: bytes(data) + b"more"), Gives(-f32(2, 3))),
    Case("an empty engine file", _load_nothing, Raises(EngineError, says="empty")),
    Case("a model as an engine", _load_model, Raises(EngineError, says="not a Tenfold engine")),
    Case(
        "no such engine", lambda folder: tenfold.load(folder / "none.tenfold"), Raises(EngineError, says="No such file")
    ),
    Case("a folder as an engine", lambda folder: tenfold.load(folder), Raises(EngineError)),
    Case("an engine saved on a full disk", _full_disk, Raises(EngineError)),
    Case("an engine saved where no folder is", _no_folder, Raises(EngineError, says="No such file")),
    Case("a save that is killed", _old_one_stays, Gives(None, lambda one: one == "the old one", "the old file")),
)
OPTIONS = (
    Case(
        "an unknown input in shapes=",
        lambda folder: tenfold.build(_NEG, shapes={"y": (1, 3)}),
        Raises(OptionError, says="'y'"),
    ),
    Case(
        "an unknown size in dims=", lambda folder: tenfold.build(_NEG, dims={"m": 3}), Raises(OptionError, says="'m'")
    ),
    Case("bounds the wrong way round", lambda folder: tenfold.build(_NEG, dims={"n": (9, 3)}), Raises(OptionError)),
    Case("a size that is no number", lambda folder: tenfold.build(_NEG, dims={"n": "many"}), Raises(OptionError)),
    Case("a negative size in shapes=", lambda folder: tenfold.build(_NEG, shapes={"x": (-3, 3)}), Raises(OptionError)),
    Case("shapes= of another rank", lambda folder: tenfold.build(_NEG, shapes={"x": (3,)}), Raises(OptionError)),
    Case(
        "an unknown name in outputs=",
        lambda folder: tenfold.build(_NEG, outputs=["q"]),
        Raises(OptionError, says="'q'"),
    ),
    Case("no outputs", lambda folder: tenfold.build(_NEG, outputs=[]), Raises(OptionError)),
    Case("0 threads", lambda folder: tenfold.build(_NEG, threads=0), Raises(OptionError)),
    Case(
        "an unknown target",
        lambda folder: tenfold.build(_NEG, target="cpu:z80"),
        Raises((OptionError, tenfold.TargetError)),
    ),
    Case("a number as a model", lambda folder: tenfold.build(3), Raises(OptionError)),
    Case("a call past memory_limit", _memory_limit, Raises(LimitError)),
)
CASES = (*CALLS, *LOOPS, *FILES, *OPTIONS)
