"""The user's own files (datasets room): `npz:FILE`, `csv:FILE?target=COLUMN`, `folder:FOLDER`."""

from __future__ import annotations

import csv
import warnings
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.errors import ConfigError, DataError, unknown_name
from fl_bench.limits import refuse_larger

from .argument import file_argument, file_sha256, folder_argument, locate_argument, names_digest, side_option
from .dataset import build_dataset
from .images import layout, picture_format, read_images
from .source import Request, dataset
from .tables import encode_features, encode_labels, encode_target, read_npz

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from .dataset import Dataset

PICTURES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


# npz: arrays -------------------------------------------------------------------------------------------------------


def _check_npz(request: Request) -> None:
    file_argument(request)


def _npz_clients(request: Request) -> int | None:
    """Clients that the arrays `client` or `client_train` and `client_test` name."""
    found = [array for name, array in read_npz(file_argument(request)[0]).items() if name.startswith("client")]
    return len(np.unique(np.concatenate(found))) if found else None


@dataset("npz", needs="file", argument="<file>", locate=locate_argument, check=_check_npz, digest=file_sha256,
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
    path, _ = file_argument(request)
    arrays = read_npz(path)
    sides = ("_train", "_test") if "x_train" in arrays else ("",)
    needed = [f"{array}{side}" for array in "xy" for side in sides]
    if absent := [key for key in needed if key not in arrays]:
        raise DataError(
            f"{path} lacks {', '.join(absent)}; it holds {', '.join(sorted(arrays)) or 'nothing'}, and x and y, or "
            "x_train, y_train, x_test and y_test would do"
        )
    inputs = [layout(arrays[f"x{side}"], path) for side in sides]
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


# csv: a table ------------------------------------------------------------------------------------------------------


def _check_csv(request: Request) -> None:
    path, options = file_argument(request, "target", "client")
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
    path, options = file_argument(request, "target", "client")
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


@dataset("csv", modality="tabular", needs="file", argument="<file>?target=<column>", locate=locate_argument,
         check=_check_csv, digest=file_sha256, clients=_csv_clients)  # fmt: skip
def table(request: Request) -> Dataset:
    """A comma-separated table of yours, with a header; `&client=COLUMN` names the rows' clients.

    Text columns are one-hot, missing numbers become the training mean, a fifth of the rows is the test set.

    Raises:
        DataError: the table cannot be read, or a column cannot be encoded.
    """
    path, options = file_argument(request, "target", "client")
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
    path, options = folder_argument(request, "size")
    return path, side_option(request, options)


def _check_folder(request: Request) -> None:
    _folder(request)


def _folder_digest(request: Request) -> str:
    path, _ = _folder(request)
    return names_digest(path, _pictures(path))


@dataset("folder", modality="image", needs="folder", argument="<folder>", locate=locate_argument, check=_check_folder,
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
