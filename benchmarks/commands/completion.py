"""What a shell offers after Tab (benchmarks room): names of what there is, found without torch.

`fl-bench --install-completion` sets it up for the shell that runs it.
"""

from __future__ import annotations


def grids(incomplete: str) -> list[str]:
    """Grids that come with fl-bench; files are the shell's own affair."""
    from ..grid.grid import grid_names

    return _beginning(incomplete, grid_names())


def methods(incomplete: str) -> list[str]:
    """Methods, the last one of a list that is separated by commas."""
    from ...methods.registry import METHODS

    return _last(incomplete, ["all", *METHODS.names()])


def method(incomplete: str) -> list[str]:
    """A single method."""
    from ...methods.registry import METHODS

    return _beginning(incomplete, METHODS.names())


def datasets(incomplete: str) -> list[str]:
    """Data sets, the last one of a list that is separated by commas."""
    from ...datasets.catalogue import DATASETS

    return _last(incomplete, DATASETS.names())


def dataset(incomplete: str) -> list[str]:
    """A single data set."""
    from ...datasets.catalogue import DATASETS

    return _beginning(incomplete, DATASETS.names())


def schemes(incomplete: str) -> list[str]:
    """Schemes of partitions, the last one of a list that is separated by commas."""
    from ...datasets.partition import PARTITIONS

    return _last(incomplete, PARTITIONS.names())


def listings(incomplete: str) -> list[str]:
    """What `fl-bench list` lists."""
    from .listing import LISTINGS

    return _beginning(incomplete, list(LISTINGS))


def _beginning(incomplete: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _last(incomplete: str, names: list[str]) -> list[str]:
    before, comma, begun = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in _beginning(begun, names)]
