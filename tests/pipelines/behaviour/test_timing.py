"""Figures of speech timing on conversations made by hand: for each one that gives 0 and one that gives 1."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.behaviour.figures import divergence, figures_of_timing, summarize
from pipelines.behaviour.timing import ANSWER_MS, KEYS, Conversation, Observed, observe
from pipelines.conversation.stimuli import Stimulus
from tests.helpers.counts import examples
from wanstreamer.clock import UNIT_MS, Span, merge_spans

END_MS = 30_080
Spans = Sequence[tuple[int, int]]


def seen(agent: Spans, user: Spans = (), *stimuli: Stimulus, start_ms: int = 0, end_ms: int = END_MS) -> Observed:
    return observe(
        Conversation(
            start_ms=start_ms,
            end_ms=end_ms,
            user=[Span(*span) for span in user],
            agent=[Span(*span) for span in agent],
            stimuli=stimuli,
        )
    )


def rows(agent: Spans, key: str, user: Spans, *stimuli: Stimulus, **where: int) -> list:
    observed = seen(agent, user, *stimuli, **where)[key]
    return observed[:, 0].tolist() if observed.shape[1] == 1 else observed.tolist()


def share(agent: Spans, key: str, user: Spans, *stimuli: Stimulus) -> float:
    part, whole = seen(agent, user, *stimuli)[key][0]
    return part / whole


TURN = Stimulus("turn_end", 1000, 5000)


@pytest.mark.parametrize(
    ("agent", "answered", "offset_ms"),
    [
        ([(5400, 7000)], 1, [400]),
        ([(4500, 7000)], 1, [-500]),  # a terminal overlap
        ([(2000, 2300), (5400, 7000)], 1, [400]),  # a backchannel before it is no answer
        ([], 0, []),
        ([(3000, 7000)], 0, []),  # talked all the time
        ([(4000, 4800)], 0, []),  # was over before the turn was
        ([(5000 + ANSWER_MS + 100, 9500)], 0, []),
    ],
)
def test_an_answer_comes_before_the_user_goes_on(agent: Spans, answered: int, offset_ms: list[int]) -> None:
    user = [(1000, 5000), (9000, 12_000)]
    assert rows(agent, "answered", user, TURN) == [answered]
    assert rows(agent, "offset_ms", user, TURN) == offset_ms


def test_an_answer_after_the_user_has_gone_on_is_none() -> None:
    late = [(7000, 9000)]
    assert rows(late, "answered", [(1000, 5000)], TURN) == [1]
    assert rows(late, "answered", [(1000, 5000), (6500, 8000)], TURN) == [0]
    assert rows(late, "answered", [(1000, 5000), (6500, 6900)], TURN, Stimulus("backchannel", 6500, 6900)) == [1]


def test_a_second_of_speech_takes_the_floor() -> None:
    assert rows([(5400, 6300)], "takeover", [(1000, 5000)], TURN) == [0]
    assert rows([(5400, 6400)], "takeover", [(1000, 5000)], TURN) == [1]
    assert rows([(5400, 5900), (6500, 6900)], "takeover", [(1000, 5000)], TURN) == [1]  # a pause is no end
    assert rows([], "takeover", [(1000, 5000)], TURN) == [0]


def test_a_turn_end_counts_where_an_answer_can_still_come() -> None:
    assert rows([], "answered", [(1000, 5000)], TURN, end_ms=5000 + ANSWER_MS) == [0]
    assert rows([], "answered", [(1000, 5000)], TURN, end_ms=5000 + ANSWER_MS - 1) == []
    assert rows([(5400, 6000)], "answered", [(1000, 5000)], TURN, start_ms=5001) == []


BREAK_IN = Stimulus("interruption", 8000, 9500)


@pytest.mark.parametrize(
    ("agent", "stop_ms"),
    [
        ([(5000, 8300)], [300]),
        ([(5000, 12_000)], [4000]),  # went on to the end of its turn
        ([(5000, 8300), (8700, 12_000)], [4000]),  # a short silence is no stop
        ([(5000, 8300), (9000, 12_000)], [300]),  # a longer one while the user speaks is
        ([(5000, 7970)], [0]),  # fell silent with the unit before
        ([(5000, 7900)], []),  # had fallen silent already
        ([(5000, 7000)], []),  # was not speaking
        ([(8600, 9000)], []),
    ],
)
def test_time_to_stop_counts_only_where_the_agent_spoke(agent: Spans, stop_ms: list[float]) -> None:
    assert rows(agent, "stop_ms", [(8000, 9500)], BREAK_IN) == stop_ms
    assert rows(agent, "stopped", [(8000, 9500)], BREAK_IN) == [float(ms <= 640) for ms in stop_ms]


MHM = Stimulus("backchannel", 8000, 8300)


@pytest.mark.parametrize(
    ("agent", "stopped", "gave_up"),
    [
        ([(5000, 12_000)], [0], [0]),
        ([(5000, 8200)], [1], [1]),
        ([(5000, 8200), (8600, 12_000)], [0], [0]),  # a short silence is none
        ([(5000, 8200), (9400, 12_000)], [1], [0]),  # went on after a pause, as speakers do, or began anew
        ([(5000, 8200), (9800, 12_000)], [1], [1]),
        ([(9000, 9500)], [], []),
    ],
)
def test_a_backchannel_should_not_stop_anybody(agent: Spans, stopped: list[float], gave_up: list[float]) -> None:
    assert rows(agent, "stopped_by_backchannel", [(7950, 8350)], MHM) == stopped
    assert rows(agent, "gave_up_at_backchannel", [(7950, 8350)], MHM) == gave_up


PAUSE = Stimulus("pause", 3000, 3900)


@pytest.mark.parametrize(
    ("agent", "cut"),
    [
        ([], [0]),
        ([(3500, 6000)], [1]),
        ([(3200, 3500)], [0]),  # a backchannel
        ([(3500, 3840)], [1]),  # a turn that breaks off in the unit in which the user goes on
        ([(3500, 4300)], [1]),  # or a little later
        ([(3950, 6000)], [0]),  # not in the pause
        ([(2000, 6000)], []),  # it spoke already
    ],
)
def test_cutting_into_a_pause(agent: Spans, cut: list[float]) -> None:
    assert rows(agent, "cut_into_pause", [(1000, 3000), (3900, 6000)], PAUSE) == cut


def test_pauses_too_short_to_be_heard_do_not_count() -> None:
    assert rows([], "cut_into_pause", [(1000, 3000), (3300, 6000)], Stimulus("pause", 3000, 3300)) == []


LONG = [(0, 10_000), (10_400, 20_000)]


def test_backchannels_are_short_and_alone_in_the_users_turn() -> None:
    ended = Stimulus("turn_end", 0, 20_000)
    assert rows([(5000, 5400), (9800, 10_100)], "backchannels", LONG, ended) == [[2, 20 / 60]]
    assert rows([(5000, 6100)], "backchannels", LONG, ended)[0][0] == 0  # too long
    assert rows([(5000, 5400), (6000, 6300)], "backchannels", LONG, ended)[0][0] == 0  # together too long
    assert rows([(5000, 5200), (5600, 5800)], "backchannels", LONG, ended)[0][0] == 1  # "mhm, yeah"
    assert rows([(20_400, 20_800)], "backchannels", LONG, ended)[0][0] == 0  # an answer
    # A turn that is over is not joined to the next one: what lies between is an answer, however short.
    assert rows([(10_100, 10_300)], "backchannels", LONG, Stimulus("turn_end", 0, 10_000))[0][0] == 0
    assert rows([(5000, 5400), (9800, 10_100)], "backchannel_ms", LONG, ended) == [-3000, -200]


def test_talking_over_and_sound_where_silent() -> None:
    user = [(1000, 11_000)]
    assert share([], "talking_over", user) == share([], "sound_where_silent", user) == 0
    assert share([(0, 20_000)], "talking_over", user) == share([(0, 20_000)], "sound_where_silent", user) == 1
    assert share([(1000, 6000)], "talking_over", user) == pytest.approx(0.5)
    # A second at the edges of a turn is where turns may overlap; a backchannel is neither.
    assert share([(0, 2000), (10_000, 20_000)], "sound_where_silent", user) == 0
    assert share([(5000, 5500)], "talking_over", user) == share([(5000, 5500)], "sound_where_silent", user) == 0
    assert share([(0, END_MS)], "sounding", user) == 1


SHOWN = Stimulus("shown", 8000, 11_000)


def test_initiation_after_something_shown() -> None:
    assert rows([], "initiated", [], SHOWN) == [0]
    assert rows([(9000, 10_000)], "initiated", [], SHOWN) == [1]
    assert rows([(9000, 10_000)], "initiation_ms", [], SHOWN) == [1000]
    assert rows([(12_000, 13_000)], "initiated", [], SHOWN) == [0]
    assert rows([(6000, 10_000)], "initiated", [], SHOWN) == []


def test_what_lies_before_the_scored_part_does_not_count() -> None:
    observed = seen([(1000, 9000)], [(0, 9000)], SHOWN, PAUSE, MHM, BREAK_IN, TURN, start_ms=12_000)
    assert [len(observed[key]) for key in ("answered", "stopped", "cut_into_pause", "initiated")] == [0] * 4
    assert observed["sounding"].tolist() == [[0, END_MS - 12_000]] and observed["talking_over"].tolist() == [[0, 0]]


# Figures


def figures(observed: dict[str, list[Observed]], truth: dict[str, list[Observed]], latency_ms: int = 100) -> dict:
    return summarize(figures_of_timing(latency_ms), observed, truth, resamples=50, seed=0)


def answers(*offsets_ms: int) -> dict[str, list[Observed]]:
    """One session per offset."""
    return {f"s{index}": [seen([(5000 + ms, 6500 + ms)], [(1000, 5000)], TURN)] for index, ms in enumerate(offsets_ms)}


def test_onsets_beside_the_truth() -> None:
    truth = answers(100, 300, 500)
    same, later = figures(truth, truth), figures(answers(260, 460, 660), truth)
    assert same["offset_median_ms"]["value"] == 300 and same["offset_median_ms"]["n"] == 3
    assert same["onset_w1_units"]["value"] == same["offset_w1_ms"]["value"] == 0
    assert later["onset_w1_units"]["value"] == pytest.approx(1) and later["offset_w1_ms"]["value"] == 160
    # Heard live, a unit is over and made first: the truth itself is late by 160 + 100 ms.
    assert same["live_offset_median_ms"]["value"] == 560 and same["live_offset_w1_ms"]["value"] == 260
    assert same["offset_median_ms"]["low"] <= 300 <= same["offset_median_ms"]["high"]
    # An onset is never negative, an offset may be.
    early = figures(answers(-400, -400, -400), truth)
    assert early["onset_median_units"]["value"] == 0 and early["offset_median_ms"]["value"] == -400


def test_no_one_and_nothing_give_no_figure() -> None:
    no_figures = figures({"s0": [seen([])], "s1": [seen([])]}, answers(100))
    assert no_figures["stopped"] == {"value": None, "n": 0, "low": None, "high": None}
    assert no_figures["talking_over"]["value"] is None  # the user never spoke
    assert no_figures["sounding"]["value"] == 0 and no_figures["sounding"]["n"] == 2
    alone = figures({"s0": answers(100)["s0"]}, answers(100))
    assert alone["answered"]["value"] == 1 and alone["answered"]["low"] is None  # one session has no interval


def test_divergence_of_backchannels() -> None:
    early, late = np.array([[-300.0], [-250.0]]), np.array([[500.0], [700.0]])
    assert divergence(early, early) == 0 and divergence(early, late) == pytest.approx(1)
    assert 0 < divergence(np.concatenate([early, late]), early) < 1


# Properties

spans = st.lists(st.tuples(st.integers(0, 25_000), st.integers(20, 4000)), max_size=12).map(
    lambda pairs: merge_spans(Span(start, start + length) for start, length in pairs)
)
stimuli = st.lists(
    st.builds(
        lambda kind, start, length: Stimulus(kind, start, start + length),
        st.sampled_from(["turn_end", "pause", "interruption", "backchannel", "shown"]),
        st.integers(0, 25_000),
        st.integers(100, 3000),
    ),
    max_size=8,
)


@examples(100)
@given(spans, spans, stimuli, st.integers(1, 40))
def test_another_beginning_of_the_clock_changes_nothing(agent, user, given_stimuli, units) -> None:  # type: ignore[no-untyped-def]
    late_ms = units * UNIT_MS

    def moved(by_ms: int) -> Observed:
        return observe(
            Conversation(
                start_ms=1600 + by_ms,
                end_ms=28_800 + by_ms,
                user=[Span(a + by_ms, b + by_ms) for a, b in user],
                agent=[Span(a + by_ms, b + by_ms) for a, b in agent],
                stimuli=[Stimulus(p.kind, p.start_ms + by_ms, p.end_ms + by_ms) for p in given_stimuli],
            )
        )

    now, later = moved(0), moved(late_ms)
    for key in KEYS:
        assert np.array_equal(now[key], later[key]), key


@examples(100)
@given(spans, spans, stimuli)
def test_shares_are_shares_and_silence_does_nothing(agent, user, given_stimuli) -> None:  # type: ignore[no-untyped-def]
    whole = {"start_ms": 0, "end_ms": 28_800, "user": user, "stimuli": given_stimuli}
    observed = observe(Conversation(agent=agent, **whole))
    for key in ("talking_over", "sound_where_silent", "sounding"):
        part, of = observed[key][0]
        assert 0 <= part <= of
    assert len(observed["stop_ms"]) == len(observed["stopped"]) and (observed["stop_ms"] >= 0).all()
    assert len(observed["offset_ms"]) == observed["answered"].sum()
    assert ((observed["offset_ms"] >= -1000) & (observed["offset_ms"] < ANSWER_MS)).all()
    assert (observed["takeover"] <= observed["answered"]).all()
    silent = observe(Conversation(agent=[], **whole))
    assert not any(silent[key][:, 0].any() for key in KEYS)
    assert len(silent["answered"]) == len(observed["answered"])  # what is asked does not depend on the agent
