"""Triton programs to machine code, ahead of time: no GPU, no driver, no PyTorch."""

from __future__ import annotations

import functools
import hashlib
import importlib
import linecache
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.experimental.gluon._runtime import GluonASTSource

from tenfold.codegen.cuda import signature, vmath
from tenfold.codegen.cuda.program import Binary, Hole, Parameter, Program, TensorMap, Word


@functools.cache
def function(hole: Hole) -> Any:
    """The Triton function of a hole's text, under a name of its own: Triton takes functions of one name and equal types
    of arguments for the same.
    """
    own = f"hole_{hashlib.sha256(hole.text.encode()).hexdigest()[:16]}"
    text, name = hole.text.replace("def hole(", f"def {own}(", 1), f"<tenfold {own}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    scope: dict[str, Any] = {"tl": tl, "vmath": vmath, "__name__": __name__}
    exec(compile(text, name, "exec"), scope)
    return triton.jit(scope[own])


def kernel_of(program: Program) -> Any:
    """The Triton function that a program fills."""
    module, _, name = program.kernel.partition(":")
    return getattr(importlib.import_module(module), name)


def constant(parameter: Hole | int | str) -> Any:
    """A constant parameter as the kernel gets it."""
    if isinstance(parameter, Hole):
        return function(parameter)
    return getattr(tl, parameter) if isinstance(parameter, str) else parameter


def compile_program(program: Program, sm: int) -> Binary:
    """Compile for compute capability `sm`; whatever Triton or ptxas raise passes through, and UnsupportedError if the
    kernel takes its arguments otherwise than they are passed. Source lines are left out, so that equal programs give
    equal bytes wherever they are compiled.
    """
    triton.knobs.compilation.disable_line_info = True
    types = {name: _types(parameter) for name, parameter in program.parameters}
    constants: dict[tuple[int, ...], Any] = {}
    attributes: dict[tuple[int, ...], Any] = {}
    for place, (_, parameter) in enumerate(program.parameters):
        _collect(parameter, (place,), constants, attributes)
    kernel = kernel_of(program)
    written = GluonASTSource if kernel.is_gluon() else ASTSource
    source = written(kernel, types, constants, attributes)
    made = triton.compile(
        source,
        target=GPUTarget("cuda", sm, 32),
        options={"num_warps": program.warps, "num_stages": program.stages, "maxnreg": program.registers or None},
    )
    binary = _binary(made, program.room)
    signature.check(program, made.asm["ptx"], binary.maps)
    return binary


_DRIVERS = {8: 10, 9: 8, 10: 9}
"""PTX numbers three element types of tile descriptors otherwise than the driver does."""


def _binary(made: Any, room: int) -> Binary:
    """The machine code, with so many bytes of shared memory behind Triton's own."""
    data = made.metadata
    shared = -(-data.shared // 1024) * 1024 + room if room else data.shared
    maps = tuple(
        TensorMap(
            tuple(one["block_size"]), _DRIVERS.get(one["elem_type"], one["elem_type"]), one["elem_size"], one["swizzle"]
        )
        for one in getattr(data, "tensordesc_meta", None) or ()
    )
    return Binary(
        made.asm["cubin"],
        data.name,
        data.num_warps * 32,
        shared,
        data.global_scratch_size,
        data.global_scratch_align,
        maps,
    )


def _types(parameter: Parameter) -> Any:
    if isinstance(parameter, tuple):
        return tuple(_types(one) for one in parameter)
    return parameter.type if isinstance(parameter, Word) else "constexpr"


def _collect(
    parameter: Parameter, path: tuple[int, ...], constants: dict[tuple[int, ...], Any], attributes: dict[Any, Any]
) -> None:
    if isinstance(parameter, tuple):
        for place, one in enumerate(parameter):
            _collect(one, (*path, place), constants, attributes)
    elif not isinstance(parameter, Word):
        constants[path] = constant(parameter)
    elif parameter.aligned:
        attributes[path] = [["tt.divisibility", 16]]
