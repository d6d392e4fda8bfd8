"""What a checkpoint scores once stripped, step by step: ``python deploy/score.py ckpt.pt``."""

from __future__ import annotations

import dataclasses
import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from tqdm import tqdm

from simulators.shards import Over, shards_options, spread
from spikestrip.command import MOST, main
from spikestrip.files import writable, write_json

if TYPE_CHECKING:
    from spikestrip.program import Program
    from train.checkpoint import Checkpoint
    from train.score import Score
    from train.tasks import Split

BATCH = 256  # samples that run together at most, as far as the widest stream of all of them keeps below
PART_BYTES = 1 << 30


def score_stripped(checkpoint: Checkpoint, split: Split, over: Over | None = None) -> Score:
    """Accuracy, loss and spiking rate of the iterative program over ``split``, in float32 on the backend `raster`.

    ``over``: the processes that batches are spread over (``simulators.shards``).
    """
    import torch

    from convert.strip import strip
    from spikestrip.execution import parts
    from train.score import score

    program = strip(checkpoint.network)
    sums = torch.zeros(4, dtype=torch.float64)
    sample_bytes = 8 * split.inputs.shape[1] * max(map(math.prod, program.shapes.values()))
    pieces = (
        (chosen.start, split.inputs[chosen], split.labels[chosen])
        for chosen in parts(len(split.labels), sample_bytes, PART_BYTES, BATCH)
    )
    with tqdm(total=len(split.labels), desc="stripped network, step by step", unit="seq", disable=None) as bar:
        for metered in (over or map)(functools.partial(_metered, program, torch.get_num_threads()), pieces):
            sums += torch.from_numpy(metered)
            bar.update(int(metered[0]))
    return score(sums)


def _metered(program: Program, threads: int, piece: tuple[int, np.ndarray, np.ndarray]) -> np.ndarray:
    """The meters (4,) of samples that run together. piece: the number of the first, their inputs and labels; threads:
    of torch, which share its sums out."""
    import torch

    from simulators import backends
    from spikestrip.inputs import expand
    from spikestrip.program import at_sample
    from train.score import cross_entropy, meter, spiking_rates

    first, inputs, given = piece
    torch.set_num_threads(threads)
    x = expand(inputs, program.input_shape)
    recording = backends.load("raster").run(at_sample(program, first), x, "float32", "cpu", lambda _: None)
    logits, labels = torch.from_numpy(program.finish(recording.output)), torch.from_numpy(given).long()
    trains = [torch.from_numpy(train).float() for train in recording.spikes.values()]
    sums: np.ndarray = meter(logits, labels, cross_entropy(logits, labels), spiking_rates(trains)).numpy()
    return sums


@click.command("score", context_settings={"show_default": True})
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--samples", type=click.IntRange(1, MOST), help="Score so many of its sequences. Default: all.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where data sets lie or are cached.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write both scores here.")
@shards_options
def command(
    checkpoint: Path,
    samples: int | None,
    data_dir: Path | None,
    path: Path | None,
    shards: int | None,
    scheduler: str | None,
) -> None:
    """Score the stripped network of CHECKPOINT on the test split of the task that it was trained on."""
    from train.checkpoint import files, load
    from train.held_out import held_out

    if path is not None:
        writable(path, files(checkpoint))
    loaded = load(checkpoint)
    test = held_out(loaded, checkpoint, samples, data_dir)
    with spread(shards, scheduler) as over:
        stripped = score_stripped(loaded, test, over)
    trained = {kind: loaded.metrics.get(kind) for kind in ("accuracy", "loss", "spiking_rate")}
    if path is not None:
        content = {"sequences": len(test.labels), "parallel": trained, "stripped": dataclasses.asdict(stripped)}
        write_json(path, content)
    said = "unknown" if trained["accuracy"] is None else f"{trained['accuracy']:.2%}"
    bits = f", {stripped.bits:.3f} bits" if loaded.network.config.readout == "sequence" else ""
    click.echo(
        f"{checkpoint}: accuracy {stripped.accuracy:.2%} stripped{bits}, on {len(test.labels)} held-out sequences; "
        f"{said} in parallel ({loaded.network.config.parallel}); spiking rate {stripped.spiking_rate:.1%}"
    )


if __name__ == "__main__":
    main(command)
