"""How a settings class says that one of its settings came after records were published."""

from __future__ import annotations

from typing import Any

LATER: dict[str, Any] = {"later": True}
"""Metadata of a `dataclasses.field` of any settings class: at its default the setting is no part of a cell's key."""
