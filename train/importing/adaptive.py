"""The encoder and head of language models in the S4 code: AdaptiveEmbedding and ProjectedAdaptiveLogSoftmax.

The embedding is linear in the one-hot token, sqrt(H) times the row of its cluster, projected to H. Of the adaptive
softmax the network ends in its logits: one for each token, in their order, then one for each cluster of rare tokens.
Log-probabilities are made of these outside the network (docs/importing.md).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spikestrip.errors import BadInput
from train.importing.weights import Weights

EMBEDDED, PROJECTED, HEAD = "encoder.0.emb_layers.", "encoder.0.emb_projs.", "loss."


def is_adaptive(weights: Weights) -> bool:
    return f"{EMBEDDED}0.weight" in weights


def encoder_and_head(weights: Weights, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """weight (H, V) of the encoder, weight (V + clusters, H) and bias of the head; float64 where they are derived."""
    for name, value in weights.take_all("loss_val.").items():  # the same module a second time
        if not torch.equal(value, weights.left.get(HEAD + name, value.new_zeros(0))):
            raise BadInput(weights.source, f"loss_val.{name} differs from loss.{name}")
    places = range(weights.count(EMBEDDED))
    narrow = any(name.startswith(PROJECTED) for name in weights.left)  # all are projected then, or none
    tables = [weights.take(f"{EMBEDDED}{place}.weight", None, None if narrow else width) for place in places]
    projections = [weights.take(f"{PROJECTED}{i}", width, tables[i].shape[1]) if narrow else None for i in places]
    scale = math.sqrt(width)
    embedded = [_projected(table, by).double() * scale for table, by in zip(tables, projections, strict=True)]
    rows, biases, clusters = [], [], []
    for place, table in enumerate(tables):
        own = f"{HEAD}out_layers_weights.{place}"
        weight = weights.take(own, *table.shape) if own in weights else table
        own = f"{HEAD}out_projs.{place}"
        needed = own in weights or (narrow and place == 0)  # the first is never shared
        by = weights.take(own, width, table.shape[1]) if needed else projections[place]
        rows.append(_projected(weight, by))
        biases.append(weights.take(f"{HEAD}out_layers_biases.{place}", len(table)))
        if place == 0 and f"{HEAD}cluster_weight" in weights:
            clusters = [_projected(weights.take(f"{HEAD}cluster_weight", None, table.shape[1]), by)]
    biases += [weights.take(f"{HEAD}cluster_bias", len(cluster)) for cluster in clusters]
    return torch.cat(embedded).T.contiguous(), torch.cat([*rows, *clusters]), torch.cat(biases)


def _projected(table: Tensor, by: Tensor | None) -> Tensor:
    return table if by is None else table.double() @ by.double().T
