"""SDN: a small convolutional network that guesses the membrane potential for all steps at once (SpikingSSM).

Shen et al., "SpikingSSMs: Learning Long Sequences with Sparse and Parallel Spiking State Space Models", AAAI 2025:

    s[t] = H(q[t] + x[t]/vth - 1),    q[t] = network(x[t-8..t-1]/vth), a guess of tau*u[t-1]/vth

It is not exact: q is a guess, and where q + x is near the threshold the spike may be wrong. Every weight file
carries its grade, measured against the iterative neuron, and a run warns with the figure where it was bad.
"""

from __future__ import annotations

import copy
import hashlib
import os
import warnings
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikestrip.errors import BadInput, Refused
from spikestrip.files import Enduring, existing, parsing
from train.neurons import sdn_official
from train.neurons.bptt import Spike
from train.neurons.neuron import Neuron, check
from train.neurons.sdn_grade import MOMENTS, grade, inputs, moments
from train.neurons.sdn_network import SDN, Folded
from train.stored import check_zip, exact, load_zip, read_safetensors, save_safetensors

__all__ = ["SDN", "Folded", "Surrogate", "SurrogateWarning", "load", "official", "run", "shipped"]

GOOD = 1e-3  # share of wrong steps above which a run warns
FORMAT = "spikestrip-sdn"
FIELDS = ("tau", "reset", "predicts", "training", "grade")
GRADED = {"input", *MOMENTS, "wrong_steps", "f1"}  # what a run needs of each entry of the grade


class SurrogateWarning(UserWarning):
    """The surrogate was graded badly on inputs like these; the message says how badly."""


