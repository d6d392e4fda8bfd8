"""What a forward calls besides its layers: sums, factors, views, and torch.nn.functional."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from convert.modules import layers
from convert.modules.arrays import array, fitted
from convert.modules.nodes import called
from spikestrip.errors import Refused
from spikestrip.operations import Affine, Flatten, Join, Operation, Pad, Reshape, Scale, Shape


@dataclasses.dataclass(frozen=True)
class Constant:
    """A tensor that doesn't depend on the input, in float64 or complex128 where it isn't whole numbers."""

    tensor: Tensor


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The shape of a stream, its batch first, which has no number."""

    step: Shape


@dataclasses.dataclass(frozen=True)
class Batch:
    """How many samples there are."""


Value = str | Constant | Sizes | Batch | int | torch.dtype


class Walk(Protocol):
    """What building.py keeps of the graph."""

    def value(self, node: fx.Node) -> Any: ...

    def stream(self, where: str, value: Any) -> str: ...

    def shape(self, stream: str) -> Shape: ...

    def add(self, name: str, made: Sequence[Operation], *inputs: str) -> str: ...


def call(walk: Walk, where: str, name: str, node: fx.Node) -> Value:
    """What the function or method of ``node`` gives; ``name`` is for the layers that it becomes.

    Raises Refused(where, reason) for a function that no operation says.
    """
    if is_constant(walk, node):
        return _folded(walk, where, node)
    if node.target in MODULES:
        names, kind = MODULES[node.target]
        source, *given = arguments(where, node, ("input", *names))
        options = {key: value for key, value in zip(names, given, strict=True) if value is not None}
        training = options.pop("training", None)
        options.pop("inplace", None)  # convert.modules.in_place has seen to it
        try:
            made = kind(**options)
        except (TypeError, ValueError) as error:
            raise Refused(where, f"calls {called(node)}() with {options}: {error}") from error
        made.train(bool(training))
        stream = walk.stream(where, source)
        return walk.add(name, layers.operations(where, made, walk.shape(stream)), stream)
    if node.target in FUNCTIONS:
        return FUNCTIONS[node.target](walk, where, name, node)
    raise Refused(where, f"calls {called(node)}() in its forward; {WAYS_OUT.get(called(node), KNOWN)}")


def is_constant(walk: Walk, node: fx.Node) -> bool:
    """True for a call that depends on nothing but constants."""
    return bool(node.all_input_nodes) and all(
        isinstance(walk.value(each), Constant | int | torch.dtype) for each in node.all_input_nodes
    )


KNOWN = (
    "known are layers, a + b, a - b, c * a, views, cat, and of torch.nn.functional linear, pooling, dropout, relu, "
    "gelu, layer_norm and pad"
)

WAYS_OUT = {
    "softmax": "leave it out: the largest output stays the largest",
    "log_softmax": "leave it out: the largest output stays the largest",
    "mean": "a mean over axes is an AdaptiveAvgPool, or a Linear of equal weights; one over time stands outside",
    "interpolate": "nn.Upsample with mode='nearest' is known",
    "stack": "streams of one step are joined by cat; steps of a loop are made outside, `net(x[:, t])`",
    "repeat": "give the module without its loop over time, one step in each call",
    "permute": "no operation exchanges axes; let the example come as the first layer needs it",
    "transpose": "no operation exchanges axes; let the example come as the first layer needs it",
}


def arguments(where: str, node: fx.Node, names: tuple[str, ...]) -> list[Any]:
    """What ``node`` is called with, by the names of the callee's parameters; None for those left out."""
    given = dict(zip(names, node.args, strict=False)) | node.kwargs
    if len(node.args) > len(names) or not given.keys() <= set(names):
        raise Refused(where, f"calls {node.name} with more than {', '.join(names)}")
    return [given.get(name) for name in names]


def _folded(walk: Walk, where: str, node: fx.Node) -> Constant | int | torch.dtype:
    def known(each: fx.Node) -> Any:
        value = walk.value(each)
        return value.tensor if isinstance(value, Constant) else value

    args, kwargs = fx.node.map_arg((node.args, node.kwargs), known)
    try:
        with torch.no_grad():
            if node.op == "call_method":
                made = getattr(args[0], str(node.target))(*args[1:], **kwargs)
            else:
                made = node.target(*args, **kwargs)  # type: ignore[operator]
    except Exception as error:
        raise Refused(where, f"calls {called(node)}() on its parameters, which fails: {error}") from error
    if isinstance(made, int | torch.dtype):
        return made
    if not isinstance(made, Tensor):
        raise Refused(where, f"calls {called(node)}() on its parameters, which gives a {type(made).__name__}")
    return Constant(made)


