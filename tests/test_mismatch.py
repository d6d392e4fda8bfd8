"""Mismatch of parallel forms, and potentials: nothing for exact forms; an error is found where it was put."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from commands import run

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import forms
import iterative
import mismatch
import potentials
from forms import Form

from convert.strip import strip
from simulators.reference import reference
from train import tasks
from train.checkpoint import Checkpoint, save
from train.config import Config
from train.held_out import held_out
from train.networks import Network
from train.neurons import bptt, methods, pmbc
from train.tasks import Split

SAMPLES, STEPS, WIDTH, CLASSES = 7, 40, 6, 5


def network(**options) -> Network:
    torch.manual_seed(0)
    config = Config(**{"d_input": 1, "d_output": CLASSES, "d_model": WIDTH, "d_state": 3, "layers": 3, **options})
    return Network(config).eval()


def split(seed: int = 1) -> Split:
    rng = np.random.default_rng(seed)
    return Split(rng.normal(size=(SAMPLES, STEPS, 1)).astype(np.float32), rng.integers(0, CLASSES, SAMPLES))


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(iterative, "BATCH", 3)  # 7 sequences: 3, 3, 1


MODELS = (
    {},
    {"model": "spikessm", "reset": "refractory", "mix": "glu", "norm": "layer"},
    {"model": "pspikessm", "reset": "none", "layers": 2, "seed": 5},
)


@pytest.mark.parametrize("options", MODELS, ids=["hard", "refractory", "drawn"])
def test_exact_forms_differ_nowhere_in_float64(options):
    chosen, _ = forms.forms_of(network(**options))
    exact = [form for form in chosen if form.dtype == "float64"]
    found = mismatch.measure(network(**options), split(), exact)
    assert {form.method for form in exact} >= ({"draw"} if options.get("seed") else {"scan", "block", "bptt"})
    assert all(layer["spikes"] > 0 for layer in found["layers"].values())
    for row in found["forms"]:
        assert row["answers_changed"] == 0
        for ways in row["layers"].values():
            assert ways["forced"]["differ"] == ways["free"]["differ"] == 0
            assert ways["free"]["first"] is None


def test_an_error_in_one_layer_is_found_there_alone_when_forced_and_from_there_on_when_free(monkeypatch):
    wrong = ModuleType("wrong_form")

    def flips_a_spike(x, neuron):
        fired = bptt.run(x, neuron)
        if float(neuron.vth[0]) != 1:
            fired[:, 2, 9:10] = 1 - fired[:, 2, 9:10]
        return fired

    wrong.run = flips_a_spike
    monkeypatch.setitem(sys.modules, "wrong_form", wrong)
    monkeypatch.setitem(methods.METHODS, "wrong", "wrong_form")
    marked = network()
    with torch.no_grad():
        marked.blocks[1].neuron.ln_vth[0] = 0.1
    assert Form("wrong", "float32") in forms.forms_of(marked)[0]
    (row,) = mismatch.measure(marked, split(), [Form("wrong", "float64")])["forms"]
    before, here, after = row["layers"].values()
    place = {"step": 9, "sample": 0, "neuron": 2}
    assert here["forced"]["differ"] == here["free"]["differ"] == here["forced"]["sequences"] == SAMPLES
    assert here["forced"]["first"] == here["free"]["first"] == place
    assert before["forced"]["differ"] == before["free"]["differ"] == after["forced"]["differ"] == 0
    assert after["free"]["differ"] > 0
    assert after["free"]["first"]["step"] >= 9
    assert here["forced"]["share"] == SAMPLES / (SAMPLES * STEPS * WIDTH)


def test_every_figure_is_what_the_two_reference_traces_say(monkeypatch):
    silent = ModuleType("silent_form")
    silent.run = lambda x, neuron: torch.zeros_like(x)
    monkeypatch.setitem(sys.modules, "silent_form", silent)
    monkeypatch.setitem(methods.METHODS, "silent", "silent_form")
    data, whole = split(), network(d_model=24)
    with torch.no_grad():
        for block in whole.blocks:
            block.mix.weight.mul_(5)  # so that spikes count for the answer
    truth = reference(whole, data.inputs, "iterative", "float64", "cpu")
    data = Split(data.inputs, truth.output.argmax(axis=1))  # so that a changed answer is a lost one
    data.labels[0] = (data.labels[0] + 1) % CLASSES
    found = mismatch.measure(whole, data, [Form("sdn", "float32"), Form("silent", "float32")])
    changes = []
    for row in found["forms"]:
        whole.set_parallel(row["form"])
        differing = 0
        seen = reference(whole, data.inputs, "parallel", "float32", "cpu")
        for name, ways in row["layers"].items():
            wrong = seen.spikes[name] != truth.spikes[name]
            differing += int(wrong.sum())
            assert ways["free"]["differ"] == wrong.sum()
            assert ways["free"]["sequences"] == sum(one.any() for one in wrong)
            if wrong.any():
                assert ways["free"]["first"]["step"] == np.flatnonzero(wrong.any(axis=(0, 2)))[0]
            assert ways["free"]["of_spikes"] == wrong.sum() / truth.spikes[name].sum()
            if row["form"] == "silent":  # it misses each spike of the truth
                assert ways["forced"]["differ"] == found["layers"][name]["spikes"] == truth.spikes[name].sum()
        assert differing > 0
        hits = sum(int(row.argmax() == label) for row, label in zip(seen.output, data.labels, strict=True))
        true_hits = sum(int(row.argmax() == label) for row, label in zip(truth.output, data.labels, strict=True))
        changed = sum(int(a.argmax() != b.argmax()) for a, b in zip(seen.output, truth.output, strict=True))
        changes.append(changed)
        assert (row["accuracy"], row["answers_changed"]) == (hits / SAMPLES, changed)
        assert row["accuracy_change"] == pytest.approx((hits - true_hits) / SAMPLES)
        assert row["answers_changed_ppm"] == pytest.approx(1e6 * changed / SAMPLES)
    assert changes[-1] > 0


def test_stopped_pmbc_misses_what_its_own_report_counts():
    tired = network(model="spikessm", reset="refractory", tau_r=0.9, layers=1)
    chosen, refused = forms.forms_of(tired)
    assert [form.iterations for form in chosen if form.method == "pmbc"] == [0, 0, 2, 4, 8]
    assert list(refused) == ["sdn"]
    data = split()
    (row,) = mismatch.measure(tired, data, [Form("pmbc", "float32", 2)])["forms"]
    (layer,) = row["layers"].values()
    report = pmbc.Report()
    neuron = tired.blocks[0].neuron.neuron(torch.float32)
    for batch in iterative.run(strip(tired), data.inputs):
        (current,) = batch.currents.values()
        pmbc.run(current.permute(1, 2, 0).float().clone(), neuron, 2, report)
    assert layer["forced"]["differ"] == report.missed > 0
    assert layer["forced"]["share"] <= report.undecided / report.steps


def test_what_a_form_refuses_is_said():
    _, refused = forms.forms_of(network())
    assert list(refused) == ["pmbc"]
    assert "hard reset" in refused["pmbc"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Networks for the digits: thresholds learned (drawn here) and fixed."""
    folder = tmp_path_factory.mktemp("mismatch")
    for name in ("learned", "fixed"):
        one = network(d_output=10, layers=2, learn_threshold=name == "learned")
        if name == "learned":
            with torch.no_grad():
                for block in one.blocks:
                    block.neuron.ln_vth.uniform_(-0.5, 0.5)
        history = [{"method": "scan"}, {"method": "scan"}, {"method": "sdn"}]
        save(folder / f"{name}.pt", Checkpoint(one, {"name": "digits", "steps": 64}, {"history": history}))
    return folder


