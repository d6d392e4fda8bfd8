"""A network of a Speck's cores on real digits: what its integers cost, and what the order of events does.

python benchmarks/speck_digits.py --neuron several|single [--epochs 20] [--plot orders.png]

Trains through sinabs' own layers on one thread, and prints accuracy on the held-out 20% of scikit-learn's digits
(8 x 8): in float, in integers, and event by event in several orders. A pixel of value v sends v events in 16 steps,
as evenly as they can lie.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import sinabs.layers as sl
import torch
from sinabs.activation import MembraneSubtract, MultiSpike, SingleSpike
from torch import nn

import spikestrip as ss
from convert.lowering.speck import speck
from deploy.fit import fit
from deploy.fitting import chip
from deploy.orders import draw, spread
from simulators.asynchrony import synchronous
from spikestrip.operations import LIF, Affine, Conv2d, Flatten, MultiSpikeIF, Operation, SumPool2d
from train.tasks.digits import load

STEPS, BATCH = 16, 64


def events(images: np.ndarray) -> np.ndarray:
    """Values 0..16 (B, 8, 8) -> (B, 16, 1, 8, 8) of 0 and 1: floor(v(t + 1)/16) - floor(v t/16)."""
    t = np.arange(STEPS + 1).reshape(1, -1, 1, 1, 1)
    return np.diff(images[:, None, None] * t // STEPS, axis=1).astype(np.float32)


class Network(nn.Module):
    def __init__(self, several: bool) -> None:
        super().__init__()
        self.weights = nn.ModuleList(
            [nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.Conv2d(8, 16, 3, padding=1, bias=False),
             nn.Linear(64, 10, bias=False)]
        )  # fmt: skip
        firing = {"spike_fn": MultiSpike, "min_v_mem": -1.0} if several else {"spike_fn": SingleSpike}
        self.neurons = nn.ModuleList([sl.IAF(reset_fn=MembraneSubtract(), **firing) for _ in range(3)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for k, (weights, neurons) in enumerate(zip(self.weights, self.neurons, strict=True)):
            neurons.init_state_with_shape((len(x), *_SHAPES[k]))
            flat = x.flatten(0, 1)
            y = weights(flat.flatten(1) if k == 2 else flat)
            x = neurons(y.unflatten(0, x.shape[:2]))
            if k < 2:
                pooled = nn.functional.avg_pool2d(x.flatten(0, 1), 2) * 4
                x = pooled.unflatten(0, x.shape[:2])
        return x


_SHAPES = ((8, 8, 8), (16, 4, 4), (10,))


def program(network: Network, several: bool) -> ss.Program:
    """The trained network's weights as a program."""

    def neurons(*shape: int) -> Operation:
        one = np.ones(shape)
        return MultiSpikeIF(one, -one) if several else LIF(one, one, reset_kind="soft")

    first, second, head = (layer.weight.detach().numpy() for layer in network.weights)
    pads = {"pad_top": 1, "pad_bottom": 1, "pad_left": 1, "pad_right": 1}
    return ss.chain(
        (1, 8, 8),
        [
            *(
                ("n00_conv", Conv2d(first, **pads)),
                ("n01_spike", neurons(8, 8, 8)),
                ("n02_pool", SumPool2d(2, 2, 2, 2)),
            ),
            *(
                ("n03_conv", Conv2d(second, **pads)),
                ("n04_spike", neurons(16, 4, 4)),
                ("n05_pool", SumPool2d(2, 2, 2, 2)),
            ),
            *(("n06_flat", Flatten()), ("n07_head", Affine(head)), ("n08_spike", neurons(10))),
        ],
    )


def trained(x: torch.Tensor, labels: torch.Tensor, several: bool, epochs: int, seed: int) -> Network:
    torch.manual_seed(seed)
    network = Network(several)
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(network(x[rows]).sum(1) / 4, labels[rows])
            loss.backward()
            optimiser.step()
    return network


@click.command()
@click.option("--neuron", type=click.Choice(["several", "single"]), default="several")
@click.option("--epochs", default=20)
@click.option("--seed", default=0)
@click.option("--orders", default=40, help="Held-out digits that are run event by event.")
@click.option("--plot", type=click.Path(path_type=Path))
def main(neuron: str, epochs: int, seed: int, orders: int, plot: Path | None) -> None:
    torch.set_num_threads(1)
    task, several = load(), neuron == "several"
    (x, labels), (held, answers) = (
        (events(np.rint(split.inputs.reshape(-1, 8, 8) * 16)), np.asarray(split.labels))
        for split in (task.train, task.test)
    )
    network = trained(torch.from_numpy(x), torch.from_numpy(labels).long(), several, epochs, seed)
    float_program = program(network, several)
    print(fit(float_program, chip.read("speck2f")).sentence)
    lowered = speck(float_program)
    for core in lowered.cores:
        print(core)
    found = {}
    for name, each in (("float", float_program), ("integers", lowered.program)):
        output = ss.simulate(each, held).output.sum(axis=1)
        found[name] = output.argmax(axis=1)
        print(f"{name}: {np.count_nonzero(found[name] == answers)} of {len(answers)} right")
    print(f"answers that integers change: {np.count_nonzero(found['float'] != found['integers'])}")
    print({name: int(train.sum()) for name, train in synchronous(lowered.program, held).items()})
    moved = spread(lowered.program, held[:orders])
    for order, given in zip(moved.orders, moved.answers, strict=True):
        print(f"{order}: {np.count_nonzero(given == answers[:orders])} of {orders} right")
    for name in moved.sent:
        print(name, moved.sent[name].sum(axis=(1, 2, 3)), moved.apart(name).round(4), round(moved.undecided(name), 4))
    if plot is not None:
        draw(moved).savefig(plot, dpi=150)


if __name__ == "__main__":
    main()
