"""Windows -> a model that has learnt the parts of conversation one by one; `duplex.init_from` can start from it.

The tasks are in wanstreamer/train/tasks.py. Inputs and outputs are those of pipelines/train/duplex.py, under the name
`pretrain`. Not part of `make repro`:

    python -m pipelines.train.pretrain
    python -m pipelines.train.duplex --set duplex.init_from=data/models/pretrain/model.safetensors
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipelines.engine.command import stage_main
from pipelines.engine.run import RunParams
from pipelines.train.stage import TrainingParams, run_training
from wanstreamer.errors import InputError


@dataclass(frozen=True, kw_only=True)
class TaskShares:
    """How many of the windows a task gets, relative to the others; 0: none."""

    transcribe: float = 1.0  # the user's speech -> text
    speak: float = 1.0  # text -> the agent's sound
    animate: float = 1.0  # the agent's sound -> its picture
    proceed: float = 1.0  # sound and picture -> what follows
    chat: float = 1.0  # text -> the answer's text


@dataclass(frozen=True, kw_only=True)
class PretrainParams(TrainingParams):
    """As `duplex`. A model that starts from this one must have the same size."""

    steps: int = 300
    tasks: TaskShares = field(default_factory=TaskShares)
    user_text_drop: float = 0.0  # the tasks decide which words are withheld
    agent_text_drop: float = 0.0


def run(data: Path, params: PretrainParams, how: RunParams) -> dict[str, object]:
    """Train (or finish a killed training) and write the model; returns sizes and final losses.

    The validation curve measures conversation, so that it shows what the tasks are worth. `workers` changes nothing.
    """
    shares = asdict(params.tasks)
    for name, share in shares.items():
        if share < 0:
            raise InputError(f"pretrain.tasks.{name}: {share}; expected 0 or more")
    if not any(shares.values()):
        raise InputError("pretrain.tasks: all are 0; give at least one task a share")
    return run_training("pretrain", data, params, shares)


def main() -> None:
    stage_main("pretrain", PretrainParams, run)


if __name__ == "__main__":
    main()
