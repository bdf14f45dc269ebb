# The three things a contributor runs; `make check` is what has to be green before a commit.
.PHONY: check lint types test bench format

check: lint types test

lint:
	ruff format --check .
	ruff check .

format:
	ruff format .
	ruff check --fix .

# mypy sees the rooms as the import package they are: links under build/types/fl_bench/.
types:
	rm -rf build/types && mkdir -p build/types/fl_bench
	ln -s $(CURDIR)/fl_bench/* build/types/fl_bench/
	for room in benchmarks cosmos datasets federation methods; do ln -s $(CURDIR)/$$room build/types/fl_bench/$$room; done
	cd build/types && mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache -p fl_bench

test:
	pytest

bench:
	pytest benchmarks/performance --benchmark-only --benchmark-group-by=group -o addopts="--import-mode=importlib"
