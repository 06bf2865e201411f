"""Windows -> a duplex model: text cross-entropy and joint flow matching on the train split, resumable, same bytes.

Reads `windows/`, `models/tokenizer.json`; writes `models/duplex/model.safetensors` and `<data>/../plots/duplex.csv`.
While it runs, `models/duplex/state.safetensors` holds the state from which a killed run continues.
"""

from pathlib import Path

from pipelines.engine.command import stage_main
from pipelines.engine.run import RunParams
from pipelines.train.params import DuplexParams
from pipelines.train.stage import run_training


def run(data: Path, params: DuplexParams, how: RunParams) -> dict[str, object]:
    """Train (or finish a killed training) and write the model; returns sizes and final losses.

    `workers` changes nothing: a process trains on `params.threads` threads.
    """
    return run_training("duplex", data, params)


def main() -> None:
    stage_main("duplex", DuplexParams, run)


if __name__ == "__main__":
    main()
