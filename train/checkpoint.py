"""Checkpoints: a torch zip that loads without running code, or the same as safetensors (docs/files.md)."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from spikestrip import schema
from spikestrip.errors import BadInput, Refused
from spikestrip.files import Enduring, atomic, check_text, existing, named, parsing
from spikestrip.scales import Scales
from train import importing, lightning
from train.building import AnyNetwork, build, parse
from train.neurons.sdn import Surrogate
from train.stored import exact, is_zip, load_zip, read_safetensors, save_safetensors

FORMAT = "spikestrip"
VERSION = 1
SURROGATE = "surrogate."  # before the names of its weights
FORM = {
    "task?": {"name?": str, "steps?": int},
    "metrics?": {
        **{f"{name}?": float for name in ("accuracy", "loss", "spiking_rate")},
        "history?": [{f"{name}?": float for name in ("epoch", "accuracy", "loss", "spiking_rate")}],
    },
}
"""Of what is told of a network beside its config."""


@dataclasses.dataclass
class Checkpoint:
    """A trained network, the task that it was trained on, what it scored, and the scales of its integers, if any."""

    network: AnyNetwork
    task: dict[str, Any] = dataclasses.field(default_factory=dict)
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    scales: Scales | None = None


def save(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write ``checkpoint`` to ``path`` (.pt, or .safetensors), whole or not at all."""
    header = {
        "format": FORMAT,
        "version": VERSION,
        "config": dataclasses.asdict(checkpoint.network.config),
        "task": checkpoint.task,
        "metrics": checkpoint.metrics,
    }
    if checkpoint.scales is not None:
        header["scales"] = checkpoint.scales.json()
    weights = {name: tensor.cpu() for name, tensor in checkpoint.network.state_dict().items()}
    if checkpoint.network.sdn is not None:
        header["surrogate"] = checkpoint.network.sdn.header
        weights |= {SURROGATE + name: tensor for name, tensor in checkpoint.network.sdn.content["state_dict"].items()}
    with atomic(path) as temporary:
        if Path(path).suffix == ".safetensors":
            save_safetensors(temporary, header, weights)
        else:
            with Enduring(temporary) as file:
                torch.save(header | {"state_dict": weights}, file)


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint, ours or one of a paper's own code (train.importing), in evaluation mode on the CPU.

    Raises BadInput for what is truncated, foreign, of another version, would run code, can't be deployed
    (bidirectional kernels), is damaged, or holds NaN or weights that ours can't hold exactly.
    """
    source = existing(path)
    header = _read_safetensors(source) if source.suffix == ".safetensors" else _read_torch(source)
    if "format" not in header:
        header = importing.load(source, header) or header
    if header.get("format") != FORMAT:
        raise BadInput(source, f"is not a Spikestrip checkpoint ({_foreign(header)})")
    if header.get("version") != VERSION:
        raise BadInput(source, f"is a checkpoint of version {header.get('version')!r}; this reads version {VERSION}")
    for name in ("config", "state_dict"):
        if not isinstance(header.get(name), dict):
            raise BadInput(source, f"lacks {name}")
    for name in header["state_dict"]:
        if not isinstance(name, str):
            raise BadInput(source, f"has weights under {name!r}, which is no name")
    check_text(source, header)
    schema.check(source, {name: header.get(name) for name in ("task", "metrics")}, FORM)
    with parsing(source, "its task or its metrics are no JSON"):  # which a run folder tells them as
        json.dumps([header.get("task"), header.get("metrics")])
    layers = header["config"].get("layers")
    if isinstance(layers, int) and layers > len(header["state_dict"]):  # each would be built before it is missed
        raise BadInput(source, f"config: layers is {layers}, and the file holds {len(header['state_dict'])} weights")
    try:
        with torch.device("meta"):  # shapes alone: the file's own tensors become the weights
            network = build(parse(header["config"]))
    except BadInput as error:
        raise BadInput(source, str(error)) from error
    weights = dict(header["state_dict"])
    surrogate = {name: weights.pop(name) for name in list(weights) if str(name).startswith(SURROGATE)}
    _fill(source, network, weights)
    if "surrogate" in header or surrogate:
        _fill_surrogate(source, network, header.get("surrogate"), surrogate)
    scales = header.get("scales")
    try:
        held = None if scales is None else Scales.parse(scales)
    except BadInput as error:
        raise BadInput(source, str(error)) from error
    return Checkpoint(network.eval(), header.get("task") or {}, header.get("metrics") or {}, held)


def files(path: Path) -> tuple[Path, ...]:
    """All that ``load(path)`` may read."""
    return path, named(path).with_name(importing.SIDECAR)


def _read_torch(source: Path) -> dict[str, Any]:
    if not is_zip(source):
        raise BadInput(source, "is not a torch checkpoint (no zip archive, or cut short)")
    try:
        with parsing(source, "can't be read as a checkpoint"):
            header = load_zip(source)
    except BadInput as error:
        if not isinstance(error.__cause__, pickle.UnpicklingError):
            raise
        header = _read_lightning(source)
        if header is None:
            raise BadInput(source, "holds a pickle that would run code; refused (save the state_dict alone)") from error
    if not isinstance(header, dict):
        raise BadInput(source, f"holds a {type(header).__name__}, not a checkpoint")
    return header


def _read_lightning(source: Path) -> dict[str, Any] | None:
    try:
        with parsing(source, "can't be read as a checkpoint"):
            return lightning.read(source)
    except BadInput:
        return None


def _read_safetensors(source: Path) -> dict[str, Any]:
    with parsing(source, "can't be read as safetensors"):
        return read_safetensors(source)


def _foreign(header: dict[str, Any]) -> str:
    """What a foreign checkpoint seems to be, to say why it can't be deployed."""
    names = [str(name) for part in (header, header.get("state_dict"), header.get("model")) if isinstance(part, dict)
             for name in part]  # fmt: skip
    if any("kernel" in name and ("bidirectional" in name or "backward" in name) for name in names):
        return "its kernels are bidirectional, which no step can run"
    return f"no format entry; it holds {', '.join(sorted(names)[:3]) or 'nothing'}"


def _fill(source: Path, network: AnyNetwork, weights: dict[str, Any]) -> None:
    expected = network.state_dict()
    for name in sorted(expected.keys() - weights.keys()):
        raise BadInput(source, f"lacks the weights {name}")
    for name, value in weights.items():
        if name not in expected:
            raise BadInput(source, f"has weights {name} that its config doesn't explain")
        if not isinstance(value, torch.Tensor) or value.shape != expected[name].shape:
            raise BadInput(source, f"{name} has shape {_shape(value)}, its config says {tuple(expected[name].shape)}")
    dtypes = {name: value.dtype for name, value in expected.items()}
    network.load_state_dict(exact(source, weights, dtypes), assign=True)


def _fill_surrogate(source: Path, network: AnyNetwork, header: Any, weights: dict[str, Any]) -> None:
    try:
        with parsing(source, "holds no whole surrogate"):
            weights = exact(source, weights)
            state = {name.removeprefix(SURROGATE): value for name, value in weights.items()}
            network.set_surrogate(Surrogate.parse({**header, "state_dict": state}))
    except Refused as error:
        raise BadInput(source, str(error)) from error


def _shape(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
