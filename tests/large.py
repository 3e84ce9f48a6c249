"""`python -m tests.large`: models of gigabytes, built by path and run; what memory the build takes at its peak.

Half of the weights are matrices, half is a table that rows are taken from. Each way of keeping them has a child
process of its own. Exit status 0 if every answer is right.

    --gigabytes G    how much the weights are (default 2.2)
    --kinds K…       external: in a file beside the model; inline: in the model's file (at most 1.9)
    --folder F       where the files are made (default: the system's temporary folder)
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper

import tenfold
from tenfold.ir.op import Array

SIDE = 4096
MATRIX = SIDE * SIDE * 4
KINDS = ("external", "inline")
INLINE_LIMIT = 1.9


def weights(gigabytes: float) -> Iterator[tuple[str, Array]]:
    """The table, then the matrices: they turn vectors a little, and keep them small."""
    count = max(2, int(gigabytes * 2**30) // MATRIX)
    dice = np.random.default_rng(4)
    some = dice.standard_normal((SIDE, SIDE), np.float32) / 64
    yield "table", np.concatenate([some + place for place in range(count // 2)])
    for place in range(count - count // 2):
        yield f"matrix{place}", np.roll(some, place, axis=1)


def write(folder: Path, kind: str, gigabytes: float) -> Path:
    """The model in a folder: rows of the table through all matrices."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "places"], ["x0"])],
        "large",
        [helper.make_tensor_value_info("places", TensorProto.INT64, ["n"])],
        [],
    )
    path, last, offset = folder / f"{kind}.onnx", "x0", 0
    with open(folder / "weights.bin", "wb") as file:
        for name, array in weights(gigabytes):
            one = graph.initializer.add(name=name, dims=array.shape, data_type=TensorProto.FLOAT)
            if kind == "inline":
                one.raw_data = array.tobytes()
            else:
                file.write(array.tobytes())
                one.data_location = TensorProto.EXTERNAL
                one.external_data.add(key="location", value="weights.bin")
                one.external_data.add(key="offset", value=str(offset))
                offset += array.nbytes
            if name != "table":
                graph.node.append(helper.make_node("MatMul", [last, name], [f"{name}.y"]))
                last = f"{name}.y"
    graph.output.append(helper.make_empty_tensor_value_info(last))
    model: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def expected(places: Array, gigabytes: float) -> Array:
    """What the model answers."""
    found = np.empty(0)
    for name, array in weights(gigabytes):
        found = array[places] if name == "table" else found @ array
    return found


def measured(path: Path, gigabytes: float) -> dict[str, float]:
    """Build and run a model: seconds, MiB of memory at the peak, and how far the answer is from NumPy's."""
    places = np.array([0, SIDE, 5])
    before, start = _peak(), time.monotonic()
    engine = tenfold.build(path, effort=0, cache=False)
    seconds, built = time.monotonic() - start, _peak()
    answer = engine(places)
    wanted = expected(places, gigabytes)
    error = float(np.abs(answer - wanted).max() / np.abs(wanted).max())
    return {"seconds": seconds, "before": before, "built": built, "error": error}


def _peak() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main() -> int:
    """Do what the arguments ask for; the process's exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.large", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=2.2)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["external"])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measured(options.child, options.gigabytes)))
        return 0
    wrong = 0
    for kind in options.kinds:
        size = min(options.gigabytes, INLINE_LIMIT) if kind == "inline" else options.gigabytes
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = write(Path(folder), kind, size)
            child = (sys.executable, "-m", "tests.large", "--gigabytes", str(size), "--child", str(path))
            found = json.loads(subprocess.run(child, check=True, capture_output=True, text=True).stdout)
        grown, held = found["built"] - found["before"], size * 1024
        print(
            f"{kind}: {held:.0f} MiB of weights, built in {found['seconds']:.1f} s, peak {grown:.0f} MiB "
            f"({grown / held:.2f} times the weights), error {found['error']:.1e}"
        )
        wrong += not found["error"] < 1e-4
    return wrong != 0


if __name__ == "__main__":
    sys.exit(main())
