"""Where a row loses time: each region's time beside the least that this machine allows it, the greatest loss first.

python -m bench.cpu.layers ROW [--threads 2] [--effort 1] [--runs 15] [--most 25]
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np
import onnx

import tenfold
from bench.cpu.rows import BY_ROW
from tenfold.diagnose import bench
from tenfold.diagnose.roofline import ceiling
from tenfold.runtime.arrays import as_input


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--effort", type=int, default=1)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--most", type=int, default=25)
    options = parser.parse_args()
    row, top = BY_ROW[options.row], ceiling(options.threads)
    assert top
    engine = tenfold.build(onnx.load(row.model()), threads=options.threads, effort=options.effort, **row.options)
    asked = [row.inputs(seed) for seed in range(bench.BUFFERS)]
    times: defaultdict[int, list[float]] = defaultdict(list)
    labels = {}
    with engine.context() as context:
        for turn in range(options.runs + 2):
            for step in context.profile(asked[turn % len(asked)]).steps:
                labels[step.number] = step.label
                if turn > 1:
                    times[step.number].append(step.seconds)
    slots = engine.frames(None).find([as_input(spec, asked[0][spec.name]) for spec in engine.inputs]).slots
    rows = []
    for number, label in labels.items():
        known = label.flops >= 0
        flops, moved = (float(slots[label.flops]), float(slots[label.bytes])) if known else (0.0, 0.0)
        rows.append((float(np.median(times[number])), flops, moved, label))
    total = sum(one[0] for one in rows)
    ideal = sum(max(flops / top.flops, moved / top.bandwidth) for _, flops, moved, _ in rows)
    print(
        f"{row.name}: {1e3 * total:.3f} ms in {len(rows)} steps, roofline {1e3 * ideal:.3f} ms ({ideal / total:.0%});"
    )
    print(f"peak {top.flops / 1e9:.0f} GFLOP/s, {top.bandwidth / 1e9:.1f} GB/s\n")
    print("    µs  ideal µs  share   lost  GFLOP/s   GB/s  kind, tactic, operators")
    rows.sort(key=lambda one: max(one[1] / top.flops, one[2] / top.bandwidth) - one[0])
    for seconds, flops, moved, label in rows[: options.most]:
        least = max(flops / top.flops, moved / top.bandwidth)
        numbers = f"{1e6 * seconds:6.0f}  {1e6 * least:8.0f}  {least / seconds:5.0%}  {(seconds - least) / total:5.1%}"
        speed = f"{flops / seconds / 1e9:7.0f}  {moved / seconds / 1e9:5.1f}"
        print(f"{numbers}  {speed}  {label.kind}, {label.tactic}, {', '.join(label.source[:2])}")


if __name__ == "__main__":
    main()
