"""Old name of simulators.reference, kept until version 0.3; loaded by name, since convert knows no simulator."""

from importlib import import_module

_moved = import_module("simulators.reference")
command, reference = _moved.command, _moved.reference

if __name__ == "__main__":
    import_module("spikestrip.command").main(command)
