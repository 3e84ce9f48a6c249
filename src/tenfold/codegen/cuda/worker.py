"""The compile worker for GPUs: a process that turns programs into machine code, one after another.

Run as `python -m tenfold.codegen.cuda.worker SM`; pool.py starts it and speaks its protocol: a 4-byte little-endian
length and that many bytes of a pickled `Program` on standard input, a pickled `Binary` or `Failure` the same way on
standard output. What Triton prints goes to standard error.
"""

from __future__ import annotations

import pickle
import sys
from typing import BinaryIO

from tenfold.codegen.cuda.program import Binary, Failure, Program
from tenfold.codegen.cuda.triton import compile_program


def serve(requests: BinaryIO, answers: BinaryIO, sm: int) -> None:
    """Answer requests until the stream of them ends."""
    while len(size := requests.read(4)) == 4:
        payload = pickle.dumps(answer(pickle.loads(requests.read(int.from_bytes(size, "little"))), sm))
        answers.write(len(payload).to_bytes(4, "little") + payload)
        answers.flush()


def answer(program: Program, sm: int) -> Binary | Failure:
    """The machine code of a program, or why there is none: Triton and ptxas refuse by all kinds of exceptions."""
    try:
        return compile_program(program, sm)
    except Exception as error:
        return Failure(f"{type(error).__name__}: {error}"[:2000])


if __name__ == "__main__":
    output, sys.stdout = sys.stdout, sys.stderr
    serve(sys.stdin.buffer, output.buffer, int(sys.argv[1]))
