"""Models as wholes: sizes and their overrides, names, functions, subgraphs, external data, what is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tenfold.errors import InputError, LimitError, ModelError, OptionError, UnsupportedError
from tenfold.importers import open_model
from tenfold.ir import dim
from tenfold.ir.graph import Graph
from tenfold.ir.interpret import Interpreter
from tenfold.ir.substitute import evaluate
from tenfold.ops import Constant, Fill, If, Loop, Scan
from tests.importers.single import reference

FLOAT = TensorProto.FLOAT


def text(body: str, functions: str = "", opset: int = 18) -> onnx.ModelProto:
    """A model in ONNX's textual form."""
    head = f'<ir_version: 8, opset_import: ["" : {opset}, "local" : 1]>'
    return onnx.parser.parse_model(f"{head}\n{body}\n{functions}")


def run(graph: Graph, **inputs: np.ndarray) -> list[np.ndarray]:
    graph.verify()
    return list(Interpreter().run(graph, inputs).values())


def kinds(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes]


class TestSizes:
    MODEL = "g (float[N, 3, ?] x, float[N, ?] y) => (float[N] z) { z = Size(x) }"

    def test_names(self) -> None:
        x, y = open_model(text(self.MODEL)).inputs
        assert x.type.shape == (dim.symbol("N"), 3, dim.symbol("x.2"))
        assert y.type.shape[1] == dim.symbol("y.1")

    def test_shapes_override_even_known_sizes(self) -> None:
        graph = open_model(text(self.MODEL), shapes={"x": (2, "C", 8)}, dims={"C": (4, 64, 4)})
        assert graph.inputs[0].type.shape == (2, dim.symbol("C", low=4, high=64, multiple=4), 8)

    def test_dims(self) -> None:
        graph = open_model(text(self.MODEL), dims={"N": 5, "x.2": (1, 9)})
        assert graph.inputs[0].type.shape == (5, 3, dim.symbol("x.2", low=1, high=9))
        assert graph.inputs[1].type.shape[0] == 5

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"dims": {"M": 5}}, "no dimension 'M'"),
            ({"dims": {"y.2": 5}}, "did you mean 'y.1'"),
            ({"shapes": {"X": (1,)}}, "no input 'X'"),
            ({"shapes": {"x": (1, 2)}}, "declares 3 axes"),
            ({"shapes": {"x": (1, -2, 3)}}, "-2"),
            ({"dims": {"N": (5, 2)}}, "N"),
            ({"outputs": ["zz"]}, "no value 'zz'"),
        ],
    )
    def test_mistakes(self, options: dict[str, object], message: str) -> None:
        with pytest.raises(OptionError, match=message):
            open_model(text(self.MODEL), **options)  # type: ignore[arg-type]


