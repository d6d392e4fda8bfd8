"""Random spikes that every backend draws alike, bit for bit: Philox4x32-10, a counter-based generator.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. Key: the seed, 64 bits as two words, low first.
Counter, four words: (neuron, step // 4, layer, sample); of the four words that come out, number step % 4 is the draw.
Steps, neurons and samples count from 0. A neuron with firing probability p fires when

    (bits >> 8) < ceil(p * 2^24)

24 bits, so that float32 and float64 hold both sides exactly. Written with +, *, >>, & and ^ on 64-bit integers alone,
which numpy, torch and ONNX (opset 18) all have: signed ones, whose product wraps around and is masked after each
shift, or unsigned ones.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

Array = Any  # numpy.ndarray or torch.Tensor

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # what the key grows by in a round
MASK = 0xFFFFFFFF
BITS = 24

Words = tuple[Array, Array, Array, Array]


def words_of(seed: int) -> tuple[int, int]:
    """The key of a seed in 0 .. 2^64 - 1."""
    return seed & MASK, (seed >> 32) & MASK


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """Philox4x32-10: four words out for four words in. int64 arrays that hold 0 .. 2^32 - 1, of shapes that broadcast.

    A round: (c0, c1, c2, c3) -> (hi(m1*c2) ^ c1 ^ k0, lo(m1*c2), hi(m0*c0) ^ c3 ^ k1, lo(m0*c0)).
    """
    c0, c1, c2, c3 = counter
    for i in range(ROUNDS):
        k0, k1 = ((word + i * grown) & MASK for word, grown in zip(key, WEYL, strict=True))
        product0, product1 = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            ((product1 >> 32) & MASK) ^ c1 ^ k0,
            product1 & MASK,
            ((product0 >> 32) & MASK) ^ c3 ^ k1,
            product0 & MASK,
        )
    return c0, c1, c2, c3


def draw(xp: ModuleType, seed: int, layer: int, sample: Array, step: Array, neuron: Array) -> Array:
    """The 24-bit draws of samples, steps and neurons: int64 arrays, whose shapes broadcast to one dimension or more."""
    zero = 0 * (sample + step + neuron)  # all four words of the full shape: Python's and 0-d integers don't wrap around
    counter = (zero + neuron, zero + (step >> 2), zero + layer, zero + sample)
    words = philox(counter, words_of(seed))
    odd, late = step & 1, (step >> 1) & 1
    first = words[0] + late * (words[2] - words[0])
    second = words[1] + late * (words[3] - words[1])
    return (first + odd * (second - first)) >> (32 - BITS)


def draw_sequence(
    xp: ModuleType, seed: int, layer: int, sample: Array, neuron: Array, length: int, start: int = 0
) -> Array:
    """The draws of steps start .. start + length - 1 in a new last axis: all four words of a counter are used.

    sample and neuron as for ``draw``; the result has their broadcast shape and the steps behind it.
    """
    first = start // 4
    groups = xp.arange(first, (start + length + 3) // 4, dtype=sample.dtype, **_on(sample))
    zero = 0 * ((sample + neuron)[..., None] + groups)
    counter = (zero + neuron[..., None], zero + groups, zero + layer, zero + sample[..., None])
    words = xp.stack(philox(counter, words_of(seed)), axis=-1) >> (32 - BITS)
    steps = xp.reshape(words, (*words.shape[:-2], -1))
    return steps[..., start - 4 * first : start - 4 * first + length]


def fires(xp: ModuleType, draws: Array, probability: Array) -> Array:
    """Booleans: which of the draws fire at these probabilities in 0..1 (1 always fires, 0 never, NaN never)."""
    return xp.astype(draws, probability.dtype) < xp.ceil(probability * (1 << BITS))


def _on(array: Array) -> dict[str, Any]:
    """The device of a torch tensor, as a keyword."""
    return {"device": array.device} if hasattr(array, "is_cuda") else {}
