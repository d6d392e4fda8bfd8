"""A module and its program side by side on the example, both in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from convert.modules import sinabs
from convert.modules.building import Built
from convert.modules.neurons import is_neuron
from convert.modules.tracing import ROOT
from spikestrip.errors import BadInput, Refused
from spikestrip.execution import Stepper

STEPS = 8
"""How often the example is repeated: enough for most neurons to fire, reset and fire again."""

RELATIVE = 1e-9
"""How far outputs that are no spikes may differ, of the largest: both sides add up in float64, in other orders."""


def steps(example: Tensor) -> np.ndarray:
    """One step of input (B, *shape) as float64. Raises BadInput for anything else."""
    if not isinstance(example, Tensor) or example.is_complex():
        raise BadInput("example", "is no torch tensor of real numbers")
    x: np.ndarray = example.detach().cpu().double().numpy()
    if x.ndim < 2 or not x.size or not np.isfinite(x).all():
        raise BadInput("example", f"of shape {x.shape} is not one step of finite values, (B, *shape) with B >= 1")
    return x


def check(root: nn.Module, graph: fx.Graph, built: Built, x: np.ndarray) -> None:
    """Raise Refused, naming the neuron, where ``root`` and ``built`` differ on x (B, *shape), given STEPS times.

    Every spike must be equal. Leaves ``root`` in float64 with hooks: whoever calls this puts it back.
    """
    seen: dict[str, Any] = {}
    _to_float64(root)
    if any(sinabs.is_neuron(module) for module in root.modules()):
        _check_sequence(root, built, x)
        return
    for path in built.neurons:
        root.get_submodule(path).register_forward_hook(lambda _, __, output, path=path: seen.update({path: output}))
    stepper = Stepper(built.program, len(x))
    arguments = {str(node.target): None for node in graph.find_nodes(op="placeholder")[1:] if not node.args}
    arguments |= dict.fromkeys(built.arguments)  # states: None is a neuron's zero
    for step in range(STEPS):
        try:
            with torch.no_grad():
                found = root(torch.from_numpy(x.copy()), **arguments)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise BadInput(ROOT, f"does not run on the example: {reason}") from error
        streams = stepper.step(x)
        arguments |= {name: seen[path][place] for name, (path, place) in built.arguments.items()}
        for path, stream in built.neurons.items():
            if stream in streams:
                _compare(path, step, seen[path], streams[stream], 0.0)
        output = streams[built.program.output]
        _compare(ROOT, step, found, output, RELATIVE * max(1.0, np.abs(output).max()))


def _check_sequence(root: nn.Module, built: Built, x: np.ndarray) -> None:
    """The same for sinabs' layers, which take whole sequences: (B, T, *shape), or (B*T, *shape) where squeezed."""
    held = {path: module for path, module in root.named_modules() if sinabs.is_neuron(module)}
    squeezed = {sinabs.is_squeezed(module) for module in held.values()}
    if len(squeezed) > 1 or any(is_neuron(module) for module in root.modules()):
        raise Refused(ROOT, "mixes neurons that take one step, (B, T, ...) and (B*T, ...); use one kind")
    seen: dict[str, Any] = {}
    for path, module in held.items():
        vars(module).update(batch_size=len(x), num_timesteps=STEPS)
        # sinabs' spikes are float32, which a float64 layer after them would not take
        module.register_forward_hook(lambda _, __, output, path=path: seen.setdefault(path, output.double()))
    entering = torch.from_numpy(np.repeat(x[:, None], STEPS, axis=1))
    try:
        with torch.no_grad():
            found = root(entering.flatten(0, 1) if True in squeezed else entering)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInput(ROOT, f"does not run on the example, repeated {STEPS} times: {reason}") from error

    def at(output: Any, step: int) -> Any:
        if not isinstance(output, Tensor) or output.numel() % (len(x) * STEPS):
            raise Refused(ROOT, "gives no stream over time on the example, repeated")
        return output.unflatten(0, (len(x), -1))[:, step] if True in squeezed else output[:, step]

    stepper = Stepper(built.program, len(x))
    for step in range(STEPS):
        streams = stepper.step(x)
        for path, stream in built.neurons.items():
            if stream in streams:
                _compare(path, step, at(seen[path], step), streams[stream], 0.0)
        output = streams[built.program.output]
        _compare(ROOT, step, at(found, step), output, RELATIVE * max(1.0, np.abs(output).max()))


def _to_float64(root: nn.Module) -> None:
    """Every number of ``root`` in float64 on the CPU, every neuron at rest and its spikes in float64 too."""
    for module in root.modules():
        if sinabs.is_neuron(module):
            _hold_alphas(module)
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(parameter.detach().cpu().double(), requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.cpu().double() if buffer.is_floating_point() else buffer.cpu()
        if is_neuron(module):
            states = module._buffers.keys() & {"mem", "syn", "spk"}
            module._buffers.update(dict.fromkeys(states, torch.zeros(0).double()))
            # snnTorch's spikes are float32, which a float64 layer after them would not take
            step = vars(module)["spike_grad"]
            vars(module)["spike_grad"] = lambda shifted, step=step: step(shifted).double()


def _hold_alphas(module: Any) -> None:
    """Let a sinabs neuron, at rest, use the decays of its own dtype in float64 too."""
    decays = zip(("alpha_mem", "alpha_syn"), sinabs.alphas(module), strict=True)
    module.train_alphas = True
    for name, decay in decays:
        module._parameters[name] = None if decay is None else nn.Parameter(decay.clone(), requires_grad=False)
    module._buffers.update(dict.fromkeys(module._buffers, torch.zeros(0)))


def _compare(where: str, step: int, found: Any, expected: np.ndarray, tolerance: float) -> None:
    while isinstance(found, tuple | list):
        found = found[0]
    theirs = found.numpy()
    if theirs.shape != expected.shape:
        raise Refused(where, f"gives {theirs.shape} on the example, and the program {expected.shape}")
    wrong = np.count_nonzero(~(np.abs(theirs - expected) <= tolerance))
    if wrong:
        raise Refused(
            where,
            f"and the program made of it differ in {wrong} of {expected.size} values at step {step} of the example: "
            "its forward does what can't be seen in it, or a membrane is within rounding of its threshold",
        )
