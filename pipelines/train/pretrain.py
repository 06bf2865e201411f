"""Windows -> a model that has learnt the parts of conversation one by one; `duplex.init_from` can start from it.

The tasks are in wanstreamer/train/tasks.py. Inputs and outputs are those of pipelines/train/duplex.py, under the name
`pretrain`. Not part of `make repro`:

    python -m pipelines.train.pretrain
    python -m pipelines.train.duplex --set duplex.init_from=data/models/pretrain/model.safetensors
"""

from dataclasses import asdict
from pathlib import Path

from pipelines.engine.command import stage_main
from pipelines.engine.run import RunParams
from pipelines.train.params import PretrainParams
from pipelines.train.stage import run_training


def run(data: Path, params: PretrainParams, how: RunParams) -> dict[str, object]:
    """Train (or finish a killed training) and write the model; returns sizes and final losses.

    The validation curve measures conversation, so that it shows what the tasks are worth. `workers` changes nothing.
    """
    return run_training("pretrain", data, params, asdict(params.tasks))


def main() -> None:
    stage_main("pretrain", PretrainParams, run)


if __name__ == "__main__":
    main()
