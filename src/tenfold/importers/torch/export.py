"""Modules through torch.export: dimensions named by the user, operators that we keep whole, refusals made readable."""

from __future__ import annotations

import inspect
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.export.dynamic_shapes import ShapesCollection
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import UninitializedParameter
from torch.utils._pytree import tree_leaves

from tenfold.errors import ModelError, OptionError, UnsupportedError
from tenfold.importers.torch.declared import Declared
from tenfold.importers.torch.origin import raised_at
from tenfold.importers.torch.recurrent_shapes import shapes_only
from tenfold.importers.torch.structure import leaf_paths
from tenfold.importers.torch.tables import Converters, has_converter


class Arguments(NamedTuple):
    """The arguments of a call, by place and by name."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


_log = logging.getLogger("tenfold")
_REMEDIES = (
    (
        r"register_fake",
        "give the operator its shapes by register_fake, as torch.library.custom_op describes",
    ),
    (
        r"data-dependent|unbacked|Could not guard",
        "use torch.where or torch.cond instead of an if on a tensor's contents",
    ),
    (
        r"Constraints? violated|specialized|not a valid|is not divisible",
        "fix the size by dims={name: value}, or widen its range",
    ),
    (
        r"need to register a pytree",
        "torch.export.register_dataclass(the class), or return a tuple or dict",
    ),
    (
        r"quantized|PackedParams",
        "build the module as it was before it was quantised",
    ),
    (r"", "rewrite the line, or save the module by torch.jit.trace or torch.onnx.export and build from that file"),
)


def arguments_of(example_inputs: Any) -> Arguments:
    """`example_inputs` as arguments by place and by name: a tensor, a sequence of arguments, or a mapping of them.

    OptionError if there are none.
    """
    if example_inputs is None:
        raise OptionError(
            "a PyTorch module needs example inputs",
            argument="example_inputs",
            remedy="pass example_inputs=(x, …), or a dict by name",
        )
    if isinstance(example_inputs, Arguments):
        return example_inputs
    if isinstance(example_inputs, Mapping):
        found = Arguments((), dict(example_inputs))
    else:
        found = Arguments(tuple(example_inputs) if isinstance(example_inputs, tuple | list) else (example_inputs,), {})
    if any(isinstance(one, np.ndarray) for one in (*found.args, *found.kwargs.values())):
        remedy = "give tensors: torch.from_numpy(array)"
        raise OptionError("example_inputs hold NumPy's arrays", argument="example_inputs", remedy=remedy)
    return found


def named_arguments(module: Any, given: Arguments) -> list[tuple[str, Any]]:
    """The arguments of a call of the module, each under the name of its parameter."""
    try:
        found = inspect.signature(module.forward).bind(*given.args, **given.kwargs)
    except TypeError as error:
        raise OptionError(
            f"the module cannot be called on its example inputs: {error}",
            argument="example_inputs",
            remedy="give what its forward method takes",
        ) from error
    kinds = {name: one.kind for name, one in found.signature.parameters.items()}
    flat: list[tuple[str, Any]] = []
    for name, value in found.arguments.items():
        if kinds[name] is inspect.Parameter.VAR_KEYWORD:
            flat.extend(value.items())
        elif kinds[name] is inspect.Parameter.VAR_POSITIONAL:
            flat.extend((f"{name}.{at}", one) for at, one in enumerate(value))
        else:
            flat.append((name, value))
    return flat


def exported(module: Any, given: Arguments, declared: Declared, added: Converters) -> ExportedProgram:
    """The whole module as a program of aten's operators, those without a converter taken apart by PyTorch."""
    _require_ready(module, given)
    args, kwargs = declared.stretched(given, named_arguments(module, given))
    leaves = [
        leaf for name, value in named_arguments(module, Arguments(args, kwargs)) for leaf in leaf_paths(name, value)
    ]
    shapes: Any = ShapesCollection()  # type: ignore[no-untyped-call]
    for name, leaf in leaves:
        if isinstance(leaf, torch.Tensor) and (dims := declared.dynamic(name, leaf)):
            shapes[leaf] = dims
    with quiet(), refusals(declared), torch.no_grad(), shapes_only():
        collected = shapes.dynamic_shapes(module, args, kwargs) if len(shapes) else None
        try:
            return decomposed(torch.export.export(module, args, kwargs, dynamic_shapes=collected), added)
        except Exception as error:
            if type(error).__module__.startswith("torch") or not _runs(module, args, kwargs):
                raise
            raise _Untraceable(str(error)).with_traceback(error.__traceback__) from error


