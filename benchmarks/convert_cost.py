"""What converting a large network costs: seconds and peak memory of each command of the road, each in its own process.

python benchmarks/convert_cost.py --json convert_cost.json [--layers 16 --d-model 1024 --d-state 64 --vocabulary 17000]

The network is an initialised language model. By default it has 75 million parameters: 16 blocks of S4D and GLU hold 40,
and the encoder and head of 17,000 tokens 35. ``times_weights`` is the command's peak resident memory, its interpreter
and libraries included, over the bytes of the parameters in float32. (Not named convert.py: scripts here import the
package of that name.)
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

REPOSITORY = Path(__file__).resolve().parent.parent
MEBI = 1 << 20


def make(path: Path, entries: dict[str, Any], count: Any) -> None:
    """Write an initialised checkpoint to ``path`` and its number of parameters to ``count``."""
    import torch

    from train.checkpoint import Checkpoint, save
    from train.config import Config
    from train.networks import Network

    torch.manual_seed(0)
    network = Network(Config.parse(entries))
    count.value = sum(parameter.numel() for parameter in network.parameters())
    save(path, Checkpoint(network))


def measure(*command: str) -> dict[str, float]:
    """Seconds, and the peak resident memory of the process. Raises ClickException when it fails.

    Linux counts the memory of whoever starts a process as the child's own peak: this process must stay small.
    """
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise click.ClickException(f"{' '.join(command)} ended with {process.returncode}")
    return {"seconds": round(seconds, 2), "peak_mib": round(usage.ru_maxrss * 1024 / MEBI, 1)}


@click.command(help=__doc__, context_settings={"show_default": True})
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
@click.option("--layers", default=16)
@click.option("--d-model", default=1024)
@click.option("--d-state", default=64)
@click.option("--vocabulary", default=17_000)
@click.option("--mix", type=click.Choice(["linear", "glu"]), default="glu")
@click.option(
    "--norm", type=click.Choice(["layer", "batch"]), default="layer", help="A BatchNorm makes weights float64."
)
def main(path: Path, vocabulary: int, **config: Any) -> None:
    entries = config | {"d_input": vocabulary, "d_output": vocabulary, "tokens": True, "readout": "sequence"}
    spawn = multiprocessing.get_context("spawn")
    count = spawn.Value("q", 0)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, drawn, model, again = (Path(folder) / name for name in ("m.pt", "m.nir", "m.onnx", "again.nir"))
        maker = spawn.Process(target=make, args=(checkpoint, entries, count))
        maker.start()
        maker.join()
        if maker.exitcode:
            raise click.ClickException("the checkpoint could not be made")
        roads = {
            "import torch": ("-c", "import torch"),
            "import numpy, nir, onnx": ("-c", "import nir, onnx"),
            "checkpoint -> NIR": ("-m", "convert.to_nir", str(checkpoint), "-o", str(drawn)),
            "NIR -> ONNX": ("-m", "convert.to_onnx", str(drawn), "-o", str(model)),
            "checkpoint -> ONNX": ("-m", "convert.to_onnx", str(checkpoint), "-o", str(model)),
            "NIR -> NIR": ("-m", "convert.to_nir", str(drawn), "-o", str(again)),
        }
        weights = 4 * count.value / MEBI
        click.echo(f"{count.value:,} parameters, {weights:.0f} MiB in float32")
        rows = []
        for name, command in roads.items():
            row = {"road": name} | measure(*command)
            rows.append(row | {"times_weights": round(row["peak_mib"] / weights, 2)})
            click.echo("  ".join(f"{key} {value}" for key, value in rows[-1].items()))
        sizes = {file.name: round(file.stat().st_size / MEBI, 1) for file in (checkpoint, drawn, model, again)}
    report = {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "load_after": os.getloadavg()[0],
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "numpy", "nir", "onnx", "h5py")},
        },
        "network": entries | {"parameters": count.value, "weights_mib": round(weights, 1)},
        "files_mib": sizes,
        "rows": rows,
    }
    path.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
