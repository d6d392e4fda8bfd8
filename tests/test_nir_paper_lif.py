"""The single neuron of the NIR paper: each platform's published spikes and potentials, by the rule behind them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from convert.formats.nir.reading import Rules, read
from spikestrip.execution import Stepper

DATA = Path(__file__).parent / "data" / "nir-paper-lif"


@dataclasses.dataclass
class Platform:
    """delay: steps by which its spikes come later; late: the same of its potential; scale: unit of its potential."""

    rules: Rules
    delay: int = 0
    late: int = 0
    scale: float = 1.0
    tolerance: float = 1e-4


EULER, EXACT = Rules(reset="hard"), Rules(integrate="exponential", reset="hard")
IMPULSE = Rules(integrate="impulse", reset="soft", compare="ge")
PLATFORMS = {
    "exact": Platform(EXACT),
    "nengo": Platform(EXACT, scale=10),
    "norse": Platform(EULER),
    "snntorch": Platform(EULER, scale=25),
    "spinnaker2": Platform(EULER, scale=25, tolerance=2e-2),
    "lava_cpu_float": Platform(EULER, delay=1, late=1),
    "lava_cpu_fixed": Platform(EULER, delay=1, late=1, scale=16000, tolerance=15),
    "lava_loihi_fixed": Platform(EULER, delay=1, late=1, scale=16000, tolerance=15),
    "spyx": Platform(EULER, delay=1),
    "rockpool": Platform(IMPULSE),
    "sinabs": Platform(IMPULSE),
}


def published(platform: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Input spikes, potential and output spikes of the 1,000 steps."""
    x = np.loadtxt(DATA / "lif_norse.csv", delimiter=",")[:, 0]
    _, potential, spikes = np.loadtxt(DATA / f"lif_{platform}.csv", delimiter=",").T
    return x, potential, spikes


def run(rules: Rules, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Our spikes, and the potential after each step."""
    stepper = Stepper(read(DATA / "lif_norse.nir", rules), 1)
    name = stepper.program.output
    spikes, potential = np.empty((2, len(x)))
    for t, value in enumerate(x):
        spikes[t] = stepper.step(np.full((1, 1), value))[name].item()
        potential[t] = stepper.state[name]["u"].item()
    return spikes, potential


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_platform_by_its_rule(platform: str) -> None:
    row = PLATFORMS[platform]
    x, their_potential, their_spikes = published(platform)
    spikes, potential = run(row.rules, x)
    fired = np.flatnonzero(their_spikes)
    assert len(fired) == 4
    np.testing.assert_array_equal(np.flatnonzero(spikes) + row.delay, fired)
    # around its spikes each platform writes down another moment; up to the first one all must say the same
    before = fired[0] - 1
    ours = row.scale * potential[: before - row.late]
    np.testing.assert_allclose(their_potential[row.late : before], ours, atol=row.tolerance)


def test_three_groups() -> None:
    """The delay alone sets Lava, Loihi and Spyx apart; the update alone sets Rockpool and Sinabs apart."""
    x, _, _ = published("exact")
    groups: dict[tuple[int, ...], set[str]] = {}
    for platform, row in PLATFORMS.items():
        fired = np.flatnonzero(run(row.rules, x)[0])
        groups.setdefault(tuple(fired + row.delay), set()).add(platform)
    late = {"lava_cpu_float", "lava_cpu_fixed", "lava_loihi_fixed", "spyx"}
    assert groups == {
        (450, 500, 710, 760): {"rockpool", "sinabs"},
        (461, 511, 711, 761): late,
        (460, 510, 710, 760): set(PLATFORMS) - late - {"rockpool", "sinabs"},
    }


@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("compare", ["ge", "gt"])
@pytest.mark.parametrize(
    ("integrate", "first"), [("euler", [460, 510]), ("exponential", [460, 510]), ("impulse", [450, 500])]
)
def test_neither_reset_nor_comparison_matters_here(integrate: str, first: list[int], reset: str, compare: str) -> None:
    x, _, _ = published("exact")
    spikes, _ = run(Rules(integrate=integrate, reset=reset, compare=compare), x)  # type: ignore[arg-type]
    assert np.flatnonzero(spikes).tolist() == [*first, 710, 760]


@pytest.mark.parametrize("platform", ["lava_cpu_fixed", "lava_loihi_fixed"])
def test_fixed_point_to_the_last_bit(platform: str) -> None:
    """Lava's integers written out: decay 163/4096, weight 10 << 6, threshold 1600, potential read one step later."""
    x, their_potential, their_spikes = published(platform)
    v = 0
    for t in range(len(x) - 1):
        v = (v * (4096 - 163) >> 12) + 640 * int(x[t])
        assert their_spikes[t + 1] == (v > 1600)
        if v > 1600:
            v = 0
        elif t < 458:
            assert their_potential[t + 1] == v
