"""What a run would cost by published prices: ``python deploy/price.py trace.h5``."""

from __future__ import annotations

from pathlib import Path

import click

from spikestrip.command import main, terminal
from spikestrip.errors import within


@click.command("price")
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--table", "names", multiple=True, help="A reading, or a .toml file with prices. Default: all readings.")
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write the answer here too.")
def command(trace: Path, names: tuple[str, ...], report: Path | None) -> int:
    """Charge the events that the ledger counted in TRACE, by each reading of what they would cost.

    No reading is a measurement. A total is refused where something that was counted has no price.
    Exit code 0: at least one total; 1: none; 2: the trace or a table can't be used.
    """
    from deploy.pricing import bill, prices, table
    from spikestrip.files import writable, write_json
    from spikestrip.trace import read

    if report is not None:
        writable(report, (trace, *names))
    tables = [prices.read(name) for name in names or prices.names()]
    run = read(trace)
    with within(trace):
        counts = bill.counted(run)
        bills = [bill.bill(counts, run.spikes, one) for one in tables]
    table.show(bills, terminal())
    if report is not None:
        content = {"format": "spikestrip-price", "version": 1, "trace": str(trace), "samples": len(run.input)}
        write_json(report, {**content, "of": "one sample, the mean", "readings": [one.json() for one in bills]})
    return 0 if any(one.total is not None for one in bills) else 1


if __name__ == "__main__":
    main(command)
