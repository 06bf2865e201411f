"""Start, memory and look-ups of the loader on a folder of windows, in a process of its own; no window is read.

`python -m tools.bench.loader_start FOLDER` prints the figures of this process as JSON. Whatever it imported besides
torch and the loader would be counted.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from tools.bench.resources import peak_gb

LOOK_UPS = 4_000  # batches
BATCH_SIZE = 16


def measure_loader(folder: Path) -> dict[str, float]:
    """The figures of a new process.

    `loader_gb`: its peak memory above what it needs once torch is imported, over the start of an epoch and into the
    next one. `first_look_up_cpu_us` and `look_up_cpu_us`: to find a window, the first time and the second.
    """
    command = [sys.executable, "-m", "tools.bench.loader_start", str(folder.resolve())]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _measure(folder: str) -> dict[str, float]:
    import torch  # noqa: F401

    before_gb = peak_gb()
    began_s = time.perf_counter()
    from wanstreamer.windows.loader import open_windows
    from wanstreamer.windows.order import ExactOrder

    imported_s = time.perf_counter()
    windows = open_windows(folder, "train")
    opened_s = time.perf_counter()
    opened_gb = peak_gb()
    order = ExactOrder(len(windows), 0)
    order.take(0, BATCH_SIZE)
    ordered_s = time.perf_counter()
    cpu_s = [time.process_time()]
    for _ in range(2):
        for start in range(0, BATCH_SIZE * LOOK_UPS, BATCH_SIZE):
            windows.rows.places(order.take(start, start + BATCH_SIZE))
        cpu_s.append(time.process_time())
    order.take(len(windows) - BATCH_SIZE // 2, len(windows) + BATCH_SIZE // 2)
    return {
        "windows": len(windows),
        "shards": len(windows.manifest.shards),
        "loader_gb": round(peak_gb() - before_gb, 4),
        "opened_gb": round(opened_gb - before_gb, 4),
        "import_s": round(imported_s - began_s, 3),
        "loader_open_s": round(opened_s - imported_s, 3),
        "epoch_order_s": round(ordered_s - opened_s, 3),
        "first_look_up_cpu_us": round(1e6 * (cpu_s[1] - cpu_s[0]) / (BATCH_SIZE * LOOK_UPS), 1),
        "look_up_cpu_us": round(1e6 * (cpu_s[2] - cpu_s[1]) / (BATCH_SIZE * LOOK_UPS), 1),
    }


if __name__ == "__main__":
    json.dump(_measure(sys.argv[1]), sys.stdout)
