"""Layers whose weights are computed in each call (pruned, weight-normed, parametrised), as layers that hold them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from spikestrip.errors import Refused


def plain(module: nn.Module, path: str = "0") -> nn.Module:
    """``module``, in which every such layer is exchanged for one of its own class that holds the weights of now.

    Whoever calls this puts the children back (tracing.untouched). path: what a lone layer is called.
    """
    seen: dict[nn.Module, nn.Module] = {}
    for name, parent in list(module.named_modules()):
        if isinstance(parent, nn.ModuleDict | nn.ParameterList) and type(parent).__module__.startswith(
            "torch.nn.utils."
        ):
            continue
        for key, child in parent._modules.items():
            if child is not None and not parametrize.is_parametrized(parent):
                if child not in seen:
                    seen[child] = _holding(f"{name}.{key}".lstrip("."), child)
                parent._modules[key] = seen[child]
    return _holding(path, module)


def _holding(path: str, module: nn.Module) -> nn.Module:
    computed = _computed(path, module)
    if not computed:
        return module
    parametrised = parametrize.is_parametrized(module)
    kind: Any = type(module).__bases__[0] if parametrised else type(module)
    held: Any = kind.__new__(kind)
    own = {name: value for name, value in vars(module).items() if name not in computed}
    held.__dict__.update(own)
    held._parameters = dict(module._parameters)
    held._parameters.update({name: nn.Parameter(value, requires_grad=False) for name, value in computed.items()})
    held._buffers = dict(module._buffers)
    held._modules = {name: child for name, child in module._modules.items() if name != "parametrizations"}
    kept = {key: hook for key, hook in module._forward_pre_hooks.items() if not isinstance(hook, KNOWN)}
    held._forward_pre_hooks = OrderedDict(kept)
    return cast(nn.Module, held)


KNOWN = (prune.BasePruningMethod, WeightNorm, SpectralNorm)


def _computed(path: str, module: nn.Module) -> dict[str, Tensor]:
    """The tensors that hooks of torch's own, or parametrisations, put in place before each call."""
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm) and module.training:
                raise _moving(path)
            if isinstance(hook, prune.BasePruningMethod):
                found[hook._tensor_name] = hook.apply_mask(module).detach()
            elif isinstance(hook, WeightNorm):
                found[hook.name] = hook.compute_weight(module).detach()
            elif isinstance(hook, SpectralNorm):
                found[hook.name] = hook.compute_weight(module, do_power_iteration=False).detach()
        if parametrize.is_parametrized(module):
            for name, steps in module.parametrizations.items():  # type: ignore[operator, union-attr]
                if module.training and any(isinstance(step, _SpectralNorm) for step in steps):
                    raise _moving(path)
                found[name] = getattr(module, name).detach()
    return found


def _moving(path: str) -> Refused:
    return Refused(path, "has a spectral norm in training mode, which changes in each call; call eval() first")
