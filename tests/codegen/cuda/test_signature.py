"""How kernels take their arguments: where Triton's order is another, there is a refusal and no wrong answer."""

from __future__ import annotations

import pytest

pytest.importorskip("triton", reason="the CUDA back end needs triton: pip install tenfold[cuda]")

from tenfold.codegen.cuda import signature
from tenfold.codegen.cuda.program import Program, TensorMap, Word
from tenfold.errors import UnsupportedError

_DESCRIPTOR = ".param .align 64 .b8 straight_param_0[128]"
_MAPS = (TensorMap((64, 32), 6, 2, 3),)
_ADDRESS = ".param .u64 .ptr .global .align 1 straight_param_5"
_PARAMETERS = (
    ("x", Word("tensordesc<fp16[64, 32],#shared>")),
    ("extra", (Word("*fp16"), Word("i32"))),
    ("M", 64),
)
_PROGRAM = Program("module:straight", _PARAMETERS)


def ptx(*parameters: str) -> str:
    listed = ",\n\t".join(parameters)
    return f"//\n.visible .entry straight(\n\t{listed}\n)\n.reqntid 128\n{{\n ret;\n}}"


_TAKEN = [
    _DESCRIPTOR,
    *[".param .u32 straight_param_1"] * 2,
    *[".param .u64 straight_param_3"] * 2,
    _ADDRESS,
    ".param .u32 straight_param_6",
    *[_ADDRESS] * 2,
]


def test_arguments_as_they_are_passed() -> None:
    signature.check(_PROGRAM, ptx(*_TAKEN), _MAPS)


@pytest.mark.parametrize(
    "taken",
    [
        [_TAKEN[5], *_TAKEN[:5], *_TAKEN[6:]],
        [_DESCRIPTOR, *_TAKEN[3:5], *_TAKEN[1:3], *_TAKEN[5:]],
        [_DESCRIPTOR, *_TAKEN[5:]],
        _TAKEN[:-1],
    ],
    ids=["an address first", "strides before sizes", "a descriptor alone", "no place for a profile"],
)
def test_another_order_is_refused(taken: list[str]) -> None:
    with pytest.raises(UnsupportedError, match="module:straight takes arguments of"):
        signature.check(_PROGRAM, ptx(*taken), _MAPS)


def test_descriptors_in_another_order_are_refused() -> None:
    two = (("x", Word("tensordesc<fp16[64, 32]>")), ("w", Word("tensordesc<fp16[32, 32]>")))
    taken = [*_TAKEN[:5], *_TAKEN[:5], *[_ADDRESS] * 2]
    maps = [TensorMap(block, 6, 2, 3) for block in ((64, 16), (32, 32))]
    signature.check(Program("module:straight", two), ptx(*taken), maps)
    with pytest.raises(UnsupportedError, match="takes descriptors of boxes"):
        signature.check(Program("module:straight", two), ptx(*taken), maps[::-1])
