"""A module and its program side by side on the example and on noise, both in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from convert.modules import norse, own, sinabs, spikingjelly
from convert.modules.building import Built
from convert.modules.layouts import Layout, Taken
from convert.modules.neurons import is_neuron
from convert.modules.nodes import ROOT
from spikestrip.errors import BadInput, Refused
from spikestrip.execution import Stepper

RELATIVE = 1e-9
"""How far values that are no spikes may differ, of the largest: both sides add up in float64, in other orders."""


def steps(example: Tensor) -> np.ndarray:
    """One step of input (B, *shape) as float64. Raises BadInput for anything else."""
    if not isinstance(example, Tensor) or example.is_complex():
        raise BadInput("example", "is no torch tensor of real numbers")
    if example.is_meta or example.layout != torch.strided:
        raise BadInput("example", "is on the device meta, or sparse: give a plain tensor, with its numbers")
    x: np.ndarray = example.detach().cpu().double().numpy()
    if x.ndim < 2 or not x.size or not np.isfinite(x).all():
        raise BadInput("example", f"of shape {x.shape} is not one step of finite values, (B, *shape) with B >= 1")
    return x


def noise(x: np.ndarray) -> np.ndarray:
    """Normal numbers as large as the largest of x, or 1: an example of zeros shows little."""
    return np.random.default_rng(0).normal(size=x.shape) * (np.abs(x).max() or 1.0)


def check(root: nn.Module, built: Built, x: np.ndarray, graph: fx.Graph, taken: Taken, said: str) -> None:
    """Raise Refused, naming the neuron, where ``root`` and ``built`` differ on x (B, *shape), given some times.

    Every spike must be equal, and what enters each neuron. ``said``: what x is. Leaves ``root`` in float64 with hooks:
    whoever calls this puts it back. Raises BadInput where ``root`` doesn't run on x.
    """
    _to_float64(root)
    if taken.leaving is not Layout.STEP:
        if built.states and not taken.looped:
            raise Refused(ROOT, "takes a state of its own in each step, and holds modules that take sequences")
        _check_sequence(root, built, x, taken, said)
        return
    seen: dict[str, Any] = {}
    entered = _entering(root, built)
    for path in {*built.neurons, *(path for path, _ in built.arguments.values())}:
        root.get_submodule(path).register_forward_hook(lambda _, __, output, path=path: seen.update({path: output}))
    stepper = Stepper(built.program, len(x))
    arguments: dict[str, Any] = {
        str(node.target): None for node in graph.find_nodes(op="placeholder")[1:] if not node.args
    }
    names = {name if isinstance(name, str) else name[0] for name in built.arguments}
    arguments |= dict.fromkeys(names)  # states: None is a neuron's zero
    required = arguments.keys() & {held.argument for held in built.states}
    arguments |= {
        held.argument: torch.zeros(len(x), held.size, dtype=held.dtype)
        for held in built.states
        if held.argument in required
    }
    state = ()
    for step in range(taken.steps):
        entered.clear()
        found = _run(root, said, torch.from_numpy(x.copy()), *state, **arguments)
        if norse.is_container(root):
            state = found[1:]
        streams = stepper.step(x)
        arguments |= _states(built, seen)
        returned = pytree.tree_leaves(found)
        arguments |= {held.argument: returned[place] for held, place in built.states.items()}
        for path, stream in built.entering.items():
            if stream in streams:
                _compare_input(path, step, entered[path][0], streams[stream], said)
        for path, stream in built.neurons.items():
            if stream in streams:
                _compare(path, step, seen[path], streams[stream], said, 0.0)
        _compare(ROOT, step, found, streams[built.program.output], said)


def _entering(root: nn.Module, built: Built) -> dict[str, list[Tensor]]:
    """Path of a neuron -> copies of what enters it, call by call, from now on."""
    entered: dict[str, list[Tensor]] = {}

    def note(path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        entered.setdefault(path, []).append((*args, *kwargs.values())[0].clone())

    for path in built.entering:
        root.get_submodule(path).register_forward_pre_hook(
            lambda _, args, kwargs, path=path: note(path, args, kwargs), with_kwargs=True
        )
    return entered


def _states(built: Built, seen: dict[str, Any]) -> dict[str, Any]:
    """What the arguments of the next call are, from what the neurons returned in this one."""
    found: dict[str, Any] = {}
    for at, (path, place) in built.arguments.items():
        if isinstance(at, str):
            found[at] = seen[path][place]
        else:
            held = found.setdefault(at[0], [])
            held += [None] * (at[1] + 1 - len(held))
            held[at[1]] = seen[path][place]
    return found


def _check_sequence(root: nn.Module, built: Built, x: np.ndarray, taken: Taken, said: str) -> None:
    """The same for a module that takes the whole sequence in one call."""
    steps, leaving = taken.steps, taken.leaving
    seen: dict[str, list[Any]] = {path: [] for path in built.neurons}
    entered = _entering(root, built)
    for path in built.neurons:
        module = root.get_submodule(path)
        module.register_forward_hook(lambda m, _, output, path=path: seen[path].append(own.by_step(m, _first(output))))
    for module in root.modules():
        if sinabs.is_neuron(module):
            vars(module).update(batch_size=len(x), num_timesteps=steps)
            # its spikes are float32, which a float64 layer after it would not take
            module.register_forward_hook(lambda _, __, output: output.double())
    found = _first(_run(root, f"{said}, given {steps} times", taken.entering.repeated(x, steps)))
    stepper = Stepper(built.program, len(x))
    for step in range(steps):
        streams = stepper.step(x)

        def of(calls: list[Any], step: int = step) -> Any:
            """One call is of the sequence; or where a container steps it, there is one for each step."""
            return calls[step] if len(calls) == steps else leaving.step(calls[0], step, len(x), steps)

        for path, stream in built.entering.items():
            if stream in streams:
                _compare_input(path, step, of(entered[path]), streams[stream], said)
        for path, stream in built.neurons.items():
            if stream in streams:
                _compare(path, step, of(seen[path]), streams[stream], said, 0.0)
        _compare(ROOT, step, leaving.step(found, step, len(x), steps), streams[built.program.output], said)


def _run(root: nn.Module, said: str, *args: Any, **kwargs: Any) -> Any:
    try:
        with torch.no_grad():
            return root(*args, **kwargs)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInput(ROOT, f"does not run on {said}: {reason}") from error


def _to_float64(root: nn.Module) -> None:
    """Every number of ``root`` in float64 on the CPU, every neuron at rest and its spikes in float64 too."""
    for module in root.modules():
        spikingjelly.rest(module)
        if sinabs.is_neuron(module):
            _hold_alphas(module)
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(_wide(parameter.detach().cpu()), requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = _wide(buffer.cpu())
        if is_neuron(module):
            states = module._buffers.keys() & {"mem", "syn", "syn_exc", "syn_inh", "spk"}
            module._buffers.update(dict.fromkeys(states, torch.zeros(0).double()))
            # snnTorch's spikes are float32, which a float64 layer after them would not take
            step = vars(module)["spike_grad"]
            vars(module)["spike_grad"] = lambda shifted, step=step: step(shifted).double()


def _wide(tensor: Tensor) -> Tensor:
    if tensor.is_complex():
        return tensor.to(torch.complex128)
    return tensor.double() if tensor.is_floating_point() else tensor


def _hold_alphas(module: Any) -> None:
    """Let a sinabs neuron, at rest, use the decays of its own dtype in float64 too."""
    decays = zip(("alpha_mem", "alpha_syn"), sinabs.alphas(module), strict=True)
    module.train_alphas = True
    for name, decay in decays:
        module._parameters[name] = None if decay is None else nn.Parameter(decay.clone(), requires_grad=False)
    module._buffers.update(dict.fromkeys(module._buffers, torch.zeros(0)))


def _compare_input(path: str, step: int, found: Tensor, expected: np.ndarray, said: str) -> None:
    """What enters a neuron; axes of 1 don't count."""
    alike = found.reshape(expected.shape) if found.numel() == expected.size else found
    _compare(path, step, alike, expected, said, what="values that enter it")


def _compare(
    where: str, step: int, found: Any, expected: np.ndarray, said: str, relative: float = RELATIVE, what: str = "values"
) -> None:
    theirs = _first(found).numpy()
    if theirs.shape != expected.shape:
        raise Refused(where, f"gives {theirs.shape} on {said}, and the program {expected.shape}")
    wrong = np.count_nonzero(~(np.abs(theirs - expected) <= relative * max(1.0, np.abs(expected).max())))
    if wrong:
        raise Refused(
            where,
            f"and the program made of it differ in {wrong} of {expected.size} {what} at step {step} of {said}: "
            "its forward does what can't be seen in it, or a membrane is within rounding of its threshold",
        )


def _first(found: Any) -> Any:
    while isinstance(found, tuple | list) and found:
        found = found[0]
    return found
