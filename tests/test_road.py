"""The whole road by the commands that a user types: train, convert, reference, simulate, verify, report."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import nir
import numpy as np
import onnxruntime
import pytest
from commands import run

from deploy.console import COMMANDS, group
from simulators import backends
from train import tasks

ROOT = Path(__file__).resolve().parents[1]
BACKENDS = ("numpy", "torch", "onnxruntime", "lava", "sinabs")


def command(name):
    return import_module(COMMANDS[name][0]).command


def go(name, *arguments, code=0):
    done = run(command(name), *arguments)
    assert done.code == code, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trained network, 12 held-out digits, and the reference traces."""
    folder = tmp_path_factory.mktemp("road")
    np.save(folder / "x.npy", tasks.load("digits").test.inputs[:12])
    options = ["--d-model", 12, "--d-state", 3, "--layers", 2, "--epochs", 2, "--parallel", "scan:1,sdn:1"]
    go("train", "--task", "digits", *options, "--out", folder / "ckpt.pt")
    for form, dtype in (("parallel", "float32"), ("iterative", "float64")):
        output = folder / f"reference.{form}.h5"
        go("reference", folder / "ckpt.pt", "--input", folder / "x.npy", "--form", form, "--dtype", dtype, "-o", output)
    done = subprocess.run(
        [sys.executable, ROOT / "convert" / "to_nir.py", "ckpt.pt"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_nir_file_loads_in_stock_nir(folder):
    graph = nir.read(folder / "ckpt.nir")
    assert any(name.endswith("block1_spike") for name in graph.nodes)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_agrees_with_the_iterative_reference(folder, backend):
    trace, verdict = folder / f"trace.{backend}.h5", folder / f"verdict.{backend}.json"
    go("simulate", folder / "ckpt.nir", "--backend", backend, "--input", folder / "x.npy", "-o", trace)
    reference = folder / "reference.iterative.h5"
    go("verify", reference, trace, "--program", folder / "ckpt.nir", "--json", verdict)
    content = json.loads(verdict.read_text())
    assert content["verdict"] == "pass"
    assert not any(content["causes"].values())
    assert all(layer["reference_spikes"] > 0 for layer in content["layers"].values())


def test_the_parallel_reference_differs_by_what_the_surrogate_got_wrong_and_no_more(folder):
    verdict = folder / "verdict.parallel.json"
    references = folder / "reference.parallel.h5", folder / "reference.iterative.h5"
    go("verify", *references, "--program", folder / "ckpt.nir", "--checkpoint", folder / "ckpt.pt", "--json", verdict)
    causes = {cause for cause, spikes in json.loads(verdict.read_text())["causes"].items() if spikes}
    assert causes <= {"surrogate", "carried", "rounding", "tie"}


def test_one_flipped_spike_fails(folder):
    from spikestrip import trace

    flipped = trace.read(folder / "reference.iterative.h5")
    first = next(iter(flipped.spikes.values()))
    first[3, 20, 5] ^= 1
    trace.write(folder / "flipped.h5", flipped)
    reference = folder / "reference.iterative.h5"
    go("verify", reference, folder / "flipped.h5", "--program", folder / "ckpt.nir", code=1)


def test_plain_onnxruntime_gives_the_reference_spikes(folder):
    from spikestrip import trace

    go("to-onnx", folder / "ckpt.nir", "--dtype", "float64", "-o", folder / "model.onnx")
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    expected = trace.read(folder / "reference.iterative.h5")
    x = expected.input.astype(np.float64).swapaxes(0, 1)
    feeds = {"x": x}
    for value in session.get_inputs():
        if value.name != "x":
            feeds[value.name] = np.zeros((x.shape[1], *value.shape[1:]))
    outputs = dict(zip([value.name for value in session.get_outputs()], session.run(None, feeds), strict=True))
    for name, train in expected.spikes.items():
        np.testing.assert_array_equal(outputs[f"{name}.spikes"].swapaxes(0, 1), train)
    np.testing.assert_allclose(outputs["y"][-1] / len(x), expected.output, atol=1e-12)


def test_the_report_is_one_page_that_needs_nothing_else(folder):
    go("report", folder, "-o", folder / "report.html")
    page = (folder / "report.html").read_text()
    assert "CPU reference" in page
    assert 'src="http' not in page


def test_bad_input_ends_in_one_line_and_leaves_nothing(folder):
    x = np.load(folder / "x.npy")
    for name, bad in (("nan", np.where(x > 0.5, np.nan, x)), ("wide", np.repeat(x, 2, axis=2)), ("flat", x[:, :, 0])):
        path = folder / f"{name}.npy"
        np.save(path, bad.astype(np.float32))
        for words in (
            ["simulate", folder / "ckpt.nir", "--backend", "numpy", "--input", path, "-o", folder / "no.h5"],
            ["reference", folder / "ckpt.pt", "--input", path, "-o", folder / "no.h5"],
        ):
            done = go(*words, code=2)
            assert str(path) in done.stderr
            assert len(done.stderr.strip().splitlines()) == 1
    assert not (folder / "no.h5").exists()


def test_the_console_lists_every_command_and_each_explains_itself():
    listed = run(group, "--help")
    for name in COMMANDS:
        assert name in listed.stdout
        assert "Usage" in go(name, "--help").stdout
    assert run(group, "fly").code == 2


def test_all_backends_are_found_by_entry_point():
    assert set(BACKENDS) <= set(backends.names())


def test_a_fixed_number_of_iterations_leaves_spikes_undecided_and_verify_says_so(folder):
    model = ["--model", "spikessm", "--parallel", "pmbc", "--pmbc-iterations", 2]
    size = ["--d-model", 8, "--d-state", 2, "--layers", 1]
    go("train", "--task", "digits", *model, *size, "--epochs", 0, "--out", folder / "pmbc.pt")
    for form in ("parallel", "iterative"):
        output = folder / f"pmbc.{form}.h5"
        words = ["--input", folder / "x.npy", "--form", form, "--dtype", "float64", "-o", output]
        go("reference", folder / "pmbc.pt", *words)
    go("to-nir", folder / "pmbc.pt")
    traces = folder / "pmbc.parallel.h5", folder / "pmbc.iterative.h5"
    own = "--program", folder / "pmbc.nir", "--checkpoint", folder / "pmbc.pt"
    go("verify", *traces, *own, "--json", folder / "pmbc.json")
    causes = json.loads((folder / "pmbc.json").read_text())["causes"]
    assert causes["undecided"] > 0
    assert set(causes) <= {"undecided", "carried"}