class TestShapeChains:
    def test_a_flattening_that_is_computed_vanishes(self) -> None:
        model = text("""g (float[N, 3, H, W] x) => (float[A, B] z) {
            s = Shape(x)  zero = Constant<value_int = 0>()  n = Gather(s, zero)
            axes = Constant<value_ints = [0]>()  n1 = Unsqueeze(n, axes)
            rest = Constant<value_ints = [-1]>()  to = Concat<axis = 0>(n1, rest)
            z = Reshape(x, to)
        }""")
        graph = open_model(model)
        assert kinds(graph) == ["Reshape"]
        assert run(graph, x=np.zeros((2, 3, 4, 5), np.float32))[0].shape == (2, 60)

    def test_sizes_through_floating_point(self) -> None:
        model = text("""g (float[N, C, H, W] x) => (float[A, B, C, D] z) {
            s = Shape(x)  two = Constant<value_int = 2>()  h = Gather(s, two)
            half = Constant<value_float = 0.5>()  f = Cast<to = 1>(h)  m = Mul(f, half)  l = Floor(m)
            i = Cast<to = 7>(l)  axes = Constant<value_ints = [0]>()  i1 = Unsqueeze(i, axes)
            st = Constant<value_ints = [0]>()  ax = Constant<value_ints = [2]>()
            z = Slice(x, st, i1, ax)
        }""")
        graph = open_model(model)
        assert kinds(graph) == ["Slice"]
        assert run(graph, x=np.zeros((1, 1, 7, 2), np.float32))[0].shape == (1, 1, 3, 2)

    def test_a_range_of_a_size_in_floating_point(self) -> None:
        model = text("""g (float[N] x) => (float[N] z) {
            s = Size(x)  f = Cast<to = 1>(s)  zero = Constant<value_float = 0.0>()  one = Constant<value_float = 1.0>()
            r = Range(zero, f, one)  z = Add(x, r)
        }""")
        graph = open_model(model)
        assert not any(size.data_dependent for size in graph.outputs[0].type.shape if not isinstance(size, int))
        np.testing.assert_array_equal(run(graph, x=np.ones(4, np.float32))[0], [1, 2, 3, 4])

    def test_contents_of_an_input_give_sizes(self) -> None:
        model = text("g (int64[2] to) => (float[A, B] z) { z = ConstantOfShape(to) }")
        graph = open_model(model)
        assert [type(node.op) for node in graph.nodes] == [Fill]
        assert run(graph, to=np.array([2, 3]))[0].shape == (2, 3)

    def test_arithmetic_on_an_input_stays_arithmetic(self) -> None:
        model = text("g (int64[3] x) => (int64[3] z) { z = Add(x, x) }")
        assert kinds(open_model(model)) == ["Add"]

    def test_a_shape_held_by_data(self) -> None:
        model = text("g (float[N] x, int64[K] many, int64[2] to) => (float[A, B] z) { z = Reshape(x, to) }")
        graph = open_model(model)
        found = run(graph, x=np.arange(6, dtype=np.float32), many=np.array([1]), to=np.array([2, -1]))
        assert found[0].shape == (2, 3)

    def test_indivisible(self) -> None:
        model = text("g (float[7] x) => (float[A, B] z) { s = Constant<value_ints = [2, -1]>()  z = Reshape(x, s) }")
        with pytest.raises(ModelError, match="no multiple of 2"):
            open_model(model)

    def test_unfollowed_factors_are_left_to_the_data(self) -> None:
        model = text("""g (float[N] x) => (float[M] z) {
            s = Size(x)  f = Cast<to = 1>(s)  c = Constant<value_float = 0.7>()  m = Mul(f, c)  i = Cast<to = 7>(m)
            a = Constant<value_ints = [0]>()  i1 = Unsqueeze(i, a)  z = Slice(x, a, i1)
        }""")
        x = np.arange(10, dtype=np.float32)
        np.testing.assert_array_equal(run(open_model(model), x=x)[0], reference(model, {"x": x})[0])


class TestNames:
    MODEL = "g (float[N] x) => (float[N] z) { y = Relu(x)  z = Exp(y) }"

    def test_values_and_sources(self) -> None:
        graph = open_model(text(self.MODEL))
        relu, exp = graph.nodes
        assert relu.output.name == "y" and relu.source == ("Relu(y)",)
        assert exp.source == ("Exp(z)",) and graph.output_names == ("z",)

    def test_any_value_can_be_an_output(self) -> None:
        graph = open_model(text(self.MODEL), outputs=["y", "x"])
        assert graph.output_names == ("y", "x") and kinds(graph) == ["Relu"]

    def test_weights_are_named(self) -> None:
        model = text("g (float[2] x) => (float[2] z) <float[2] w = {1, 2}> { z = Add(x, w) }")
        (found,) = [node.op for node in open_model(model).nodes if isinstance(node.op, Constant)]
        assert found.tensor.source == "w"

    def test_what_no_output_needs_is_not_converted(self) -> None:
        model = text("g (float[N] x) => (float[N] z) { y = local.Unheard(x)  z = Exp(x) }")
        assert kinds(open_model(model)) == ["Exp"]


