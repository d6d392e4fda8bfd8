"""Diagonal state-space models in plain torch: one step, `h = a*h + u`, whose numbers may be complex.

A complex stream is a pair of real ones. What is linear in a stream, and has constants beside it, is known by what it
does to unit vectors; the state that forward takes and returns becomes an S4D, or where a is real leaky integrators.
"""

from __future__ import annotations

import dataclasses
import operator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, fx
from torch.nn import functional

from convert.modules.functions import Constant, Walk
from convert.modules.nodes import called
from spikestrip.errors import Refused
from spikestrip.operations import S4D, Affine, Join, LeakyIntegrator, Operation, Scale

ADD = (operator.add, torch.add, "add")
LINEAR = (
    *(operator.mul, torch.mul, "mul", operator.truediv, torch.div, "div", operator.neg, torch.neg, "neg"),
    *(operator.matmul, torch.matmul, "matmul", torch.mm, "mm", torch.einsum, functional.linear),
)
TO = ("to", "type", "cfloat", "cdouble")
REAL, IMAGINARY = (torch.real, "real"), (torch.imag, "imag")


@dataclasses.dataclass(frozen=True)
class Pair:
    """A complex stream; None for a part that is 0."""

    real: str | None
    imaginary: str | None


@dataclasses.dataclass(frozen=True)
class Held:
    """An argument of forward, from the step before, times ``decay`` (1 where None)."""

    argument: str
    decay: Tensor | None = None


@dataclasses.dataclass(frozen=True)
class Next:
    """The next value of that argument, of so many numbers a sample."""

    argument: str
    size: int
    dtype: torch.dtype


class Holder(Walk, Protocol):
    """What building.py keeps of the graph, and of its states."""

    def hold(self, node: fx.Node, state: Next) -> None: ...


def concerns(walk: Walk, node: fx.Node) -> bool:
    """True for a call in which something is complex, or a state of forward's own."""
    if node.op == "call_method" and node.target in TO:
        given = [*node.args[1:], *node.kwargs.values()]
        kinds = [walk.value(each) if isinstance(each, fx.Node) else each for each in given]
        return node.target in TO[2:] or any(isinstance(kind, torch.dtype) and kind.is_complex for kind in kinds)
    values = [walk.value(each) for each in node.all_input_nodes]
    return any(isinstance(each, complex) for each in node.args) or any(
        isinstance(each, Pair | Held) or (isinstance(each, Constant) and each.tensor.is_complex()) for each in values
    )


def call(walk: Holder, where: str, name: str, node: fx.Node) -> Any:
    """What the function or method of ``node`` gives. Raises Refused(where, reason) for what is no part of a step."""
    target = node.args[1] if node.target is getattr else node.target
    if target in ADD:
        return _sum(walk, where, name, node)
    streams = [each for each in node.all_input_nodes if not isinstance(walk.value(each), Constant | torch.dtype)]
    if len(streams) == 1:
        (source,) = streams
        held = walk.value(source)
        if isinstance(held, Held):
            if target in LINEAR[:3]:
                return _decayed(walk, where, held, node)
        elif target in TO:
            return _pair(walk, where, source)
        elif target in REAL or target in IMAGINARY:
            part = held.real if target in REAL else held.imaginary
            if part is None:
                raise Refused(where, f"takes the {target} part of {source.name!r}, which is 0")
            return part
        elif target in LINEAR:
            return _mapped(walk, where, name, node, source)
    known = "a step `h = a*h + u`, products with constants and .real are known"
    raise Refused(where, f"calls {called(node)}() on complex numbers or on a state; {known}")


def _pair(walk: Walk, where: str, source: Any) -> Pair:
    found = walk.value(source) if isinstance(source, fx.Node) else source
    return found if isinstance(found, Pair) else Pair(walk.stream(where, source), None)


def _sum(walk: Holder, where: str, name: str, node: fx.Node) -> Any:
    terms = [walk.value(each) if isinstance(each, fx.Node) else each for each in node.args]
    if len(terms) != 2 or node.kwargs:
        raise Refused(where, f"calls {called(node)}() with more than two terms")
    for term, other in (terms, terms[::-1]):
        place = node.args[1 if other is terms[1] else 0]
        if isinstance(term, Held) and not isinstance(other, Held):
            pair, real = _pair(walk, where, place), isinstance(other, str)
            dtype = torch.float64 if real else torch.complex128
            walk.hold(node, Next(term.argument, _size(walk, where, pair), dtype))
            return _core(walk, where, name, term.decay, pair, real)
        if isinstance(term, complex | int | float) and term == 0:
            return _pair(walk, where, place)
    first, second = (_pair(walk, where, each) for each in node.args)
    return Pair(
        _joined(walk, f"{name}_re", first.real, second.real),
        _joined(walk, f"{name}_im", first.imaginary, second.imaginary),
    )


def _joined(walk: Walk, name: str, *streams: str | None) -> str | None:
    given = [stream for stream in streams if stream is not None]
    return walk.add(name, [Join()], *given) if len(given) > 1 else next(iter(given), None)


def _decayed(walk: Walk, where: str, held: Held, node: fx.Node) -> Held:
    found = [walk.value(each) if isinstance(each, fx.Node) else each for each in node.args]
    factors = [each for each in found if each is not held]
    if len(found) != 2 or len(factors) != 1:
        raise Refused(where, "multiplies a state by something else than a constant")
    (factor,) = factors
    value = factor.tensor if isinstance(factor, Constant) else torch.tensor(factor, dtype=torch.complex128)
    return dataclasses.replace(held, decay=value if held.decay is None else held.decay * value)


