"""Arrays of calls: what comes in as NumPy's, results as the kind that came in. No other library is imported here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from tenfold.errors import InputError
from tenfold.ir.dtype import ANY
from tenfold.ir.objects import pack, unpack
from tenfold.ir.type import Type
from tenfold.runtime.plan import Spec

Array = NDArray[Any]
Returned = Callable[[Array], Any]
_CPU = 1
_UNKNOWN_TO_NUMPY = {
    "bfloat16": ml_dtypes.bfloat16,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "float8_e5m2": ml_dtypes.float8_e5m2,
    "float8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "float8_e8m0fnu": ml_dtypes.float8_e8m0fnu,
}
"""PyTorch's element types that NumPy lacks, by their name in both worlds."""


def as_input(spec: Spec, given: Any) -> Array:
    """The given array as NumPy's: row-major, aligned, of this machine's byte order; in place where it is so already.

    Python numbers and lists take the declared dtype where that is exact. InputError for any other dtype, and for an
    array that is not in the CPU's memory.
    """
    if spec.dtype.is_object:
        return _of_objects(spec, given)
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise _refused(spec, given, "has elements that are masked", "fill them: array.filled(value)")
    array = given if isinstance(given, np.ndarray) else _of_other_kind(spec, given)
    wanted = spec.dtype.numpy
    if array.dtype != wanted:
        if array.dtype.newbyteorder("=") != wanted:
            raise InputError(
                f"input {spec.name!r} is {array.dtype}, and the model takes {spec}",
                argument=spec.name,
                remedy=f"convert it with .astype({wanted.name!r})",
            )
        array = array.astype(wanted)
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else np.array(array, order="C")