class TestFunctions:
    def test_a_function_with_attributes(self) -> None:
        model = text(
            "g (float[N] x) => (float[N] z) { z = local.twice<slope = 0.5>(x) }",
            """<domain: "local", opset_import: ["" : 18]>
            twice <slope> (a) => (c) {
                b = LeakyRelu<alpha: float = @slope>(a)  c = LeakyRelu<alpha: float = @slope>(b)
            }""",
        )
        graph = open_model(model)
        np.testing.assert_array_equal(run(graph, x=np.array([-4.0, 4], np.float32))[0], [-1, 4])
        assert graph.nodes[0].source[0].startswith("twice(z)/")

    def test_a_function_that_calls_itself(self) -> None:
        model = text(
            "g (float[N] x) => (float[N] z) { z = local.again(x) }",
            '<domain: "local", opset_import: ["" : 18, "local" : 1]> again (a) => (b) { b = local.again(a) }',
        )
        with pytest.raises(LimitError, match="deep"):
            open_model(model)

    def test_operators_that_onnx_defines_by_others(self) -> None:
        model = text(
            "g (float[2, 3] x) => (float[A, B] z) { s = Constant<value_ints = [2, 2]>()  z = CenterCropPad(x, s) }"
        )
        assert run(open_model(model), x=np.zeros((2, 3), np.float32))[0].shape == (2, 2)


class TestMissing:
    def test_all_are_listed_at_once(self) -> None:
        model = text(
            "g (float[N] x) => (float[N] z) { a = local.One(x)  b = local.Two(a)  c = local.One(x)  z = Add(b, c) }"
        )
        with pytest.raises(UnsupportedError) as caught:
            open_model(model)
        assert "local.One (opset 1) at One(a), One(c)" in str(caught.value)
        assert caught.value.remedy

    def test_no_operator_set(self) -> None:
        model = text("g (float[N] x) => (float[N] z) { z = other.One(x) }")
        with pytest.raises(ModelError, match="imports no operator set"):
            open_model(model)


