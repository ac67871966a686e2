"""
The check that ``HttpEventTrigger`` runs on each answer.

In a file of its own, because that trigger reloads the module of its check every time: a longer one would
be held against it.
"""

from __future__ import annotations


async def is_completed(response) -> bool:  # type: ignore[no-untyped-def]
    """Return whether the generation is complete."""
    return bool(response.json()["status"] == "completed")
