"""Whether answers are those of the suite, by its own tolerances; tests of chance by their distribution."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BFLOAT16 = 2**-6
SIGMAS = 5.0


def difference(ours: Any, theirs: Any, rtol: float, atol: float) -> str | None:
    """How a value differs from what the suite expects, or None. Sequences and optionals are compared in depth."""
    if theirs is None or ours is None:
        return None if ours is theirs else f"{_kind(ours)} where {_kind(theirs)} is expected"
    if isinstance(theirs, list | tuple):
        if not isinstance(ours, list | tuple) or len(ours) != len(theirs):
            return f"{_kind(ours)} where {_kind(theirs)} is expected"
        pairs = (difference(one, other, rtol, atol) for one, other in zip(ours, theirs, strict=True))
        return next((found for found in pairs if found), None)
    return _of_arrays(ours, np.asarray(theirs), rtol, atol)


def _kind(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"a sequence of {len(value)}"
    return "nothing" if value is None else f"a {type(value).__name__}"


def _of_arrays(ours: Any, theirs: Array, rtol: float, atol: float) -> str | None:
    if not isinstance(ours, np.ndarray | np.generic):
        return f"{_kind(ours)} where an array is expected"
    if ours.shape != theirs.shape:
        return f"shape {ours.shape} where {theirs.shape} is expected"
    if theirs.dtype.kind in "OUST":
        same = [*map(_text, ours.ravel().tolist())] == [*map(_text, theirs.ravel().tolist())]
        return None if same else "other strings"
    if ours.dtype != theirs.dtype:
        return f"{ours.dtype} where {theirs.dtype} is expected"
    if theirs.dtype.name == "bfloat16":
        rtol = max(rtol, BFLOAT16)
    if theirs.dtype.kind == "V" or theirs.dtype.isbuiltin != 1:
        ours, theirs = ours.astype(np.float32), theirs.astype(np.float32)
    try:
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)
    except AssertionError as error:
        return _first_lines(str(error))
    return None


def _text(one: Any) -> str:
    return one.decode() if isinstance(one, bytes) else str(one)


def _first_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "numbers: " + "; ".join(line for line in lines if re.match(r"(Mismatched|Max|nan|inf|x and y)", line))


def is_chance(name: str) -> bool:
    """Whether a test's expected outputs are one draw among many."""
    return name.startswith(("test_bernoulli", "test_training_dropout")) and "zero_ratio" not in name


def improbable(name: str, inputs: list[Any], ours: list[Any], theirs: list[Any]) -> str | None:
    """Why these draws are not of the distribution that the operator names: types, range, moments."""
    for one, other in zip(ours, theirs, strict=True):
        if one.shape != other.shape or one.dtype != other.dtype:
            return f"{one.dtype}{one.shape} where {other.dtype}{other.shape} is expected"
    return _bernoulli(inputs[0], ours[0]) if "bernoulli" in name else _dropout(inputs, ours)


def _bernoulli(chances: Array, drawn: Array) -> str | None:
    wide = drawn.astype(np.float64)
    if not np.isin(wide, (0, 1)).all():
        return "numbers other than 0 and 1"
    slack = SIGMAS * np.sqrt((chances * (1 - chances)).sum()) + 1
    return _far(wide.sum(), chances.astype(np.float64).sum(), slack)


def _dropout(inputs: list[Any], ours: list[Any]) -> str | None:
    x, ratio = inputs[0], float(inputs[1]) if len(inputs) > 1 else 0.5
    y = ours[0]
    kept = ours[1] if len(ours) > 1 else y != 0
    expected = np.where(kept, x / (1 - ratio), 0)
    if not np.allclose(y, expected, rtol=1e-3, atol=1e-6):
        return "elements that are neither dropped nor scaled"
    slack = SIGMAS * np.sqrt(x.size * ratio * (1 - ratio)) + 1
    return _far(float(kept.sum()), x.size * (1 - ratio), slack)


def _far(found: float, mean: float, slack: float) -> str | None:
    return None if abs(found - mean) <= slack else f"{found:g} drawn where {mean:g} ± {slack:g} is expected"
