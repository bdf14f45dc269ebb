# What a contributor runs; `make check` is what has to be green before a commit.
.PHONY: check lint types links docs test golden fuzz mutate bench page reference planted clusters cosmos results defaults faults faults-page format

check: lint types test

lint:
	ruff format --check .
	ruff check .

format:
	ruff format .
	ruff check --fix .

# The rooms as the import package they are, under build/types/fl_bench/: for mypy, and for PYTHONPATH without pip.
links:
	rm -rf build/types && mkdir -p build/types/fl_bench
	ln -s $(CURDIR)/fl_bench/* build/types/fl_bench/
	for room in benchmarks cosmos datasets federation methods; do ln -s $(CURDIR)/$$room build/types/fl_bench/$$room; done

types: links
	cd build/types && mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache -p fl_bench

# The documentation as a site, in build/site/: a link that leads nowhere ends it. Nothing is fetched.
docs: links
	OMP_NUM_THREADS=1 NO_MKDOCS_2_WARNING=1 PYTHONPATH=build/types$${PYTHONPATH:+:$$PYTHONPATH} $(PYTHON) -m mkdocs build --strict

test:
	pytest

# Writes golden numbers anew where a protocol version was raised; refuses numbers that moved under an unchanged one.
golden:
	pytest -q -k their_version --golden tests/datasets/test_golden.py tests/federation/test_golden.py \
		tests/methods/test_golden.py

SECONDS = 60
FUZZED = $(wildcard tests/*/test_fuzz.py tests/*/*/test_fuzz.py)

# Fuzzing beyond the examples of every test run: other ones each time, for so long, or until something gets through.
fuzz:
	@end=$$(($$(date +%s) + $(SECONDS))); seed=$$(date +%s); while [ $$(date +%s) -lt $$end ]; do \
		echo "seed $$seed"; FUZZ=10 pytest -q -n 0 --hypothesis-seed=$$seed $(FUZZED) || exit 1; seed=$$((seed + 1)); \
	done

# What no test notices: breaks FILE in many small ways, in a copy under build/mutate/, and runs its tests on each.
# make mutate FILE=methods/fedmd.py [TESTS="tests/methods/test_fedmd.py tests/methods/test_contract.py"] [SECONDS=30]
mutate:
	@$(PYTHON) .ci/mutate.py $(FILE) --seconds $(SECONDS) $(if $(TESTS),--tests $(TESTS))

# Measures, stores in benchmarks/performance/results/, writes docs/performance.md; make bench SIZE=quick DEVICE=cpu
SIZE = full
DEVICE = auto
PYTHON = python
bench:
	mkdir -p build
	$(PYTHON) -P -m pytest benchmarks/performance --benchmark-only --benchmark-json=build/performance.json \
		--size=$(SIZE) --bench-device=$(DEVICE) -o addopts="--import-mode=importlib" -W default
	$(PYTHON) -P -m fl_bench.benchmarks.performance build/performance.json

# The page again, from the stored results.
page:
	$(PYTHON) -P -m fl_bench.benchmarks.performance

# docs/cosmos.md and all of docs/cosmos-studies.md again, from committed results; nothing is run, a minute at most.
cosmos:
	OMP_NUM_THREADS=1 $(PYTHON) -P -m fl_bench.benchmarks.studies

# The page of each folder in results/, with plot and appendix where a comparison was declared, and the index of them.
results:
	OMP_NUM_THREADS=1 $(PYTHON) -P -m fl_bench.benchmarks.studies.published

# The section on the number of clusters in docs/cosmos-studies.md again, from the stored results.
# `python -P -m fl_bench.benchmarks.studies.clusters letter vowel` measures these data sets anew first.
clusters:
	$(PYTHON) -P -m fl_bench.benchmarks.studies.clusters

# docs/defaults.md again, from committed results; nothing is run.
defaults:
	$(PYTHON) -P -c "from fl_bench.benchmarks.studies.defaults import page; print(f'written: {page.write()}')"

# Injects faults into a small grid, keeps what was seen in benchmarks/reliability/results/, writes docs/reliability.md;
# each family takes minutes, and tmpfs and control groups take root: make faults FAMILIES="kills disks" TIMES=3
FAMILIES =
TIMES =
MINUTES = 8
ONLY =
faults:
	OMP_NUM_THREADS=1 $(PYTHON) -P -m fl_bench.benchmarks.reliability $(FAMILIES) --minutes $(MINUTES) \
		$(if $(TIMES),--times $(TIMES)) $(if $(ONLY),--only "$(ONLY)")

# The page again, from the stored results.
faults-page:
	$(PYTHON) -P -m fl_bench.benchmarks.reliability --page

# docs/method-interface.md again: the complete methods, and the reference from docstrings.
reference:
	$(PYTHON) -P -m fl_bench.benchmarks.manual

# The planted study of docs/cosmos-studies.md again: how often verdicts are right, all arms, the section; ten minutes at most.
# `python -P -m fl_bench.benchmarks.studies.planted --page` writes the section from the stored results.
planted:
	OMP_NUM_THREADS=1 $(PYTHON) -P -m fl_bench.benchmarks.studies.planted.calibration
	OMP_NUM_THREADS=1 $(PYTHON) -P -m fl_bench.benchmarks.studies.planted
