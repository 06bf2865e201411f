"""Parameters of the pack stage, with their bounds."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.engine.models import LANGUAGE_MODEL
from wanstreamer.bounds import BadValue, bounded, check_bounds, from_one, from_zero
from wanstreamer.clock import UNIT_MS
from wanstreamer.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ViewParams:
    """Parameters of a role view: when text enters, and when audio may contain another participant."""

    text_lead_units: int = from_zero(
        1
    )  # agent words enter this many units before their audio; 1 gave better results than 0
    # Text ids per unit and role; further ids wait for the next units.
    text_slots: int = from_one(2)
    # Above this, a track's audio is masked while the other participant may be heard in it.
    max_bleed_db: float = bounded(-30.0, at_least=-120, at_most=120)
    # Units that are masked before and after the agent's speech, for echoes and late detection.
    bleed_guard_units: int = from_zero(1)

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class PackParams(ViewParams):
    """How sessions become windows."""

    window_units: int = bounded(32, at_least=2)  # K: 5.12 s; enough for a tiny model to learn turn-taking
    # Half a window: every unit, except at a session's ends, is once early and once late in a window.
    stride_units: int = from_one(16)
    # Vocabulary of the tokenizer that is fitted here.
    vocab_size: int = bounded(512, at_least=259, why="256 bytes and 3 special ids")
    tokenizer: str = ""  # finished tokenizer.json or local Hugging Face folder; empty: fitted on train words
    # Windows in which both together speak less are left out; 0: all windows are used.
    min_talk_ms: int = from_zero(0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride_units > self.window_units:
            expected = f"1 to window_units ({self.window_units}), so that no unit is left out"
            raise BadValue("stride_units", self.stride_units, expected, "window_units")
        most_ms = 2 * self.window_units * UNIT_MS
        if self.min_talk_ms > most_ms:
            raise BadValue(
                "min_talk_ms", self.min_talk_ms, f"at most what two can speak in a window, {most_ms}", "window_units"
            )

    def check(self) -> None:
        """Raises InputError if the finished tokenizer does not exist."""
        if self.tokenizer and not Path(self.tokenizer).exists():
            raise InputError(
                f"pack.tokenizer {self.tokenizer}: no such file or folder; `make repro` makes some, and `python -m "
                f"tools.models fetch {LANGUAGE_MODEL.model}` fetches {LANGUAGE_MODEL.what}, "
                f"{LANGUAGE_MODEL.place.as_posix()}"
            )
