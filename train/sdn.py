"""Train a surrogate dynamic network (SDN) for a neuron, and grade it per spike.

As published: inputs N(0, 1) of 1,024 steps, the membrane potential of the iterative neuron as the target, SmoothL1,
AdamW at 0.01 with a cosine schedule. Ours: after a quarter of it the BatchNorm is folded and the folded network
trained on, which rids the fine steps of the noise in the batch statistics, and is faster; and SmoothL1 turns
quadratic only below 0.02, since the error that counts is small.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

import click
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from spikestrip.command import MOST, Finite, main
from spikestrip.errors import BadInput
from spikestrip.files import atomic
from train.neurons.sdn import Surrogate
from train.neurons.sdn_grade import LENGTH, grade, inputs, simulate
from train.neurons.sdn_network import SDN, STEPS, Folded

ROWS = 4  # sequences of a batch
POOL = 2048  # sequences that the folded network draws its batches from
RATE = 0.01

Predicts = Literal["potential", "spike"]


def loss_of(predicts: Predicts, q: Tensor, x: Tensor, target: Tensor, spikes: Tensor) -> Tensor:
    """ "potential": SmoothL1 of the guess. "spike": cross-entropy of the spike, its logit the distance to threshold."""
    if predicts == "potential":
        return F.smooth_l1_loss(q, target, beta=0.02)
    return F.binary_cross_entropy_with_logits((q + x - 1) * 20, spikes)


def train(
    tau: float, reset: str = "hard", predicts: Predicts = "potential", steps: int = 40000, seed: int = 0
) -> Folded:
    """The folded network after ``steps`` batches, a quarter with BatchNorm. Leaves the global random state alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first = SDN()
        x = torch.randn(POOL, LENGTH)
        pool = (x, *simulate(tau, reset, x))
        windows = F.pad(x, (STEPS, 0)).unfold(1, STEPS, 1)[:, :LENGTH].permute(2, 0, 1).reshape(STEPS, -1)
        flat = [value.reshape(-1) for value in pool]
        with tqdm(total=steps, desc=f"SDN tau {tau:g} {reset}", unit="batch", mininterval=1) as bar:

            def descend(network: torch.nn.Module, batches: int, start: float, loss: Any) -> None:
                optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.0)
                for i in range(batches):
                    # one cosine over both parts
                    optimiser.param_groups[0]["lr"] = RATE * (1 + math.cos(math.pi * (start + i / steps))) / 2
                    optimiser.zero_grad()
                    value = loss()
                    value.backward()
                    optimiser.step()
                    bar.update()
                    if i % 500 == 0:
                        bar.set_postfix(loss=f"{float(value.detach()):.1e}")

            def published() -> Tensor:
                rows = torch.randint(POOL, (ROWS,))
                x, target, spikes = (value[rows] for value in pool)
                return loss_of(predicts, first(x), x, target, spikes)

            descend(first, steps // 4, 0.0, published)
            folded = first.eval().fold()

            def columns() -> Tensor:
                i = int(torch.randint(POOL * LENGTH - ROWS * LENGTH, ()))
                part = slice(i, i + ROWS * LENGTH)
                return loss_of(predicts, folded.columns(windows[:, part]), *(value[part] for value in flat))

            descend(folded, steps - steps // 4, 0.25, columns)
    return folded


def table(graded: list[dict[str, Any]]) -> str:
    head = f"{'input':<28}{'wrong steps':>12}{'sequences':>11}{'rate':>8}{'guessed':>9}"
    head += f"{'precision':>11}{'recall':>8}{'F1':>8}"
    rows = (
        f"{e['input']:<28}{e['wrong_steps']:>12.2e}{e['wrong_sequences']:>11.1%}{e['rate']:>8.3f}"
        f"{e['guessed_rate']:>9.3f}{e['precision']:>11.4f}{e['recall']:>8.4f}{e['f1']:>8.4f}"
        for e in graded
    )
    return "\n".join([head, *rows])


@click.command()
@click.option("--tau", type=Finite(), default=0.125, show_default=True, help="Decay of the neuron, 0 to 1.")
@click.option("--reset", type=click.Choice(["hard", "soft"]), default="hard", show_default=True)
@click.option("--predicts", type=click.Choice(["potential", "spike"]), default="potential", show_default=True,
              help="What the network is trained on: the membrane potential, or the spike.")  # fmt: skip
@click.option("--steps", type=click.IntRange(2, MOST), default=40000, show_default=True, help="Batches of training.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="sdn.pt or sdn.safetensors")
def command(tau: float, reset: str, predicts: Predicts, steps: int, seed: int, out: Path) -> None:
    """Train and grade a surrogate dynamic network (SDN): its weights, and the grade beside them as .json."""
    if not 0 <= tau <= 1:
        raise BadInput("--tau", f"{tau:g} is not a decay between 0 and 1")
    if out.suffix not in (".pt", ".safetensors"):
        raise BadInput(out, "ends neither in .pt nor in .safetensors")
    with atomic(out) as weights, atomic(out.with_suffix(".json")) as header:
        network = train(tau, reset, predicts, steps, seed)
        surrogate = Surrogate(
            network, tau, reset, predicts, {"steps": steps, "seed": seed}, grade(network, tau, reset, inputs(512))
        )
        surrogate.save(weights)
        header.write_bytes(json.dumps(surrogate.header, indent=1).encode() + b"\n")
    click.echo(table(surrogate.grade))


if __name__ == "__main__":
    main(command)
