"""A network of stock lava-nc processes, and what its two builders, of integers and of floats, have in common."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from simulators.backends.lava import compat
from spikestrip.program import Program

LONGEST_DELAY = 63  # DelaySparse: 6 bits


@dataclasses.dataclass
class StockNetwork:
    """Connected stock processes by name. ``depth``: layer -> Lava's steps by which it is late; ``sends``: its port.

    ``states``: layer -> name of the program's state -> the Var, and the part of it, that holds it after a step;
    ``settled``: layer -> steps by which its states are late. ``tag``: of the process models, fixed or floating point.
    """

    tag: str
    processes: dict[str, Any] = dataclasses.field(default_factory=dict)
    depth: dict[str, int] = dataclasses.field(default_factory=dict)
    sends: dict[str, Any] = dataclasses.field(default_factory=dict)
    states: dict[str, dict[str, tuple[Any, slice]]] = dataclasses.field(default_factory=dict)
    settled: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def delay(self) -> int:
        """Steps that a run takes beyond those of its input."""
        return max(self.depth.values()) + 1

    def run(self, steps: int) -> None:
        """Run ``steps`` steps in Lava's simulation; call ``stop`` when all is read."""
        with compat.importable():
            from lava.magma.core.run_conditions import RunSteps
            from lava.magma.core.run_configs import Loihi2SimCfg
        next(iter(self.processes.values())).run(RunSteps(steps), run_cfg=Loihi2SimCfg(select_tag=self.tag))

    def stop(self) -> None:
        next(iter(self.processes.values())).stop()


class Builder:
    """Builds the network of ``program`` for the input x (B, T, ...), as B copies side by side."""

    tag: str

    def __init__(self, program: Program, x: np.ndarray) -> None:
        self.program, self.copies, self.steps = program, *x.shape[:2]
        self.network = StockNetwork(self.tag)
        self.longest = x.shape[1] + 4 * len(program.layers)

    def _add(self, name: str, process: Any) -> Any:
        self.network.processes[name] = process
        return process

    def _sent(self, name: str, port: Any, depth: int) -> None:
        self.network.sends[name], self.network.depth[name] = port, depth

    def _holds(self, name: str, states: dict[str, tuple[Any, slice]], depth: int) -> None:
        self.network.states[name], self.network.settled[name] = states, depth

    def _data(self, x: np.ndarray, dtype: type) -> np.ndarray:
        """The data of a RingBuffer that sends x (B, T, ...), and then zeros until the run is over."""
        data = np.zeros((self.copies * x[0, 0].size, self.longest), dtype)
        data[:, : self.steps] = x.reshape(self.copies, self.steps, -1).transpose(0, 2, 1).reshape(len(data), -1)
        return data

    def _constant(self, values: np.ndarray, first: int, dtype: type) -> np.ndarray:
        """The data of a RingBuffer that sends ``values`` for every copy in each step from ``first`` on."""
        data = np.zeros((self.copies * values.size, self.longest), dtype)
        data[:, first:] = np.tile(values.reshape(-1), self.copies)[:, None]
        return data
