"""Rows that move raise the version of the data protocol: who is dealt what of small sets, against `golden/`.

A file for each partition scheme of ours, and one for loading: the test set that is drawn, features that are scaled.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fl_bench.benchmarks.grid.configure import plain
from fl_bench.datasets import protocol
from fl_bench.datasets.catalogue import load_dataset
from fl_bench.datasets.dataset import build_dataset
from fl_bench.datasets.partition import PARTITIONS
from fl_bench.datasets.split import SplitSettings, split

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.datasets.dataset import Dataset

FOLDER = Path(__file__).parent / "golden"
OURS = [name for name in PARTITIONS.names() if PARTITIONS[name].__module__.startswith("fl_bench.")]
SETTINGS = SplitSettings(clients=6, public=0.2, val_fraction=0.1, min_test=4, max_train=300)
SMALL = {"latent-groups": {"groups": 3, "mixing": 0.1}}
"""Settings of schemes whose defaults want more clients or classes than there are."""
VERSIONS = "datasets/protocol.py"


def labelled(originals: int = 9) -> Dataset:
    """Six classes of unequal size in an order that means nothing; the one feature is the row number."""
    rows = np.arange(480)
    labels = np.minimum(rows * 7 % 11, 5)
    return build_dataset(
        "labelled",
        rows.astype(np.float64)[:, None],
        labels,
        source="made by a test",
        train_size=360,
        classes=6,
        natural=rows * 5 % originals,
    )


def measure_scheme(name: str) -> dict[str, Any]:
    """What the golden file of a scheme holds."""
    scheme = PARTITIONS[name](**SMALL.get(name, {}))
    originals = SETTINGS.clients if name == "planted" else 9  # `planted` joins no clients
    dealt = [split(labelled(originals), scheme, SETTINGS, seed) for seed in (0, 1)]
    return {
        "protocol": {"data": protocol.VERSION},
        "asked": {"scheme": plain(scheme), "split": plain(SETTINGS)},
        "numbers": {
            f"seed {seed}": {
                "rows of clients": [len(rows) for rows in one.train],
                "test rows": [len(rows) for rows in one.test],
                "first public rows": one.public[:5].tolist(),
                "all rows": one.fingerprint,
            }
            for seed, one in enumerate(dealt)
        },
    }


def measure_loading(folder: Path) -> dict[str, Any]:
    """The bundled set, and a table with a gap, a word and a column that never changes."""
    lines = ["size,colour,same,kind"]
    lines += [f"{'' if row == 3 else row % 7},{('red', 'blue')[row % 2]},1,{'abc'[row % 3]}" for row in range(60)]
    (folder / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    table, digits = load_dataset(f"csv:{folder / 'table.csv'}?target=kind"), load_dataset("digits")
    return {
        "protocol": {"data": protocol.VERSION},
        "asked": {},
        "numbers": {name: values_of(data) for name, data in (("table", table), ("digits", digits))},
    }


def values_of(data: Dataset) -> dict[str, Any]:
    """Sums that the order of rows and columns moves; in float64 of float32 values, so that machines agree."""
    inputs = data.inputs.flatten(1).double().numpy()
    places = np.arange(1, inputs.size + 1).reshape(inputs.shape) / inputs.size
    return {
        "shape": [len(inputs), *data.about.shape],
        "training rows": data.train_size,
        "first labels": data.labels[:12].tolist(),
        "labels by place": float((data.labels.numpy() * np.arange(1, len(inputs) + 1)).sum()),
        "squares": float((inputs**2).sum()),
        "inputs by place": float((inputs * places).sum()),
    }


@pytest.mark.parametrize("name", OURS)
def test_rows_are_dealt_as_in_their_version(name: str, golden: Callable[..., None]) -> None:
    golden(FOLDER / f"{name}.json", measure_scheme(name), VERSIONS)


def test_values_are_loaded_as_in_their_version(golden: Callable[..., None], tmp_path: Path) -> None:
    golden(FOLDER / "loading.json", measure_loading(tmp_path), VERSIONS)


def test_no_golden_file_outlives_its_scheme() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == {*OURS, "loading"}, "remove the file of a scheme that is no more"


def test_rows_that_move_ask_for_a_version(golden: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    from fl_bench.datasets import label_skew

    usual = label_skew.dirichlet
    monkeypatch.setattr(label_skew, "dirichlet", lambda stream, alpha: usual(stream, 1.1 * alpha))
    with pytest.raises(pytest.fail.Exception) as failed:
        golden(FOLDER / "dirichlet-class.json", measure_scheme("dirichlet-class"), VERSIONS, write=True)
    assert str(failed.value).startswith("dirichlet-class: numbers moved (seed 0.rows of clients, ")
    assert str(failed.value).endswith("raise its protocol version (datasets/protocol.py) and run `make golden`")


def test_a_raised_version_asks_for_new_golden_numbers(
    golden: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "VERSION", protocol.VERSION + 1)
    with pytest.raises(pytest.fail.Exception, match="run `make golden`"):
        golden(FOLDER / "iid.json", measure_scheme("iid"), VERSIONS, write=False)
