"""Block speculation: the exact neuron in plain torch, on any device, many blocks of the sequence at a time.

The sequence is cut into blocks that advance together. A block's first state is guessed by a short warm-up over the
end of the block before it; a block whose guess differs bitwise from its predecessor's end is done again from that
end, until none differs. Then every block started where the one before it ended, so the result is that of the eager
loop (``bptt``), bit for bit. It takes 1-2 passes where the neuron forgets quickly, and at worst one pass per block.

The gradient is a recurrence too, backwards in time, given the saved potentials: the same speculation runs it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spikestrip.errors import BadInput
from train.neurons.neuron import Neuron, check, check_finite
from train.neurons.surrogate import SURROGATES

LANES = 1 << 14  # blocks that advance together, about: fewer waste launches, more waste cache
SHORTEST, LONGEST = 32, 256  # steps of a block

Tensors = list[Tensor]
Advance = Callable[[Tensors, dict[str, Tensor], Tensors], tuple[Tensors, Tensors]]


def cut(x: Tensor, length: int) -> Tensor:
    """(B, H, L) -> (length, B*H, blocks): a step of all blocks is contiguous. The end is padded with zeros."""
    padded = torch.nn.functional.pad(x, (0, -x.shape[-1] % length))
    return padded.reshape(-1, padded.shape[-1] // length, length).permute(2, 0, 1).contiguous()


def join(y: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of ``cut``."""
    return y.permute(1, 2, 0).reshape(*shape[:-1], -1)[..., : shape[-1]].contiguous()


def speculate(
    advance: Advance, inputs: Tensors, parameters: dict[str, Tensor], states: int, warm: int
) -> tuple[Tensors, Tensors]:
    """Run ``advance`` over every block from the right state; returns its outputs and the end states.

    inputs: (length, rows, blocks) each; parameters: () or (rows, 1) each; ``states`` tensors carry over a step.
    ``advance(inputs, parameters, state)`` returns outputs (length, n) and the end state for n lanes.
    """
    length, rows, blocks = inputs[0].shape
    zeros = [torch.zeros_like(inputs[0][0]) for _ in range(states)]

    def from_previous(state: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(state[:, :1]), state[:, :-1]], dim=1)

    guess = advance([i[length - warm :] for i in inputs], parameters, zeros)[1] if blocks > 1 and warm else zeros
    start = [from_previous(state) for state in guess]
    outputs, end = advance(inputs, parameters, start)
    while True:
        due = [from_previous(state) for state in end]
        wrong = torch.zeros_like(due[0], dtype=torch.bool)
        for a, b in zip(start, due, strict=True):
            wrong |= bits(a) != bits(b)
        lanes = wrong.view(-1).nonzero().squeeze(1)
        if not len(lanes):
            return outputs, end
        some = {k: p.expand(rows, blocks).reshape(-1)[lanes] if p.dim() else p for k, p in parameters.items()}
        redone, finish = advance([i.flatten(1)[:, lanes] for i in inputs], some, [d.view(-1)[lanes] for d in due])
        for whole, part in zip(outputs, redone, strict=True):
            whole.flatten(1)[:, lanes] = part
        for whole, part in zip(end, finish, strict=True):
            whole.view(-1)[lanes] = part
        start = due


def bits(state: Tensor) -> Tensor:
    return state.view(torch.int32 if state.dtype == torch.float32 else torch.int64)


def potentials(kind: str) -> Advance:
    """Membrane potentials u' (and refractory R) of each step from x; the state is u (and the next R)."""

    def advance(inputs: Tensors, p: dict[str, Tensor], state: Tensors) -> tuple[Tensors, Tensors]:
        (x,) = inputs
        v, u = torch.empty_like(x), state[0].clone()
        r = torch.empty((len(x) + 1, *x.shape[1:]), dtype=x.dtype, device=x.device) if len(state) > 1 else None
        if r is not None:
            r[0] = state[1]
        for t in range(len(x)):
            torch.mul(u, p["tau"], out=v[t]).add_(x[t])
            if r is not None:
                v[t].sub_(p["uth"] * r[t])
            if kind == "hard":
                torch.mul(v[t], v[t] < p["vth"], out=u)
            else:
                s = v[t] >= p["vth"]
                if kind == "refractory_only":
                    u = v[t]
                else:
                    torch.sub(v[t], p["vth"] * s, out=u)
                if r is not None:
                    torch.mul(r[t], p["tau_r"], out=r[t + 1]).add_(s)
        return ([v], [u.clone()]) if r is None else ([v, r[:-1]], [u.clone(), r[-1]])

    return advance


def gradients(kind: str) -> Advance:
    """Gradients of u' (and R) of each step, last step first, from that of s, from u' and from ds/du'."""

    def advance(inputs: Tensors, p: dict[str, Tensor], state: Tensors) -> tuple[Tensors, Tensors]:
        grad_s, v, slope = inputs
        grad_v, grad_u = torch.empty_like(v), state[0]
        grad_r = torch.empty_like(v) if len(state) > 1 else None
        carried = state[-1]
        for t in range(len(v)):
            g = grad_s[t] if grad_r is None else grad_s[t] + carried
            if kind == "hard":
                torch.mul(g - grad_u * v[t], slope[t], out=grad_v[t]).add_(grad_u * (v[t] < p["vth"]))
            elif kind == "refractory_only":
                torch.mul(g, slope[t], out=grad_v[t]).add_(grad_u)
            else:
                torch.mul(g - grad_u * p["vth"], slope[t], out=grad_v[t]).add_(grad_u)
            if grad_r is not None:
                torch.mul(carried, p["tau_r"], out=grad_r[t]).sub_(grad_v[t] * p["uth"])
                carried = grad_r[t]
            grad_u = grad_v[t] * p["tau"]
        return ([grad_v], [grad_u]) if grad_r is None else ([grad_v, grad_r], [grad_u, carried.clone()])

    return advance


