"""A whole training step on one thread: every parallel form, the same network with other neurons, and an older commit.

python benchmarks/training_step.py --json training_step.json

Forward, backward, optimiser and meter, with the allocator as ``spikestrip train`` sets it. The network is SpikingSSM's
with BatchNorm; what stands in for its neuron gets the same current: GELU (a plain S4D), and the neurons of neurons.py.
Random weights and input.
"""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import measuring
import steps
from measuring import ROOT, Child, Row, Tables
from torch import Tensor, nn
from train_speed import OTHERS

from train.memory import keep_freed

FORMS = ("scan", "fused", "block", "sdn")
SINCE = (
    {"scan": {"parallel": "scan"}, "fused": {"parallel": "fused"}},
    {"P-SpikeSSM": {"model": "pspikessm", "reset": "none"}},
)  # for each the first one is in BEFORE too
BEFORE = "8d02500"  # the last commit of the day on which the aim was set


class StandIn(nn.Module):
    """In the place of a block's neuron: anything from (B, H, L) to (B, H, L)."""

    fused = False

    def __init__(self, method: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.method = method

    def forward(self, x: Tensor) -> Tensor:
        return self.method(x)


def with_neuron(make: Callable[[], Callable[[Tensor], Tensor]], **options: Any) -> Any:
    network = steps.network(**options)
    for block in network.blocks:
        block.neuron = StandIn(make())  # type: ignore[union-attr,assignment]
    return network


def forms(options: dict[str, int], batch: int, length: int, turns: int) -> tuple[list[Row], list[Row]]:
    keep_freed()
    x, labels = steps.images(batch, length)
    makers: dict[str, Callable[[], Any]] = {form: partial(steps.network, parallel=form, **options) for form in FORMS}
    makers["S4D with GELU"] = partial(with_neuron, nn.GELU, **options)
    makers |= {name: partial(with_neuron, make, **options) for name, make in OTHERS.items()}
    made, absent = measuring.installed(makers)
    timers = {name: measuring.timer(steps.training_step(each, x, labels)) for name, each in made.items()}
    rows = measuring.compared(measuring.take_turns(timers, turns), "scan", "neuron", **options, batch=batch, L=length)
    return [row | {"samples_s": measuring.significant(1000 * batch / row["ms"])} for row in rows], absent


def since(forms: dict[str, dict[str, Any]], options: dict[str, int], batch: int, length: int, turns: int) -> list[Row]:
    """Our ``forms`` beside the first of BEFORE, processes that take turns; no row where git has no such commit."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as children:
        before = Path(folder)
        command = ["git", "archive", BEFORE, "train", "spikestrip"]
        archive = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            with tarfile.open(fileobj=archive.stdout, mode="r|") as tar:
                tar.extractall(before, filter="data")
        except tarfile.ReadError:
            return []
        finally:
            archive.communicate()
        first = next(iter(forms))
        made = {f"{BEFORE}, {first}": (forms[first], before)} | {name: (form, ROOT) for name, form in forms.items()}
        timers = {
            name: children.enter_context(Child(child_code(options | form, batch, length), "process_time", tree=tree))
            for name, (form, tree) in made.items()
        }
        times = measuring.take_turns(timers, turns)
    return measuring.compared(times, f"{BEFORE}, {first}", "step", **options, batch=batch, L=length)


def child_code(options: dict[str, Any], batch: int, length: int) -> str:
    return f"""
import sys
sys.path.append({str(Path(__file__).parent)!r})
import steps
try:
    from train.memory import keep_freed
    keep_freed()
except ImportError:  # not yet in other commits
    pass
network = steps.network(**{options!r})
call = steps.training_step(network, *steps.images({batch}, {length}))
"""


def measure(smoke: bool) -> Tables:
    batch, length = (2, 8) if smoke else (steps.BATCH, steps.LENGTH)
    rows, absent = forms(steps.TINY if smoke else steps.SMNIST, batch, length, 1 if smoke else 5)
    sizes = ((steps.TINY, 1),) if smoke else ((steps.SMNIST, 41), (steps.LARGER, 7))
    return {
        "forms": rows,
        "since": [
            row for each in SINCE for options, turns in sizes for row in since(each, options, batch, length, turns)
        ],
        "absent": absent,
    }


main = measuring.command(measure)
if __name__ == "__main__":
    main()