class TestBranches:
    def test_a_known_condition_is_decided(self) -> None:
        graph = open_model(text(self.rank_two("Constant<value_int = 1>()")))
        assert kinds(graph) == ["Exp"]

    @staticmethod
    def rank_two(condition: str) -> str:
        return f"""g (float[N] x, bool flag) => (float[N] z) {{
            i = {condition}  c = Cast<to = 9>(i)
            z = If (c) <then_branch = t () => (float[N] a) {{ a = Exp(x) }},
                        else_branch = e () => (float[N] b) {{ b = Neg(x) }}>
        }}"""

    def test_a_flag_of_the_call(self) -> None:
        graph = open_model(text(self.rank_two("Identity(flag)")))
        assert [type(node.op) for node in graph.nodes] == [If]
        x = np.array([1.0, 2], np.float32)
        for flag, expected in ((True, np.exp(x)), (False, -x)):
            np.testing.assert_allclose(run(graph, x=x, flag=np.array(flag))[0], expected, rtol=1e-6)

    def test_sizes_join_by_the_condition(self) -> None:
        graph = open_model(
            text("""g (float[N] x, bool flag) => (float[M] z) {
            z = If (flag) <then_branch = t () => (float[M] a) { a = Concat<axis = 0>(x, x) },
                           else_branch = e () => (float[M] b) { b = Identity(x) }>
        }""")
        )
        (size,) = graph.outputs[0].type.shape
        assert not isinstance(size, int) and evaluate(size, {"N": 3, "flag[0]": 1}) == 6
        assert evaluate(size, {"N": 3, "flag[0]": 0}) == 3

    UNLIKE = """g (float[N, M] x) => (float[K] z) {
        s = Shape<start = 1>(x)  one = Constant<value_ints = [1]>()  c = Equal(s, one)
        y = If (c) <then_branch = t () => (float[N] a) { ax = Constant<value_ints = [1]>()  a = Squeeze(x, ax) },
                    else_branch = e () => (float[N, M] b) { b = Identity(x) }>
        """

    def test_unlike_ranks_are_decided_by_what_follows(self) -> None:
        graph = open_model(
            text(
                self.UNLIKE + "axes = Constant<value_ints = [1, 2]>() w = Unsqueeze(y, axes)"
                " z = Transpose<perm = [2, 1, 0]>(w) }"
            )
        )
        ((condition, operator),) = graph.assumptions
        assert operator == "If(y)" and condition == dim.equal(dim.symbol("M"), 1)
        assert run(graph, x=np.zeros((3, 1), np.float32))[0].shape == (1, 1, 3)
        with pytest.raises(
            InputError, match=r"If\(y\): the rest of the model takes only sizes for which equal\(M, 1\) holds"
        ):
            run(graph, x=np.zeros((3, 2), np.float32))

    def test_unlike_ranks_that_both_fit(self) -> None:
        graph = open_model(text(self.UNLIKE + "z = Relu(y) }"))
        assert str(graph.outputs[0].type.dtype) == 'opt<f32["..."]>'
        for shape, kept in (((3, 1), (3,)), ((3, 2), (3, 2)), ((0, 1), (0,))):
            assert run(graph, x=np.ones(shape, np.float32))[0].item().shape == kept

    BY_DATA = """g (float[N, M] x, float[K] d) => (float z) {{
        zero = Constant<value = float {{0.0}}>()  s = ReduceSum<keepdims = 0>(d)  c = Greater(s, zero)
        y = If (c) <then_branch = t () => (float[N] a) {{ ax = Constant<value_ints = [1]>()
                                                         a = ReduceSum<keepdims = 0>(x, ax) }},
                    else_branch = e () => (float[N, M] b) {{
                        {inner}
                    }}>
        {rest} }}"""
    NEGATED = "b = Neg(x)"
    AGAIN = """m = ReduceMax<keepdims = 0>(d)  k = Greater(m, zero)
               b = If (k) <then_branch = u () => (float f) { f = ReduceMin<keepdims = 0>(x) },
                           else_branch = v () => (float[N, M] g) { g = Neg(x) }>"""

    @pytest.mark.parametrize("inner", [NEGATED, AGAIN], ids=["one If", "an If in the other"])
    @pytest.mark.parametrize("rest", ["w = Exp(y)  z = ReduceSum<keepdims = 0>(w)", "w = Exp(y)  z = Neg(w)"])
    def test_what_follows_unlike_ranks_is_in_both(self, inner: str, rest: str) -> None:
        graph = open_model(text(self.BY_DATA.format(inner=inner, rest=rest)))
        assert isinstance(graph.nodes[-1].op, If)
        x = np.arange(6, dtype=np.float32).reshape(2, 3) / 8
        for d in ([1.0, 2], [-5, 1], [-5, -1]):
            y = x.sum(1) if sum(d) > 0 else x.min() if inner is self.AGAIN and max(d) > 0 else -x
            wanted = np.exp(y).sum() if "Sum" in rest else -np.exp(y)
            (found,) = run(graph, x=x, d=np.array(d, np.float32))
            np.testing.assert_allclose(found if found.dtype != object else found.item(), wanted, rtol=1e-6)

    def test_a_rank_that_data_decide_does_not_leave_a_loop(self) -> None:
        body = "k2 = Identity(k)  q = Neg(w)"
        loop = self.BY_DATA.format(inner=self.NEGATED, rest="w = Exp(y) " + body).partition("y = If")
        model = text(
            f"{loop[0]} n = Constant<value = int64 {{3}}>()  on = Constant<value = bool {{1}}>()"
            f" z = Loop (n, on) <body = l (int64 i, bool k) => (bool k2, float q) {{ {loop[1]}{loop[2]}> }}"
        )
        with pytest.raises(UnsupportedError, match=r"Loop.*number of axes"):
            open_model(model)


class TestLoops:
    def test_state_and_scans(self) -> None:
        model = text("""g (float[N] x, int64 n) => (float[N] last, float[K, N] all) {
            c = Constant<value = bool {1}>()
            last, all = Loop (n, c, x) <body = b (int64 i, bool ci, float[N] s) => (bool co, float[N] t, float[N] r) {
                co = Identity(ci)  t = Add(s, x)  r = Neg(t) }>
        }""")
        graph = open_model(model)
        assert any(isinstance(node.op, Loop) for node in graph.nodes)
        x = np.array([1.0, 2], np.float32)
        last, every = run(graph, x=x, n=np.array(3))
        np.testing.assert_array_equal(last, x * 4)
        np.testing.assert_array_equal(every, np.outer([-2, -3, -4], x))

    def test_a_state_that_grows(self) -> None:
        model = text("""g (float[N] x, int64 n) => (float[M] last) {
            c = Constant<value = bool {1}>()
            last = Loop (n, c, x) <body = b (int64 i, bool ci, float[M] s) => (bool co, float[K] t) {
                co = Identity(ci)  t = Concat<axis = 0>(s, x) }>
        }""")
        assert run(open_model(model), x=np.zeros(2, np.float32), n=np.array(3))[0].shape == (8,)

    def test_scan_backwards(self) -> None:
        model = text("""g (float[N] s0, float[N, T] xs) => (float[N] s, float[N, T] ys) {
            s, ys = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_input_directions = [1],
                          scan_output_axes = [1], scan_output_directions = [1],
                          body = b (float[N] a, float[N] x) => (float[N] c, float[N] y) {
                c = Add(a, x)  y = Identity(c) }> (s0, xs)
        }""")
        graph = open_model(model)
        assert any(isinstance(node.op, Scan) for node in graph.nodes)
        inputs = {"s0": np.zeros(2, np.float32), "xs": np.arange(6, dtype=np.float32).reshape(2, 3)}
        last, rows = run(graph, **inputs)
        np.testing.assert_array_equal(last, [3, 12])
        np.testing.assert_array_equal(rows, [[3, 3, 2], [12, 9, 5]])