class Block(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, neuron: Neuron, length: int | None, *parameters: Tensor) -> Tensor:
        batch = x.shape[0]
        named = dict(zip(neuron.parameters, parameters, strict=True))
        decay = max(float(p.max()) for name, p in named.items() if name.startswith("tau"))
        memory = forgetting(decay, x.dtype)
        if length is None:
            length = max(SHORTEST, min(LONGEST, memory), x.numel() // LANES)
        length = min(length, x.shape[-1])
        per_row = {name: p if p.dim() == 0 else p.repeat(batch)[:, None] for name, p in named.items()}
        states = 2 if neuron.reset == "refractory" else 1
        found, end = speculate(potentials(neuron.kind), [cut(x, length)], per_row, states, min(memory, length))
        check_finite(end[0])
        ctx.save_for_backward(*parameters, *found)
        ctx.neuron, ctx.per_row, ctx.shape, ctx.memory = neuron, per_row, x.shape, memory
        return join(found[0] >= per_row["vth"], x.shape).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        neuron, p, shape = ctx.neuron, ctx.per_row, ctx.shape
        names = list(neuron.parameters)
        parameters, found = ctx.saved_tensors[: len(names)], ctx.saved_tensors[len(names) :]
        v = found[0]
        length = len(v)
        inverse = 1.0 / p["vth"]
        slope = SURROGATES[neuron.surrogate]((v - p["vth"]) * inverse) * inverse
        grad_s = cut(grad, length)
        if neuron.gradient == "sltt":
            grads = [grad_s * slope]
        else:
            # a step back is a step on in the reversed sequence
            reverse = [i.flip(0, 2) for i in (grad_s, v, slope)]
            grads = speculate(gradients(neuron.kind), reverse, p, len(found), min(ctx.memory, length))[0]
            grads = [g.flip(0, 2) for g in grads]
        whole = [join(g, shape) for g in grads]
        of_parameters: list[Tensor | None] = [None] * len(names)
        if any(ctx.needs_input_grad[3:]):
            series = [join(f, shape) for f in found]
            sums = parameter_gradients(neuron, grad, series, whole)
            of_parameters = [sums[n].sum_to_size(q.shape) for n, q in zip(names, parameters, strict=True)]
        return (whole[0], None, None, *of_parameters)


def parameter_gradients(neuron: Neuron, grad: Tensor, found: Tensors, grads: Tensors) -> dict[str, Tensor]:
    """Gradients of the parameters for each row (B, H), from (B, H, L): u', R and the gradients of both."""
    p = {name: q[..., None] for name, q in neuron.parameters.items()}
    v, grad_v, soft = found[0], grads[0], neuron.kind in ("soft", "refractory")
    s = v >= p["vth"]
    u = v * ~s if neuron.kind == "hard" else v - p["vth"] * s if soft else v
    grad_u = p["tau"] * following(grad_v)
    if neuron.gradient == "bptt":
        if len(grads) > 1:
            grad = grad + following(grads[1])
        if neuron.kind != "refractory_only":
            grad = grad - grad_u * (p["vth"] if soft else v)
    inverse = 1.0 / p["vth"]
    terms = {"tau": following(grad_v) * u}
    terms["vth"] = -grad * SURROGATES[neuron.surrogate]((v - p["vth"]) * inverse) * inverse * inverse * v
    if neuron.gradient == "bptt" and soft:
        terms["vth"] -= grad_u * s
    if len(found) > 1:
        grad_r = grads[1] if neuron.gradient == "bptt" else -grad_v * p["uth"]
        terms |= {"tau_r": following(grad_r) * found[1], "uth": -grad_v * found[1]}
    return {name: term.sum(-1) for name, term in terms.items()}


def following(y: Tensor) -> Tensor:
    """y[t+1] at t, and 0 at the end."""
    return torch.nn.functional.pad(y[..., 1:], (0, 1))


def forgetting(decay: float, dtype: torch.dtype) -> int:
    """Steps after which a state that decays by ``decay`` a step is below rounding."""
    if decay >= 1:
        return LONGEST
    return math.ceil(math.log(torch.finfo(dtype).eps) / math.log(max(decay, 1e-6))) + 2


def run(x: Tensor, neuron: Neuron, length: int | None = None) -> Tensor:
    """Spikes (B, H, L) of ``neuron`` for the input current x (B, H, L); exact.

    ``length`` is the steps of a block, chosen from the size of x and the decay by default. Raises BadInput for shapes
    and dtypes that don't fit, and where x isn't finite.
    """
    check(x, neuron)
    if length is not None and length < 1:
        raise BadInput("method block", f"a block of {length} steps")
    return Block.apply(x, neuron, length, *neuron.parameters.values())
