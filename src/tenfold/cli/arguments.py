"""Arguments that several verbs take, each said once; and how a verb takes many of them as one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

Model = Annotated[
    Path,
    typer.Argument(metavar="MODEL", help="A model: ONNX, .pt2, TorchScript, .keras, .h5, or a SavedModel's folder."),
]
EngineOrModel = Annotated[Path, typer.Argument(metavar="ENGINE|MODEL", help="An engine file, or a model to build.")]
Targets = Annotated[
    str | None,
    typer.Option(
        "--target",
        help="Machines to build for, a comma between two: cpu, cpu:x86-64-v3, cpu:aarch64, cuda, cuda:sm_90, cuda/cpu.",
    ),
]
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shape", metavar="x=1x3xHxW", help="An input's sizes: numbers, and names for open ones. Repeatable."
    ),
]
Dims = Annotated[
    list[str] | None,
    typer.Option("--dim", metavar="H=32..640/32", help="A named size: its value, or least..most/multiple. Repeatable."),
]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        metavar="x=f16,channels_last",
        help="How an input or output lies: an element type, channels_last, or both. Repeatable.",
    ),
]
Precision = Annotated[
    str | None, typer.Option("--precision", help="model (types as written) or f32; on GPUs also tf32, f16, bf16.")
]
Effort = Annotated[int | None, typer.Option("--effort", help="0 to 3: how long to look for faster kernels.")]
Winograd = Annotated[
    str | None,
    typer.Option("--winograd", help="auto or off: no products of fewer multiplications (Winograd, Strassen)."),
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Most threads a call uses, caller included.")]
Cache = Annotated[str | None, typer.Option("--cache", metavar="DIR|off", help="Where built engines are remembered.")]
Inputs = Annotated[Path | None, typer.Option("--inputs", metavar="IN.npz", help="The inputs, by name.")]
Seed = Annotated[
    int | None, typer.Option("--random", metavar="SEED", min=0, help="Make inputs up, the same for each seed.")
]
Roofline = Annotated[bool, typer.Option(help="Also measure what the machine can do, and which share of it is reached.")]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON object to standard output.")]
Verbose = Annotated[int, typer.Option("-v", "--verbose", count=True, help="Say what is done, and why it takes time.")]


def gathered(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb for the shell: a parameter that is a dataclass stands for an option of each of its fields."""
    types, kinds, parameters = get_type_hints(verb, include_extras=True), dict[str, Any](), list[Parameter]()
    for one in signature(verb).parameters.values():
        if is_dataclass(kind := types[one.name]):
            kinds[one.name], own = kind, get_type_hints(kind, include_extras=True)
            asked = [(field.name, field.default, own[field.name]) for field in fields(kind)]
        else:
            asked = [(one.name, one.default, types[one.name])]
        parameters += [Parameter(name, Parameter.KEYWORD_ONLY, default=d, annotation=type) for name, d, type in asked]

    @wraps(verb)
    def called(**given: Any) -> None:
        made = {
            name: kind(**{field.name: given.pop(field.name) for field in fields(kind)}) for name, kind in kinds.items()
        }
        verb(**given, **made)

    called.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return called
