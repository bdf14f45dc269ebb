"""What there is to choose from (benchmarks room): rows for `fl-bench list` and `describe`; imports no torch."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from typing import TYPE_CHECKING, Any

from ..datasets.catalogue import listing
from ..datasets.partition import PARTITIONS
from ..federation.models import model_names
from ..methods.registry import METHODS
from .configure import blame
from .grid import GRIDS, read_grid

if TYPE_CHECKING:
    from collections.abc import Callable

Row = dict[str, Any]


def methods() -> list[Row]:
    """Every method: what it needs, what it puts on the wire, one sentence."""
    return [
        {
            "name": name,
            "category": METHODS[name].category,
            "needs": METHODS[name].requires.words(),
            "exchanges": sorted(payload.__name__ for payload in METHODS[name].exchanges),
            "summary": METHODS[name].summary(),
        }
        for name in METHODS.names()
    ]


def datasets() -> list[Row]:
    """Every data set and family of data sets."""
    return [
        {
            "name": facts.name,
            "kind": facts.modality,
            "shape": None if facts.shape is None else "x".join(map(str, facts.shape)),
            "classes": facts.classes,
            "train": facts.train,
            "test": facts.test,
            "needs": facts.needs,
            "summary": facts.summary,
        }
        for facts in listing()
    ]


def partitions() -> list[Row]:
    """Every partition scheme with its settings."""
    return [
        {
            "name": name,
            "settings": [f"{setting.name}={_default(setting)}" for setting in dataclasses.fields(PARTITIONS[name])],
            "summary": (inspect.getdoc(PARTITIONS[name]) or "").partition("\n")[0],
        }
        for name in PARTITIONS.names()
    ]


def grids() -> list[Row]:
    """The grids that come with fl-bench."""
    rows = []
    for path in sorted(GRIDS.glob("*.yaml")):
        grid = read_grid(path)
        with blame(str(path)):
            rows.append({"name": path.stem, "datasets": list(grid.datasets), "description": grid.description})
    return rows


LISTINGS: dict[str, Callable[[], list[Row]]] = {
    "methods": methods,
    "datasets": datasets,
    "models": lambda: [dict(row) for row in model_names()],
    "partitions": partitions,
    "grids": grids,
}
"""What `fl-bench list` can list."""


def describe(name: str) -> Row:
    """All there is to say of a method: its module's text, needs, payloads and settings.

    Raises:
        ConfigError: no method has the name.
    """
    method = METHODS[name]
    return {
        "name": name,
        "category": method.category,
        "needs": method.requires.words(),
        "exchanges": sorted(payload.__name__ for payload in method.exchanges),
        "deployed view": method.deployed_view,
        "text": inspect.getdoc(sys.modules[method.__module__]) or "",
        "settings": settings(method.config_type),
    }


def settings(kind: type[Any]) -> list[Row]:
    """Name, type, default and meaning of every setting of a frozen dataclass."""
    texts = _field_texts(kind)
    return [
        {
            "setting": setting.name,
            "type": str(setting.type),
            "default": _default(setting),
            "meaning": texts.get(setting.name, ""),
        }
        for setting in dataclasses.fields(kind)
    ]


def _default(setting: dataclasses.Field[Any]) -> str:
    if setting.default is not dataclasses.MISSING:
        return "null" if setting.default is None else str(setting.default)
    return "needed" if setting.default_factory is dataclasses.MISSING else str(setting.default_factory())


def _field_texts(kind: type[Any]) -> dict[str, str]:
    """The string under each field of a dataclass; nothing where the source cannot be read."""
    import ast

    try:
        (tree,) = ast.parse(inspect.cleandoc("\n" + inspect.getsource(kind))).body
    except (OSError, SyntaxError, TypeError, ValueError):
        return {}
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for field, text in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            found[field.target.id] = re.sub(r"\s+", " ", text.value.value).strip()
    return found
