"""One engine from an image u8 to labels or boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import tenfold
from tenfold import ops, pipeline
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph
from tenfold.ir.interpret import Interpreter
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tests.pipeline.joined import echo, photograph

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SEEN = [pipeline.Resize(40), pipeline.CenterCrop(32), pipeline.Normalize(MEAN, STD)]


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, 2, 1)
        self.last = torch.nn.Linear(8, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(x)).mean((2, 3)))


def test_from_an_image_to_labels() -> None:
    torch.manual_seed(0)
    network, names = Network().eval(), ["ant", "bee", "cat", "dog", "elk", "föx"]
    graph = pipeline.join(
        network, before=SEEN, after=[pipeline.Softmax(), pipeline.TopK(3)], labels=names,
        example_inputs=(torch.zeros(1, 3, 32, 32),),
    )  # fmt: skip
    engine = tenfold.build(graph, effort=0)
    assert pipeline.labels_of(engine) == names
    image = photograph(70, 61)
    picture = Image.fromarray(image).resize((40, 45), Image.Resampling.BILINEAR)
    pixels = torch.tensor(np.asarray(picture)[6:38, 4:36].copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        wanted = (
            network((pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)).softmax(1).topk(3)
        )
    scores, labels = engine(image)
    assert labels.tolist() == wanted.indices[0].tolist()
    np.testing.assert_allclose(scores, wanted.values[0], rtol=1e-4)


def test_numbers_join_the_kernel_of_the_resizing() -> None:
    graph = pipeline.join(echo(dt.f32, 1, 3, 32, 32), before=[*SEEN, pipeline.SwapRedBlue()])
    engine = tenfold.build(graph, effort=0)
    assert all(span.is_native for span in engine.plan.spans)
    sums = [one for one in engine.report["regions"] if "sum" in one["kind"] and len(one["domain"]) == 4]
    assert len(sums) == 2, "one for columns, one for rows; the normalised pixels are what the second stores"
    assert not [one for one in engine.report["regions"] if one["kind"] == "Cast Mul Add"]


def test_several_images() -> None:
    graph = pipeline.join(echo(dt.f32, symbol("batch", 1), 3, 32, 32), before=SEEN, batch=True)
    images = np.stack([photograph(50, 44, seed) for seed in range(3)])
    many = Interpreter().run(graph, {"image": images})["y"]
    one = Interpreter().run(pipeline.join(echo(dt.f32, 1, 3, 32, 32), before=SEEN), {"image": images[1]})["y"]
    assert many.shape == (3, 3, 32, 32)
    np.testing.assert_array_equal(many[1], one)


def test_boxes_lie_in_the_image_that_came() -> None:
    """A detector that finds the frame it sees: its inside is the whole image."""
    graph = Graph()
    x = graph.input("x", Type(dt.f32, (1, 3, 64, 64)))
    rows = np.array([[[32, 32, 64, 32, 0.9, 0.1]]], np.float32).transpose(0, 2, 1)
    head = ops.Constant(Tensor(np.ascontiguousarray(rows)))()
    dull = ops.Mul()(ops.Reduce("sum", (0, 1, 2, 3), False)(x), ops.scalar(0, dt.f32)())
    graph.set_outputs([ops.Add()(head, dull)], ["head"])
    joined = pipeline.join(
        graph, before=[pipeline.Letterbox(64), pipeline.Normalize()], after=[pipeline.Decode(), pipeline.Suppress()]
    )
    found = tenfold.build(joined, effort=0).run({"image": photograph(100, 200)})
    np.testing.assert_allclose(found["boxes"], [[0, 0, 200, 100]], atol=1e-4)
    assert found["labels"].tolist() == [0] and found["images"].tolist() == [0]


def test_a_model_of_open_sizes_takes_those_of_the_picture() -> None:
    height = symbol("height", 32, 640, 32)
    model = echo(dt.f32, symbol("batch", 1), 3, height, symbol("width", 1))
    engine = tenfold.build(pipeline.join(model, before=[pipeline.Normalize()]), effort=0)
    assert engine(photograph(64, 50)).shape == (3, 64, 50)
    with pytest.raises(tenfold.InputError, match="input 'x' of the model"):
        engine(photograph(65, 50))


def test_refusals() -> None:
    small = echo(dt.f32, 1, 3, 16, 16)
    with pytest.raises(tenfold.OptionError, match="the steps before it give") as one:
        pipeline.join(small, before=SEEN)
    assert "layout='NCHW'" in str(one.value)
    with pytest.raises(tenfold.OptionError, match="no input 'image'"):
        pipeline.join(small, before=SEEN, input="image")
    with pytest.raises(tenfold.OptionError, match="no image"):
        pipeline.join(echo(dt.f32, 1, 10), before=SEEN)
