"""Kernels run in this process: addresses and sizes as a frame would give them, every buffer between guard pages."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

import numpy as np

from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.strategy import Address, Argument, Kernel, Packed, Workspace
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ir.substitute import evaluate
from tests.codegen.cpu import jit
from tests.codegen.cpu.memory import Guarded


def number(size: Size, bindings: Mapping[str, int]) -> int:
    """A size when the symbols have these values."""
    return size if isinstance(size, int) else evaluate(size, {"threads": 2, **bindings})


def run(
    kernel: Kernel,
    isa: Isa,
    buffers: Mapping[Value, Guarded],
    bindings: Mapping[str, int],
    backwards: bool = False,
) -> None:
    """All stages, each part after the other, last part first if `backwards`."""
    workspace = Guarded(number(kernel.workspace, bindings) + 63 & -64, low=True)
    scratch = Guarded(kernel.scratch + 63 & -64, low=True)
    packed: list[np.ndarray] = []

    def word(argument: Argument) -> int:
        if isinstance(argument, Address):
            return buffers[argument.value].address + number(argument.offset, bindings)
        if isinstance(argument, Workspace):
            return workspace.address + number(argument.offset, bindings)
        if isinstance(argument, Packed):
            array = argument.value.op.evaluate()  # type: ignore[union-attr]
            for op in argument.recipe:
                (array,) = op.results((array,))
            packed.append(np.ascontiguousarray(array))
            return int(packed[-1].ctypes.data)
        return number(argument, bindings)

    for stage in kernel.stages:
        args = (ctypes.c_int64 * max(len(stage.arguments), 1))(*map(word, stage.arguments))
        function = jit.load(stage.source, isa, optimise=stage.optimise)
        order = range(number(stage.parts, bindings))
        for part in reversed(order) if backwards else order:
            assert function(ctypes.addressof(args), part, scratch.address) == 0
    workspace.close()
    scratch.close()
