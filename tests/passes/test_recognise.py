"""The forms in which exporters write activations, norms, attention and rotary embeddings."""

from __future__ import annotations

import pytest

from tenfold import ops
from tenfold.ir import text
from tenfold.passes import SIMPLIFY
from tenfold.passes.clean import CommonSubexpressions
from tenfold.passes.recognise import RECOGNISE
from tenfold.rewrite.rule import Steps, rewrite
from tests.passes.sample import assert_same, run, sample

FORMS = {
    "Gelu": [
        "Mul(%x, Mul(f32{0.5}, Add(f32{1}, Erf(Mul(%x, f32{0.70710677})))))",
        "Mul(Mul(%x, Add(Erf(Div(%x, f32{1.4142135})), f32{1})), f32{0.5})",
        "Mul(f32{0.5}, Mul(%x, Add(f32{1}, Erf(Div(%x, f32{1.4142135})))))",
        "Div(Mul(%x, Add(Erf(Div(%x, f32{1.4142135})), f32{1})), f32{2})",
        "Mul(Mul(f32{0.5}, %x), Add(f32{1}, Tanh(Mul(f32{0.797884583}, "
        "Add(%x, Mul(f32{0.044715}, Pow(%x, f32{3})))))))",
        "Mul(%x, Mul(f32{0.5}, Add(f32{1}, Tanh(Mul(Mul(f32{0.797884583}, %x), "
        "Add(f32{1}, Mul(f32{0.044715}, Mul(%x, %x))))))))",
    ],
    "HardSwish": [
        "Div(Mul(%x, Clip(Add(%x, f32{3}), f32{0}, f32{6})), f32{6})",
        "Mul(%x, Div(Clip(Add(f32{3}, %x), f32{0}, f32{6}), f32{6}))",
        "Mul(Mul(%x, Minimum(Maximum(Add(%x, f32{3}), f32{0}), f32{6})), f32{0.16666667})",
        "Mul(HardSigmoid<alpha=0.16666667, beta=0.5>(%x), %x)",
    ],
    "Silu": [
        "Mul(Sigmoid(%x), %x)",
        "Div(%x, Add(f32{1}, Exp(Neg(%x))))",
        "Mul(%x, Div(f32{1}, Add(f32{1}, Exp(Neg(%x)))))",
        "Mul(%x, Sigmoid(Mul(%x, f32{1})))",
    ],
    "LayerNorm": [
        "Mul(Sub(%x, Reduce<kind='mean', axes=(1,)>(%x)), Reciprocal(Sqrt(Add(Reduce<kind='mean', axes=(1,)>("
        "Pow(Sub(%x, Reduce<kind='mean', axes=(1,)>(%x)), f32{2})), f32{1e-5}))))",
        "Div(Sub(%x, Reduce<kind='mean', axes=(1,)>(%x)), Pow(Add(Reduce<kind='mean', axes=(1,)>("
        "Pow(Sub(%x, Reduce<kind='mean', axes=(1,)>(%x)), f32{2})), f32{1e-5}), f32{0.5}))",
    ],
    "RMSNorm": [
        "Mul(f32[8]{1,2,3,4,5,6,7,8}, Mul(%x, Rsqrt(Add(Reduce<kind='mean', axes=(1,)>(Pow(%x, f32{2})), f32{1e-6}))))",
        "Div(%x, Sqrt(Add(Div(Reduce<kind='sum', axes=(1,)>(Mul(%x, %x)), f32{8}), f32{1e-6})))",
    ],
    "Softmax": [
        "Div(Exp(Sub(%x, Reduce<kind='max', axes=(1,)>(%x))), "
        "Reduce<kind='sum', axes=(1,)>(Exp(Sub(%x, Reduce<kind='max', axes=(1,)>(%x)))))",
    ],
}


@pytest.mark.parametrize(("kind", "form"), [(kind, form) for kind, forms in FORMS.items() for form in forms])
def test_forms_of_one_input(kind: str, form: str) -> None:
    check(f'graph (%x: f32[N, 8]) {{ return {form} as "y" }}', kind)


def check(source: str, *kinds: str) -> None:
    graph = text.parse(source, ops.ALL)
    CommonSubexpressions().run(graph, Steps())
    rewrite(graph, SIMPLIFY + RECOGNISE)
    graph.verify()
    found = [node.op.name for node in graph.nodes if node.op.name not in ("Constant", "Reshape", "Transpose", "Slice")]
    assert found == list(kinds)
    before = text.parse(source, ops.ALL)
    inputs = sample(before)
    assert_same(run(before, inputs), run(graph, inputs))


HEADS = "%q: f32[N, 2, S, 4], %k: f32[N, 2, T, 4], %v: f32[N, 2, T, 3]"
TURNED = "Transpose<permutation=(0, 1, 3, 2)>(%k)"


