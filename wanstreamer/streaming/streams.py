"""The performer on its own CUDA stream: thinker and performer side by side on one GPU, in one process.

    with open_streams(agent, seed=0) as pipeline:
        ...                                   # as in `pipeline`: hear, answer

`send` launches everything that a unit needs and returns. With graphs these are a few launches, so that the host returns
to the thinker's work at once. No GPU has run it yet: the tests replace CUDA by stand-ins with the documented behaviour.
"""

import time
from collections import deque
from typing import NamedTuple

import torch
from torch import Tensor

from wanstreamer.errors import InputError
from wanstreamer.model.duplex import Prefix
from wanstreamer.model.flow import Latents
from wanstreamer.streaming.agent import Agent
from wanstreamer.streaming.performer import Performer, Slice
from wanstreamer.streaming.pipeline import Performed, Pipeline, new_performer

POLL_S = 0.0005


class UnderWay(NamedTuple):
    latents: Latents
    began: torch.cuda.Event
    ended: torch.cuda.Event


class StreamPerformer:
    """A `PerformerLink`; it owns the performer from then on."""

    def __init__(self, performer: Performer) -> None:
        self.performer = performer
        self.stream = torch.cuda.Stream()
        self.under_way: deque[UnderWay] = deque()
        # Relates the GPU's clock to the host's.
        self.start = torch.cuda.Event(enable_timing=True)
        self.start.record()
        self.start.synchronize()
        self.start_s = time.perf_counter()

    def ensure_open(self) -> None:
        """Always open."""

    @torch.inference_mode()
    def send(self, slice_: Slice) -> None:
        slice_ = Slice(*(part.clone() for part in slice_))  # the thinker's cache may move meanwhile
        began, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            began.record()
            self.performer.receive(slice_)
            latents = self.performer.perform()
            ended.record()
        for part in slice_:
            part.record_stream(self.stream)  # the memory must not be reused before the stream is done
        self.under_way.append(UnderWay(latents, began, ended))

    def receive(self, timeout_s: float | None) -> Performed | None:
        latents, began, ended = self.under_way[0]
        until_s = float("inf") if timeout_s is None else time.perf_counter() + timeout_s
        while not ended.query():
            if time.perf_counter() >= until_s:
                return None
            time.sleep(POLL_S)
        self.under_way.popleft()
        for part in latents:
            part.record_stream(torch.cuda.current_stream())
        began_s, ended_s = (self.start_s + self.start.elapsed_time(event) / 1000 for event in (began, ended))
        return Performed(latents=latents, began_s=began_s, ended_s=ended_s, handover_us=0.0)

    def to_tensors(self) -> dict[str, Tensor]:
        self.stream.synchronize()
        return self.performer.to_tensors()

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.performer.restore(tensors)

    def close(self) -> None:
        self.stream.synchronize()
        self.under_way.clear()


def open_streams(agent: Agent, *, seed: int, prefix: Prefix | None = None) -> Pipeline:
    """A conversation whose performer has its own CUDA stream. Raises InputError for an agent that is not on a GPU."""
    if agent.model.device.type != "cuda":
        raise InputError(f"two streams: the agent is on {agent.machine.device}, expected cuda; use open_workers")
    return Pipeline(agent, StreamPerformer(new_performer(agent)), seed=seed, prefix=prefix)
