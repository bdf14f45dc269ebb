"""`python -P -m fl_bench.benchmarks.studies`: docs/cosmos.md and docs/cosmos-studies.md again; nothing is measured."""

from __future__ import annotations

from . import summary
from .clusters import page as clusters
from .contraction import page as contraction
from .planted import page as planted
from .server import page as server

if __name__ == "__main__":
    for study in (clusters, planted, server, contraction, summary):
        print(f"written: {study.write()}")
