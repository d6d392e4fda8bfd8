"""Trains a small network in float64, alone or as one of torchrun's ranks; saves its weights and last gradients."""

import sys

import numpy as np
import torch

from train.config import Config
from train.loop import train
from train.networks import Network
from train.ranks import ranks
from train.recipe import Recipe
from train.tasks import Split


def main(out: str, model: str, reset: str, parallel: str) -> None:
    generator = np.random.default_rng(0)
    split = Split(generator.normal(size=(31, 20, 2)), generator.integers(0, 3, 31))
    with ranks("cpu") as here:
        torch.manual_seed(0)
        network = Network(Config(2, 3, d_model=5, d_state=2, model=model, reset=reset)).double()  # type: ignore[arg-type]
        with torch.no_grad():  # silence in, and a sampler's bias of 0, would lie at the clamp's edge: rounding decides
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        recipe = Recipe(((parallel, 2),), batch=7, target_rate=0.01, shift=1)
        progress = train(network, split, recipe, "cpu", image=(4, 5), ranks=here)
        if here.first:
            gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
            rows = [{name: value for name, value in row.items() if name != "seconds"} for row in progress.epochs]
            torch.save({"state": network.state_dict(), "gradients": gradients, "rows": rows}, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
