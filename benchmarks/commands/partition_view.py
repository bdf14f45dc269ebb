"""A partition on the terminal (benchmarks room): sizes, a picture of characters and measured heterogeneity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fl_bench.errors import DataError

from ..tables.charts import shaded
from ..tables.printing import print_table

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console


def print_partition(console: Console, view: dict[str, Any]) -> None:
    """Sizes, picture, numbers."""
    clients = view["clients"]
    names = [
        f"client {row['client']}" + ("" if row["group"] is None else f" (group {row['group']})") for row in clients
    ]
    console.print(
        f"{view['dataset']}, {view['scheme']}, seed {view['seed']}: training samples by client and class",
        markup=False,
        highlight=False,
    )
    if view["dealt_differently"]:
        console.print(view["dealt_differently"], markup=False, highlight=False)
    picture = shaded(np.array([row["classes"] for row in clients]), rows=names)
    console.print(picture, markup=False, highlight=False, no_wrap=True, overflow="ignore", crop=False)
    sizes = [
        {"of each client": part, **_spread([row[part] for row in clients])} for part in ("train", "validation", "test")
    ]
    caption = f"public pool {view['public']}{_pool(view.get('pool'))}, global test set {view['global_test']}"
    print_table(console, sizes, caption=caption)
    measured = [
        {"heterogeneity": name.replace("_", " "), "value": value} for name, value in view["heterogeneity"].items()
    ]
    print_table(console, [row for row in measured if row["value"] is not None])


def write_png(view: dict[str, Any], path: Path) -> None:
    """The picture as a PNG.

    Raises:
        ConfigError: matplotlib is not installed.
        DataError: the file cannot be written.
    """
    from ..figures.dealing import draw
    from ..figures.style import check_matplotlib

    check_matplotlib()
    figure = draw(view)
    try:
        figure.savefig(path, format="png", dpi=150)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from None


def _pool(pool: dict[str, Any] | None) -> str:
    """What became of a pool that is not plain, in brackets."""
    if pool is None:
        return ""
    parts = []
    if pool["foreign"]:
        parts.append(f"{pool['foreign']} of them from {pool['source']}")
    if pool["missing_classes"]:
        classes = ", ".join(map(str, pool["missing_classes"]))
        parts.append(f"without {100 * pool['removed']:g} % of classes {classes}")
    parts += [f"{name} {severity}" for name, severity in pool["changes"].items()]
    return f" ({'; '.join(parts)})"


def _spread(sizes: list[int]) -> dict[str, float | int]:
    return {
        "least": min(sizes),
        "median": float(np.median(sizes)),
        "most": max(sizes),
        "all": sum(sizes),
    }
