"""The performer in its own process: slices out, latents back, through shared memory; numbers through a pipe.

    with open_workers(agent, Path("data/models/duplex/model.safetensors"), seed=0) as pipeline:
        ...                                   # as in `pipeline`: hear, answer

The thinker (encoders, text, decoders) stays in the caller's process. Both compute with the torch threads of the agent's
`Machine`, one by default. The performer's process is spawned, so a script that opens workers
needs the usual `if __name__ == "__main__":`. It reads the weights from the same safetensors file. Slices and latents
lie in a ring of fixed places that both sides map; two places are enough, as no more than two units can be in progress.
The process ends when the pipeline is closed, and when the caller dies in any way.
"""

import signal
import struct
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.multiprocessing import get_context

from wanstreamer.errors import InputError
from wanstreamer.model.duplex import DuplexModel, Prefix, load_model
from wanstreamer.streaming.agent import Agent, AgentConfig
from wanstreamer.streaming.machine import Machine
from wanstreamer.streaming.performer import Performer, Schedule, Slice
from wanstreamer.streaming.pipeline import Performed, Pipeline

RING_UNITS = 2
START_S = 120  # for a process to import torch and read the weights; longer means an error
JOIN_S = 5
# To the performer: the unit's number, or another request. Back: the number, and in s: when the performer was free for
# it, when its slice was in the cache, when its latents were in the ring.
ORDER, REPORT = struct.Struct("<q"), struct.Struct("<qddd")
SAVE, RESTORE = -1, -2  # SAVE: the state comes back as safetensors. RESTORE: it follows; the reply is empty


class WorkerDied(RuntimeError):
    """The performer's process is gone: the conversation is over, as its history was in that process."""


class Ring(NamedTuple):
    """Shared memory: places for RING_UNITS (R) units, unit k in place k mod R."""

    slice_R: list[Slice]
    audio_RNC: Tensor
    video_RCHW: Tensor

    @property
    def slice_bytes(self) -> int:
        return sum(part.nbytes for part in self.slice_R[0])

    @property
    def latent_bytes(self) -> int:
        return self.audio_RNC[0].nbytes + self.video_RCHW[0].nbytes


