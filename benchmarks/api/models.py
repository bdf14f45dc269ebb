"""Nets of finished runs (benchmarks room): the model that a client deploys, from the file that its run kept."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from fl_bench.errors import ConfigError, DataError

from ...federation.kept import rebuild
from ...federation.settings import Training
from ...methods.registry import METHODS
from ..commands.naming import SHOWN, matching
from ..grid.cell import resolve_config, resolve_models, trained
from ..grid.configure import configure
from ..grid.plugins import load_plugins, method_of_class, source_digest
from ..records.models import models_of, read_models

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import nn

    from ...methods.base import Method
    from ..records.record import Record


def run_with_models(records: Sequence[Record], run: str | None) -> Record:
    """The run that a name means, among those that kept models.

    Args:
        records: where to look.
        run: a name as `fl-bench show` takes it; None: the only one.
    Raises:
        ConfigError: none or several do.
    """
    names = [record.name for record in records]
    meant = set(names if run is None else matching(run, names))
    found = [record for record in records if record.name in meant and models_of(record) is not None]
    if len(found) == 1:
        return found[0]
    asked = "the runs" if run is None else f"the runs that {run!r} names"
    if not found:
        packed = any(record.packed is not None for record in records if record.name in meant)
        raise ConfigError(
            f"none of {asked} kept models: `fl-bench run --keep-models`, or fl_bench.run(keep_models=True), does"
            f"{'; a bundle has none, they are in the folders of records' if packed else ''}"
        )
    shown = ", ".join(sorted(record.name for record in found)[:SHOWN])
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    raise ConfigError(f"{len(found)} of {asked} kept models, name one: {shown}{more}")


def model_of(
    record: Record, client: int, method: type[Method[Any]] | None = None, plugins: Sequence[str | Path] = ()
) -> nn.Module:
    """The model that a client deploys; see `Results.model`."""
    path = models_of(record)
    assert path is not None
    cell, name = record.cell, str(record.cell["method"]["name"])
    load_plugins([str(plugin) for plugin in plugins])
    with ExitStack() as lent:
        if method is not None:
            lent.enter_context(method_of_class(method))
        if name not in METHODS or source_digest(METHODS[name]) != cell["method"]["plugin"]:
            raise ConfigError(
                f"{record.name} was run with a method {name} that is not known here, or has changed since; give the "
                "class (method=...) or its file (plugins=[...])"
            )
        models = read_models(path)
        architecture, weights = models.of_client(client)
        mix = resolve_models(cell["models"])
        if architecture not in mix.used:
            raise DataError(f"{path} has models of {architecture}, and the run had {', '.join(mix.used)}; restore it")
        own = METHODS[name](resolve_config(name, cell["method"]["settings"], "settings"))
        training = configure(Training, trained(cell), "training")
        return rebuild(models.about, architecture, weights, own, mix, training)
