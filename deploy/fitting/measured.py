"""What a program did on an input: the rates at which messages and synaptic operations are counted."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from spikestrip import inputs, trace
from spikestrip.errors import BadInput
from spikestrip.program import Program
from spikestrip.trace import Trace


@dataclasses.dataclass(frozen=True)
class Measured:
    """A run, and where it came from. ``steps``: samples times steps, over which everything is counted."""

    run: Trace
    source: str

    @property
    def steps(self) -> int:
        return self.run.input.shape[0] * self.run.input.shape[1]

    def spikes(self, layer: str) -> np.ndarray | None:
        """The spikes of a layer, (samples * steps, N), or None where it doesn't spike."""
        train = self.run.spikes.get(layer)
        return None if train is None else train.reshape(self.steps, -1)

    def operations(self, layer: str) -> np.ndarray:
        """Nonzero weights of ``layer`` that were reached in each sample and step, by the ledger: (samples * steps,)."""
        events = self.run.events[layer]
        return (events["synaptic_acs"] + events["effective_macs"]).reshape(-1)

    def summary(self) -> dict[str, Any]:
        samples, steps = self.run.input.shape[:2]
        return {"source": self.source, "samples": samples, "steps": steps}


def simulated(program: Program, path: Path) -> Measured:
    """``program`` run on the input in an .npy file, in float64."""
    from simulators.run import simulate

    return Measured(simulate(program, inputs.read(path, program.input_shape)), str(path))


def recorded(program: Program, path: Path) -> Measured:
    """The run in a trace. Raises BadInput where it is another program's, or holds no ledger."""
    run = trace.read(path)
    computed = run.attrs.get("computed_sha256", run.attrs.get("program_sha256"))
    if computed != program.sha256:
        raise BadInput(path, f"is a run of program {str(computed)[:12]}, not of {program.sha256[:12]}")
    missing = [layer.name for layer in program.layers if "synaptic_acs" not in run.events.get(layer.name, {})]
    if missing:
        raise BadInput(path, f"holds no events of layer {missing[0]}; give --input instead")
    return Measured(run, str(path))
