"""Why a layer that no operation says is refused, and the way out: one line each."""

from __future__ import annotations

from torch import nn

PAGE = "not one of the layers in docs/how-to-bring-your-own.md"

QUANTISED = (
    "is quantised: give the float network that it was made from, and let `spikestrip quantize` lower the program to "
    "a chip's integers"
)

WAYS_OUT = {
    **dict.fromkeys(("Softmax", "LogSoftmax", "Softmax2d"), "leave it out: the largest output stays the largest"),
    **dict.fromkeys(
        ("Sigmoid", "Tanh", "SiLU", "ELU", "SELU", "CELU", "LeakyReLU", "PReLU", "Softplus", "Mish", "Hardswish"),
        "train with ReLU, ReLU6, Hardtanh, GELU or GLU, which operations say",
    ),
    **dict.fromkeys(
        ("Hardsigmoid", "LogSigmoid", "Softsign", "Tanhshrink", "Softshrink", "Hardshrink", "Threshold", "RReLU"),
        "train with ReLU, ReLU6, Hardtanh, GELU or GLU, which operations say",
    ),
    **dict.fromkeys(
        ("LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"),
        "its gates are products of streams; a neuron with feedback (snntorch.RLeaky) or an ss.nn.S4D can be said",
    ),
    **dict.fromkeys(
        ("MultiheadAttention", "Transformer", "TransformerEncoderLayer", "TransformerEncoder", "TransformerDecoder"),
        "attention reads other steps than its own, and multiplies streams",
    ),
    **dict.fromkeys(
        ("Embedding", "EmbeddingBag"),
        "give one-hot input to a Linear without bias whose weight is the transpose",
    ),
    **dict.fromkeys(
        ("Conv3d", "ConvTranspose3d", "MaxPool3d", "AvgPool3d", "AdaptiveAvgPool3d", "BatchNorm3d"),
        "frames have two axes; let the third be time, one step after another",
    ),
    **dict.fromkeys(
        ("GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "LocalResponseNorm", "RMSNorm"),
        "no operation sums what it normalises by; BatchNorm, which folds, and LayerNorm of a whole step are known",
    ),
    "SyncBatchNorm": "make it a BatchNorm first: it normalises as one in eval mode",
    "Bilinear": "it multiplies two streams",
    "LPPool2d": "AvgPool2d, MaxPool2d and sinabs' SumPool2d are known",
    "FractionalMaxPool2d": "its windows are drawn at random",
    **dict.fromkeys(("ReflectionPad1d", "ReflectionPad2d", "ReplicationPad1d", "ReplicationPad2d", "CircularPad2d"),
                    "only zeros are padded with: ZeroPad, or padding_mode='zeros'"),
    **dict.fromkeys(("PixelShuffle", "PixelUnshuffle", "ChannelShuffle", "Unfold", "Fold"),
                    "no operation exchanges axes"),
    **dict.fromkeys(("DataParallel", "DistributedDataParallel"), "give its .module"),
}  # fmt: skip

LIBRARIES = {
    "spikingjelly": "IFNode, LIFNode, ParametricLIFNode and CUBALIFNode, the layers that wrap torch's, "
    "MultiStepContainer and SeqToANNContainer are known",
    "norse": "LIF, LIFBox, LI, LIBox and IAF, recurrent LIF, SequentialState and Lift are known",
    "snntorch": "Leaky, Lapicque, Synaptic, Alpha, RLeaky and RSynaptic are known",
    "sinabs": "IAF, LIF and ExpLeak, with and without Squeeze, and SumPool2d are known",
}
"""What is known of each library."""

OTHERS = {
    **dict.fromkeys(
        ("LIFRefracCell", "LIFRefracRecurrentCell", "LIFRefracRecurrent"),
        "while it is refractory it holds its potential and goes on with its current",
    ),
    **dict.fromkeys(("SLSTM", "SConv2dLSTM"), "its gates are products of streams"),
    "KLIFNode": "it clips its membrane at 0 before it fires",
    "LeakyParallel": "its membrane is clipped at 0 by an nn.RNN's ReLU, and never reset",
}
"""Why neurons of LIBRARIES can't be said."""


def reason(module: nn.Module) -> str:
    """What is said of ``module``, which is none of the layers that are known."""
    kind, home = type(module).__name__, type(module).__module__
    homes = [base.__module__ for base in type(module).__mro__]
    if any(base.split(".")[0] == "brevitas" or base.startswith("torch.ao.") or "quantized" in base for base in homes):
        return f"is a {kind}, which {QUANTISED}"
    if kind in WAYS_OUT and home.startswith("torch."):
        return f"is a {kind}, {PAGE}; {WAYS_OUT[kind]}"
    library = LIBRARIES.get(home.split(".")[0])
    if library is not None:
        why = f"no operation says it: {OTHERS[kind]}" if kind in OTHERS else "it is not known"
        return f"is a {kind} of {home.split('.')[0]}; {why}; {library}"
    return f"is a {kind}, {PAGE}"
