"""The weights of the SDN repository (Shen et al.), as its training saves and as a TorchScript archive holds them.

The archive that it ships, and every network of its code with the default neuron, has 153 numbers:

| there | shape | ours (sdn_network.SDN) |
|---|---|---|
| conv1.* | (8, 1, 8), (8,) | spatial, with norm and encoder |
| conv2.* | (8, 8, 1), (8,) | feature, with its norm |
| conv3.* | (1, 8, 1), (1,) | decoder |

What its model.py trains:

| there (``SDN``, ``FusedSDN``, one layer) | shape | ours |
|---|---|---|
| encoder.weight, not in FusedSDN's forward | (8, 1, 1) | encoder |
| spatial_layers.0.0.*, FusedSDN: spatial_layers.0.* | (8, 1, 8), (8,) | spatial (FusedSDN: with norm and encoder) |
| spatial_layers.0.1.* | (8,) each | spatial_norm |
| feature_layers.0.0.*, FusedSDN: feature_layers.0.* | (8, 8, 1), (8,) | feature |
| feature_layers.0.1.* | (8,) each | feature_norm |
| decoder.* | (1, 8, 1), (1,) | decoder |

All pad 8 zeros on the left and drop the last columns, as ours do: q = conv3(relu(conv2(h) + h)), h = relu(conv1(x)).
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from train.neurons.sdn_network import SDN, Folded
from train.stored import is_zip

FUSED = {"conv1": "spatial_layers.0", "conv2": "feature_layers.0", "conv3": "decoder"}
LIMIT = 1 << 24  # bytes; the network has 193 parameters
STORAGES = {"FloatStorage": torch.float32, "DoubleStorage": torch.float64, "LongStorage": torch.int64}


def fold(weights: dict[str, Tensor]) -> Folded:
    """The official network as ours, folded in float64 and kept in float32.

    Raises ValueError naming what is missing, misshapen or unknown.
    """
    if "conv1.weight" in weights:
        weights = {_renamed(name): value for name, value in weights.items()}
    fused = "spatial_layers.0.weight" in weights
    parts = {"encoder": "encoder", "decoder": "decoder"}
    for part in ("spatial", "feature"):
        parts |= (
            {f"{part}_layers.0": part} if fused else {f"{part}_layers.0.0": part, f"{part}_layers.0.1": f"{part}_norm"}
        )
    network = SDN()
    if fused:
        network.spatial_norm, network.feature_norm = nn.BatchNorm1d(8, eps=0.0), nn.BatchNorm1d(8, eps=0.0)
    state = network.state_dict()
    given = {}
    for name, value in weights.items():
        part, _, kind = name.rpartition(".")
        if part not in parts:
            raise ValueError(f"{name} is none of the official network's weights (one layer, 8 channels)")
        given[f"{parts[part]}.{kind}"] = value
    if fused:
        given["encoder.weight"] = torch.ones(8, 1, 1)  # not used there; folded in already
        given |= {name: value for name, value in state.items() if "_norm." in name}
    for name in sorted(state):
        if name not in given or given[name].shape != state[name].shape:
            raise ValueError(f"lacks {name} of shape {tuple(state[name].shape)}")
    network.load_state_dict(given)
    return network.double().eval().fold().float()


def _renamed(name: str) -> str:
    part, _, kind = name.rpartition(".")
    return f"{FUSED.get(part, part)}.{kind}"


def is_archive(path: Path) -> bool:
    """Whether ``path`` is a TorchScript archive."""
    if not is_zip(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_archive(path: Path) -> dict[str, Tensor]:
    """The tensors in a TorchScript archive by their attributes' names, read without running any of its code.

    Raises UnpicklingError for anything but modules that hold numbers, lists and tensors.
    """
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > LIMIT:
            raise pickle.UnpicklingError("the archive is larger than any surrogate")
        root = next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix("data.pkl")
        module = _Reader(archive, root).load()
    return dict(_tensors(module))


def _tensors(module: _Module, prefix: str = "") -> Any:
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, _Module):
            yield from _tensors(value, f"{prefix}{name}.")


class _Module:
    """A module of the archive: its attributes, and none of its code."""


class _Reader(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(root + "data.pkl")))
        self.archive, self.root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Module
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        known = {"_rebuild_tensor_v2": _tensor, "OrderedDict": OrderedDict, "build_intlist": list}
        if module in ("torch._utils", "collections", "torch.jit._pickle") and name in known:
            return known[name]
        raise pickle.UnpicklingError(f"the archive names {module}.{name}, which no surrogate holds")

    def persistent_load(self, key: Any) -> Tensor:
        _, dtype, name, _, _ = key
        return torch.frombuffer(bytearray(self.archive.read(f"{self.root}data/{name}")), dtype=dtype)


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    return storage.as_strided(size, stride, offset).clone()
