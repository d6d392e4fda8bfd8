"""Stored weights: read whole or refused, and given to a network as exactly the numbers that the file holds."""

from __future__ import annotations

import hashlib
import json
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from spikestrip.errors import BadInput
from spikestrip.files import check_text, parsing

EXACT_INTEGERS = 2.0**53
"""Below it float64 holds every integer."""
MOST = 16
"""How many times its own size, and a MiB, a file's tensors may take: a stride of 0 asks for any size."""


def exact(
    source: object, weights: Mapping[str, Tensor], dtypes: Mapping[str, torch.dtype] | None = None
) -> dict[str, Tensor]:
    """``weights`` in ``dtypes`` (by name) and contiguous, each the same number as before; warns of those that changed
    their type. ``dtypes``: None is float32 for all but BatchNorm's counters.

    Raises BadInput(source, ...) naming the weight that would be another number: complex, or rounded; or that is
    sparse, quantised, NaN or infinite.
    """
    if dtypes is None:
        counters = [name for name in weights if name.endswith("num_batches_tracked")]
        dtypes = dict.fromkeys(weights, torch.float32) | dict.fromkeys(counters, torch.int64)
    made, changed = {}, []
    for name, value in weights.items():
        if value.is_complex():
            raise BadInput(source, f"{name} is {_kind(value.dtype)}, and a weight is real: its imaginary part is lost")
        if value.layout is not torch.strided or value.is_quantized:
            raise BadInput(source, f"{name} is sparse or quantised; save it as a plain tensor")
        wide = value.double()
        if not bool(wide.isfinite().all()):
            raise BadInput(source, f"{name} holds NaN or infinity")
        made[name] = value.to(dtypes[name]).contiguous()
        if value.dtype == dtypes[name]:
            continue
        integers = not value.is_floating_point() and wide.numel() and float(wide.abs().max()) >= EXACT_INTEGERS
        if integers or not torch.equal(made[name].double(), wide):
            kinds = f"{_kind(value.dtype)}, which {_kind(dtypes[name])} rounds"
            raise BadInput(source, f"{name} is {kinds}; if that is meant, convert it before you save it")
        changed.append(name)
    if changed:
        first, kind = changed[0], _kind(weights[changed[0]].dtype)
        others = f" and {len(changed) - 1} more" if changed[1:] else ""
        warnings.warn(
            f"{source}: {first} ({kind}){others} kept as {_kind(dtypes[first])}, the same numbers", stacklevel=3
        )
    return made


def load_zip(source: Path, stand_ins: Sequence[tuple[type, str]] = ()) -> Any:
    """What torch.save wrote, without running any of its code. Raises BadInput where a checksum of the zip archive
    says that it is damaged, else whatever torch's unpickler meets. stand_ins: (class, name) for what it may not call.
    """
    with source.open("rb") as file:
        if file.read(2) == b"PK":  # all that torch looks at before it reads
            check_zip(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sparse and quantised tensors, which are refused below
        with torch.serialization.safe_globals(list(stand_ins)):
            content = torch.load(source, map_location="cpu", weights_only=True)
    asked = sum(_plain_bytes(source, name, value) for name, value in _tensors("", content))
    if asked > MOST * (source.stat().st_size + (1 << 20)):
        raise BadInput(source, f"its tensors ask for {asked:,} bytes, and it holds {source.stat().st_size:,}")
    return content


def _tensors(where: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in what a file holds, with its name."""
    if isinstance(value, Tensor):
        yield where, value
    elif isinstance(value, dict | list | tuple):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _tensors(f"{where}.{name}" if where else str(name), inner)


def _plain_bytes(source: Path, name: str, value: Tensor) -> int:
    """What a tensor takes as one of its own, or BadInput for one that isn't numbers in a row."""
    if value.layout is not torch.strided or value.is_quantized or value.is_nested:
        raise BadInput(source, f"{name} is sparse or quantised; save it as a plain tensor")
    if value.is_meta:
        raise BadInput(source, f"{name} is a tensor without its numbers (device meta)")
    return value.numel() * value.element_size()


def is_zip(source: Path) -> bool:
    """Whether ``source`` ends as a zip archive does."""
    try:
        return zipfile.is_zipfile(source)
    except zipfile.BadZipFile:  # of an end that says it has many disks
        return False


def check_zip(source: Path) -> None:
    """Raise BadInput unless every entry of the zip archive ``source`` has its checksum; torch doesn't look."""
    with parsing(source, "is damaged"), zipfile.ZipFile(source) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
        if size > MOST * (source.stat().st_size + (1 << 20)):
            raise BadInput(source, f"expands to {size:,} bytes from {source.stat().st_size:,}; refused")
        damaged = archive.testzip()
    if damaged is not None:
        raise BadInput(source, f"is damaged: {damaged} doesn't have the checksum that the archive states")


def save_safetensors(path: Path, header: dict[str, Any], weights: dict[str, Tensor]) -> None:
    """Write ``weights``, and ``header`` as JSON under the key "spikestrip", and a hash of both."""
    plain = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in weights.items()}
    stamped = header | {"sha256": content_sha256(header, plain)}
    path.write_bytes(safetensors.torch.save(plain, {"spikestrip": json.dumps(stamped)}))


def read_safetensors(source: Path) -> dict[str, Any]:
    """The header that ``save_safetensors`` wrote, {} where there is none, with the weights as its "state_dict".

    Raises BadInput where they don't have the hash that the header states, and SafetensorError, OSError or ValueError
    where the file can't be read.
    """
    with safe_open(source, "pt") as file:
        with parsing(source, "its header is no JSON"):
            header = json.loads((file.metadata() or {}).get("spikestrip", "{}"))
            check_text(source, header)
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    stated = header.pop("sha256", None)
    if stated is not None and stated != content_sha256(header, weights):
        raise BadInput(source, "is damaged: its content doesn't have the hash that its header states")
    return header | {"state_dict": weights}


def content_sha256(header: dict[str, Any], weights: dict[str, Tensor]) -> str:
    """Hash of a JSON header, and of the names, types, shapes and bytes of contiguous weights on the CPU."""
    plain = json.loads(json.dumps(header))  # as it will be read: tuples are lists, keys strings
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for name in sorted(weights):
        value = weights[name]
        digest.update(f"{name} {_kind(value.dtype)} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _kind(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
