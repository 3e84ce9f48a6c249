"""Run in a process of its own: load engines where no compiler can be imported, run them, print what came out as JSON.

python travel.py ENGINE INPUTS.npz …        one line a pair of an engine and its inputs
"""

from __future__ import annotations

import hashlib
import importlib.abc
import json
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

COMPILERS = ("llvmlite", "triton", "tenfold.compiler", "tenfold.codegen", "tenfold.passes", "tenfold.importers")
FRAMEWORKS = ("onnx", "onnxruntime", "torch")


class Blocker(importlib.abc.MetaPathFinder):
    """Refuses the import of every compiler and framework."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        """ImportError for a blocked name, otherwise no opinion."""
        if any(name == one or name.startswith(f"{one}.") for one in COMPILERS + FRAMEWORKS):
            raise ImportError(f"{name} is blocked here")


def main() -> None:
    """For each pair: digests of the outputs, native calls, spans."""
    sys.meta_path.insert(0, Blocker())
    import numpy as np

    import tenfold

    pairs: Any = zip(sys.argv[1::2], sys.argv[2::2], strict=True)
    for path, inputs in pairs:
        context = tenfold.load(path, threads=2).context()
        answer = context.run(dict(np.load(inputs)))
        print(
            json.dumps(
                {
                    "digests": [hashlib.sha256(np.ascontiguousarray(a).data).hexdigest() for a in answer.values()],
                    "calls": context.native_calls,
                    "spans": len(context.engine.plan.spans),
                }
            )
        )


if __name__ == "__main__":
    main()
