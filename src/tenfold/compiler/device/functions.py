"""Machine code to functions: what a file holds of a program, and how each argument is passed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tenfold.codegen.cuda.program import Binary, Call, Failure, Program, Word, words
from tenfold.runtime.cuda.product import Product

_ALIGNMENT = 64
_TF32 = 11
"""The driver's number of an element type: f32 whose copies by descriptor are rounded to TF32."""


def refusal(made: Binary | Failure, shared: int) -> str | None:
    """Why a program cannot run on a machine with so much shared memory a block; None if it can."""
    if isinstance(made, Failure):
        return made.reason
    if made.shared > shared:
        return f"it takes {made.shared} bytes of shared memory, and a block has {shared}"
    return "it takes scratch memory of its own" if made.scratch else None


def functions_of(binaries: Sequence[tuple[Program | Call, Binary | None]]) -> tuple[bytes, list[dict[str, Any]]]:
    """One block of code and, of each function, where its code lies in it and how it is launched."""
    code, places, functions = bytearray(), dict[bytes, int](), list[dict[str, Any]]()
    for program, binary in binaries:
        if isinstance(program, Call):
            name = "product" if isinstance(program.product, Product) else "convolution"
            functions.append({name: asdict(program.product), "instead": program.instead})
            continue
        assert binary
        if binary.code not in places:
            code += bytes(-len(code) % _ALIGNMENT)
            places[binary.code] = len(code)
            code += binary.code
        functions.append(
            {
                "offset": places[binary.code],
                "size": len(binary.code),
                "name": binary.name,
                "threads": binary.threads,
                "shared": binary.shared,
                # What lets the next kernel start at once (2) starts late: else three share the room that one leaves.
                "cluster": dict(program.parameters).get("CLUSTER", 1),
                "early": dict(program.parameters).get("EARLY") == 1,
                "meets": dict(program.parameters).get("MEET") == 1,
                "words": list(_words(program, binary)),
            }
        )
    return bytes(code), functions


def binary_of(made: Mapping[Program, Binary | Failure], program: Program | Call) -> Binary | None:
    """The machine code of a program that was compiled; None for a library's."""
    found = made[program] if isinstance(program, Program) else None
    return found if isinstance(found, Binary) else None


def _words(program: Program, binary: Binary) -> Iterator[list[Any]]:
    """How each argument is passed: an address, an integer of 32 or 64 bits, or a tile descriptor."""
    maps = iter(binary.maps)
    for _, parameter in program.parameters:
        for word in words(parameter):
            if word.type.startswith("tensordesc"):
                one = next(maps)
                yield [
                    "tile",
                    list(one.block),
                    _TF32 if word.rounded else one.element_type,
                    one.element_size,
                    one.swizzle,
                ]
            else:
                yield [_kind(word)]


def _kind(word: Word) -> str:
    return "address" if word.type.startswith("*") else word.type
