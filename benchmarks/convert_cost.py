"""What converting a large network costs: seconds and peak memory of each command of the road, each in its own process.

python benchmarks/convert_cost.py --json convert_cost.json

The network is an initialised language model of 75 million parameters: 16 blocks of S4D and GLU hold 40, and the encoder
and head of 17,000 tokens 35. ``times_weights`` is the command's peak resident memory, its interpreter and libraries
included, over the bytes of the parameters in float32. (Not named convert.py: scripts here import the package of that
name.)
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import measuring
from measuring import ROOT, Row, Tables

MEBI = 1 << 20
LARGE = {"layers": 16, "d_model": 1024, "d_state": 64, "vocabulary": 17_000}
SMALL = {"layers": 1, "d_model": 4, "d_state": 2, "vocabulary": 5}


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


def run(*arguments: str) -> dict[str, float]:
    """Seconds, those of processor, and the peak resident memory of the process. ClickException when it fails.

    Linux counts the memory of whoever starts a process as the child's own peak: this process must stay small.
    """
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise click.ClickException(f"{' '.join(arguments)} ended with {process.returncode}")
    return {
        "seconds": measuring.significant(seconds),
        "processor_seconds": measuring.significant(usage.ru_utime + usage.ru_stime),
        "peak_mib": round(usage.ru_maxrss * 1024 / MEBI, 1),
    }


def measure(smoke: bool) -> Tables:
    entries: dict[str, Any] = {"mix": "glu", "norm": "layer", "tokens": True, "readout": "sequence"}
    entries |= SMALL if smoke else LARGE
    vocabulary = entries.pop("vocabulary")
    entries |= {"d_input": vocabulary, "d_output": vocabulary}
    spawn = multiprocessing.get_context("spawn")
    count = spawn.Value("q", 0)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, drawn, model, again = (Path(folder) / name for name in ("m.pt", "m.nir", "m.onnx", "again.nir"))
        maker = spawn.Process(target=make, args=(checkpoint, entries, count))
        maker.start()
        maker.join()
        if maker.exitcode:
            raise click.ClickException("the checkpoint could not be made")
        weights = 4 * count.value / MEBI
        roads = {
            "import torch": ("-c", "import torch"),
            "import nir, onnx": ("-c", "import nir, onnx"),
            "checkpoint -> NIR": ("-m", "convert.to_nir", str(checkpoint), "-o", str(drawn)),
            "NIR -> ONNX": ("-m", "convert.to_onnx", str(drawn), "-o", str(model)),
            "checkpoint -> ONNX": ("-m", "convert.to_onnx", str(checkpoint), "-o", str(model)),
            "NIR -> NIR": ("-m", "convert.to_nir", str(drawn), "-o", str(again)),
        }
        rows: list[Row] = []
        for name, arguments in roads.items():
            row = {"road": name} | run(*arguments)
            rows.append(row | {"times_weights": measuring.significant(row["peak_mib"] / weights)})
        sizes: list[Row] = [
            {"file": file.name, "mib": round(file.stat().st_size / MEBI, 1)} for file in (checkpoint, drawn, model)
        ]
    network = [{"parameters": count.value, "weights_mib": measuring.significant(weights)}]
    return {"roads": rows, "files": sizes, "network": network}


main = measuring.command(measure)
if __name__ == "__main__":
    main()