class TestExternalData:
    def save(self, folder: Path, **entries: str) -> onnx.ModelProto:
        data = np.arange(6, dtype=np.float32)
        (folder / "weights.bin").write_bytes(b"pad!" + data.tobytes())
        weight = TensorProto(name="w", data_type=FLOAT, dims=[2, 3], data_location=TensorProto.EXTERNAL)
        for key, value in {"location": "weights.bin", "offset": "4", "length": "24", **entries}.items():
            weight.external_data.add(key=key, value=value)
        x = helper.make_tensor_value_info("x", FLOAT, [2, 3])
        z = helper.make_tensor_value_info("z", FLOAT, [2, 3])
        graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["z"])], "g", [x], [z], [weight])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        (folder / "m.onnx").write_bytes(model.SerializeToString())
        return model

    def test_read_beside_the_model(self, tmp_path: Path) -> None:
        self.save(tmp_path)
        found = run(open_model(tmp_path / "m.onnx"), x=np.zeros((2, 3), np.float32))
        np.testing.assert_array_equal(found[0], np.arange(6).reshape(2, 3))

    def test_data_root(self, tmp_path: Path) -> None:
        model = self.save(tmp_path)
        run(open_model(model.SerializeToString(), data_root=tmp_path), x=np.zeros((2, 3), np.float32))
        with pytest.raises(ModelError, match="data_root"):
            open_model(model)

    @pytest.mark.parametrize(
        "entries",
        [
            {"location": "../weights.bin"},
            {"location": "/etc/passwd"},
            {"location": "nowhere.bin"},
            {"offset": "8"},
            {"offset": "-4"},
            {"offset": "many"},
            {"length": "23"},
            {"offset": str(2**62)},
        ],
    )
    def test_mistakes(self, tmp_path: Path, entries: dict[str, str]) -> None:
        self.save(tmp_path, **entries)
        with pytest.raises(ModelError, match=r"weights|passwd|nowhere|tensor w"):
            open_model(tmp_path / "m.onnx")


def test_a_graph_is_returned_as_it_is() -> None:
    graph = Graph()
    assert open_model(graph) is graph
    with pytest.raises(OptionError, match=r"builtins\.int"):
        open_model(3)


def test_other_tensors() -> None:
    weights = [
        numpy_helper.from_array(np.array(["a", "bc"], object), "s"),
        helper.make_tensor("f", TensorProto.BFLOAT16, [2], [1.0, 2.5]),
        helper.make_tensor("i", TensorProto.INT4, [3], [1, -2, 7]),
        helper.make_tensor("e", FLOAT, [0, 2], []),
    ]
    graph = helper.make_graph([], "g", [], [onnx.ValueInfoProto(name=w.name) for w in weights], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    texts, halves, small, empty = run(open_model(model))
    assert texts.tolist() == ["a", "bc"] and halves.tolist() == [1.0, 2.5]
    assert small.astype(int).tolist() == [1, -2, 7] and empty.shape == (0, 2)


def test_entries_are_checked_at_the_call() -> None:
    graph = open_model(text("g (int64[2] x) => (int64[2] z) { z = Neg(x) }"))
    with pytest.raises(InputError):
        Interpreter().run(graph, {"x": np.array([1, 2, 3])})
