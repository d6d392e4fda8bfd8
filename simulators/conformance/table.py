"""The results of the suite as a page of the docs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simulators.conformance import Case, Failed, Refused, Result

_HEAD = """# Conformance

Written by `python -m simulators.conformance`; what each backend answered to every case of the suite
(`simulators/conformance/`), each in float32 and float64, integers (`fixed_*`) in float64
alone; noise through whole networks in float64 alone, for in float32
a dot product's rounding can decide a spike.

- **same bits**: every spike and every bit of the output are those of the operation's own step in numpy.
- **spikes**: every spike is; the output agrees to 1e-12 (float64) or 1e-4 (float32) of max(1, |output|), for every
  library rounds dot products and `exp` in its own way.
- The situations `nan` and `overflow` pass when the backend raises: a neuron turns NaN into silence.
"""


def table(results: Mapping[str, Sequence[tuple[Case, Result]]]) -> str:
    """Markdown: a row for each operation, a column for each backend, the reasons of refusals and failures below."""
    rows: dict[str, list[Case]] = {}
    for case, _ in next(iter(results.values())):
        rows.setdefault(case.operation, []).append(case)
    notes: list[str] = []
    lines = [_line(["operation", "situations", "asks for", *results]), _line(["---"] * (3 + len(results)))]
    for operation, asked in rows.items():
        situations = ", ".join(dict.fromkeys(case.situation for case in asked))
        tolerances = {case.tolerance > 0 for case in asked}
        asks = " or ".join(["same bits"] * (False in tolerances) + ["spikes"] * (True in tolerances))
        cells = [
            _cell([result for case, result in answers if case.operation == operation], notes)
            for answers in results.values()
        ]
        lines.append(_line([f"`{operation}`", situations, asks, *cells]))
    return "\n".join([_HEAD, *lines, "", *(f"{number}. {note}" for number, note in enumerate(notes, 1)), ""])


def _cell(answers: Sequence[Result], notes: list[str]) -> str:
    failed = [answer.where for answer in answers if isinstance(answer, Failed)]
    if failed:
        return f"**{len(failed)} of {len(answers)} fail** ({_note(failed[0].splitlines()[-1], notes)})"
    refused = [answer.reason for answer in answers if isinstance(answer, Refused)]
    if refused:
        share = "" if len(refused) == len(answers) else f" {len(refused)} of {len(answers)}"
        return f"refused{share} ({', '.join(dict.fromkeys(_note(reason, notes) for reason in refused))})"
    return "yes"


def _note(text: str, notes: list[str]) -> str:
    if text not in notes:
        notes.append(text)
    return str(notes.index(text) + 1)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
