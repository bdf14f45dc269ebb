"""The user's own files (datasets room): `npz:FILE`, `csv:FILE?target=COLUMN`, `folder:FOLDER`."""

from __future__ import annotations

import csv
import hashlib
import warnings
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import numpy as np

from fl_bench.errors import ConfigError, DataError, unknown_name
from fl_bench.limits import refuse_larger

from .dataset import build_dataset
from .images import picture_format, read_images
from .source import Request, dataset, user_path
from .tables import encode_features, encode_labels, encode_target, read_npz

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from .dataset import Dataset

PICTURES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def _parse(request: Request, *known: str) -> tuple[Path, dict[str, str]]:
    """Path and options of `PATH?option=value&option=value`.

    Raises:
        ConfigError: an option is unknown, malformed or given twice.
    """
    path, _, query = request.argument.partition("?")
    try:
        pairs = parse_qsl(query, strict_parsing=True) if query else []
    except ValueError:
        raise ConfigError(f"{request.name!r}: options after ? are option=value, joined by &; got {query!r}") from None
    for option, _ in pairs:
        if option not in known:
            raise unknown_name(f"option of {request.name.partition(':')[0]}:", option, known)
    if len(dict(pairs)) < len(pairs):
        raise ConfigError(f"{request.name!r} gives an option twice")
    return user_path(path), dict(pairs)


def _file(request: Request, *known: str) -> tuple[Path, dict[str, str]]:
    path, options = _parse(request, *known)
    if not path.is_file():
        raise ConfigError(f"{request.name!r}: there is no file {path.absolute()}")
    return path, options


def _sha256(request: Request) -> str:
    with user_path(request.argument.partition("?")[0]).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _locate(request: Request) -> tuple[bool, str]:
    path = user_path(request.argument.partition("?")[0])
    return (True, str(path)) if path.exists() else (False, f"{path} does not exist")


# npz: arrays -------------------------------------------------------------------------------------------------------


def _check_npz(request: Request) -> None:
    _file(request)


def _npz_clients(request: Request) -> int | None:
    """Clients that the arrays `client` or `client_train` and `client_test` name."""
    found = [array for name, array in read_npz(_file(request)[0]).items() if name.startswith("client")]
    return len(np.unique(np.concatenate(found))) if found else None


@dataset("npz", needs="file", argument="<file>", locate=_locate, check=_check_npz, digest=_sha256,
         clients=_npz_clients)  # fmt: skip
def npz(request: Request) -> Dataset:
    """NumPy arrays of yours: x and y, or x_train, y_train, x_test and y_test.

    Inputs of shape (rows, features) are a table (NaN: missing); (rows, height, width), with channels first or last,
    images, uint8 or in [0, 1]. Classes are whole numbers or text. An array `client` (or `client_train` and
    `client_test`) of whole numbers or text names each row's client for the scheme `natural`. Without a test set of
    yours, a fifth is held out.

    Raises:
        DataError: arrays are missing, do not fit together or hold Python objects.
    """
    path, _ = _file(request)
    arrays = read_npz(path)
    sides = ("_train", "_test") if "x_train" in arrays else ("",)
    needed = [f"{array}{side}" for array in "xy" for side in sides]
    if absent := [key for key in needed if key not in arrays]:
        raise DataError(
            f"{path} lacks {', '.join(absent)}; it holds {', '.join(sorted(arrays)) or 'nothing'}, and x and y, or "
            "x_train, y_train, x_test and y_test would do"
        )
    inputs = [_layout(arrays[f"x{side}"], path) for side in sides]
    if len({part.shape[1:] for part in inputs}) > 1 or len({part.dtype for part in inputs}) > 1:
        raise DataError(f"{path}: training and test inputs differ: {[(p.shape, str(p.dtype)) for p in inputs]}")
    labels, names = encode_labels(np.concatenate([arrays[f"y{side}"].ravel() for side in sides]), request.name)
    clients = [arrays[f"client{side}"] for side in sides if f"client{side}" in arrays]
    if 0 < len(clients) < len(sides):
        raise DataError(f"{path} names clients for one side only; client_train and client_test are both needed")
    if any(column.ndim != 1 or column.dtype.kind not in "iubU" for column in clients):
        raise DataError(f"{path}: clients must be whole numbers or text, one for each row")
    return build_dataset(
        request.name,
        np.concatenate(inputs),
        labels,
        source=f"user file {path.name}",
        train_size=len(inputs[0]) if len(sides) == 2 else None,
        split_name="npz",
        classes=len(names),
        class_names=names,
        natural=np.unique(np.concatenate(clients), return_inverse=True)[1] if clients else None,
    )


def _layout(inputs: np.ndarray, path: Path) -> np.ndarray:
    """A table as it is; images as (rows, channels, height, width)."""
    if inputs.dtype.kind not in "fiub" or inputs.ndim not in (2, 3, 4):
        raise DataError(f"{path}: inputs must be numbers with 2 to 4 axes, found {inputs.dtype} {inputs.shape}")
    if inputs.ndim == 3:
        return inputs[:, None]
    if inputs.ndim == 4 and inputs.shape[1] not in (1, 3):
        if inputs.shape[3] not in (1, 3):
            raise DataError(f"{path}: images need 1 or 3 channels, first or last; found shape {inputs.shape}")
        return inputs.transpose(0, 3, 1, 2)
    return inputs


