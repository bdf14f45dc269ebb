"""Whatever is in a file of models: it makes a net that takes the data set's samples, or is refused with one message."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from fuzzing import budget, damaged, guarded, values
from hypothesis import given
from hypothesis import strategies as st

import fl_bench as fb
from fl_bench.benchmarks.grid.grid import GridFile, expand
from fl_bench.benchmarks.records.models import MODELS
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.running.runner import Options, run_cell
from fl_bench.errors import FLBenchError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of a run that kept models."""
    grid = GridFile(
        name="small",
        datasets=("digits",),
        methods=("ditto",),
        seeds=(0,),
        partition={"clients": 5, "groups": 5, "min_test": 5},
        models=["mlp-8"],
        training={"rounds": 1},
    )
    (cell,) = expand(grid, "small.yaml").cells
    return run_cell(cell, Store(tmp_path_factory.mktemp("fuzz")), Options(keep_models=True)).folder


@pytest.fixture(scope="module")
def whole(folder: Path) -> bytes:
    return (folder / MODELS).read_bytes()


def read(folder: Path, content: bytes) -> None:
    (folder / MODELS).write_bytes(content)
    with guarded(folder), contextlib.suppress(FLBenchError):
        net = fb.load(folder.parents[2]).model(client=3)
        assert net(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).shape[0] == 2


@budget(40)
@given(data=st.data())
def test_fuzz_bytes_of_models(data: st.DataObject, folder: Path, whole: bytes) -> None:
    head = 8 + int.from_bytes(whole[:8], "little")
    read(folder, data.draw(damaged(whole[:head])) + whole[head:])


@budget(60)
@given(data=st.data())
def test_fuzz_fields_of_models(data: st.DataObject, folder: Path, whole: bytes) -> None:
    head = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:head])
    said = json.loads(header["__metadata__"]["fl_bench"])
    parts: list[dict[str, Any]] = [header, said, said["about"], said["about"]["nets"], said["about"]["nets"]["mlp-8"]]
    parts += [one for name, one in header.items() if name != "__metadata__"][:2]
    holder = data.draw(st.sampled_from(parts))
    holder[data.draw(st.sampled_from(sorted(holder)))] = data.draw(values)
    if "fl_bench" in (header.get("__metadata__") or {}):
        header["__metadata__"] = {"fl_bench": json.dumps(said)}
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    read(folder, len(text).to_bytes(8, "little") + text + whole[head:])
