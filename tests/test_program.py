"""A program is validated when it is made, and its hash holds all that decides a spike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from programs import dyadic, network, recurrent, runs

from spikestrip import execution
from spikestrip.errors import BadInput
from spikestrip.operations import LIF, Affine, Join, LeakyIntegrator, Operation
from spikestrip.program import INPUT, Layer, Program, chain


def affine(outputs: int, inputs: int) -> Affine:
    return Affine(np.ones((outputs, inputs), np.float32))


def lif(size: int) -> LIF:
    return LIF(np.full(size, 0.5), np.ones(size))


@pytest.mark.parametrize(
    ("layers", "output", "match"),
    [
        ([], "a", "no layers"),
        ([Layer("a.b", Join(), (INPUT,))], "a.b", "letters, digits"),
        ([Layer("", Join(), (INPUT,))], "", "letters, digits"),
        ([Layer("a", Join(), (INPUT,)), Layer("a", Join(), (INPUT,))], "a", "two layers"),
        ([Layer("input", Join(), (INPUT,))], "input", "two layers"),
        ([Layer("a", Join())], "a", "nothing enters"),
        ([Layer("a", Join(), ("b",)), Layer("b", Join(), (INPUT,))], "b", "doesn't run before"),
        ([Layer("a", Join(), ("a",))], "a", "doesn't run before"),
        ([Layer("a", Join(), (INPUT,), ("ghost",))], "a", "doesn't exist"),
        ([Layer("a", Join(), (INPUT,))], "ghost", "not a layer"),
        ([Layer("a", Join(), (INPUT,))], INPUT, "not a layer"),
        ([Layer("a", affine(2, 3), (INPUT,))], "a", r"\(3,\), not \(2,\)"),
        ([Layer("a", affine(3, 2), (INPUT,)), Layer("b", Join(), ("a", INPUT))], "b", "different shapes"),
        ([Layer("a", Join(), (INPUT,), ("b",)), Layer("b", affine(3, 2), ("a",))], "b", "another shape"),
        ([Layer("a", Join(), (), ("b",)), Layer("b", Join(), ("a",))], "b", "nothing that leads from the input"),
        ([Layer("a", LIF(np.array([0.5, np.nan]), np.ones(2)), (INPUT,))], "a", "NaN"),
        ([Layer("a", LIF(np.ones(2), np.array([1, np.inf])), (INPUT,))], "a", "infinity"),
    ],
)
def test_what_is_no_program_is_refused_by_name(layers: list[Layer], output: str, match: str) -> None:
    with pytest.raises(BadInput, match=match):
        Program((2,), tuple(layers), output)


@pytest.mark.parametrize("shape", [(), (0,), (2, -1)])
def test_an_input_without_values_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match="input shape"):
        Program(shape, (Layer("a", Join(), (INPUT,)),), "a")


def test_an_unknown_readout_is_refused() -> None:
    with pytest.raises(BadInput, match="readout"):
        chain((2,), [("a", Join())], readout="max")  # type: ignore[arg-type]


def test_errors_name_the_layer_and_its_operation() -> None:
    with pytest.raises(BadInput) as error:
        chain((2,), [("first", Join()), ("second", affine(2, 5))])
    assert error.value.where == "second"
    assert "affine" in error.value.reason


def test_shapes_follow_the_operations() -> None:
    program = network(np.random.default_rng(0), inputs=3, hidden=4, blocks=1, mix="glu", classes=2)
    assert list(program.shapes.values()) == [(3,), (4,), (4,), (4,), (8,), (4,), (4,), (2,), (2,)]
    assert [layer.name for layer in program.spiking] == ["n02_block0_spike"]
    names = [layer.name for layer in program.layers]
    assert names == sorted(names)


def test_only_one_stream_of_spikes_is_binary() -> None:
    program = Program(
        (2,),
        (
            Layer("a", lif(2), (INPUT,)),
            Layer("b", affine(2, 2), ("a",)),
            Layer("c", lif(2), ("b",)),
            Layer("d", affine(2, 2), ("a", "c")),
            Layer("e", affine(2, 2), (), ("c",)),
        ),
        "d",
    )
    assert [layer.name for layer in program.layers if program.is_binary(layer)] == ["b", "e"]


def test_edges_are_added_in_one_order_however_they_are_written() -> None:
    one = Program((2,), (Layer("a", Join(), (INPUT,)), Layer("b", Join(), ("a", INPUT))), "b")
    two = Program((2,), (Layer("a", Join(), (INPUT,)), Layer("b", Join(), (INPUT, "a"))), "b")
    assert one.sha256 == two.sha256


def test_delayed_edges_carry_the_previous_step() -> None:
    program = Program(
        (1,),
        (
            Layer("sum", LeakyIntegrator(np.zeros(1)), (INPUT,), ("double", "sum")),
            Layer("double", Affine(np.array([[2.0]], np.float32)), ("sum",)),
        ),
        "double",
    )
    assert program.delayed_sources == ("double", "sum")
    x = np.array([1.0, 0, 10, 0]).reshape(1, 4, 1)
    output, *_ = execution.run(program, x, np, np.float64, np.asarray, lambda steps: None)
    assert output.ravel().tolist() == [2, 6, 38, 114]  # s[t] = x[t] + 3*s[t-1]


def test_mean_readout_divides_the_last_value_by_the_steps() -> None:
    stream = np.arange(12.0).reshape(1, 4, 3)
    summed = chain((3,), [("readout", LeakyIntegrator(np.ones(3)))], readout="mean")
    np.testing.assert_array_equal(summed.finish(stream), [[9 / 4, 10 / 4, 11 / 4]])
    np.testing.assert_array_equal(dataclasses.replace(summed, readout="sequence").finish(stream), stream)


def altered(program: Program, index: int, **changes: object) -> Program:
    layers = list(program.layers)
    operation: Operation = dataclasses.replace(layers[index].operation, **changes)  # type: ignore[arg-type]
    layers[index] = dataclasses.replace(layers[index], operation=operation)
    return dataclasses.replace(program, layers=tuple(layers))


@given(runs(), st.data())
def test_the_hash_sees_the_last_bit_of_every_parameter(run: tuple[Program, np.ndarray], data: st.DataObject) -> None:
    program, _ = run
    index = data.draw(st.sampled_from([i for i, layer in enumerate(program.layers) if layer.operation.arrays()]))
    name, array = data.draw(st.sampled_from(sorted(program.layers[index].operation.arrays().items())))
    changed = array.copy()
    place = data.draw(st.integers(0, array.size - 1))
    changed.flat[place] = np.nextafter(changed.flat[place], changed.dtype.type(np.inf))
    assert altered(program, index, **{name: changed}).sha256 != program.sha256
    assert altered(program, index, **{name: array.copy()}).sha256 == program.sha256


CHANGES: dict[str, Callable[[Program], Program]] = {
    "reset": lambda p: altered(p, 2, reset_kind="soft"),
    "comparison": lambda p: altered(p, 2, comparison="gt"),
    "an array that was None": lambda p: altered(p, 2, bias=np.zeros(6)),
    "dtype": lambda p: altered(p, 0, weight=p.layers[0].operation.arrays()["weight"].astype(np.float64)),
    "readout": lambda p: dataclasses.replace(p, readout="sequence"),
    "output": lambda p: dataclasses.replace(p, output=p.layers[-2].name),
    "delay": lambda p: dataclasses.replace(
        p,
        layers=(*p.layers[:-1], dataclasses.replace(p.layers[-1], inputs=(), delayed=p.layers[-1].inputs)),
    ),
    "name": lambda p: dataclasses.replace(
        p, layers=(*p.layers[:-1], dataclasses.replace(p.layers[-1], name="z")), output="z"
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_hash_sees_structure_and_attributes(change: str) -> None:
    program = dyadic(np.random.default_rng(1))
    assert CHANGES[change](program).sha256 != program.sha256


def test_the_hash_is_the_same_on_every_machine() -> None:
    program = chain((2,), [("a", affine(2, 2)), ("b", lif(2))])
    swapped = chain((2,), [("a", Affine(np.ones((2, 2), ">f4"))), ("b", lif(2))])
    assert swapped.sha256 == program.sha256
    fortran = chain((2,), [("a", Affine(np.asfortranarray(np.ones((2, 2), np.float32)))), ("b", lif(2))])
    assert fortran.sha256 == program.sha256


def test_an_overflow_names_the_layer() -> None:
    program = chain((1,), [("calm", Join()), ("wild", LeakyIntegrator(np.array([1e200])))])
    with pytest.raises(BadInput, match=r"wild.*overflowed"), np.errstate(all="ignore"):
        execution.run(program, np.ones((1, 5, 1)), np, np.float64, np.asarray, lambda steps: None)


def test_clamping_makes_every_decision_follow_the_record() -> None:
    program = recurrent(np.random.default_rng(3))
    rng = np.random.default_rng(4)
    stepper = execution.Stepper(program, 2)
    for _ in range(5):
        record = {"n01_spike": rng.integers(0, 2, (2, 6)).astype(np.float64)}
        assert stepper.step(rng.normal(size=(2, 3)), record)["n01_spike"] is record["n01_spike"]
        neuron = program.layers[1].operation
        assert isinstance(neuron, LIF)
        kept = np.where(record["n01_spike"] == 1, neuron.v_reset, stepper.potentials["n01_spike"])
        np.testing.assert_array_equal(stepper.state["n01_spike"]["u"], kept)
