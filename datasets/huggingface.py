"""`hf:FOLDER` (datasets room): what the libraries of Hugging Face and Flower save to disk, read without either.

`Dataset.save_to_disk` writes Arrow streams (`data-*.arrow`), their list (`state.json`) and the types of the columns
(`dataset_info.json`). A `DatasetDict` is a folder of such folders, one per split, which `dataset_dict.json` lists. What
`flwr-datasets create` writes is a folder of `partition_<number>` folders, each of one or the other kind. pyarrow reads
the streams; of the columns' types, only the names of classes and what is a picture are looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fl_bench.errors import ConfigError, DataError, one_line, unknown_name
from fl_bench.limits import PARTS, refuse_larger

from .argument import folder_argument, locate_argument, names_digest, side_option
from .dataset import build_dataset
from .images import layout, picture_format, read_images
from .source import Request, dataset
from .tables import encode_features, encode_target, read_json

if TYPE_CHECKING:
    import pyarrow as pa

    from .dataset import Dataset

OPTIONS = ("target", "client", "input", "size")
INSTALL = "pip install 'fl-bench[hf]'"
TEST_SPLITS = ("test", "validation", "valid", "val")
"""What a split with test rows is called; the first one that there is."""
PARTITION = re.compile(r"partition_([0-9]{1,9})")


@dataclass(frozen=True)
class Part:
    """One folder of rows."""

    folder: Path
    """Where `state.json` lies."""
    test: bool
    """Whether these are test rows."""
    partition: int
    """The partition of `flwr-datasets create`, 0 where there are none."""


@dataclass(frozen=True)
class Rows:
    """All rows: training rows first, in the order of the partitions."""

    table: pa.Table
    """Columns as Arrow types."""
    features: dict[str, Any]
    """Types of the columns as `dataset_info.json` of the first part describes them."""
    partition: np.ndarray
    """Partition of each row, shape (rows,), int64."""
    train: int
    """Training rows."""


def _check(request: Request) -> None:
    path, options = folder_argument(request, *OPTIONS)
    side_option(request, options)
    if not _parts(path):
        raise ConfigError(
            f"{request.name!r}: {path} holds none of state.json, dataset_dict.json and partition_0, one of which "
            "Dataset.save_to_disk, DatasetDict.save_to_disk or flwr-datasets create would have written"
        )


def _digest(request: Request) -> str:
    path, _ = folder_argument(request, *OPTIONS)
    return names_digest(path, (file for part in _parts(path) for file in part.folder.glob("*") if file.is_file()))


def _clients(request: Request) -> int | None:
    """Clients that the column `client` names, or else partitions."""
    path, options = folder_argument(request, *OPTIONS)
    if "client" not in options:
        partitions = {part.partition for part in _parts(path)}
        return len(partitions) if len(partitions) > 1 else None
    rows = _read(_parts(path))
    column = _column(request, rows, options, "client", [])
    return None if column is None else len(np.unique(_texts(rows.table[column], column)))


@dataset("hf", needs="folder", argument="<folder>", locate=locate_argument, check=_check, digest=_digest,
         clients=_clients)  # fmt: skip
def hf(request: Request) -> Dataset:
    """A Hugging Face data set of yours, saved to disk, or the partitions that flwr-datasets wrote, as clients.

    The class is the only column of that type (ClassLabel), or `?target=COLUMN`; `&client=COLUMN` names the rows'
    clients. The inputs are the only column of pictures, all columns that are left, or `&input=COLUMN`. Pictures are
    brought to the size of the first one, or to `&size=32`. Lists of one length are numbers side by side; text columns
    are one-hot. A split `test` (or `validation`) is the test set; without one, a fifth is held out.

    Raises:
        DataError: pyarrow is not installed, or the folder does not hold what it says.
        ConfigError: the options name no column, or do not say which.
    """
    path, options = folder_argument(request, *OPTIONS)
    rows = _read(_parts(path))
    target = _column(request, rows, options, "target", _of_type(rows, "ClassLabel"))
    client = _column(request, rows, options, "client", [])
    others = [name for name in rows.table.column_names if name not in (target, client)]
    pictures = [name for name in _of_type(rows, "Image") if name in others]
    chosen = _column(request, rows, options, "input", pictures if len(pictures) == 1 else [])
    if target is None:
        raise ConfigError(
            f"{request.name!r} does not say which column is the class: hf:FOLDER?target=COLUMN (columns: "
            f"{', '.join(map(repr, rows.table.column_names))})"
        )
    labels, names = _classes(rows, target, request.name)
    natural = rows.partition if len(np.unique(rows.partition)) > 1 else None
    if client is not None:
        natural = np.unique(_texts(rows.table[client], client), return_inverse=True)[1]
    return build_dataset(
        request.name,
        _inputs(rows, others if chosen is None else [chosen], path, side_option(request, options), request.name),
        labels,
        source=f"user folder {path.name}, saved by the library datasets",
        train_size=rows.train if rows.train < len(labels) else None,
        split_name="hf",
        classes=len(names),
        class_names=names,
        natural=natural,
    )


# where rows lie -----------------------------------------------------------------------------------------------------


def _parts(path: Path) -> list[Part]:
    """The folders of rows, training rows first; nothing where the folder is none of the three kinds."""
    found = [(0, path)]
    if not _kind(path):
        folders = [folder for folder in path.glob("partition_*") if PARTITION.fullmatch(folder.name) and _kind(folder)]
        found = sorted((int(folder.name.removeprefix("partition_")), folder) for folder in folders)
    if len(found) > PARTS:
        raise DataError(f"{path} holds {len(found)} partitions; at most {PARTS} can be read")
    parts = [part for partition, folder in found for part in _sides(folder, partition)]
    return sorted(parts, key=lambda part: part.test)  # the order of the partitions stays


def _kind(folder: Path) -> str:
    """The file that says what a folder of rows is, or nothing."""
    return next((name for name in ("state.json", "dataset_dict.json") if (folder / name).is_file()), "")


def _sides(folder: Path, partition: int) -> list[Part]:
    """Training and test rows of one `Dataset` or `DatasetDict`."""
    kind = _kind(folder)
    if kind != "dataset_dict.json":
        return [Part(folder, False, partition)] if kind else []
    splits = read_json(folder / kind, dict).get("splits")
    if not isinstance(splits, list) or "train" not in splits:
        raise DataError(f"{folder / kind} should list the splits, with one called train; found {one_line(splits)}")
    test = next((name for name in TEST_SPLITS if name in splits), None)
    return [Part(folder / name, name != "train", partition) for name in ("train", test) if name is not None]


def _read(parts: list[Part]) -> Rows:
    """All parts as one table.

    Raises:
        DataError: a part cannot be read, or has other columns than the first one.
    """
    features = read_json(parts[0].folder / "dataset_info.json", dict).get("features")
    if not isinstance(features, dict):
        raise DataError(f"{parts[0].folder / 'dataset_info.json'} should describe the features, the data set's columns")
    files = [(part, file) for part in parts for file in _files(part.folder)]
    refuse_larger(f"the tables in {parts[0].folder.parent}", sum(file.stat().st_size for _, file in files))
    pa = _pyarrow()
    tables = []
    for _, file in files:
        tables.append(_stream(file))
        if tables[-1].schema.remove_metadata() != tables[0].schema.remove_metadata():
            raise DataError(f"{file} has other columns than {files[0][1]}; all parts of a data set need the same")
    counts = [len(table) for table in tables]
    return Rows(
        pa.concat_tables([table.replace_schema_metadata(None) for table in tables]),
        features,
        np.repeat([part.partition for part, _ in files], counts).astype(np.int64),
        sum(count for count, (part, _) in zip(counts, files, strict=True) if not part.test),
    )


def _files(folder: Path) -> list[Path]:
    """The Arrow files that `state.json` lists, which lie beside it."""
    state = folder / "state.json"
    listed = read_json(state, dict).get("_data_files")
    names = (
        [file.get("filename") if isinstance(file, dict) else None for file in listed or []]
        if isinstance(listed, list)
        else []
    )
    if not names or not all(isinstance(name, str) and name == Path(name).name and name for name in names):
        raise DataError(f"{state} should list the files beside it as _data_files, found {one_line(listed)}")
    files = [folder / str(name) for name in names]
    if lost := [file for file in files if not file.is_file()]:
        raise DataError(f"{state} lists {lost[0].name!r}, which is not there")
    return files


def _stream(path: Path) -> pa.Table:
    """One Arrow stream, checked in whole: what it declares must be what it holds."""
    pa = _pyarrow()
    try:
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise DataError(f"{path} is not a readable Arrow stream: {one_line(error)}") from error
    if len(set(table.column_names)) < len(table.column_names):
        raise DataError(f"{path} has columns of the same name: {', '.join(map(repr, table.column_names))}")
    return table


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise DataError(f"hf: reads Arrow files with pyarrow, which cannot be imported ({error}): {INSTALL}") from None
    return pyarrow


# columns ------------------------------------------------------------------------------------------------------------


def _of_type(rows: Rows, kind: str) -> list[str]:
    """Columns that `dataset_info.json` says are of a type of the library, `ClassLabel` or `Image`."""
    described = {name: about for name, about in rows.features.items() if isinstance(about, dict)}
    return [name for name in rows.table.column_names if described.get(name, {}).get("_type") == kind]


def _column(request: Request, rows: Rows, options: dict[str, str], option: str, candidates: list[str]) -> str | None:
    """The column that an option names, or else the only candidate; None where there are none or several."""
    named = options.get(option)
    if named is None:
        return candidates[0] if len(candidates) == 1 else None
    if named not in rows.table.column_names:
        raise unknown_name(f"column of {request.argument.partition('?')[0]}", named, rows.table.column_names)
    return named


def _classes(rows: Rows, column: str, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class codes and names: the library's where the column has them, else in the order of the values."""
    about = rows.features.get(column)
    names = about.get("names") if isinstance(about, dict) and about.get("_type") == "ClassLabel" else None
    series = rows.table[column].to_pandas()
    if names is None:
        return encode_target(series.rename(column), name)
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(text, str) for text in names):
        raise DataError(f"the classes of column {column!r} of {name!r} should be two names or more")
    without = int(series.isna().sum()) + int((series == -1).sum())  # the library's mark of a row without a class
    if without or series.dtype.kind not in "iu":
        raise DataError(f"column {column!r} of {name!r} has {without} rows without a class")
    return series.to_numpy().astype(np.int64), tuple(names)


