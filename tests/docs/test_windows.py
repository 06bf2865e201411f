"""docs/windows.md names every field of a window, with its type, and says what the defaults are."""

import re

from pipelines.pack.stage import PackParams
from schemas.windows import WINDOW_FIELDS
from tests.helpers.paths import ROOT

PAGE = (ROOT / "docs" / "windows.md").read_text(encoding="utf-8")


def test_the_table_of_fields_is_that_of_the_format() -> None:
    section = PAGE.partition("## What a window holds")[2].partition("\n## ")[0]
    shown: dict[str, tuple[str, str]] = {}
    for names, dtype, shape in re.findall(r"^\| (`.+?) \| (\w+) \| ([\w, ]+) \|", section, re.MULTILINE):
        dimensions = shape.replace(", ", "").replace("4", "L")  # the labels
        shown |= dict.fromkeys(re.findall(r"`(\w+)`", names), (dtype, dimensions))
    known = {name: field for name, field in WINDOW_FIELDS.items() if not name.endswith("_known")}
    assert shown.pop("user_audio_known") == WINDOW_FIELDS["user_audio_known"]
    assert shown == known


def test_the_defaults_are_those_of_the_parameters() -> None:
    params = PackParams()
    for sentence in (
        f"K is {params.window_units} by default",
        f"`pack.stride_units` {params.stride_units}",
        f"`pack.text_lead_units` {params.text_lead_units}",
        f"S = {params.text_slots} text slots",
    ):
        assert sentence in PAGE
