"""A data set cut over its samples, mapped on many processes by Dask, merged in order: the single process's bits.

Cut: into the very parts that the single process runs, since the shape of a batch decides in which order a library sums.
Map: each part is a task. A worker that dies loses its tasks to others; one that runs on other versions, another kind of
processor or other threads than this process is refused, for its sums could round otherwise.
Merge: results come in the order of the parts, and no more are under way than two for each shard.
"""

from __future__ import annotations

import collections
import functools
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from spikestrip.command import MOST
from spikestrip.errors import BadInput, Refused, SimulatorFault
from spikestrip.versions import versions

if TYPE_CHECKING:
    from distributed import Client, Future

Piece = TypeVar("Piece")
Result = TypeVar("Result")

HOW = "pip install 'spikestrip[shards]'"
PATIENCE = 60.0  # seconds without any worker, or for a scheduler to answer
LOOK_EVERY = 1.0  # seconds
LOST = 5  # workers that may die under one task before it is held to be its fault


class Over(Protocol):
    """What ``map`` is: ``work`` on each of ``pieces``, in order. ``work`` and all that it takes can be pickled."""

    def __call__(self, work: Callable[[Piece], Result], pieces: Iterable[Piece], /) -> Iterator[Result]: ...


def shards_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that can be spread; they are arguments of ``spread``."""
    for option in (
        click.option("--scheduler", help="A Dask scheduler, tcp://HOST:PORT, for --shards. Default: workers here."),
        click.option(
            "--shards", type=click.IntRange(1, MOST), help="Spread the samples over so many worker processes."
        ),
    ):
        command = option(command)
    return command


@contextmanager
def spread(shards: int | None, scheduler: str | None) -> Iterator[Over | None]:
    """``map`` over ``shards`` processes: of this machine, started here and gone at the end, or those of ``scheduler``.

    None where no shards are asked for. Raises BadInput where Dask is missing or the scheduler can't be reached.
    """
    if shards is None:
        if scheduler is not None:
            raise BadInput("--scheduler", "needs --shards N: for how many workers the samples are cut")
        yield None
        return
    try:
        import distributed
    except ImportError as error:
        raise BadInput("--shards", f"needs Dask ({error}): {HOW}") from error
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        if scheduler is None:
            scheduler = stack.enter_context(_local_cluster(shards)).scheduler_address
        try:
            client = stack.enter_context(distributed.Client(scheduler, timeout=PATIENCE, set_as_default=False))
            client.wait_for_workers(1, timeout=PATIENCE)
        except (OSError, TimeoutError, ValueError) as error:
            reason = f"no scheduler answers, or it has no workers ({str(error).splitlines()[0]})"
            raise BadInput(f"--scheduler {scheduler}", reason) from error
        yield functools.partial(_mapped, client, shards)


@contextmanager
def _local_cluster(shards: int) -> Iterator[Any]:
    """Processes of one thread each, on the loopback alone, with the environment that this one was started with."""
    import dask
    from distributed import LocalCluster

    settings = {
        "distributed.nanny.pre-spawn-environ": {},
        "distributed.scheduler.allowed-failures": LOST,
        # Ctrl-C reaches every process of a terminal: this one ends the rest
        "distributed.worker.preload": ["import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"],
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=shards,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            memory_limit=0,
            silence_logs=logging.CRITICAL + 1,
        ) as cluster,
    ):
        yield cluster


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask tells of every worker that dies and every large task; what matters of that is an error of ours."""
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="distributed")
            warnings.filterwarnings("ignore", "Sending large graph")
            yield
    finally:
        logger.setLevel(level)


def _mapped(client: Client, shards: int, work: Callable[[Piece], Result], pieces: Iterable[Piece]) -> Iterator[Result]:
    # a task of its own, so that each worker is sent it once, and a new one again
    held = client.submit(_same, work, pure=False)
    waiting: collections.deque[Future] = collections.deque()
    cut = 0
    try:
        for piece in pieces:
            cut += 1
            waiting.append(client.submit(_run, held, piece, pure=False))
            if len(waiting) == 2 * shards:
                yield _result(client, waiting.popleft())
        if cut < shards:
            warnings.warn(f"--shards {shards}: the samples are too few for more than {cut}", stacklevel=1)
        while waiting:
            yield _result(client, waiting.popleft())
    finally:
        client.cancel([held, *waiting], force=True)


def _result(client: Client, future: Future) -> Any:
    """The value of a task, whoever ran it. An error that it raised is raised here."""
    from distributed import CancelledError, KilledWorker

    patience = PATIENCE
    while True:
        try:
            there, value = future.result(timeout=LOOK_EVERY)
            break
        except TimeoutError:
            patience = PATIENCE if client.scheduler_info(n_workers=-1)["workers"] else patience - LOOK_EVERY
            if patience <= 0 or client.status not in ("running", "connecting"):
                raise SimulatorFault("shards: the scheduler has lost all its workers, or can't be reached") from None
        except KilledWorker as error:
            raise SimulatorFault(f"shards: {LOST + 1} workers died on the same samples: {error.last_worker}") from error
        except CancelledError as error:
            raise SimulatorFault(f"shards: the scheduler gave a task up ({error})") from error
    here = _machine()
    differ = [f"{name} {there.get(name)} there, {here.get(name)} here" for name in sorted(here.keys() | there.keys())
              if here.get(name) != there.get(name)]  # fmt: skip
    if differ:
        raise Refused("shards", f"a worker could round otherwise than this process: {'; '.join(differ)}")
    return value


def _same(work: Any) -> Any:
    return work


def _run(work: Callable[[Piece], Result], piece: Piece) -> tuple[dict[str, str], Result]:
    return _machine(), work(piece)


@functools.cache
def _machine() -> dict[str, str]:
    return versions() | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or f"{os.cpu_count()} cores"}