def by_name(argument: str, arrays: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Arrays by name, none if None; InputError for what is no mapping."""
    if arrays is not None and not isinstance(arrays, Mapping):
        raise InputError(f"{argument} is a {type(arrays).__name__}", argument=argument, remedy="give a dict by name")
    return arrays or {}


def _of_objects(spec: Spec, given: Any) -> Array:
    shape = tuple(size if isinstance(size, int) else ANY for size in spec.shape)
    try:
        return pack(Type(spec.dtype, shape), given)
    except TypeError as error:
        raise InputError(
            f"input {spec.name!r}: {error}",
            argument=spec.name,
            remedy="give str or lists of them for strings, a list of arrays for a sequence, None for what is missing",
        ) from error


def as_result(spec: Spec, array: Array, returned: Returned | None) -> Any:
    """A result as the caller gets it: objects as Python's lists, None and arrays of str, tensors as `returned` says."""
    if not spec.dtype.is_object:
        return returned(array) if returned else array
    return _each(unpack(spec.dtype, array), returned)


def _each(found: Any, returned: Returned | None) -> Any:
    if isinstance(found, list):
        return [_each(one, returned) for one in found]
    plain = returned is None or found is None or found.dtype.hasobject
    return found if plain or returned is None else returned(found)


def _of_other_kind(spec: Spec, given: Any) -> Array:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(given, torch.Tensor):
        return _of_torch(spec, given, torch)
    if hasattr(given, "__dlpack__"):
        _require_cpu(spec, given)
        return np.from_dlpack(given)
    if hasattr(given, "__array__") or hasattr(given, "__array_interface__"):
        return np.asarray(given)
    return _of_numbers(spec, given)


def _require_cpu(spec: Spec, given: Any) -> None:
    device = given.__dlpack_device__()[0]
    if int(device) != _CPU:
        raise _elsewhere(spec, given)


def _elsewhere(spec: Spec, given: Any) -> InputError:
    return InputError(
        f"input {spec.name!r} is a {type(given).__name__} in the memory of another device",
        argument=spec.name,
        remedy="move it to the CPU",
    )


def _of_torch(spec: Spec, given: Any, torch: Any) -> Array:
    if given.device.type != "cpu":
        raise _elsewhere(spec, given)
    tensor = given.detach()
    dtype = _UNKNOWN_TO_NUMPY.get(str(tensor.dtype).removeprefix("torch."))
    if dtype is None:
        try:
            found: Array = tensor.numpy()
        except (RuntimeError, TypeError) as error:
            kind = str(tensor.layout).removeprefix("torch.")
            raise _refused(spec, given, f"is not one that NumPy can read ({kind})", "give a dense one") from error
        return found
    bits = torch.int16 if tensor.element_size() == 2 else torch.uint8
    viewed: Array = tensor.view(bits).numpy().view(dtype)
    return viewed


def _of_numbers(spec: Spec, given: Any) -> Array:
    wanted = spec.dtype.numpy
    try:
        made = np.asarray(given)
    except ValueError as error:
        raise _refused(spec, given, "has rows of unlike lengths", "make them equally long") from error
    remedy = f"give a NumPy array of dtype {wanted.name}"
    try:
        with np.errstate(invalid="ignore", over="ignore"):
            typed = made.astype(wanted)
            same = np.array_equal(typed.astype(made.dtype), made, equal_nan=made.dtype.kind == "f")
    except OverflowError:
        same = False
    except (TypeError, ValueError) as error:
        raise _refused(spec, given, "holds what is no number", remedy) from error
    if made.dtype.kind not in "biufcO" or given is None:
        raise _refused(spec, given, "holds what is no number", remedy)
    if not same:
        raise _refused(spec, given, f"holds what is not exact in {spec.dtype}", remedy)
    return typed


def _refused(spec: Spec, given: Any, why: str, remedy: str, role: str = "input") -> InputError:
    return InputError(f"{role} {spec.name!r}: this {type(given).__name__} {why}", argument=spec.name, remedy=remedy)


def require_shape(spec: Spec, array: Array) -> None:
    """InputError for an array of another number of axes than the input's, or another size of an axis that is fixed."""
    pairs = zip(spec.shape, array.shape, strict=False)
    if array.ndim != len(spec.shape) or any(isinstance(size, int) and size != own for size, own in pairs):
        raise InputError(
            f"input {spec.name!r} is bound to {array.dtype}{list(array.shape)}, and the model takes {spec}",
            argument=spec.name,
            remedy="reshape or pad the array, or build for these sizes",
        )


def as_output(spec: Spec, given: Any) -> Array:
    """The given array as NumPy's, in place; InputError unless results can be written into it as they are."""
    if spec.dtype.is_object:
        raise InputError(
            f"output {spec.name!r} is {spec.dtype}, which no array can be bound to",
            argument=spec.name,
            remedy="take it from the call's results",
        )
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise _refused(spec, given, "has elements that are masked", "fill them: array.filled(value)")
    if not any(hasattr(given, name) for name in ("__array_interface__", "__dlpack__")):
        raise _refused(spec, given, "is no array that results can be written into", "bind an array", "output")
    array = given if isinstance(given, np.ndarray) else _of_other_kind(spec, given)
    flags = array.flags
    if array.dtype != spec.dtype.numpy or not (flags.c_contiguous and flags.aligned and flags.writeable):
        raise InputError(
            f"output {spec.name!r} is bound to {array.dtype}{list(array.shape)}",
            argument=spec.name,
            remedy=f"bind a writeable row-major array of dtype {spec.dtype.numpy.name}",
        )
    return array


def too_small(spec: Spec, shape: Sequence[int], bound: Sequence[int]) -> InputError:
    """What is said of an array that is bound to an output of that shape."""
    return InputError(
        f"output {spec.name!r} needs {tuple(shape)}, and the bound array has {tuple(bound)}",
        argument=spec.name,
        remedy="bind a larger array",
    )


def returning(given: Iterable[Any]) -> Returned | None:
    """What makes results of the kind of the first array among a call's inputs; None for NumPy's."""
    for one in given:
        if isinstance(one, np.ndarray | np.generic):
            return None
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(one, torch.Tensor):
            return lambda array: _to_torch(array, torch)
        if hasattr(one, "__dlpack__"):
            home = sys.modules.get(type(one).__module__.partition(".")[0])
            return getattr(home, "from_dlpack", None)
    return None


def _to_torch(array: Array, torch: Any) -> Any:
    dtype = getattr(torch, array.dtype.name, None) if array.dtype.name in _UNKNOWN_TO_NUMPY else None
    if dtype is None:
        return torch.from_numpy(array)
    return torch.from_numpy(array.view(np.int16 if array.dtype.itemsize == 2 else np.uint8)).view(dtype)
