"""The registry of methods: our own, listed here, and third parties' (entry points `fl_bench.methods`, `--plugin`)."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from fl_bench.errors import ConfigError
from fl_bench.registry import Registry

from .base import Method

if TYPE_CHECKING:
    from collections.abc import Callable

BUILT_IN = (
    "fl_bench.methods.apfl",
    "fl_bench.methods.centralized",
    "fl_bench.methods.cfd",
    "fl_bench.methods.cfl",
    "fl_bench.methods.comet",
    "fl_bench.methods.ditto",
    "fl_bench.methods.cronus",
    "fl_bench.methods.dsfl",
    "fl_bench.methods.fedavg",
    "fl_bench.methods.fedbabu",
    "fl_bench.methods.fedct",
    "fl_bench.methods.feddf",
    "fl_bench.methods.fedgh",
    "fl_bench.methods.fedkd",
    "fl_bench.methods.fedmd",
    "fl_bench.methods.fedopt",
    "fl_bench.methods.fedper",
    "fl_bench.methods.fedproto",
    "fl_bench.methods.fedprox",
    "fl_bench.methods.fedrep",
    "fl_bench.methods.fedrod",
    "fl_bench.methods.fedselect",
    "fl_bench.methods.fedtgp",
    "fl_bench.methods.fml",
    "fl_bench.methods.ifca",
    "fl_bench.methods.ktpfl",
    "fl_bench.methods.lgfedavg",
    "fl_bench.methods.local",
    "fl_bench.methods.local_public",
    "fl_bench.methods.pfedck",
    "fl_bench.methods.pfedgraph",
    "fl_bench.methods.pfedhn",
    "fl_bench.methods.pfedme",
    "fl_bench.methods.scaffold",
    "fl_bench.cosmos.method",
)
"""Modules whose import registers our methods; none of them imports torch."""

AnyMethod = TypeVar("AnyMethod", bound=type[Method[Any]])

METHODS: Registry[type[Method[Any]]] = Registry("method", built_in=BUILT_IN)
"""All methods by name."""


def method(name: str) -> Callable[[AnyMethod], AnyMethod]:
    """Register a `Method` subclass under the name that grids and tables use.

    Raises:
        ConfigError: another method has the name, the settings are no dataclass, or `protocol` is no version.
    """

    def register(cls: AnyMethod) -> AnyMethod:
        check_method(name, cls)
        METHODS.register(name)(cls)
        cls.name = name
        return cls

    return register


def check_method(name: str, cls: type[Method[Any]]) -> None:
    """Refuse a class that cannot be a method.

    Raises:
        ConfigError: the settings are no dataclass, or `protocol` is no version.
    """
    if not is_dataclass(cls.config_type):
        raise ConfigError(
            f"method {name!r}: the settings in Method[{cls.config_type.__name__}] must be a frozen dataclass, "
            "so that grids can be checked against them"
        )
    if type(cls.protocol) is not int or cls.protocol < 1:
        raise ConfigError(
            f"method {name!r}: protocol must be a whole number from 1 on, raised when numbers move; "
            f"found {cls.protocol!r}"
        )
