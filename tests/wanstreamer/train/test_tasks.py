"""Tasks made from windows: each learns what it says, and what it withholds is nowhere in what the model is given."""

import dataclasses
from collections import Counter

import pytest
import torch

from tests.helpers.duplex_fixtures import CONFIG, random_batch, random_model
from wanstreamer.model.duplex import Noisy
from wanstreamer.model.sequence import MISSING
from wanstreamer.train.loss import part_counts, part_sums
from wanstreamer.train.tasks import TASKS, drawn_task, mix
from wanstreamer.windows.loader import Batch

PARTIES, STREAMS = ("user", "agent"), ("audio", "video", "text")
# What the model may be told, by the window's own field; and the parts that are learnt.
HEARD = {
    "transcribe": {"user_audio", "user_video"},
    "speak": {"agent_text", "agent_audio"},
    "animate": {"agent_audio", "agent_video"},
    "proceed": {"agent_audio", "agent_video"},
    "chat": {"user_text", "agent_text"},
}
LEARNT = {
    "transcribe": [1, 0, 0],
    "speak": [0, 1, 0],
    "animate": [0, 0, 1],
    "proceed": [0, 1, 1],
    "chat": [1, 0, 0],
}


def field(stream: str, batch: Batch) -> str:
    return next(name for name in vars(batch) if name.startswith(f"{stream}_BK"))


def task_batch(name: str, batch: Batch) -> tuple[Batch, torch.Tensor]:
    return mix({name: 1.0}, seed=0)(batch, range(len(batch.window_id)))


def answers(name: str, batch: Batch) -> tuple[torch.Tensor, ...]:
    """What the model says of a task made from these windows, before it is compared with the targets."""
    task_windows, _ = task_batch(name, batch)
    generator = torch.Generator().manual_seed(0)
    audio = torch.randn(task_windows.agent_audio_BKNC.shape, generator=generator)
    video = torch.randn(task_windows.agent_video_BKCHW.shape, generator=generator)
    output = random_model()(task_windows, Noisy(audio, video, torch.ones(task_windows.agent_text_BKS.shape[:2])))
    return output.text_logits_BKSV, output.audio_x0_BKNC, output.video_x0_BKCHW  # type: ignore[return-value]


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("stream", [f"{party}_{stream}" for party in PARTIES for stream in STREAMS])
def test_what_a_task_withholds_changes_nothing_that_the_model_says(name: str, stream: str) -> None:
    batch = random_batch(units=4)
    column = field(stream, batch)
    values = getattr(batch, column)
    other = values.roll(1, 1) if values.dtype.is_floating_point else (values - 3 + 5) % (CONFIG.vocab_size - 3) + 3
    changed = dataclasses.replace(batch, **{column: other})
    same = [torch.equal(a, b) for a, b in zip(answers(name, batch), answers(name, changed), strict=True)]
    is_heard = stream in HEARD[name]
    if name == "transcribe" and stream == "user_text":  # the target: a slot sees the words before it, as ever
        text, again = answers(name, batch)[0], answers(name, changed)[0]
        assert torch.equal(text[:, 0, 0], again[:, 0, 0]) and not torch.equal(text, again)
    else:
        assert all(same) != is_heard


@pytest.mark.parametrize("name", TASKS)
def test_a_task_learns_what_it_says(name: str) -> None:
    batch = random_batch(units=4)
    task_windows, weight_BKW = task_batch(name, batch)
    units = 2 * 4
    assert part_counts(task_windows, weight_BKW).tolist() == [
        units * CONFIG.text_slots * LEARNT[name][0], units * LEARNT[name][1], units * LEARNT[name][2]
    ]  # fmt: skip
    model = random_model()
    noisy = Noisy(task_windows.agent_audio_BKNC, task_windows.agent_video_BKCHW, torch.ones(2, 4))
    sums_W = part_sums(model, model(task_windows, noisy), task_windows, noisy.tau_BK, weight_BKW)
    assert [float(value > 0) for value in sums_W] == LEARNT[name]


@pytest.mark.parametrize("name", TASKS)
def test_what_is_withheld_is_zero_and_unknown(name: str) -> None:
    task_windows, _ = task_batch(name, random_batch(units=4))
    for stream in (f"{party}_{stream}" for party in PARTIES for stream in STREAMS):
        if not getattr(task_windows, f"{stream}_known_BK").any():
            values = getattr(task_windows, field(stream, task_windows))
            assert (values == (MISSING if stream.endswith("text") else 0)).all()


def test_the_users_words_become_what_is_said_where_they_were_heard() -> None:
    batch = random_batch(units=4)
    masked = batch.user_audio_known_BK.clone()
    masked[0, 2] = False
    task_windows, _ = task_batch("transcribe", dataclasses.replace(batch, user_audio_known_BK=masked))
    assert torch.equal(task_windows.agent_text_BKS, batch.user_text_BKS)
    assert not task_windows.user_text_known_BK.any() and (task_windows.user_text_BKS == MISSING).all()
    assert task_windows.agent_text_known_BK.tolist() == masked.tolist()  # no one can write down what cannot be heard


def test_animate_hears_the_agent_as_the_user() -> None:
    batch = random_batch(units=4)
    task_windows, _ = task_batch("animate", batch)
    assert torch.equal(task_windows.user_audio_BKNC, batch.agent_audio_BKNC)
    assert torch.equal(task_windows.agent_video_BKCHW, batch.agent_video_BKCHW)
    assert not task_windows.agent_audio_known_BK.any() and not task_windows.user_video_known_BK.any()


def test_a_window_gets_the_task_of_its_place_whatever_the_batch() -> None:
    shares = dict.fromkeys(TASKS, 1.0)
    batch = random_batch(windows=6, units=4)
    task_windows, weight_BKW = mix(shares, seed=3)(batch, range(10, 16))
    assert task_windows.window_id == batch.window_id
    for row in range(6):
        alone, weight = mix(shares, seed=3)(batch.take([row]), [10 + row])
        for name, value in vars(alone).items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(getattr(task_windows, name)[row : row + 1], value)
        assert torch.equal(weight_BKW[row : row + 1], weight)


def test_tasks_come_in_their_shares() -> None:
    drawn = Counter(drawn_task({"chat": 3.0, "speak": 1.0, "proceed": 0.0}, 0, place) for place in range(2000))
    assert set(drawn) == {"chat", "speak"} and drawn["chat"] == pytest.approx(1500, abs=80)
