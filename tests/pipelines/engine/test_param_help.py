"""The part of --help that lists parameters: nothing is left out, and comments go with the field they stand beside."""

from dataclasses import dataclass, field, fields
from typing import Literal

import pytest

from pipelines.engine.command import stage_main
from pipelines.engine.param_help import help_text, parameters
from pipelines.engine.params import SECTIONS, build_params, read_sections
from pipelines.params import section_classes
from pipelines.vae.stage import VaeParams, run
from wanstreamer.bounds import bounded


@dataclass(frozen=True, kw_only=True)
class Depth:
    """Not a comment."""

    metres: float = bounded(at_least=0)  # below the surface
    sure: bool = True


@dataclass(frozen=True, kw_only=True)
class Base:
    # Two lines
    # above it
    first: int = 1  # and one behind
    # of nothing

    second: str = ""  # empty: "# none"
    third: tuple[int, ...] = (1, 2)  # said in Base


@dataclass(frozen=True, kw_only=True)
class Derived(Base):
    third: tuple[int, ...] = (3,)
    depth: Depth = field(
        default_factory=lambda: Depth(metres=2.5)  # of the nested one
    )
    fourth: Literal["words", "rules"] = "words"
    fifth: int = bounded(4, multiple_of=2, at_least=2, at_most=8, why="pairs")  # on two lines


def test_comments_go_with_their_field() -> None:
    assert list(parameters(Derived())) == [
        ("first", 1, "Two lines above it and one behind", ""),
        ("second", "", 'empty: "# none"', ""),
        ("third", (3,), "", ""),
        ("depth.metres", 2.5, "below the surface", "0 or more"),
        ("depth.sure", True, "", ""),
        ("fourth", "words", "", "words or rules"),
        ("fifth", 4, "on two lines", "a multiple of 2, 2 to 8 (pairs)"),
    ]


def test_lines_are_what_set_takes_and_are_wrapped() -> None:
    lines = help_text("vae", Derived, 60).splitlines()
    assert lines[1:3] == [f"  {'vae.first=1':<38}Two lines above it", f"{'':<40}and one behind"]
    assert lines[4:7] == [
        "  vae.third=[3]", f"  {'vae.depth.metres=2.5':<38}below the surface [0", f"{'':<40}or more]"
    ]  # fmt: skip
    assert lines[7:9] == ["  vae.depth.sure=true", f"  {'vae.fourth=words':<38}[words or rules]"]


@pytest.mark.parametrize("section", SECTIONS)
def test_what_is_listed_can_be_set_and_is_the_default(section: str) -> None:
    cls: type = section_classes()[section]
    lines = [line for line in help_text(section, cls, 118).splitlines() if line.startswith(f"  {section}.")]
    values = read_sections(None, [line[2:].split("  ")[0] for line in lines])[section]
    assert set(values) == {one.name for one in fields(cls)}
    assert build_params(cls, values, section) == cls()


def test_a_stage_lists_its_parameters(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit):
        stage_main("vae", VaeParams, run, ["--help"])
    said = capsys.readouterr().out
    assert f"  {'vae.video.channels=32':<38}channels of a latent [1 or more]" in said
    assert f"  {'run.workers=0':<38}parallel worker processes; 0: one per core" in said
