"""`python -m bench NAME …` runs one benchmark.

cpu      every row of the speed table, beside other runtimes
models   the real models of the tests' catalogue beside ONNX Runtime
scale    many threads and many contexts
cuda     generated GPU kernels beside cuBLAS and torch.compile
gpu      whole networks on a GPU beside PyTorch
floor    what a step, a barrier and an empty call cost
calls    what a repeated call on a GPU takes of the CPU's time
load     how long loading an engine takes
"""

from __future__ import annotations

import runpy
import sys

NAMES = ("cpu", "models", "scale", "cuda", "gpu", "floor", "calls", "load")


def main() -> None:
    """Run the benchmark that the first argument names, on the other arguments."""
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        sys.exit(__doc__)
    name = sys.argv.pop(1)
    runpy.run_module(f"bench.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
