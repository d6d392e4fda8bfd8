"""The conformance suite: does a backend, ours or anyone's, hold the operations exactly?

    from simulators.backends import load
    from simulators.conformance import cases, run_case
    for case in cases():
        print(case.name, run_case(load("numpy"), case))

A case is passed when the backend gives the oracle's spikes in every neuron and step; refused when the backend declares
beforehand, by ``refuses``, that it can't hold a layer; and failed in every other way. ``python -m
simulators.conformance`` runs the suite on every backend installed and prints the table of the docs.
"""

from simulators.conformance.case import Case
from simulators.conformance.suite import Failed, Passed, Refused, Result, cases, oracle, run_case

__all__ = ["Case", "Failed", "Passed", "Refused", "Result", "cases", "oracle", "run_case"]
