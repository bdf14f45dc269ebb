"""The command `fl-bench partition` (benchmarks room): who would hold what."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads annotations when it runs
from typing import Annotated

import typer

from ..tables.terminal import make_console, say
from . import completion
from .options import (
    AsJson,
    Changes,
    Clients,
    Concentration,
    DataDir,
    Download,
    Groups,
    Mixing,
    Plugins,
    Public,
    Scheme,
    given_flags,
)


def partition(
    dataset: Annotated[
        str, typer.Argument(help="A data set of `fl-bench list datasets`.", autocompletion=completion.dataset)
    ],
    scheme: Scheme = None,
    clients: Clients = None,
    groups: Groups = None,
    alpha: Concentration = None,
    mixing: Mixing = None,
    public: Public = None,
    changes: Changes = None,
    seed: Annotated[int, typer.Option(help="Seed of the partition.")] = 0,
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the picture as PNG.")] = None,
    data_dir: DataDir = None,
    download: Download = False,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Show how a data set would be partitioned into clients.

    Prints sizes, a picture and the measured heterogeneity. Set a scheme's other settings with -o, as in a grid's
    `partition`; the prefix `partition.`, which `run` requires, is optional here.

    \b
    fl-bench partition digits --scheme latent-groups --clients 25
    fl-bench partition digits --scheme shards -o shards_per_client=2 --png shards.png
    fl-bench partition digits -o public.size=100 -o public.noise=3
    """
    from ...datasets.catalogue import check_dataset_name
    from ..grid.cell import resolve_partition
    from ..grid.dealing import with_own_clients
    from ..grid.flags import add_flags
    from ..grid.plain_yaml import assignments
    from ..grid.plugins import load_plugins
    from ..grid.seeds import parse_seeds
    from ..grid.sweeps import refuse_axes
    from ..running.examining import examine
    from ..tables.printing import print_json
    from .partition_view import print_partition, write_png

    load_plugins(plugin or [])
    flags = given_flags(scheme=scheme, clients=clients, groups=groups, alpha=alpha, mixing=mixing, public=public)
    given = assignments([text.removeprefix("partition.") for text in changes or ()], "-o", "clients=25")
    values = add_flags(given, flags, "partition.")
    refuse_axes({f"partition.{key}": value for key, value in values.items()})
    check_dataset_name(dataset)
    chosen, settings = resolve_partition(with_own_clients(values, dataset))
    parse_seeds([seed])
    view = examine(dataset, chosen, settings, seed, data_dir=data_dir, download=download)
    if as_json:
        print_json(view)
    else:
        print_partition(make_console(), view)
    if png is not None:
        write_png(view, png)
        say(f"wrote {png}")