class _Untraceable(Exception):
    """What stops torch.export in a module that runs."""


def _runs(module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    try:
        module(*args, **kwargs)
    except Exception:
        return False
    return True


def _require_ready(module: Any, given: Arguments) -> None:
    """ModelError for weights without values or on another device than the example inputs; says if training is on."""
    if not isinstance(module, torch.nn.Module):
        return
    held = [*module.named_parameters(), *module.named_buffers()]
    empty = [name for name, one in held if one.device.type == "meta"]
    if empty:
        raise ModelError(
            f"{len(empty)} weights of the module are on the meta device and have no values: {', '.join(empty[:4])}",
            remedy="load them: module.load_state_dict(weights, assign=True)",
        )
    devices = {str(one.device) for _, one in held if not isinstance(one, UninitializedParameter)}
    elsewhere = {str(one.device) for one in tree_leaves(tuple(given)) if isinstance(one, torch.Tensor)} - devices
    if devices and elsewhere:
        raise ModelError(
            f"the module is on {', '.join(sorted(devices))}, its example inputs on {', '.join(sorted(elsewhere))}",
            argument="example_inputs",
            remedy="give both the same device; an engine for any target can be built from either",
        )
    if any(one.training for one in module.modules() if isinstance(one, _BatchNorm)):
        _log.warning("the module is in training mode: it normalises by each batch; module.eval() ends that")


def decomposed(program: ExportedProgram, added: Converters) -> ExportedProgram:
    """A program without mutation, its operators taken apart as far as there is no converter for them."""
    with quiet(), shapes_only():
        found: ExportedProgram = program.run_decompositions(_decompositions(added))
        return found


def _decompositions(added: Converters) -> dict[Any, Any]:
    """How PyTorch takes operators apart, without those that there is a converter for."""
    table: Any = torch.export.default_decompositions()
    return {operator: one for operator, one in table.items() if not has_converter(_full_name(operator), added)}


def _full_name(operator: Any) -> str:
    schema = operator._schema
    return f"{schema.name}.{schema.overload_name or 'default'}"


@contextmanager
def quiet() -> Iterator[None]:
    """Within it, PyTorch's warnings about itself are kept back."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def refusals(declared: Declared) -> Iterator[None]:
    """Within it, what PyTorch raises becomes an error with the reason, the user's line and a remedy."""
    try:
        yield
    except Exception as error:
        raise _refusal(error, declared) from error


def _refusal(error: Exception, declared: Declared) -> UnsupportedError | ModelError:
    home = type(error).__module__
    reason = declared.renamed(_first_lines(str(error)))
    where = raised_at(error.__traceback__) or _site_in(str(error))
    place = f" at {where}" if where else ""
    if home.startswith("torch") or "register_fake" in reason or isinstance(error, _Untraceable):
        remedy = next(text for pattern, text in _REMEDIES if re.search(pattern, str(error)))
        return UnsupportedError(f"torch.export refuses the module{place}: {reason}", remedy=remedy)
    return ModelError(
        f"the module fails on its example inputs{place}: {type(error).__name__}: {reason}",
        remedy="make module(*example_inputs) work first",
    )


def _first_lines(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return " ".join(lines[:6])[:600]


def _site_in(text: str) -> str:
    found = re.findall(r'File "([^"]+)", line (\d+), in (?!<module>)', text)
    own = [f"{file}:{line}" for file, line in found if "site-packages/torch" not in file]
    return own[-1] if own else ""
