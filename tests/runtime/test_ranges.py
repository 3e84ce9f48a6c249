"""Errors in the words of the user's own dimensions, and what is known of them."""

from __future__ import annotations

import numpy as np
import pytest

import tenfold
from bench.cpu.sketch import INT64, Sketch
from tenfold.errors import InputError
from tenfold.runtime.engine import Engine
from tenfold.runtime.ranges import Sizes


def built(net: Sketch) -> Engine:
    return tenfold.build(net.model(), effort=0, cache=False)


def named(net: Sketch, name: str) -> None:
    net.nodes[-1].name = name


@pytest.fixture(scope="module")
def neck() -> Engine:
    """Five halvings, and two doublings that are joined with what lay before: YOLO's neck."""
    net = Sketch()
    levels = [net.input("image", (1, 3, "height", "width"))]
    for channels in (3, 4, 4, 4, 4):
        levels.append(net.conv(levels[-1], (channels, 4), 3, 2))
    x = levels[5]
    for number, level in ((2, levels[4]), (3, levels[3])):
        twice = net.constant([1, 1, 2, 2], np.float32)
        x = net("Resize", x, "", twice, mode="nearest", coordinate_transformation_mode="asymmetric")
        x = net("Concat", x, level, axis=1)
        named(net, f"/neck/Concat_{number}")
        x = net.conv(x, (8, 4))
    net.output(x)
    return built(net)


def test_a_multiple(neck: Engine) -> None:
    with pytest.raises(InputError) as caught:
        neck(np.zeros((1, 3, 23, 64), np.float32))
    assert caught.value.message == "input 'image': height 23 is not a multiple of 32, required by /neck/Concat_3"
    assert (caught.value.operator, caught.value.argument) == ("/neck/Concat_3", "image")
    assert str(caught.value).startswith("input 'image': height 23")
    assert caught.value.remedy == "pad it to 25, or to a multiple of 32"
    with pytest.raises(InputError, match="width 33 is not a multiple of 32"):
        neck(np.zeros((1, 3, 64, 33), np.float32))
    assert neck(np.zeros((1, 3, 64, 96), np.float32)).shape == (1, 4, 8, 12)
    assert neck(np.zeros((1, 3, 30, 32), np.float32)).shape == (1, 4, 4, 4)


def test_what_is_known_of_sizes(neck: Engine) -> None:
    assert {name: sizes.multiple for name, sizes in neck.dims.items()} == {"height": 32, "width": 32}
    assert neck.dims["height"].most is None


def test_bounds_and_what_axes_have_in_common() -> None:
    net = Sketch()
    x = net.input("signal", ("batch", 4, None))
    y = net.conv(x, (4, 4), 7, axes=1, pad=0)
    named(net, "/front/Conv")
    y = net.reshape(y, 0, 0, -1, 2)
    named(net, "/pairs/Reshape")
    net.output(y)
    engine = built(net)
    with pytest.raises(InputError, match="the size 6 of axis 2 is less than 8, required by /front/Conv") as caught:
        engine(np.zeros((1, 4, 6), np.float32))
    assert caught.value.remedy == "give 8 or more"
    with pytest.raises(InputError, match="the size 11 of axis 2 is not a multiple of 2, required by /pairs/Reshape"):
        engine(np.zeros((1, 4, 11), np.float32))
    assert engine(np.zeros((2, 4, 12), np.float32)).shape == (2, 4, 3, 2)
    assert engine.dims["signal.2"] == Sizes(8, None, 2)
    assert engine.dims["batch"].multiple == 1


def test_a_table_of_positions_is_the_most() -> None:
    net = Sketch()
    ids = net.input("input_ids", ("batch", "sequence"), INT64)
    length = net("Slice", net("Shape", ids), net.constant([1]), net.constant([2]))
    places = net("Slice", net.drawn(16, 8), net.constant([0]), length, net.constant([0]))
    words = net("Gather", net.drawn(50, 8), ids)
    net.output(net("Add", words, places))
    named(net, "/embeddings/Add")
    engine = built(net)
    assert engine(np.zeros((2, 16), np.int64)).shape == (2, 16, 8)
    with pytest.raises(InputError, match="sequence 17 is more than 16, required by /embeddings/Add"):
        engine(np.zeros((2, 17), np.int64))
    assert engine.dims["sequence"] == Sizes(0, 16, 1)


def test_sizes_of_two_inputs() -> None:
    net = Sketch()
    a, b = net.input("a", (2, "left")), net.input("b", (2, "right"))
    net.output(net("Concat", a, b, axis=0))
    named(net, "/join")
    engine = built(net)
    with pytest.raises(InputError, match="left 3 is not 4, required by /join"):
        engine(np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32))
    assert engine.dims == {"left": Sizes(0, None, 1), "right": Sizes(0, None, 1)}


def test_a_size_that_could_only_be_empty_is_not_blamed_first() -> None:
    """One frame of four for each sound: a batch of 0 would do, too."""
    net = Sketch()
    frames = net("Conv", net.input("sound", ("n", 1, "t")), net.drawn(4, 1, 4), strides=[4])
    net.output(net("Squeeze", frames, net.constant([2])))
    engine = built(net)
    with pytest.raises(InputError, match="input 'sound': t 3 is less than 4") as caught:
        engine(np.zeros((1, 1, 3), np.float32))
    assert caught.value.remedy == "give 4 or more"
