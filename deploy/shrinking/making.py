"""A failure, shrunk and written as a folder: by a command, by a run that can be made again, or by a recording."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from deploy.shrinking import folder
from deploy.shrinking.case import Case
from deploy.shrinking.judges import CommandJudge, RecordedJudge, VerifyJudge, faults
from deploy.shrinking.search import Journal, Judge, shrink
from deploy.verification import Verdict, verify
from simulators.run import simulate
from spikestrip.errors import BadInput, Refused, SpikestripError
from spikestrip.program import Program
from spikestrip.trace import Trace

JOURNAL = "journal.jsonl"  # in the folder, while the search goes on


def by_command(case: Case, judge: CommandJudge, out: Path) -> Case | None:
    """The smallest case that a command still fails on, written to ``out``; None where it doesn't fail at all."""
    small = _search(case, judge, out)
    if small is None:
        return None
    call = judge.command.replace("{model}", "model.nir").replace("{input}", "x.npy")
    said = f"`{call}` ends in another code than 0" + (f" and prints `{judge.regex}`." if judge.regex else ".")
    again = f"spikestrip shrink MODEL --input X --check {judge.command!r}"
    again += f" --fail-regex {judge.regex!r}" if judge.regex else ""
    script = {
        "who": "the command",
        "imports": "import shlex\nimport subprocess\n",
        "other": folder.COMMANDED.format(command=json.dumps(call)),
    }
    folder.write(out, small, simulate(small.program, small.x), None, said, script, again)
    return small


def by_verify(case: Case, judge: VerifyJudge, out: Path) -> Case | None:
    """The same of a run that can be made again, with verify as the judge: the fault that it names stays."""
    judge.fault = judge.fault or next(iter(faults(judge.verdict(case))), "")
    small = _search(case, judge, out)
    if small is None:
        return None
    sentences = "\n".join(f"- {sentence}" for sentence in judge.verdict(small).failures)
    said = f"What ran on {judge.backend} in {judge.dtype} differs from what the model says:\n\n{sentences}"
    two = len(small.programs) > 1
    other = folder.SIMULATED.format(ran="faulty.nir" if two else "model.nir", backend=judge.backend, dtype=judge.dtype)
    again = f"spikestrip shrink MODEL --input X --backend {judge.backend} --dtype {judge.dtype}"
    again += " --trace-program FAULTY" if two else ""
    folder.write(out, small, *judge.traces(small), said, {"who": judge.backend, "other": other}, again)
    return small


def by_recording(case: Case, judge: RecordedJudge, out: Path) -> Case | None:
    """The same of a recording: some of its samples, its first steps."""
    small = _search(case, judge, out, recorded=True)
    if small is None:
        return None
    said = (
        f"A recording that says it ran the model differs from it ({judge.fault}). It can't be run again here, so that "
        "only samples and the last steps were cut."
    )
    again = "spikestrip verify REFERENCE TRACE --program MODEL --shrink OUT"
    script = {"who": "the recording", "other": folder.RECORDED}
    folder.write(out, small, *judge.cut(small), said, script, again)
    return small


def by_trace(program: Program, reference: Trace, trace: Trace, verdict: Verdict, out: Path) -> Case | None:
    """What ``verify`` found of two traces: run again where that gives the same spikes, else as the recording it is."""
    fault, backend, dtype = faults(verdict)[0], str(trace.attrs.get("backend")), str(trace.attrs.get("dtype"))
    try:
        again = simulate(program, trace.input, backend, dtype)  # type: ignore[arg-type]
        same = all((train == trace.spikes[name]).all() for name, train in again.spikes.items())
    except SpikestripError:  # no backend of ours, or one that refuses
        same = False
    if same:
        return by_verify(Case((program,), trace.input), VerifyJudge(backend, dtype, fault), out)  # type: ignore[arg-type]
    rows = tuple(range(len(trace.input)))
    return by_recording(Case((program,), trace.input, rows), RecordedJudge(reference, trace, fault), out)


def by_sides(sides: Sequence[tuple[Program, Trace]], out: Path) -> Case | None:
    """The same where a side has a program of its own: the first side that contradicts its program, by that alone.

    sides: what each really computed (integers, say), and its trace. Raises Refused where both did what they say: what
    then failed lies between two programs, and no cut of one says what the other should become.
    """
    for own, trace in sides:
        attrs = {name: value for name, value in trace.attrs.items() if name not in ("quantised_from", "saturates_at")}
        alone = dataclasses.replace(trace, attrs=attrs)
        reference = simulate(own, alone.input)
        verdict = verify(reference, alone, own)
        if not verdict.passed:
            return by_trace(own, reference, alone, verdict, out)
    raise Refused("--shrink", "each side does what its own program says: what fails lies between the two programs")


def _search(case: Case, judge: Judge, out: Path, recorded: bool = False) -> Case | None:
    """Raises BadInput for an ``out`` that holds other files than a search that was broken off."""
    if out.exists() and not out.is_dir():
        raise BadInput(out, "is a file, not a folder to write")
    if out.is_dir() and {file.name for file in out.iterdir()} - {JOURNAL}:
        raise BadInput(out, "holds other files; give a new folder, or one that a search was broken off in")
    if not judge(case):
        return None
    out.mkdir(parents=True, exist_ok=True)
    journal = Journal(out / JOURNAL, f"{judge} on {case.key}")
    with tqdm(desc="shrink", unit="try", disable=None) as bar:

        def progress(text: str) -> None:
            bar.set_postfix_str(text)
            bar.update(journal.asked - bar.n)

        small = shrink(case, judge, journal, progress, recorded)
    (out / JOURNAL).unlink(missing_ok=True)
    return small
