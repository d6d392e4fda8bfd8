"""``certificate.json``, the list beside it, and the check of both from the files that they name (docs/certify.md)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from deploy.certification.certificate import Certificate
from spikestrip import hdf5, schema
from spikestrip.errors import BadInput
from spikestrip.files import Enduring, atomic, existing, named, parsing, read_json, write_text
from spikestrip.versions import versions

FORMAT, VERSION = "spikestrip-certificate", 1
AXES = ("sample", "step", "neuron")
_NAMED = {"file": str, "sha256": str}
FORM = {
    "files": {
        **{name: _NAMED for name in ("model", "input")}, **{f"{name}?": _NAMED for name in ("twin", "list")},
        "traces": [_NAMED],
    },
    "arithmetics": {
        str: {
            **{name: int for name in ("decisions", "listed", "unconditional")}, "verdict": str, "certified": float,
            "layers": {
                str: {"least_excess": float, "largest_bound": float, "listed": int, "histogram": {str: int}},
            },
        }
    },
}  # fmt: skip
"""What is read of a certificate (``spikestrip.schema``)."""


def beside(path: Path) -> Path:
    """Where the list of a certificate stands: certificate.json has certificate.listed.h5."""
    return named(path).with_name(f"{path.stem}.listed.h5")


def write(
    certificate: Certificate,
    path: Path,
    model: Path,
    source: Path,
    traces: Sequence[Path] = (),
    twin: Path | None = None,
) -> None:
    """Write the certificate, and the list if there is one: each whole, or not at all."""
    files: dict[str, Any] = {"model": _file(model, path), "input": _file(source, path)}
    if twin is not None:
        files["twin"] = _file(twin, path)
    files["traces"] = [_file(trace, path) for trace in traces]
    if certificate.verdict != "can't differ":
        _write_list(beside(path), certificate)
        files["list"] = _file(beside(path), path)
    value = {"format": FORMAT, "version": VERSION, "files": files, "versions": versions(), **certificate.to_dict()}
    value["seal"] = seal(value)
    write_text(path, _text(value))


def read(path: Path) -> dict[str, Any]:
    """A certificate, of its form. Raises BadInput for anything else."""
    file = existing(path)
    value = read_json(file)
    if value.get("format") != FORMAT:
        raise BadInput(file, "is not a certificate")
    if value.get("version") != VERSION:
        raise BadInput(file, f"is a certificate of version {value.get('version')}; this reads version {VERSION}")
    schema.check(file, value, FORM)
    return value


def altered(path: Path, value: Mapping[str, Any]) -> list[str]:
    """Sentences on what no longer has the bytes that the certificate was made from; itself included."""
    sentences = []
    with parsing(path, "is no certificate"):  # of numbers that aren't finite
        text = _text(value)
    if value.get("seal") != seal(value) or path.read_text(encoding="utf-8") != text:
        sentences.append(f"{path}: was changed after it was written")
    files = value["files"]
    single = [files[name] for name in ("model", "twin", "input", "list") if files.get(name) is not None]
    for entry in [*single, *files["traces"]]:
        file = resolved(path, entry)
        with parsing(path, "names a file that can't be read"):
            if not file.is_file():
                sentences.append(f"{file}: is not there")
            elif sha256(file) != entry["sha256"]:
                sentences.append(f"{file}: is not the file that was certified")
    return sentences


def contradicted(path: Path, value: Mapping[str, Any], anew: Certificate) -> list[str]:
    """Sentences on what a certificate says otherwise than ``anew``, the same computed from its files.

    On the versions and the machine that it was made with, every number must be the same. Elsewhere numpy may sum in
    another order: there spikes and counts of decisions must be, and all that is listed anew must be on its list.
    """
    mine, sentences = json.loads(json.dumps(anew.to_dict())), []
    for key in ("program_sha256", "twin_sha256", "input_sha256", "spikes_sha256"):
        if value.get(key) != mine.get(key):
            sentences.append(f"{path}: {key} is not what its files give")
    if value.get("versions") == versions():
        sentences += [
            f"{path}: {key}: is not what its files give"
            for key in ("verdict", "arithmetics")
            if value[key] != mine[key]
        ]
    listed = value["files"].get("list")
    stated = {} if listed is None else _read_list(resolved(path, listed), anew)
    for name, layers in anew.found.items():
        said = value.get("arithmetics", {}).get(name, {})
        for layer, one in layers.items():
            keys = stated.get((name, layer), np.empty(0, np.int64))
            missing = int(np.count_nonzero(~np.isin(one.keys, keys)))
            if missing:
                sentences.append(
                    f"{path}: {name}, layer {layer}: {missing} decisions within their bound are not listed"
                )
            if said.get("layers", {}).get(layer, {}).get("listed") != keys.size:
                sentences.append(
                    f"{path}: {name}, layer {layer}: {keys.size} decisions are listed, not as many as it says"
                )
    return sentences


def resolved(path: Path, entry: Mapping[str, Any]) -> Path:
    """The file of an entry: names are relative to the certificate's folder."""
    return path.parent / entry["file"]


def _file(file: Path, path: Path) -> dict[str, str]:
    return {"file": os.path.relpath(file, path.parent), "sha256": sha256(file)}


def sha256(file: Path) -> str:
    """Hash of a file's bytes."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def seal(value: Mapping[str, Any]) -> str:
    """Hash of all the rest: against accidents. Whoever lies can seal the lie, and is caught by computing anew."""
    rest = {key: entry for key, entry in value.items() if key != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def _write_list(path: Path, certificate: Certificate) -> None:
    with atomic(path) as temporary, Enduring(temporary) as out, h5py.File(out, "w", track_order=True) as file:
        file.attrs.update(format="spikestrip-listed", version=VERSION)
        for name, layers in certificate.found.items():
            for layer, one in layers.items():
                places = np.unravel_index(one.keys, one.shape)
                columns = {axis: place.astype(np.uint32) for axis, place in zip(AXES, places, strict=True)}
                columns |= {"excess": one.excess, "bound": one.bounds}
                for column, values in columns.items():
                    compressed = {"compression": "gzip", "shuffle": True, "fletcher32": True} if values.size else {}
                    file.create_dataset(f"{name}/{layer}/{column}", data=values, **compressed)


def _read_list(path: Path, certificate: Certificate) -> dict[tuple[str, str], np.ndarray]:
    """(arithmetic, layer) -> keys of the listed decisions."""
    stated: dict[tuple[str, str], np.ndarray] = {}
    with h5py.File(hdf5.scan(path), "r") as file:
        for name, layers in certificate.found.items():
            for layer, one in layers.items():
                with parsing(path, f"lacks the decisions of {name}, layer {layer}, or they don't fit"):
                    places = tuple(file[f"{name}/{layer}/{axis}"][()] for axis in AXES)
                    stated[name, layer] = np.sort(np.ravel_multi_index(places, one.shape))
    return stated
