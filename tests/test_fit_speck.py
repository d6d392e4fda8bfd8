"""fit on Speck: memory and limits by the numbers of sinabs' documents, the assignment against trying all."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from commands import run

import spikestrip as ss
from deploy.fit import command, fit
from deploy.fitting import chip as chips
from deploy.fitting.measured import Measured
from deploy.fitting.speck import _matched
from deploy.fitting.stages import Stage
from simulators.run import simulate
from spikestrip.operations import (
    GLU,
    LIF,
    Affine,
    Conv2d,
    Flatten,
    Join,
    LayerNorm,
    MultiSpikeIF,
    MultiSpikeLIF,
    Operation,
    SumPool2d,
)
from spikestrip.program import Layer, Program, chain

ZOO = Path(__file__).parent.parent / "zoo"
SPECK = chips.read("speck2f")
LEAKS = MultiSpikeLIF(np.ones(2), -np.ones(2), np.full(2, 0.5))


def conv(outputs: int, inputs: int, kernel: int, **keywords: int) -> Conv2d:
    return Conv2d(np.ones((outputs, inputs, kernel, kernel), np.float32), **keywords)


def spike(*shape: int) -> LIF:
    return LIF(np.ones(shape), np.ones(shape), reset_kind="soft")


def of_the_basics() -> Program:
    """The network of sinabs' page "The Basics", on 28 x 28 pixels."""
    layers: list[tuple[str, Operation]] = [
        *(("a", conv(20, 1, 5)), ("b", spike(20, 24, 24)), ("c", SumPool2d(2, 2, 2, 2))),
        *(("d", conv(32, 20, 5)), ("e", spike(32, 8, 8)), ("f", SumPool2d(2, 2, 2, 2))),
        *(("g", conv(128, 32, 3)), ("h", spike(128, 2, 2)), ("i", SumPool2d(2, 2, 2, 2))),
        *(("j", Flatten()), ("k", Affine(np.ones((500, 128), np.float32))), ("l", spike(500))),
        *(("m", Affine(np.ones((10, 500), np.float32))), ("n", spike(10))),
    ]
    return chain((1, 28, 28), layers)


@pytest.mark.parametrize("name", ["speck2e", "speck2f"])
def test_the_network_of_the_basics_fits(name: str) -> None:
    answer = fit(of_the_basics(), chips.read(name))
    assert answer.fits
    assert answer.cores == 5
    used = {next(iter(core.layers)): {k: v[0] for k, v in core.used.items()} for core in answer.placed}
    # c * 2^(ceil log2 k*k + ceil log2 f); f * 2^(ceil log2 h + ceil log2 w)
    assert used["b"] == {"kernel_memory": 1 * 32 * 32, "neuron_memory": 20 * 32 * 32}
    assert used["e"] == {"kernel_memory": 20 * 32 * 32, "neuron_memory": 32 * 8 * 8}
    assert used["h"] == {"kernel_memory": 32 * 16 * 128, "neuron_memory": 128 * 2 * 2}
    assert used["l"] == {"kernel_memory": 128 * 1 * 512, "neuron_memory": 500}
    assert used["n"] == {"kernel_memory": 500 * 16, "neuron_memory": 10}
    where = {next(iter(core.layers)): core.index for core in answer.placed}
    assert {where["h"], where["l"]} == {5, 6}  # 64 Ki of weights: two cores have them
    assert any("37 channels" in note for note in answer.notes)  # 4 * (10 - 1) + 1
    assert any("second" in unknown for unknown in answer.unknown)


def test_the_documents_example_of_too_many_neurons() -> None:
    """16 -> 32 channels, 3 x 3, on 64 x 64: 8 Ki of weights, and 128 Ki of neurons, which no core has."""
    program = chain((16, 64, 64), [("a", conv(32, 16, 3, pad_top=1, pad_bottom=1, pad_left=1, pad_right=1)),
                                   ("b", spike(32, 64, 64))])  # fmt: skip
    answer = fit(program, SPECK)
    assert [reason.cause for reason in answer.reasons] == ["memory"]
    assert "8,192" in answer.sentence
    assert "131,072" in answer.sentence


def test_three_stages_for_the_two_large_cores() -> None:
    narrow, wide = Affine(np.ones((128, 512), np.float32)), Affine(np.ones((512, 128), np.float32))
    layers: list[tuple[str, Operation]] = [
        *(("0a", wide), ("0b", spike(512)), ("1a", narrow), ("1b", spike(128))),
        *(("2a", wide), ("2b", spike(512))),
    ]
    answer = fit(chain((128,), layers), SPECK)  # 64 Ki of weights each
    (reason,) = answer.reasons
    assert reason.cause == "cores"
    assert set(reason.layers) == {"0b", "1b", "2b"}
    assert "3 stages (0b, 1b, 2b) can lie on 2 cores alone (5, 6)" in answer.sentence
    assert fit(chain((128,), layers[:4]), SPECK).fits