def _sum(walk: Walk, where: str, name: str, node: fx.Node) -> str:
    terms = [walk.stream(where, term) for term in arguments(where, node, ("input", "other"))]
    return walk.add(name, [Join()], *terms)


def _difference(walk: Walk, where: str, name: str, node: fx.Node) -> str:
    first, second = (walk.stream(where, term) for term in arguments(where, node, ("input", "other")))
    return walk.add(name, [Join()], first, _scaled(walk, where, f"{name}_minus", second, torch.tensor(-1.0)))


def _negative(walk: Walk, where: str, name: str, node: fx.Node) -> str:
    return _scaled(walk, where, name, walk.stream(where, node.args[0]), torch.tensor(-1.0))


def _product(walk: Walk, where: str, name: str, node: fx.Node) -> str:
    first, second = arguments(where, node, ("input", "other"))
    a, b = _constant(walk, first), _constant(walk, second)
    if a is None and b is None:
        raise Refused(where, "multiplies two streams, which no operation says; a factor that is a parameter is known")
    factor, source = (b, first) if a is None else (a, second)
    assert factor is not None
    return _scaled(walk, where, name, walk.stream(where, source), factor)


def _quotient(walk: Walk, where: str, name: str, node: fx.Node) -> str:
    source, divisor = arguments(where, node, ("input", "other"))
    by = _constant(walk, divisor)
    if by is None:
        raise Refused(where, "divides by a stream, which no operation says; a divisor that is a parameter is known")
    return _scaled(walk, where, name, walk.stream(where, source), 1 / by)


def _constant(walk: Walk, value: Any) -> Tensor | None:
    if isinstance(value, fx.Node):
        value = walk.value(value)
    if isinstance(value, Constant):
        return value.tensor
    return torch.tensor(value, dtype=torch.float64) if isinstance(value, int | float) else None


def _scaled(walk: Walk, where: str, name: str, stream: str, factor: Tensor) -> str:
    return walk.add(name, [Scale(fitted(where, "factor", factor, walk.shape(stream)))], stream)


def _flatten(walk: Walk, where: str, name: str, node: fx.Node) -> str:
    source, *axes = arguments(where, node, ("input", "start_dim", "end_dim"))
    start, end = (default if axis is None else axis for axis, default in zip(axes, (0, -1), strict=True))
    stream = walk.stream(where, source)
    made = layers.flatten(where, walk.shape(stream), start, end)
    return walk.add(name, [] if made is None else [made], stream)


def _view(walk: Walk, where: str, name: str, node: fx.Node) -> str:
    stream = walk.stream(where, node.args[0])
    given = node.args[1:] or tuple(node.kwargs.values())
    sizes = list(given[0] if len(given) == 1 and isinstance(given[0], tuple | list) else given)
    sizes = [walk.value(size) if isinstance(size, fx.Node) else size for size in sizes]
    if len(sizes) == 1 and isinstance(sizes[0], Sizes):
        sizes = [Batch(), *sizes[0].step]
    before, step = walk.shape(stream), sizes[1:]
    if not sizes or not all(isinstance(size, int) for size in step):
        raise Refused(where, f"calls {called(node)}() with sizes that are not known numbers")
    if step.count(-1) == 1 and isinstance(sizes[0], Batch):
        rest = -math.prod(step)
        step[step.index(-1)] = math.prod(before) // rest if rest > 0 else -1
    if not isinstance(sizes[0], Batch) and sizes[0] != -1:
        raise Refused(where, f"calls {called(node)}() with {sizes[0]} for the batch; x.shape[0] or -1 is known")
    if not step or min(step) < 1 or math.prod(step) != math.prod(before):
        raise Refused(where, f"calls {called(node)}() so that samples of shape {before} don't stay apart")
    return _reshaped(walk, name, stream, tuple(step))


