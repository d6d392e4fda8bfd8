"""One table over many networks, from what ``spikestrip road`` left: one line for each road.json.

python benchmarks/results_table.py runs/*/road.json

differ: spikes unlike the iterative reference's, of its neuron-steps; the accuracies are those of the sequences run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from spikestrip.command import main
from spikestrip.errors import BadInput
from spikestrip.files import existing

HEAD = (
    "network", "task", "model", "parallel form", "H", "N", "K", "steps", "sequences", "accuracy, parallel",
    "accuracy, stripped", "spiking rate", "differ, parallel", "ACs", "MACs", "NIR kB", "ONNX kB",
)  # fmt: skip


def read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(existing(path).read_text())
        return {"name": path.resolve().parent.name, **content, "runs": dict(content["runs"])}
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(path, f"is not a road.json ({error})") from error


def cells(road: dict[str, Any], backends: list[str]) -> list[str]:
    """One line: the network, its two references, and the differing spikes of each backend, or why there are none."""
    config, runs = road["config"], road["runs"]
    parallel, iterative = runs["parallel"], runs["iterative"]
    events = {counter: number / road["samples"] for counter, number in iterative["events"].items()}
    return [
        road["name"], road["task"].get("name", "?"), config["model"], config["parallel"],
        *(str(config[name]) for name in ("d_model", "d_state", "layers")), str(road["steps"]), str(road["samples"]),
        *(f"{run['accuracy']:.1%}" if "accuracy" in run else "-" for run in (parallel, iterative)),
        f"{iterative['events']['spikes'] / iterative['neuron_steps']:.1%}",
        f"{parallel['differ'] / parallel['neuron_steps']:.3%}",
        f"{events['synaptic_acs']:.3g}", f"{events['effective_macs'] + events['state_macs']:.3g}",
        *(f"{road['bytes'][name] / 1000:.0f}" for name in ("model.nir", "model.onnx")),
        *(outcome(runs.get(name)) for name in backends),
    ]  # fmt: skip


def outcome(run: dict[str, Any] | None) -> str:
    if run is None:
        return "not run"
    if "refused" in run:
        return f"refused: {run['refused']}"
    return f"{run['differ']}" if run["verdict"] == "pass" else f"**{run['differ']}, fail**"


@click.command(help=__doc__)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def command(files: tuple[Path, ...]) -> None:
    roads = [read(path) for path in files]
    backends = list(dict.fromkeys(name for road in roads for name in road["runs"]))
    backends = [name for name in backends if name not in ("parallel", "iterative")]
    click.echo(f"| {' | '.join((*HEAD, *backends))} |")
    click.echo("|---" * (len(HEAD) + len(backends)) + "|")
    for road in roads:
        click.echo(f"| {' | '.join(cells(road, backends))} |")


if __name__ == "__main__":
    main(command)
