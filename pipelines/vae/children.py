"""One process per VAE: tasks in, outcomes out, and progress on the way.

Each process has one thread and a fixed number of steps, so that the weights do not depend on how many run at once.
"""

import multiprocessing
import os
import sys
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
from torch.utils import deterministic

from pipelines.engine.progress import progress
from pipelines.vae.making import make_vae
from pipelines.vae.task import VaeTask
from wanstreamer.errors import InputError


def run_children(tasks: Sequence[VaeTask], *, at_once: int) -> dict[str, dict[str, Any]]:
    """Run each task in its own process, `at_once` at a time. Returns outcomes by kind, in the order of `tasks`.

    A child sends ("steps", n), ("done", outcome), ("input", message) or ("bug", traceback).
    """
    context = multiprocessing.get_context("spawn")  # a fork would inherit threads of torch and of Ray
    waiting, outcomes = list(tasks), {}
    running: dict[Connection, tuple[VaeTask, Any]] = {}
    total = sum(task.training.steps for task in tasks if not task.finished)
    try:
        with progress(max(1, total), "vae") as advance:
            while waiting or running:
                while waiting and len(running) < at_once:
                    task = waiting.pop(0)
                    ours, theirs = context.Pipe(duplex=False)
                    process = context.Process(target=_child, args=(theirs, task), daemon=True)
                    process.start()
                    theirs.close()
                    running[ours] = (task, process)
                ready = set(wait(list(running)))
                for pipe in [pipe for pipe in running if pipe in ready]:
                    task, process = running[pipe]
                    try:
                        what, content = pipe.recv()
                    except EOFError:
                        process.join()
                        raise RuntimeError(f"vae: the {task.kind} process ended with code {process.exitcode}") from None
                    if what == "steps":
                        advance(content)
                        continue
                    if what == "input":
                        raise InputError(content)
                    if what == "bug":
                        raise RuntimeError(f"vae: the {task.kind} process failed:\n{content}")
                    outcomes[task.kind] = content
                    process.join()
                    del running[pipe]
    finally:
        for _, process in running.values():
            process.kill()
            process.join()
    return {task.kind: outcomes[task.kind] for task in tasks}


def _child(pipe: Connection, task: VaeTask) -> None:
    """Entry of a child. If the parent is gone, the pipe breaks at the next step, and the child ends."""
    torch.set_num_threads(1)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it CUDA's matrix products are not repeatable
    if torch.cuda.is_available():
        torch.use_deterministic_algorithms(True)
    else:  # the same switch, without importing the compiler, which takes seconds and is for a GPU only
        torch.set_deterministic_debug_mode("error")
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing reads what was not written
    # One training of the video VAE met denormal numbers, and its steps took twice as long or more.
    torch.set_flush_denormal(True)
    try:
        pipe.send(("done", make_vae(task, lambda steps: pipe.send(("steps", steps)))))
    except InputError as error:
        pipe.send(("input", str(error)))
    except BrokenPipeError:
        sys.exit(1)
    except Exception:
        pipe.send(("bug", traceback.format_exc()))
