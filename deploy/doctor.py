"""What is installed, and which backends are right, found by running them: ``python deploy/doctor.py``."""

from __future__ import annotations

import platform

import click

from spikestrip import __version__
from spikestrip.command import main, terminal
from spikestrip.extras import extras, remedy


def tried(name: str) -> tuple[bool, str]:
    """Whether the backend ``name`` may be trusted or is only absent, and what became of the attempt to run it.

    It runs a small network whose arithmetic is exact, or that network's like in a chip's integers, and must give the
    oracle's bits.
    """
    import numpy as np

    from simulators import backends
    from simulators.conformance import Case, Failed, Passed, networks, run_case
    from simulators.conformance.integers import integers
    from spikestrip.errors import BadInput

    try:
        backend = backends.load(name)
    except BadInput as error:
        return True, str(error)
    rng = np.random.default_rng(0)
    program = networks.dyadic(rng)
    floating = Case("network", "exact", "float64", program, networks.grid(rng, program, 2))
    for case in (floating, *(case for case in integers("float64") if case.operation.startswith("network_"))):
        result = run_case(backend, case)
        if isinstance(result, Passed):
            return True, "works: the oracle's bits" + ("" if case is floating else " in a chip's integers")
        if isinstance(result, Failed):
            return False, f"is wrong here: {result.where.strip().splitlines()[-1]}"
    return True, "refuses every network that was tried"


@click.command("doctor")
def command() -> int:
    """Say what is installed, what each extra lacks, and which backends give the oracle's answer on this machine.

    Exit code 0: every backend that is installed is right; 1: one is not.
    """
    from rich.table import Table

    from simulators import backends

    console = terminal()
    console.print(f"spikestrip {__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}")
    table = Table("extra", "installed", "missing", "to get it")
    for extra, packages in extras().items():
        missing = [name for name, here in packages.items() if here is None]
        installed = ", ".join(f"{name} {here}" for name, here in packages.items() if here is not None)
        table.add_row(extra, installed, ", ".join(missing), remedy(extra) if missing else "")
    console.print(table)
    table = Table("backend", "on this machine")
    answers = {name: tried(name) for name in backends.names()}
    for name, (_, said) in answers.items():
        table.add_row(name, said)
    console.print(table)
    return int(not all(right for right, _ in answers.values()))


if __name__ == "__main__":
    main(command)
