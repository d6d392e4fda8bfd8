"""What PMBC costs in training: steps on real digits, bounds of M = 8 and converged, beside the scan's.

python benchmarks/pmbc_cost.py --json pmbc_cost.json

SPikE-SSM on mnist5k, batches of 50 in turn, from initialised weights and from those that one epoch by the scan left:
how fast bounds meet depends on the currents. The three networks take the same steps from the same weights.
"""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Callable
from typing import Any

import measuring
import numpy as np
import steps
import torch
from measuring import Row, Tables

from train import tasks
from train.networks import Network
from train.neurons import pmbc
from train.neurons.pmbc import Report, UndecidedWarning
from train.tasks import Split

FORMS: dict[str, dict[str, Any]] = {
    "scan": {"parallel": "scan"},
    "pmbc, M = 8": {"parallel": "pmbc", "pmbc_iterations": 8},
    "pmbc, converged": {"parallel": "pmbc"},
}


def over_batches(network: Network, split: Split, batch: int) -> Callable[[], None]:
    """A call is one training step, on the next batch."""
    x, labels = torch.empty(batch, *split.inputs.shape[1:]), torch.empty(batch, dtype=torch.int64)
    step = steps.training_step(network, x, labels)
    order = np.random.default_rng(0).permutation(len(split.labels) // batch * batch).reshape(-1, batch)
    turn = itertools.cycle(order)

    def call() -> None:
        chosen = next(turn)
        x.copy_(torch.from_numpy(split.inputs[chosen]))
        labels.copy_(torch.from_numpy(split.labels[chosen]))
        step()

    return call


def decided(network: Network, x: torch.Tensor, form: dict[str, Any]) -> Row:
    """Of a batch, in percent: the neuron-steps that the bounds decide, and the rows that the neuron itself ends."""
    if form["parallel"] != "pmbc":
        return {"decided": None, "ended": None}
    report = Report()

    def watch(neuron: Any, given: tuple[torch.Tensor]) -> None:
        pmbc.run(given[0], neuron.neuron(given[0].dtype), form.get("pmbc_iterations"), report)

    hooks = [block.neuron.register_forward_pre_hook(watch) for block in network.blocks]
    with torch.no_grad():
        network(x)
    for hook in hooks:
        hook.remove()
    undecided, ended = report.undecided / report.steps, report.exact_rows / report.rows
    return {"decided": measuring.significant(100 - 100 * undecided), "ended": measuring.significant(100 * ended)}


def compare(trained: int, options: dict[str, Any], split: Split, batch: int, turns: int) -> list[Row]:
    base = steps.network(**options)
    warm = over_batches(base, split, batch)
    for _ in range(trained):
        warm()
    timers = {}
    for name, form in FORMS.items():
        network = steps.network(**options | form)
        network.load_state_dict(copy.deepcopy(base.state_dict()))
        timers[name] = measuring.timer(over_batches(network, split, batch))
    rows = measuring.compared(
        measuring.take_turns(timers, turns), "scan", "form", trained_steps=trained, **options, batch=batch
    )
    x = torch.from_numpy(split.inputs[:batch]).float()
    return [row | decided(base, x, FORMS[str(row["form"])]) for row in rows]


def measure(smoke: bool) -> Tables:
    warnings.simplefilter("ignore", UndecidedWarning)  # M = 8 misses spikes: the paper's
    split = tasks.load("mnist5k").train
    if smoke:
        split = Split(split.inputs[:6, :10], split.labels[:6])
    batch, turns = (2, 1) if smoke else (steps.BATCH, 9)
    options = {"model": "spikessm", "reset": "refractory", **(steps.TINY if smoke else steps.SMNIST)}
    epoch = len(split.labels) // batch
    return {"pmbc": [row for trained in (0, epoch) for row in compare(trained, options, split, batch, turns)]}


main = measuring.command(measure)
if __name__ == "__main__":
    main()
