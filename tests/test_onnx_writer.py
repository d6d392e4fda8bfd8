"""ONNX files: run by stock tools, without our code; forms, names, metadata, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator
from programs import exact_runs, gaussian, network, recurrent, runs

from convert.formats.onnx import assemble, export, file, load_model, write
from convert.lowering.int8 import cost, grid, int8
from simulators.backends import Recording
from simulators.backends.numpy import NumpyBackend
from spikestrip.errors import BadInput, Refused
from spikestrip.operations import Operation
from spikestrip.program import Program, chain

Arrays = dict[str, np.ndarray]
QUICK = settings(max_examples=10, deadline=None)


def oracle(program: Program, x: np.ndarray, dtype: Any = "float64") -> Recording:
    return NumpyBackend().run(program, x, dtype, "cpu", lambda steps: None)


def zeros(graph: onnx.GraphProto, batch: int, dtype: str) -> Arrays:
    """Every input but x, as the file itself describes it."""
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in graph.input}
    return {name: np.zeros((batch, *shape[1:]), dtype) for name, shape in shapes.items() if name != "x"}


def stock(path_or_bytes: Any) -> Any:
    session = onnxruntime.InferenceSession(path_or_bytes, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return lambda feeds: dict(zip(names, session.run(None, feeds), strict=True))


def reference(model: onnx.ModelProto) -> Any:
    evaluator = ReferenceEvaluator(model)
    return lambda feeds: dict(zip(evaluator.output_names, evaluator.run(None, feeds), strict=True))


def agree(results: Arrays, recording: Recording) -> None:
    for name, train in recording.spikes.items():
        assert results[f"{name}.spikes"].dtype == bool
        np.testing.assert_array_equal(results[f"{name}.spikes"].swapaxes(0, 1), train, err_msg=name)
    np.testing.assert_allclose(results["y"].swapaxes(0, 1), recording.output, rtol=1e-12, atol=1e-12)


@pytest.fixture
def program() -> Program:
    return network(np.random.default_rng(0), hidden=7, modes=3, neuron="refractory", mix="glu", norm="layer")


@QUICK
@given(runs())
def test_stock_runtimes_run_the_sequence_file(run: tuple[Program, np.ndarray]) -> None:
    program, x = run
    model = assemble(export(program, dtype="float64"))
    feeds = {"x": x.swapaxes(0, 1).astype("float64")} | zeros(model.graph, len(x), "float64")
    expected = oracle(program, x)
    agree(stock(model.SerializeToString())(feeds), expected)
    agree(reference(model)(feeds), expected)


@QUICK
@given(exact_runs())
def test_stock_runtime_in_float32_is_exact_where_sums_are(run: tuple[Program, np.ndarray]) -> None:
    program, x = run
    model = assemble(export(program))
    results = stock(model.SerializeToString())({"x": x.swapaxes(0, 1)} | zeros(model.graph, len(x), "float32"))
    expected = oracle(program, x, "float32")
    agree(results, expected)
    np.testing.assert_array_equal(results["y"].swapaxes(0, 1), expected.output)


@pytest.mark.parametrize("make", [lambda rng: network(rng, mix="glu", norm="layer"), recurrent])
def test_the_readable_form_computes_the_same(make: Any) -> None:
    """Run as it is, and inlined by onnx itself."""
    rng = np.random.default_rng(4)
    program = make(rng)
    x = gaussian(rng, program, 2, 40).swapaxes(0, 1).astype("float64")
    plain = assemble(export(program, dtype="float64"))
    readable = assemble(export(program, dtype="float64", functions=True))
    feeds = {"x": x} | zeros(plain.graph, 2, "float64")
    expected = stock(plain.SerializeToString())(feeds)
    for model in (readable, onnx.inliner.inline_local_functions(readable)):
        for name, value in stock(model.SerializeToString())(feeds).items():
            np.testing.assert_array_equal(value, expected[name], err_msg=name)


@pytest.mark.parametrize("functions", [False, True])
@pytest.mark.parametrize("form", ["sequence", "step"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_files_pass_the_checker_and_hold_what_they_say(
    program: Program, tmp_path: Path, form: Any, dtype: Any, functions: bool
) -> None:
    path = tmp_path / "model.onnx"
    write(export(program, form, dtype, functions=functions, source="abc"), path)
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path)
    assert {opset.domain: opset.version for opset in model.opset_import}[""] == 18
    facts = {prop.key: prop.value for prop in model.metadata_props}
    assert facts.pop("spikestrip_version")
    assert facts.pop("program").startswith('{"version":1,')  # tests/test_onnx_recovery.py reads it back
    assert facts == {
        "program_sha256": program.sha256, "source_sha256": "abc", "form": form, "dtype": dtype, "weights": dtype,
        "readout": "mean",
    }  # fmt: skip
    graphs = [model.graph, *(attribute.g for node in model.graph.node for attribute in node.attribute if attribute.g)]
    domains = {node.domain for graph in graphs for node in graph.node}
    assert {opset.domain for opset in model.opset_import} == ({"", "spikestrip"} if functions else {""})
    assert ("spikestrip" in domains) == bool(model.functions) == functions
    assert all(not graph.initializer for graph in graphs[1:])
    sizes = sum(np.dtype(dtype).itemsize * onnx.numpy_helper.to_array(each).size for each in model.graph.initializer)
    written = sum(array.size for layer in program.layers for array in layer.operation.arrays().values())
    assert sizes == written * np.dtype(dtype).itemsize


def test_names_and_shapes_of_inputs_and_outputs() -> None:
    program = recurrent(np.random.default_rng(0), inputs=3, hidden=6, outputs=2)

    def described(values: Any) -> dict[str, list[Any]]:
        return {
            each.name: [dim.dim_param or dim.dim_value for dim in each.type.tensor_type.shape.dim] for each in values
        }

    own = {"n01_spike.u": ["B", 6], "n05_readout.u": ["B", 2]}
    delayed = {"n02_feedback.previous": ["B", 6], "n03_scale.previous": ["B", 6]}
    after = {f"{name}.out": shape for name, shape in (own | delayed).items()}
    sequence, step = export(program).model.graph, export(program, "step").model.graph
    assert described(sequence.input) == {"x": ["L", "B", 3]} | own | delayed
    assert described(sequence.output) == {"y": ["L", "B", 2], "n01_spike.spikes": ["L", "B", 6]} | after
    assert described(step.input) == {"x": ["B", 3]} | own | delayed
    assert described(step.output) == {"y": ["B", 2], "n01_spike.spikes": ["B", 6]} | after


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps_and_chunks_equal_the_whole_sequence(tmp_path: Path, dtype: Any) -> None:
    rng = np.random.default_rng(6)
    for program in (recurrent(rng), network(rng, hidden=9, neuron="soft", norm="layer")):
        x = gaussian(rng, program, 3, 23).swapaxes(0, 1).astype(dtype)
        sequence, step = export(program, "sequence", dtype), export(program, "step", dtype)
        write(sequence, tmp_path / "sequence.onnx")
        write(step, tmp_path / "step.onnx")
        state = zeros(sequence.model.graph, 3, dtype)
        run = stock(tmp_path / "sequence.onnx")
        whole = run({"x": x} | state)
        stepped = streamed(stock(tmp_path / "step.onnx"), x, state)
        chunks = streamed(run, [x[:1], x[1:8], x[8:]], state)
        for name, value in whole.items():
            final = name.endswith(".out")
            steps = stepped[name][-1] if final else np.stack(stepped[name])
            parts = chunks[name][-1] if final else np.concatenate(chunks[name])
            np.testing.assert_array_equal(steps, value, err_msg=name)
            np.testing.assert_array_equal(parts, value, err_msg=name)


def streamed(run: Any, inputs: Any, state: Arrays) -> dict[str, list[np.ndarray]]:
    outputs: dict[str, list[np.ndarray]] = {}
    for x in inputs:
        results = run({"x": x} | state)
        state = {name: results[f"{name}.out"] for name in state}
        for name, value in results.items():
            outputs.setdefault(name, []).append(value)
    return outputs


def test_a_function_is_shared_by_layers_that_compute_the_same() -> None:
    program = network(np.random.default_rng(0), blocks=3, norm="layer", mix="glu")
    model = export(program, functions=True).model
    kinds = {layer.operation.kind for layer in program.layers}
    assert {function.name for function in model.functions} == kinds
    assert "u'[t] = decay*u[t-1]" in next(each.doc_string for each in model.functions if each.name == "lif")


def test_a_file_of_another_program_is_refused(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write(export(program), path)
    assert load_model(path, program) == assemble(export(program))
    other = network(np.random.default_rng(1), hidden=7, modes=3, neuron="refractory", mix="glu", norm="layer")
    with pytest.raises(BadInput, match=f"was made of program {program.sha256[:12]}, not of {other.sha256[:12]}"):
        load_model(path, other)


def test_what_is_no_onnx_file_of_ours_is_refused(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(BadInput, match="no such file"):
        load_model(path, program)
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(BadInput, match="not an ONNX file"):
        load_model(path, program)
    path.write_bytes(b"")
    with pytest.raises(BadInput, match="no program hash"):
        load_model(path, program)
    model = assemble(export(program))
    onnx.external_data_helper.convert_model_to_external_data(model, location="w.bin", size_threshold=0)
    onnx.save(model, path)
    with pytest.raises(BadInput, match="another file"):
        load_model(path, program)


def test_nothing_is_written_when_a_layer_is_refused(tmp_path: Path) -> None:
    @dataclasses.dataclass(eq=False)
    class Decides(Operation):
        kind = "decides"

        def output_shape(self, shape):  # type: ignore[no-untyped-def]
            return shape

        def step(self, xp, state, x):  # type: ignore[no-untyped-def]
            return state, x if x[:, 0] > 0 else -x

    with pytest.raises(Refused, match=r"n0_odd \(decides\).*known only when it runs"):
        write(export(chain((2,), [("n0_odd", Decides())])), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_no_file_can_hold_is_refused(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "LARGEST", 10_000)
    with pytest.raises(Refused, match="10,000"):
        write(export(program), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@QUICK
@given(runs(), st.sampled_from(["float32", "float64"]), st.booleans())
def test_int8_files_are_exactly_the_lowered_program(
    run: tuple[Program, np.ndarray], dtype: Any, functions: bool
) -> None:
    program, x = run
    lowered = int8(program)
    model = assemble(export(lowered, dtype=dtype, int8=True, functions=functions))
    assert {prop.key: prop.value for prop in model.metadata_props}["program_sha256"] == lowered.sha256
    onnx.checker.check_model(model, full_check=True)
    kept = {each.name for each in model.graph.initializer if each.data_type == onnx.TensorProto.INT8}
    assert kept == {f"{layer.name}.weight" for layer in program.layers if layer.name.endswith("_mix")}
    feeds = {"x": x.swapaxes(0, 1).astype(dtype)} | zeros(model.graph, len(x), dtype)
    results = stock(model.SerializeToString())(feeds)
    expected = oracle(lowered, x, dtype)
    for name, train in expected.spikes.items():
        np.testing.assert_array_equal(results[f"{name}.spikes"].swapaxes(0, 1), train, err_msg=name)


def test_lowering_changes_no_other_layer_and_is_done_once() -> None:
    program = network(np.random.default_rng(0), blocks=2)
    lowered = int8(program)
    changed = [
        before.name
        for before, after in zip(program.layers, lowered.layers, strict=True)
        if any(not np.array_equal(a, after.operation.arrays()[n]) for n, a in before.operation.arrays().items())
    ]
    assert changed == ["n03_block0_mix", "n07_block1_mix"]
    assert int8(lowered).sha256 == lowered.sha256 != program.sha256


def test_int8_of_a_program_that_was_not_lowered_is_refused(program: Program) -> None:
    with pytest.raises(BadInput, match=r"n03_block0_mix.*lower the program first"):
        export(program, int8=True)


def test_the_int8_grid() -> None:
    """Powers of two; no weight moves by more than half a step; a weight on a grid stays; a row of zeros is fine."""
    rng = np.random.default_rng(0)
    weight = np.concatenate([rng.normal(size=(20, 9)) * 10.0 ** rng.integers(-6, 6, (20, 1)), np.zeros((1, 9))])
    integers, step = grid(weight)
    assert integers.dtype == np.int8
    assert (np.frexp(step)[0] == 0.5).all()
    assert (np.abs(integers * step[:, None] - weight) <= step[:, None] / 2).all()
    assert (np.abs(integers[:20]).max(axis=1) >= 63).all()
    again, steps = grid(integers * step[:, None])
    np.testing.assert_array_equal(again * steps[:, None], integers * step[:, None])


def test_what_int8_costs_is_counted() -> None:
    rng = np.random.default_rng(0)
    program = network(rng, hidden=16, blocks=2)
    x = gaussian(rng, program, 4, 100)
    ours, theirs = oracle(program, x), oracle(int8(program), x)
    counted = cost(program, int8(program), x)
    assert counted["n02_block0_spike"] == 0  # no spikes enter before it
    assert counted["n06_block1_spike"] > 0
    for name, share in counted.items():
        assert share == pytest.approx((ours.spikes[name] != theirs.spikes[name]).mean())


def test_unknown_forms_and_dtypes_are_refused(program: Program) -> None:
    with pytest.raises(BadInput, match="form"):
        export(program, "scan")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="dtype"):
        export(program, dtype="float16")  # type: ignore[arg-type]
