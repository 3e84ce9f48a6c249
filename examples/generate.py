"""Generates tokens with GPT-2 in Tenfold and in transformers, and compares tokens and time.

No package carries the trained weights of GPT-2, so weights here are random, and so is the text; what it costs is not.
Give a folder of `save_pretrained` to use a model of your own.

    python examples/generate.py [FOLDER] [--prompt 128] [--new 64] [--small]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import transformers

import tenfold

THREADS = 2


def model_of(arguments: argparse.Namespace) -> transformers.PreTrainedModel:
    """The model of the user's folder, else a GPT-2 with random weights."""
    if arguments.folder:
        loaded: transformers.PreTrainedModel = transformers.AutoModelForCausalLM.from_pretrained(arguments.folder)
        return loaded.eval()
    torch.manual_seed(0)
    small = {"n_embd": 64, "n_layer": 2, "n_head": 4} if arguments.small else {}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**small)).eval()


def timed(work: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, float]:
    """What a piece of work gives, and the seconds of its second run."""
    work()
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def main() -> None:
    """Build, generate by both, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    model = model_of(arguments)
    print("building ...")
    fast = tenfold.torch.generation(model, max_length=arguments.prompt + arguments.new, threads=THREADS)
    prompt = torch.randint(0, model.config.vocab_size, (1, arguments.prompt))
    seen = torch.ones_like(prompt)
    options = {"max_new_tokens": arguments.new, "eos_token_id": None}
    with torch.inference_mode():
        wanted, theirs = timed(lambda: model.generate(prompt, attention_mask=seen, do_sample=False, **options))
    found, ours = timed(lambda: fast.generate(prompt, **options))
    print(f"tokens     {found[0, -8:].tolist()} at the end; the same as transformers': {torch.equal(found, wanted)}")
    print(f"Tenfold      {ours:6.2f} s, {arguments.new / ours:6.1f} tokens/s")
    print(f"transformers {theirs:6.2f} s, {arguments.new / theirs:6.1f} tokens/s")


if __name__ == "__main__":
    main()
