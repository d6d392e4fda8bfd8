"""The importers of NIR as published, executed on graphs of every kind of node, and what each makes of each."""

from simulators.conformance.importers.judging import Verdict, judge
from simulators.conformance.importers.stock import installed

__all__ = ["Verdict", "installed", "judge"]