@pytest.mark.parametrize(
    ("inputs", "source"),
    [
        (HEADS, f"MatMul(Softmax<axis=3>(Mul(MatMul(%q, {TURNED}), f32{{0.5}})), %v)"),
        (HEADS, f"MatMul(Softmax<axis=3>(Div(MatMul(%q, {TURNED}), f32{{2}})), %v)"),
        (HEADS, f"MatMul(Softmax<axis=3>(MatMul(Mul(%q, f32{{0.7}}), Mul({TURNED}, f32{{0.7}}))), %v)"),
        (HEADS, "MatMul(Softmax<axis=3>(MatMul(%q, Transpose<permutation=(0, 1, 3, 2)>(Mul(%k, f32{2})))), %v)"),
        (HEADS + ", %m: f32[S, T]", f"MatMul(Softmax<axis=3>(Add(%m, MatMul(%q, {TURNED}))), %v)"),
        (
            HEADS + ", %m: bool[S, T]",
            f"MatMul(Softmax<axis=3>(Where(%m, MatMul(%q, {TURNED}), f32{{-inf}})), %v)",
        ),
        ("%q: f32[S, 4], %k: f32[4, T], %v: f32[T, 3]", "MatMul(Softmax<axis=1>(MatMul(%q, %k)), %v)"),
        (
            "%q: f32[N, S, 4], %k: f32[N, T, 4], %v: f32[N, T, 3], %m: f32[N, 1, T]",
            "MatMul(Softmax<axis=2>(Add(MatMul(%q, Transpose<permutation=(0, 2, 1)>(%k)), %m)), %v)",
        ),
    ],
)
def test_attention(inputs: str, source: str) -> None:
    check(f'graph ({inputs}) {{ return {source} as "y" }}', "Attention")


@pytest.mark.parametrize(
    ("inputs", "source", "kinds"),
    [
        (
            "%q: f32[N, 2, S, 4], %k: f32[1, 2, T, 4], %v: f32[N, 2, T, 3]",
            f"MatMul(Softmax<axis=3>(MatMul(%q, {TURNED})), %v)",
            ("MatMul", "Softmax", "MatMul"),
        ),
        (
            HEADS + ", %m: f32[N, 2, S, T]",
            f"MatMul(Softmax<axis=3>(Mul(MatMul(%q, {TURNED}), %m)), %v)",
            ("MatMul", "Mul", "Softmax", "MatMul"),
        ),
    ],
)
def test_what_is_no_attention(inputs: str, source: str, kinds: tuple[str, ...]) -> None:
    check(f'graph ({inputs}) {{ return {source} as "y" }}', *kinds)


THREE = "%q: f32[N, 2, 3, 4], %k: f32[N, 2, 4, 4], %v: f32[N, 2, 4, 3]"


@pytest.mark.parametrize(
    ("mask", "offset"),
    [
        ("f32[3, 4]{0, 0, -1e30, -1e30, 0, 0, 0, -1e30, 0, 0, 0, 0}", 1),
        ("f32[1, 1, 3, 4]{0, -inf, -inf, -inf, 0, 0, -inf, -inf, 0, 0, 0, -inf}", 0),
        ("f32[3, 4]{-inf, -inf, -inf, -inf, 0, -inf, -inf, -inf, 0, 0, -inf, -inf}", -1),
        ("f32[3, 4]{-1e30, -1e30, -1e30, -1e30, 0, -1e30, -1e30, -1e30, 0, 0, -1e30, -1e30}", None),
        ("f32[3, 4]{0, 0, -2, -2, 0, 0, 0, -2, 0, 0, 0, 0}", None),
        ("f32[3, 4]{0, 0, -1e30, -1e30, 0, 0, -1e30, -1e30, 0, 0, 0, 0}", None),
        ("f32[3, 4]{1, 1, -1e30, -1e30, 1, 1, 1, -1e30, 1, 1, 1, 1}", None),
        ("f32[1, 4]{0, 0, -1e30, -1e30}", None),
    ],
)
def test_causal_masks(mask: str, offset: int | None) -> None:
    source = f'graph ({THREE}) {{ return Attention<scale=0.5, blind="nan">(%q, %k, %v, {mask}) as "y" }}'
    check(source.replace('"nan"', "'nan'"), "Attention")
    graph = text.parse(source.replace('"nan"', "'nan'"), ops.ALL)
    rewrite(graph, SIMPLIFY + RECOGNISE)
    (op,) = (node.op for node in graph.nodes if isinstance(node.op, ops.Attention))
    assert (op.offset if op.causal else None) == offset


TABLE = "f32[2, 4]{1, 2, 1, 2, 3, 4, 3, 4}"


@pytest.mark.parametrize(
    "source",
    [
        """%low = Slice<starts=(0, 0), sizes=(2, 2), steps=(1, 1)>(%x)
           %high = Slice<starts=(0, 2), sizes=(2, 2), steps=(1, 1)>(%x)
           return Add(Mul(%x, TABLE), Mul(Concat<axis=1>(Neg(%high), %low), TABLE)) as "y" """,
        """%low, %high = Split<axis=1, sizes=(2, 2)>(%x)
           return Add(Mul(Concat<axis=1>(Neg(%high), %low), TABLE), Mul(TABLE, %x)) as "y" """,
    ],
)
def test_rotary(source: str) -> None:
    check(f"graph (%x: f32[2, 4]) {{ {source.replace('TABLE', TABLE)} }}", "RotaryEmbedding")
