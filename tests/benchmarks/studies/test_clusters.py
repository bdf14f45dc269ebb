"""The study of rules for the number of clusters: what docs/cosmos-studies.md says is what the stored results give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from fl_bench.benchmarks.studies.clusters.measure import measure
from fl_bench.benchmarks.studies.clusters.page import RESULTS, chosen, facts, write
from fl_bench.benchmarks.studies.clusters.protocol import DESIGN, JUDGED, RULES, Case, cases, clusters
from fl_bench.benchmarks.studies.sections import STUDIES
from fl_bench.cosmos.settings import CosmosConfig

if TYPE_CHECKING:
    from pathlib import Path


def results(folder: Path, **judged: float) -> Path:
    """Results in which a rule has the index `judged` on judged sets (.5 by default), and more the later it is named."""
    for name in (*DESIGN, *JUDGED):
        index = {rule: 0.1 * place if name in DESIGN else judged.get(rule, 0.5) for place, rule in enumerate(RULES)}
        row = {f"{rule}: {what}": value for rule in RULES for what, value in (("K", 2), ("ARI", index[rule]))}
        one = {"dataset": name, "groups": 2, "clients": 10, "alpha": 5.0, "mixing": 0.0, "seed": 0, **row}
        alone = {**one, "groups": 1, **{f"{rule}: ARI": 0.0 for rule in RULES}}
        pd.DataFrame([one, alone]).to_csv(folder / f"{name}-clusters.csv", index=False)
    return folder


def test_committed_section_is_what_the_results_give(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(STUDIES.read_text(encoding="utf-8"), encoding="utf-8")
    assert write(page).read_text(encoding="utf-8") == STUDIES.read_text(encoding="utf-8"), "run `make clusters`"


def test_a_page_without_a_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# Nothing\n")
    with pytest.raises(ValueError, match="0 places"):
        write(tmp_path / "page.md")


def test_the_default_is_what_the_study_takes() -> None:
    assert CosmosConfig().emergence == chosen()


def test_the_best_on_design_sets_is_taken_if_it_is_near_auto_on_judged_ones(tmp_path: Path) -> None:
    # The last named, `stability`, is best on the design sets; `no floor` and `groups` are no settings to take.
    assert chosen(results(tmp_path)) == "stability"
    assert chosen(results(tmp_path, stability=0.451)) == "stability"
    assert chosen(results(tmp_path, stability=0.449)) == "quantile"
    assert chosen(results(tmp_path, auto=0.6)) == "auto"


def test_results_hold_every_case_and_every_rule() -> None:
    for name in (*DESIGN, *JUDGED):
        rows = pd.read_csv(RESULTS / f"{name}-clusters.csv")
        assert [Case(*row) for row in rows.iloc[:, :6].itertuples(index=False)] == cases(name)
        assert not rows.isna().any(axis=None)
    assert "nan" not in " ".join(facts().values())


@pytest.mark.slow
def test_the_study_measures_what_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two cases of the smallest data set. Another processor may round otherwise and tip a tie, so numbers have room.
    monkeypatch.setattr("fl_bench.benchmarks.studies.clusters.measure.cases", lambda name: cases(name)[:2])
    measure(["segment"], tmp_path)
    stored = pd.read_csv(RESULTS / "segment-clusters.csv").iloc[:2]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "segment-clusters.csv"), stored, atol=0.2, check_dtype=False)


def test_clusters_of_planted_predictions() -> None:
    import torch

    case = Case("none", 2, 6, 5.0, 0.0, 0)
    said = torch.tensor(np.random.default_rng(0).normal(size=(2, 40, 5)) * 3)[[0, 0, 0, 1, 1, 1]]
    predictions = (said + torch.tensor(np.random.default_rng(1).normal(size=said.shape)) * 0.3).softmax(dim=-1)
    for rule in set(RULES) - {"quantile"}:
        assert clusters(rule, predictions, case).tolist() == [0, 0, 0, 1, 1, 1]