def _reshaped(walk: Walk, name: str, stream: str, shape: Shape) -> str:
    if shape == walk.shape(stream):
        return stream
    return walk.add(name, [Flatten() if len(shape) == 1 else Reshape.to(shape)], stream)


def _unsqueeze(walk: Walk, where: str, name: str, node: fx.Node) -> str:
    source, axis = arguments(where, node, ("input", "dim"))
    stream = walk.stream(where, source)
    shape = walk.shape(stream)
    at = axis if axis >= 0 else axis + len(shape) + 2
    if at < 1:
        raise Refused(where, "calls unsqueeze() before the batch, where axis 0 stays")
    return _reshaped(walk, name, stream, (*shape[: at - 1], 1, *shape[at - 1 :]))


def _squeeze(walk: Walk, where: str, name: str, node: fx.Node) -> str:
    source, axis = arguments(where, node, ("input", "dim"))
    stream = walk.stream(where, source)
    shape = walk.shape(stream)
    at = None if not isinstance(axis, int) else (axis if axis >= 0 else axis + len(shape) + 1)
    if at is None or at < 1:
        raise Refused(where, "calls squeeze() without an axis, or on the batch: name one axis after it")
    kept = shape if shape[at - 1] != 1 else (*shape[: at - 1], *shape[at:])
    if not kept:
        raise Refused(where, "calls squeeze() on the only axis of a step")
    return _reshaped(walk, name, stream, kept)


def _cat(walk: Walk, where: str, name: str, node: fx.Node) -> str:
    """Each stream with zeros where the others are, and all added: x + 0 does not round."""
    parts, axis = arguments(where, node, ("tensors", "dim"))
    if not isinstance(parts, tuple | list):
        raise Refused(where, "calls cat() on something else than a list of streams")
    streams = [walk.stream(where, part) for part in parts]
    shapes = [walk.shape(stream) for stream in streams]
    at = (axis or 0) + (len(shapes[0]) + 1 if (axis or 0) < 0 else 0) - 1
    if at < 0 or any(len(shape) <= at for shape in shapes):
        raise Refused(where, f"calls cat() along axis {axis or 0}; name one after the batch")
    sizes = [shape[at] for shape in shapes]
    placed = []
    for number, stream in enumerate(streams):
        before, after = sum(sizes[:number]), sum(sizes[number + 1 :])
        placed.append(walk.add(f"{name}_{number}", [Pad(at, before, after)] if before + after else [], stream))
    return walk.add(name, [Join()], *placed)


def _size(walk: Walk, where: str, name: str, node: fx.Node) -> Value:
    source, axis = arguments(where, node, ("input", "dim"))
    sizes = Sizes(walk.shape(walk.stream(where, source)))
    return sizes if axis is None else _size_of(where, sizes, axis)


def _attribute(walk: Walk, where: str, name: str, node: fx.Node) -> Value:
    source, attribute = node.args[:2]
    if attribute != "shape":
        raise Refused(where, f"reads {attribute!r} of a value; its shape alone is known")
    return Sizes(walk.shape(walk.stream(where, source)))


def _size_of(where: str, sizes: Sizes, axis: Any) -> Value:
    whole: tuple[Value, ...] = (Batch(), *sizes.step)
    if not isinstance(axis, int) or axis not in range(-len(whole), len(whole)):
        raise Refused(where, f"reads item {axis!r} of a shape of {len(whole)} axes")
    return whole[axis]


def item(where: str, sizes: Sizes, axis: Any) -> Value:
    """``sizes[axis]``."""
    return _size_of(where, sizes, axis)


def _linear(walk: Walk, where: str, name: str, node: fx.Node) -> str:
    source, weight, bias = arguments(where, node, ("input", "weight", "bias"))
    matrix, shift = _constant(walk, weight), None if bias is None else _constant(walk, bias)
    if matrix is None or (bias is not None and shift is None):
        raise Refused(where, "calls linear() with weights that are no parameters of its own")
    held = array(where, "weight", matrix), None if shift is None else array(where, "bias", shift)
    return walk.add(name, [Affine(*held)], walk.stream(where, source))


