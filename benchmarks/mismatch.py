"""How far each parallel form of trained networks is from what they do once stripped.

python benchmarks/mismatch.py CKPT ... --samples 1000 --json mismatch.json

The truth is the stripped program, step by step in float64. On held-out sequences each parallel form that can compute
the network's neuron is compared with it, spike by spike:

forced: each layer's neuron alone, fed the truth's own input current: what the form itself gets wrong.

free: the whole network, computed by that form: what becomes of it on its way through the layers.

"Share" is of neuron-steps, "of spikes" the same differences over the truth's spikes. Exact forms run in float32 and in
float64, the others in float32. P-SpikeSSM has one form: it draws all steps at once.
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import iterative
import numpy as np
import torch
from forms import Form, computed_by, forced, forms_of, free
from tqdm import tqdm

from convert.strip import strip
from spikestrip.command import main
from spikestrip.files import atomic, writable
from train.checkpoint import load
from train.held_out import held_out
from train.networks import Network
from train.neurons.pmbc import UndecidedWarning
from train.neurons.sdn import SurrogateWarning
from train.tasks import Split

WAYS = ("forced", "free")
FIGURES = ("differ", "share", "of spikes", "first step")
HEAD = ("form", "arithmetic", "layer", *(f"{way}: {figure}" for way in WAYS for figure in FIGURES))
ANSWERS = ("form", "arithmetic", "accuracy", "change in points", "answers changed", "ppm")


@dataclasses.dataclass
class Tally:
    """Of one layer: neuron-steps that differ, sequences in which one does, and the earliest of all."""

    differ: int = 0
    sequences: int = 0
    first: dict[str, int] | None = None

    def add(self, wrong: np.ndarray, first_sample: int) -> None:
        """Count ``wrong`` (T, B, N) booleans, of the sequences from ``first_sample`` on."""
        self.differ += int(np.count_nonzero(wrong))
        self.sequences += int(np.count_nonzero(wrong.any(axis=(0, 2))))
        if wrong.any():
            step, sample, neuron = (int(index) for index in np.unravel_index(wrong.argmax(), wrong.shape))
            if self.first is None or step < self.first["step"]:
                self.first = {"step": step, "sample": first_sample + sample, "neuron": neuron}


def measure(network: Network, split: Split, forms: list[Form]) -> dict[str, Any]:
    """The truth about ``network`` on ``split``, and how far each of ``forms`` is from it."""
    program = strip(network)
    layers = [layer.name for layer in program.spiking]
    tallies = {form: {name: {way: Tally() for way in WAYS} for name in layers} for form in forms}
    truth: list[np.ndarray] = []
    answers: dict[Form, list[np.ndarray]] = {form: [] for form in forms}
    steps, spikes = dict.fromkeys(layers, 0), dict.fromkeys(layers, 0)
    with tqdm(total=len(split.labels) * len(forms), unit="seq", disable=None) as bar:
        for batch in iterative.run(program, split.inputs):
            truth.append(batch.logits.argmax(axis=-1))
            for name, train in batch.spikes.items():
                steps[name] += train.numel()
                spikes[name] += int(train.sum())
            for form in forms:
                bar.set_description(f"{form.name} {form.dtype}")
                other = computed_by(network, form)
                logits, trains = free(other, batch.inputs, batch.first)
                answers[form].append(logits.argmax(axis=-1))
                alone = forced(other, [current.permute(1, 2, 0) for current in batch.currents.values()], batch.first)
                for name, *seen in zip(layers, alone, trains, strict=True):
                    for way, train in zip(WAYS, seen, strict=True):
                        wrong = train.permute(2, 0, 1) != batch.spikes[name]
                        tallies[form][name][way].add(wrong.numpy(), batch.first)
                bar.update(len(batch.inputs))

    def layer(name: str, way: str, form: Form) -> dict[str, Any]:
        tally = tallies[form][name][way]
        shares = {"share": tally.differ / steps[name], "of_spikes": tally.differ / max(1, spikes[name])}
        return dataclasses.asdict(tally) | shares

    right = np.concatenate(truth)
    accuracy = float((right == split.labels).mean())
    rows = []
    for form in forms:
        answer = np.concatenate(answers[form])
        own, changed = float((answer == split.labels).mean()), int((answer != right).sum())
        rows.append({
            "form": form.name, "arithmetic": form.dtype,
            "accuracy": own, "accuracy_change": own - accuracy,
            "answers_changed": changed, "answers_changed_ppm": 1e6 * changed / right.size,
            "layers": {name: {way: layer(name, way, form) for way in WAYS} for name in layers},
        })  # fmt: skip
    return {
        "sequences": len(split.labels), "steps": split.inputs.shape[1], "answers": right.size, "accuracy": accuracy,
        "layers": {name: {"neuron_steps": steps[name], "spikes": spikes[name]} for name in layers}, "forms": rows,
    }  # fmt: skip


def show(found: dict[str, Any]) -> None:
    """Print what ``measure`` found as two Markdown tables."""
    spoken = ", ".join(
        f"{name} {layer['spikes'] / layer['neuron_steps']:.2%} of {layer['neuron_steps']:,}"
        for name, layer in found["layers"].items()
    )
    click.echo(f"{found['sequences']} sequences of {found['steps']} steps; accuracy, stripped: {found['accuracy']:.2%}")
    click.echo(f"spikes of neuron-steps: {spoken}\n")
    _line(HEAD, "|---" * len(HEAD))
    for row in found["forms"]:
        for name, ways in row["layers"].items():
            _line((row["form"], row["arithmetic"], name, *(cell for way in WAYS for cell in _cells(ways[way]))))
    click.echo()
    _line(ANSWERS, "|---" * len(ANSWERS))
    for row in found["forms"]:
        figures = f"{row['accuracy']:.2%}", f"{100 * row['accuracy_change']:+.2f}", f"{row['answers_changed']}"
        _line((row["form"], row["arithmetic"], *figures, f"{row['answers_changed_ppm']:.0f}"))
    for method, reason in found["refused"].items():
        click.echo(f"\n{method} can't compute it: {reason}")


def _cells(layer: dict[str, Any]) -> tuple[str, ...]:
    first = layer["first"]["step"] if layer["first"] else "-"
    return f"{layer['differ']:,}", f"{layer['share']:.2e}", f"{layer['of_spikes']:.2e}", f"{first}"


def _line(cells: tuple[str, ...], rule: str = "") -> None:
    click.echo(f"| {' | '.join(cells)} |" + (f"\n{rule}|" if rule else ""))


@click.command(help=__doc__, context_settings={"show_default": True})
@click.argument("checkpoints", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--samples", type=click.IntRange(1), default=1000)
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
@click.option("--data-dir", type=click.Path(path_type=Path))
def command(checkpoints: tuple[Path, ...], samples: int, path: Path, data_dir: Path | None) -> None:
    writable(path)
    for expected in (SurrogateWarning, UndecidedWarning):  # what they warn of is measured here
        warnings.simplefilter("ignore", expected)
    networks = []
    for file in checkpoints:
        checkpoint = load(file)
        split = held_out(checkpoint, file, samples, data_dir)
        forms, refused = forms_of(checkpoint.network)
        config = checkpoint.network.config
        epochs = groupby(row.get("method", config.parallel) for row in checkpoint.metrics.get("history", []))
        trained = ", ".join(f"{method}:{len(list(rows))}" for method, rows in epochs) or config.parallel
        click.echo(f"\n**{file}**: {config.model}, {checkpoint.task['name']}, trained by {trained}")
        found = measure(checkpoint.network, split, forms) | {"refused": refused}
        show(found)
        networks.append(
            {
                "checkpoint": str(file),
                "task": checkpoint.task,
                "trained": trained,
                "config": dataclasses.asdict(config),
                **found,
            }
        )
    with atomic(path) as temporary:
        temporary.write_text(json.dumps({"torch": torch.__version__, "networks": networks}, indent=1))


if __name__ == "__main__":
    main(command)
