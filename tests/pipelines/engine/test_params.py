"""Plain values of a parameter file and of --set -> a dataclass; a refusal is one line that says who gave the value."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.params import build_params, read_sections
from pipelines.vae.params import VaeParams
from wanstreamer.bounds import BadValue, bounded, check_bounds, from_one, share
from wanstreamer.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Inner:
    depth: int = 4

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class Outer:
    width: int = from_one(64)
    share: float = share(0.5)
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        check_bounds(self)


def test_overrides_reach_nested_values(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("vae: {width: 32}\n")
    sections = read_sections(path, ["vae.inner.depth=8", "vae.share=0.25"])
    assert build_params(Outer, sections["vae"], "vae") == Outer(width=32, share=0.25, inner=Inner(depth=8))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"widht": 3}, "widht: unknown key; did you mean `width`"),
        ({"inner": {"dpeth": 3}}, "inner.dpeth: unknown key; did you mean `depth`"),
        ({"width": "wide"}, "width: 'wide'; expected an integer"),
    ],
)
def test_wrong_values_name_their_key(values: dict, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        build_params(Outer, values, "params.yaml: vae")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "values", "place"),
    [
        ([], {"inner": {"dpeth": 3}}, "params.yaml: vae.inner.dpeth: "),
        (["vae.inner.depth=2", "vae.inner.dpeth=3"], {"inner": {"dpeth": 3}}, "--set vae.inner.dpeth=3: "),
        (["vae.inner={dpeth: 3}"], {"inner": {"dpeth": 3}}, "--set vae.inner={dpeth: 3}: "),
        (["vae.inner.depth=deep"], {"inner": {"depth": "deep"}}, "--set vae.inner.depth=deep: "),
        (["vae.width=x", "vae.width=y"], {"width": "y"}, "--set vae.width=y: "),
        (["vae.wid=x", "vae.share=0.1"], {"width": "y", "share": 0.1}, "params.yaml: vae.width: "),
    ],
)
def test_a_wrong_value_names_who_gave_it(overrides: list[str], values: dict, place: str) -> None:
    with pytest.raises(InputError) as caught:
        build_params(Outer, values, "vae", path=Path("params.yaml"), overrides=overrides)
    assert str(caught.value).startswith(place)


def test_overrides_do_without_a_file() -> None:
    assert read_sections(None, ["vae.width=32"]) == {"vae": {"width": 32}}


def test_a_nested_value_leaves_the_defaults_beside_it() -> None:
    params = build_params(VaeParams, {"video": {"channels": 48}, "audio": {"steps": 7}}, "vae")
    assert params.video == dataclasses.replace(VaeParams().video, channels=48)
    assert params.audio == dataclasses.replace(VaeParams().audio, steps=7)


@dataclass(frozen=True, kw_only=True)
class Pair:
    low: int = 1
    high: int = 5

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.low > self.high:
            raise BadValue("low", self.low, f"at most high ({self.high})", "high")
        if self.low == self.high == 0:
            raise InputError("both are 0; set one")


@dataclass(frozen=True, kw_only=True)
class Bounded:
    rate: float = bounded(0.5, above=0)
    steps: tuple[int, ...] = bounded((1, 2), at_least=1)
    pair: Pair = field(default_factory=lambda: Pair(low=2))

    def __post_init__(self) -> None:
        check_bounds(self)


@pytest.mark.parametrize(
    ("overrides", "values", "line"),
    [
        ([], {"rate": 0}, "my.yaml: vae.rate: 0.0; expected more than 0; the default is 0.5"),
        (["vae.rate=0"], {"rate": 0}, "--set vae.rate=0: expected more than 0; the default is 0.5"),
        (
            [],
            {"rate": float("nan")},
            "my.yaml: vae.rate: nan; expected a finite number, more than 0; the default is 0.5",
        ),
        ([], {"steps": [3, 0]}, "my.yaml: vae.steps: [3, 0]; expected values, each 1 or more; the default is [1, 2]"),
        ([], {"pair": {"low": "2"}}, "my.yaml: vae.pair.low: '2'; expected an integer; the default is 1"),
        ([], {"pair": None}, "my.yaml: vae.pair: null; expected `key: value` lines with the keys low, high"),
        ([], {"pair": {"low": 9}}, "my.yaml: vae.pair.low: 9; expected at most high (5)"),
        # What was overridden is to blame, not what stood in the file before.
        (
            ["vae.pair.high=1"],
            {"pair": {"high": 1}},
            "--set vae.pair.high=1: vae.pair.low: 2; expected at most high (1)",
        ),
        (
            ["vae.pair={low: 9}"],
            {"pair": {"low": 9}},
            "--set vae.pair={low: 9}: vae.pair.low: 9; expected at most high (5)",
        ),
        ([], {"pair": {"low": 0, "high": 0}}, "my.yaml: vae.pair: both are 0; set one"),
    ],
)
def test_a_refusal_names_place_key_value_and_what_was_expected(
    overrides: list[str], values: dict[str, Any], line: str
) -> None:
    with pytest.raises(InputError) as caught:
        build_params(Bounded, values, "vae", path=Path("my.yaml"), overrides=overrides)
    assert str(caught.value) == line


def test_numbers_that_yaml_takes_for_text_are_numbers(tmp_path: Path) -> None:
    """YAML 1.1 wants a point in 1e-3."""
    path = tmp_path / "params.yaml"
    path.write_text("vae: {rate: 1e-3}\n")
    params = build_params(Bounded, read_sections(path)["vae"], "vae")
    assert params.rate == 0.001
    assert type(build_params(Bounded, {"rate": 3}, "vae").rate) is float
