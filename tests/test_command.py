"""How every command ends: one line that nothing in a file can bend, and a code that says whose fault it is."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from commands import run

from deploy.console import COMMANDS
from spikestrip.command import Finite
from spikestrip.errors import LONGEST, BadInput, printable

ROOT = Path(__file__).resolve().parents[1]
TALKS = """
import click
from spikestrip.command import main
main(click.Command("c", callback=lambda: click.echo("a" * 9)))
"""


def failing(error: Exception) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


def test_a_file_that_ends_too_soon_is_no_interrupt() -> None:
    done = run(failing(EOFError("x")))
    assert done.code == 3
    assert "internal, and ours: EOFError: x" in done.stderr


def test_an_error_of_ours_is_no_failed_check() -> None:
    done = run(failing(KeyError("x")))
    assert done.code == 3
    said = "internal, and ours: KeyError: 'x'; please report it, with what SPIKESTRIP_DEBUG=1 prints"
    assert done.stderr == f"error: {said}\n"


def test_asked_for_it_is_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKESTRIP_DEBUG", "1")
    with pytest.raises(KeyError):
        run(failing(KeyError("x")))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "a/b.h5"), "a/b.h5: No space left on device"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (MemoryError("of 8 TiB"), "memory: there is not enough (of 8 TiB)"),
        (RuntimeError("can't allocate memory"), "memory: there is not enough (can't allocate memory)"),
        (BadInput("\x1b[31m", "a\r\nb"), "\\x1b[31m: a\\r b"),
    ],
)
def test_one_line(error: Exception, said: str) -> None:
    assert run(failing(error)) == (2, "", f"error: {said}\n")


@pytest.mark.parametrize(
    ("module", "called", "extra"),
    [
        ("networkx", "fit", "fit"),
        ("PIL.Image", "train", "train"),
        ("tomli_w", None, "train"),
        ("jinja2", "x", "report"),
    ],
)
def test_a_package_that_is_not_installed(module: str, called: str | None, extra: str) -> None:
    """As the wheel alone meets it: which extra brings it, that of the command's name first."""
    command = failing(ModuleNotFoundError(f"No module named {module!r}", name=module))
    command.name = called
    done = run(command)
    assert done.code == 2
    assert done.stderr.endswith(f"is not installed, and this needs it: pip install 'spikestrip[{extra}]'\n")


def test_a_module_of_ours_that_is_missing_is_our_error() -> None:
    assert run(failing(ModuleNotFoundError("No module named 'deploy.x'", name="deploy.x"))).code == 3


def test_a_long_message_keeps_both_ends() -> None:
    shown = printable("begin" + "x" * 10_000 + "end")
    assert (shown[:5], shown[-3:], len(shown)) == ("begin", "end", LONGEST)


@pytest.mark.parametrize("written", [False, True])
def test_a_name_that_is_too_long(written: bool) -> None:
    from convert.to_nir import command

    long = "n" * 300 + ".nir"
    done = run(command, *((__file__, "-o", long) if written else (long,)))
    assert done.code == 2
    assert done.stderr.startswith(f"error: {long}: ")
    assert done.stderr.endswith("File name too long\n") or "(File name too long)" in done.stderr


def test_nobody_reads_on() -> None:
    """As in ``spikestrip check model.nir | head -0``."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", TALKS], cwd=ROOT, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


DEAF = """
import click, ctypes, os, signal, time
from spikestrip.command import main

class Dropped:
    def __del__(self):
        os.kill(os.getpid(), signal.{number})
        time.sleep(0.05)

@ctypes.CFUNCTYPE(None)
def called_from_c():
    Dropped.__del__(None)

def callback():
    {way}
    print("goes on", flush=True)
    time.sleep(30)
    print("to its end")

main(click.Command("c", callback=callback))
"""


@pytest.mark.parametrize("way", ["Dropped()", "called_from_c()"])
@pytest.mark.parametrize(("number", "code", "said"), [
    ("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "ended by SIGTERM"),
])  # fmt: skip
def test_an_interrupt_that_python_drops_still_ends_it(way: str, number: str, code: int, said: str) -> None:
    script = DEAF.format(number=number, way=way)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "goes on\n")
    assert done.stderr.endswith(f"error: {said}\n")
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_under_the_output() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", TALKS], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.stderr.count(b"Traceback") == 0
    assert done.stderr.startswith(b"error: No space left on device\n")
    assert done.returncode in (2, 120)  # 120: the interpreter's own, of the flush at its end


def test_a_name_that_the_terminal_has_no_letters_for() -> None:
    """It is escaped, after the work was done, and no error of ours."""
    talks = TALKS.replace('"a" * 9', "chr(0xdcff) + chr(0x65e5)")
    for encoding, shown in (("utf-8:strict", "\\udcff日"), ("cp1252:strict", "\\udcff\\u65e5")):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        done = subprocess.run(
            [sys.executable, "-c", talks], cwd=ROOT, env=environment, capture_output=True, check=False
        )
        assert (done.returncode, done.stdout.decode(), done.stderr) == (0, f"{shown}\n", b"")


def test_names_that_would_steer_a_terminal() -> None:
    """They come from a shell's ``*.h5``; bytes of no letter (surrogates) do not steer, and are names of files."""
    command = click.Command("c", params=[click.Argument(["name"])], callback=lambda name: click.echo("done"))
    for name in ("\x1b[31m.h5", "a\r.npy", "\u202eh5.x", "\x00"):
        done = run(command, name)
        assert (done.code, done.stdout) == (2, "")
        assert done.stderr == f"error: {name!r}: holds control characters, which would steer a terminal\n"
    for name in ("日本.h5", "\udcff.h5", "a b\tc\nd", "[red]"):
        assert run(command, name) == (0, "done\n", "")


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999"])
def test_a_number_that_is_none(number: str) -> None:
    @click.command()
    @click.option("--rate", type=Finite(0, min_open=True))
    def command(rate: float) -> None:
        raise AssertionError(rate)

    done = run(command, f"--rate={number}")
    assert (done.code, done.stderr.count("\n")) == (2, 1)
    assert "--rate" in done.stderr


def test_every_number_of_every_command_has_its_bounds() -> None:
    """NaN is in every range of floats, and integers of Python end nowhere."""
    for name, (module, _) in COMMANDS.items():
        for parameter in import_module(module).command.params:
            kind = parameter.type
            unbounded = isinstance(kind, click.types.FloatParamType) and not isinstance(kind, Finite)
            if isinstance(kind, click.types.IntParamType):
                unbounded = not isinstance(kind, click.IntRange) or None in (kind.min, kind.max)
            assert not unbounded, (name, parameter.name)
