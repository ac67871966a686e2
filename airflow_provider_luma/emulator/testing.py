"""The emulator as tests of a DAG want it: with a connection that leads to it, and assertions about money."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from airflow_provider_luma.emulator.models import GENERATE, GENERATE_FROM_IMAGE
from airflow_provider_luma.emulator.server import Emulator

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_luma.emulator.models import EmulatedGeneration

#: Generations that the message of a failed assertion names at most.
_NAMED = 20


class LumaEmulator(Emulator):
    """
    An :class:`~airflow_provider_luma.emulator.server.Emulator` that connections lead to, with assertions.

    The fixture ``luma_emulator`` makes one for each test. Where an assertion fails, its message lists what
    was generated and which submits met a fault.

    :param setenv: sets a variable of the environment until the test ends, as ``monkeypatch.setenv`` does.
    :param options: the emulator's own. A generation takes 0.2 seconds and has a tiny video unless they say
        otherwise.
    """

    def __init__(self, setenv: Callable[[str, str], None], **options: Any) -> None:
        super().__init__(**{"seconds": 0.2, "videos": "tiny", **options})
        self._setenv = setenv

    def connect(self, conn_id: str = "luma_default", **extra: Any) -> None:
        """
        Have an Airflow connection lead here, by a variable of the environment, until the test ends.

        :param conn_id: its id.
        :param extra: its extras, such as ``requests_per_second=2`` or ``gateway="luma"``.
        """
        connection = {
            "conn_type": "luma",
            "host": self.url_of(extra.get("gateway", "appypie")),
            "password": self.key,
            # Where the first look is placed: these generations take no minute.
            "extra": {"typical_seconds": 1, **extra},
        }
        self._setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))

    def assert_paid(self, times: int = 1) -> None:
        """
        Check how many generations are paid for, those among them whose answer was lost.

        :raises AssertionError: it is another number.
        """
        if self.paid != times:
            raise AssertionError(f"{self.paid} generations were paid for, not {times}.\n{self._account()}")

    def assert_no_second_charge(self) -> None:
        """
        Check that no request was paid for twice: none has the prompt and all arguments of another.

        :raises AssertionError: one was. Where a DAG asks for the same video twice, that is meant.
        """
        charges = Counter(_asked(generation) for generation in self.generations.values() if generation.paid)
        twice = [asked for asked, count in charges.items() if count > 1]
        if twice:
            raise AssertionError(f"Paid for more than once: {twice[0][0]!r:.200}.\n{self._account()}")

    def assert_generated(self, prompt: str, **fields: Any) -> EmulatedGeneration:
        """
        Check that one generation was paid for with this prompt, and return it.

        :param fields: what else it must have been asked for: ``aspect_ratio``, ``loop``, ``image_url``.
        :raises AssertionError: none was, or several.
        """
        wanted = {"prompt": prompt, **fields}
        found = [
            generation
            for generation in self.generations.values()
            if generation.paid and all(getattr(generation, name) == value for name, value in wanted.items())
        ]
        if len(found) != 1:
            raise AssertionError(f"{len(found)} generations, not one, have {wanted}.\n{self._account()}")
        return found[0]

    def assert_nothing_sent(self) -> None:
        """
        Check that the gateway was not asked at all.

        :raises AssertionError: it was.
        """
        if sent := self.requests:
            raise AssertionError(f"{len(sent)} requests were sent, the first to {sent[0].path}.")

    def _account(self) -> str:
        """Return what an assertion says about what happened."""
        lines = [
            f"  {request_id}: {generation.prompt!r:.80}, {'paid' if generation.paid else 'made elsewhere'}, "
            f"{generation.looks} looks"
            for request_id, generation in self.generations.items()
        ]
        more = len(lines) - _NAMED
        faults = Counter(
            call.fault for target in (GENERATE, GENERATE_FROM_IMAGE) for call in self.calls(target)
        )
        submits = ", ".join(f"{count} {fault or 'without a fault'}" for fault, count in faults.items())
        return "\n".join(
            [
                "Generations:" if lines else "Generations: none.",
                *lines[:_NAMED],
                *([f"  and {more} more"] if more > 0 else []),
                f"Submits: {submits or 'none'}.",
            ]
        )


def _asked(generation: EmulatedGeneration) -> tuple[str, str, bool, str | None]:
    return generation.prompt, generation.aspect_ratio, generation.loop, generation.image_url