def test_the_command_prints_what_it_writes(folder):
    options = ("--samples", 5, "--json", folder / "m.json")
    done = run(mismatch.command, folder / "learned.pt", folder / "fixed.pt", *options)
    assert done.code == 0, done.stderr
    learned, fixed = json.loads((folder / "m.json").read_text())["networks"]
    assert learned["trained"] == "scan:2, sdn:1"
    assert done.stdout.count("trained by scan:2, sdn:1") == 2
    assert "pmbc can't compute it: hard reset" in done.stdout
    printed = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| sdn")]
    written = [ways for one in (learned, fixed) for ways in one["forms"][-1]["layers"].values()]
    by_layer = [(cells[3], cells[7]) for cells in printed if len(cells) == len(mismatch.HEAD)]
    assert by_layer == [(f"{ways['forced']['differ']:,}", f"{ways['free']['differ']:,}") for ways in written]


def test_no_task_and_too_many_samples_are_refused(folder):
    save(folder / "bare.pt", Checkpoint(network()))
    for file, words, reason in (("bare.pt", (), "its task is None"), ("fixed.pt", ("--samples", 10**6), "holds out")):
        done = run(mismatch.command, folder / file, *words, "--json", folder / "no.json")
        assert (done.code, done.stderr.count("\n")) == (2, 1)
        assert reason in done.stderr
        assert not (folder / "no.json").exists()