@dataclass
class Surrogate:
    """A folded network with what it is a surrogate of, and how good it is.

    tau: decay; reset: "hard" or "soft"; predicts: "potential" or "spike" (what it was trained on); training: steps and
    seed, empty where they aren't known; grade: one dict for each graded input, with the shares of wrong steps and
    sequences and the spikes' F1.
    """

    network: Folded
    tau: float
    reset: str
    predicts: str
    training: dict[str, int]
    grade: list[dict[str, Any]]

    def __post_init__(self) -> None:
        self.network.requires_grad_(False)

    @torch.inference_mode(mode=False)  # what an evaluation loaded may be trained with later
    def like(self, z: Tensor) -> Folded:
        """A copy of the network in the dtype and on the device of ``z``."""
        return copy.deepcopy(self.network).to(z.device, z.dtype)

    @property
    def header(self) -> dict[str, Any]:
        """All but the weights, as JSON has it."""
        values = {name: getattr(self, name) for name in FIELDS}
        return {"format": FORMAT, "version": 1, **values}

    def expected(self, z: Tensor) -> tuple[float, dict[str, Any]]:
        """The share of wrong steps to expect on z = x/vth (N, L), and the graded input that most of them come from.

        Each of up to 64 rows counts as the graded input that is most like it in mean, std and correlation.
        """
        rows = moments(z[:: max(1, len(z) // 64), :4096])[:, None]
        graded = torch.tensor([[entry[name] for name in MOMENTS] for entry in self.grade]).to(rows)
        apart = rows - graded
        # a shift counts by the spread that it shifts, a spread by its ratio
        shift = apart[..., 0] / torch.minimum(rows, graded)[..., 1].clamp(min=0.1)
        spread = (rows[..., 1].clamp(min=0.02) / graded[:, 1].clamp(min=0.02)).log()
        nearest = (shift**2 + spread**2 + apart[..., 2] ** 2).argmin(1)
        wrong = torch.tensor([entry["wrong_steps"] for entry in self.grade]).to(rows)
        shares = torch.zeros_like(wrong).index_add(0, nearest, wrong[nearest]) / len(rows)
        return float(shares.sum()), self.grade[int(shares.argmax())]

    def check(self, reset: str, tau: float) -> None:
        """Raise Refused if it is a surrogate of another neuron than that of ``reset`` and decay ``tau``."""
        if self.reset != reset or abs(self.tau - tau) > 1e-6:
            raise Refused("sdn", f"the surrogate is for {self.reset} reset, tau {self.tau:g}, not {reset}, {tau:g}")

    @property
    def sha256(self) -> str:
        """A hash of all that decides its spikes: the neuron that it stands for, and its weights to the last bit."""
        digest = hashlib.sha256(f"{FORMAT} {self.tau!r} {self.reset}".encode())
        for name, value in sorted(self.content["state_dict"].items()):
            digest.update(f"{name} {tuple(value.shape)}".encode())
            digest.update(value.numpy().astype("<f4").tobytes())
        return digest.hexdigest()

    @property
    def content(self) -> dict[str, Any]:
        """All of it, in tensors and plain values: what ``parse`` takes."""
        state = {name: value.detach().cpu().float().clone() for name, value in self.network.state_dict().items()}
        return {**self.header, "state_dict": state}

    @classmethod
    def parse(cls, content: dict[str, Any]) -> Surrogate:
        """The surrogate in ``content``. Raises whatever it meets where that isn't whole, or holds NaN."""
        if content["format"] != FORMAT or content["version"] != 1:
            raise ValueError(f"format {content['format']!r}, version {content['version']!r}")
        network = Folded()
        network.load_state_dict(content["state_dict"])
        if not all(bool(value.isfinite().all()) for value in network.state_dict().values()):
            raise ValueError("it holds NaN or infinity")
        surrogate = cls(network, *(content[name] for name in FIELDS))
        if not surrogate.grade or any(GRADED - entry.keys() for entry in surrogate.grade):
            raise ValueError("it carries no grade")
        return surrogate

    def save(self, path: Path) -> None:
        """A torch zip (loads with weights_only=True), or safetensors with a JSON header if the name ends so."""
        content = self.content
        if path.suffix == ".safetensors":
            save_safetensors(path, self.header, content["state_dict"])
        else:
            with Enduring(path) as file:
                torch.save(content, file)


def load(path: str | os.PathLike[str], tau: float | None = None) -> Surrogate:
    """Read what ``Surrogate.save`` wrote, or the SDN repository's weights: its state dict, or its TorchScript archive,
    of which no code runs.

    ``tau``: the decay of the neuron that official weights stand for, which they don't say; ours do. Official weights
    are graded when they are read. Raises BadInput if the file is something else, or holds NaN.
    """
    file = existing(path)
    with parsing(file, "isn't a surrogate"):
        content = _read(file)
        weights = exact(file, content.get("state_dict", content))
        if "format" in content:
            return Surrogate.parse(content | {"state_dict": weights})
        return official(weights, tau)


def _read(file: Path) -> dict[str, Any]:
    if file.suffix == ".safetensors":
        return read_safetensors(file)
    if sdn_official.is_archive(file):
        check_zip(file)
        return {"state_dict": sdn_official.read_archive(file)}
    content = load_zip(file)
    if not isinstance(content, dict):
        raise TypeError(f"it holds a {type(content).__name__}")
    return content


def official(weights: dict[str, Tensor], tau: float | None) -> Surrogate:
    """The SDN repository's network, hard reset, as a surrogate for the decay ``tau``: graded here, on 64 sequences of
    each kind of input. Raises ValueError where ``weights`` are another network's, or hold NaN, or tau is None."""
    network = sdn_official.fold(weights)
    if tau is None:
        raise ValueError("official weights don't say for which decay: give tau")
    if not all(bool(value.isfinite().all()) for value in network.state_dict().values()):
        raise ValueError("it holds NaN or infinity")
    return Surrogate(network, tau, "hard", "potential", {}, grade(network, tau, "hard", inputs(64)))


@cache
@torch.inference_mode(mode=False)  # what an evaluation loaded first may be trained with later
def shipped(reset: str, tau: float) -> Surrogate:
    """The weights in this package for a reset and a decay. Raises Refused where there are none."""
    folder = files("train.neurons") / "weights"
    name = f"sdn_{reset}_{tau:g}.safetensors"
    if not (folder / name).is_file():
        there = ", ".join(sorted(f.name for f in folder.iterdir() if f.name.endswith(".safetensors")))
        raise Refused(
            "sdn", f"no surrogate for a {reset} reset and tau {tau:g} (shipped: {there}); train one: train/sdn.py"
        )
    return load(str(folder / name))


def stands_in(reset: str, tau: float, own: Surrogate | None) -> Surrogate:
    """The surrogate that computes a neuron of this reset and decay: a network's own, or the shipped one."""
    return own or shipped(reset, float(f"{tau:.6g}"))  # 0.9 in float32 is 0.9


def run(x: Tensor, neuron: Neuron, surrogate: Surrogate | None = None) -> Tensor:
    """Spikes (B, H, L), 0 or 1, of the surrogate of ``neuron`` for the input current x (B, H, L).

    ``surrogate``: None takes the shipped one. The gradient is the paper's, whatever ``neuron.gradient`` says: the
    surrogate gradient of H at q + x/vth - 1, with q a constant (no gradient through the network or through time: the
    neuron's SLTT gradient). Raises Refused for a reset or decay that the network wasn't trained for; warns with
    the figure, once for each kind of input, where the grade lets expect more than 1e-3 wrong steps.
    """
    check(x, neuron)
    if neuron.reset not in ("hard", "soft"):
        raise Refused("sdn", f"has no surrogate for a {neuron.reset} neuron; use scan, block or pmbc")
    tau = neuron.tau.detach()
    if neuron.tau.requires_grad or float(tau.min()) != float(tau.max()):
        raise Refused("sdn", "the network stands for one fixed tau; a learned or per-neuron tau needs scan or block")
    decay = float(f"{float(tau.min()):.6g}")  # 0.9 in float32 is 0.9
    surrogate = surrogate or shipped(neuron.reset, decay)
    surrogate.check(neuron.reset, decay)
    z = x / (neuron.vth if neuron.vth.dim() == 0 else neuron.vth[:, None])
    flat = z.detach().reshape(-1, z.shape[-1])
    if not bool(flat.isfinite().all()):
        raise BadInput("neuron input", "holds NaN or infinity")
    network = surrogate.like(z)
    expected, like = surrogate.expected(flat)
    if expected > GOOD:
        warnings.warn(
            f"SDN: inputs like {like['input']}, on which {like['wrong_steps']:.1%} of its steps were wrong "
            f"(spike F1 {like['f1']:.2f}); scan and block are exact",
            SurrogateWarning,
            stacklevel=2,
        )
    potential = network.predict(flat).view_as(z) + z
    return Spike.apply(potential, z.new_ones(()), neuron.surrogate)
