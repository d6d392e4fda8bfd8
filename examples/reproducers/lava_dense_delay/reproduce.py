"""Run this in its folder: prints what is right and what the command gives, and ends in 1 while they differ."""

import shlex
import subprocess
import sys

import numpy as np

import spikestrip as ss

program, x = ss.load("model.nir"), np.load("x.npy")
right = ss.simulate(program, x)
print(right.output, flush=True)
command = "python ../checks/lava_dense.py model.nir x.npy"
sys.exit(subprocess.run(shlex.split(command), check=False).returncode)
