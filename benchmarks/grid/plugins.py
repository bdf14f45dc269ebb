"""Plugins that are not installed (benchmarks room): files given with `--plugin`, classes given from Python.

Both are told apart by their source, which is part of the key of every cell that uses them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import sys
import warnings
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_bench.errors import ConfigError, one_line

from .sources import source_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

    from ...methods.base import Method

_digests: dict[str, str] = {}
"""SHA-256 of every loaded plugin file, by the name of its module."""
_paths: dict[str, str] = {}
"""Where each was found, as it was first asked for."""
_classes: dict[Any, str] = {}
"""SHA-256 of the source of every class that was given from Python."""


def load_plugins(paths: Sequence[str]) -> tuple[ModuleType, ...]:
    """Import plugin files, whose decorators register what they define; a file already loaded is left alone.

    Returns:
        Their modules, in this order.

    Raises:
        ConfigError: a file is missing, fails, or registers nothing.
    """
    return tuple(_load(Path(path)) for path in paths)


def source_digest(plugin: Any) -> str | None:
    """First 10 hex digits of the SHA-256 of the source that defines `plugin`: its file, or the class where it was given
    from Python; None for installed code.

    A changed plugin is another plugin: the digest is part of the key of every cell that uses it.
    """
    digest = _classes.get(plugin) or _digests.get(plugin.__module__)
    return None if digest is None else digest[:10]


def plugin_path(plugin: Any) -> str | None:
    """The file given with `--plugin` that defines `plugin`; None for installed code."""
    return _paths.get(plugin.__module__)


def known_here_only(plugin: Any) -> bool:
    """Whether it is a class that was given from Python, of which no other process knows."""
    return plugin in _classes


@contextmanager
def method_of_class(cls: type[Method[Any]]) -> Iterator[str]:
    """Have a class as a method for a while; installed ones, and those of plugin files, are methods already.

    It is called by its attribute `name`, or like the class (`MyMethod` as `my-method`).

    Yields:
        The name of the method.

    Raises:
        ConfigError: its name is taken, its settings are no dataclass, or Python does not know its source.
    """
    from ...methods.registry import METHODS, check_method

    name = cls.__dict__.get("name") or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower()
    if name in METHODS and METHODS[name] is cls and not (known_here_only(cls) or cls.__module__ == "__main__"):
        yield name
        return
    _classes[cls] = hashlib.sha256(source_of(cls).encode()).hexdigest()
    if name in METHODS and METHODS[name] is cls:  # decorated with @method
        yield name
        return
    check_method(name, cls)
    cls.name = name
    with METHODS.lent(name, cls):
        yield name


def _load(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"--plugin {path}: there is no such file")
    if path.suffix != ".py":
        raise ConfigError(f"--plugin {path}: a plugin is a Python file, its name ends in .py")
    content = path.read_bytes()
    # The resolved path keeps two files of one name apart; the name is what tracebacks and pickles see.
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:6]
    name = f"fl_bench_plugin_{re.sub(r'[^0-9a-zA-Z]', '_', path.stem)}_{place}"
    if name in _digests:
        return sys.modules[name]
    before = _registered()
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # the suffix is .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _digests[name] = hashlib.sha256(content).hexdigest()
    try:
        with _undisturbed():
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name], _digests[name]
        raise ConfigError(f"--plugin {path} fails: {type(error).__name__}: {one_line(error)}") from error
    if _registered() == before:
        raise ConfigError(
            f"--plugin {path} registers nothing; decorate what it defines with @method, @dataset, @model, "
            "@partition or @executor"
        )
    _paths[name] = str(path)
    return module


@contextmanager
def _undisturbed() -> Iterator[None]:
    """The program stays where it is, hears the warnings that it heard, and has standard output for itself."""
    folder = os.getcwd()
    try:
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            yield
    finally:
        os.chdir(folder)


def _registered() -> list[list[str]]:
    """Names of all that plugins may add to; imported here, since commands without plugins have to answer at once."""
    from ...datasets.catalogue import DATASETS
    from ...datasets.partition import PARTITIONS
    from ...federation.models import MODELS
    from ...methods.registry import METHODS
    from .executors import EXECUTORS

    return [METHODS.names(), DATASETS.names(), MODELS.names(), PARTITIONS.names(), EXECUTORS.names()]
