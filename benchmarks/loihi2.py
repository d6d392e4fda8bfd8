"""Float against Loihi 2's integers on a task's test split, in chunks: a run that was stopped goes on.

python benchmarks/loihi2.py zoo/smnist.safetensors --json runs/loihi2/smnist.json

The file holds sequences, right answers of the float program and of the integers, answers that changed, and by layer
the spikes of both and those at the same neuron and step. The scales are those that the checkpoint carries, if it was
fine-tuned, else of the first training sequences. Cores and messages: of the placement that fit keeps.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm import tqdm

from spikestrip.command import main
from spikestrip.files import write_json

CALIBRATED = 32  # first training sequences, on which ranges are measured
CHUNK = 100
RATED = 8  # sequences from which fit takes its rates


@click.command(context_settings={"show_default": True})
@click.argument("network", type=click.Path(path_type=Path))
@click.option("--words", type=click.IntRange(1, 4), default=2, help="8-bit words of every matrix, where none are held.")
@click.option("--samples", type=click.IntRange(1), help="Of the test split, from its first. Default: all.")
@click.option("--json", "report", type=click.Path(path_type=Path), required=True, help="Results, and where to go on.")
def command(network: Path, words: int, samples: int | None, report: Path) -> None:
    """Count what integers change, chunk by chunk."""
    from convert.load import load
    from convert.lowering.loihi2 import Words, loihi2
    from simulators import backends
    from train import tasks
    from train.checkpoint import load as load_checkpoint

    checkpoint = load_checkpoint(network)
    data = tasks.load(checkpoint.task["name"])
    program = load(network)
    calibration = data.train.inputs[:CALIBRATED]
    quantised = loihi2(program, calibration, Words(words, words, words), checkpoint.scales).program
    done: dict[str, Any] = {
        "network": network.name, "float": program.sha256, "integers": quantised.sha256,
        "sequences": 0, "float_right": 0, "right": 0, "changed": 0, "layers": {},
    }  # fmt: skip
    if report.exists():
        before = json.loads(report.read_text())
        if (before["float"], before["integers"]) != (program.sha256, quantised.sha256):
            raise click.ClickException(f"{report} is of other programs: {before['float'][:12]}")
        done = before
    else:
        report.parent.mkdir(parents=True, exist_ok=True)
        done |= _fitted(quantised, data.test.inputs[:RATED])
    backend = backends.load("raster")
    end = min(samples or len(data.test.labels), len(data.test.labels))
    with tqdm(total=end, initial=done["sequences"], unit="seq", disable=None) as bar:
        for start in range(done["sequences"], end, CHUNK):
            chosen = slice(start, min(start + CHUNK, end))
            x, labels = data.test.inputs[chosen], data.test.labels[chosen]
            runs = [backend.run(each, x, "float64", "cpu", lambda _: None) for each in (program, quantised)]
            answers = [
                each.finish(run.output).argmax(axis=-1) for each, run in zip((program, quantised), runs, strict=True)
            ]
            done["sequences"] += len(x)
            done["float_right"] += int(np.count_nonzero(answers[0] == labels))
            done["right"] += int(np.count_nonzero(answers[1] == labels))
            done["changed"] += int(np.count_nonzero(answers[0] != answers[1]))
            for name, one in runs[0].spikes.items():
                two, row = runs[1].spikes[name], done["layers"].setdefault(name, [0, 0, 0])
                counts = (np.count_nonzero(one), np.count_nonzero(two), np.count_nonzero(one & two))
                done["layers"][name] = [old + int(new) for old, new in zip(row, counts, strict=True)]
            write_json(report, done)
            bar.update(len(x))
    agreement = ", ".join(f"{2 * both / max(one + two, 1):.4f}" for one, two, both in done["layers"].values())
    click.echo(
        f"{network.name}: {done['float_right'] / end:.2%} float, {done['right'] / end:.2%} integers, "
        f"{done['changed']} of {done['sequences']} answers changed; agreement (F1) {agreement}; "
        f"{done['cores']} cores, {done['messages']:.0f} messages a step"
    )


def _fitted(quantised: Any, x: np.ndarray) -> dict[str, Any]:
    """Cores, messages that leave cores in a step (mean), and saturations on ``x``."""
    import tempfile

    from deploy.fit import fit
    from deploy.fitting import chip, measured
    from simulators.run import simulate

    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "x.npy"), x)
        answer = fit(quantised, chip.read("loihi2"), measured.simulated(quantised, Path(folder, "x.npy")))
    trace = simulate(quantised, x)
    saturated = {name: int(each["saturations"].sum()) for name, each in trace.events.items() if "saturations" in each}
    return {
        "cores": answer.cores, "fits": answer.sentence,
        "messages": sum(core.load["messages_out"]["mean"] for core in answer.placed),
        "saturations": {name: number for name, number in saturated.items() if number},
    }  # fmt: skip


if __name__ == "__main__":
    main(command)
