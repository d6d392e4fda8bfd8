"""Files in plain sessions: ONNX Runtime alone, no option but the level of optimisation, which must not change a bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from programs import runs

from convert.formats.onnx import Dtype, Form, assemble, export, states
from convert.lowering.int8 import int8
from simulators.backends import Recording
from simulators.backends.numpy import NumpyBackend
from spikestrip.operations import (
    GELU,
    GLU,
    LIF,
    Affine,
    Clamp,
    Conv1d,
    Flatten,
    Join,
    LayerNorm,
    LeakyIntegrator,
    Operation,
    RefractoryLIF,
    Scale,
    Threshold,
)
from spikestrip.program import INPUT, Layer, Program, chain

Arrays = dict[str, np.ndarray]
Level = onnxruntime.GraphOptimizationLevel
LEVELS = (Level.ORT_DISABLE_ALL, Level.ORT_ENABLE_BASIC, Level.ORT_ENABLE_EXTENDED, Level.ORT_ENABLE_ALL)
DTYPES: tuple[Dtype, ...] = ("float32", "float64")
FORMS: tuple[Form, ...] = ("sequence", "step")
SOME = settings(max_examples=40, deadline=None)


def run(program: Program, x: np.ndarray, form: Form, dtype: Dtype, level: Any, eight: bool = False) -> Arrays:
    """All outputs of a plain session, (L, B, ...), on x (B, L, ...)."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    model = assemble(export(int8(program) if eight else program, form, dtype, int8=eight)).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    state = {name: np.zeros((len(x), *shape), dtype) for name, shape in states(program).items()}
    x = np.ascontiguousarray(x.swapaxes(0, 1), dtype)
    if form == "sequence":
        return dict(zip(names, session.run(names, {"x": x} | state), strict=True))
    steps = []
    for now in x:
        results = dict(zip(names, session.run(names, {"x": now} | state), strict=True))
        state = {name: results[f"{name}.out"] for name in state}
        steps.append(results)
    return {name: steps[-1][name] if name.endswith(".out") else np.stack([s[name] for s in steps]) for name in names}


def oracle(program: Program, x: np.ndarray, dtype: Dtype = "float64") -> Recording:
    return NumpyBackend().run(program, x, dtype, "cpu", lambda steps: None)


def same_spikes(results: Arrays, expected: Recording) -> None:
    for name, train in expected.spikes.items():
        np.testing.assert_array_equal(results[f"{name}.spikes"].swapaxes(0, 1), train, err_msg=name)


def every(program: Program, x: np.ndarray, dtype: Dtype) -> list[Arrays]:
    return [run(program, x, form, dtype, level) for form in FORMS for level in LEVELS]


