"""What verify costs, beside simulating the same network by the oracle.

python benchmarks/verification.py --json verification.json

A trained network of the zoo on random values in 0..1. Both sides of each pair are replayed, every decision judged.
"""

from __future__ import annotations

import copy
from functools import partial

import measuring
import numpy as np
from measuring import ROOT, Tables
from simulate import neuron_steps, rated

from convert.strip import strip
from deploy.verification import verify
from simulators.reference import reference
from simulators.run import simulate
from train.checkpoint import load

CHECKPOINT = "smnist"


def measure(smoke: bool) -> Tables:
    network = load(ROOT / "zoo" / f"{CHECKPOINT}.safetensors").network.eval()
    program = strip(network)
    guessed = copy.deepcopy(network)
    guessed.set_parallel("sdn")
    batch, steps, turns = (1, 8, 1) if smoke else (8, 784, 7)
    x = np.random.default_rng(0).random((batch, steps, 1), np.float32)
    oracle = simulate(program, x)
    pairs = {
        "equal": (oracle, simulate(program, x, "raster"), None),
        "float32 beside float64": (oracle, simulate(program, x, "raster", "float32"), None),
        "SDN beside the neuron": (oracle, reference(guessed, x, "parallel", "float32", "cpu"), guessed),
    }
    timers = {"simulate, numpy": measuring.timer(partial(simulate, program, x))}
    said = {}
    for name, (a, b, owner) in pairs.items():
        verdict = verify(a, b, program, network=owner)
        differ = sum(int(np.count_nonzero(train != b.spikes[layer])) for layer, train in a.spikes.items())
        said[f"verify, {name}"] = {"differing_spikes": differ, "verdict": "pass" if verdict.passed else "fail"}
        timers[f"verify, {name}"] = measuring.timer(partial(verify, a, b, program, network=owner))
    times = measuring.take_turns(timers, turns)
    rows = measuring.compared(times, "simulate, numpy", "what", network=CHECKPOINT, batch=batch, steps=steps)
    return {"verify": [row | said.get(row["what"], {}) for row in rated(rows, neuron_steps(program, x))]}


main = measuring.command(measure)
if __name__ == "__main__":
    main()
