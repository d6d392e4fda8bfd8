"""Weights of 8 bits, where spikes enter: sums of integers, the same on every machine; and what they cost in spikes."""

from __future__ import annotations

import dataclasses

import numpy as np

from spikestrip.execution import Stepper
from spikestrip.operations import Affine
from spikestrip.program import Layer, Program

LARGEST = 127


def grid(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers (out, in) int8 and steps (out,), such that integers * steps is nearest to ``weight``.

    A step is a power of two, so no product and no sum of spikes rounds; what lies on a grid is returned as it is.
    """
    share, exponent = np.frexp(np.abs(weight).max(axis=1).astype(np.float64) / LARGEST)
    step = np.ldexp(1.0, exponent - (share == 0.5))
    return np.rint(weight / step[:, None]).astype(np.int8), step


def affine(program: Program, layer: Layer) -> Affine | None:
    """The operation of a layer whose weights one stream of spikes reaches; every other layer keeps its weights."""
    operation = layer.operation
    return operation if isinstance(operation, Affine) and program.is_binary(layer) else None


def int8(program: Program) -> Program:
    """``program`` with the weights of the layers that spikes reach moved to their grid: what 8 bits really compute."""
    return dataclasses.replace(program, layers=tuple(_lowered(program, layer) for layer in program.layers))


def _lowered(program: Program, layer: Layer) -> Layer:
    operation = affine(program, layer)
    if operation is None:
        return layer
    integers, step = grid(operation.weight)
    weight = (integers * step[:, None]).astype(np.float32)
    return dataclasses.replace(layer, operation=dataclasses.replace(operation, weight=weight))


def cost(program: Program, other: Program, x: np.ndarray) -> dict[str, float]:
    """The share of spikes of each layer that differ between two programs on x (B, T, *input_shape), in float64."""
    steppers = [Stepper(each, len(x)) for each in (program, other)]
    differ = dict.fromkeys((layer.name for layer in program.spiking), 0.0)
    for t in range(x.shape[1]):
        ours, theirs = (stepper.step(x[:, t].astype(np.float64)) for stepper in steppers)
        for name in differ:
            differ[name] += float(np.mean(ours[name] != theirs[name])) / x.shape[1]
    return differ
