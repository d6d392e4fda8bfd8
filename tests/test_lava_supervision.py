"""Whatever ends a Lava run, it ends: with an error that says why, no process left behind, and no named memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import distributions
from pathlib import Path

import numpy as np
import pytest
from faulty import Faulty

from simulators.backends.lava import LavaBackend
from simulators.conformance import integers
from spikestrip.errors import SimulatorFault
from spikestrip.operations import LIF, Affine, FixedInput, FixedLIF, FixedProgrammedLIF, Join, Scale
from spikestrip.program import Program, chain

if not any(distribution.name == "lava-nc" for distribution in distributions()):
    pytest.skip("needs lava-nc", allow_module_level=True)

MARK = "SPIKESTRIP_TEST_RUN"


def run(fault: str, progress: Callable[[int], object] = lambda steps: None, patience: float = 60) -> None:
    steps = 5000 if fault == "slow" else 6
    program = chain((2,), [("a", Join()), ("b", Faulty(fault)), ("c", Scale(np.float32([2, 3])))])
    LavaBackend(patience).run(program, np.ones((2, steps, 2), np.float32), "float64", "cpu", progress)


def programs() -> dict[str, tuple[Program, LavaBackend]]:
    """One for each kind of process that a run can consist of, but for those of ``run``."""
    rng = np.random.default_rng(4)
    entry, soft = ("a", FixedInput(8, 16)), FixedProgrammedLIF(*integers.membrane(rng, 2), soft=True)
    return {
        "stock, integers": (
            chain((2,), [entry, ("b", integers.affine(rng, 2, 3)), ("c", FixedLIF(3584, 90))]),
            LavaBackend(),
        ),
        "microcode": (chain((2,), [entry, ("b", integers.modes(rng, 2, 3)), ("c", soft)]), LavaBackend()),
        "stock, floats": (
            chain((2,), [("b", Affine(np.eye(2, dtype=np.float32))), ("c", LIF(np.full(2, 0.5), np.ones(2)))]),
            LavaBackend(processes="stock"),
        ),
    }


KINDS = ["ours, slow", "stock, integers", "microcode", "stock, floats"]
kinds = pytest.mark.parametrize("kind", KINDS)


def run_long(kind: str, progress: Callable[[int], object], patience: float = 60) -> None:
    """A run that takes so many steps that something can happen to it meanwhile."""
    if kind == KINDS[0]:
        run("slow", progress, patience)
        return
    program, backend = programs()[kind]
    backend.patience = patience
    backend.run(program, np.ones((1, 60_000, 2)), "float64", "cpu", progress)


def marked(mark: str) -> set[int]:
    """The living processes that inherited this mark, but for ourselves."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                found.add(int(entry.name))
        except OSError:
            continue
    return found - {os.getpid()}


def children(pid: int) -> list[int]:
    """Zombies too; oldest first. (The kernel's own list of children may miss some while others end.)"""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parent, started = int(fields[1]), int(fields[19])
        if parent == pid:
            found.append((started, int(entry.name)))
    return [child for _, child in sorted(found)]


def actors(mark: str) -> list[int]:
    """The processes of the input and the layers, in Lava's order, and last its runtime service."""
    (worker,) = marked(mark) & set(children(os.getpid()))
    return children(worker)


def abandoned(before: set[str]) -> set[str]:
    """Segments made since, and mapped or open in no living process. (Other tests beside this one have segments too.)"""
    names = set(os.listdir("/dev/shm")) - before
    held = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            lines = (entry / "maps").read_text().splitlines()
            lines += [os.readlink(descriptor) for descriptor in (entry / "fd").iterdir()]
        except OSError:
            continue
        held |= {name for name in names if any(f"/dev/shm/{name}" in line for line in lines)}
    return (names - held) & set(os.listdir("/dev/shm"))


