"""The file of models beside a record: what is written is read back, goes where the record goes, and is checked."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.records.models import MODELS, read_models, write_models
from fl_bench.benchmarks.records.store import Store
from fl_bench.errors import ConfigError, DataError
from fl_bench.federation.kept import Kept, KeptAbout, KeptNets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome

KEPT = Kept(
    KeptAbout(
        (1, 8, 8),
        10,
        "image",
        None,
        7,
        {"mlp-8": KeptNets("client", "personal", (0, 2), (1, 0)), "mlp-4": KeptNets("server", "", (1,), (0,))},
    ),
    {
        "mlp-8": {
            "w": np.arange(12, dtype=np.float32).reshape(2, 2, 3),
            "n": np.array([5, 6], dtype=np.int64),
            "on": np.array([[True], [False]]),
        },
        "mlp-4": {"w": np.full((1, 3), -2.5)},
    },
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_models(tmp_path / MODELS, KEPT)
    return tmp_path / MODELS


def test_a_client_gets_the_row_of_its_own_model(path: Path) -> None:
    models = read_models(path)
    assert models.about == KEPT.about
    models.check()
    name, weights = models.of_client(2)
    assert name == "mlp-8"
    assert {key: value.tolist() for key, value in weights.items()} == {
        "w": [[0, 1, 2], [3, 4, 5]],
        "n": 5,
        "on": [True],
    }
    assert models.of_client(0)[1]["w"].tolist() == [[6, 7, 8], [9, 10, 11]]
    assert models.of_client(0)[1]["n"].shape == ()
    assert models.of_client(1) == ("mlp-4", {"w": pytest.approx(np.full(3, -2.5))})
    with pytest.raises(ConfigError, match=r"there is no client 3; this run has the clients 0-2$"):
        models.of_client(3)


def test_the_package_safetensors_reads_the_same(path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    arrays = library.load_file(path)
    assert sorted(arrays) == ["mlp-4/w", "mlp-8/n", "mlp-8/on", "mlp-8/w"]
    assert all(
        np.array_equal(arrays[f"{net}/{key}"], value)
        for net, tree in KEPT.weights.items()
        for key, value in tree.items()
    )


def changed(path: Path, change: Callable[[Any, Any], None]) -> None:
    """Write the file again with another header; `change` gets it, and what it says of the models."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    said = json.loads(header["__metadata__"]["fl_bench"])
    change(header, said)
    header["__metadata__"]["fl_bench"] = json.dumps(said)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cannot be read": lambda path: path.unlink(),
    "no ordinary file": lambda path: (path.unlink(), path.mkdir()),
    "header would have": lambda path: path.write_bytes(b"\xff" * 64),
    "does not say what models": lambda path: path.write_bytes((2).to_bytes(8, "little") + b"{}"),
    "bytes behind": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "does not say where 'mlp-8/on' is": lambda path: os.truncate(path, path.stat().st_size - 1),
    "has gaps": lambda path: changed(path, lambda header, _: header.pop("mlp-8/n")),
    "does not say where 'mlp-8/w' is": lambda path: changed(
        path, lambda header, _: header["mlp-8/w"].update(shape=[2, 10**12])
    ),
    "does not say where 'mlp-8/n' is": lambda path: changed(
        path, lambda header, _: header["mlp-8/n"].update(dtype="object")
    ),
    "lacks models of mlp-8": lambda path: changed(
        path, lambda _, said: said["about"]["nets"]["mlp-8"].update(models=[1, 2])
    ),
    "lacks models of cnn": lambda path: changed(
        path, lambda _, said: said["about"]["nets"].update(cnn=said["about"]["nets"]["mlp-4"])
    ),
    "what cannot be": lambda path: changed(path, lambda _, said: said["about"].update(shape=[2**20, 2**20])),
    "reads 1": lambda path: changed(path, lambda _, said: said.update(version=2)),
}


@pytest.mark.parametrize("problem", DAMAGE)
def test_a_damaged_file_is_one_message(path: Path, problem: str) -> None:
    DAMAGE[problem](path)
    with pytest.raises(DataError, match=problem):
        read_models(path)


def test_a_changed_weight_is_found(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="not those that were written"):
        read_models(path).check()


@pytest.fixture
def kept(store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]) -> Path:
    """The folder of the one of two runs that kept models."""
    store.write(cell_of("fedmd"), outcome())
    return store.write(cell_of("local"), outcome(), models=KEPT)


def test_models_go_where_their_record_goes(kept: Path, store: Store, tmp_path: Path) -> None:
    before = (kept / MODELS).read_bytes()
    assert run_command(["fsck", str(store.results)]) == 0
    assert run_command(["merge", str(store.results), str(store.results), "--out", str(tmp_path / "both")]) == 0
    assert (tmp_path / "both/runs/digits" / kept.name / MODELS).read_bytes() == before
    assert len(list((tmp_path / "both").rglob(MODELS))) == 1
    assert run_command(["rm", "digits/local-0", "--results", str(store.results), "--yes"]) == 0
    assert (store.results / "superseded/digits" / kept.name / MODELS).read_bytes() == before


def test_packing_leaves_models_in_their_folder(kept: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["pack", str(store.results), "--remove"]) == 0
    assert "not packed: the models of 1 run" in " ".join(capsys.readouterr().err.split())
    assert store.folders() == [kept]
    assert sorted(path.name for path in kept.iterdir()) == ["clients.csv", MODELS, "rounds.csv", "run.json"]
    assert len(Store(store.results).records()) == 2


def test_fsck_names_damaged_models(kept: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    os.truncate(kept / MODELS, 100)
    assert run_command(["fsck", str(store.results), "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert found["problem"].startswith(f"{MODELS} is no file of models")


def test_merging_refuses_damaged_models(kept: Path, store: Store, tmp_path: Path) -> None:
    (kept / MODELS).write_bytes((kept / MODELS).read_bytes()[:-1] + b"\7")
    assert run_command(["merge", str(store.results), str(store.results), "--out", str(tmp_path / "both")]) == 2
    assert not (tmp_path / "both").exists()
