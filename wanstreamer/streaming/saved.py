"""A live conversation <-> one safetensors file, written whole or not at all; it continues as if uninterrupted.

    save_conversation(path, agent, state)              # an Agent's
    state = restore_conversation(path, agent)

    save_pipeline(path, pipeline)                      # a Pipeline's, with its performer in this process or in its own
    pipeline = restore_pipeline(path, agent)
    pipeline = restore_workers(path, agent, weights)

Save at any boundary, that is, between two calls. A new process that restores the conversation, with the same models,
settings and number of torch threads on the same kind of machine, answers bitwise as the old one would have. Steps,
temperature and device belong to the agent, not to the file; a trunk of another type is another model.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wanstreamer.checkpoint import load_tensors, save_tensors
from wanstreamer.errors import InputError
from wanstreamer.model.flow import Latents
from wanstreamer.streaming.agent import Agent
from wanstreamer.streaming.performer import STREAMS
from wanstreamer.streaming.pipeline import Open, Performed, Pipeline, open_pipeline
from wanstreamer.streaming.state import ConversationState, copied, named, part, state_from_tensors, state_to_tensors
from wanstreamer.streaming.workers import open_workers

FORMAT = "wanstreamer-conversation-2"


def save_conversation(path: Path, agent: Agent, state: ConversationState) -> None:
    save_tensors(path, state_to_tensors(state), _meta(agent) | {"of": "conversation"})


def restore_conversation(path: Path, agent: Agent) -> ConversationState:
    """Raises InputError for a file of another kind, of other models or VAEs, or with another history limit."""
    tensors, _ = _load(path, agent, "conversation")
    return _state(path, agent, tensors, lag=0)


def save_pipeline(path: Path, pipeline: Pipeline) -> None:
    """Waits until the performer is done with open units; these units are saved, and stay open here.

    Raises RuntimeError if the performer is gone.
    """
    pipeline.settle()
    tensors = named("thinker", state_to_tensors(pipeline.state))
    tensors |= named("performer", pipeline.link.to_tensors())
    tensors |= named("arrived", _latents_to_tensors([performed.latents for performed in pipeline.arrived]))
    tensors |= named("returned", _latents_to_tensors(list(pipeline.returned)))
    ends_s = [performed.ended_s - performed.began_s for performed in pipeline.arrived]
    meta = _meta(pipeline.agent) | {
        "of": "pipeline",
        "open": [asdict(open_) | {"perform_s": ended_s} for open_, ended_s in zip(pipeline.open, ends_s, strict=True)],
    }
    save_tensors(path, tensors, meta)


def restore_pipeline(path: Path, agent: Agent) -> Pipeline:
    """Thinker and performer in this process. Raises InputError like `restore_conversation`."""
    return _restore(path, agent, lambda: open_pipeline(agent, seed=0))


def restore_workers(path: Path, agent: Agent, weights: Path) -> Pipeline:
    """The performer in its own process; `weights` and further errors as in `open_workers`."""
    return _restore(path, agent, lambda: open_workers(agent, weights, seed=0))


def _restore(path: Path, agent: Agent, open_new: Callable[[], Pipeline]) -> Pipeline:
    tensors, meta = _load(path, agent, "pipeline")
    state = _state(path, agent, part(tensors, "thinker"), lag=agent.model.config.self_lag)
    pipeline = open_new()
    try:
        pipeline.link.restore(part(tensors, "performer"))
    except BaseException:
        pipeline.close()
        raise
    pipeline.state = state
    returned, arrived = (copied(part(tensors, name), agent.model.device) for name in ("returned", "arrived"))
    pipeline.returned = deque(_latents_from_tensors(returned))
    for open_, latents in zip(meta["open"], _latents_from_tensors(arrived), strict=True):
        performed_s = open_.pop("perform_s")
        pipeline.open.append(Open(**open_))
        pipeline.arrived.append(Performed(latents=latents, began_s=0.0, ended_s=performed_s, handover_us=0.0))
    return pipeline


def _meta(agent: Agent) -> dict[str, Any]:
    history_limit = agent.config.history_limit
    return {
        "format": FORMAT,
        "identity": agent.identity,
        "history_limit": None if history_limit is None else asdict(history_limit),
    }


def _load(path: Path, agent: Agent, of: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; save a conversation first, or pass another path")
    tensors, meta = load_tensors(path)
    if meta.get("format") != FORMAT:
        raise InputError(f"{path}: format {meta.get('format')!r}, expected {FORMAT!r}; save the conversation again")
    if meta["of"] != of:
        raise InputError(f"{path}: saved from a {meta['of']}, expected a {of}; restore it as a {meta['of']}")
    expected = _meta(agent)
    for name, sha256 in expected["identity"].items():
        saved_hash = meta["identity"][name]
        if saved_hash != sha256:
            raise InputError(
                f"{path}: a conversation with another {name} (sha256 {saved_hash[:12]}, here {sha256[:12]}); load the "
                "one it was saved with"
            )
    if meta["history_limit"] != expected["history_limit"]:
        raise InputError(
            f"{path}: saved with {_policy(meta['history_limit'])}, this agent has "
            f"{_policy(expected['history_limit'])}; give the agent the history_units and sink_units of the file"
        )
    return tensors, meta


def _policy(history_limit: dict[str, int] | None) -> str:
    return (
        "full history"
        if history_limit is None
        else f"a limit of {history_limit['units']} units and {history_limit['sink_units']} of sink"
    )


def _state(path: Path, agent: Agent, tensors: dict[str, Tensor], *, lag: int) -> ConversationState:
    config, unit = agent.config, int(tensors["unit"])
    if config.history_limit is None and unit > config.max_units:
        raise InputError(
            f"{path}: a history of {unit} units, but this agent has room for {config.max_units}; give it a larger "
            "max_units"
        )
    return state_from_tensors(
        agent.model, tensors, max_units=config.max_units, history_limit=config.history_limit, lag=lag
    )


def _latents_to_tensors(latents: list[Latents]) -> dict[str, Tensor]:
    """Stacked copies; empty without latents."""
    columns = zip(*latents, strict=True)
    return {stream: torch.stack(column) for stream, column in zip(STREAMS, columns, strict=False)}


def _latents_from_tensors(tensors: dict[str, Tensor]) -> list[Latents]:
    if not tensors:
        return []
    return [(audio.clone(), video.clone()) for audio, video in zip(tensors["audio"], tensors["video"], strict=True)]
