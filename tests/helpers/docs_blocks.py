"""README.md and docs/*.md -> their fenced blocks and the commands they name."""

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.paths import ROOT

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\S*)[^\n]*\n(?P<code>.*?)^(?P=indent)``` *$", re.MULTILINE | re.DOTALL
)
NOT_RUN = re.compile(r"<!-- not run: (?P<reason>.+?) -->\s*\Z", re.DOTALL)
INLINE = re.compile(r"`((?:python -m|make|torchrun) [^`]+)`")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block. `not_run` is the reason it gives for not being run by the tests; empty: it is run."""

    page: str
    line: int
    language: str
    code: str
    not_run: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    blocks = []
    for match in FENCE.finditer(text):
        reason = NOT_RUN.search(text[: match.start()])
        blocks.append(
            Block(
                page=str(page.relative_to(ROOT)),
                line=text.count("\n", 0, match.start()) + 1,
                language=match["language"],
                code=textwrap.dedent(match["code"]),
                not_run=reason["reason"] if reason else "",
            )
        )
    return blocks


def commands_of(page: Path) -> Iterator[tuple[str, list[str]]]:
    """(place, words) of every shell command of a page, in its bash blocks and in its inline code."""
    for block in blocks_of(page):
        if block.language == "bash":
            for line in block.code.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words:
                    yield block.place, words
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    for match in INLINE.finditer(prose):
        yield page.name, shlex.split(match[1], comments=True)
