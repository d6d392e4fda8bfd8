"""A run folder: what the road and the demo leave in it and the report reads. Each file's name stands here, once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from spikestrip.errors import BadInput
from spikestrip.files import writable

CHECKPOINT, METRICS, INPUT, LABELS = "ckpt.pt", "metrics.json", "x.npy", "labels.npy"
NIR, ONNX = "model.nir", "model.onnx"
ROAD, REPORT = "road.json", "report.html"
CERTIFICATE = "certificate.json"
"""What ``certify -o`` may have left beside them."""

PARALLEL, ITERATIVE = "parallel", "iterative"
"""The two runs of the network itself: as it was trained, and step by step. The others bear their backend's name."""
BACKENDS = ("numpy", "torch", "onnxruntime", "lava", "sinabs")
"""The runs of a road that was not told others."""

_ANY = "*"


def trace_file(run: str) -> str:
    """The name of a run's trace."""
    return f"{'reference' if run in (PARALLEL, ITERATIVE) else 'trace'}.{run}.h5"


def verdict_file(run: str) -> str:
    """The name of a run's verdict; its table of differences stands beside it (``verification.differences.beside``)."""
    return f"verdict.{run}.json"


REPLACED = (
    trace_file(PARALLEL), trace_file(ITERATIVE), trace_file(_ANY), verdict_file(_ANY), "verdict.*.differences.h5",
    LABELS, ROAD, REPORT,
)  # fmt: skip
"""What a road leaves, as patterns, and the next one there takes away first."""
WRITTEN_OVER = (CHECKPOINT, METRICS, INPUT, NIR, ONNX)
"""What it leaves there too, and the next one writes over."""
READ = (METRICS, ROAD, LABELS, NIR, CERTIFICATE, "*.h5", verdict_file(_ANY))
"""What a report may read, as patterns."""
EXPECTED = (CHECKPOINT, METRICS, NIR, ONNX, trace_file(PARALLEL), trace_file(ITERATIVE), LABELS)
"""What a whole folder holds beside the trace and the verdict of each backend."""


def found(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """The files of ``folder`` that bear one of the names."""
    return [file for pattern in patterns for file in folder.glob(pattern)]


def prepare(folder: Path, reads: Iterable[Path | None] = ()) -> None:
    """Make the folder of a run. Raises BadInput where the run would replace a file of ``reads`` in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(folder, f"can't be a run folder ({error.strerror})") from error
    given = list(reads)
    for old in found(folder, (*REPLACED, *WRITTEN_OVER)):
        writable(old, given)


def clear(folder: Path) -> None:
    """Take away what a former road left and this one may not: a trace of another network must not stay."""
    for old in found(folder, REPLACED):
        old.unlink()
