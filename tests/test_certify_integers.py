"""Certificates of integers: no bound is broken, no spike off the list differs, a lost value is seen, the files hold."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from commands import run
from programs import network
from test_certify import SCHEMA, mismatch
from test_quantize import float_network

from convert.load import save
from convert.lowering.loihi2 import Words, loihi2
from convert.lowering.loihi2_microcode import microcode
from convert.lowering.speck import speck
from deploy.certification import Certificate, certify
from deploy.certification.floors import REALS, Radii
from deploy.certify import command
from simulators.conformance import integers
from simulators.run import simulate
from spikestrip.errors import BadInput, Refused
from spikestrip.execution import Stepper
from spikestrip.files import read_json
from spikestrip.operations import (
    LIF,
    Affine,
    Conv2d,
    FixedAffine,
    FixedCurrent,
    FixedLIF,
    FixedScale,
    Flatten,
    MultiSpikeIF,
    Operation,
    SumPool2d,
)
from spikestrip.program import Program, chain


def lowered(seed: int) -> tuple[Program, Program, np.ndarray]:
    """A float network, its integers in one of the mappings, and an input."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 60, 2)).astype(np.float32)
    if seed % 2:
        kind = ("hard", "soft", "refractory")[seed // 2 % 3]
        program = network(rng, inputs=2, hidden=8, modes=4, blocks=2, classes=3, neuron=kind)  # type: ignore[arg-type]
        return program, microcode(program, x, 1 + seed % 3 // 2).program, x
    program = float_network(seed)
    count = 1 + seed // 2 % 2
    return program, loihi2(program, x, Words(count, count, count)).program, x


def on_a_speck(seed: int) -> tuple[Program, Program, np.ndarray]:
    rng = np.random.default_rng(seed)

    def neurons(*shape: int) -> Operation:
        if seed % 4 > 1:
            return MultiSpikeIF(
                np.full(shape, 1.3), np.full(shape, -1.3 if seed % 2 else -float(np.finfo(np.float32).max))
            )
        return LIF(np.ones(shape), np.full(shape, 1.3), reset_kind=("soft", "hard")[seed % 2])

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(0.2, 0.5, shape).astype(np.float32)

    program = chain(
        (2, 4, 4),
        [
            ("n0_conv", Conv2d(weights(3, 2, 3, 3), pad_top=1, pad_bottom=1, pad_left=1, pad_right=1)),
            ("n1_spike", neurons(3, 4, 4)),
            ("n2_pool", SumPool2d(2, 2, 2, 2)),
            ("n3_flat", Flatten()),
            ("n4_head", Affine(weights(5, 12))),
            ("n5_spike", neurons(5)),
        ],
    )
    return program, speck(program).program, rng.integers(0, 3, (2, 60, 2, 4, 4)).astype(np.float32)


def clamped(program: Program, spikes: dict[str, np.ndarray], t: int) -> dict[str, np.ndarray]:
    return {name: train[:, t].reshape(-1, *program.shapes[name]).astype(float) for name, train in spikes.items()}


@pytest.mark.parametrize("seed", range(8))
def test_whole_numbers_lie_within_their_radius(seed: int) -> None:
    """Of every membrane in every step; and the radius is no empty promise: some come near it."""
    program, twin, x = lowered(seed)
    spikes, nearest = simulate(program, x).spikes, 0.0
    exact, real, radii = Stepper(twin, len(x)), Stepper(twin, len(x), REALS), Radii(twin)
    for t in range(x.shape[1]):
        clamp = clamped(program, spikes, t)
        exact.step(x[:, t].astype(float), clamp)
        radius = radii.step(real, real.step(x[:, t].astype(float), clamp))
        for name in spikes:
            off = np.abs(exact.potentials[name] - real.potentials[name])
            assert (off <= radius[name]).all()
            assert (exact.potentials[name] % 1 == 0).all()
            nearest = max(nearest, float((off / radius[name]).max()))
    assert nearest > 0.1


@pytest.mark.parametrize("mapping", [lowered, on_a_speck])
@pytest.mark.parametrize("seed", range(8))
def test_integers_differ_first_where_they_are_listed(mapping, seed: int) -> None:  # type: ignore[no-untyped-def]
    program, twin, x = mapping(seed)
    certificate = certify(program, x, ["integers"], twin)
    sent = certificate.spikes | certificate.numbers
    for backend in ("numpy", "torch", *(() if certificate.numbers else ("onnxruntime",))):
        assert not certificate.broken_by(simulate(twin, x, backend))
    # the list is what the integers decide on the float run's spikes, and each is within its bound
    stepper, wrong = Stepper(twin, len(x)), {name: np.zeros_like(train) for name, train in sent.items()}
    for t in range(x.shape[1]):
        stepper.step(x[:, t].astype(float), clamped(program, sent, t))
        for name, train in sent.items():
            operation, potential = twin[name].operation, stepper.potentials[name]
            if isinstance(operation, MultiSpikeIF):
                sends = np.maximum(potential // operation.threshold, 0)
            else:
                sends = operation.fire(stepper.before[name], potential)  # type: ignore[attr-defined]
            wrong[name][:, t] = sends.reshape(len(x), -1) != train[:, t]
    for name, one in certificate.found["integers"].items():
        assert one.keys.tolist() == np.flatnonzero(wrong[name]).tolist()
        assert (np.abs(one.excess) <= one.bounds).all()
        assert one.keys.size <= certificate.apart[name].within
        assert 0 < certificate.apart[name].largest <= certificate.apart[name].bound


def test_a_record_without_numbers_is_refused() -> None:
    program, twin, x = on_a_speck(2)
    with pytest.raises(BadInput, match="how many spikes n1_spike, n5_spike"):
        certify(program, x, ["integers"], twin).broken_by(simulate(twin, x, "onnxruntime"))


def test_a_spike_off_the_list_breaks_it() -> None:
    program, twin, x = lowered(0)
    certificate, trace = certify(program, x, ["integers"], twin), simulate(twin, x)
    name = program.spiking[0].name
    train = trace.spikes[name].copy()
    (first,) = np.setdiff1d(np.arange(train.size), certificate.found["integers"][name].keys)[:1]
    train.reshape(-1)[first] = 1 - certificate.spikes[name].reshape(-1)[first]
    (sentence,) = certificate.broken_by(dataclasses.replace(trace, spikes=trace.spikes | {name: train}))
    assert "not on the list" in sentence


def test_a_program_of_integers_is_certified_whole() -> None:
    rng = np.random.default_rng(1)
    for program, x in ((integers.network(rng), rng.random((3, 60, 2))), lowered(3)[1:]):
        certificate = certify(program, x)
        assert list(certificate.found) == ["integers"]
        assert certificate.verdict == "can't differ"
        said = certificate.to_dict()["arithmetics"]["integers"]
        assert (said["certified"], said["unit_roundoff"]) == (1.0, 0.0)
        assert said["unconditional"] == said["decisions"] > 0
        for backend in ("numpy", "torch", "onnxruntime"):
            assert not certificate.broken_by(simulate(program, x, backend))


def wrapping() -> tuple[Program, np.ndarray]:
    """254 * 254 * 2^15 is no sum of 32 bits; the second sample sends it in step 3, the first in none."""
    scale = FixedScale(np.full((1, 1), 254, np.int16), np.array([0], np.int8))
    sum_ = FixedAffine(np.full((1, 1, 1), 254, np.int16), np.array([0], np.int8))
    back = FixedAffine(np.full((1, 1, 1), 1, np.int16), np.array([-24], np.int8))
    layers = [("n0_scale", scale), ("n1_sum", sum_), ("n2_back", back), ("n3_spike", FixedLIF(2048, 40))]
    x = np.ones((2, 6, 1))
    x[1, 3] = 1 << 16
    return chain((1,), layers), x


def test_what_follows_a_lost_sum_is_listed() -> None:
    """A sum that doesn't wrap, in Python's integers, changes a spike, which is on the list; nothing before is."""
    program, x = wrapping()
    certificate = certify(program, x)
    one = certificate.found["integers"]["n3_spike"]
    assert one.keys.tolist() == [9, 10, 11]
    total = 254 * 254 * (1 << 16)
    wrapped = (total + (1 << 31)) % (1 << 32) - (1 << 31)
    fires = [(value >> 24) << 6 > 40 << 6 for value in (total, wrapped)]
    assert fires[0] != fires[1]
    trace = simulate(program, x)
    assert trace.spikes["n3_spike"][1, 3, 0] == fires[1]
    train = trace.spikes["n3_spike"].copy()
    train[1, 3] = fires[0]
    assert not certificate.broken_by(dataclasses.replace(trace, spikes={"n3_spike": train}))
    train[0, 3] ^= 1
    assert certificate.broken_by(dataclasses.replace(trace, spikes={"n3_spike": train}))


def test_a_twin_whose_sums_wrap_is_listed_from_there() -> None:
    """No bound is claimed after the wrap: what is said of the distance is what it was."""
    program, twin, x = lowered(0)
    encoder = twin["n00_encoder"].operation
    assert isinstance(encoder, FixedAffine)
    bias = np.zeros(encoder.weight.shape[2], np.int32)
    large = dataclasses.replace(encoder, weight=encoder.weight[:1], exponent=np.array([14], np.int8), bias=bias)
    layers = tuple(
        dataclasses.replace(layer, operation=large) if layer.name == "n00_encoder" else layer for layer in twin.layers
    )
    wrong = dataclasses.replace(twin, layers=layers)
    trace = simulate(wrong, x)
    assert trace.events["n00_encoder"]["saturations"][:, :5].all()
    certificate = certify(program, x, ["integers"], wrong)
    assert certificate.found["integers"]["n02_block0_spike"].keys.size >= 0.9 * trace.spikes["n02_block0_spike"].size
    assert certificate.apart["n02_block0_spike"].largest <= certificate.apart["n02_block0_spike"].bound
    assert not certificate.broken_by(trace)


def test_what_is_refused() -> None:
    program, twin, x = lowered(0)
    other, *_ = lowered(1)
    silent = dataclasses.replace(program, layers=program.layers[:2], output="n01_block0_ssm")
    for given, error, says in (
        ((program, x, ["integers"]), Refused, "quantize makes them"),
        ((twin, x, ["float32"]), Refused, "whole numbers"),
        ((twin, x, None, twin), BadInput, "integers itself"),
        ((program, x, ["float32"], twin), BadInput, "isn't among"),
        ((program, x, None, other), Refused, "no neuron of integers"),
        ((silent, x, None, twin), BadInput, "other"),
    ):  # fmt: skip
        with pytest.raises(error, match=says):
            certify(*given)  # type: ignore[arg-type]
    current = FixedCurrent(300)
    fed = chain((2,), [("n0_current", current), ("n1_spike", FixedLIF(2048, 40, align=0))])
    like = chain((2,), [("n1_spike", LIF(np.full(2, 0.5), np.full(2, 40.0)))])
    with pytest.raises(Refused, match="no bound is known"):
        certify(like, np.ones((1, 4, 2)), ["integers"], fed)
    with pytest.raises(BadInput, match="another program"):
        certify(program, x, ["float64"]).broken_by(simulate(twin, x))


def test_the_files_of_a_twin_are_checked(tmp_path: Path) -> None:
    program, twin, x = lowered(4)
    model, integers_, path = tmp_path / "model.nir", tmp_path / "model.q.nir", tmp_path / "certificate.json"
    save(program, model)
    save(twin, integers_)
    np.save(tmp_path / "x.npy", x)
    simulate(twin, x).save(tmp_path / "q.h5")
    given = (model, "--input", tmp_path / "x.npy", "--twin", integers_, "--trace", tmp_path / "q.h5", "-o", path)
    done = run(command, *given)
    assert done.code == 0, done.stderr
    value = read_json(path)
    assert list(value["arithmetics"]) == ["float64", "float32", "float32-parallel", "integers"]
    assert mismatch(value, SCHEMA) == []
    assert run(command, "--check", path).code == 0
    assert run(command, "--check", path, "--twin", model).code == 1
    whole = integers_.read_bytes()
    integers_.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    done = run(command, "--check", path)
    assert done.code == 1
    assert "model.q.nir" in done.stdout


def test_the_certificate_says_what_it_is() -> None:
    program, twin, x = lowered(2)
    certificate = certify(program, x, ["integers"], twin)
    assert isinstance(certificate, Certificate)
    assert certificate.to_dict()["twin_sha256"] == twin.sha256
