"""The compile worker: a process that turns LLVM modules into objects, one request after another.

Run as `python -m tenfold.codegen.cpu.worker`; pool.py starts it and speaks its protocol. A request on standard input is
a frame of JSON ({"triple", "cpu", "features", "optimise"}) and a frame of LLVM IR in textual form; the answer on
standard output is a frame of one status byte (0: an object follows, 1: why there is none) and its payload. A frame
is a 4-byte little-endian length and that many bytes. A fatal LLVM error ends the process: its text is on standard
error.
"""

from __future__ import annotations

import functools
import json
import struct
import sys
from typing import BinaryIO

import llvmlite.binding as llvm

LENGTH = struct.Struct("<I")


def write_frame(stream: BinaryIO, *parts: bytes) -> None:
    """Write one frame holding `parts` in a row, and flush."""
    stream.write(LENGTH.pack(sum(map(len, parts))))
    for part in parts:
        stream.write(part)
    stream.flush()


def read_frame(stream: BinaryIO) -> bytes:
    """Read one frame; EOFError if the stream ends before its last byte."""
    (size,) = LENGTH.unpack(_read(stream, LENGTH.size))
    return _read(stream, size)


def _read(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise EOFError(f"expected {size} bytes, got {len(data)}")
    return data


@functools.cache
def _machine(triple: str, cpu: str, features: str) -> llvm.TargetMachine:
    target = llvm.Target.from_triple(triple)
    return target.create_target_machine(cpu=cpu, features=features, opt=2, reloc="pic", codemodel="small")


def compile_module(source: str, triple: str, cpu: str, features: str, optimise: bool) -> bytes:
    """The ELF object of an LLVM module in textual form; RuntimeError with LLVM's words if it is not valid.

    `optimise` runs LLVM's O2 pipeline without its vectorisers first; otherwise code is generated as it stands.
    """
    module = llvm.parse_assembly(source)
    module.triple = triple
    module.verify()
    machine = _machine(triple, cpu, features)
    module.data_layout = str(machine.target_data)
    if optimise:
        tuning = llvm.create_pipeline_tuning_options(speed_level=2)
        tuning.loop_vectorization = False
        tuning.slp_vectorization = False
        builder = llvm.create_pass_builder(machine, tuning)
        builder.getModulePassManager().run(module, builder)
    return bytes(machine.emit_object(module))


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until the stream of them ends."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    while True:
        try:
            options = json.loads(read_frame(requests))
            source = read_frame(requests).decode()
        except EOFError:
            return
        try:
            status, payload = b"\0", compile_module(source, **options)
        except RuntimeError as error:
            status, payload = b"\1", str(error).strip().encode()
        write_frame(answers, status, payload)


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
