"""What a gateway can do besides submitting and telling the status."""

from __future__ import annotations

from enum import StrEnum


class Capability(StrEnum):
    """What a gateway can do that not every one can. The words are those of the documentation's table."""

    #: It lists the account's generations, each with the request that made it (``list_call``, ``read_list``).
    LISTING = "settles an unknown outcome by its list of generations"
    BALANCE = "tells the balance in the connection test"
    REFUNDS = "charges nothing for a generation that has failed, as it documents"
    FAILURE_CODES = "says by a code why a generation has failed"
    FRESH_ADDRESSES = "gives an address of the video that expires, and a new one with each look"
