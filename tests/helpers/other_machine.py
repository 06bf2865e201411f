"""Worker processes that do not find the data folder, as on a machine that does not share it."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.engine import run
from pipelines.engine.away import moved_setup
from pipelines.engine.worker import KeyWorker

NOWHERE = Path("/nowhere")


class OtherMachine(KeyWorker):
    """In this process, the worker that it is; in another one, all paths below the data folder lead nowhere."""

    def __getstate__(self) -> dict[str, Any]:
        moved = moved_setup(self.setup, self.data, lambda path: NOWHERE / path.relative_to(self.data))
        return self.__dict__ | {"data": NOWHERE, "home": NOWHERE / "parts" / self.stage, "setup": moved}


def have_other_machines(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(run, "KeyWorker", OtherMachine)
