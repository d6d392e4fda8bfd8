"""The tables are complete: whoever adds an operation (docs/how-to-add-an-operation.md) reads here what is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import spikestrip.operations as room
from convert.formats import onnx
from convert.formats.nir.writing.nodes import ENCODERS, op_name
from deploy.verification.bounds import RULES
from simulators.conformance.suite import cases
from spikestrip.operations import OPERATIONS, FixedOperation, Operation, SpikingOperation
from spikestrip.program import Layer, Program

INTEGERS = {kind for kind, operation in OPERATIONS.items() if issubclass(operation, FixedOperation)}
POISONED = {"bernoulli", "clamp", "gelu", "glu", "if_several", "layer_norm", "lif_adaptive", "lif_several"} | INTEGERS
POISONED |= {"max_pool2d", "reshape"}
"""No standard nodes of NIR say these exactly: their bodies are NaN, and the metadata hold them."""
FREE = {"clamp", "fixed_input", "flatten", "join", "max_pool2d", "pad", "reshape", "threshold"}
"""These move, add or compare values: none of the counters (spikes apart) counts that."""
STANDARD = {"affine", "scale"}
"""Plain nodes of NIR hold these, arrays and all; they need no metadata."""
PAGE = (Path(__file__).parents[1] / "docs" / "nir-operations.md").read_text()


@pytest.fixture(scope="module")
def held() -> dict[str, list[tuple[Program, Layer]]]:
    """Kind -> where the conformance suite has it."""
    found: dict[str, list[tuple[Program, Layer]]] = {}
    for case in cases():
        for layer in case.program.layers:
            found.setdefault(layer.operation.kind, []).append((case.program, layer))
    return found


def overridden(operation: type[Operation], name: str) -> bool:
    """Whether the class, or one between it and the bases of all, says ``name`` itself."""
    return getattr(operation, name) not in (getattr(Operation, name, None), getattr(SpikingOperation, name, None))


def test_verification_has_a_rule_for_each_and_nothing_else() -> None:
    assert set(RULES) == set(OPERATIONS)


@pytest.mark.parametrize("kind", OPERATIONS)
def test_a_neuron_says_its_excess_and_its_parts(kind: str) -> None:
    operation = OPERATIONS[kind]
    assert operation.spiking == issubclass(operation, SpikingOperation)
    parts = ("integrate", "excess", "fire", "reset") if operation.spiking else ("step",)
    assert [part for part in parts if not overridden(operation, part)] == []


def test_each_is_counted_or_free() -> None:
    uncounted = {kind for kind, operation in OPERATIONS.items() if not overridden(operation, "count")}
    assert uncounted == FREE


def test_nir_has_a_row_for_each_or_poisons_it() -> None:
    assert {kind for kind, operation in OPERATIONS.items() if operation not in ENCODERS} == POISONED


def test_nirs_page_speaks_of_each(held: dict[str, list[tuple[Program, Layer]]]) -> None:
    names = {op_name(layer.operation) for places in held.values() for _, layer in places} - STANDARD
    assert [name for name in sorted(names) if not re.search(f"`{name}`", PAGE)] == []


@pytest.mark.parametrize("kind", OPERATIONS)
def test_the_suite_and_onnx_hold_each(kind: str, held: dict[str, list[tuple[Program, Layer]]]) -> None:
    for dtype in OPERATIONS[kind].dtypes:
        assert {onnx.refuses(program, layer, dtype) for program, layer in held[kind]} == {None}  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", OPERATIONS)
def test_each_is_exported(kind: str) -> None:
    assert OPERATIONS[kind].__name__ in room.__all__
