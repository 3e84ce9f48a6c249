"""Arrays to ask a model with: read from a file, or made up."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold import files
from tenfold.errors import InputError
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.dtype import Kind
from tenfold.ir.substitute import evaluate, parse
from tenfold.runtime.engine import Engine
from tenfold.runtime.plan import Spec, Symbol
from tenfold.runtime.ranges import settle

Array = NDArray[Any]
Shapes = Mapping[str, Sequence[int | str]]
Dims = Mapping[str, int | tuple[int, ...]]
FIRST, OTHERS = 1, 64
"""What an open size becomes where nothing else is said: the first axis of an input (a batch), and any other."""


def inputs_for(
    engine: Engine, path: Path | None, seed: int | None, shapes: Shapes | None = None, dims: Dims | None = None
) -> dict[str, Array]:
    """An engine's inputs: those of an .npz file, or made up from a seed. InputError if neither is given."""
    if path is not None:
        return read(path, engine.inputs)
    if seed is None:
        raise InputError(
            "no inputs are given", argument="--inputs", remedy="give --inputs IN.npz, or --random SEED to make some up"
        )
    return made_up(engine, seed, shapes or {}, dims or {})


def read(path: Path, specs: Sequence[Spec]) -> dict[str, Array]:
    """The arrays of an .npz file, those of an element type that NumPy lacks as what their inputs declare."""
    declared = {spec.name: spec.dtype.numpy for spec in specs}
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or error}", argument="--inputs", remedy="check the path"
        ) from error
    except (ValueError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is no .npz file of numbers",
            argument="--inputs",
            remedy="write one with np.savez(path, name=array)",
        ) from error
    return {name: _restored(array, declared.get(name)) for name, array in arrays.items()}


def _restored(array: Array, dtype: np.dtype[Any] | None) -> Array:
    if dtype is not None and array.dtype.kind == "V" and array.dtype.itemsize == dtype.itemsize:
        return array.view(dtype)
    return array


def write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write an .npz file whole: under another name first, then renamed into place."""
    try:
        with files.whole(path, 0o644) as file, zipfile.ZipFile(file, "w") as archive:
            for name, array in arrays.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    except OSError as error:
        raise files.unwritable(path, error, "--outputs") from error


def made_up(engine: Engine, seed: int, shapes: Shapes, dims: Dims) -> dict[str, Array]:
    """Inputs from a seed: floats are normal, integers and truth values 0 or 1. Open sizes are what `shapes` and `dims`
    say, else 1 on an input's first axis and 64 on others, or the nearest that the model takes.
    """
    said = _said(engine, shapes, dims)
    free = [one for one in engine.plan.symbols if one.axis >= 0 and one.name not in said]
    bindings = said | {one.name: _nearest(one) for one in free}
    found = _arrays(engine, seed, shapes, bindings)
    symbols = [_value(engine, one, found, bindings) for one in engine.plan.symbols]
    settled = settle(engine.plan, symbols, [one.name for one in sorted(free, key=lambda one: one.axis == 0)])
    if settled == symbols:
        return found
    names = (one.name for one in engine.plan.symbols)
    return _arrays(engine, seed, shapes, dict(zip(names, settled, strict=True)))


def _arrays(engine: Engine, seed: int, shapes: Shapes, bindings: Mapping[str, int]) -> dict[str, Array]:
    """Each input has numbers of its own, which the sizes of the others do not change."""
    sizes = {spec.name: _sizes(spec, shapes, bindings) for spec in engine.inputs}
    return {
        spec.name: _array(np.random.default_rng((seed, n)), spec, sizes[spec.name])
        for n, spec in enumerate(engine.inputs)
    }


def _array(random: np.random.Generator, spec: Spec, shape: tuple[int, ...]) -> Array:
    if spec.dtype.kind is Kind.STRING:
        raise InputError(f"input {spec.name!r} holds strings", argument=spec.name, remedy="give --inputs IN.npz")
    try:
        if spec.dtype.kind in (Kind.FLOAT, Kind.COMPLEX):
            return random.standard_normal(shape).astype(spec.dtype.numpy)
        return random.integers(0, 2, shape).astype(spec.dtype.numpy)
    except (MemoryError, ValueError) as error:
        sizes = "×".join(map(str, shape))
        problem = f"input {spec.name!r} of {sizes} elements cannot be made up: {error}"
        raise InputError(problem, argument=spec.name, remedy="give smaller sizes, by --shape or --dim") from error


def _said(engine: Engine, shapes: Shapes, dims: Dims) -> dict[str, int]:
    """The named sizes that the user decides."""
    found = {name: value if isinstance(value, int) else value[0] for name, value in dims.items()}
    for symbol in engine.plan.symbols:
        if symbol.axis >= 0:
            given = [*shapes.get(engine.plan.inputs[symbol.input].name, ()), *[None] * symbol.axis, None][symbol.axis]
            if isinstance(given, int):
                found.setdefault(symbol.name, given)
    return found


def _value(engine: Engine, symbol: Symbol, arrays: Mapping[str, Array], bindings: Mapping[str, int]) -> int:
    """What a symbol stands for in a call: a size, a number that an input holds, 1 thread."""
    if symbol.entry < 0:
        return bindings.get(symbol.name, 1)
    array = arrays.get(engine.plan.inputs[symbol.input].name)
    return 0 if array is None else int(array.reshape(-1)[symbol.entry])


def _nearest(symbol: Symbol) -> int:
    least = max(1, symbol.low or 1)
    wanted = max(OTHERS if symbol.axis else FIRST, least)
    size = wanted if symbol.high is None else min(wanted, symbol.high)
    return max(size // symbol.multiple, -(-least // symbol.multiple)) * symbol.multiple


def _sizes(spec: Spec, shapes: Shapes, bindings: Mapping[str, int]) -> tuple[int, ...]:
    said = [size for size in shapes.get(spec.name, ()) if isinstance(size, int)]
    if len(said) == len(spec.shape):
        return tuple(said)
    symbols: dict[str, Size] = {name: dim.symbol(name) for name in bindings}
    formulas = (parse(str(size), symbols) for size in spec.shape)
    return tuple(evaluate(formula, bindings) for formula in formulas)


def about(array: Array) -> dict[str, Any]:
    """An array's dtype and shape, and for numbers the least, the greatest and the mean."""
    data: dict[str, Any] = {"dtype": array.dtype.name, "shape": list(array.shape)}
    if array.size and array.dtype.kind in "fiubV":
        wide = array.astype(np.float64)
        data |= {name: _number(wide, name) for name in ("min", "max", "mean")}
    return data


def _number(wide: Array, name: str) -> float | None:
    value = float(getattr(wide, name)())
    return value if np.isfinite(value) else None
