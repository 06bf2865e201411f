"""Full-Duplex-Bench's folders: its rules, ported here, give on them what the conversation was made to be."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.behaviour.fdb import TimedWord, timed_words, write_fdb
from pipelines.behaviour.recorded import View
from pipelines.conversation.stimuli import Stimulus
from pipelines.media.tracks import read_wav
from wanstreamer.clock import UNIT_MS, Span
from wanstreamer.errors import InputError

RATE_HZ = 16_000


def take_over(folder: Path) -> int:
    """Full-Duplex-Bench v1.0: 0 for no word, or for at most 3 words within less than 1 s."""
    chunks = json.loads((folder / "output.json").read_text())["chunks"]
    if not chunks:
        return 0
    duration_s = chunks[-1]["timestamp"][1] - chunks[0]["timestamp"][0]
    return 0 if duration_s < 1 and len(chunks) <= 3 else 1


def latency_s(folder: Path, name: str, end: int) -> float:
    """From the turn's mark (`end` 0) or the interruption's end (`end` 1) to the first word; negative is 0."""
    [mark] = json.loads((folder / name).read_text())
    first = json.loads((folder / "output.json").read_text())["chunks"][0]["timestamp"][0]
    return max(0.0, first - mark["timestamp"][end])


def view(may_show: bool = True) -> View:
    stimuli = [
        Stimulus("pause", 5000, 5600),
        Stimulus("turn_end", 4000, 7000),
        Stimulus("interruption", 10_000, 11_000),
        Stimulus("turn_end", 0, 1000),  # in the given history
    ]
    speech = [Span(0, 1000), Span(4000, 5000), Span(5600, 7000), Span(10_000, 11_000)]
    return View(
        session_id="s0", agent="a", user="b", num_units=100, stimuli=stimuli, user_speech=speech,
        agent_onsets_ms=[], may_show=may_show,
    )  # fmt: skip


def write(folder: Path, words: list[TimedWord] | None, **changes: bool) -> dict[str, int]:
    sound = np.linspace(-1, 1, 100 * UNIT_MS * RATE_HZ // 1000, dtype=np.float32)[None]
    own = None if words is None else [words]
    return write_fdb(folder, [view(**changes)], sound, -sound, RATE_HZ, own, given_units=10, num_units=100)


def test_the_benchmarks_rules_find_what_was_made(tmp_path: Path) -> None:
    words = [TimedWord("mhm", 5200, 5360)]
    words += [TimedWord(word, 7400 + 400 * n, 7700 + 400 * n) for n, word in enumerate(["no", "it", "was", "blue"])]
    words += [TimedWord("sorry", 11_300, 11_700), TimedWord("go", 11_900, 12_600)]
    assert write(tmp_path / "fdb", words) == {
        "pause_handling": 1, "turn_taking": 1, "user_interruption": 1, "backchannel": 1,
    }  # fmt: skip
    pause, turn, interruption, listening = (
        tmp_path / "fdb" / name
        for name in (
            "pause_handling/s0-a-0003000", "turn_taking/s0-a-0004000", "user_interruption/s0-a-0008000",
            "backchannel/s0-a-0004000",
        )
    )  # fmt: skip
    assert json.loads((pause / "pause.json").read_text()) == [{"text": "[PAUSE]", "timestamp": [2.0, 2.6]}]
    assert json.loads((turn / "turn_taking.json").read_text()) == [{"text": "[TURN-TAKING]", "timestamp": [3.0, 6.0]}]
    [interrupt] = json.loads((interruption / "interrupt.json").read_text())
    assert interrupt == {"context": "", "interrupt": "", "timestamp": [2.0, 3.0]}
    assert [take_over(folder) for folder in (pause, turn, listening)] == [0, 1, 0]
    output = json.loads((turn / "output.json").read_text())
    assert output["text"] == "mhm no it was blue" and output["chunks"][0] == {"text": "mhm", "timestamp": [1.2, 1.36]}
    (turn / "output.json").write_text(json.dumps({"chunks": output["chunks"][1:]}))  # without the backchannel
    assert latency_s(turn, "turn_taking.json", 0) == pytest.approx(0.4)
    chunks = json.loads((interruption / "output.json").read_text())["chunks"]
    after = [chunk for chunk in chunks if chunk["timestamp"][0] > 3]  # the benchmark cuts at the interrupt's end
    (interruption / "output.json").write_text(json.dumps({"chunks": after}))
    assert take_over(interruption) == 1 and latency_s(interruption, "interrupt.json", 1) == pytest.approx(0.3)
    heard, said = (read_wav(turn / name) for name in ("input.wav", "output.wav"))
    assert heard[1] == said[1] == RATE_HZ and len(heard[0]) == len(said[0]) == 6 * RATE_HZ
    np.testing.assert_allclose(heard[0], -said[0], atol=1e-4)


def test_without_words_or_consent_it_writes_less(tmp_path: Path) -> None:
    assert write(tmp_path / "fdb", None)["turn_taking"] == 1
    assert not list((tmp_path / "fdb").rglob("output.json"))
    assert write(tmp_path / "none", [], may_show=False)["views_not_shown"] == 1 and not (tmp_path / "none").exists()
    with pytest.raises(InputError, match="not empty"):
        write(tmp_path / "fdb", None)


def test_pieces_become_words_with_the_times_of_their_sound() -> None:
    pieces = {0: "", 3: " re", 4: "d", 5: " hat"}
    tokens = np.array([[3, 4], [0, 0], [5, 0]])
    words = timed_words(tokens, lambda ids: pieces[ids[0]], lead_units=1)
    assert words == [TimedWord("red", 160, 320), TimedWord("hat", 480, 640)]
