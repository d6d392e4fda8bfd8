"""One side, judged by the program on its own history: which of its decisions contradict it, and why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from deploy.verification import replay as replaying
from deploy.verification.bounds import NOTABLE, Arithmetic
from deploy.verification.causes import CODE
from deploy.verification.hypotheses import explain_path
from deploy.verification.layer_faults import explain
from deploy.verification.outputs import Stated
from deploy.verification.replay import ROWS, Deciding, Replay, Spikes, deciding, entering
from deploy.verification.replay_over import replay_over
from deploy.verification.side import Side
from deploy.verification.systematic import systematic
from simulators.shards import Over
from spikestrip import ledger
from spikestrip.operations import UNBOUNDED, MultiSpikeIF
from spikestrip.program import Program

EXACT = ("scan", "block", "bptt", "draw")
"""The parallel forms that give the iterative neuron's spikes."""
MANY = 12  # ties: by chance all go one way once in 2^12
HYPOTHESIS_VALUES = 1 << 20  # values of one layer on which other neurons are tried


class Judged:
    """The replay of one side, and in ``codes`` the cause of each of its ``Decisions`` (0 where it is right).

    asked: layer -> (n,) rising positions in the flattened spikes: the decisions to look at although they may be right.
    twin: another side of the same spikes, which the same replay serves; done: the side whose twin this is; over: who
    replays the samples.
    ``stated``: what the side states beside its spikes, held against the replay.
    ``against``: of a side with a program of its own, the same decisions judged by the program that it stands for.
    ``failures`` has a sentence on each fault, ``notes`` what could not be judged.
    """

    def __init__(
        self,
        side: Side,
        program: Program,
        asked: Spikes,
        twin: Side | None = None,
        done: Judged | None = None,
        over: Over = map,
    ) -> None:
        self.side = side
        self.program = program
        self.against: Judged | None = None
        self.failures: list[str] = []
        self.notes: list[str] = []
        self.operations: dict[str, Deciding] = deciding(program, side.trains)
        self.sizes = {name: math.prod(program.shapes[name]) for name in self.operations}
        arithmetic = None if side.unit is None else Arithmetic(side.dtype, side.unit, side.form == "parallel")
        self.stated: Stated = done.twin if done and done.twin else Stated(side, program)
        self.twin: Stated | None = Stated(twin, program) if twin else None
        self.replay: Replay = (
            done.replay
            if done
            else replay_over(
                over, program, side.trace.input, side.trains, asked, side.saturates_at, arithmetic, self._look
            )
        )
        self.decisions = self.replay.decisions
        self.errors = self._errors()
        self.codes = {name: self._code(name) for name in self.operations}
        if side.parallel in EXACT:
            self._decided_ties()

    def _look(self, samples: slice, output: np.ndarray, events: ledger.Events) -> None:
        for stated in (self.stated, self.twin):
            if stated is not None:
                stated.look(samples, output, events)

    def _errors(self) -> dict[str, np.ndarray | None]:
        side = self.side
        if side.unit is None:
            self.notes.append(f"{side.role}: no rounding bound is known for dtype {side.dtype!r}")
            return dict.fromkeys(self.program.shapes)
        errors = self.replay.bounds
        for name, error in errors.items():
            if error is None:
                self.notes.append(f"{side.role}, layer {name}: no rounding bound is known on the way to it")
            elif name in self.operations and (share := self.bound_share(name)) > NOTABLE:
                self.notes.append(
                    f"{side.role}, layer {name}: the rounding bound reaches {100 * share:.2g}% of the threshold"
                )
        return errors

    def bound(self, name: str) -> np.ndarray:
        """(N,) largest bound on how far u' was from the float64 replay; 0 where none is known."""
        error = self.errors[name]
        return np.zeros(self.sizes[name]) if error is None else np.ravel(error)

    def bound_share(self, name: str) -> float:
        """The largest bound of a decision in the side's own arithmetic, over what u' must reach; of p - r over 1."""
        level = self.replay.level[name]
        return float((self.replay.running[name] / np.where(level > 0, level, 1)).max())

    def margins(self, name: str) -> np.ndarray:
        """|u' - vth| of each decision."""
        return np.abs(self.decisions[name].exact)

    def _code(self, name: str) -> np.ndarray:
        """The cause of every decision that contradicts the program; "unexplained" until a fault is found."""
        side, decisions, margin = self.side, self.decisions[name], self.margins(name)
        code = np.full(
            decisions.keys.shape, CODE[side.declared or ("undeclared" if side.undeclared else "unexplained")]
        )
        if side.saturates_at is not None and not side.undeclared:
            code[decisions.saturated] = CODE["saturation"]
        uncertain = decisions.bound > 0
        excused = ~decisions.contradicts | (uncertain & (np.abs(decisions.excess) <= decisions.bound))
        code[excused & (self.errors[name] is not None)] = CODE["rounding"]
        if (
            side.unit is not None and side.declared is None
        ):  # a tie in the side's own arithmetic, where nothing else rounds
            code[decisions.contradicts & ~uncertain & (decisions.excess == 0)] = CODE["comparison"]
        if side.unit is not None:
            code[margin == 0] = CODE["tie"]
        code[~decisions.wrong] = 0
        self._systematic(name, code)
        if side.form == "iterative" and side.declared is None and side.unit is not None:
            self._exact_ties(name, code)
        return code

    def _systematic(self, name: str, code: np.ndarray) -> None:
        """Take the excuse from decisions that don't look like rounding."""
        measured = self.replay.measured
        if measured is None or self.side.unit is None:
            return
        decisions = self.decisions[name]
        excused = np.flatnonzero((code == CODE["rounding"]) & decisions.contradicts)
        neurons = decisions.keys[excused] % self.sizes[name]
        excess, recent = decisions.excess[excused], decisions.recent[excused]
        compared = np.abs(decisions.potentials[excused]) + self.replay.level[name][neurons]
        if self.side.form == "parallel":  # an FFT's error has no time
            recent = np.full(recent.shape, measured[name])
            compared = np.full(recent.shape, self.replay.largest[name])
        sentence = systematic(excess, neurons, recent, 4 * self.side.unit * compared) if excused.size else None
        if sentence:
            code[excused] = CODE[self.side.declared or "systematic"]
            if self.side.declared is None:
                self._fail("systematic", name, excused.size, sentence)

    def _decided_ties(self) -> None:
        """An exact parallel form owes its ties too: where nothing on the way rounds, or where it decides every one of
        many against the program. Rounding would decide half of them each way."""
        tied = {name: code == CODE["tie"] for name, code in self.codes.items()}
        wrong = sum(int(np.count_nonzero(here)) for here in tied.values())
        always = wrong >= MANY and wrong == sum(self.replay.ties.values())
        for name, here in tied.items():
            if always or not self.decisions[name].bound[here].any():
                self.codes[name][here] = CODE["comparison"]

    def _exact_ties(self, name: str, code: np.ndarray) -> None:
        """A tie that holds in the side's own arithmetic and in a finer one is no matter of rounding: >= decides it.

        Samples are looked at until one such tie is found; one is proof, and the rest take its name.
        """
        tied = np.flatnonzero(code == CODE["tie"])
        steps, size = self.side.trains[name].shape[1:]
        keys = self.decisions[name].keys[tied]
        samples = np.unique(keys // (steps * size))
        exact = np.zeros(tied.size, bool)
        double = self.side.dtype == "float64"
        for start in range(0, samples.size, ROWS):
            rows = samples[start : start + ROWS]
            here = np.isin(keys // (steps * size), rows)
            within = (
                np.searchsorted(rows, keys[here] // (steps * size)),
                keys[here] // size % steps,
                keys[here] % size,
            )
            exact[here] = True
            for dtype in (np.float64, np.longdouble) if double else (np.float32, np.float64):
                exact[here] &= self._margins(name, rows, dtype)[within] == 0
            if exact.any():
                exact[keys // (steps * size) > rows[-1]] = True
                break
        code[tied] = np.where(exact, CODE["comparison"], CODE["rounding" if double else "tie"])

    def _margins(self, name: str, rows: np.ndarray, dtype: type) -> np.ndarray:
        """u' - vth (rows, T, N) of one layer in the arithmetic of ``dtype``."""
        received, fired = self.received([name], rows, dtype)[name]
        operation = self.operations[name].bind(lambda array: array.astype(dtype))
        fired = fired.astype(dtype)
        if operation.drawn_from() is not None:  # by the sample's number
            each = [operation.at_sample(int(row)) for row in rows]
            margins = np.concatenate(
                [replaying.decisions(one, received[[i]], fired[[i]])[0] for i, one in enumerate(each)]
            )
        else:
            margins, _ = replaying.decisions(operation, received, fired)
        return margins.reshape(*margins.shape[:2], -1)

    def received(
        self, names: Iterable[str], rows: np.ndarray, dtype: type = np.float64
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Layer -> what entered it and what it fired, (rows, T, *shape) each."""
        spikes = {layer: train[rows] for layer, train in self.side.trains.items()}
        received = entering(self.program, self.side.trace.input[rows], spikes, names, dtype)
        return {name: (values, spikes[name].reshape(values.shape)) for name, values in received.items()}

    def contradict(self, wrong: Spikes) -> None:
        """Decisions, of those that were asked for, that the side's own form doesn't make: layer -> positions."""
        for name, keys in wrong.items():
            self.codes[name][self.decisions[name].at(keys)] = CODE["unexplained"]

    def undeclare(self) -> None:
        """Take the excuse of a declaration that lacks what it was computed with."""
        for code in self.codes.values():
            code[code == CODE[self.side.declared or "undeclared"]] = CODE["undeclared"]

    def codes_at(self, name: str, keys: np.ndarray) -> np.ndarray:
        """The cause of each of these decisions: a fault by its own program, else what the one it stands for says."""
        own = self.codes[name][self.decisions[name].at(keys)]
        if self.against is None:
            return own
        other = self.against.codes[name][self.against.decisions[name].at(keys)]
        if not _has_floor(self.against.operations[name]):  # which a membrane of 16 bits has all the same
            ended = self.decisions[name].saturated[self.decisions[name].at(keys)]
            other = np.where(ended & (other == CODE["quantisation"]), CODE["saturation"], other)
        return np.where(own > CODE["rounding"], own, np.maximum(own, other))

    def contradictions(self) -> list[np.ndarray]:
        """The causes of all contradictions, layer by layer; those of ``against`` where its own program finds none."""
        codes = list(self.codes.values())
        if self.against is not None:
            for name, other in self.against.codes.items():
                wrong = self.decisions[name].keys[self.codes[name] > 0]
                codes.append(other[~np.isin(self.against.decisions[name].keys, wrong)])
        return codes

    def beyond_rounding(self) -> int:
        """Contradictions that rounding doesn't explain."""
        return sum(int(np.count_nonzero(code > CODE["rounding"])) for code in self.codes.values())

    def rename(self, fault: str) -> None:
        """Give every contradiction that rounding doesn't explain one name."""
        for code in self.codes.values():
            code[code > CODE["rounding"]] = CODE[fault]

    def find_faults(self) -> None:
        """Name the fault of each layer that holds decisions nothing excuses."""
        guilty = {name: np.flatnonzero(code == CODE["unexplained"]) for name, code in self.codes.items()}
        guilty = {name: wrong for name, wrong in guilty.items() if wrong.size}
        undeclared = sum(int(np.count_nonzero(code == CODE["undeclared"])) for code in self.codes.values())
        if undeclared:
            self.failures.append(f"undeclared: {self.side.role}: {undeclared} decisions; {self.side.advice}")
        for name, code in self.codes.items():
            ties = int(np.count_nonzero(code == CODE["comparison"]))
            if ties and name not in guilty:
                said = "all exactly at the threshold, where the program decides otherwise"
                self._fail("comparison", name, ties, said)
        for names, rows in self._chosen_samples(guilty).items():
            for name, (received, fired) in self.received(names, rows).items():
                bound = self.bound(name).reshape(received.shape[2:])
                fault, sentence = explain(self.operations[name], received, fired, bound)
                if fault == "unexplained" and self._steady(name):
                    trace = self.side.trace
                    found = explain_path(self.program, name, trace.input, self.side.trains, rows, bound)
                    fault, sentence = found or (fault, sentence)
                self._fail(fault, name, guilty[name].size, f"{sentence} (tried on {len(rows)} samples)")
                code = self.codes[name]
                code[code >= CODE["comparison"]] = CODE[fault]

    def _steady(self, name: str) -> bool:
        """True when every decision of a layer follows from what it received: nothing is drawn, or excused."""
        return self.side.declared is None and self.operations[name].drawn_from() is None

    def _chosen_samples(self, guilty: Mapping[str, np.ndarray]) -> dict[tuple[str, ...], np.ndarray]:
        """The layers to explain and the samples to do it on, those with wrong decisions first."""
        if not guilty:
            return {}
        shapes = {name: self.side.trains[name].shape for name in guilty}
        samples = [self.decisions[name].keys[wrong] // np.prod(shapes[name][1:]) for name, wrong in guilty.items()]
        rows = np.unique(np.concatenate(samples))
        rows = np.concatenate([rows, np.setdiff1d(np.arange(len(self.side.trace.input)), rows)])
        largest = max(int(np.prod(shape[1:])) for shape in shapes.values())
        return {tuple(guilty): np.sort(rows[: max(1, HYPOTHESIS_VALUES // largest)])}

    def _fail(self, fault: str, name: str, decisions: int, sentence: str) -> None:
        self.failures.append(f"{fault}: {self.side.role}, layer {name}: {decisions} decisions; {sentence}")


def _has_floor(operation: Deciding) -> bool:
    return isinstance(operation, MultiSpikeIF) and bool((operation.floor > UNBOUNDED).any())