def _texts(values: pa.ChunkedArray, column: str) -> np.ndarray:
    """Names of clients, as texts."""
    pa = _pyarrow()
    if pa.types.is_nested(values.type) or values.null_count:
        raise DataError(f"column {column!r} should name a client in every row, found {values.type}")
    names: np.ndarray = values.to_pandas().astype(str).to_numpy(dtype=str)
    return names


def _inputs(rows: Rows, columns: list[str], path: Path, size: int | None, name: str) -> np.ndarray:
    """Pictures, one column of lists in lists, or a table of all columns side by side."""
    pa = _pyarrow()
    if len(columns) == 1 and columns[0] in _of_type(rows, "Image"):
        return _pictures(rows.table[columns[0]], columns[0], size)
    parts = []
    for column in columns:
        values = rows.table[column]
        kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
        if _is_list(kind):
            parts.append(_numbers(values.combine_chunks(), column))
        elif pa.types.is_nested(kind) or not (
            pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or _is_text(kind)
        ):
            raise DataError(
                f"column {column!r} of {name!r} holds {one_line(values.type)}; numbers, texts, lists of numbers and "
                "one column of pictures can be read: name the inputs with &input=COLUMN, or remove it"
            )
        else:
            parts.append(encode_features(values.to_pandas().to_frame(column), name))
    if len(parts) == 1:
        return layout(parts[0], path)
    if not parts or any(part.ndim != 2 for part in parts):
        raise DataError(
            f"{name!r} has no feature column"
            if not parts
            else f"{name!r} has lists in lists beside other columns: name the inputs with &input=COLUMN"
        )
    refuse_larger(f"the table {path}", 8 * sum(part.size for part in parts))
    return np.concatenate(parts, axis=1)


