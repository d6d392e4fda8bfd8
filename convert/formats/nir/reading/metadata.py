"""What the metadata of other writers say about a run: the step ``dt`` and the kind of reset; the rest is theirs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import nir
import numpy as np

from convert.formats.nir.reading.rules import Reset
from spikestrip.errors import BadInput

KINDS: dict[str, Reset] = {
    "soft": "soft",
    "subtract": "soft",
    "subtraction": "soft",
    "hard": "hard",
    "zero": "hard",
}


def step(graph: nir.NIRGraph) -> float | None:
    """The one ``dt``, in seconds, that the metadata of ``graph`` and its nodes state, or None.

    Raises BadInput(node, reason) where it is no number of seconds, or where several differ.
    """
    found: dict[float, str] = {}
    for path, metadata in _all(graph, ""):
        if "dt" not in metadata:
            continue
        value = metadata["dt"]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise BadInput(path, f"dt in its metadata is {value!r}, not a positive number of seconds; give --dt")
        found[float(value)] = path
    if len(found) > 1:
        said = ", ".join(f"{value:g} in {path}" for value, path in sorted(found.items()))
        raise BadInput("graph", f"its metadata state more than one dt ({said}); give --dt")
    return next(iter(found), None)


def word(metadata: dict[str, Any], key: str) -> Any:
    """What ``metadata`` state under ``key``, a text or a number, or None.

    Raises BadInput("metadata", reason) for an array, which is equal to nothing and unequal to nothing.
    """
    value = metadata.get(key)
    if isinstance(value, np.ndarray):
        raise BadInput("metadata", f"say {key} by an array of {value.dtype} {value.shape}, not by a text or a number")
    return value


def reset(scopes: Sequence[dict[str, Any]]) -> Reset | None:
    """The reset that the nearest of ``scopes`` (a node's metadata first, the whole graph's last) states, or None.

    Raises BadInput("metadata", reason) where it isn't clear.
    """
    for metadata in scopes:
        stated = {key: metadata[key] for key in ("reset", "reset_mechanism") if key in metadata}
        for key, value in stated.items():
            if not isinstance(value, str) or value not in KINDS:
                raise BadInput(
                    "metadata",
                    f"say {key} {value!r}, which is not {', '.join(KINDS)}; give --reset soft or --reset hard",
                )
        kinds = {KINDS[value] for value in stated.values()}
        if len(kinds) > 1:
            raise BadInput("metadata", "say one reset in reset and another in reset_mechanism; give --reset")
        if kinds:
            return kinds.pop()
    return None


def _all(graph: nir.NIRGraph, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path.rstrip("/") or "graph", graph.metadata
    for name, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            yield from _all(node, f"{path}{name}/")
        else:
            yield path + name, node.metadata
