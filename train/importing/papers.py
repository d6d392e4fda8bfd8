"""A file of a paper's own code, as the content of our checkpoint."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikestrip.errors import BadInput
from spikestrip.files import read_json
from train.importing import pspikessm, spikingssm
from train.importing.facts import SIDECAR
from train.importing.weights import Weights
from train.neurons import sdn
from train.stored import exact

# the weight by which a paper's code is known, alone or under "model."
PAPERS = {"s4_layers.0.kernel.C": spikingssm.translate, "layers.0.inp_a": pspikessm.translate}


REFUSED = {
    "snn.0.W.weight": "is a network of sparch or SiLIF: its neurons begin at random potentials, which no program has"
}
"""Networks of other papers that are known, and can't be imported."""


def _state_of(content: dict[str, Any]) -> dict[str, Tensor]:
    """The state dictionary in what torch.load gave: the whole, or a Lightning checkpoint's."""
    state = content.get("state_dict", content)
    if not isinstance(state, dict):
        return {}
    tensors = {name: value for name, value in state.items() if isinstance(name, str) and isinstance(value, Tensor)}
    within = _within(tensors)
    return {name.removeprefix(within): value for name, value in tensors.items()}


def _within(names: Iterable[str]) -> str:
    """What stands before the names of a network that is a part of another module ("model.", "module.")."""
    for name in names:
        for known in (*PAPERS, *REFUSED):
            if name.endswith(f".{known}"):
                before = name.removesuffix(known)
                return before if known in REFUSED else before.removesuffix("model.")
    return ""


def load(source: Path, content: dict[str, Any]) -> dict[str, Any] | None:
    """``content`` of the file ``source`` as the content of our checkpoint, or None if it is no paper's network.

    What weights can't say is read from ``official.json`` beside ``source``. Where a derived weight isn't a float32
    number, warns with the largest relative error. Raises BadInput naming what is missing, unknown, or can't be
    deployed.
    """
    state = _state_of(content)
    refused = next((reason for name, reason in REFUSED.items() if name in state), None)
    if refused is not None:
        raise BadInput(source, refused)
    known = next((known for known in PAPERS if known in state or f"model.{known}" in state), None)
    if known is None:
        return None
    weights = Weights(source, exact(source, state))
    translated = PAPERS[known](weights, read_json(source.with_name(SIDECAR)))
    weights.check_all_taken()
    rounded = {
        name: value.float() if value.is_floating_point() else value for name, value in translated.weights.items()
    }
    error = max(_relative_error(value, rounded[name]) for name, value in translated.weights.items())
    if error:
        warnings.warn(
            f"{source}: derived weights are kept in float32, a relative error up to {error:.1e}", stacklevel=2
        )
    header: dict[str, Any] = {"format": "spikestrip", "version": 1, "config": translated.config, "state_dict": rounded}
    if translated.surrogate:
        try:
            surrogate = sdn.official(translated.surrogate, translated.config["tau"])
        except ValueError as error:
            raise BadInput(source, f"its neuron.model isn't the official SDN: {error}") from error
        header["surrogate"] = surrogate.header
        rounded |= {f"surrogate.{name}": value for name, value in surrogate.content["state_dict"].items()}
    return header


def _relative_error(exact: Tensor, rounded: Tensor) -> float:
    apart = (rounded.double() - exact.double()).abs() / exact.double().abs().clamp(min=torch.finfo(torch.float32).tiny)
    return float(apart.nan_to_num(0).max())
