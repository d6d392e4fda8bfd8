"""Every network of the zoo down the whole road, and what came of it: docs/zoo.md, one line for each.

python benchmarks/zoo.py --out runs/zoo -o docs/zoo.md      (make zoo)

Stripped, written as NIR and ONNX, run on every backend and verified; certified; quantised, and fitted on a chip.
OUT/report.html is the gallery: the report of all of them.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import click
import numpy as np

from convert.load import load
from convert.lowering.loihi2 import Words, loihi2
from convert.lowering.speck import speck
from deploy import run_folder
from deploy.certification import document
from deploy.certify import certify
from deploy.fit import fit
from deploy.fitting import chip, measured
from deploy.report import render
from deploy.road import as_trained, road
from simulators.run import simulate
from spikestrip.command import main
from spikestrip.errors import Refused, SpikestripError
from spikestrip.files import atomic, write_json
from spikestrip.inputs import expand
from spikestrip.program import Program
from train.checkpoint import Checkpoint, save
from train.checkpoint import load as load_checkpoint
from train.held_out import held_out, task_of

ROOT = Path(__file__).parents[1]
EXPERIMENTS = {
    "event_mnist5k-speck": "event_mnist5k-speck",
    "imdb": "imdb-judged",
    "listops": "listops-again",
    "psmnist": "psmnist-long",
    "psmnist-128": "psmnist-gpu",
    "scifar": "scifar",
    "scifar-128": "scifar-gpu",
    "smnist": "smnist",
    "smnist-128": "smnist-gpu",
}
"""The experiment that trained each file."""
BACKENDS = (*run_folder.BACKENDS[:-2], "raster", *run_folder.BACKENDS[-2:])
ARITHMETICS = ("float64", "float32")
LARGEST = 2_000_000  # bytes of a checkpoint in the repository
CALIBRATED = 32  # first training sequences, on which Loihi 2's ranges are measured
HEAD = (
    "network", "trained by", "seed", "test accuracy", "spiking rate", "checkpoint, NIR, ONNX", "program",
    "0 spikes differ on", "certified, float64 / float32", "integers", "answers that change", "fit",
)  # fmt: skip
PAGE = """# The zoo, down the whole road

Trained networks of real tasks ([how they were trained](../zoo/README.md)). `make zoo` takes each from its checkpoint
through strip, NIR, ONNX, every backend and `verify`, certifies it, quantises it, fits it on a chip, and writes this
page; it fails where a verdict does.

- Accuracy and rate are the checkpoint's own record, of the whole test split as trained. All else is of {samples}
  held-out sequences, drawn with seed 0.
- *0 spikes differ on*: backends in float64, from the NIR file, against the iterative reference: every layer, sample
  and step.
- *Certified*: the share of decisions that no conforming backend can make otherwise ([certificates](certify.md)).
- *Integers* of `quantize`: Loihi 2's (`--map stock`, ranges of the first {calibrated} training sequences) or a
  Speck's; how many of these {samples} answers change; where they fit.

"""


@click.command(context_settings={"show_default": True})
@click.option("--samples", type=click.IntRange(1), default=8, help="Held-out sequences of each network.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A run folder for each network in it.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The page.")
def command(samples: int, out: Path, output: Path) -> None:
    """Take every network of zoo/ down the whole road and write the page."""
    rows, notes = [], list[str]()
    for path in sorted((ROOT / "zoo").glob("*.safetensors")):
        click.echo(f"{path.name}")
        rows.append(_cells(path, samples, out / path.stem, notes))
    table = "\n".join(f"| {' | '.join(row)} |" for row in (HEAD, ("---",) * len(HEAD), *rows))
    foot = "\n".join(f"{number}. {note}" for number, note in enumerate(notes, 1))
    with atomic(output) as temporary:
        temporary.write_text(PAGE.format(samples=samples, calibrated=CALIBRATED) + f"{table}\n\n{foot}\n")
    render(sorted(out / path.stem for path in (ROOT / "zoo").glob("*.safetensors")), out / run_folder.REPORT)


def _cells(path: Path, samples: int, folder: Path, notes: list[str]) -> tuple[str, ...]:
    """One line of the table; what is refused is a number, and its reason joins ``notes``."""
    if path.stat().st_size >= LARGEST:
        raise SpikestripError(f"{path.name}: {path.stat().st_size} bytes; a checkpoint here has less than {LARGEST}")
    stored, program = load_checkpoint(path), load(path)
    test = held_out(stored, path, samples)
    x = np.ascontiguousarray(test.inputs)
    run_folder.prepare(folder)
    save(folder / run_folder.CHECKPOINT, stored)
    write_json(folder / run_folder.METRICS, as_trained(stored))
    road(stored, x, test.labels, folder, BACKENDS)
    ran = json.loads((folder / run_folder.ROAD).read_text())
    certified = certify(program, x, ARITHMETICS)
    files = (folder / name for name in (run_folder.CERTIFICATE, run_folder.NIR, run_folder.INPUT))
    document.write(certified, *files)
    certificate = certified.to_dict()["arithmetics"]
    name = EXPERIMENTS[path.stem]
    experiment = tomllib.loads((ROOT / "experiments" / f"{name}.toml").read_text())
    sizes = (path.stat().st_size, *(ran["bytes"][file] for file in (run_folder.NIR, run_folder.ONNX)))

    def refused(reason: str) -> str:
        if reason not in notes:
            notes.append(reason)
        return f"refused ({notes.index(reason) + 1})"

    same = [each for each in BACKENDS if ran["runs"][each].get("differ") == 0]
    others = [
        f"{each} {refused(row['refused']) if 'refused' in row else row['differ']}"
        for each in BACKENDS
        if each not in same
        for row in (ran["runs"][each],)
    ]
    return (
        path.stem,
        f"`python train/run.py experiments/{name}.toml`",
        str(experiment.get("seed", 0)),
        f"{stored.metrics['accuracy']:.2%}",
        f"{stored.metrics['spiking_rate']:.1%}",
        f"{', '.join(f'{size / 1000:.0f}' for size in sizes)} kB",
        f"`{program.sha256[:12]}`",
        "; ".join([", ".join(same), *others]),
        " / ".join(_share(certificate[each]) for each in ARITHMETICS),
        *_integers(stored, program, x, folder, refused),
    )


def _share(certified: dict[str, Any]) -> str:
    return f"{certified['certified']:.4%}" if certified["listed"] else "all"


def _integers(stored: Checkpoint, program: Program, x: np.ndarray, folder: Path, refused: Any) -> tuple[str, str, str]:
    """(the integers' name and program, answers that change, where they fit)."""
    kind = "speck2f" if stored.network.config.model == "speck" else "loihi2"
    try:
        if kind == "speck2f":
            lowered = speck(program).program
        else:
            calibration = expand(task_of(stored, folder).train.inputs[:CALIBRATED], program.input_shape)
            lowered = loihi2(program, calibration, Words(2, 2, 2)).program
    except Refused as reason:
        return kind, refused(f"{reason.where}: {reason.reason}"), "-"
    answers = [simulate(each, x, "raster").output.argmax(axis=-1) for each in (program, lowered)]
    answer = fit(lowered, chip.read(kind), measured.simulated(lowered, folder / run_folder.INPUT))
    where = f"{answer.cores} core{'s' if answer.cores != 1 else ''}" if answer.fits else refused(answer.sentence)
    changed = int(np.count_nonzero(answers[0] != answers[1]))
    return f"{kind} `{lowered.sha256[:12]}`", f"{changed} of {len(x)}", where


if __name__ == "__main__":
    main(command)
