"""The surrogate dynamic network: its algebra, its grade, its gradient, its files, and what it refuses."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from spikestrip.errors import BadInput, Refused
from train import sdn as command
from train.neurons import sdn, sdn_grade
from train.neurons.neuron import Neuron
from train.neurons.sdn_network import SDN

ROOT = Path(__file__).parent.parent


def loop(x: np.ndarray, tau: float, reset: str) -> tuple[np.ndarray, np.ndarray]:
    """(tau*u[t-1], spikes) of the neuron at threshold 1, x (N, L)."""
    u, leaked, spikes = np.zeros(len(x)), np.zeros(x.shape), np.zeros(x.shape)
    for t in range(x.shape[1]):
        leaked[:, t] = tau * u
        v = tau * u + x[:, t]
        spikes[:, t] = v >= 1
        u = np.where(v >= 1, 0 if reset == "hard" else v - 1, v)
    return leaked, spikes


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def lif(tau: float = 0.125, vth: float | torch.Tensor = 1.0, dtype: torch.dtype = torch.float32) -> Neuron:
    return Neuron("hard", torch.tensor(tau, dtype=dtype), torch.as_tensor(vth, dtype=dtype))


def trained() -> SDN:
    """A network with norms that do something."""
    torch.manual_seed(0)
    network = SDN()
    for norm in (network.spatial_norm, network.feature_norm):
        norm.eps = 0.3
        for value in (norm.weight, norm.running_var):
            value.data.uniform_(0.5, 2)
        for value in (norm.bias, norm.running_mean):
            value.data.normal_()
    return network.eval()


def test_it_is_the_papers_network_and_folding_keeps_its_function():
    network = trained()
    assert sum(value.numel() for value in network.parameters()) == 193
    folded = network.fold()
    x = normal(5, 50)
    torch.testing.assert_close(folded(x), network(x), rtol=1e-5, atol=1e-5)
    assert network(x).std() > 0.01


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (7, 100), (3, 40000), (40000, 3)])
def test_matrix_products_are_the_convolutions(shape):
    folded = trained().fold()
    x = normal(*shape)
    torch.testing.assert_close(folded.predict(x), folded(x), rtol=1e-5, atol=1e-5)


def test_it_sees_the_eight_steps_before_and_no_other():
    folded = trained().fold().double()
    x = normal(1, 40).double()
    changed = x.clone()
    changed[0, 10] += 1
    moved = (folded.predict(changed) != folded.predict(x))[0].nonzero()[:, 0].tolist()
    assert moved == list(range(11, 19))


def test_the_shipped_weights_are_as_good_as_published():
    """At most the official network's share of wrong steps on N(0, 1), 2.1e-4, and what the grade says."""
    x = normal(600, 1024, seed=3)
    spikes = sdn.run(x[None], lif())[0].numpy()
    truth = loop(x.double().numpy(), 0.125, "hard")[1]
    assert set(np.unique(spikes)) == {0.0, 1.0}
    wrong = (spikes != truth).mean()
    assert wrong < 2.1e-4
    hits = (spikes * truth).sum()
    assert hits / truth.sum() > 0.999
    assert hits / spikes.sum() > 0.999
    graded = {entry["input"]: entry for entry in sdn.shipped("hard", 0.125).grade}
    assert graded["N(0,1)"]["wrong_steps"] == pytest.approx(wrong, rel=0.3)
    bad = normal(50, 1024) * 0.1 + 0.9
    truth = loop(bad.double().numpy(), 0.125, "hard")[1]
    with pytest.warns(sdn.SurrogateWarning):
        wrong = (sdn.run(bad[None], lif())[0].numpy() != truth).mean()
    assert graded["N(0.9,0.1)"]["wrong_steps"] == pytest.approx(wrong, rel=0.1)


def test_the_grade_beside_the_weights_is_theirs():
    surrogate = sdn.shipped("hard", 0.125)
    file = ROOT / "train/neurons/weights/sdn_hard_0.125.json"
    assert json.loads(file.read_text()) == surrogate.header


def test_a_threshold_scales_the_input():
    x = normal(2, 3, 200)
    vth = torch.tensor([0.5, 1.0, 4.0])
    assert torch.equal(sdn.run(x * vth[:, None], lif(vth=vth)), sdn.run(x, lif()))


@pytest.mark.filterwarnings("ignore::train.neurons.sdn.SurrogateWarning")
def test_the_gradient_is_the_surrogates_at_the_guess_and_takes_no_other_path():
    x = normal(2, 3, 60).double().requires_grad_()
    vth = torch.tensor([0.7, 1.0, 1.6], dtype=torch.float64, requires_grad=True)
    weight = normal(2, 3, 60, seed=1).double()
    (sdn.run(x, lif(vth=vth, dtype=torch.float64)) * weight).sum().backward()
    with torch.no_grad():
        scale = vth[:, None]
        guess = sdn.shipped("hard", 0.125).network.double().predict((x / scale).view(6, 60)).view(2, 3, 60)
        slope = (1 - (guess + x / scale - 1).abs()).clamp(min=0) * weight
    torch.testing.assert_close(x.grad, slope / scale)
    torch.testing.assert_close(vth.grad, -(slope * x / scale**2).sum((0, 2)))


def test_it_warns_with_the_figure_where_it_was_graded_badly_and_only_there():
    x = normal(2, 4, 500)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sdn.run(x, lif())
        sdn.run(x * 5, lif(vth=5.0))
    with pytest.warns(sdn.SurrogateWarning, match=r"N\(0.9,0.1\).* 5\.\d% of its steps"):
        sdn.run(x * 0.1 + 0.9, lif())
    with pytest.warns(sdn.SurrogateWarning, match=r"constant 0.9.* 50\.\d% of its steps"):
        sdn.run(torch.full_like(x, 0.9), lif())


