"""
What generations are estimated to cost, by the prices that a connection names.

No answer of any gateway carries a price, so this is an estimate: a price for each kind of request, times how
many there are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from functools import reduce
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_luma.api.models import GenerationRequest

#: Of one generation, in any currency: a larger price is a slip of the keyboard.
MAX_PRICE = Decimal(1_000_000)
#: Nothing is priced by less, and amounts stay exact.
_SMALLEST = Decimal("1e-9")
#: Whatever the process has made of Python's own context for decimals.
_EXACT = Context(prec=60)
_CURRENCY = re.compile(r"[A-Za-z]{3}")
_FIELDS = frozenset({"currency", "text_to_video", "image_to_video", "rates"})
#: What a rate may be for. A request that names one of them costs what its rate says, or nobody knows what.
_TELLING = ("model", "resolution", "duration")


@dataclass(frozen=True)
class Cost:
    """
    An amount of money.

    :param amount: exact.
    :param currency: three letters, as in ISO 4217.
    """

    amount: Decimal
    currency: str

    def __str__(self) -> str:
        cents = _EXACT.quantize(self.amount, Decimal("0.01"))
        return f"{cents if cents == self.amount else self.amount:f} {self.currency}"


@dataclass(frozen=True)
class PriceTable:
    """
    What a generation costs.

    :param currency: three letters, as in ISO 4217.
    :param text_to_video: of a generation from a prompt alone.
    :param image_to_video: of one with an ``image_url``; where it is not named, the same.
    :param rates: of generations of a model, resolution or duration, as pairs of what they are for and the
        price; the first that fits counts.
    """

    currency: str
    text_to_video: Decimal
    image_to_video: Decimal
    rates: tuple[tuple[Mapping[str, str], Decimal], ...] = ()

    @classmethod
    def of(cls, fields: Any) -> PriceTable:
        """
        Return the table that a JSON object names: ``currency``, ``text_to_video``, ``image_to_video``,
        ``rates``.

        :raises ValueError: it names none; the message says which field must be what.
        """
        if not isinstance(fields, dict) or not fields.keys() <= _FIELDS:
            raise ValueError(
                "must be an object with currency, text_to_video and, if wanted, image_to_video and rates"
            )
        currency = fields.get("currency")
        if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
            raise ValueError("must name a currency of three letters, such as USD")
        text = amount_of(fields.get("text_to_video"))
        image = amount_of(fields["image_to_video"]) if "image_to_video" in fields else text
        if text is None or image is None:
            raise ValueError(f"must hold prices from 0 to {MAX_PRICE}")
        return cls(currency.upper(), text, image, _rates_of(fields.get("rates", [])))

    def estimate(self, requests: Iterable[GenerationRequest]) -> Cost | None:
        """Return what so many generations cost together; ``None`` if the table has no price for one."""
        prices = [self._price_of(one) for one in requests]
        known = [price for price in prices if price is not None]
        if len(known) < len(prices):
            return None
        return Cost(reduce(_EXACT.add, known, Decimal(0)), self.currency)

    def _price_of(self, request: GenerationRequest) -> Decimal | None:
        asked = {name: getattr(request, name) for name in _TELLING if getattr(request, name) is not None}
        for rate, price in self.rates:
            if all(asked.get(name) == value for name, value in rate.items()):
                return price
        if asked:
            return None
        return self.image_to_video if request.image_url else self.text_to_video


def _rates_of(value: Any) -> tuple[tuple[Mapping[str, str], Decimal], ...]:
    """Return the rates of a table; the first that is none is an error."""
    rates = []
    for one in value if isinstance(value, list) else [value]:
        fields = dict(one) if isinstance(one, dict) else {}
        price = amount_of(fields.pop("price", None))
        named = bool(fields) and all(name in _TELLING and isinstance(fields[name], str) for name in fields)
        if price is None or not named:
            raise ValueError(
                "must hold rates such as {'model': 'ray-2', 'resolution': '4k', 'price': 6.37}: a price "
                f"and what it is for, of {', '.join(_TELLING)}"
            )
        rates.append((fields, price))
    return tuple(rates)


def amount_of(value: Any, most: Decimal = MAX_PRICE) -> Decimal | None:
    """Return the amount of money that a number or its text means, exact; ``None`` if it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        # Of a float its shortest spelling is meant: 0.1 is a tenth, and 3 * 0.4 is 1.2.
        amount = Decimal(str(round(value, 9) if isinstance(value, float) else value).strip())
    except InvalidOperation:
        return None
    if not (amount.is_finite() and 0 <= amount <= most):
        return None
    return amount if amount == _EXACT.quantize(amount, _SMALLEST) else None
