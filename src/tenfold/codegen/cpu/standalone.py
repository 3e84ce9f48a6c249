"""A blob as a Linux program of its own, with no library: how code for another machine is run on an emulator."""

from __future__ import annotations

import struct
from collections.abc import Callable

from tenfold.codegen.cpu.link import MACHINES, Blob

CODE_ADDRESS = 0x10_0000_0000
DATA_ADDRESS = CODE_ADDRESS + 0x1000_0000
_PAGE = 4096


def static_elf(blob: Blob, entry: str, architecture: str, data: bytes, arguments: tuple[int, int]) -> bytes:
    """A static ELF program that calls `entry` with two integers, writes its data to standard output and exits with what
    the entry returned.

    The blob lies at CODE_ADDRESS and `data`, which the code may write, at DATA_ADDRESS. `architecture` is "x86_64" or
    "aarch64".
    """
    start = len(blob.code) + -len(blob.code) % 16
    values = (*arguments, CODE_ADDRESS + blob.entries[entry], DATA_ADDRESS, len(data))
    code = blob.code.ljust(start, b"\0") + _START[architecture](*values)
    code += bytes(-len(code) % _PAGE)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack(
        "<HHIQQQIHHHHHH", 2, MACHINES[architecture], 1, CODE_ADDRESS + start, 64, 0, 0, 64, 56, 2, 0, 0, 0
    )
    readable, writable, executable = 4, 2, 1
    for flags, at, address, size in (
        (readable | executable, _PAGE, CODE_ADDRESS, len(code)),
        (readable | writable, _PAGE + len(code), DATA_ADDRESS, len(data)),
    ):
        head += struct.pack("<IIQQQQQQ", 1, flags, at, address, address, size, size, _PAGE)
    return head.ljust(_PAGE, b"\0") + code + data


def _start_x86_64(first: int, second: int, entry: int, data: int, size: int) -> bytes:
    return b"".join(
        [
            b"\x48\xbf" + struct.pack("<q", first),  # mov rdi, first
            b"\x48\xbe" + struct.pack("<q", second),  # mov rsi, second
            b"\x48\xb8" + struct.pack("<q", entry),  # mov rax, entry
            b"\xff\xd0",  # call rax
            b"\x49\x89\xc4",  # mov r12, rax
            b"\xb8\x01\x00\x00\x00\xbf\x01\x00\x00\x00",  # mov eax, write; mov edi, 1
            b"\x48\xbe" + struct.pack("<q", data),  # mov rsi, data
            b"\x48\xba" + struct.pack("<q", size),  # mov rdx, size
            b"\x0f\x05",  # syscall
            b"\x44\x89\xe7\xb8\xe7\x00\x00\x00\x0f\x05",  # mov edi, r12d; mov eax, exit_group; syscall
        ]
    )


def _start_aarch64(*values: int) -> bytes:
    first_literal = 14 * 4

    def load(register: int, at: int, literal: int) -> int:
        return 0x58000000 | (first_literal + 8 * literal - 4 * at) >> 2 << 5 | register

    words = [
        load(0, 0, 0),
        load(1, 1, 1),
        load(9, 2, 2),
        0xD63F0120,  # blr x9
        0xAA0003F3,  # mov x19, x0
        0xD2800020,  # mov x0, 1
        load(1, 6, 3),
        load(2, 7, 4),
        0xD2800808,  # mov x8, write
        0xD4000001,  # svc 0
        0xAA1303E0,  # mov x0, x19
        0xD2800BC8,  # mov x8, exit_group
        0xD4000001,  # svc 0
        0xD503201F,  # nop
    ]
    return struct.pack(f"<{len(words)}I{len(values)}q", *words, *values)


_START: dict[str, Callable[..., bytes]] = {"x86_64": _start_x86_64, "aarch64": _start_aarch64}
