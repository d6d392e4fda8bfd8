"""Checkpoints of the papers' own code: imported they give the same spikes and logits, or are refused by name."""

import json
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import official
import pytest
import torch
from commands import run
from torch import nn

from convert.to_nir import command as to_nir
from simulators.backends.numpy import NumpyBackend
from simulators.reference import reference
from spikestrip.errors import BadInput
from spikestrip.operations import S4D, Join, Threshold
from spikestrip.program import INPUT, Layer, Program
from train.checkpoint import load
from train.neurons import sdn

WIDTH, MODES = 6, 3
SPIKING = {"prenorm": False, "readout": "mean", "tau": 0.3}
KERNEL = {
    "disc": "zoh", "dt_transform": "exp", "real_transform": "exp", "imag_transform": "none", "dt_fast": False,
    "bandlimit": None,
}  # fmt: skip
SAMPLED = {"prenorm": False, "residual": "R", "activation": "gelu", "readout": "mean", "kernel": KERNEL}


def spikingssm(norm="layer", prenorm=False, vth="own", tokens=False, diagonal=None, channels=1):
    torch.manual_seed(1)
    layers = []
    for _ in range(2):
        kernel = official.S4DKernel(WIDTH, MODES, channels)
        if diagonal:
            kernel = official.SSMKernelDiag(WIDTH, MODES, 2, *diagonal)
        layers.append(official.SS4D(WIDTH, kernel, vth))
    encoder = nn.Embedding(5, WIDTH) if tokens else nn.Linear(2, WIDTH)
    return official.Classifier(encoder, official.SpikingSSM(layers, norm, prenorm, WIDTH), WIDTH).eval()


def pspikessm(norm="batch", prenorm=False, gelu=True, disc="zoh", dt_transform="exp", residual=True):
    torch.manual_seed(2)
    layers = []
    for index in range(2):
        kernel = official.SSMKernelDiag(WIDTH, MODES, 2, disc, dt_transform)
        layers.append(official.Sampled(WIDTH, kernel, norm, prenorm, gelu, index, residual))
    return official.Classifier(nn.Linear(2, WIDTH), official.PSpikeSSM(layers, norm, prenorm, WIDTH), WIDTH).eval()


def saved(folder: Path, network: nn.Module, facts: dict | None, wrapped: bool = False) -> Path:
    path = folder / "theirs.pt"
    torch.save({"state_dict": network.state_dict(), "epoch": 3} if wrapped else network.state_dict(), path)
    if facts is not None:
        (folder / "official.json").write_text(json.dumps(facts))
    return path


def check_equal(theirs: nn.Module, path: Path, x: torch.Tensor, tolerance: float) -> None:
    network = load(path).network
    ours = {form: reference(network, x.numpy(), form, "float64", "cpu") for form in ("parallel", "iterative")}
    with torch.no_grad():
        logits, trains = theirs.double()(x[..., 0] if x.dtype == torch.int64 else x)
    assert all(0.02 < float(train.mean()) < 0.98 for train in trains)
    for trace in ours.values():
        assert len(trace.spikes) == len(trains)
        for expected, spikes in zip(trains, trace.spikes.values(), strict=True):
            np.testing.assert_array_equal(spikes, expected.mT.numpy())
        np.testing.assert_allclose(trace.output, logits.numpy(), rtol=tolerance, atol=tolerance)


