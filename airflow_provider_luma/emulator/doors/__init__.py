"""
The doors through which the emulator is spoken to, all of them at once: they differ in their paths.

A door knows what a call looks like, what it refuses, and in which form it answers. What is generated, what is
counted and which faults there are is the server's, and the same for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from airflow_provider_luma.emulator.doors.appypie import AppyPie
from airflow_provider_luma.emulator.doors.luma import Luma
from airflow_provider_luma.emulator.doors.luma_agents import LumaAgents
from airflow_provider_luma.emulator.doors.pixazo import Pixazo

if TYPE_CHECKING:
    from airflow_provider_luma.emulator.models import (
        Answer,
        Asked,
        EmulatedGeneration,
        Incoming,
        Paged,
        Sight,
    )

__all__ = ["DOORS", "AppyPie", "Door", "Luma", "LumaAgents", "Pixazo"]

#: All there are; each has a name and a prefix of its own.
DOORS = (AppyPie, Luma, LumaAgents, Pixazo)


class Door(Protocol):
    """One way to ask for generations."""

    #: As a connection's extra ``gateway`` calls it.
    name: str
    #: What stands between the host and its paths.
    prefix: str
    key_header: str

    def key_value(self, key: str) -> str:
        """Return what the header with the key must hold."""

    def target_of(self, method: str, path: str) -> str | None:
        """Return what a call is aimed at; ``None`` if it is not for this door."""

    def refusal(self, target: str, call: Incoming) -> Answer | None:
        """Return the refusal of a call that is not as documented, or ``None``."""

    def asked_id(self, call: Incoming) -> str:
        """Return the id that a call asks about; empty if none."""

    def asked(self, target: str, call: Incoming) -> Asked:
        """Return what a submit asks for."""

    def accepted(self, generation: EmulatedGeneration, url: str) -> Answer:
        """Return the answer to an accepted submit. ``url`` is the emulator's."""

    def told(self, generation: EmulatedGeneration, sight: Sight) -> Answer:
        """Return what the status call says of a generation."""

    def not_found(self) -> Answer:
        """Return the answer about an id that is not known."""

    def error(self, status: int, said: str | None = None) -> Answer:
        """Return an error in the door's form."""

    def listed(self, call: Incoming, page: Paged) -> Answer:
        """Return a page of the list of generations; ``page`` gives those of an offset and a limit."""

    def account(self, balance: float) -> Answer:
        """Return what the free call about the account says."""