def _is_list(kind: pa.DataType) -> bool:
    types = _pyarrow().types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_text(kind: pa.DataType) -> bool:
    types = _pyarrow().types
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _numbers(values: pa.Array, column: str) -> np.ndarray:
    """Lists of one length, also in lists, as an array of as many axes.

    Raises:
        DataError: lists differ in length, something is missing, or what they hold are no numbers.
    """
    pa = _pyarrow()
    from pyarrow import compute

    shape = [len(values)]
    while _is_list(values.type):
        lengths = compute.unique(compute.list_value_length(values)).to_pylist()
        if len(lengths) != 1 or lengths[0] is None:
            raise DataError(f"the lists in column {column!r} differ in length: {sorted(map(str, lengths))[:5]}")
        shape.append(lengths[0])
        values = values.flatten()
    if values.null_count or not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise DataError(f"the lists in column {column!r} should hold numbers, found {values.type} or gaps")
    numbers: np.ndarray = values.to_numpy(zero_copy_only=False)
    return numbers.reshape(shape)


def _pictures(values: pa.ChunkedArray, column: str, size: int | None) -> np.ndarray:
    """Decode pictures that lie in the table; those that it only names by path are never looked for."""
    pa = _pyarrow()
    if pa.types.is_struct(values.type) and "bytes" in {field.name for field in values.type}:
        values = pa.chunked_array([chunk.field("bytes") for chunk in values.chunks])
    if not (pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type)) or values.null_count:
        raise DataError(
            f"the pictures in column {column!r} are not in the table itself, or some are missing; save the data set "
            "again with the pictures in it (embed_external_files, the library's default)"
        )
    content: list[bytes] = values.to_pylist()
    if not content:
        raise DataError(f"column {column!r} has no pictures")
    first, mode = picture_format(content[0])
    return read_images(content, (size, size) if size else first, mode)
