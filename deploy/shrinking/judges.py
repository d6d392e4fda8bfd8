"""Who says that a case still fails for the same reason: ``verify``, or any command."""

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from convert.load import save
from deploy.shrinking.case import Case
from deploy.verification import Verdict, verify
from deploy.verification.replay import Spikes
from simulators.backends import Dtype
from simulators.run import simulate
from spikestrip import inputs
from spikestrip.errors import BadInput
from spikestrip.execution import Stepper
from spikestrip.trace import Trace

MODEL, SOURCE = "{model}", "{input}"


def faults(verdict: Verdict) -> list[str]:
    """The names with which its sentences of failure begin: those of spikes first, then of outputs and events."""
    return [sentence.split(":")[0] for sentence in verdict.failures]


@dataclasses.dataclass
class VerifyJudge:
    """Runs the last program of a case on a backend, as a run of the first, and holds it against the oracle.

    ``fault``: the name that the verdict must give; empty: any fault will do.
    """

    backend: str
    dtype: Dtype
    fault: str = ""

    def __str__(self) -> str:
        return f"verify: {self.fault or 'any fault'} on {self.backend} in {self.dtype}"

    def traces(self, case: Case) -> tuple[Trace, Trace]:
        """The oracle's run of the right program, and the run that fails."""
        reference = simulate(case.program, case.x)
        trace = simulate(case.programs[-1], case.x, self.backend, self.dtype)
        trace.attrs["program_sha256"] = case.program.sha256
        return reference, trace

    def verdict(self, case: Case) -> Verdict:
        return verify(*self.traces(case), case.program)

    def __call__(self, case: Case) -> bool:
        verdict = self.verdict(case)
        return not verdict.passed and (not self.fault or self.fault in faults(verdict))


@dataclasses.dataclass
class RecordedJudge:
    """A recorded run that can't be run again: only some of its samples, and its first steps, can be looked at alone.

    Outputs follow from the spikes that are left, so that they are not judged.
    """

    reference: Trace
    trace: Trace
    fault: str = ""

    def __str__(self) -> str:
        return f"verify: {self.fault or 'any fault'} in a recording"

    def cut(self, case: Case) -> tuple[Trace, Trace]:
        """Both recordings, as far as the case still has them: of ``rows``, the first steps."""
        rows, steps = list(case.rows or ()), case.x.shape[1]

        def one(trace: Trace) -> Trace:
            spikes = {name: train[rows, :steps] for name, train in trace.spikes.items()}
            return Trace(dict(trace.attrs), case.x, _output(case, spikes), spikes)

        return one(self.reference), one(self.trace)

    def __call__(self, case: Case) -> bool:
        verdict = verify(*self.cut(case), case.program)
        return not verdict.passed and (not self.fault or self.fault in faults(verdict))


def _output(case: Case, spikes: Spikes) -> np.ndarray:
    """What a recording's spikes give as output: of fewer steps none was recorded."""
    program, stream = case.program, []
    x = inputs.expand(case.x, program.input_shape).astype(np.float64)
    stepper = Stepper(program, len(x))
    for t in range(x.shape[1]):
        fired = {
            name: train[:, t].reshape(-1, *program.shapes[name]).astype(np.float64) for name, train in spikes.items()
        }
        stream.append(stepper.step(x[:, t], fired)[program.output])
    return program.finish(np.stack(stream, axis=1))


@dataclasses.dataclass
class CommandJudge:
    """A command that ends in another code than 0, and prints what ``regex`` finds, if there is one.

    {model} and {input} in it become the .nir and .npy of the case. No shell runs it.
    """

    command: str
    regex: str = ""
    timeout: float = 120.0

    def __post_init__(self) -> None:
        if MODEL not in self.command:
            raise BadInput("--check", f"{self.command!r} doesn't say where the model goes: {MODEL}")
        try:
            shlex.split(self.command)
        except ValueError as error:
            raise BadInput("--check", f"{self.command!r} is no command ({error})") from error
        try:
            re.compile(self.regex)
        except re.error as error:
            raise BadInput("--fail-regex", f"{self.regex!r} is no regular expression ({error})") from error

    def __str__(self) -> str:
        return f"command: {self.command} / {self.regex}"

    def run(self, model: Path, source: Path) -> tuple[int, str]:
        """Exit code, and all that was printed."""
        places = {MODEL: str(model), SOURCE: str(source)}
        words = []
        for word in shlex.split(self.command):
            for mark, path in places.items():
                word = word.replace(mark, path)
            words.append(word)
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, errors="replace", timeout=self.timeout, check=False
            )
        except FileNotFoundError as error:
            raise BadInput("--check", f"{words[0]}: no such command") from error
        except OSError as error:
            raise BadInput("--check", f"{words[0]}: can't be run ({error.strerror})") from error
        except subprocess.TimeoutExpired:
            return 0, ""  # it did not fail; it did not end
        return done.returncode, done.stdout + done.stderr

    def __call__(self, case: Case) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            model, source = Path(folder) / "model.nir", Path(folder) / "x.npy"
            save(case.programs[-1], model)
            np.save(source, case.x)
            code, printed = self.run(model, source)
        return code != 0 and re.search(self.regex, printed) is not None