def test_what_it_refuses():
    x = normal(1, 2, 20)
    with pytest.raises(Refused, match=r"tau 0\.9"):
        sdn.run(x, lif(tau=0.9))
    with pytest.raises(Refused, match=r"hard reset, tau 0\.125"):
        sdn.run(x, lif(tau=0.9), sdn.shipped("hard", 0.125))
    one = torch.tensor(1.0)
    with pytest.raises(Refused, match="refractory"):
        sdn.run(x, Neuron("refractory", one / 8, one, one / 2, one))
    with pytest.raises(Refused, match="soft"):
        sdn.run(x, Neuron("soft", torch.tensor(0.125), torch.tensor(1.0)))
    with pytest.raises(Refused, match="per-neuron"):
        sdn.run(x, Neuron("hard", torch.tensor([0.125, 0.25]), torch.tensor(1.0)))
    with pytest.raises(Refused, match="learned"):
        sdn.run(x, Neuron("hard", torch.tensor(0.125, requires_grad=True), torch.tensor(1.0)))
    with pytest.raises(BadInput, match="NaN"):
        sdn.run(x * float("nan"), lif())


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_training_targets_are_the_neurons(reset):
    x = normal(4, 100).double()
    for ours, truth in zip(command.simulate(0.6, reset, x), loop(x.numpy(), 0.6, reset), strict=True):
        np.testing.assert_allclose(ours.numpy(), truth, atol=1e-12)


def test_the_mismatch_counts_spikes():
    truth = torch.tensor([[0, 1, 0, 1], [0, 1, 0, 0]]) > 0
    guess = torch.tensor([[0, 0, 0, 1], [0, 1, 0, 0]]) > 0
    assert sdn_grade.mismatch(guess, truth) == {
        "wrong_steps": 1 / 8,
        "wrong_sequences": 1 / 2,
        "rate": 3 / 8,
        "guessed_rate": 2 / 8,
        "precision": 1.0,
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(4 / 5),
    }


@pytest.mark.parametrize(
    ("name", "options"), [("a.pt", ["--reset", "soft"]), ("b.safetensors", ["--predicts", "spike", "--tau", "0.25"])]
)
def test_the_command_trains_grades_and_writes(tmp_path, name, options):
    out = tmp_path / name
    result = CliRunner().invoke(command.command, [*options, "--steps", "600", "--out", str(out)])
    assert result.exit_code == 0, result.output
    surrogate = sdn.load(out)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, out.with_suffix(".json").name])
    x = normal(100, 300, seed=8)
    truth = loop(x.double().numpy(), surrogate.tau, surrogate.reset)[1]
    neuron = Neuron(surrogate.reset, torch.tensor(surrogate.tau), torch.tensor(1.0))  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spikes = sdn.run(x[None], neuron, surrogate)[0].numpy()
    f1 = 2 * (spikes * truth).sum() / (spikes.sum() + truth.sum())
    assert f1 > 0.93  # guessing 0 always gives 0.92 and less
    guess = 2 * ((x.numpy() >= 1) * truth).sum() / ((x.numpy() >= 1).sum() + truth.sum())
    assert f1 > guess
    table = {entry["input"]: entry for entry in surrogate.grade}
    assert table["N(0,1)"]["f1"] == pytest.approx(f1, abs=0.01)
    if name.endswith(".pt"):
        assert torch.load(out, weights_only=True)["tau"] == 0.125


@pytest.mark.parametrize("options", [["--tau", "2", "--out", "x.pt"], ["--out", "x.onnx"], ["--out", "no/x.pt"]])
def test_bad_options_are_refused_and_nothing_is_written(tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput):
        command.command.main(options, standalone_mode=False)
    assert not list(tmp_path.iterdir())


def test_the_script_ends_in_one_line_and_exit_code_2(tmp_path):
    script = [sys.executable, str(ROOT / "train/sdn.py"), "--tau", "-1", "--out", "x.pt"]
    done = subprocess.run(script, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


class Trap:
    def __reduce__(self):
        return (Path.touch, (Path("trapped"),))


def test_foreign_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    surrogate = sdn.shipped("hard", 0.125)
    good = tmp_path / "good.safetensors"
    surrogate.save(good)
    assert sdn.load(good).header == surrogate.header
    files = {name: tmp_path / name for name in ("cut.safetensors", "text.pt", "tensor.pt", "trap.pt", "nan.pt")}
    files["cut.safetensors"].write_bytes(good.read_bytes()[:-9])
    files["text.pt"].write_text("not a zip")
    torch.save(torch.zeros(3), files["tensor.pt"])
    torch.save(Trap(), files["trap.pt"], pickle_module=pickle)
    state = {name: value.clone() for name, value in surrogate.network.state_dict().items()}
    state["w1"][0, 0] = float("nan")
    torch.save({**surrogate.header, "state_dict": state}, files["nan.pt"])
    for file in [*files.values(), tmp_path / "absent.pt"]:
        with pytest.raises(BadInput, match=file.name):
            sdn.load(file)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_surrogate_that_an_evaluation_used_can_be_trained_with(dtype):
    sdn.shipped.cache_clear()
    with torch.inference_mode():
        sdn.run(normal(2, 3, 50).to(dtype), lif(dtype=dtype))
    x = normal(2, 3, 50).requires_grad_()
    sdn.run(x, lif()).sum().backward()
    assert x.grad is not None
    assert sdn.shipped("hard", 0.125).network.w1.dtype == torch.float32
