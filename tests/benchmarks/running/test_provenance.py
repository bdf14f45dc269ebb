"""Where a run was made."""

from __future__ import annotations

import numpy as np

from fl_bench.benchmarks.running.provenance import revision, software


def test_provenance_names_versions() -> None:
    facts = software()
    assert facts["packages"]["numpy"] == np.__version__
    assert set(revision()) == {"revision", "dirty"}
