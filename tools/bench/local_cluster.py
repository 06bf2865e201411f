"""Ray nodes on this machine, as one cluster, to measure and test what a cluster does without having one."""

import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from wanstreamer.errors import InputError

MARKER = "WANSTREAMER_NODE"  # variable of all processes of a node


@contextmanager
def ray_nodes(cpus: Sequence[int], *options: Sequence[str]) -> Iterator[str]:
    """A node for each number of announced cores; yields the address of the first one, which is the head.

    `options`: more options of `ray start` for each node.
    """
    mark = secrets.token_hex(8)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    try:
        for number, cores in enumerate(cpus):
            place = [f"--address={address}"]
            if not number:
                place = ["--head", f"--port={address.rpartition(':')[2]}", "--include-dashboard=false"]
            place += options[number] if options else ()
            _start([*place, f"--num-cpus={cores}", "--node-ip-address=127.0.0.1"], mark)
        yield address
    finally:
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.environ().get(MARKER) == mark:
                    process.kill()


def _start(options: list[str], mark: str) -> None:
    # By default, Ray 2.60 starts heads that ask for a token, and other nodes that have none.
    environment = {"RAY_AUTH_MODE": "disabled", **os.environ}
    environment.pop("RAY_ADDRESS", None)
    environment |= {MARKER: mark, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    command = [str(Path(sys.executable).with_name("ray")), "start", "--disable-usage-stats", *options]
    with tempfile.TemporaryFile() as output:  # not a pipe: the node's processes would hold it open
        done = subprocess.run(command, env=environment, stdout=output, stderr=output, check=False)
        output.seek(0)
        if done.returncode:
            raise InputError(f"bench: `ray start` failed: {output.read().decode(errors='replace').strip()[-300:]}")
