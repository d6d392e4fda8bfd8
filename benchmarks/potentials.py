"""Where membrane potentials lie, seen from the threshold: fixed thresholds beside learned ones.

python benchmarks/potentials.py FIXED.pt LEARNED.pt --samples 256 --out docs/potentials.png

Of every layer, the distribution of u'/vth: the membrane potential before reset over the neuron's own threshold, on
held-out sequences through the stripped program, step by step in float64. Shares are of all neuron-steps, in bins of
u'/vth. The numbers lie beside the figure, as JSON.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import iterative
import numpy as np

from convert.strip import strip
from deploy.verification.replay import potentials
from spikestrip.command import main
from spikestrip.errors import BadInput
from spikestrip.files import atomic, writable
from spikestrip.operations import Bernoulli
from train.checkpoint import load
from train.held_out import held_out
from train.networks import Network
from train.tasks import Split

EDGES = np.linspace(-4, 6, 201)  # the threshold, 1, is an edge: all above it fires
SHADES = ("#8a94a0", "#c2410c")


def distributions(network: Network, split: Split) -> dict[str, dict[str, Any]]:
    """Of each spiking layer: ``share`` of neuron-steps in each bin of u'/vth and ``below`` and ``above`` them all, the
    ``rate`` of spikes, and ``vth`` of each neuron. Raises BadInput for spikes that are drawn."""
    program = strip(network)
    for layer in program.spiking:
        if isinstance(layer.operation, Bernoulli):
            raise BadInput(layer.name, "draws its spikes: it has no membrane potential")
    edges = np.concatenate([[-np.inf], EDGES, [np.inf]])
    counts = {layer.name: np.zeros(len(EDGES) + 1, np.int64) for layer in program.spiking}
    spikes = dict.fromkeys(counts, 0)
    for batch in iterative.run(program, split.inputs):
        for layer in program.spiking:
            current, train = (kept[layer.name].double().numpy() for kept in (batch.currents, batch.spikes))
            u = potentials(layer.operation, current.swapaxes(0, 1), train.swapaxes(0, 1))
            counts[layer.name] += np.histogram(u / layer.operation.threshold, edges)[0]
            spikes[layer.name] += int(train.sum())
    found = {}
    for layer in program.spiking:
        steps = int(counts[layer.name].sum())
        below, *share, above = (counts[layer.name] / steps).tolist()
        rate, vth = spikes[layer.name] / steps, layer.operation.threshold.tolist()
        found[layer.name] = {"share": share, "below": below, "above": above, "rate": rate, "vth": vth}
    return found


def plot(found: dict[str, dict[str, dict[str, Any]]], path: Path) -> None:
    """One panel a layer; ``found``: network -> layer -> as ``distributions`` gives it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    layers = list(next(iter(found.values())))
    columns = min(3, len(layers))
    rows = -(-len(layers) // columns)
    figure, panels = pyplot.subplots(rows, columns, figsize=(4.8 * columns, 3.3 * rows), squeeze=False)
    for panel in panels.flat[len(layers) :]:
        panel.set_visible(False)
    for panel, layer in zip(panels.flat, layers, strict=False):
        for (name, by_layer), shade in zip(found.items(), SHADES, strict=True):
            here = by_layer[layer]
            low, high = f"{min(here['vth']):.2f}", f"{max(here['vth']):.2f}"
            vth = low if low == high else f"{low} to {high}"
            label = f"{name}: vth {vth}\n{here['rate']:.1%} of steps spike"
            panel.stairs(here["share"], EDGES, color=shade, fill=True, alpha=0.2)
            panel.stairs(here["share"], EDGES, color=shade, linewidth=1.4, label=label)
        panel.axvline(1, color="black", linewidth=1, linestyle="--")
        panel.text(1.08, 0.6, "fires \N{RIGHTWARDS ARROW}", transform=panel.get_xaxis_transform(), fontsize=8)
        panel.set(title=layer, xlabel="u' / vth", xlim=EDGES[[0, -1]], ylabel="share of neuron-steps")
        panel.legend(fontsize=8, loc="upper right", frameon=False, handlelength=1, borderaxespad=0)
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=150)
    pyplot.close(figure)


@click.command(help=__doc__, context_settings={"show_default": True})
@click.argument("fixed", type=click.Path(path_type=Path))
@click.argument("learned", type=click.Path(path_type=Path))
@click.option("--samples", type=click.IntRange(1), default=256)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Figure; the JSON lies beside it.")
@click.option("--data-dir", type=click.Path(path_type=Path))
def command(fixed: Path, learned: Path, samples: int, out: Path, data_dir: Path | None) -> None:
    writable(out)
    checkpoints = {"fixed": load(fixed), "learned": load(learned)}
    for path, wanted, checkpoint in ((fixed, False, checkpoints["fixed"]), (learned, True, checkpoints["learned"])):
        if checkpoint.network.config.learn_threshold is not wanted:
            raise BadInput(path, f"its thresholds are {'fixed' if wanted else 'learned'}; FIXED comes before LEARNED")
    found = {
        name: distributions(checkpoint.network, held_out(checkpoint, path, samples, data_dir))
        for path, (name, checkpoint) in zip((fixed, learned), checkpoints.items(), strict=True)
    }
    if len({tuple(by_layer) for by_layer in found.values()}) > 1:
        raise BadInput(learned, f"has other layers than {fixed}")
    plot(found, out)
    with atomic(out.with_suffix(".json")) as temporary:
        content = {"samples": samples, "edges": EDGES.tolist(), "networks": found}
        temporary.write_text(json.dumps(content, indent=1))
    click.echo(f"{out}, {out.with_suffix('.json')}")


if __name__ == "__main__":
    main(command)
