"""The budgets table says what was measured and whether it is enough; medians are of turns."""

import pytest

from budgets.repeated import interleaved
from budgets.table import Measurement, Missing, number, table


def line(**changes: object) -> Measurement:
    given: dict[str, object] = {
        "what": "POST",
        "ours": 10.0,
        "theirs": 40.0,
        "against": "stock",
        "unit": "ms",
        "budget": 0.5,
    }
    return Measurement(**given | changes)  # type: ignore[arg-type]


def test_a_kept_budget_is_met_and_a_ratio_above_it_is_printed_as_missed() -> None:
    text = table([line(), line(what="pages", ours=30.0)])

    post, pages = text.splitlines()[2:4]
    assert post.split("  ")[-1] == "met"
    assert "0.25" in post
    assert "40.0 ms (stock)" in post
    assert pages.endswith("MISSED")
    assert "0.75" in pages


def test_a_budget_is_met_exactly_at_its_limit() -> None:
    assert line(ours=20.0).met
    assert not line(ours=20.001).met


def test_an_absolute_budget_limits_our_own_figure_whatever_the_other_is() -> None:
    few = line(ours=0.05, theirs=200.0, unit="MB", budget=0.1, absolute=True)
    alone = line(ours=120.0, theirs=None, budget=100, absolute=True)

    assert few.met
    assert "<= 0.1 MB" in table([few])
    assert not alone.met
    assert "120 ms" in table([alone])


def test_a_ratio_to_nothing_is_no_figure() -> None:
    with pytest.raises(ValueError, match="nothing to divide by"):
        _ = line(theirs=0.0).figure


def test_a_row_that_could_not_be_measured_is_told_with_its_reason() -> None:
    text = table([Missing("uploads", "uv isn't found")])

    assert "not measured" in text
    assert "uploads: uv isn't found" in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [(12345.6, "12346"), (35.14, "35.1"), (1.204, "1.2"), (0.0123, "0.0123"), (0.0, "0")],
)
def test_numbers_have_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown


def test_medians_are_of_turns_after_the_warm_up() -> None:
    turns: list[str] = []
    ours, theirs = iter([99.0, 3.0, 1.0, 2.0]), iter([99.0, 30.0, 10.0, 20.0])

    def one(name: str, figures: object) -> float:
        turns.append(name)
        return float(next(figures))  # type: ignore[call-overload]

    found = interleaved(lambda: one("ours", ours), lambda: one("theirs", theirs), times=3)

    assert found == (2.0, 20.0)
    assert turns == ["ours", "theirs"] * 4
