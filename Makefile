# make demo: the whole road on real digits.  make test: lint, types, tests.  Both set the environment up first.
PYTHON ?= python3
BIN := .venv/bin
# two processes of one thread each: small tensors lose more than they gain by threads
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

BENCHMARKS := train_speed training_step threads pmbc_cost ssm_kernel simulate verification convert_cost start growth

.PHONY: setup demo test test-all test-gpu bench bench-gpu zoo docs lint clean

demo: setup
	$(BIN)/spikestrip demo --out runs/demo

test: lint
	$(PYTEST) -m "not slow and not gpu"

test-all: lint .venv/peers
	$(PYTEST)

# On a machine with CUDA; PYTHON there is one whose torch can use it: nothing is installed.
test-gpu:
	OMP_NUM_THREADS=4 PYTHONPATH=. $(PYTHON) -m pytest -m gpu tests/test_gpu.py

bench-gpu:
	mkdir -p runs
	PYTHONPATH=. $(PYTHON) benchmarks/gpu.py --json runs/gpu.json

# Each benchmark in a process of its own, on one thread (threads.py sets its own), then their page.
bench: .venv/peers
	mkdir -p runs/bench
	for name in $(BENCHMARKS); do \
		OMP_NUM_THREADS=1 $(BIN)/python benchmarks/$$name.py --json runs/bench/$$name.json || exit 1; \
	done
	$(BIN)/python benchmarks/page.py runs/bench

# every network of the zoo down the whole road, the page of it, and a gallery of their reports: runs/zoo/report.html
zoo: setup
	$(BIN)/python benchmarks/zoo.py --out runs/zoo -o docs/zoo.md

docs: setup
	$(BIN)/mkdocs build --strict --site-dir runs/site

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: .venv/complete

# lava-nc 0.10.0 pins Python < 3.11, numpy < 2 and networkx <= 2.8.7, and sinabs 3.1.3 pins nir <= 1.0.4 and wants samna,
# whose import runs pip against another server. Their code runs with current releases: only their metadata is
# behind. NeuroBench wants torchaudio and tonic, for data sets that nothing here reads. So these three, and no others,
# are installed without their requirements, which the extras name instead.
.venv/complete: pyproject.toml constraints.txt Makefile
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Spikestrip needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,sim,lava,sinabs,report,fit,docs,dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps --ignore-requires-python lava-nc sinabs neurobench
	touch $@

# other libraries, to measure beside and to hold importers and modules against
.venv/peers: .venv/complete
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[peers]'
	touch $@

clean:
	rm -rf .venv runs
