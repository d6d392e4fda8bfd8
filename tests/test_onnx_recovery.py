"""An ONNX file of ours gives back its program, to the bit, or is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from programs import network, recurrent

import spikestrip as ss
from convert.formats.onnx import export, recover, write
from convert.lowering.int8 import int8
from simulators.conformance.suite import cases
from spikestrip.errors import BadInput, Refused

PROGRAMS = {case.program.sha256: case.program for case in cases()}
"""One of each: every operation, every form that the conformance suite runs."""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_program_of_the_suite_comes_back(tmp_path: Path, dtype: str) -> None:
    kinds = set()
    for program in PROGRAMS.values():
        try:
            made = export(program, dtype=dtype)  # type: ignore[arg-type]
        except Refused:
            continue
        write(made, tmp_path / "model.onnx")
        assert recover(tmp_path / "model.onnx").sha256 == program.sha256
        kinds |= {layer.operation.kind for layer in program.layers}
    assert {"affine", "s4d", "lif", "conv2d", "delay", "bernoulli"} <= kinds


@pytest.mark.parametrize("options", [{"form": "step"}, {"functions": True}, {"form": "step", "functions": True}])
def test_every_form_comes_back(tmp_path: Path, options: dict[str, str]) -> None:
    for program in (network(np.random.default_rng(0)), recurrent(np.random.default_rng(1))):
        write(export(program, source="a" * 64, **options), tmp_path / "model.onnx")  # type: ignore[arg-type]
        found = ss.load(tmp_path / "model.onnx")
        assert found.sha256 == program.sha256
        x = np.random.default_rng(2).normal(size=(1, 20, *program.input_shape))
        np.testing.assert_array_equal(ss.simulate(found, x).output, ss.simulate(program, x).output)


def test_a_lowered_program_comes_back(tmp_path: Path) -> None:
    program = int8(network(np.random.default_rng(0)))
    write(export(program, int8=True), tmp_path / "model.onnx")
    assert recover(tmp_path / "model.onnx").sha256 == program.sha256


def test_weights_stand_in_the_file_once(tmp_path: Path) -> None:
    program = network(np.random.default_rng(0), hidden=128, modes=4)
    sizes = sum(layer.operation.weight.nbytes for layer in program.layers if layer.operation.kind == "affine")
    write(export(program), tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    facts = {prop.key: prop.value for prop in model.metadata_props}
    affine = [layer for layer in json.loads(facts["program"])["layers"] if layer["kind"] == "affine"]
    assert all("bytes" not in layer["arrays"]["weight"] for layer in affine)
    assert sizes < (tmp_path / "model.onnx").stat().st_size < 2 * sizes


def edited(path: Path, what: str) -> Path:
    model = onnx.load(path)
    facts = {prop.key: prop for prop in model.metadata_props}
    if what == "weight":
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name.endswith(".weight_t"))
        changed = numpy_helper.to_array(tensor).copy()
        changed.flat[0] += 1
        tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
    elif what == "rounded weight":  # one that the graph alone holds: the program has it in float64
        tensor = next(tensor for tensor in model.graph.initializer if "_spike.decay" in tensor.name)
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(0.5), tensor.name))
    elif what == "node":
        body = model.graph.node[0].attribute[0].g if model.graph.node[0].op_type == "Scan" else model.graph
        next(node for node in body.node if node.op_type == "Add").op_type = "Sub"
    elif what == "program":
        facts["program"].value = facts["program"].value.replace("hard", "soft")
    elif what == "json":
        facts["program"].value = facts["program"].value[:-9]
    else:
        for name in ("program",) if what == "old" else ("program", "program_sha256"):
            model.metadata_props.remove(facts[name])
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("weight", "another program than its hash"),
        ("rounded weight", "hasn.t the graph"),
        ("node", "hasn.t the graph"),
        ("program", "another program than its hash"),
        ("json", "can't be read"),
        ("old", "holds no program"),
        ("foreign", "not written by Spikestrip"),
    ],
)
def test_an_edited_or_foreign_file_is_refused(tmp_path: Path, what: str, reason: str) -> None:
    write(export(network(np.random.default_rng(0))), tmp_path / "model.onnx")
    with pytest.raises(BadInput, match=reason) as caught:
        ss.load(edited(tmp_path / "model.onnx", what))
    assert "\n" not in str(caught.value)


def test_rules_are_not_for_it(tmp_path: Path) -> None:
    ss.save(network(np.random.default_rng(0)), tmp_path / "model.onnx")
    with pytest.raises(BadInput, match="is no NIR file"):
        ss.load(tmp_path / "model.onnx", dt=1.0)