def test_potentials_are_those_of_a_plain_loop_and_all_from_the_threshold_on_fire():
    one = network(layers=1)
    with torch.no_grad():
        one.blocks[0].neuron.ln_vth.uniform_(-0.5, 0.5)
    data = split()
    (found,) = potentials.distributions(one, data).values()
    counts = np.zeros(len(potentials.EDGES) + 1)
    vth = np.exp(one.blocks[0].neuron.ln_vth.detach().double().numpy())
    for batch in iterative.run(strip(one), data.inputs):
        (current,) = batch.currents.values()
        u = np.zeros(current.shape[1:])
        for entering in current.numpy():
            u = 0.125 * u + entering
            for value in (u / vth).ravel():
                counts[np.searchsorted(potentials.EDGES, value, side="right")] += 1
            u = np.where(u >= vth, 0, u)
    shares = counts / counts.sum()
    np.testing.assert_allclose(found["share"], shares[1:-1], rtol=1e-12)
    assert (found["below"], found["above"]) == pytest.approx((shares[0], shares[-1]))
    first = int(np.flatnonzero(potentials.EDGES == 1)[0])
    assert sum(found["share"][first:]) + found["above"] == pytest.approx(found["rate"])
    assert found["rate"] > 0
    np.testing.assert_allclose(found["vth"], vth)


def test_potentials_are_drawn_for_fixed_beside_learned(folder):
    options = ("--samples", 5, "--out", folder / "p.png")
    done = run(potentials.command, folder / "fixed.pt", folder / "learned.pt", *options)
    assert done.code == 0, done.stderr
    networks = json.loads((folder / "p.json").read_text())["networks"]
    assert {len(layers) for layers in networks.values()} == {2}
    assert all(set(layer["vth"]) == {1.0} for layer in networks["fixed"].values())
    assert (folder / "p.png").read_bytes().startswith(b"\x89PNG")
    swapped = run(potentials.command, folder / "learned.pt", folder / "fixed.pt", *options)
    assert (swapped.code, swapped.stderr.count("\n")) == (2, 1)
    assert "learned" in swapped.stderr


def test_drawn_spikes_have_no_potential():
    with pytest.raises(Exception, match="draws its spikes"):
        potentials.distributions(network(**MODELS[-1]), split())


def test_held_out_sequences_are_those_of_the_task_and_differ():
    checkpoint = Checkpoint(network(), {"name": "digits"})
    chosen = held_out(checkpoint, "ckpt.pt", 9)
    test = tasks.load("digits").test
    places = [np.flatnonzero((test.inputs == one).all(axis=(1, 2)))[0] for one in chosen.inputs]
    assert len(set(places)) == 9
    np.testing.assert_array_equal(test.labels[places], chosen.labels)
