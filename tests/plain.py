"""The operations' equations (docs/api.md) in plain Python numbers, a value at a time: an oracle without arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spikestrip.program import Program

Vector = list[float]


def run(program: Program, x: np.ndarray) -> dict[str, list[Vector]]:
    """One sample (T, C) through ``program``, whose streams are vectors: layer -> its output at every step."""
    memory: dict[str, dict[str, Any]] = {layer.name: {} for layer in program.layers}
    previous: dict[str, Vector] = {layer.name: [0.0] * program.shapes[layer.name][0] for layer in program.layers}
    record: dict[str, list[Vector]] = {layer.name: [] for layer in program.layers}
    for row in x.tolist():
        now: dict[str, Vector] = {"input": [float(value) for value in row]}
        for layer in program.layers:
            streams = [now[source] for source in layer.inputs] + [previous[source] for source in layer.delayed]
            entering = [sum(values) for values in zip(*streams, strict=True)]
            parameters = {name: value.tolist() for name, value in layer.operation.arrays().items()}
            parameters |= layer.operation.attributes()
            now[layer.name] = _STEPS[layer.operation.kind](parameters, memory[layer.name], entering)
            record[layer.name].append(now[layer.name])
        previous = now
    return record


def _affine(p: dict[str, Any], memory: dict[str, Any], x: Vector) -> Vector:
    bias = p.get("bias", [0.0] * len(p["weight"]))
    return [sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(p["weight"], bias, strict=True)]


def _scale(p: dict[str, Any], memory: dict[str, Any], x: Vector) -> Vector:
    return [scale * value for scale, value in zip(p["scale"], x, strict=True)]


def _join(p: dict[str, Any], memory: dict[str, Any], x: Vector) -> Vector:
    return x


def _s4d(p: dict[str, Any], memory: dict[str, Any], x: Vector) -> Vector:
    modes = range(len(p["a_re"]))
    out = []
    for j, value in enumerate(x):
        total = 0j
        for n in modes:
            a, b, c = (complex(p[f"{k}_re"][n][j], p[f"{k}_im"][n][j]) for k in "abc")
            h = a * memory.get((n, j), 0j) + b * value
            memory[n, j] = h
            total += c * h
        out.append(2 * total.real + p["d"][j] * value)
    return out


def _lif(p: dict[str, Any], memory: dict[str, Any], x: Vector) -> Vector:
    spikes = []
    for j, value in enumerate(x):
        threshold = p["threshold"][j]
        u = p["decay"][j] * memory.get(j, 0.0) + (p["gain"][j] * value if "gain" in p else value)
        if "bias" in p:
            u += p["bias"][j]
        fired = u > threshold if p["comparison"] == "gt" else u >= threshold
        if fired:
            if p["reset_kind"] == "soft":
                u -= threshold
            else:
                u = p["v_reset"][j] if "v_reset" in p else 0.0
        memory[j] = u
        spikes.append(float(fired))
    return spikes


def _refractory(p: dict[str, Any], memory: dict[str, Any], x: Vector) -> Vector:
    spikes = []
    for j, value in enumerate(x):
        u, r, s = memory.get(j, (0.0, 0.0, 0.0))
        r = p["decay_r"][j] * r + s
        u = p["decay"][j] * u + value - p["inhibition"][j] * r
        s = float(u >= p["threshold"][j])
        if p["soft"]:
            u -= p["threshold"][j] * s
        memory[j] = (u, r, s)
        spikes.append(s)
    return spikes


def _li(p: dict[str, Any], memory: dict[str, Any], x: Vector) -> Vector:
    for j, value in enumerate(x):
        current = (p["gain"][j] * value if "gain" in p else value) + (p["bias"][j] if "bias" in p else 0.0)
        memory[j] = p["decay"][j] * memory.get(j, 0.0) + current
    return [memory[j] for j in range(len(x))]


def _glu(p: dict[str, Any], memory: dict[str, Any], x: Vector) -> Vector:
    half = len(x) // 2
    return [a / (1 + math.exp(-b)) for a, b in zip(x[:half], x[half:], strict=True)]


def _layer_norm(p: dict[str, Any], memory: dict[str, Any], x: Vector) -> Vector:
    mean = math.fsum(x) / len(x)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in x) / len(x) + p["eps"])
    return [(value - mean) / deviation * w + b for value, w, b in zip(x, p["weight"], p["bias"], strict=True)]


_STEPS = {
    "affine": _affine,
    "scale": _scale,
    "join": _join,
    "s4d": _s4d,
    "lif": _lif,
    "lif_refractory": _refractory,
    "li": _li,
    "glu": _glu,
    "layer_norm": _layer_norm,
}