@pytest.fixture
def mark(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A mark for the processes of this test; afterwards none is alive, no child is a zombie, and no segment is left."""
    mark = f"{os.getpid()}-{request.node.name}"
    monkeypatch.setenv(MARK, mark)
    segments, offspring = set(os.listdir("/dev/shm")), children(os.getpid())
    yield mark
    assert not marked(mark)
    assert children(os.getpid()) == offspring
    until = time.monotonic() + 10  # what others leave, a tracker of theirs removes; what ours left would stay
    while abandoned(segments) and time.monotonic() < until:
        time.sleep(0.1)
    assert not abandoned(segments)


@pytest.mark.usefixtures("mark")
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("raise", r"layer b: an exception(?s:.)*in step(?s:.)*RuntimeError: the third step is too much"),
        ("shape", r"layer b: (?s:.)*step gave float64 of shape \(2, 1\), not float64 of shape \(2, 2\)"),
        ("kill", r"layer b: its process was killed by SIGKILL"),
        ("exit", r"layer b: its process exited with code 0"),
    ],
)
def test_a_fault_in_an_actor(fault: str, says: str) -> None:
    with pytest.raises(SimulatorFault, match=says):
        run(fault)


@pytest.mark.usefixtures("mark")
def test_a_stall() -> None:
    """A stopped process does nothing and ignores every signal but SIGKILL."""
    with pytest.raises(SimulatorFault, match="stalled: layer b did not finish step 3 for 6 seconds"):
        run("stop", patience=6)


def killing(victim: Callable[[], int], number: signal.Signals = signal.SIGKILL) -> Callable[[int], None]:
    """Progress that kills ``victim()`` when first called; the run may report once more before it notices."""
    killed: list[int] = []

    def progress(steps: int) -> None:
        if not killed:
            killed.append(victim())
            os.kill(killed[0], number)

    return progress


@pytest.mark.parametrize("kind", KINDS[1:])
def test_an_actor_is_killed(kind: str, mark: str) -> None:
    with pytest.raises(SimulatorFault, match="killed by SIGKILL"):
        run_long(kind, killing(lambda: actors(mark)[0]))


@pytest.mark.parametrize("kind", [KINDS[1], *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[2:])])
def test_an_actor_is_stopped(kind: str, mark: str) -> None:
    with pytest.raises(SimulatorFault, match=r"stalled: layer .* did not finish step [0-9]+ for 8 seconds"):
        run_long(kind, killing(lambda: actors(mark)[0], signal.SIGSTOP), patience=8)


def test_lavas_own_service_is_killed(mark: str) -> None:
    with pytest.raises(SimulatorFault, match="its own service: its process was killed by SIGKILL"):
        run("slow", killing(lambda: actors(mark)[-1]))


def test_the_worker_is_killed(mark: str) -> None:
    def worker() -> int:
        (found,) = marked(mark) & set(children(os.getpid()))
        return found

    with pytest.raises(SimulatorFault, match=r"ended by itself \(killed by SIGKILL"):
        run("slow", killing(worker))


@kinds
def test_interrupted(kind: str, mark: str) -> None:
    """Ctrl-C; and while all was well no process had memory with a name."""
    mapped: list[str] = []

    def interrupt(steps: int) -> None:
        for pid in marked(mark):
            mapped.extend(line for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "/dev/shm/" in line)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            run_long(kind, interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert all(line.endswith("(deleted)") for line in mapped)


@pytest.mark.parametrize("kind", [KINDS[0], *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:])])
def test_a_stopped_worker_dies_with_its_parent(kind: str, mark: str) -> None:
    """A stopped process ignores every signal but SIGKILL, that of its parent's death too."""
    with started(kind) as parent:
        (worker,) = marked(mark) & set(children(parent.pid))
        for pid in (worker, *children(worker)):
            os.kill(pid, signal.SIGSTOP)
        parent.kill()
    assert_gone(mark)


@pytest.mark.parametrize(("kind", "number"), [(KINDS[0], signal.SIGKILL), *((kind, signal.SIGTERM) for kind in KINDS)])
def test_the_parent_is_killed(kind: str, number: signal.Signals, mark: str) -> None:
    with started(kind) as parent:
        # the parent, the worker, the runtime service; the input and three layers, or the like
        assert len(marked(mark)) == 7 if kind == KINDS[0] else len(marked(mark)) >= 6
        parent.send_signal(number)
    assert parent.returncode == -number
    assert_gone(mark)


def started(kind: str) -> subprocess.Popen[bytes]:
    """A process that is in the middle of such a run."""
    script = f"import test_lava_supervision as t; t.run_long({kind!r}, lambda steps: print(steps, flush=True))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    parent.stdout.readline()
    return parent


def assert_gone(mark: str) -> None:
    until = time.monotonic() + 30
    while marked(mark) and time.monotonic() < until:
        time.sleep(0.05)
    assert not marked(mark)
