"""Writes small data sets as the libraries datasets and flwr-datasets save them, and as LEAF's scripts do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa


def save_to_disk(folder: Path, table: pa.Table, features: dict[str, Any], shards: int = 1) -> Path:
    """What `datasets.Dataset.save_to_disk` writes: Arrow streams, state.json, dataset_info.json."""
    import pyarrow as pa

    folder.mkdir(parents=True)
    names = [f"data-{shard:05d}-of-{shards:05d}.arrow" for shard in range(shards)]
    size = -(-len(table) // shards)
    for shard, name in enumerate(names):
        about = {b"huggingface": json.dumps({"info": {"features": features}, "fingerprint": f"{shard:016x}"}).encode()}
        part = table.slice(shard * size, size).replace_schema_metadata(about)
        with (folder / name).open("wb") as file, pa.ipc.new_stream(file, part.schema) as stream:
            stream.write_table(part)
    state = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": "70464aca32010ca6",
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    info = {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
    (folder / "state.json").write_text(json.dumps(state, indent=2))
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=2))
    return folder


def save_splits(folder: Path, splits: dict[str, pa.Table], features: dict[str, Any]) -> Path:
    """What `datasets.DatasetDict.save_to_disk` writes: a folder per split and their list."""
    for split, table in splits.items():
        save_to_disk(folder / split, table, features)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": [*splits]}))
    return folder


def value(dtype: str) -> dict[str, str]:
    """How the library describes a plain column."""
    return {"dtype": dtype, "_type": "Value"}


def write_leaf(path: Path, users: dict[str, tuple[list[Any], list[Any]]]) -> Path:
    """One JSON file as LEAF's scripts write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "users": [*users],
        "num_samples": [len(labels) for _, labels in users.values()],
        "user_data": {user: {"x": samples, "y": labels} for user, (samples, labels) in users.items()},
    }
    path.write_text(json.dumps(content))
    return path