def signal() -> torch.Tensor:
    return 2 * torch.randn(3, 40, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("options", [
    {}, {"prenorm": True}, {"prenorm": True, "norm": "batch"}, {"norm": "batch", "vth": "shared"}, {"vth": "fixed"},
    {"tokens": True}, {"diagonal": ("bilinear", "exp")}, {"diagonal": ("zoh", "exp"), "prenorm": True},
], ids=str)  # fmt: skip
def test_spikingssm_gives_the_spikes_of_its_own_equations(tmp_path, options):
    theirs = spikingssm(**options)
    facts = SPIKING | {"prenorm": options.get("prenorm", False)}
    if "diagonal" in options:
        facts["kernel"] = KERNEL | {"disc": options["diagonal"][0]}
    path = saved(tmp_path, theirs, facts, wrapped=bool(options))
    x = torch.randint(5, (3, 40, 1)) if options.get("tokens") else signal()
    check_equal(theirs, path, x, 1e-10)


@pytest.mark.parametrize(("options", "tolerance"), [
    ({}, 1e-10), ({"residual": False}, 1e-10), ({"residual": False, "prenorm": True}, 1e-5),
    ({"norm": "layer", "gelu": False}, 1e-10), ({"prenorm": True}, 1e-5), ({"disc": "bilinear"}, 1e-10),
], ids=str)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*derived weights")
def test_pspikessm_gives_the_spikes_of_its_own_equations(tmp_path, options, tolerance):
    theirs = pspikessm(**options)
    facts = SAMPLED | {"prenorm": options.get("prenorm", False)}
    facts["activation"] = "gelu" if options.get("gelu", True) else None
    facts["residual"] = "R" if options.get("residual", True) else None
    facts["kernel"] = KERNEL | {"disc": options.get("disc", "zoh")}
    check_equal(theirs, saved(tmp_path, theirs, facts), signal(), tolerance)


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.filterwarnings("ignore:.*derived weights")
def test_longspike_gives_the_spikes_of_its_own_equations(tmp_path, learned):
    theirs = spikingssm()
    for layer in theirs.model.s4_layers:
        layer.kernel = official.LoongSpikeKernel(WIDTH, MODES, 3, learned)
    facts = SPIKING | ({"fraction": official.LIMITS} if learned else {})
    path = saved(tmp_path, theirs, facts)
    check_equal(theirs, path, signal(), 1e-5)
    assert load(path).network.config.d_state == 3 * MODES
    if learned:
        refused(saved(tmp_path, theirs, SPIKING), "fraction")
        refused(saved(tmp_path, theirs, facts | {"fraction": {"omega_max": 2.0}}), "omega_min")
    theirs = spikingssm(diagonal=("zoh", "exp"))
    for layer in theirs.model.s4_layers:
        layer.kernel.omega_logit = layer.kernel.eta_logit = nn.Parameter(torch.zeros(2))
    refused(saved(tmp_path, theirs, facts | {"kernel": KERNEL, "fraction": official.LIMITS}), "SSMKernelFrac")


@pytest.mark.parametrize("narrower", [1, 2])
@pytest.mark.filterwarnings("ignore:.*derived weights")
def test_the_adaptive_embedding_and_softmax_of_language_models(tmp_path, narrower):
    """The network ends in logits; log-probabilities are made of them as docs/importing.md says."""
    torch.manual_seed(4)
    ends, layers = [5, 8, 12], [official.SS4D(8, official.S4DKernel(8, MODES), "own") for _ in range(2)]
    theirs = official.LanguageModel(ends, official.SpikingSSM(layers, "layer", True, 8), 8, narrower).eval()
    path = saved(tmp_path, theirs, SPIKING | {"prenorm": True, "readout": "sequence"}, wrapped=True)
    network, x = load(path).network, torch.randint(12, (3, 40))
    ours = reference(network, x[..., None].numpy(), "iterative", "float64", "cpu")
    with torch.no_grad():
        expected, trains = theirs.double()(x)
    for theirs_, spikes in zip(trains, ours.spikes.values(), strict=True):
        assert 0.02 < float(theirs_.mean()) < 0.98
        np.testing.assert_array_equal(spikes, theirs_.mT.numpy())
    logits = torch.from_numpy(ours.output)
    tokens, clusters = logits[..., :12], logits[..., 12:]
    head = torch.cat((tokens[..., :5], clusters), -1).log_softmax(-1)
    parts = [head[..., :5], *(head[..., -i, None] + tokens[..., ends[i - 1] : ends[i]].log_softmax(-1) for i in (1, 2))]
    torch.testing.assert_close(torch.cat(parts, -1), expected, rtol=1e-5, atol=1e-5)
    whole = torch.load(path)["state_dict"]
    for name, value in whole.items():
        if not name.startswith("loss_val."):
            torch.save({key: held for key, held in whole.items() if key != name}, path)
            refused(path)
        torch.save(whole | {name: value[..., None]}, path)
        refused(path)


class Opened:
    def __reduce__(self):
        return (open, ("trapped", "w"))


class Hyperparameters(dict):
    """As OmegaConf's, of a package that isn't here."""


@pytest.mark.parametrize("within", ["", "net.", "_orig_mod.module."])
def test_lightning_checkpoints_are_read_without_their_objects(tmp_path, monkeypatch, within):
    monkeypatch.chdir(tmp_path)
    theirs = spikingssm()
    settings = Hyperparameters(model={"d_model": WIDTH})
    settings.owner = Path("callback")
    content = {
        "epoch": 3, "pytorch-lightning_version": "1.9.3", "hyper_parameters": settings,
        "callbacks": {"Opened": Opened()},
        "state_dict": {within + name: value for name, value in theirs.state_dict().items()},
        "optimizer_states": [{"state": {}, "param_groups": [{"lr": 1e-3}]}],
    }  # fmt: skip
    path = tmp_path / "last.ckpt"
    torch.save(content, path)
    (tmp_path / "official.json").write_text(json.dumps(SPIKING))
    with monkeypatch.context() as patch:
        patch.setattr(
            pickle, "Unpickler", None
        )  # torch has one of its own, which calls nothing but what is on its list
        check_equal(theirs, path, signal(), 1e-10)
    done = run(to_nir, path, "-o", tmp_path / "theirs.nir")
    assert done.code == 0, done.stderr
    assert not (tmp_path / "trapped").exists()
    for other in (
        {name: value for name, value in content.items() if name != "pytorch-lightning_version"},
        content | {"state_dict": Opened()},
        content | {"callbacks": Trap()},
        content | {"state_dict": {"linear.weight": torch.zeros(2)}},
    ):
        torch.save(other, path)
        refused(path)
        assert not (tmp_path / "trapped").exists()


def test_a_complex_silif_neuron_at_rest_is_two_systems_and_a_threshold():
    rng = np.random.default_rng(5)
    a, b = np.exp(rng.uniform(-0.5, -0.05, 4) + 1j * rng.uniform(0, 2, 4)), rng.uniform(0.2, 1, 4)
    half, none, one = np.full((1, 4), 1.0), np.zeros((1, 4)), np.ones(4)
    systems = [
        S4D(a.real[None], a.imag[None], into.real[None], into.imag[None], half, none, none[0])
        for into in (b + 0j, -a / 2)
    ]
    layers = (
        Layer("n0_x", systems[0], (INPUT,)), Layer("n1_reset", systems[1], (), ("n3_spike",)),
        Layer("n2_u", Join(), ("n0_x", "n1_reset")), Layer("n3_spike", Threshold(one, "gt"), ("n2_u",)),
    )  # fmt: skip
    x = rng.normal(0, 2, (3, 60, 4))
    found = NumpyBackend().run(Program((4,), layers, "n3_spike"), x, "float64", "cpu", lambda _: None)
    u, s, expected = np.zeros((3, 4), complex), np.zeros((3, 4)), []
    for t in range(60):
        u = a * (u - 0.5 * s) + b * x[:, t]
        s = (2 * u.real - 1 > 0).astype(float)
        expected.append(s)
    assert 0.05 < np.mean(expected) < 0.9
    np.testing.assert_array_equal(found.spikes["n3_spike"], np.stack(expected, 1))


def test_silif_and_sparch_networks_are_refused_by_name(tmp_path):
    path = tmp_path / "best_model.pth"
    torch.save({"snn.0.W.weight": torch.zeros(4, 2), "snn.0.alpha": torch.zeros(4)}, path)
    refused(path, "SiLIF", "random potentials")


def test_what_can_only_be_rounded_is_said_with_its_figure(tmp_path):
    theirs = pspikessm(dt_transform="softplus")
    path = saved(tmp_path, theirs, SAMPLED | {"kernel": KERNEL | {"dt_transform": "softplus"}})
    with pytest.warns(UserWarning, match=r"float32, a relative error up to \d\.\de-0[78]"):
        check_equal(theirs, path, signal(), 1e-5)


def test_the_command_takes_an_official_checkpoint_as_it_is(tmp_path):
    done = run(to_nir, saved(tmp_path, spikingssm(), SPIKING))
    assert done.code == 0, done.stderr
    assert (tmp_path / "theirs.nir").is_file()


def refused(path: Path, *words: str) -> None:
    with pytest.raises(BadInput) as caught:
        load(path)
    message = str(caught.value)
    assert str(path.parent) in message
    assert "\n" not in message
    for word in words:
        assert word in message


def test_bidirectional_kernels_are_refused_by_name(tmp_path):
    refused(saved(tmp_path, spikingssm(channels=2), SPIKING), "s4_layers.0.kernel.C", "bidirectional")
    theirs = pspikessm()
    theirs.model.layers[0].reverse_layer = nn.Linear(1, 1)
    refused(saved(tmp_path, theirs, SAMPLED), "reverse_layer", "bidirectional")


def test_nothing_is_guessed(tmp_path):
    path = saved(tmp_path, spikingssm(), None)
    refused(path, "official.json", "prenorm", "readout", "tau")
    refused(saved(tmp_path, spikingssm(), {"prenorm": False, "tau": 0.3}), "readout")
    for wrong in ({"readout": "last"}, {"tau": True}, {"prenorm": 0}, {"tau": 3}, {"wings": 2}):
        refused(saved(tmp_path, spikingssm(), SPIKING | wrong), *wrong)
    refused(saved(tmp_path, spikingssm(diagonal=("zoh", "exp")), SPIKING), "kernel")
    for name in KERNEL:
        kernel = {other: value for other, value in KERNEL.items() if other != name}
        refused(saved(tmp_path, pspikessm(), SAMPLED | {"kernel": kernel}), name)
        refused(saved(tmp_path, pspikessm(), SAMPLED | {"kernel": KERNEL | {name: "other"}}), name)
    refused(saved(tmp_path, pspikessm(), SAMPLED | {"residual": "D"}), "residual", "null")
    refused(saved(tmp_path, pspikessm("layer", prenorm=True), SAMPLED | {"prenorm": True}), "LayerNorm")
    (tmp_path / "official.json").write_text("[]")
    refused(path, "official.json")


def test_weights_that_are_missing_unknown_misshapen_or_nan(tmp_path):
    whole = spikingssm().state_dict()
    (tmp_path / "official.json").write_text(json.dumps(SPIKING))
    path = tmp_path / "theirs.pt"

    def changed(**weights):
        torch.save({name: value for name, value in (whole | weights).items() if value is not None}, path)
        return path

    for name in whole:
        refused(changed(**{name: None}))
        refused(changed(**{name: torch.zeros(1, 1, 1, 1, 1)}))
    refused(changed(**{"decoder.0.output_transform.bias": None}), "lacks decoder.0.output_transform.bias")
    refused(changed(extra=torch.zeros(2)), "extra")
    refused(changed(**{"model.s4_layers.1.D": torch.full((1, WIDTH), np.nan)}), "NaN")
    low_rank = pspikessm()
    low_rank.model.layers[0].layer.layer.kernel.P = nn.Parameter(torch.zeros(1, 2, MODES, 2))
    refused(saved(tmp_path, low_rank, SAMPLED), "low-rank")


def test_their_weights_are_the_same_numbers_or_refused(tmp_path):
    theirs = spikingssm()
    whole, path = theirs.state_dict(), saved(tmp_path, theirs, SPIKING)
    name = "decoder.0.output_transform.weight"
    for wrong, word in ((whole[name].double() / 3, "float64, which float32 rounds"), (whole[name] + 1j, "complex64")):
        torch.save(whole | {name: wrong}, path)
        refused(path, name, word)
    scattered = {key: value.double().mT.contiguous().mT for key, value in whole.items() if value.ndim > 1}
    torch.save(whole | scattered, path)
    with pytest.warns(UserWarning, match="kept as float32, the same numbers"):
        check_equal(theirs, path, signal(), 1e-10)


def surrogate(kind: str = "trained") -> nn.Module:
    torch.manual_seed(3)
    return official.ShippedSDN() if kind == "shipped" else official.SDN(kind == "fused").eval()


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("kind", ["shipped", "trained", "fused"])
@pytest.mark.parametrize("form", ["state", "scripted", "traced"])
def test_official_surrogates_predict_what_they_predicted(tmp_path, kind, form):
    theirs, path = surrogate(kind), tmp_path / "sdn.pkl"
    if form == "state":
        torch.save(theirs.state_dict(), path)
    else:
        module = torch.jit.script(theirs) if form == "scripted" else torch.jit.trace(theirs, torch.zeros(5, 1, 30))
        torch.jit.save(module, str(path))
    ours = sdn.load(path, tau=0.125)
    x = torch.randn(5, 30)
    torch.testing.assert_close(ours.network.predict(x), theirs(x[:, None]), rtol=1e-5, atol=1e-5)
    assert theirs(x[:, None]).std() > 0.01
    assert (ours.tau, ours.reset) == (0.125, "hard")


def test_the_shipped_surrogate_has_the_names_and_shapes_of_the_archive():
    shapes = {name: tuple(value.shape) for name, value in surrogate("shipped").state_dict().items()}
    assert shapes == {
        "conv1.weight": (8, 1, 8), "conv1.bias": (8,), "conv2.weight": (8, 8, 1), "conv2.bias": (8,),
        "conv3.weight": (1, 8, 1), "conv3.bias": (1,),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["shipped", "trained", "fused"])
@pytest.mark.parametrize("options", [{}, {"prenorm": True, "tokens": True}, {"diagonal": ("zoh", "exp")}], ids=str)
@pytest.mark.filterwarnings("ignore:SDN")
def test_a_network_with_the_default_neuron_guesses_the_same_spikes(tmp_path, kind, options):
    theirs = spikingssm(**options)
    for layer in theirs.model.s4_layers:
        layer.neuron = nn.Module()
        layer.neuron.model = surrogate(kind)
    facts = SPIKING | {"prenorm": options.get("prenorm", False), "tau": 0.125}
    path = saved(tmp_path, theirs, facts | ({"kernel": KERNEL} if "diagonal" in options else {}))
    network = load(path).network
    assert network.config.parallel == "sdn"
    x = torch.randint(5, (3, 200, 1)) if options.get("tokens") else signal().repeat(1, 5, 1)
    ours = reference(network, x.numpy(), "parallel", "float64", "cpu")
    with torch.no_grad():
        logits, trains = theirs.double()(x[..., 0] if x.dtype == torch.int64 else x)
    for expected, spikes in zip(trains, ours.spikes.values(), strict=True):
        assert 0.02 < float(expected.mean()) < 0.98
        np.testing.assert_array_equal(spikes, expected.mT.numpy())
    np.testing.assert_allclose(ours.output, logits.numpy(), rtol=1e-10, atol=1e-10)


def test_official_surrogates_are_graded_when_they_are_read(tmp_path):
    path = tmp_path / "sdn.pt"
    torch.save(surrogate().state_dict(), path)
    graded = {entry["input"]: entry for entry in sdn.load(path, tau=0.125).grade}
    x = torch.randn(200, 1024)
    truth = official.hard_reset(x.double(), 0.125)
    guess = surrogate()(x[:, None]) + x >= 1
    assert graded["N(0,1)"]["wrong_steps"] == pytest.approx(float((guess != truth).float().mean()), rel=0.05)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_surrogates_that_are_incomplete_or_run_code_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, whole = tmp_path / "sdn.pt", surrogate().state_dict()

    def check(content, *words, **options):
        torch.save(content, path)
        with pytest.raises(BadInput) as caught:
            sdn.load(path, **options)
        assert all(word in str(caught.value) for word in (str(path), *words))

    check(whole, "tau")
    for name in whole:
        check({other: value for other, value in whole.items() if other != name}, tau=0.125)
    shipped = surrogate("shipped").state_dict()
    for name in shipped:
        check({other: value for other, value in shipped.items() if other != name}, tau=0.125)
    check(shipped | {"conv4.weight": torch.zeros(1)}, "conv4.weight", tau=0.125)
    check(shipped | {"conv2.weight": torch.zeros(8, 1, 1)}, "shape", tau=0.125)
    check(whole | {"feature_layers.1.0.weight": torch.zeros(8, 8, 1)}, "feature_layers.1", tau=0.125)
    check(whole | {"decoder.bias": torch.full((1,), np.nan)}, "NaN", tau=0.125)
    torch.jit.save(torch.jit.script(surrogate("shipped")), str(path))
    flipped = bytearray(path.read_bytes())
    flipped[flipped.index(shipped["conv2.weight"].numpy().tobytes())] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(BadInput, match="is damaged"):
        sdn.load(path, tau=0.125)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("evil/constants.pkl", b"")
        archive.writestr("evil/data.pkl", pickle.dumps(Trap()))
    with pytest.raises(BadInput, match=r"touch|pathlib"):
        sdn.load(path, tau=0.125)
    assert not (tmp_path / "trapped").exists()


class Trap:
    def __reduce__(self):
        return (Path.touch, (Path("trapped"),))


def test_a_network_with_its_surrogate_keeps_it(tmp_path):
    theirs = spikingssm()
    for layer in theirs.model.s4_layers:
        layer.neuron = nn.Module()
        layer.neuron.model = surrogate()
    network = load(saved(tmp_path, theirs, SPIKING)).network
    assert network.config.parallel == "sdn"
    x = torch.randn(4, 30)
    torch.testing.assert_close(network.sdn.network.predict(x), surrogate()(x[:, None]), rtol=1e-5, atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sdn.SurrogateWarning)
        parallel = reference(network, signal().numpy(), "parallel", "float64", "cpu")
    drive = network.double().blocks[0].ssm((signal() @ theirs.encoder[0].weight.double().T + theirs.encoder[0].bias).mT)
    z = (drive / theirs.model.s4_layers[0].ln_vth.double().exp()).detach().flatten(0, 1)
    expected = (surrogate().double()(z[:, None]) + z >= 1).view(drive.shape).mT
    np.testing.assert_array_equal(next(iter(parallel.spikes.values())), expected.numpy())
    theirs.model.s4_layers[1].neuron.model.decoder.bias.data += 1
    refused(saved(tmp_path, theirs, SPIKING), "different")
