"""Let the model answer a recorded user: `python -m tools.talk --user me.mp4 --out answer.mp4`.

Any recording that ffmpeg reads will do. If it has no picture, the model sees no one. `--user none`: there is no user.
The film shows the user beside the agent, with the agent's words below. The model answers one unit of 160 ms after the
other, as it would in a live conversation, but not against the clock.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.jobs import Rejected
from pipelines.engine.progress import progress
from pipelines.media.probing import probe
from pipelines.media.units import MediaUnit, read_units, write_units
from tools.talk.conversation import Exchange, converse, film, lines_said
from wanstreamer.clock import UNIT_MS
from wanstreamer.errors import InputError
from wanstreamer.streaming.agent import Agent, AgentConfig, load_agent

HISTORY_UNITS = 32  # about the length of a training window: beyond it, the model meets distances that it never saw
NO_USER = "none"
ALONE_S = 20.0  # without a user
KIND = ".mp4"


class User(NamedTuple):
    """The user of a conversation."""

    units: Iterator[MediaUnit]
    num_units: int  # expected; a header may be wrong


def open_user(user: str, agent: Agent, seconds: float | None, scratch: Path) -> User:
    """The units of the recording `user`, at most `seconds` of it; of `none`, units without any stream.

    Raises InputError for a file that cannot be used.
    """
    if user == NO_USER:
        count = _units(ALONE_S if seconds is None else seconds)
        return User(repeat(MediaUnit(None, None), count), count)
    path = Path(user)
    _, height, width, _ = agent.frame_shape
    try:
        duration_s = probe(path).duration_ms / 1000
    except Rejected as rejection:
        raise InputError(f"--user {user}: {rejection.reason}: {rejection.detail}; name a recording") from rejection
    count = _units(duration_s if seconds is None else min(seconds, duration_s or seconds))
    units = read_units(path, width=width, height=height, rate_hz=agent.audio_vae.config.rate_hz, scratch=scratch)
    return User(islice(units, None if seconds is None else count), count)


def _units(seconds: float) -> int:
    return max(1, -(-round(seconds * 1000) // UNIT_MS))


def read_face(face: Path, agent: Agent) -> np.ndarray:
    """A picture, or a video's first frame, uint8 (H, W, 3), cut to the shape of the agent's frames.

    Raises InputError for a file that cannot be used.
    """
    _, height, width, _ = agent.frame_shape
    try:
        with Image.open(face) as image:
            return np.array(ImageOps.fit(ImageOps.exif_transpose(image).convert("RGB"), (width, height)))
    except OSError:
        pass  # no picture: perhaps a video
    try:
        first = next(read_units(face, width=width, height=height, rate_hz=agent.audio_vae.config.rate_hz)).frames
    except Rejected as rejection:
        raise InputError(
            f"--face {face}: {rejection.reason}: {rejection.detail}; name a picture or video"
        ) from rejection
    if first is None:
        raise InputError(f"--face {face}: no picture in this file; name a picture or video")
    picture_HWC: np.ndarray = first[0]
    return picture_HWC


def talk(
    agent: Agent,
    user: Iterator[MediaUnit],
    out: Path,
    *,
    seed: int,
    face_HWC: np.ndarray | None = None,
    advance: Callable[[], None] = lambda: None,
) -> tuple[list[str], np.ndarray]:
    """Write the film of a conversation. Returns the agent's text and its time in ms, of each unit."""
    texts: list[str] = []
    times_ms: list[float] = []

    def conversation() -> Iterator[Exchange]:
        for exchange in converse(agent, user, seed=seed, face_HWC=face_HWC):
            texts.append(exchange.agent.text)
            times_ms.append(sum(exchange.agent.part_ms.values()))
            advance()
            yield exchange

    write_units(out, film(conversation()), rate_hz=agent.audio_vae.config.rate_hz)
    return texts, np.array(times_ms)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.talk", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--user", required=True, metavar="FILE", help=f"a recording of the user; {NO_USER}: no user")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=f"the film, {KIND}")
    parser.add_argument(
        "--face", type=Path, metavar="FILE", help="who the agent is: a picture, or a video's first frame"
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder with the models (default: data)")
    parser.add_argument("--seconds", type=float, help=f"stop after so many (default: all; without a user: {ALONE_S:g})")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another answer (default: 0)")
    parser.add_argument(
        "--steps", type=int, default=AgentConfig.steps, help=f"solver steps (default: {AgentConfig.steps})"
    )
    parser.add_argument(
        "--history-units",
        type=int,
        default=HISTORY_UNITS,
        help=f"how far back the model looks, in units of 160 ms (default: {HISTORY_UNITS}, as in training)",
    )
    args = parser.parse_args(arguments)
    with exit_on_input_error():
        if args.out.suffix.lower() != KIND:
            raise InputError(f"--out {args.out}: expected a name that ends in {KIND}")
        if args.seconds is not None and not args.seconds > 0:
            raise InputError(f"--seconds {args.seconds:g}: expected more than 0")
        config = AgentConfig(steps=args.steps, history_units=args.history_units)
        agent = load_agent(args.data, config)
        face_HWC = read_face(args.face, agent) if args.face else None
        with tempfile.TemporaryDirectory(prefix="wanstreamer-") as scratch:
            user = open_user(args.user, agent, args.seconds, Path(scratch))
            with progress(user.num_units, "talk") as advance:
                try:
                    texts, times_ms = talk(
                        agent, user.units, args.out, seed=args.seed, face_HWC=face_HWC, advance=advance
                    )
                except Rejected as rejection:
                    raise InputError(f"--user {args.user}: {rejection.reason}: {rejection.detail}") from rejection
        for second, line in lines_said(texts):
            print(f"{second:7.2f} s  {line}")
        if not any(texts):
            print("the agent said nothing")
        half, most = np.percentile(times_ms, (50, 95))
        print(
            f"{args.out}: {len(texts) * UNIT_MS / 1000:.1f} s; a unit of {UNIT_MS} ms took {half:.0f} ms (median), "
            f"{most:.0f} ms (95 %)"
        )


if __name__ == "__main__":
    main()