@pytest.mark.parametrize("seed", range(20))
def test_the_assignment_is_as_large_as_any(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = []
    for index in range(rng.integers(2, 6)):
        inputs, outputs, side = (int(2 ** rng.integers(0, most)) for most in (10, 10, 6))
        found.append(Stage(f"s{index}", "w", (inputs, side, side), (outputs, side, side), (1, 1), (1, 1), (0,) * 4, ()))
    kernel = [16, 16, 16, 32, 32, 64, 64, 16, 16]
    neuron = [64, 64, 64, 32, 32, 16, 16, 16, 16]

    def holds(stage: Stage, core: int) -> bool:
        (inputs, *_), (outputs, height, width) = stage.entering, stage.leaving
        return inputs * outputs <= 1024 * kernel[core] and outputs * height * width <= 1024 * neuron[core]

    most = max(sum(map(holds, found, order)) for order in itertools.permutations(range(9), len(found)))
    assigned = _matched(found, SPECK)
    assert len(assigned) == most
    assert len(set(assigned.values())) == most
    assert all(holds(stage, assigned[stage.name]) for stage in found if stage.name in assigned)


def test_a_spiking_ssm_is_refused_with_its_three_reasons() -> None:
    done = run(command, ZOO / "smnist.safetensors", "--chip", "speck2f")
    assert done.code == 1
    answer = fit(ss.load(ZOO / "smnist.safetensors"), SPECK)
    by_cause = {reason.cause: reason for reason in answer.reasons}
    assert set(by_cause) == {"state_space", "leak", "graded"}
    assert by_cause["state_space"].layers == ("n01_block0_ssm", "n06_block1_ssm")
    assert by_cause["leak"].layers == ("n02_block0_spike", "n07_block1_spike")
    assert answer.cores is None


def one(operation: Operation, shape: tuple[int, ...], neuron: Operation | None = None) -> Program:
    out = operation.output_shape(shape)
    return chain(shape, [("w", operation), ("s", neuron or spike(*out))])


@pytest.mark.parametrize(
    ("program", "cause"),
    [
        (one(conv(1, 1, 3, stride_y=3, stride_x=3), (1, 9, 9)), "stride"),
        (one(conv(1, 1, 3, pad_top=1), (1, 9, 9)), "padding"),
        (one(conv(1, 1, 3, pad_top=8, pad_bottom=8), (1, 9, 9)), "padding"),
        (one(conv(1, 1, 17), (1, 20, 20)), "kernel"),
        (one(Conv2d(np.ones((1, 1, 3, 2), np.float32)), (1, 9, 9)), "kernel"),
        (one(conv(1, 1, 3), (1, 67, 9)), "size"),
        (one(conv(1, 1, 8, stride_y=4, stride_x=4), (1, 132, 132)), "size"),
        (one(Affine(np.ones((1, 1025), np.float32)), (1025,)), "channels"),
        (one(conv(4, 1, 3, groups=2), (2, 9, 9)), "kind"),
        (one(conv(1, 1, 2, dilation_y=2, dilation_x=2), (1, 9, 9)), "kind"),
        (one(Affine(np.ones((2, 2), np.float32), np.ones(2, np.float32)), (2,)), "bias"),
        (one(conv(1, 1, 2), (1, 3, 3), LIF(np.ones((1, 2, 2)), np.arange(1.0, 5).reshape(1, 2, 2))), "threshold"),
        (one(Affine(np.ones((2, 2), np.float32)), (2,), LIF(np.ones(2), np.ones(2), np.ones(2))), "reset"),
        (one(Affine(np.ones((2, 2), np.float32)), (2,), LIF(np.array([1, 0.9]), np.ones(2))), "leak"),
        (one(Affine(np.ones((2, 2), np.float32)), (2,), MultiSpikeIF(np.ones(2), -np.arange(2.0))), "floor"),
        (one(Affine(np.ones((2, 2), np.float32)), (2,), LEAKS), "leak"),
        (chain((2,), [("s", spike(2))]), "graded"),
        (chain((4,), [("w", Affine(np.ones((4, 4), np.float32))), ("g", GLU()), ("s", spike(2))]), "graded"),
        (chain((4,), [("w", LayerNorm(np.ones(4, np.float32), np.ones(4, np.float32))), ("s", spike(4))]), "graded"),
        (chain((1, 9, 9), [("p", SumPool2d(3, 3, 3, 3)), ("w", conv(1, 1, 1)), ("s", spike(1, 3, 3))]), "pooling"),
        (chain((1, 9, 9), [("p", SumPool2d(2, 2, 1, 1)), ("w", conv(1, 1, 1)), ("s", spike(1, 8, 8))]), "kind"),
    ],
)  # fmt: skip
def test_each_limit_is_named(program: Program, cause: str) -> None:
    answer = fit(program, SPECK)
    assert cause in [reason.cause for reason in answer.reasons]
    assert not answer.placed


def test_what_is_flattened_and_what_the_host_does() -> None:
    """Two maps of 2 x 2 x 3 joined after they were flattened: the matrix that reads them is a kernel of 2 x 3."""
    parts = [layer for name in "ab" for layer in (Layer(f"{name}1", conv(2, 1, 1), ("input",)),
                                                  Layer(f"{name}2", spike(2, 2, 3), (f"{name}1",)),
                                                  Layer(f"{name}3", Flatten(), (f"{name}2",)))]  # fmt: skip
    tail = (Layer("c", Join(), ("a3", "b3")), Layer("d", Affine(np.ones((4, 12), np.float32)), ("c",)),
            Layer("e", spike(4), ("d",)))  # fmt: skip
    answer = fit(Program((1, 2, 3), (*parts, *tail), "e"), SPECK)
    assert [reason.cause for reason in answer.reasons] == ["kernel"]
    assert "(2, 3)" in answer.sentence
    rows = chain((1, 2, 2), [("a", Flatten(1)), ("b", Affine(np.ones((4, 4), np.float32))), ("c", spike(1, 4))])
    assert [reason.cause for reason in fit(rows, SPECK).reasons] == ["kind"]
    pooled = chain((1, 9, 9), [("w", conv(1, 1, 1)), ("s", spike(1, 9, 9)), ("p", SumPool2d(3, 3, 3, 3))])
    assert any("p: is left to the host" in note for note in fit(pooled, SPECK).notes)


def test_fan_out_merges_and_recurrence() -> None:
    weights = Affine(np.eye(2, dtype=np.float32))

    def fan(readers: int) -> Program:
        heads = [layer for i in range(readers) for layer in (Layer(f"w{i}", weights, ("s",)),
                                                             Layer(f"x{i}", spike(2), (f"w{i}",)))]  # fmt: skip
        join = Layer("y", Join(), tuple(f"x{i}" for i in range(readers)))
        last = (Layer("z", weights, ("y",)), Layer("zz", spike(2), ("z",)))
        return Program((2,), (Layer("r", weights, ("input",)), Layer("s", spike(2), ("r",)), *heads, join, *last), "zz")

    assert fit(fan(2), SPECK).fits
    (reason,) = fit(fan(3), SPECK).reasons
    assert (reason.cause, reason.layers) == ("fan_out", ("s",))
    loop = Program((2,), (Layer("a", weights, ("input",), ("b",)), Layer("b", spike(2), ("a",))), "b")
    assert [reason.cause for reason in fit(loop, SPECK).reasons] == ["recurrence"]
    summed = Program((2,), (Layer("a", weights, ("input",)), Layer("b", weights, ("input",)),
                            Layer("c", spike(2), ("a", "b"))), "c")  # fmt: skip
    assert [reason.cause for reason in fit(summed, SPECK).reasons] == ["graded"]


def test_rates_are_those_of_the_run_and_values_are_no_events() -> None:
    weights = Affine(np.array([[1, 0], [1, 1]], np.float32))
    program = chain((2,), [("w", weights), ("s", spike(2))])
    x = np.array([[[1, 0], [0, 1], [2, 1]]], np.float32)  # reach 2, 1 and 3 weights; sums 1 1, 0 1, 2 3
    (core,) = fit(program, SPECK, Measured(simulate(program, x), "test")).placed
    assert core.load["synaptic_operations"] == {"mean": 2.0, "max": 3.0}
    assert core.load["spikes_out"] == {"mean": pytest.approx(5 / 3), "max": 2.0}
    answer = fit(program, SPECK, Measured(simulate(program, x / 2), "test"))
    assert [reason.cause for reason in answer.reasons] == ["input"]


def test_the_command_answers_with_an_exit_code_and_a_picture(tmp_path: Path) -> None:
    ss.save(of_the_basics(), tmp_path / "model.nir")
    done = run(command, tmp_path / "model.nir", "--chip", "speck2f", "--plot", tmp_path / "fit.png")
    assert done.code == 0, done.stderr
    assert "fits on 5 cores of a Speck 2f" in done.stdout
    assert (tmp_path / "fit.png").read_bytes()[:4] == b"\x89PNG"
