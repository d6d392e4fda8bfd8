"""The Lava backend: the same spikes, outputs and counts as the oracle, from real messages between real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import distributions

import numpy as np
import pytest
from programs import dyadic, grid, network, recurrent

from simulators.backends.lava import LavaBackend
from simulators.backends.numpy import NumpyBackend
from spikestrip.errors import BadInput
from spikestrip.ledger import count
from spikestrip.operations import Affine, Join, LeakyIntegrator, Scale
from spikestrip.program import INPUT, Layer, Program, chain

if not any(distribution.name == "lava-nc" for distribution in distributions()):
    pytest.skip("needs lava-nc", allow_module_level=True)


def side_by_side(*programs: Program) -> Program:
    """Many programs as one that shares its input, so that one start of Lava serves all; the output is the last's."""
    layers = []
    for index, program in enumerate(programs):

        def rename(names: tuple[str, ...], index: int = index) -> tuple[str, ...]:
            return tuple(name if name == INPUT else f"p{index}_{name}" for name in names)

        for layer in program.layers:
            layers.append(Layer(*rename((layer.name,)), layer.operation, rename(layer.inputs), rename(layer.delayed)))
    return Program(programs[0].input_shape, tuple(layers), f"p{index}_{programs[-1].output}")


def ignore(steps: int) -> None:
    pass


@pytest.mark.parametrize(("dtype", "batch", "steps"), [("float64", 3, 15), ("float32", 1, 7)])
def test_agrees_with_the_oracle_and_the_ledger(dtype: str, batch: int, steps: int) -> None:
    rng = np.random.default_rng(7)
    program = side_by_side(
        network(rng, neuron="hard", blocks=3),
        network(rng, neuron="soft", mix="glu", norm="layer"),
        network(rng, neuron="refractory", blocks=1, norm="layer"),
        dyadic(rng, inputs=3),
        recurrent(rng),
    )
    x = grid(rng, program, batch, steps)
    progress: list[int] = []
    lava = LavaBackend().run(program, x, dtype, "cpu", progress.append)
    oracle = NumpyBackend().run(program, x, dtype, "cpu", ignore)
    assert sum(progress) == steps
    assert lava.output.dtype == oracle.output.dtype
    np.testing.assert_array_equal(lava.output, oracle.output)
    assert list(lava.spikes) == list(oracle.spikes)
    for name, spikes in oracle.spikes.items():
        assert lava.spikes[name].dtype == np.uint8
        np.testing.assert_array_equal(lava.spikes[name], spikes, name)
    assert sum(int(spikes.sum()) for spikes in oracle.spikes.values()) > 50
    events = count(program, x, oracle.spikes)
    assert list(lava.observed) == list(events)
    for name, counters in events.items():
        if dtype == "float32":  # the ledger's replay is in float64, which has other zeros among graded values
            del counters["effective_macs"]
        assert lava.observed[name].keys() == counters.keys()
        for counter, values in counters.items():
            np.testing.assert_array_equal(lava.observed[name][counter], values, f"{name} {counter}")
    assert lava.attrs["delay"] == 0


def test_delays_add_no_step_and_lose_none() -> None:
    """A cycle, a delayed edge from the input, and one backwards, against integers."""
    program = Program(
        (1,),
        (
            Layer("a_sum", Join(), (INPUT,), ("b_double",)),
            Layer("b_double", Scale(np.float32([2])), ("a_sum",)),
            Layer("c_shifted", Join(), ("b_double",), (INPUT, "d_late")),
            Layer("d_late", Scale(np.float32([-1])), (INPUT,)),
        ),
        "c_shifted",
    )
    x = np.random.default_rng(0).integers(-3, 4, (2, 9, 1))
    output = LavaBackend().run(program, x.astype(np.float32), "float64", "cpu", ignore).output
    for sample in range(2):
        double = 0
        for t in range(9):
            double = 2 * (int(x[sample, t, 0]) + double)
            assert output[sample, t, 0] == double  # the input's and d_late's previous values cancel


def test_one_step_of_wide_streams() -> None:
    """Streams of more than one axis, and a run of a single step."""
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    program = chain((4, 3), [("a", Affine(weight)), ("b", LeakyIntegrator(np.ones((4, 2))))])
    x = np.arange(12, dtype=np.float32).reshape(1, 1, 4, 3)
    output = LavaBackend().run(program, x, "float32", "cpu", ignore).output
    expected = [[sum(w * v for w, v in zip(row, values, strict=True)) for row in weight] for values in x[0, 0]]
    np.testing.assert_array_equal(output, np.array(expected)[None, None])


def test_overflow_is_bad_input() -> None:
    program = chain((1,), [("a_grows", LeakyIntegrator(np.array([1e200])))])
    with pytest.raises(BadInput, match="a_grows: state 'u' is no longer finite"):
        LavaBackend().run(program, np.ones((1, 4, 1), np.float32), "float64", "cpu", ignore)


def test_an_empty_run_is_refused() -> None:
    program = chain((1,), [("a", Join())])
    with pytest.raises(BadInput, match="at least one"):
        LavaBackend().run(program, np.ones((1, 0, 1), np.float32), "float64", "cpu", ignore)


def test_a_caller_who_spawns_is_left_alone() -> None:
    """A script without a main guard that chose spawn, and has threads, can run Lava, and stays as it was."""
    script = """
import multiprocessing, sys, threading
multiprocessing.set_start_method("spawn")
threading.Thread(target=threading.Event().wait, daemon=True).start()
import numpy as np
from programs import gaussian, network
from simulators.backends import load
rng = np.random.default_rng(0)
program = network(rng, hidden=3, blocks=1)
recording = load("lava").run(program, gaussian(rng, program, 1, 3), "float64", "cpu", lambda steps: None)
assert recording.output.shape == (1, 3, 5)
assert multiprocessing.get_start_method() == "spawn"
assert not [name for name in sys.modules if name.startswith("lava")]
"""
    run_script(script)


def test_the_import_fix_is_for_one_class_and_undone() -> None:
    script = """
import dataclasses, sys
from simulators.backends.lava import compat
original = dataclasses.dataclass
try:
    import lava.magma.compiler.var_model
except ValueError:
    pass
else:
    raise SystemExit("Lava imports without the fix: remove it")
with compat.importable():
    import lava.magma.core.process.process
    try:
        @dataclasses.dataclass
        class ByteEncoder:
            field: list = []
    except ValueError:
        pass
    else:
        raise SystemExit("another class was changed as well")
from lava.magma.compiler.var_model import ByteEncoder
assert hash(ByteEncoder()) == hash(ByteEncoder())
assert dataclasses.dataclass is original
kept = {id(module.__dict__["dataclass"]) for module in list(sys.modules.values())
        if module.__name__.startswith("lava.") and "dataclass" in module.__dict__}
assert kept == {id(original)}, kept
"""
    run_script(script)


def run_script(script: str) -> None:
    search = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    ended = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": search}, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
