"""Plugin registries: names to datasets, partitions, models and methods, ours and third parties' alike."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Generic, TypeVar

from fl_bench.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")


class Registry(Generic[T]):
    """Names of one kind of plugin. Third parties add theirs through the entry-point group `fl_bench.<kind>s`.

    Our own modules (`built_in`) and entry points are imported when a name is first looked up, so that an
    installed plugin costs nothing until then. A duplicate name raises; an unknown one suggests the nearest.
    """

    def __init__(self, kind: str, *, built_in: Sequence[str] = ()) -> None:
        self.kind = kind
        self._built_in = built_in
        self._entries: dict[str, T] = {}
        self._built_in_loaded = False
        self._entry_points_loaded = False
        self._broken: ConfigError | None = None

    def register(self, name: str) -> Callable[[T], T]:
        """Decorate a plugin so that grids can call it `name`.

        Raises:
            ConfigError: another plugin of this kind has the name.
        """

        def add(plugin: T) -> T:
            self._load_built_in()  # so that the newcomer is the one that is told of a taken name
            present = self._entries.get(name)
            if present is not None:
                raise ConfigError(
                    f"a {self.kind} named {name!r} is already registered by {_origin(present)}; "
                    f"{_origin(plugin)} needs another name"
                )
            self._entries[name] = plugin
            return plugin

        return add

    @contextmanager
    def lent(self, name: str, plugin: T) -> Iterator[None]:
        """Have a plugin under a name for a while: one that a check needs and no listing should show."""
        self.register(name)(plugin)
        try:
            yield
        finally:
            del self._entries[name]

    def __getitem__(self, name: str) -> T:
        """The plugin called `name`; an unknown name is a `ConfigError` that suggests the nearest."""
        self._load()
        try:
            return self._entries[name]
        except KeyError:
            more = "; one of your own comes with --plugin FILE.py"
            raise unknown_name(self.kind, name, self._entries, more=more) from None

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._entries

    def names(self) -> list[str]:
        """All names, sorted."""
        self._load()
        return sorted(self._entries)

    def _load(self) -> None:
        self._load_built_in()
        if self._broken is not None:  # asking again mends no plugin, and a part of them is not all of them
            raise self._broken
        if self._entry_points_loaded:
            return
        self._entry_points_loaded = True
        for point in entry_points(group=f"fl_bench.{self.kind}s"):
            try:
                point.load()
            except Exception as error:
                self._broken = ConfigError(f"the installed plugin {point.name!r} ({point.value}) fails: {error}")
                raise self._broken from error

    def _load_built_in(self) -> None:
        if not self._built_in_loaded:
            self._built_in_loaded = True
            for module in self._built_in:
                import_module(module)


def _origin(plugin: object) -> str:
    return f"{plugin.__module__}.{getattr(plugin, '__qualname__', type(plugin).__qualname__)}"
