"""docs/streaming.md names every setting of an agent, with its default."""

import dataclasses
import re

from tests.helpers.paths import ROOT
from wanstreamer.streaming.agent import AgentConfig

PAGE = (ROOT / "docs" / "streaming.md").read_text(encoding="utf-8")


def test_the_table_of_settings_is_that_of_the_dataclass() -> None:
    config = AgentConfig()
    defaults = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    section = PAGE.partition("## Settings")[2].partition("\n## ")[0]
    shown = dict(re.findall(r"^\| `(\w+)` \| ([\w.]+) \|", section, re.MULTILINE))
    assert shown == {name: "none" if default is None else str(default) for name, default in defaults.items()}
