"""What training frees stays with the process: told by the pages that the system has to give it anew."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from train.memory import keep_freed

FAULTS = """
import resource, sys
import numpy as np
from train.memory import keep_freed
if sys.argv[1] == "kept":
    assert keep_freed()
def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    [np.ones(10 << 17) for _ in range(8)]  # 80 MiB at once, as a step's backward frees them
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print([page_faults() for _ in range(4)][-1] * resource.getpagesize())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_freed_tensors_are_the_next_ones() -> None:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    bare.pop("GLIBC_TUNABLES", None)

    def given(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, env=bare, check=True)
        return int(done.stdout)

    assert given("kept") < 1 << 20
    assert given("default") > 1 << 20  # or there is nothing to gain


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_a_choice_of_the_user_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert not keep_freed()
