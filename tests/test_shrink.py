"""Shrinking: a planted fault gets small and stays the same fault; a command, a recording; broken off it goes on."""

from __future__ import annotations

import dataclasses
import json
import shlex
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import plain
import programs
import pytest
from commands import run
from test_quantize import float_network

from convert.load import load, save
from convert.lowering.loihi2 import loihi2
from deploy.shrink import command
from deploy.shrinking.case import Case
from deploy.shrinking.channels import channels
from deploy.shrinking.judges import CommandJudge, VerifyJudge, faults
from deploy.shrinking.making import by_sides, by_trace, by_verify
from deploy.shrinking.search import Journal, shrink
from deploy.verify import command as verify_command
from deploy.verify import verify
from simulators.run import simulate
from spikestrip import trace
from spikestrip.errors import BadInput, Refused
from spikestrip.operations import LIF, Affine, FixedLIF
from spikestrip.program import Program


def planted(fault: str) -> Case:
    """A random network, and the same with a fault in its second block."""
    rng = np.random.default_rng(3)
    program = programs.network(rng, hidden=8, modes=2)

    def wrong(program: Program) -> Program:
        layers = []
        for layer in program.layers:
            operation = layer.operation
            if layer.name == "n06_block1_spike":
                assert isinstance(operation, LIF)
                if fault == "reset":
                    operation = dataclasses.replace(operation, reset_kind="soft")
                if fault == "parameter":
                    operation = dataclasses.replace(operation, threshold=operation.threshold * 1.05)
            if fault == "bias" and layer.name == "n00_encoder":
                assert isinstance(operation, Affine)
                operation = dataclasses.replace(operation, bias=operation.bias * 0)
            layers.append(dataclasses.replace(layer, operation=operation))
        return dataclasses.replace(program, layers=tuple(layers))

    return Case((program, wrong(program)), programs.gaussian(rng, program, 2, 64))


