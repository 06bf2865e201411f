"""A parameter's bounds: what they let pass, and what they say of the rest."""

import copy
import math
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wanstreamer.bounds import BadValue, Bounds, bounded, check_bounds, from_zero, limits, share


@dataclass(frozen=True, kw_only=True)
class Params:
    width: int = bounded(64, multiple_of=16, at_least=16, at_most=512, why="the step of the VAE")
    rate: float = bounded(0.5, above=0, below=2)
    part: float = share(0.5)
    taus: tuple[float, ...] = bounded((0.5, 1.0), above=0, at_most=1, not_empty=True)
    logs: tuple[str, ...] = bounded((), one_of=("csv", "json"))
    lag: int = bounded(0, one_of=(0, 1))
    words: Literal["sidecar", "whisperx", "none"] = "sidecar"
    history: int | None = from_zero(None)
    name: str = ""
    sure: bool = True

    def __post_init__(self) -> None:
        check_bounds(self)


@given(st.integers(-1000, 1000))
def test_integers(width: int) -> None:
    if width % 16 == 0 and 16 <= width <= 512:
        assert Params(width=width).width == width
    else:
        with pytest.raises(BadValue) as caught:
            Params(width=width)
        assert str(caught.value) == (
            f"width: {width}; expected a multiple of 16, 16 to 512 (the step of the VAE); the default is 64"
        )


@given(st.floats() | st.integers())
def test_numbers_between_open_bounds(rate: float) -> None:
    if 0 < rate < 2:
        assert Params(rate=rate).rate == rate
    else:
        with pytest.raises(BadValue, match="^rate: .*more than 0, less than 2; the default is 0.5$"):
            Params(rate=rate)


@given(st.lists(st.floats(-1, 2)))
def test_each_number_of_a_tuple(taus: list[float]) -> None:
    if taus and all(0 < tau <= 1 for tau in taus):
        Params(taus=tuple(taus))
    else:
        with pytest.raises(BadValue, match="one or more values, each more than 0, at most 1"):
            Params(taus=tuple(taus))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("width", True, "true; expected an integer, a multiple of 16"),
        ("width", 64.0, "64.0; expected an integer"),
        ("width", "64", "'64'; expected an integer"),
        ("part", math.inf, "inf; expected a finite number, a share between 0 and 1"),
        ("part", 10**400, "expected a finite number"),
        ("part", 2, "2; expected a share between 0 and 1"),
        ("taus", [0.5], r"\[0.5\]; expected a list, each a finite number"),
        ("logs", ("csv", "xml"), r"\['csv', 'xml'\]; expected some of csv, json; the default is \[\]"),
        ("history", 10**10, "10000000000; expected 0 or more, at most 1000000000; the default is null"),
        ("lag", 2, "2; expected 0 or 1"),
        ("lag", False, "false; expected an integer"),
        ("words", "wisperx", "'wisperx'; expected one of sidecar, whisperx, none"),
        ("history", -1, "-1; expected 0 or more; the default is null"),
        ("history", 1.5, "1.5; expected an integer or null, 0 or more"),
        ("name", 3, "3; expected text"),
        ("sure", 1, "1; expected true or false"),
    ],
)
def test_other_values_are_refused_by_name(name: str, value: object, said: str) -> None:
    with pytest.raises(BadValue, match=f"^{name}: {said}" if not isinstance(value, int) or value < 9**99 else said):
        Params(**{name: value})  # type: ignore[arg-type]


def test_the_limits_of_all_fields_in_words() -> None:
    assert limits(Params) == {
        "width": "a multiple of 16, 16 to 512 (the step of the VAE)",
        "rate": "more than 0, less than 2",
        "part": "a share between 0 and 1",
        "taus": "one or more values, each more than 0, at most 1",
        "logs": "some of csv, json",
        "lag": "0 or 1",
        "words": "one of sidecar, whisperx, none",
        "history": "0 or more",
        "name": "",
        "sure": "",
    }


def test_a_refusal_crosses_processes() -> None:
    error = copy.copy(BadValue("steps", 0, "1 or more", "warmup_steps"))  # made again from its arguments, as there
    assert str(error) == "steps: 0; expected 1 or more" and error.others == ("warmup_steps",)


def test_no_bounds_hold_anything() -> None:
    assert Bounds().hold(-1e9) and Bounds().words(float) == ""
