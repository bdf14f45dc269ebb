"""Any classification set of OpenML (datasets room), through scikit-learn; kept as plain arrays after the first time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.errors import ConfigError, DataError

from .dataset import build_dataset
from .source import Request, dataset
from .tables import encode_features, encode_target, read_npz

if TYPE_CHECKING:
    from pathlib import Path

    from .dataset import Dataset

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._()+-]{0,99}(@[0-9]{1,9})?")
FILE = "table.npz"


def _folder(request: Request) -> str:
    return f"openml-{request.argument}"


def _places(request: Request) -> list[Path]:
    return [root / _folder(request) for root in request.roots]


def _find(request: Request) -> Path | None:
    return next((place / FILE for place in _places(request) if (place / FILE).is_file()), None)


def _locate(request: Request) -> tuple[bool, str]:
    found = _find(request)
    return (True, str(found)) if found else (False, "--download fetches it from openml.org, once")


def _check(request: Request) -> None:
    if not NAME.fullmatch(request.argument):
        raise ConfigError(
            f"{request.name!r}: what follows openml: must be a name, name@version or a number, such as "
            "openml:credit-g, openml:credit-g@1 or openml:31"
        )


@dataset("openml", modality="tabular", needs="download", argument="<name or id>", locate=_locate, check=_check)
def openml(request: Request) -> Dataset:
    """A classification set of openml.org by name, name@version or id.

    Categories are one-hot, missing numbers become the training mean, a fifth of the rows is the test set. The table
    is kept with its missing values, so that later runs need no network and see the same rows. A name without a
    version takes the active version of the day it is fetched.

    Raises:
        DataError: it is not kept and may not be fetched, OpenML cannot be reached, or it is no classification set.
    """
    found = _find(request)
    if found is None:
        if not request.download:
            raise request.missing(
                _places(request),
                [
                    "allow the download with --download (openml.org must be reachable)",
                    f"copy the folder {_folder(request)} from a machine that has it to where --data-dir points",
                ],
            )
        found = request.fetch(_folder(request), lambda folder: _fetch(request, folder / FILE)) / FILE
    stored = read_npz(found)
    if absent := {"inputs", "labels", "class_names", "source"} - stored.keys():
        raise DataError(f"{found} lacks {', '.join(sorted(absent))}; remove its folder and fetch it again")
    names = [str(name) for name in stored["class_names"]]
    return build_dataset(
        request.name,
        stored["inputs"],
        stored["labels"],
        source=str(stored["source"]),
        split_name="openml",
        classes=len(names),
        class_names=names,
    )


def _fetch(request: Request, target: Path) -> None:
    """Fetch one set and write it as plain arrays: features with NaN, class codes, class names, source."""
    from sklearn.datasets import fetch_openml

    name, _, number = request.argument.partition("@")
    which: dict[str, object] = {"data_id": int(name)} if name.isdigit() else {"name": name}
    if number:
        which["version"] = int(number)
    bunch = fetch_openml(**which, as_frame=True, cache=False, parser="auto")
    if bunch.target is None or bunch.target.ndim != 1:
        raise DataError(f"{request.name!r} has no single target column on OpenML; it is no classification set")
    labels, names = encode_target(bunch.target, request.name)
    details = bunch.details
    np.savez_compressed(
        target,
        inputs=encode_features(bunch.data, request.name),
        labels=labels,
        class_names=np.array(names),
        source=np.array(f"openml.org: {details['name']}, version {details['version']}, id {details['id']}"),
    )
