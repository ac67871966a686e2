"""Where things are in the checkout."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
#: What no commit has in it: environments, databases, what commands leave behind.
CACHE = REPOSITORY / ".cache"
