"""Random programs for the tests: ``from programs import network, dyadic, runs, ...``."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from simulators.conformance.networks import affine, dyadic, gaussian, grid, layer_norm, network, recurrent, s4d
from spikestrip.program import Program

__all__ = [
    "affine",
    "dyadic",
    "exact_runs",
    "gaussian",
    "grid",
    "layer_norm",
    "network",
    "recurrent",
    "runs",
    "s4d",
]


@st.composite
def runs(draw: st.DrawFn, **fixed: Any) -> tuple[Program, np.ndarray]:
    """A random ``network`` and N(0, 1) input for it; keywords fix arguments of ``network``."""
    drawn: dict[str, Any] = {
        "inputs": st.integers(1, 4),
        "hidden": st.integers(2, 9),
        "modes": st.integers(1, 5),
        "blocks": st.integers(1, 3),
        "neuron": st.sampled_from(["hard", "soft", "refractory"]),
        "mix": st.sampled_from(["linear", "glu"]),
        "norm": st.sampled_from([None, "layer"]),
        "classes": st.integers(1, 4),
        "readout": st.sampled_from(["mean", "sequence"]),
    }
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    program = network(rng, **{name: draw(choices) for name, choices in drawn.items() if name not in fixed}, **fixed)
    return program, gaussian(rng, program, draw(st.integers(1, 4)), draw(st.integers(1, 25)))


@st.composite
def exact_runs(draw: st.DrawFn, **fixed: Any) -> tuple[Program, np.ndarray]:
    """A random ``dyadic`` network and grid input for it; keywords fix arguments of ``dyadic``."""
    drawn: dict[str, Any] = {
        "inputs": st.integers(1, 3),
        "hidden": st.integers(1, 8),
        "modes": st.integers(1, 3),
        "blocks": st.integers(1, 2),
        "neuron": st.sampled_from(["hard", "soft", "refractory"]),
        "readout": st.sampled_from(["mean", "sequence"]),
    }
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    program = dyadic(rng, **{name: draw(choices) for name, choices in drawn.items() if name not in fixed}, **fixed)
    return program, grid(rng, program, draw(st.integers(1, 4)), draw(st.integers(1, 6)))
