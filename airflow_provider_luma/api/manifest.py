"""What is known of a video that was kept."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

MANIFEST_VERSION = 1


@dataclass(frozen=True)
class Manifest:
    """
    What was kept: the sidecar file ``<target>.json``, and the XCom ``manifest``.

    :param request_id: the generation; ``None`` if only an address was given.
    :param source: the address that it came from, without query.
    :param source_sha256: of the whole address, in hexadecimal: what tells two addresses apart.
    :param path: where the video is.
    :param sha256: of the whole file, in hexadecimal.
    :param bytes: its length.
    :param seconds: its duration, if the container says so.
    :param width: of the picture in pixels, if the container says so.
    :param height: likewise.
    :param kept_at: when, ISO 8601 in UTC.
    :param estimated_cost: what its generation cost by the connection's prices, where that is known.
    :param currency: three letters, as in ISO 4217.
    """

    request_id: str | None
    source: str
    source_sha256: str
    path: str
    sha256: str
    bytes: int
    seconds: float | None
    width: int | None
    height: int | None
    kept_at: str
    estimated_cost: float | None = None
    currency: str | None = None
    v: int = MANIFEST_VERSION

    @property
    def aspect_ratio(self) -> str | None:
        """``W:H`` of the picture, in lowest terms."""
        if not self.width or not self.height:
            return None
        common = gcd(self.width, self.height)
        return f"{self.width // common}:{self.height // common}"

    @classmethod
    def of(cls, fields: Any) -> Self | None:
        """Return the manifest that parsed JSON holds; ``None`` if it is another version's, or none at all."""
        try:
            manifest = cls(**fields)
        except TypeError:
            return None
        texts = (manifest.source, manifest.source_sha256, manifest.path, manifest.sha256, manifest.kept_at)
        usable = (
            manifest.v == MANIFEST_VERSION
            and all(isinstance(text, str) for text in texts)
            and isinstance(manifest.request_id, (str, type(None)))
            and isinstance(manifest.bytes, int)
            and all(isinstance(side, (int, type(None))) for side in (manifest.width, manifest.height))
            and isinstance(manifest.seconds, (int, float, type(None)))
            and isinstance(manifest.estimated_cost, (int, float, type(None)))
            and isinstance(manifest.currency, (str, type(None)))
        )
        return manifest if usable else None
