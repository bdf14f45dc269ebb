"""The path of a user's data and the options behind it, `PATH?option=value&option=value` (datasets room)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from fl_bench.errors import ConfigError, unknown_name

from .source import Request, user_path

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LARGEST_SIDE = 1024
"""Pixels of a side that pictures may be brought to."""


def parse_argument(request: Request, *known: str) -> tuple[Path, dict[str, str]]:
    """Path and options of a request.

    Args:
        request: what was asked for.
        known: the options that there are.
    Raises:
        ConfigError: an option is unknown, malformed or given twice.
    """
    path, _, query = request.argument.partition("?")
    try:
        pairs = parse_qsl(query, strict_parsing=True) if query else []
    except ValueError:
        raise ConfigError(f"{request.name!r}: options after ? are option=value, joined by &; got {query!r}") from None
    for option, _ in pairs:
        if option not in known:
            raise unknown_name(f"option of {request.name.partition(':')[0]}:", option, known)
    if len(dict(pairs)) < len(pairs):
        raise ConfigError(f"{request.name!r} gives an option twice")
    return user_path(path), dict(pairs)


def file_argument(request: Request, *known: str) -> tuple[Path, dict[str, str]]:
    """`parse_argument` where the path must be a file.

    Raises:
        ConfigError: there is no such file, or an option is wrong.
    """
    path, options = parse_argument(request, *known)
    if not path.is_file():
        raise ConfigError(f"{request.name!r}: there is no file {path.absolute()}")
    return path, options


def folder_argument(request: Request, *known: str) -> tuple[Path, dict[str, str]]:
    """`parse_argument` where the path must be a folder.

    Raises:
        ConfigError: there is no such folder, or an option is wrong.
    """
    path, options = parse_argument(request, *known)
    if not path.is_dir():
        raise ConfigError(f"{request.name!r}: there is no folder {path.absolute()}")
    return path, options


def side_option(request: Request, options: dict[str, str]) -> int | None:
    """The option `size`: height and width that pictures are brought to, in pixels; None where it is not given.

    Raises:
        ConfigError: it is no whole number in range.
    """
    size = options.get("size")
    if size is None:
        return None
    if not size.isdecimal() or not 1 <= int(size[:9]) <= LARGEST_SIDE:
        raise ConfigError(f"{request.name!r}: size must be a whole number from 1 to {LARGEST_SIDE}, got {size!r}")
    return int(size)


def locate_argument(request: Request) -> tuple[bool, str]:
    """Whether there is anything at the path, and where or that there is nothing."""
    path = user_path(request.argument.partition("?")[0])
    return (True, str(path)) if path.exists() else (False, f"{path} does not exist")


def file_sha256(request: Request) -> str:
    """SHA-256 (hex) of the file's bytes."""
    with user_path(request.argument.partition("?")[0]).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def names_digest(folder: Path, files: Iterable[Path]) -> str:
    """SHA-256 (hex) of the sorted list of (name inside the folder, bytes), which is fast however large files are."""
    rows = sorted((file.relative_to(folder).as_posix(), file.stat().st_size) for file in files)
    return hashlib.sha256(repr(rows).encode()).hexdigest()