# csv: a table ------------------------------------------------------------------------------------------------------


def _check_csv(request: Request) -> None:
    path, options = _file(request, "target", "client")
    if "target" not in options:
        raise ConfigError(f"{request.name!r} does not say which column is the class: csv:FILE?target=COLUMN")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            columns = next(csv.reader(stream), [])
    except UnicodeDecodeError:
        raise ConfigError(f"{request.name!r}: {path} is not UTF-8 text") from None
    except csv.Error as error:
        raise ConfigError(f"{request.name!r}: the headings of {path} cannot be read: {error}") from None
    for column in options.values():
        if column not in columns:
            raise unknown_name(f"column of {path}", column, columns)


def _csv_clients(request: Request) -> int | None:
    """Clients that the column `client` names."""
    path, options = _file(request, "target", "client")
    if "client" not in options:
        return None
    frame = _read_csv(path)
    return frame[options["client"]].astype(str).nunique() if options["client"] in frame else None


def _read_csv(path: Path) -> pd.DataFrame:
    """A comma-separated table with a header.

    Raises:
        DataError: it cannot be read as one, or takes more than memory holds.
    """
    import pandas as pd

    refuse_larger(f"the table {path}", path.stat().st_size)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # lines with more cells than headings
            return pd.read_csv(path, encoding="utf-8-sig", index_col=False)
    except (ValueError, OSError, OverflowError, pd.errors.ParserWarning) as error:  # its parser errors are ValueErrors
        raise DataError(f"{path} cannot be read as a comma-separated table: {error}") from error


@dataset("csv", modality="tabular", needs="file", argument="<file>?target=<column>", locate=_locate,
         check=_check_csv, digest=_sha256, clients=_csv_clients)  # fmt: skip
def table(request: Request) -> Dataset:
    """A comma-separated table of yours, with a header; `&client=COLUMN` names the rows' clients.

    Text columns are one-hot, missing numbers become the training mean, a fifth of the rows is the test set.

    Raises:
        DataError: the table cannot be read, or a column cannot be encoded.
    """
    path, options = _file(request, "target", "client")
    frame = _read_csv(path)
    if lost := {*options.values()} - {*frame.columns}:
        hidden = ", ".join(sorted(lost))
        raise DataError(f"{path} cannot be read as a comma-separated table: its headings hide {hidden}")
    labels, names = encode_target(frame[options["target"]], request.name)
    natural = None
    if "client" in options:
        natural = np.unique(frame[options["client"]].astype(str).to_numpy(dtype=str), return_inverse=True)[1]
    return build_dataset(
        request.name,
        encode_features(frame.drop(columns=list(options.values())), request.name),
        labels,
        source=f"user file {path.name}",
        split_name="csv",
        classes=len(names),
        class_names=names,
        natural=natural,
    )


# folder: pictures --------------------------------------------------------------------------------------------------


def _folder(request: Request) -> tuple[Path, int | None]:
    path, options = _parse(request, "size")
    if not path.is_dir():
        raise ConfigError(f"{request.name!r}: there is no folder {path.absolute()}")
    size = options.get("size")
    if size is None:
        return path, None
    if not size.isdecimal() or not 1 <= int(size) <= 1024:
        raise ConfigError(f"{request.name!r}: size must be a whole number from 1 to 1024, got {size!r}")
    return path, int(size)


def _check_folder(request: Request) -> None:
    _folder(request)


def _folder_digest(request: Request) -> str:
    path, _ = _folder(request)
    files = sorted((str(file.relative_to(path).as_posix()), file.stat().st_size) for file in _pictures(path))
    return hashlib.sha256(repr(files).encode()).hexdigest()


@dataset("folder", modality="image", needs="folder", argument="<folder>", locate=_locate, check=_check_folder,
         digest=_folder_digest)  # fmt: skip
def folder(request: Request) -> Dataset:
    """Pictures of yours, a subfolder per class; train/ and test/ (or val/) on top are kept apart.

    All pictures are brought to the size of the first one, or to `?size=32`, as a whole; grey if the first one is.
    Without a test folder, a fifth is held out.

    Raises:
        DataError: there are no pictures, or one cannot be read.
    """
    path, wanted = _folder(request)
    tests = [path / name for name in ("test", "val") if (path / name).is_dir()]
    sides = [path / "train", tests[0]] if tests and (path / "train").is_dir() else [path]
    found = [[(file, file.relative_to(side).parts[0]) for file in _pictures(side)] for side in sides]
    rows = [row for side in found for row in side]
    loose = [file for file, top in rows if file.name == top]
    if loose or not rows:
        what = f"{loose[0]} lies outside them" if loose else "there is none"
        raise DataError(f"{path} must hold pictures in one subfolder per class; {what}")
    size, mode = picture_format(rows[0][0])
    labels, names = encode_labels(np.array([top for _, top in rows]), request.name)
    return build_dataset(
        request.name,
        read_images([file for file, _ in rows], (wanted, wanted) if wanted else size, mode),
        labels,
        source=f"user folder {path.name}",
        train_size=len(found[0]) if len(sides) == 2 else None,
        split_name="folder",
        classes=len(names),
        class_names=names,
    )


def _pictures(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.suffix.lower() in PICTURES and file.is_file())