def _layer_norm(walk: Walk, where: str, name: str, node: fx.Node) -> str:
    names = ("input", "normalized_shape", "weight", "bias", "eps")
    source, shape, weight, bias, eps = arguments(where, node, names)
    norm: Any = nn.LayerNorm(shape, 1e-5 if eps is None else eps, elementwise_affine=False)
    held = (_constant(walk, value) for value in (weight, bias))
    norm.weight, norm.bias = (None if value is None else nn.Parameter(value) for value in held)
    stream = walk.stream(where, source)
    return walk.add(name, layers.operations(where, norm, walk.shape(stream)), stream)


def _pad(walk: Walk, where: str, name: str, node: fx.Node) -> str:
    source, sides, mode, value = arguments(where, node, ("input", "pad", "mode", "value"))
    if mode not in (None, "constant"):
        raise Refused(where, f"pads with {mode!r}; only zeros are known")
    stream = walk.stream(where, source)
    return walk.add(name, layers.padded(where, sides, value or 0, walk.shape(stream)), stream)


def _clamp(walk: Walk, where: str, name: str, node: fx.Node) -> str:
    source, low, high = arguments(where, node, ("input", "min", "max"))
    if not all(bound is None or isinstance(bound, int | float) for bound in (low, high)):
        raise Refused(where, "calls clamp() with bounds that are no numbers")
    bounds = (None if bound is None else float(bound) for bound in (low, high))
    return walk.add(name, [layers.Clamp(*bounds)], walk.stream(where, source))


WINDOW = ("kernel_size", "stride", "padding")
MAXIMUM = (*WINDOW, "dilation", "ceil_mode", "return_indices")
DROPPED = ("p", "training", "inplace")

MODULES: dict[Any, tuple[tuple[str, ...], Callable[..., nn.Module]]] = {
    functional.max_pool1d: (MAXIMUM, nn.MaxPool1d),
    functional.max_pool2d: (MAXIMUM, nn.MaxPool2d),
    functional.avg_pool1d: ((*WINDOW, "ceil_mode", "count_include_pad"), nn.AvgPool1d),
    functional.avg_pool2d: ((*WINDOW, "ceil_mode", "count_include_pad", "divisor_override"), nn.AvgPool2d),
    functional.adaptive_avg_pool1d: (("output_size",), nn.AdaptiveAvgPool1d),
    functional.adaptive_avg_pool2d: (("output_size",), nn.AdaptiveAvgPool2d),
    functional.adaptive_max_pool1d: (("output_size", "return_indices"), nn.AdaptiveMaxPool1d),
    functional.adaptive_max_pool2d: (("output_size", "return_indices"), nn.AdaptiveMaxPool2d),
    functional.gelu: (("approximate",), nn.GELU),
    functional.glu: (("dim",), nn.GLU),
    functional.relu: (("inplace",), nn.ReLU),
    functional.relu6: (("inplace",), nn.ReLU6),
    torch.relu: ((), nn.ReLU),
    "relu": ((), nn.ReLU),
    functional.dropout: (DROPPED, nn.Dropout),
    functional.dropout2d: (DROPPED, nn.Dropout2d),
    torch.dropout: (("p", "train"), lambda p=0.5, train=False: nn.Dropout(p).train(train)),
}
"""Functions that have a layer of the same meaning: parameters after the input, and the layer."""

FUNCTIONS: dict[Any, Callable[[Walk, str, str, fx.Node], Value]] = {
    **dict.fromkeys((operator.add, torch.add, "add"), _sum),
    **dict.fromkeys((operator.sub, torch.sub, "sub"), _difference),
    **dict.fromkeys((operator.mul, torch.mul, "mul"), _product),
    **dict.fromkeys((operator.truediv, torch.div, "div"), _quotient),
    **dict.fromkeys((operator.neg, torch.neg, "neg"), _negative),
    **dict.fromkeys((torch.flatten, "flatten"), _flatten),
    **dict.fromkeys((torch.reshape, "reshape", "view", "view_as"), _view),
    **dict.fromkeys((torch.unsqueeze, "unsqueeze"), _unsqueeze),
    **dict.fromkeys((torch.squeeze, "squeeze"), _squeeze),
    **dict.fromkeys((torch.cat, torch.concat), _cat),
    **dict.fromkeys((torch.clamp, torch.clip, "clamp", "clip"), _clamp),
    "size": _size,
    getattr: _attribute,
    functional.linear: _linear,
    functional.layer_norm: _layer_norm,
    functional.pad: _pad,
}
