"""What generations are estimated to cost, and which price tables are none."""

from __future__ import annotations

from decimal import Decimal, Inexact, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_luma.api.cost import MAX_PRICE, Cost, PriceTable, amount_of
from airflow_provider_luma.api.models import GenerationRequest

TEXT = GenerationRequest.of("a fox")
IMAGE = GenerationRequest.of({"prompt": "a fox", "image_url": "https://example.com/fox.png"})


class TestAPriceTable:
    def test_gives_a_price_for_each_kind(self):
        prices = PriceTable.of({"currency": "usd", "text_to_video": 0.4, "image_to_video": "0.55"})

        assert prices.estimate([TEXT]) == Cost(Decimal("0.4"), "USD")
        assert prices.estimate([IMAGE]) == Cost(Decimal("0.55"), "USD")
        assert prices.estimate([TEXT, IMAGE, TEXT]) == Cost(Decimal("1.35"), "USD")
        assert prices.estimate([]) == Cost(Decimal(0), "USD")

    def test_with_one_price_has_it_for_both(self):
        prices = PriceTable.of({"currency": "EUR", "text_to_video": 1})

        assert prices.estimate([IMAGE]) == prices.estimate([TEXT]) == Cost(Decimal(1), "EUR")

    def test_has_rates_for_what_costs_more(self):
        rates = [
            {"model": "ray-2", "resolution": "4k", "price": 6.37},
            {"resolution": "720p", "duration": "5s", "price": "0.71"},
        ]
        prices = PriceTable.of({"currency": "USD", "text_to_video": 0.4, "rates": rates})

        def cost(**fields: Any) -> Cost | None:
            return prices.estimate([GenerationRequest("a fox", **fields)])

        assert cost(model="ray-2", resolution="4k", duration="9s") == Cost(Decimal("6.37"), "USD")
        assert cost(resolution="720p", duration="5s") == Cost(Decimal("0.71"), "USD")
        assert cost() == Cost(Decimal("0.4"), "USD")

    @pytest.mark.parametrize("fields", [{"resolution": "4k"}, {"duration": "9s"}, {"model": "ray-flash-2"}])
    def test_without_a_rate_for_what_is_asked_knows_no_price(self, fields: dict[str, str]):
        rates = [{"model": "ray-2", "resolution": "4k", "price": 6.37}]
        prices = PriceTable.of({"currency": "USD", "text_to_video": 0.4, "rates": rates})

        assert prices.estimate([TEXT, GenerationRequest("a fox", **fields)]) is None

    @pytest.mark.parametrize(
        "rates",
        [None, {}, "4k", [[]], [{"price": 1}], [{"model": "ray-2"}], [{"model": 2, "price": 1}],
         [{"loop": "yes", "price": 1}], [{"model": "ray-2", "price": -1}]],
        ids=repr,
    )  # fmt: skip
    def test_whose_rates_are_none_is_none(self, rates: Any):
        with pytest.raises(ValueError, match="must hold rates"):
            PriceTable.of({"currency": "USD", "text_to_video": 0.4, "rates": rates})

    def test_adds_ten_thousand_tenths_exactly(self):
        prices = PriceTable.of({"currency": "USD", "text_to_video": 0.1})

        assert prices.estimate([TEXT] * 10_000).amount == 1000

    @pytest.mark.parametrize(
        ("wrong", "why"),
        [
            ("0.4", "an object"),
            ([], "an object"),
            ({"currency": "USD", "text_to_video": 1, "loop": 2}, "an object"),
            ({"text_to_video": 1}, "a currency"),
            ({"currency": "$", "text_to_video": 1}, "a currency"),
            ({"currency": "US\nD", "text_to_video": 1}, "a currency"),
            ({"currency": 840, "text_to_video": 1}, "a currency"),
            ({"currency": "USD"}, "prices from 0"),
            ({"currency": "USD", "text_to_video": None}, "prices from 0"),
            ({"currency": "USD", "text_to_video": -1}, "prices from 0"),
            ({"currency": "USD", "text_to_video": True}, "prices from 0"),
            ({"currency": "USD", "text_to_video": "free"}, "prices from 0"),
            ({"currency": "USD", "text_to_video": float("nan")}, "prices from 0"),
            ({"currency": "USD", "text_to_video": "inf"}, "prices from 0"),
            ({"currency": "USD", "text_to_video": 1e300}, "prices from 0"),
            ({"currency": "USD", "text_to_video": [0.4]}, "prices from 0"),
            ({"currency": "USD", "text_to_video": 1, "image_to_video": ""}, "prices from 0"),
            ({"currency": "USD", "text_to_video": 1, "image_to_video": None}, "prices from 0"),
        ],
        ids=repr,
    )
    def test_that_is_none_says_what_it_must_be(self, wrong: Any, why: str):
        with pytest.raises(ValueError, match=why):
            PriceTable.of(wrong)


class TestAProcessWithDecimalsOfItsOwn:
    def test_changes_nothing(self):
        with localcontext() as own:
            own.prec, own.traps[Inexact] = 3, True
            prices = PriceTable.of({"currency": "USD", "text_to_video": 99.123456})

            assert str(prices.estimate([TEXT] * 100)) == "9912.345600 USD"


class TestAnAmount:
    @pytest.mark.parametrize(
        ("given", "amount"),
        [
            (0, "0"),
            (0.1, "0.1"),
            (3 * 0.4, "1.2"),
            (0.4 * 1.1, "0.44"),
            (1e-10, "0"),
            (" 2.50 ", "2.50"),
            (Decimal("3"), "3"),
            (1e-9, "1e-9"),
            (MAX_PRICE, "1e6"),
        ],
    )
    def test_is_exact(self, given: Any, amount: str):
        assert amount_of(given) == Decimal(amount)

    @pytest.mark.parametrize("given", [None, True, "", "1,5", "0.1234567891", MAX_PRICE + 1, -0.01, {}])
    def test_or_none(self, given: Any):
        assert amount_of(given) is None

    @given(st.one_of(st.text(), st.floats(), st.integers(), st.decimals(), st.none(), st.booleans()))
    def test_of_anything_is_an_amount_or_none(self, given: Any):
        amount = amount_of(given)
        assert amount is None or 0 <= amount <= MAX_PRICE


class TestHowItIsSaid:
    @pytest.mark.parametrize(
        ("amount", "said"),
        [("0.4", "0.40 USD"), ("0.0001", "0.0001 USD"), ("1000", "1000.00 USD"), ("1e6", "1000000.00 USD")],
    )
    def test_in_full_and_with_the_currency(self, amount: str, said: str):
        assert str(Cost(Decimal(amount), "USD")) == said