def new_ring(model: DuplexModel) -> Ring:
    config, layout = model.config, model.layout
    shape = (config.num_layers, config.num_kv_heads, layout.num_user + layout.num_slots, config.head_dim)
    dtype = model.trunk_dtype

    def shared(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(shape, dtype=dtype).share_memory_()

    slices = [
        Slice(
            shared(*shape, dtype=dtype),
            shared(*shape, dtype=dtype),
            shared(*config.audio_shape),
            shared(*config.video_shape),
        )
        for _ in range(RING_UNITS)
    ]
    return Ring(slices, shared(RING_UNITS, *config.audio_shape), shared(RING_UNITS, *config.video_shape))


class PerformerProcess:
    """The other end of `_serve`; a `PerformerLink`."""

    def __init__(self, model: DuplexModel, weights: Path, config: AgentConfig, machine: Machine) -> None:
        context = get_context("spawn")
        self.ring = new_ring(model)
        self.sent = self.received = 0
        self.sending_us: dict[int, float] = {}  # of units in progress: time to copy the slice into the ring
        self.sent_s: dict[int, float] = {}
        self.closed = False
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve,
            args=(theirs, self.ring, str(weights), config, machine),
            name="performer",
            daemon=True,
        )
        self.process.start()
        theirs.close()
        try:
            if not self.connection.poll(START_S):
                raise WorkerDied(f"performer: not ready after {START_S} s")
            self._read()
        except BaseException:
            self.close()
            raise

    def ensure_open(self) -> None:
        """Raises WorkerDied."""
        if self.closed:
            raise WorkerDied("performer: its process has ended; open a new pipeline")
        if not self.process.is_alive():
            raise self._died()

    @torch.inference_mode()
    def send(self, slice_: Slice) -> None:
        """Copy the slice into the ring and notify the performer. Raises WorkerDied."""
        assert self.sent - self.received < RING_UNITS, "the ring is full: the pipeline allows one unit beyond self_lag"
        began_s = time.perf_counter()
        for buffer, part in zip(self.ring.slice_R[self.sent % RING_UNITS], slice_, strict=True):
            buffer.copy_(part)
        self.sent_s[self.sent] = time.perf_counter()
        self.sending_us[self.sent] = (self.sent_s[self.sent] - began_s) * 1e6
        self._send(ORDER.pack(self.sent))
        self.sent += 1

    @torch.inference_mode()
    def receive(self, timeout_s: float | None) -> Performed | None:
        """The oldest unit in progress; see `PerformerLink`. Raises WorkerDied."""
        self.ensure_open()
        waiting_s = time.perf_counter()
        try:
            if not self.connection.poll(timeout_s):
                return None
        except OSError as error:
            raise self._died() from error
        unit, looked_s, began_s, ended_s = REPORT.unpack(self._read())
        place = self.received % RING_UNITS
        assert unit == self.received, f"performer answered unit {unit}, expected {self.received}"
        latents = self.ring.audio_RNC[place].clone(), self.ring.video_RCHW[place].clone()
        now_s = time.perf_counter()
        # The time that one side waits for the other's work is not included.
        out_s = began_s - max(looked_s, self.sent_s.pop(unit))
        back_s = now_s - max(ended_s, waiting_s)
        self.received += 1
        return Performed(
            latents=latents,
            began_s=began_s,
            ended_s=ended_s,
            handover_us=self.sending_us.pop(unit) + (out_s + back_s) * 1e6,
        )

    def to_tensors(self) -> dict[str, Tensor]:
        """The performer's state; see `PerformerLink`. Raises WorkerDied."""
        assert self.sent == self.received, "units are in progress: settle first"
        self._send(ORDER.pack(SAVE))
        return load(self._read())

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """See `PerformerLink`. Raises WorkerDied."""
        self._send(ORDER.pack(RESTORE))
        self._send(save(tensors))
        self._read()
        self.sent = self.received = int(tensors["unit"])

    def close(self) -> None:
        """End the process; a second call does nothing."""
        self.closed = True
        self.connection.close()  # the process finds its pipe closed and returns
        self.process.join(JOIN_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _send(self, message: bytes) -> None:
        self.ensure_open()
        try:
            self.connection.send_bytes(message)
        except OSError as error:
            raise self._died() from error

    def _read(self) -> bytes:
        try:
            return self.connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._died() from error

    def _died(self) -> WorkerDied:
        self.close()
        return WorkerDied(
            f"performer: its process ended (exit code {self.process.exitcode}) after {self.received} units; see its "
            "output above; open a new pipeline"
        )


def open_workers(agent: Agent, weights: Path, *, seed: int, prefix: Prefix | None = None) -> Pipeline:
    """A conversation whose performer is its own process; `weights` is the file that `agent.model` was read from.

    Raises InputError if that file is missing or contains another model, or if the agent is not on the CPU; WorkerDied
    if the process does not start.
    """
    if agent.model.device.type != "cpu":
        raise InputError(f"two processes: the agent is on {agent.machine.device}, expected cpu; use open_streams")
    stored, used = agent.machine.place(load_model(weights)), agent.model.state_dict()
    same = all(name in used and torch.equal(tensor, used[name]) for name, tensor in stored.state_dict().items())
    if stored.config != agent.model.config or not same:
        raise InputError(f"{weights}: not the model of this agent; pass the file that it was read from")
    process = PerformerProcess(agent.model, weights, agent.config, agent.machine)
    return Pipeline(agent, process, seed=seed, prefix=prefix)


def _serve(connection: Connection, ring: Ring, weights: str, config: AgentConfig, machine: Machine) -> None:
    """The performer's process: units until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the caller decides
    torch.set_num_threads(machine.threads)
    model = machine.place(load_model(Path(weights)))
    schedule = Schedule(model, config.steps)
    performer = Performer(
        model, schedule, max_units=config.max_units, history_limit=config.history_limit, machine=machine
    )
    try:
        connection.send_bytes(b"")  # ready
        while True:
            looked_s = time.perf_counter()
            (unit,) = ORDER.unpack(connection.recv_bytes())
            if unit == SAVE:
                connection.send_bytes(save(performer.to_tensors()))
                continue
            if unit == RESTORE:
                performer.restore(load(connection.recv_bytes()))
                connection.send_bytes(b"")
                continue
            place = unit % RING_UNITS
            performer.receive(ring.slice_R[place])
            began_s = time.perf_counter()
            audio_NC, video_CHW = performer.perform()
            with torch.inference_mode():
                ring.audio_RNC[place], ring.video_RCHW[place] = audio_NC, video_CHW
            connection.send_bytes(REPORT.pack(unit, looked_s, began_s, time.perf_counter()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the pipeline is closed, or its process is gone