@pytest.mark.parametrize("fault", ["reset", "parameter", "bias"])
def test_a_planted_fault_gets_small_and_stays_the_same(fault: str, tmp_path: Path) -> None:
    case, out = planted(fault), tmp_path / "out"
    small = by_verify(case, VerifyJudge("numpy", "float64", fault), out)
    assert small is not None
    names = [layer.name for layer in small.program.layers]
    assert set(names) <= {layer.name for layer in case.program.layers}
    assert len(names) <= 3
    assert small.x.shape[1] <= 20
    assert all(size <= 4 for shape in small.program.shapes.values() for size in shape)
    program = load(out / "model.nir")
    verdict = verify(trace.read(out / "reference.h5"), trace.read(out / "trace.h5"), program)
    assert fault in faults(verdict)
    x = np.load(out / "x.npy")
    for name, train in simulate(load(out / "faulty.nir"), x).spikes.items():  # the fault is in the file too
        assert (train == trace.read(out / "trace.h5").spikes[name]).all()
    done = subprocess.run([sys.executable, "reproduce.py"], cwd=out, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert_right(out, program, x)


def assert_right(out: Path, program: Program, x: np.ndarray) -> None:
    """The README's spikes are those of the equations in plain Python numbers."""
    text = (out / "README.md").read_text()
    for name in (layer.name for layer in program.spiking):
        written = text.split(f"spikes of `{name}`")[1].split("```")[1].split()
        right = [
            "".join(str(int(step[neuron])) for step in plain.run(program, sample)[name])
            for sample in x
            for neuron in range(program.shapes[name][0])
        ]
        assert written == right


def test_a_command_is_the_judge(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    program = programs.network(rng, hidden=4, modes=2, blocks=1)
    save(program, tmp_path / "model.nir")
    np.save(tmp_path / "x.npy", programs.gaussian(rng, program, 2, 16))
    (tmp_path / "judge.py").write_text(
        "import sys\nimport numpy as np\n"
        "x = np.load(sys.argv[2])\n"
        "sys.exit('more than two steps' if x.shape[1] > 2 else 0)\n"
    )
    check = f"{shlex.quote(sys.executable)} {tmp_path / 'judge.py'} {{model}} {{input}}"
    given = (tmp_path / "model.nir", "--input", tmp_path / "x.npy", "--check", check)
    assert run(command, *given, "--fail-regex", "another reason", "-o", tmp_path / "none").code == 1
    assert not (tmp_path / "none").exists()
    done = run(command, *given, "--fail-regex", "more than", "-o", tmp_path / "out")
    assert done.code == 0, done.stderr
    assert np.load(tmp_path / "out/x.npy").shape[:2] == (1, 3)
    assert len(load(tmp_path / "out/model.nir").layers) == 1
    again = run(command, *given, "-o", tmp_path / "out")
    assert (again.code, again.stderr.count("\n")) == (2, 1)


def test_a_recording_is_cut_in_samples_and_steps_alone(tmp_path: Path) -> None:
    case = planted("parameter")
    reference = simulate(case.program, case.x)
    wrong = reference.spikes["n06_block1_spike"].copy()
    wrong[1, 40, 3] ^= 1
    recorded = dataclasses.replace(reference, spikes=reference.spikes | {"n06_block1_spike": wrong}, events={})
    small = by_trace(case.program, reference, recorded, verify(reference, recorded, case.program), tmp_path / "out")
    assert small is not None
    assert small.rows == (1,)
    assert small.x.shape[1] == 41
    assert small.program.sha256 == case.program.sha256


def test_verify_writes_the_folder(tmp_path: Path) -> None:
    case = planted("reset")
    save(case.program, tmp_path / "model.nir")
    simulate(case.program, case.x).save(tmp_path / "a.h5")
    late = simulate(case.programs[1], case.x)
    late.attrs["program_sha256"] = case.program.sha256
    late.save(tmp_path / "b.h5")
    sides = (tmp_path / "a.h5", tmp_path / "b.h5")
    done = run(verify_command, *sides, "--program", tmp_path / "model.nir", "--shrink", tmp_path / "out")
    assert (done.code, "samples: 1," in done.stdout) == (1, True), done
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "README.md", "model.nir", "reference.h5", "reproduce.py", "trace.h5", "x.npy"
    }  # fmt: skip
    done = run(verify_command, *sides, "--shrink", tmp_path / "other")
    assert (done.code, done.stderr.count("\n")) == (2, 1)


def test_a_quantised_side_is_shrunk_by_its_own_integers(tmp_path: Path) -> None:
    """A run of integers with a wrong threshold, declared as a float program's; and two sides that do as they say."""
    program, x = float_network(), np.random.default_rng(8).normal(size=(2, 40, 2)).astype(np.float32)
    twin = loihi2(program, x).program
    wrong = twin["n02_block0_spike"].operation
    assert isinstance(wrong, FixedLIF)
    layers = [
        dataclasses.replace(layer, operation=dataclasses.replace(wrong, vth=wrong.vth // 2))
        if layer.operation is wrong
        else layer
        for layer in twin.layers
    ]
    declared = {"quantised_from": program.sha256, "program_sha256": twin.sha256}
    save(program, tmp_path / "model.nir")
    save(twin, tmp_path / "model.q.nir")
    simulate(program, x).save(tmp_path / "a.h5")
    simulate(twin, x, attrs=declared).save(tmp_path / "right.h5")
    simulate(dataclasses.replace(twin, layers=tuple(layers)), x, attrs=declared).save(tmp_path / "wrong.h5")
    given = ("--program", tmp_path / "model.nir", "--trace-program", tmp_path / "model.q.nir", "--shrink")
    done = run(verify_command, tmp_path / "a.h5", tmp_path / "wrong.h5", *given, tmp_path / "out")
    assert (done.code, "samples: 1," in done.stdout) == (1, True), done
    assert load(tmp_path / "out/model.nir").sha256 == twin.sha256
    left = trace.read(tmp_path / "out/trace.h5")
    assert left.input.shape[1] < 40
    assert (left.spikes["n02_block0_spike"] != simulate(twin, left.input).spikes["n02_block0_spike"]).any()
    right = run(verify_command, tmp_path / "a.h5", tmp_path / "right.h5", *given, tmp_path / "none")
    assert (right.code, (tmp_path / "none").exists()) == (0, False)
    with pytest.raises(Refused, match="between the two programs"):
        by_sides([(twin, trace.read(tmp_path / "right.h5")), (program, trace.read(tmp_path / "a.h5"))], tmp_path / "x")


def test_broken_off_it_goes_on(tmp_path: Path) -> None:
    case = planted("reset")
    judge = VerifyJudge("numpy", "float64", "reset")
    asked: list[str] = []

    def counted(candidate: Case) -> bool:
        asked.append(candidate.key)
        if len(asked) == 20:
            raise KeyboardInterrupt
        return judge(candidate)

    path = tmp_path / "journal.jsonl"
    with pytest.raises(KeyboardInterrupt):
        shrink(case, counted, Journal(path, "reset"))
    path.write_text(path.read_text() + '{"half')
    broken = set(asked[:-1])
    assert len(path.read_text().splitlines()) == 20
    small = shrink(case, counted, Journal(path, "reset"))
    assert not broken & set(asked[20:])
    assert small.key == shrink(case, judge, Journal(None, "reset")).key
    assert Journal(path, "another judge").answers == {}
    assert json.loads(path.read_text().splitlines()[0])["fails"] in (True, False)


def test_channels_are_followed_through_the_network() -> None:
    program = programs.network(np.random.default_rng(0), hidden=6, mix="glu", norm="layer", classes=3, blocks=1)
    axes = {axis.name: (axis.size, set(axis.doubled)) for axis in channels(program)}
    assert axes == {"input": (3, set()), "n00_encoder": (6, {"n03_block0_mix"}), "n06_head": (3, set())} or axes


EXAMPLES = Path(__file__).parent.parent / "examples/reproducers"


@pytest.mark.parametrize("folder", sorted(file.parent.name for file in EXAMPLES.glob("*/README.md")))
def test_a_reproducer_says_the_right_value(folder: str) -> None:
    """By exact products of the file's own numbers, not by the oracle."""
    program, x = load(EXAMPLES / folder / "model.nir"), np.load(EXAMPLES / folder / "x.npy")
    values = [[[Fraction(float(v)) for v in row] for row in sample] for sample in x]
    for layer in program.layers:
        given = {name: array.tolist() for name, array in layer.operation.arrays().items()}
        for sample in values:
            for t, row in enumerate(sample):
                if layer.operation.kind == "scale":
                    sample[t] = [Fraction(v) * Fraction(s) for v, s in zip(row, given["scale"], strict=True)]
                else:
                    assert layer.operation.kind == "affine"
                    bias = given.get("bias", [0.0] * len(given["weight"]))
                    sample[t] = [
                        sum((Fraction(w) * v for w, v in zip(weights, row, strict=True)), Fraction(b))
                        for weights, b in zip(given["weight"], bias, strict=True)
                    ]
    written = json.loads((EXAMPLES / folder / "README.md").read_text().split("```")[1])
    assert np.allclose(written, np.array(values, np.float64), rtol=1e-15, atol=0)


def test_what_a_command_prints_may_be_no_text(tmp_path: Path) -> None:
    code, printed = CommandJudge(r"printf 'wrong \\377{model}'", "wrong").run(tmp_path / "m", tmp_path / "x")
    assert code == 0
    assert printed.startswith("wrong ")


def test_bad_judges_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="model"):
        CommandJudge("true")
    with pytest.raises(BadInput, match="No closing quotation"):
        CommandJudge("true '{model}")
    with pytest.raises(BadInput, match="can't be run"):
        CommandJudge(f"{tmp_path} {{model}}").run(tmp_path / "m", tmp_path / "x")
    with pytest.raises(BadInput, match="regular"):
        CommandJudge("true {model}", "(")
    case = planted("reset")
    other = programs.network(np.random.default_rng(0), hidden=15, modes=4)
    with pytest.raises(BadInput, match="other layers"):
        Case((case.program, other), case.x)
