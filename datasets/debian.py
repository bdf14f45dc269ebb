"""Files of Debian packages (datasets room): installed on this system, or unpacked under a folder of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .source import Request


def debian_places(request: Request, path: str) -> list[Path]:
    """Where a file of a package may be, in order: under each root, as `dpkg-deb -x` unpacks it, then on the system.

    Args:
        request: whose roots are searched.
        path: the file's path below /usr.
    """
    return [*(root / "usr" / path for root in request.roots), Path("/usr") / path]


def debian_file(request: Request, path: str) -> Path | None:
    """The first of `debian_places` that is a file."""
    return next((place for place in debian_places(request, path) if place.is_file()), None)


def unpacking(request: Request, packages: Sequence[str]) -> str:
    """The command that brings packages without installing them, on Debian and Ubuntu."""
    return (
        f"on Debian and Ubuntu, in an empty folder: apt-get download {' '.join(packages)} && "
        f'for package in *.deb; do dpkg-deb -x "$package" {request.roots[0]}; done'
    )
