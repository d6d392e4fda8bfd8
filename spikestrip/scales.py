"""The scales of a network's integers: what a lowering chose, and what a fine-tuned network was trained with."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from spikestrip.errors import BadInput


@dataclasses.dataclass
class Scales:
    """Powers of two, and the common threshold of each layer, by the names of a program's layers.

    entry: exponent of the input. streams: layer -> e, what it sends is reals times 2^e. units: neuron -> its common
    threshold, before what floors take from it. states: SSM -> (N, H) integers e, its modes are reals times 2^e.
    words: layer -> matrix -> the exponents of its 8-bit words.
    """

    entry: int = 0
    streams: dict[str, int] = dataclasses.field(default_factory=dict)
    units: dict[str, int] = dataclasses.field(default_factory=dict)
    states: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    words: dict[str, dict[str, tuple[int, ...]]] = dataclasses.field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """As JSON takes it: ``parse`` gives it back."""
        return {
            "chip": "loihi2", "mapping": "stock", "entry": self.entry, "streams": self.streams, "units": self.units,
            "states": {name: exponents.tolist() for name, exponents in self.states.items()},
            "words": {name: {key: list(each) for key, each in made.items()} for name, made in self.words.items()},
        }  # fmt: skip

    @classmethod
    def parse(cls, content: Any) -> Scales:
        """Raises BadInput unless ``content`` is what ``json`` makes, all numbers integers that exponents can be."""
        try:
            if (content["chip"], content["mapping"]) != ("loihi2", "stock"):
                raise BadInput(
                    "scales", f"are of {content['chip']!r}, {content['mapping']!r}; this reads loihi2, stock"
                )
            scales = cls(
                _exponent(content["entry"]),
                {name: _exponent(each) for name, each in content["streams"].items()},
                {name: _unit(each) for name, each in content["units"].items()},
                {name: np.array([[_exponent(e) for e in row] for row in rows]) for name, rows in
                 content["states"].items()},
                {name: {key: tuple(_exponent(e) for e in each) for key, each in made.items()} for name, made in
                 content["words"].items()},
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput("scales", f"can't be read ({type(error).__name__}: {error})") from error
        if any(states.ndim != 2 for states in scales.states.values()):
            raise BadInput("scales", "states are not (N, H)")
        return scales


def _exponent(value: Any) -> int:
    if type(value) is not int or abs(value) > 100:
        raise ValueError(f"{value!r} is no exponent")
    return value


def _unit(value: Any) -> int:
    if type(value) is not int or not 0 < value < 1 << 15:
        raise ValueError(f"{value!r} is no threshold of 16 bits")
    return value
