"""What simulation costs: every backend, other libraries' loops, raster beside its oracle, and one step alone.

python benchmarks/simulate.py --json simulate.json    (and a plot beside it)

The network is random: two blocks of S4D, LIF and a linear layer, H = 64, N = 32, on N(0, 1) input of one channel. A run
is what a user pays for, with what the backend builds. ``differing_spikes`` counts those that are not numpy's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import array_api_compat.torch as xp
import measuring
import numpy as np
import onnxruntime
import plots
import torch
from measuring import Row, Tables, Timer
from torch import Tensor, nn

from convert import from_torch
from convert.formats import onnx as writer
from convert.load import load
from simulators import backends
from simulators.backends import Backend, Dtype, Recording
from simulators.conformance.networks import gaussian, network
from simulators.run import simulate
from spikestrip.errors import BadInput, Refused
from spikestrip.execution import Stepper
from spikestrip.program import Program
from train import tasks

ROOT = Path(__file__).parents[1]
HIDDEN, MODES, STEPS = 64, 32, 784
SPELL = 0.1  # seconds that a fast run is repeated for in its turn
BACKENDS: dict[str, tuple[str, dict[str, str]]] = {
    "numpy": ("numpy", {}),
    "raster": ("raster", {}),
    "torch": ("torch", {}),
    "ONNX Runtime, Scan": ("onnxruntime", {}),
    "Sinabs": ("sinabs", {}),
    "Lava": ("lava", {}),
}
SLOW = "Lava"  # in names: one sample alone


class SnnTorchNetwork(nn.Module):
    """One step of the like network in snnTorch: its own hard reset, without S4D, which it doesn't have."""

    def __init__(self, hidden: int) -> None:
        import snntorch

        super().__init__()

        def leaky() -> nn.Module:
            return snntorch.Leaky(0.5, threshold=1.0, reset_mechanism="zero", reset_delay=False, init_hidden=True)

        self.layers = nn.Sequential(
            nn.Linear(1, hidden), leaky(), nn.Linear(hidden, hidden), leaky(), nn.Linear(hidden, 10)
        )
        nn.init.normal_(self.layers[2].weight, 0, 0.3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

    @torch.inference_mode()
    def loop(self, x: Tensor) -> dict[int, Tensor]:
        """Spikes (B, T, N) of the two layers, step by step; x: (B, T, 1)."""
        found: dict[int, list[Tensor]] = {1: [], 3: []}
        for index in found:
            self.layers[index].reset_mem()
        for step in x.unbind(1):
            for index, layer in enumerate(self.layers):
                step = layer(step)
                if index in found:
                    found[index].append(step)
        return {index: torch.stack(steps, 1) for index, steps in found.items()}


def run(backend: Backend, program: Program, x: np.ndarray, dtype: Dtype) -> Recording:
    return backend.run(program, x, dtype, "cpu", lambda steps: None)


def onnx_steps(program: Program, x: np.ndarray, dtype: Dtype) -> dict[str, np.ndarray]:
    """Spikes of every layer by the step form, called once a step; with what making the session takes."""
    session = session_of(program, dtype)
    state = {name: np.zeros((len(x), *shape), dtype) for name, shape in writer.states(program).items()}
    names = [value.name for value in session.get_outputs()]
    found: dict[str, list[np.ndarray]] = {layer.name: [] for layer in program.spiking}
    for t in range(x.shape[1]):
        results = dict(zip(names, session.run(names, {"x": x[:, t].astype(dtype)} | state), strict=True))
        state = {name: results[f"{name}.out"] for name in state}
        for name, steps in found.items():
            steps.append(results[f"{name}.spikes"])
    return {name: np.stack(steps, 1).astype(np.uint8) for name, steps in found.items()}


def session_of(program: Program, dtype: Dtype) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = b"".join(writer.pieces(writer.export(program, "step", dtype)))
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def neuron_steps(program: Program, x: np.ndarray) -> int:
    return math.prod(x.shape[:2]) * sum(math.prod(program.shapes[layer.name]) for layer in program.spiking)


def rated(rows: list[Row], count: int) -> list[Row]:
    return [row | {"neuron_steps_s": measuring.significant(1000 * count / row["ms"])} for row in rows]


def on_backends(program: Program, x: np.ndarray, dtype: Dtype, turns: int) -> tuple[list[Row], list[Row]]:
    """A row for each backend that holds ``program``, and for each that is absent or refuses.

    Its ``rows`` are samples, and L steps.
    """
    loaded, absent = measuring.installed({name: partial(_loaded, *BACKENDS[name]) for name in BACKENDS})
    calls: dict[str, Callable[[], Any]] = {}
    for name, backend in loaded.items():
        if SLOW in name and len(x) > 1:
            continue
        try:
            backends.check(backend, program, dtype, "cpu")
            calls[name] = partial(run, backend, program, x, dtype)
        except Refused as refused:
            absent.append({"name": name, "reason": str(refused)})
    calls["ONNX Runtime, step by step"] = partial(onnx_steps, program, x, dtype)
    oracle = calls["numpy"]().spikes
    differing = {}
    for name, call in calls.items():
        recorded = call()
        spikes = recorded.spikes if isinstance(recorded, Recording) else recorded
        differing[name] = sum(int(np.count_nonzero(train != spikes[layer])) for layer, train in oracle.items())
    timers: dict[str, Timer] = {name: measuring.timer(call, spell=SPELL) for name, call in calls.items()}
    times = measuring.take_turns(timers, turns)
    rows = measuring.compared(times, "numpy", "method", rows=len(x), L=x.shape[1], dtype=dtype)
    rows = [row | {"differing_spikes": differing[row["method"]]} for row in rated(rows, neuron_steps(program, x))]
    return rows, absent


def _loaded(name: str, options: dict[str, str]) -> Backend:
    try:
        return backends.load(name, **options)
    except BadInput as error:
        raise ImportError(error.reason) from error


def beside_snntorch(hidden: int, batch: int, steps: int, turns: int) -> list[Row]:
    """Its loop in float32, as it is used, and the same network as a program; ``differing_spikes`` from its own."""
    torch.manual_seed(0)
    module = SnnTorchNetwork(hidden).eval()
    program = from_torch(module, torch.zeros(batch, 1))
    x = torch.randn(batch, steps, 1)
    own = [train.numpy() for train in module.loop(x).values()]
    calls: dict[str, Callable[[], Any]] = {"snnTorch's loop, float32": lambda: module.loop(x)}
    differ: dict[str, int] = {}
    engines: list[tuple[str, Dtype, dict[str, str]]] = [
        ("raster", "float32", {}), ("raster", "float64", {}), ("numpy", "float32", {}), ("onnxruntime", "float32", {}),
    ]  # fmt: skip
    if batch == 1:
        engines.append(("lava", "float64", {"processes": "stock"}))
    loaded, _ = measuring.installed({
        f"{name}{', stock processes' if options else ''}, {dtype}": partial(_as_run, name, options, program, x, dtype)
        for name, dtype, options in engines
    })  # fmt: skip
    for name, call in loaded.items():
        ours = call().spikes.values()
        differ[name] = sum(int(np.count_nonzero(a != b)) for a, b in zip(own, ours, strict=True))
    calls |= loaded
    times = measuring.take_turns({name: measuring.timer(call, spell=SPELL) for name, call in calls.items()}, turns)
    rows = measuring.compared(times, "snnTorch's loop, float32", "engine", batch=batch, steps=steps)
    rows = rated(rows, neuron_steps(program, x.numpy()))
    return [row | {"differing_spikes": differ.get(row["engine"], 0)} for row in rows]


def _as_run(name: str, options: dict[str, str], program: Program, x: Tensor, dtype: Dtype) -> Callable[[], Recording]:
    backend = _loaded(name, options)
    backends.check(backend, program, dtype, "cpu")
    return partial(run, backend, program, x.numpy(), dtype)


def beside_oracle(checkpoint: str, batch: int, steps: int, turns: int) -> list[Row]:
    """``simulate``, engine and ledger, of a trained network on real digits."""
    program = load(ROOT / "zoo" / f"{checkpoint}.safetensors")
    x = np.ascontiguousarray(tasks.load("mnist5k").test.inputs[:batch, :steps])
    traces = {name: simulate(program, x, name) for name in ("numpy", "raster")}
    fired = [[*trace.spikes.values()] for trace in traces.values()]
    events = [[v for counters in trace.events.values() for v in counters.values()] for trace in traces.values()]
    calls = {name: measuring.timer(partial(simulate, program, x, name), spell=SPELL) for name in traces}
    rows = measuring.compared(
        measuring.take_turns(calls, turns), "numpy", "backend", network=checkpoint, batch=batch, steps=steps
    )
    differ = {
        f"differing_{kind}": sum(int(np.count_nonzero(a != b)) for a, b in zip(*arrays, strict=True))
        for kind, arrays in (("spikes", fired), ("events", events))
    }
    return [row | differ for row in rated(rows, neuron_steps(program, x))]


def latency(program: Program, steps: int, turns: int) -> list[Row]:
    """One step of one sample, on a machine that is made already: states are handed on. ``ms`` is a step's."""
    given = np.random.default_rng(0).normal(size=(1, *program.input_shape))
    timers: dict[str, Timer] = {}
    for dtype in ("float32", "float64"):
        kind = getattr(torch, dtype)
        numpy = Stepper(program, 1, np, lambda array, dtype=dtype: array.astype(dtype))
        on_torch = Stepper(program, 1, xp, lambda array, kind=kind: torch.as_tensor(array.copy()).to(kind))
        session = session_of(program, dtype)  # type: ignore[arg-type]
        state = {name: np.zeros((1, *shape), dtype) for name, shape in writer.states(program).items()}
        outputs = [f"{name}.out" for name in state]

        def onnx_step(session: Any = session, state: Any = state, outputs: Any = outputs, dtype: str = dtype) -> None:
            found = session.run(["y", *outputs], {"x": given.astype(dtype)} | state)
            state.update(zip(state, found[1:], strict=True))

        timers[f"numpy, {dtype}"] = _repeated(partial(numpy.step, given.astype(dtype)), steps)
        timers[f"ONNX Runtime, step form, {dtype}"] = _repeated(onnx_step, steps)
        timers[f"torch, {dtype}"] = _repeated(partial(on_torch.step, torch.as_tensor(given).to(kind)), steps)
    with torch.inference_mode():
        times = measuring.take_turns(timers, turns)
    return measuring.compared(times, "numpy, float64", "engine", batch=1)


def _repeated(step: Callable[[], Any], steps: int) -> Timer:
    timed = measuring.timer(lambda: [step() for _ in range(steps)])
    return lambda: timed() / steps


def measure(smoke: bool) -> Tables:
    rng = np.random.default_rng(0)
    hidden, modes = (4, 2) if smoke else (HIDDEN, MODES)
    steps, turns = (3, 1) if smoke else (STEPS, 3)
    batches = (1, 2) if smoke else (1, 64)
    program = network(rng, inputs=1, hidden=hidden, modes=modes, classes=10)
    tables: Tables = {"rows": [], "absent": [], "snntorch": [], "oracle": []}
    for batch in batches:
        rows, absent = on_backends(program, gaussian(rng, program, batch, steps), "float64", turns)
        tables["rows"] += rows
        tables["absent"] += [row for row in absent if row not in tables["absent"]]
        tables["snntorch"] += beside_snntorch(hidden, batch, steps, turns)
        tables["oracle"] += beside_oracle("smnist", batch, steps, turns)
    tables["latency"] = latency(program, 2 if smoke else 100, turns)
    return tables


main = measuring.command(measure, plot=plots.methods)
if __name__ == "__main__":
    main()
