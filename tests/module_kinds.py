"""Kinds of modules, of torch and of the libraries that people train with, and what from_torch does with each.

python tests/module_kinds.py      writes docs/modules.md; needs the extra ``peers``
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from convert import from_torch
from spikestrip.errors import SpikestripError
from train.nn import LIF

PAGE = Path(__file__).parent.parent / "docs" / "modules.md"
HEAD = """# What from_torch does with each kind of module

*exact*: the program gives the module's own spikes, and its values to rounding, on random input over time in float64
(equal in real arithmetic; ties as [how to bring your own](how-to-bring-your-own.md) says). Otherwise the refusal,
as it is raised. Every row runs in `tests/test_module_kinds.py` where its library is installed, against
snnTorch 1.0.0, sinabs 3.1.3, norse 1.1.0, spikingjelly 2.0.0, brevitas 0.13.4. A lone layer is called `0`.
This page is written by `python tests/module_kinds.py`.

"""

EXACT = "exact"


@dataclasses.dataclass(frozen=True)
class Row:
    """``make(library)`` gives the module; ``shape`` is that of one step of its input."""

    library: str
    kind: str
    make: Callable[[Any], nn.Module]
    shape: tuple[int, ...] = (6,)

    @property
    def home(self) -> str:
        """What is imported for it."""
        return HOMES[self.library]


HOMES = {
    "torch": "torch.nn",
    "snnTorch": "snntorch",
    "sinabs": "sinabs.layers",
    "spikingjelly": "spikingjelly.activation_based.neuron",
    "spikingjelly.layer": "spikingjelly.activation_based.layer",
    "norse": "norse.torch",
    "brevitas": "brevitas.nn",
    "spikestrip": "spikestrip.nn",
}
FRAME = (2, 6, 6)


def _normed(norm: Any) -> nn.Module:
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    return norm  # type: ignore[no-any-return]


def _pruned() -> nn.Module:
    layer = nn.Linear(6, 4)
    prune.l1_unstructured(layer, "weight", 0.5)
    return layer


def _quantised() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(6, 4)))


def _aware(n: Any) -> nn.Module:
    """Trained for some steps as integers of 4 bits."""
    layers = (n.QuantLinear(6, 8, bias=True, weight_bit_width=4), n.QuantReLU(bit_width=4, return_quant_tensor=True))
    network = nn.Sequential(nn.Identity(), *layers, n.QuantLinear(8, 3, bias=True, weight_bit_width=4))
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.randn(8, 6)).square().mean().backward()
        optimizer.step()
    return network


def _lazy(runs: bool) -> nn.Module:
    layer = nn.LazyLinear(4)
    if runs:
        layer(torch.ones(1, 6))
    return layer


def _state(n: Any, *parts: nn.Module) -> nn.Module:
    return n.SequentialState(*parts)  # type: ignore[no-any-return]


class _Transposed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2)


class _Product(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * x


class _Step(nn.Module):
    """h = a*h + b x, y = Re(c h)."""

    def __init__(self) -> None:
        super().__init__()
        self.angle, self.b, self.c = (nn.Parameter(torch.randn(*sizes)) for sizes in ((3,), (6, 3, 2), (3, 6, 2)))

    def forward(self, x: torch.Tensor, h: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        u = (x + 0j) @ torch.view_as_complex(self.b)
        h = u if h is None else torch.exp(1j * self.angle - 0.1) * h + u
        return (h @ torch.view_as_complex(self.c)).real, h


class _Fourier(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.irfft(torch.fft.rfft(x), n=6)


class _Decision(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


ROWS = [
    Row("torch", "Linear", lambda n: n.Linear(6, 4)),
    Row("torch", "Bilinear", lambda n: n.Bilinear(6, 6, 4)),
    Row("torch", "Conv1d", lambda n: n.Conv1d(2, 3, 3, 2, 1), (2, 9)),
    Row("torch", "Conv2d", lambda n: n.Conv2d(2, 4, 3, padding="same", groups=2), FRAME),
    Row("torch", "Conv2d, circular", lambda n: n.Conv2d(2, 4, 3, padding=1, padding_mode="circular"), FRAME),
    Row("torch", "Conv3d", lambda n: n.Conv3d(1, 2, 2), (1, 4, 4, 4)),
    Row("torch", "ConvTranspose1d", lambda n: n.ConvTranspose1d(2, 3, 3, 2), (2, 5)),
    Row("torch", "ConvTranspose2d", lambda n: n.ConvTranspose2d(2, 3, 3, 2, 1, 1), FRAME),
    Row("torch", "MaxPool1d", lambda n: n.MaxPool1d(2), (2, 8)),
    Row("torch", "MaxPool2d", lambda n: n.MaxPool2d(3, 2, 1), FRAME),
    Row("torch", "MaxPool3d", lambda n: n.MaxPool3d(2), (1, 4, 4, 4)),
    Row("torch", "AvgPool1d", lambda n: n.AvgPool1d(2), (2, 8)),
    Row("torch", "AvgPool2d", lambda n: n.AvgPool2d(2), FRAME),
    Row("torch", "AdaptiveAvgPool2d", lambda n: n.AdaptiveAvgPool2d(2), FRAME),
    Row("torch", "AdaptiveAvgPool2d, windows that differ", lambda n: n.AdaptiveAvgPool2d(4), FRAME),
    Row("torch", "AdaptiveMaxPool2d", lambda n: n.AdaptiveMaxPool2d(3), FRAME),
    Row("torch", "LPPool2d", lambda n: n.LPPool2d(2, 2), FRAME),
    Row("torch", "BatchNorm1d", lambda n: _normed(n.BatchNorm1d(6))),
    Row("torch", "BatchNorm2d", lambda n: n.Sequential(n.Conv2d(2, 3, 3), _normed(n.BatchNorm2d(3))), FRAME),
    Row("torch", "BatchNorm3d", lambda n: n.BatchNorm3d(2), (2, 3, 3, 3)),
    Row("torch", "LayerNorm of a step", lambda n: n.LayerNorm(6)),
    Row("torch", "LayerNorm of each row", lambda n: n.LayerNorm(6), FRAME),
    Row("torch", "GroupNorm", lambda n: n.GroupNorm(1, 2), FRAME),
    Row("torch", "InstanceNorm2d", lambda n: n.InstanceNorm2d(2), FRAME),
    Row("torch", "RMSNorm", lambda n: n.RMSNorm(6)),
    Row("torch", "ReLU", lambda n: n.ReLU()),
    Row("torch", "ReLU6", lambda n: n.ReLU6()),
    Row("torch", "Hardtanh", lambda n: n.Hardtanh()),
    Row("torch", "GELU", lambda n: n.GELU()),
    Row("torch", "GELU, tanh", lambda n: n.GELU("tanh")),
    Row("torch", "GLU", lambda n: n.GLU()),
    Row("torch", "Sigmoid", lambda n: n.Sigmoid()),
    Row("torch", "LeakyReLU", lambda n: n.LeakyReLU()),
    Row("torch", "SiLU", lambda n: n.SiLU()),
    Row("torch", "Softmax", lambda n: n.Softmax(-1)),
    Row("torch", "Dropout", lambda n: n.Sequential(n.Dropout(), n.ReLU())),
    Row("torch", "Dropout2d", lambda n: n.Sequential(n.Dropout2d(), n.ReLU()), FRAME),
    Row("torch", "Identity", lambda n: n.Sequential(n.Identity(), n.ReLU())),
    Row("torch", "Flatten", lambda n: n.Flatten(), FRAME),
    Row("torch", "Unflatten", lambda n: n.Unflatten(1, (2, 3))),
    Row("torch", "ZeroPad2d", lambda n: n.ZeroPad2d(1), FRAME),
    Row("torch", "ReflectionPad2d", lambda n: n.ReflectionPad2d(1), FRAME),
    Row("torch", "Upsample, nearest", lambda n: n.Upsample(scale_factor=2), FRAME),
    Row("torch", "Upsample, bilinear", lambda n: n.Upsample(scale_factor=2, mode="bilinear"), FRAME),
    Row("torch", "PixelShuffle", lambda n: n.PixelShuffle(2), (4, 3, 3)),
    Row("torch", "Embedding", lambda n: n.Embedding(6, 4)),
    Row("torch", "LSTM, bidirectional", lambda n: n.LSTM(6, 4, bidirectional=True)),
    Row("torch", "GRU", lambda n: n.GRU(6, 4)),
    Row("torch", "RNNCell", lambda n: n.RNNCell(6, 4)),
    Row("torch", "MultiheadAttention", lambda n: n.MultiheadAttention(6, 2)),
    Row("torch", "TransformerEncoderLayer", lambda n: n.TransformerEncoderLayer(6, 2)),
    Row("torch", "pruned Linear", lambda n: _pruned()),
    Row("torch", "weight-normed Linear", lambda n: parametrizations.weight_norm(n.Linear(6, 4))),
    Row("torch", "LazyLinear after a run", lambda n: _lazy(True)),
    Row("torch", "LazyLinear before", lambda n: _lazy(False)),
    Row("torch", "Linear quantised by torch.ao", lambda n: _quantised()),
    Row("torch", "forward that steps a complex SSM", lambda n: _Step()),
    Row("torch", "forward that convolves by FFT", lambda n: _Fourier()),
    Row("torch", "forward that transposes", lambda n: _Transposed(), (3, 4)),
    Row("torch", "forward that multiplies streams", lambda n: _Product()),
    Row("torch", "forward that decides on values", lambda n: _Decision()),
    Row("snnTorch", "Leaky", lambda n: n.Leaky(0.9, init_hidden=True)),
    Row("snnTorch", "Leaky, zero", lambda n: n.Leaky(0.9, init_hidden=True, reset_mechanism="zero")),
    Row("snnTorch", "Leaky, subtract at once", lambda n: n.Leaky(0.9, init_hidden=True, reset_delay=False)),
    Row("snnTorch", "Lapicque", lambda n: n.Lapicque(R=5.0, C=1.0, init_hidden=True)),
    Row("snnTorch", "Synaptic", lambda n: n.Synaptic(0.8, 0.9, init_hidden=True)),
    Row("snnTorch", "RLeaky", lambda n: n.RLeaky(0.9, linear_features=6, init_hidden=True)),
    Row("snnTorch", "RSynaptic", lambda n: n.RSynaptic(0.8, 0.9, linear_features=6, init_hidden=True)),
    Row("snnTorch", "Alpha, none", lambda n: n.Alpha(0.9, 0.8, init_hidden=True, reset_mechanism="none")),
    Row("snnTorch", "Alpha, zero (its default)", lambda n: n.Alpha(0.9, 0.8, init_hidden=True)),
    Row("snnTorch", "SLSTM", lambda n: n.SLSTM(6, 4, init_hidden=True)),
    Row("snnTorch", "LeakyParallel", lambda n: n.LeakyParallel(6, 4)),
    Row("sinabs", "IAF", lambda n: n.IAF()),
    Row("sinabs", "IAFSqueeze", lambda n: n.IAFSqueeze(batch_size=1)),
    Row("sinabs", "LIF (MultiSpike, its default)", lambda n: n.LIF(tau_mem=10.0)),
    Row("sinabs", "LIF, SingleSpike", lambda n: n.LIF(tau_mem=10.0, spike_fn=_single())),
    Row("sinabs", "ExpLeak", lambda n: n.ExpLeak(tau_mem=10.0)),
    Row("sinabs", "ALIF", lambda n: n.ALIF(tau_mem=10.0, tau_adapt=10.0)),
    Row("sinabs", "LIFRecurrent", lambda n: n.LIFRecurrent(tau_mem=10.0, rec_connect=nn.Linear(6, 6))),
    Row("sinabs", "SumPool2d", lambda n: nn.Sequential(nn.ReLU(), n.SumPool2d(2), n.IAFSqueeze(batch_size=1)), FRAME),
    Row("spikingjelly", "IFNode", lambda n: n.IFNode()),
    Row("spikingjelly", "LIFNode", lambda n: n.LIFNode()),
    Row("spikingjelly", "LIFNode, soft, multi-step", lambda n: n.LIFNode(v_reset=None, step_mode="m")),
    Row("spikingjelly", "ParametricLIFNode", lambda n: n.ParametricLIFNode(decay_input=False)),
    Row("spikingjelly", "CUBALIFNode", lambda n: n.CUBALIFNode()),
    Row("spikingjelly", "KLIFNode", lambda n: n.KLIFNode()),
    Row("spikingjelly", "QIFNode", lambda n: n.QIFNode()),
    Row("spikingjelly", "IzhikevichNode", lambda n: n.IzhikevichNode()),
    Row("spikingjelly", "PSN", lambda n: n.PSN(8)),
    Row("spikingjelly", "NonSpikingLIFNode", lambda n: n.NonSpikingLIFNode()),
    Row("spikingjelly.layer", "Conv2d", lambda n: n.Conv2d(2, 3, 3), FRAME),
    Row("spikingjelly.layer", "BatchNorm2d, multi-step", lambda n: _normed(n.BatchNorm2d(2, step_mode="m")), FRAME),
    Row("spikingjelly.layer", "SeqToANNContainer", lambda n: n.SeqToANNContainer(nn.Conv2d(2, 3, 3)), FRAME),
    Row("spikingjelly.layer", "MultiStepContainer", lambda n: n.MultiStepContainer(nn.Flatten()), FRAME),
    Row("spikingjelly.layer", "VotingLayer", lambda n: n.VotingLayer(3)),
    Row("spikingjelly.layer", "SynapseFilter", lambda n: n.SynapseFilter()),
    Row("spikingjelly.layer", "GroupNorm", lambda n: n.GroupNorm(1, 2), FRAME),
    Row("norse", "LIFCell in SequentialState", lambda n: _state(n, n.LIFCell())),
    Row("norse", "LIFCell without its state", lambda n: nn.Sequential(n.LIFCell())),
    Row("norse", "LIF", lambda n: n.LIF()),
    Row("norse", "LIFBoxCell", lambda n: _state(n, n.LIFBoxCell())),
    Row("norse", "LICell", lambda n: _state(n, n.LICell())),
    Row("norse", "IAFCell", lambda n: _state(n, n.IAFCell())),
    Row("norse", "LIFRecurrentCell", lambda n: _state(n, n.LIFRecurrentCell(6, 5))),
    Row("norse", "LIFRefracCell", lambda n: _state(n, n.LIFRefracCell())),
    Row("norse", "LIFAdExCell", lambda n: _state(n, n.LIFAdExCell())),
    Row("norse", "LSNNCell", lambda n: _state(n, n.LSNNCell())),
    Row("norse", "IzhikevichCell", lambda n: _state(n, n.IzhikevichCell(n.tonic_spiking))),
    Row("norse", "Lift", lambda n: _state(n, n.Lift(nn.Conv2d(2, 3, 3)), n.LIF()), FRAME),
    Row("spikestrip", "S4D", lambda n: n.S4D(6, 8)),
    Row("spikestrip", "S4D, bilinear, LegS", lambda n: n.S4D(6, 8, rule="bilinear", init="legs")),
    Row("spikestrip", "LRU", lambda n: n.LRU(6, 4)),
    Row("spikestrip", "LIF", lambda n: n.LIF(6)),
    Row("spikestrip", "LIF, soft", lambda n: n.LIF(6, 0.9, reset="soft")),
    Row("spikestrip", "LIF, refractory", lambda n: n.LIF(6, 0.5, reset="refractory")),
    Row("spikestrip", "SpikingSSM", lambda n: n.SpikingSSM(6, 8)),
    Row("spikestrip", "SpikingSSM, glu, prenorm", lambda n: n.SpikingSSM(6, 8, mix="glu", norm="layer", prenorm=True)),
    Row("spikestrip", "LRU and LIF among torch's", lambda n: nn.Sequential(n.LRU(6, 4), n.LIF(6), nn.Linear(6, 3))),
    Row("spikestrip", "LIF of another size", lambda n: n.LIF(5)),
    Row("spikestrip", "a class made from LIF", lambda n: type("Mended", (n.LIF,), {})(6)),
    Row("spikestrip", "LIF beside sinabs' IAF, squeezed", lambda n: nn.Sequential(n.LIF(6), _squeezed())),
    Row("brevitas", "QuantLinear", lambda n: n.QuantLinear(6, 4, bias=True)),
    Row("brevitas", "QuantLinear, unquantised", lambda n: n.QuantLinear(6, 4, bias=True, weight_quant=None)),
    Row("brevitas", "a class made from QuantLinear", lambda n: type("Mended", (n.QuantLinear,), {})(6, 4, bias=True)),
    Row("brevitas", "QuantConv2d", lambda n: n.QuantConv2d(2, 3, 3, bias=True), FRAME),
    Row("brevitas", "QuantReLU", lambda n: nn.Sequential(nn.Linear(6, 4), n.QuantReLU(bit_width=4))),
    Row("brevitas", "QuantIdentity", lambda n: nn.Sequential(nn.Linear(6, 4), n.QuantIdentity(bit_width=8))),
    Row("brevitas", "quantised before LIF", lambda n: nn.Sequential(n.QuantLinear(6, 4, bias=True), LIF(4))),
    Row("brevitas", "a network, trained", lambda n: _aware(n)),
]


def _squeezed() -> nn.Module:
    from sinabs.layers import IAFSqueeze

    return IAFSqueeze(batch_size=1)  # type: ignore[no-any-return]


def _single() -> Any:
    from sinabs.activation import SingleSpike

    return SingleSpike


def outcome(row: Row) -> str:
    """EXACT, or the refusal. Raises whatever else happens. from_torch itself compares each spike with the module's."""
    torch.manual_seed(0)
    module = row.make(importlib.import_module(row.home)).eval()
    said = set()
    for scale in (1.0, 4.0):
        example = scale * torch.randn(3, *row.shape)
        try:
            from_torch(module, example)
        except SpikestripError as refusal:
            said.add(str(refusal))
        else:
            said.add(EXACT)
    (one,) = said
    return one


def page() -> str:
    """The whole page."""
    warnings.simplefilter("ignore")
    logging.disable()
    lines = ["| of | module | from_torch |", "|---|---|---|"]
    lines += [f"| {row.library} | {row.kind} | {outcome(row).replace('|', '/')} |" for row in ROWS]
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