class Foreign:
    """A random graph as others have it: mostly one wide, factors before and after products, streams that meet, loops.

    exact: all numbers are halves, so that sums of a few steps have no rounding and often tie.
    """

    def __init__(self, seed: int, exact: bool) -> None:
        self.rng, self.exact = np.random.default_rng(seed), exact
        shape = (int(self.rng.choice([1, 1, 2, 3])),) if self.rng.random() < 0.7 else (1, int(self.rng.integers(1, 5)))
        layers: list[Layer] = []
        shapes: dict[str, tuple[int, ...]] = {INPUT: shape}
        self.x = self.numbers(2, 4 if exact else 30, *shape).astype(np.float32)
        for place in range(self.rng.integers(2, 7)):
            name, before = f"n{place}", list(shapes)[-1]
            operation = self.operation(shapes[before])
            others = [other for other in shapes if shapes[other] == shapes[before] and other != before]
            inputs = (before, str(self.rng.choice(others))) if others and self.chance(0.3) else (before,)
            shapes[name] = operation.output_shape(shapes[before])
            loops = isinstance(operation, LIF) and self.chance(0.3)
            layers.append(Layer(name, operation, inputs, (name,) if loops else ()))
        self.program = Program(shape, tuple(layers), layers[-1].name)

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def numbers(self, *shape: int) -> np.ndarray:
        return self.rng.choice([-1, -0.5, 0.5, 1, 1.5, 2], shape) if self.exact else self.rng.normal(0.3, 1, shape)

    def weights(self, *shape: int) -> np.ndarray:
        return self.numbers(*shape).astype(np.float32)

    def shares(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.rng.choice([0.5, 1], shape) if self.exact else self.rng.uniform(0.05, 0.95, shape)

    def operation(self, shape: tuple[int, ...]) -> Operation:
        kinds = ["affine", "affine", "scale", "scale", "lif", "li", "refractory", "threshold", "clamp", "join"]
        kinds += ["conv", "conv", "flat"] if len(shape) > 1 else []
        kinds += [] if self.exact else ["gelu"]
        outputs = int(self.rng.choice([1, 1, 1, 2, 3]))
        bias = self.weights(outputs) if self.chance(0.5) else None
        gains = [self.numbers(*shape) if self.chance(0.6) else None for _ in range(2)]
        match self.rng.choice(kinds):
            case "affine":
                return Affine(self.weights(outputs, shape[-1]), bias)
            case "conv":
                return Conv1d(self.weights(outputs, shape[0], int(self.rng.integers(1, shape[1] + 1))), bias)
            case "flat":
                return Flatten()
            case "scale":
                return Scale(self.numbers(*shape))
            case "lif":
                reset = "soft" if self.chance(0.5) else "hard"
                return LIF(self.shares(shape), self.shares(shape), None, *gains, reset)  # type: ignore[arg-type]
            case "li":
                return LeakyIntegrator(self.shares(shape), *gains)
            case "refractory":
                return RefractoryLIF(*(self.shares(shape) for _ in range(4)))
            case "threshold":
                return Threshold(self.shares(shape), "ge" if self.chance(0.5) else "gt")
            case "clamp":
                return Clamp(-1, 2) if self.exact else Clamp(-0.7, 1.1)
            case "gelu":
                return GELU()
            case _:
                return Join()


@pytest.mark.parametrize("dtype", DTYPES)
@SOME
@given(seed=st.integers(0, 2**32 - 1))
def test_exact_sums_stay_exact_at_every_level_ties_included(dtype: Dtype, seed: int) -> None:
    graph = Foreign(seed, exact=True)
    expected = oracle(graph.program, graph.x, dtype)
    assume(np.array_equal(expected.output, oracle(graph.program, graph.x).output))  # float32 holds all digits
    for results in every(graph.program, graph.x, dtype):
        same_spikes(results, expected)
        np.testing.assert_array_equal(results["y"].swapaxes(0, 1), expected.output)


@SOME
@given(seed=st.integers(0, 2**32 - 1))
def test_float64_files_are_float64_at_every_level(seed: int) -> None:
    graph = Foreign(seed, exact=False)
    expected = oracle(graph.program, graph.x)
    scale = max(1, np.abs(expected.output).max(initial=0))
    for results in every(graph.program, graph.x, "float64"):
        same_spikes(results, expected)
        assert np.abs(results["y"].swapaxes(0, 1) - expected.output).max(initial=0) <= 1e-12 * scale


@pytest.mark.parametrize("dtype", DTYPES)
@SOME
@given(seed=st.integers(0, 2**32 - 1))
def test_no_level_changes_a_bit_of_a_foreign_graph(dtype: Dtype, seed: int) -> None:
    graph = Foreign(seed, exact=False)
    for form in FORMS:
        unchanged(graph.program, graph.x, form, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=10, deadline=None)
@given(drawn=runs(), eight=st.booleans())
def test_no_level_changes_a_bit_of_a_network(dtype: Dtype, drawn: tuple[Program, np.ndarray], eight: bool) -> None:
    unchanged(*drawn, "sequence", dtype, eight)


def unchanged(program: Program, x: np.ndarray, form: Form, dtype: Dtype, eight: bool = False) -> None:
    plain, *optimised = (run(program, x, form, dtype, level, eight) for level in LEVELS)
    for results in optimised:
        for name, value in plain.items():
            np.testing.assert_array_equal(results[name], value, err_msg=name)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("factor", [0.1, 0.7])
def test_a_tie_behind_a_product_fires(factor: float, form: Form, level: Any) -> None:
    """gain * 1 reaches a threshold of gain, in float64: with the gain in float32, .7 would not reach it."""
    gain = np.array([factor])
    weight = np.array([[1, 0]], np.float32)
    program = chain((2,), [("n0_w", Affine(weight)), ("n1_s", LIF(np.zeros(1), gain, gain=gain))])
    results = run(program, np.ones((1, 5, 2), np.float32), form, "float64", level)
    assert results["n1_s.spikes"].all()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("form", FORMS)
def test_factors_around_products_keep_their_digits(form: Form, level: Any) -> None:
    """One product of each kind between two factors that float32 can't hold."""
    tenth, weight = np.array([0.1]), np.full((1, 1), 3, np.float32)
    affine = [("n0", Scale(tenth)), ("n1", Affine(weight)), ("n2", Scale(tenth))]
    kernel = np.full((1, 1, 1), 3, np.float32)
    convolution = [("n0", Scale(tenth[None])), ("n1", Conv1d(kernel)), ("n2", Scale(tenth[None]))]
    gated = [("n0", Affine(np.array([[1], [2]], np.float32))), ("n1", GLU()), ("n2", Scale(tenth))]
    for shape, layers in (((1,), affine), ((1, 1), convolution), ((1,), gated)):
        program, x = chain(shape, layers), np.full((1, 2, *shape), 0.7, np.float32)
        results = run(program, x, form, "float64", level)
        np.testing.assert_allclose(results["y"].swapaxes(0, 1), oracle(program, x).output, rtol=1e-15, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS)
def test_no_optimisation_puts_in_another_operator(tmp_path: Path, form: Form, dtype: Dtype) -> None:
    """What ONNX Runtime runs is what the file says: two slices may become one Split, and nothing else is fused."""
    one, wide = np.ones(1), np.full(1, 0.3)
    layers: list[tuple[str, Operation]] = [
        ("n00", Scale(wide)), ("n01", Affine(np.ones((2, 1), np.float32), np.ones(2, np.float32))),
        ("n02", GLU()), ("n03", LayerNorm(one, one)), ("n04", GELU()), ("n05", Clamp(0, 1)),
        ("n06", Affine(np.ones((1, 1), np.float32))), ("n07", LIF(wide, wide, gain=wide, bias=wide)),
        ("n08", Affine(np.ones((1, 1), np.float32), one)), ("n09", LeakyIntegrator(wide, wide, wide)),
    ]  # fmt: skip
    model = assemble(export(chain((1,), layers), form, dtype))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = Level.ORT_ENABLE_ALL
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3  # it warns that the written model suits this machine alone
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    ran = operators(onnx.load(tmp_path / "optimised.onnx"))
    assert ran - operators(model) <= {("", "Split")}
    assert {("", "MatMul"), ("", "Add"), ("", "Mul"), ("", "Div")} <= ran


def operators(model: onnx.ModelProto) -> set[tuple[str, str]]:
    graphs = [model.graph, *(attribute.g for node in model.graph.node for attribute in node.attribute if attribute.g)]
    return {(node.domain, node.op_type) for graph in graphs for node in graph.node}
