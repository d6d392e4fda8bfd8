"""torchrun on two machines: two network namespaces, joined by a cable and by nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import two_ranks

ROOT = Path(__file__).resolve().parents[1]


def ip(*arguments: str) -> int:
    return subprocess.run(["ip", *arguments], capture_output=True, check=False).returncode


@pytest.fixture
def nodes() -> Iterator[list[tuple[str, str]]]:
    """(namespace, network interface) of two nodes, 10.77.0.1 and 10.77.0.2."""
    number = os.getpid() % 100_000
    made = [(f"spikestrip{number}{end}", f"ss{number}{end}") for end in "ab"]
    try:
        if any(ip("netns", "add", name) for name, _ in made):
            pytest.skip("may not make network namespaces")
        cable = [part for name, port in made for part in ("name", port, "netns", name)]
        assert not ip("link", "add", *cable[:4], "type", "veth", "peer", *cable[4:])
        for place, (name, port) in enumerate(made, 1):
            inside = ("-n", name)
            assert not ip(*inside, "addr", "add", f"10.77.0.{place}/24", "dev", port)
            assert not ip(*inside, "link", "set", port, "up")
            assert not ip(*inside, "link", "set", "lo", "up")
        yield made
    finally:
        for name, _ in made:
            ip("netns", "del", name)


def run(nodes: list[tuple[str, str]], commands: list[list[str]], place: list[Path]) -> list[tuple[int, str]]:
    """The command of each node, at once; exit codes and what they said."""
    running = []
    for rank, ((name, port), command, folder) in enumerate(zip(nodes, commands, place, strict=True)):
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--node-rank", str(rank),
                    "--nproc-per-node", "1", "--master-addr", "10.77.0.1", "--master-port", "29511"]  # fmt: skip
        environment = os.environ | {"GLOO_SOCKET_IFNAME": port, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        running.append(
            subprocess.Popen(
                ["ip", "netns", "exec", name, *torchrun, *command],
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    ended = []
    until = time.monotonic() + 300
    for process in running:
        try:
            output, _ = process.communicate(timeout=max(1, until - time.monotonic()))
        finally:
            process.kill()
        ended.append((process.returncode, output))
    return ended


@pytest.mark.slow
def test_two_nodes_train_as_one(nodes: list[tuple[str, str]], tmp_path: Path) -> None:
    two_ranks.main(str(tmp_path / "one"), "spikingssm", "hard", "scan")
    script = [two_ranks.__file__, str(tmp_path / "two"), "spikingssm", "hard", "scan"]
    ended = run(nodes, [script, script], [tmp_path, tmp_path])
    assert [code for code, _ in ended] == [0, 0], ended
    one, two = torch.load(tmp_path / "one"), torch.load(tmp_path / "two")
    for part in ("gradients", "state"):
        for name in one[part]:
            torch.testing.assert_close(two[part][name], one[part][name], rtol=1e-7, atol=1e-9, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("lacks", [True, False])
def test_a_folder_that_one_node_lacks(nodes: list[tuple[str, str]], tmp_path: Path, lacks: bool) -> None:
    """Without a common file system a run ends, but can't go on: one node alone knows how far it is, and holds all of
    its state, though the other may have a folder of that name too."""
    places = [tmp_path / "a", tmp_path / "b"]
    for place in places:
        place.mkdir()
    if not lacks:
        (places[1] / "run").mkdir()
        (places[1] / "run" / "experiment.toml").write_text("")
    before = sorted(places[1].rglob("*"))
    train = [str(ROOT / "train/run.py"), "--task", "digits", "--d-model", "8", "--d-state", "4", "--layers", "1",
             "--train-samples", "100", "--run-dir", "run"]  # fmt: skip
    for epochs, code in (("2", 0), ("2", 2)):
        ended = run(nodes, [[*train, "--epochs", epochs]] * 2, places)
        if code == 0:
            assert [one for one, _ in ended] == [0, 0], ended
            assert (places[0] / "run/ckpt.pt").is_file()
            assert sorted(places[1].rglob("*")) == before
            assert not list(places[0].glob("run/*.safetensors"))
        else:
            assert all(one for one, _ in ended)
            assert "isn't the same folder on every machine" in ended[0][1] + ended[1][1]
