"""A conversation with a history limit, moved on unit by unit; in a process of its own too."""

from tests.helpers.live_fixtures import media, small_agent
from wanstreamer.streaming.agent import Agent, AgentUnit
from wanstreamer.streaming.pipeline import Pipeline

UNITS = 9


def limited_agent(lag: int) -> Agent:
    return small_agent({"self_lag": lag}, history_units=3, sink_units=1)


def advance(pipeline: Pipeline, first: int, stop: int, open_units: int) -> list[AgentUnit | None]:
    """Units first to stop heard and answered, so that at the end `open_units` are open."""
    answers = []
    for frames, samples in media(UNITS)[first:stop]:
        pipeline.hear(frames, samples)
        while len(pipeline.open) > open_units:
            answers.append(pipeline.answer())
    return answers