def _core(walk: Walk, where: str, name: str, decay: Tensor | None, u: Pair, real: bool) -> Any:
    """h[t] = a h[t-1] + u[t]."""
    size = _size(walk, where, u)
    a = _filled(where, torch.ones(()) if decay is None else decay, size)
    parts = u.real, u.imaginary
    if not a.imag.any():
        leaky = LeakyIntegrator(a.real)
        kept = [None if part is None else walk.add(name, [leaky], part) for part in parts]
        return kept[0] if real else Pair(*kept)
    if real:
        raise Refused(where, f"adds a real stream to a complex state in {name!r}; make it complex, x.to(torch.cfloat)")
    entering = [
        walk.add(f"{name}_{which}", [_blocks(columns.T, size)], part)
        for part, which, columns in zip(parts, ("u_re", "u_im"), ENTER, strict=True)
        if part is not None
    ]
    modes = walk.add(f"{name}_modes", [turning(a)], str(_joined(walk, f"{name}_in", *entering)))
    leaving = zip(("re", "im"), LEAVE, strict=True)
    return Pair(*(walk.add(f"{name}_{which}", [_blocks(row, size)], modes) for which, row in leaving))


ENTER = np.array([[[1.0, 1, 0, 0]], [[0, 0, 1.0, 1]]])
LEAVE = np.array([[[1.0, 0, 0, -1]], [[0, 1.0, 1, 0]]])
"""Where Re u and Im u enter ``turning``, and what of its channels makes Re h and Im h."""


def _blocks(matrix: np.ndarray, size: int) -> Affine:
    return Affine(np.kron(matrix, np.eye(size)).astype(np.float32))


def turning(a: np.ndarray) -> S4D:
    """h = h1 + i h2 with h[t] = a h[t-1] + u[t], a (N,), in 4N channels of one mode: Re u, Re u, Im u, Im u enter,
    Re h1, Im h1, Re h2, Im h2 leave."""
    modes, zeros, halves = np.tile(a, 4)[None], np.zeros((1, 4 * len(a))), np.full(len(a), 0.5)
    real, imaginary = np.concatenate((halves, 0 * halves) * 2), np.concatenate((0 * halves, -halves) * 2)
    return S4D(modes.real, modes.imag, zeros + 1, zeros, real[None], imaginary[None], zeros[0])


def _size(walk: Walk, where: str, pair: Pair) -> int:
    parts = [part for part in (pair.real, pair.imaginary) if part is not None]
    if not parts:
        raise Refused(where, "computes with a complex stream that is 0")
    shape = walk.shape(parts[0])
    if len(shape) != 1:
        raise Refused(where, f"has complex numbers or a state of shape {shape}; a row of modes is known")
    return shape[0]


def _filled(where: str, value: Tensor, size: int) -> np.ndarray:
    found: np.ndarray = value.detach().cpu().to(torch.complex128).numpy()
    if found.ndim > 1 and len(found) == 1:
        found = found[0]
    if found.ndim > 1 or not np.isfinite(found).all() or found.size not in (1, size):
        raise Refused(where, f"has factors of shape {tuple(value.shape)} for a state of {size}; one for each is known")
    return np.broadcast_to(found, (size,)).copy()


def _mapped(walk: Walk, where: str, name: str, node: fx.Node, source: fx.Node) -> Pair:
    pair = _pair(walk, where, source)
    size = _size(walk, where, pair)
    matrix = _matrix(walk, where, node, source, size)
    of_real, of_imaginary = (matrix.real, matrix.imag), (-matrix.imag, matrix.real)
    parts = []
    for place, part in enumerate(("re", "im")):
        made = [
            walk.add(f"{name}_{part}", [_synapse(weights[place])], stream)
            for stream, weights in ((pair.real, of_real), (pair.imaginary, of_imaginary))
            if stream is not None and weights[place].any()
        ]
        parts.append(_joined(walk, f"{name}_{part}", *made))
    return Pair(*parts)


def _synapse(matrix: np.ndarray) -> Operation:
    """x @ matrix, (in, out)."""
    diagonal = matrix.shape[0] == matrix.shape[1] and not (matrix - np.diag(np.diagonal(matrix))).any()
    return Scale(np.diagonal(matrix).copy()) if diagonal else Affine(np.ascontiguousarray(matrix.T))


def _matrix(walk: Walk, where: str, node: fx.Node, source: fx.Node, size: int) -> np.ndarray:
    """(in, out), complex: what the call does to each unit vector, a sample of its own."""

    def given(x: Tensor) -> Any:
        def value(each: fx.Node) -> Any:
            if each is source:
                return x
            held = walk.value(each)
            tensor = held.tensor if isinstance(held, Constant) else held
            return tensor.to(torch.complex128) if isinstance(tensor, Tensor) else tensor

        args, kwargs = fx.node.map_arg((node.args, node.kwargs), value)
        with torch.no_grad():
            if node.op == "call_method":
                return getattr(args[0], str(node.target))(*args[1:], **kwargs)
            return node.target(*args, **kwargs)  # type: ignore[operator]

    units = torch.eye(size, dtype=torch.complex128)
    calls = f"calls {called(node)}() on complex numbers"
    try:
        made, turned, twice = given(units), given(units.flip(0)), given(2 * units)
    except Exception as error:
        raise Refused(where, f"{calls}, which fails for samples in rows: {error}") from error
    alike = torch.equal(made.flip(0), turned) and torch.equal(2 * made, twice) and bool(made.isfinite().all())
    if made.ndim != 2 or not alike:
        raise Refused(where, f"{calls} so that samples don't stay apart, or not in proportion")
    matrix: np.ndarray = made.numpy()
    return matrix
