"""What there is to choose from (benchmarks room): rows for `fl-bench list` and `describe`; imports no torch.

Each listing imports what it lists, and nothing else: the commands have to answer at once.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import shlex
import sys
from typing import TYPE_CHECKING, Any

from fl_bench.spaces import spaces_of

from ...federation.settings import Training
from ...methods.local_rules import in_words, local_rules
from ...methods.registry import METHODS
from ..grid.plugins import plugin_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.registry import Registry

Row = dict[str, Any]


def methods() -> list[Row]:
    """Every method, by category: what it exchanges, what it needs, who published it."""
    rows = [
        {
            "name": name,
            "category": METHODS[name].category,
            "exchange": METHODS[name].wire or "nothing",
            "needs": METHODS[name].requires.words(),
            "paper": METHODS[name].paper,
            "summary": METHODS[name].summary(),
        }
        for name in METHODS.names()
    ]
    return sorted(rows, key=lambda row: (str(row["category"]), str(row["name"])))


def datasets() -> list[Row]:
    """Every data set and family of data sets."""
    from ...datasets.catalogue import listing

    return [
        {
            "name": facts.name,
            "kind": facts.modality,
            "shape": None if facts.shape is None else "x".join(map(str, facts.shape)),
            "classes": facts.classes,
            "train": facts.train,
            "test": facts.test,
            "clients": facts.clients,
            "needs": facts.needs,
            "family": facts.family,
            "summary": facts.summary,
        }
        for facts in listing()
    ]


def partitions() -> list[Row]:
    """Every partition scheme with its settings."""
    from ...datasets.partition import PARTITIONS

    return _configurable(PARTITIONS)


def executors() -> list[Row]:
    """Every executor with its settings."""
    from ..grid.executors import EXECUTORS

    return _configurable(EXECUTORS)


def _configurable(registry: Registry[type[Any]]) -> list[Row]:
    """Frozen dataclasses of settings, by name."""
    return [
        {
            "name": name,
            "settings": [f"{setting.name}={_default(setting)}" for setting in dataclasses.fields(registry[name])],
            "summary": (inspect.getdoc(registry[name]) or "").partition("\n")[0],
        }
        for name in registry.names()
    ]


def grids() -> list[Row]:
    """The grids that come with fl-bench."""
    from ..grid.configure import blame
    from ..grid.grid import GRIDS, read_grid

    rows = []
    for path in sorted(GRIDS.glob("*.yaml")):
        grid = read_grid(path)
        with blame(str(path)):
            rows.append({"name": path.stem, "datasets": list(grid.datasets), "description": grid.description})
    return rows


def models() -> list[Row]:
    """Every net and family of nets."""
    from ...federation.models import model_names

    return [dict(row) for row in model_names()]


LISTINGS: dict[str, Callable[[], list[Row]]] = {
    "methods": methods,
    "datasets": datasets,
    "models": models,
    "partitions": partitions,
    "executors": executors,
    "grids": grids,
}
"""What `fl-bench list` can list."""

COLUMNS = {"methods": ("name", "category", "exchange", "needs", "paper")}
"""Columns of tables that do not show all that JSON has."""

SYMBOLS = (
    "exchange, per client and round: N public samples (N_t of them scored in a round), C classes (C_i held by "
    "client i), d features, K clusters or models; #theta, #body, #head numbers in a net and its parts, #omega in a "
    "net that all clients share beside their own, r a rank, H bits of entropy; b bytes per number (4)"
)
"""What the letters of `Method.wire` mean."""

NARROW = 120
"""Characters per line below which `HIDDEN` columns are left out."""

HIDDEN = {"datasets": ("family", "summary")}
"""Columns that would make a third part of a table at 80 columns, and say least."""

CAPTIONS = {"methods": SYMBOLS}
"""What stands below a table."""


def describe(name: str) -> Row:
    """All there is to say of a method: its module's text, paper, needs, exchange, settings, and a command to try.

    Raises:
        ConfigError: no method has the name.
    """
    method = METHODS[name]
    return {
        "name": name,
        "category": method.category,
        "paper": method.paper,
        "needs": method.requires.words(),
        "exchange": method.wire or "nothing",
        "payloads": sorted(payload.__name__ for payload in method().payloads()),
        "trains with": in_words(local_rules(method(), Training())),
        "deployed view": method.deployed_view,
        "deploys": method.deploys,
        "absent clients": "tolerated" if method.tolerates_absence else "not tolerated: runs with them are unsupported",
        "near": [f"{other}: {why}" for other, why in method.near],
        "newcomers": (inspect.getdoc(method.unseen) or "").partition("\n")[0],
        "example": example(name),
        # As it stands: `getdoc` would take the indent of a box of formulas that nothing unindented follows.
        "text": (sys.modules[method.__module__].__doc__ or "").strip(),
        "settings": settings(method.config_type),
        "tuned over": {f"training.{name}": str(space) for name, space in spaces_of(Training).items()},
    }


def describe_executor(name: str) -> Row:
    """All there is to say of an executor: its module's text, settings, and a command to try.

    Raises:
        ConfigError: no executor has the name.
    """
    from ..grid.executors import EXECUTORS

    kind = EXECUTORS[name]
    file = plugin_path(kind)
    plugin = "" if file is None else f"--plugin {shlex.quote(file)} "
    return {
        "name": name,
        "example": f"fl-bench run {plugin}--executor {name} --datasets digits --seeds 0 --rounds 2 --out tryout",
        "text": (sys.modules[kind.__module__].__doc__ or "").strip(),
        "settings": settings(kind),
    }


def example(name: str) -> str:
    """A command that runs the method against Local-only, with a setting written out to change."""
    shown = [f"{setting.name}={_default(setting)}" for setting in dataclasses.fields(METHODS[name].config_type)]
    chosen = f"{name}[{shown[0]}]" if shown else name
    file = plugin_path(METHODS[name])
    plugin = "" if file is None else f"--plugin {shlex.quote(file)} "
    return f'fl-bench run {plugin}--methods "{chosen}" --datasets digits --seeds 0 --rounds 2 --out tryout'


def settings(kind: type[Any]) -> list[Row]:
    """Name, type, default, space (where it is tuned) and meaning of every setting of a frozen dataclass."""
    texts, spaces = _field_texts(kind), spaces_of(kind)
    return [
        {
            "setting": setting.name,
            "type": _type(setting),
            "default": _default(setting),
            "tuned over": str(spaces[setting.name]) if setting.name in spaces else "",
            "meaning": texts.get(setting.name, ""),
        }
        for setting in dataclasses.fields(kind)
    ]


def _default(setting: dataclasses.Field[Any]) -> str:
    if isinstance(setting.default, tuple):
        return f"[{', '.join(map(str, setting.default))}]"
    if setting.default is not dataclasses.MISSING:
        plain = {None: "null", True: "true", False: "false"}
        return plain[setting.default] if isinstance(setting.default, bool | None) else str(setting.default)
    return "needed" if setting.default_factory is dataclasses.MISSING else str(setting.default_factory())


def _type(setting: dataclasses.Field[Any]) -> str:
    """The annotation as users write values: `size | uniform` for Literal['size', 'uniform']."""
    return re.sub(r"Literal\[([^]]*)\]", lambda match: match[1].replace(", ", " | ").replace("'", ""), _plain(setting))


def _plain(setting: dataclasses.Field[Any]) -> str:
    return str(setting.type).replace('"', "'").replace("None", "null")


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
