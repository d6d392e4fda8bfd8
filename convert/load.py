"""A program from any file, and any file from a program: the only place that tells formats apart."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from convert.formats.nir.reading import Reading
from convert.formats.nir.reading.rules import Rules
from spikestrip.errors import BadInput
from spikestrip.files import existing
from spikestrip.program import Program

CHECKPOINTS = (".pt", ".pth", ".ckpt", ".safetensors")


def reading(path: str | os.PathLike[str], rules: Rules | None = None) -> Reading:
    """The program in a NIR file (.nir), read by ``rules``, in an ONNX file of ours, in a NetX file of
    lava-dl (.net), or in a checkpoint, stripped.

    The remarks of the result say what a careful reader should know. Raises BadInput for any other file, and for rules
    that are given for what is no NIR file.
    """
    source = existing(path)
    if source.suffix == ".nir":
        from convert.formats.nir.reading import reading as read_nir

        return read_nir(source, rules)
    if source.suffix not in (".onnx", ".net", *CHECKPOINTS):
        raise BadInput(source, f"is no file that holds a program: .nir, .onnx, .net, {', '.join(CHECKPOINTS)}")
    if rules is not None:
        raise BadInput(source, "is no NIR file: rules of integration don't apply to it")
    if source.suffix == ".net":
        from convert.formats import netx

        return netx.reading(source)
    if source.suffix == ".onnx":
        from convert.formats.onnx import recover

        return Reading(recover(source))
    from convert.strip import strip
    from train.checkpoint import load as load_checkpoint

    return Reading(strip(load_checkpoint(source).network, share=True))


def files(path: Path) -> tuple[Path, ...]:
    """All that ``reading(path)`` reads: a checkpoint may have its sidecar."""
    if path.suffix not in CHECKPOINTS:
        return (path,)
    from train import checkpoint

    return checkpoint.files(path)


def load(path: str | os.PathLike[str], **rules: Any) -> Program:
    """The program in a file; each remark on the reading is given as a Python warning.

    path: a NIR file, an ONNX file that Spikestrip wrote, lava-dl's .net, or a checkpoint (which takes torch). rules:
    ``dt`` (seconds), ``integrate``, ``compare`` and ``reset``, for graphs that Spikestrip did not write
    (docs/nir-operations.md). Raises BadInput.
    """
    import warnings

    result = reading(path, Rules(**rules) if rules else None)
    for remark in result.remarks:
        warnings.warn(f"{path}: {remark}", stacklevel=2)
    return result.program


def save(program: Program, path: str | os.PathLike[str]) -> None:
    """Write ``program`` as canonical NIR (.nir) or as an ONNX model of its steps in sequence, float32 (.onnx).

    Raises Refused, naming the layer, for what the language can't say, and BadInput for another suffix.
    """
    suffix = Path(path).suffix
    if suffix == ".nir":
        from convert.formats.nir.writing import write

        write(program, path)
    elif suffix == ".onnx":
        from convert.formats.onnx import export
        from convert.formats.onnx import write as write_onnx

        write_onnx(export(program), Path(path))
    else:
        raise BadInput(path, "is not a name that a program is saved under: .nir or .onnx")
