"""A recorded user and the agent's answer as a film; the agent has random weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import tools.talk.__main__ as command
from pipelines.media.tracks import read_frames
from pipelines.media.units import MediaUnit
from tests.helpers.clips import make_clip
from tests.helpers.live_fixtures import media, small_agent
from tools.talk.conversation import converse, film, lines_said, mixed


@pytest.fixture
def with_small_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(data: Path, config: Any) -> Any:
        assert data == Path("data")
        assert config.history_units == 32
        return small_agent(history_units=config.history_units)

    monkeypatch.setattr(command, "load_agent", load)


@pytest.mark.usefixtures("with_small_agent")
def test_the_film_shows_user_and_agent_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_clip(tmp_path / "me.mp4", seconds=2)
    out = tmp_path / "answer.mp4"
    command.main(["--user", str(tmp_path / "me.mp4"), "--out", str(out), "--seconds", "1"])
    frames = read_frames(out)
    assert frames.shape == (28, 16 + 4 * 48 + 16, 2 * 256, 3)  # 7 units; captions above and below
    user = frames[:, 16:-16, :256].mean(axis=(1, 2, 3))
    assert user[:14].max() < 30 < 200 < user[16:19].min()  # black, then the flash at 0.6 s
    assert "answer.mp4: 1.1 s; a unit of 160 ms took" in capsys.readouterr().out


@pytest.mark.usefixtures("with_small_agent")
def test_the_agent_begins_as_the_person_of_a_picture(tmp_path: Path) -> None:
    make_clip(tmp_path / "me.mp4", seconds=1)
    for name, face in (("plain", []), ("one", ["--face", str(tmp_path / "me.mp4")])):
        out = ["--out", str(tmp_path / f"{name}.mp4")]
        command.main(["--user", "none", "--seconds", "0.3", *out, *face])
    plain, one = (read_frames(tmp_path / f"{name}.mp4") for name in ("plain", "one"))
    assert plain.shape == one.shape
    assert np.abs(plain[..., 256:, :].astype(float) - one[..., 256:, :]).mean() > 1


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "bmp"])
def test_a_face_is_any_picture_cut_to_the_frame(tmp_path: Path, kind: str) -> None:
    picture = np.zeros((96, 300, 3), np.uint8)
    picture[:, 86:214] = (200, 100, 50)  # the middle, of the frame's shape
    Image.fromarray(picture).save(tmp_path / f"face.{kind}")
    face = command.read_face(tmp_path / f"face.{kind}", small_agent())
    assert face.shape == (48, 64, 3)
    np.testing.assert_allclose(face[8:-8, 8:-8], np.broadcast_to((200, 100, 50), (32, 48, 3)), atol=8)


@pytest.mark.usefixtures("with_small_agent")
def test_without_a_user_the_agent_is_alone(tmp_path: Path) -> None:
    command.main(["--user", "none", "--out", str(tmp_path / "answer.mp4"), "--seconds", "0.3"])
    frames = read_frames(tmp_path / "answer.mp4")
    assert len(frames) == 8
    np.testing.assert_allclose(frames[:, 20:-20, :250], 128, atol=4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--user", "missing.mp4", "--out", "a.mp4"],
            "--user missing.mp4: missing_file: missing.mp4; name a recording",
        ),
        (
            ["--user", "none", "--face", "me.png", "--out", "a.mp4"],
            "--face me.png: missing_file: me.png; name a picture or video",
        ),
        (["--user", "none", "--out", "a.wav"], "--out a.wav: expected a name that ends in .mp4"),
        (["--user", "none", "--out", "a.mp4", "--seconds", "0"], "--seconds 0: expected more than 0"),
    ],
)
@pytest.mark.usefixtures("with_small_agent")
def test_mistakes_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        command.main(arguments)
    assert end.value.code == 2
    assert capsys.readouterr().err == f"error: {message}\n"
    assert not list(tmp_path.iterdir())


def test_the_agent_answers_what_it_hears_as_in_a_live_conversation() -> None:
    agent = small_agent()
    units = [MediaUnit(*unit) for unit in media(3)]
    exchanges = list(converse(agent, units, seed=5))
    state = agent.start(seed=5)
    for exchange, unit in zip(exchanges, units, strict=True):
        answer, state = agent.step(state, unit.frames, unit.samples)
        np.testing.assert_array_equal(exchange.agent.frames, answer.frames)
        np.testing.assert_array_equal(exchange.agent.samples, answer.samples)
    pictures = list(film(exchanges))
    np.testing.assert_array_equal(pictures[0].frames[:, 16:-16:4, :256:4], units[0].frames)  # type: ignore[index]
    np.testing.assert_array_equal(pictures[1].samples, mixed(units[1].samples, exchanges[1].agent.samples))


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1))
def test_a_mix_never_clips_and_keeps_what_is_quiet(pairs: list[tuple[float, float]]) -> None:
    a_T, b_T = np.array(pairs).T
    mix_T = mixed(a_T, b_T)
    assert np.abs(mix_T).max() <= 1
    quiet = np.abs(a_T + b_T) <= 0.5
    np.testing.assert_array_equal(mix_T[quiet], (a_T + b_T)[quiet])
    order = np.argsort(a_T + b_T)
    assert np.all(np.diff(mix_T[order]) >= -1e-12)


def test_a_second_without_words_ends_a_line() -> None:
    assert lines_said(["how ", "are you", *[""] * 6, "?", *[""] * 7, "fine"]) == [(0.0, "how are you?"), (2.56, "fine")]
    assert lines_said(["", ""]) == []
