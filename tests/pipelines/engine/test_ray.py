"""One Ray for several stages, on one thread per worker, whose workers do not talk to the user."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine import ray as engine_ray
from pipelines.engine.ray import ONE_THREAD, SHARED, environment, ray_session, shared_ray, spread
from pipelines.engine.watchdog import time_limit
from tests.helpers.ctrl_c import hear_ctrl_c
from tests.helpers.paths import ROOT
from tools.bench.local_cluster import ray_nodes
from wanstreamer.errors import InputError

ASK = """
import json, os, sys
from pipelines.engine.ray import ONE_THREAD, ray_session
with ray_session(5) as size:
    import ray
    def one_thread_variables():
        print("said by a worker", flush=True)
        print("warned by a worker", file=sys.stderr, flush=True)
        return {name: os.environ.get(name) for name in ONE_THREAD}
    variables = ray.get(ray.remote(one_thread_variables).remote())
    print(json.dumps([size, ray.get_runtime_context().gcs_address, variables]))
"""


def test_a_child_finds_the_shared_ray_and_its_workers_have_one_thread(ray_once: None) -> None:
    address = os.environ["RAY_ADDRESS"]
    assert os.environ[SHARED] == address
    with shared_ray(2) as more:
        assert more == {}  # there is one already
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, cwd=ROOT, check=True)
    expected = '[2, "' + address + '", ' + str(ONE_THREAD).replace("'", '"') + "]"
    assert done.stdout.splitlines()[-1] == expected
    assert "by a worker" not in done.stdout + done.stderr


def test_the_command_and_its_exit_code_go_through(ray_once: None) -> None:
    command = [sys.executable, "-m", "pipelines.engine.ray", sys.executable, "-c", "raise SystemExit(3)"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 3
    bare = subprocess.run(
        [sys.executable, "-m", "pipelines.engine.ray"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert bare.returncode == 2 and bare.stderr.startswith("usage:")


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], Any]:
    """A Ray whose start fails with the messages in turn, and then does not; its own output is the second line."""
    import ray

    def refuse(messages: list[str]) -> Any:
        tries = iter(messages)

        def init(**options: object) -> None:
            if message := next(tries, None):
                os.write(2, message.partition("\n")[2].encode())
                raise Exception(message.partition("\n")[0])  # noqa: TRY002  # as Ray raises it

        monkeypatch.setattr(ray, "init", init)

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)  # other tests use the Ray of this process
    monkeypatch.setattr(engine_ray, "START_AGAIN_S", (0.01, 0.02))
    return refuse


def test_a_ray_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    refused(["The current node timed out during startup.\nmore"] * 3)
    with (
        pytest.raises(InputError, match="Ray did not start: The current node .* run the same command again"),
        ray_session(1),
    ):
        pass


def test_a_ray_that_starts_late_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, refused: Any, capfd: pytest.CaptureFixture[str], ray_once: None
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    refused(["The current node timed out during startup.\nmore"] * 2)
    with ray_session(1) as size:
        assert size == 1
    lines = capfd.readouterr().err.splitlines()
    assert lines == [
        "Ray did not start: The current node timed out during startup. It is started again in 0.01 s",
        "Ray did not start: The current node timed out during startup. It is started again in 0.02 s",
    ]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "host:"])
def test_an_address_without_ray_is_one_line(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    import ray

    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(InputError, match="no Ray answers there"), ray_session(1):
        pass


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", None])
def test_an_address_of_something_else_is_one_line(
    monkeypatch: pytest.MonkeyPatch, refused: Any, answer: bytes | None
) -> None:
    """It closes, speaks HTTP 1 as Ray's dashboard does, speaks another protocol, or says nothing."""
    monkeypatch.setattr(engine_ray, "REACH_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.getsockname()[1]}")

        def serve() -> None:
            caller = server.accept()[0]
            if answer is not None:
                caller.sendall(answer)
                caller.close()
            else:
                time.sleep(2)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(InputError, match="what listens there is not Ray; expected HOST:PORT"), ray_session(1):
            pass
        thread.join()


def test_the_address_of_a_client_is_one_line(monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    refusal = "ray://head:10001: the address of a Ray client; expected HOST:PORT"
    with pytest.raises(InputError, match=refusal), ray_session(1):
        pass


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            "Failed to connect\ngcs_client.cc: Unauthenticated: RPC error: InvalidAuthToken: ...",
            "set RAY_AUTH_MODE=token",
        ),
        ("Access denied by proxy\nmore", "the cluster refuses this program: Access denied by proxy$"),
        ("", "the cluster refuses this program: Exception$"),
    ],
)
def test_what_a_cluster_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, refused: Any, ray_once: None, message: str, line: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", os.environ["RAY_ADDRESS"])
    refused([message or "\n"])
    with pytest.raises(InputError, match=line), ray_session(1):
        pass


CONNECT = """
import sys
import ray
from pipelines.engine import ray as engine_ray
from pipelines.engine.errors import exit_on_input_error
ray.__version__ = sys.argv[1] or ray.__version__
engine_ray.CONNECT_S = int(sys.argv[2])
with exit_on_input_error(), engine_ray.ray_session(1):
    pass
"""


def connect(
    address: str, version: str = "", limit_s: int = 60, **environment: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", CONNECT, version, str(limit_s)], cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"RAY_ADDRESS": address} | environment,
    )  # fmt: skip


def test_a_cluster_of_another_version_is_one_line(ray_once: None) -> None:
    done = connect(os.environ["RAY_ADDRESS"], "2.9.9")
    assert done.returncode == 2
    assert re.fullmatch(
        r"error: --ray-address .*: the cluster runs Ray [\d.]+ with Python [\d.]+, and this is Ray 2.9.9 with "
        r"Python [\d.]+; expected the same on all machines\n",
        done.stderr,
    )


@pytest.mark.slow
def test_a_port_of_ray_that_is_not_the_heads_is_one_line(ray_once: None) -> None:
    import ray

    (node,) = ray.nodes()
    done = connect(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}", limit_s=5)
    assert done.returncode == 2
    assert re.fullmatch(r"error: --ray-address .*: no answer for 5 s: what listens there is no head.*\n", done.stderr)


@pytest.mark.slow
def test_a_cluster_that_asks_for_a_token_is_one_line(ray_once: None) -> None:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef0123456789abcdef"}
    with environment(token), ray_nodes([1]) as address:
        right = connect(address)
        wrong = connect(address, limit_s=15, RAY_AUTH_TOKEN="f" * 32)
        del os.environ["RAY_AUTH_MODE"]
        unasked = connect(address)  # the cluster's answer tells that it wants the token
        os.environ |= token
    assert right.returncode == unasked.returncode == 0, right.stderr + unasked.stderr
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: --ray-address")
    assert "the cluster asks for its token; set RAY_AUTH_MODE=token" in wrong.stderr and wrong.stderr.count("\n") == 1


def test_a_cluster_is_asked_for_all_workers_and_a_local_ray_for_its_cores(
    monkeypatch: pytest.MonkeyPatch, ray_once: None
) -> None:
    with ray_session(50) as size:
        assert size == 2
    monkeypatch.delenv(SHARED)  # a cluster that someone else has started
    with ray_session(50) as size:
        assert size == 50


def mark(folder: Path, number: int, *, seconds: float = 0.0, fails: bool = False) -> int:
    """Leaves a file when it begins and one when it ends, however it does."""
    (folder / f"{number}.begun").touch()
    try:
        time.sleep(seconds)
        if fails:
            raise ValueError(f"number {number}")
        return number
    finally:
        (folder / f"{number}.ended").touch()


def marks(folder: Path, suffix: str) -> set[int]:
    return {int(path.stem) for path in folder.glob(f"*.{suffix}")}


def test_calls_are_spread_and_their_results_keep_their_order(tmp_path: Path, ray_once: None) -> None:
    with ray_session(2):
        calls = [partial(mark, tmp_path, number, seconds=0.2 * (number == 0)) for number in range(5)]
        assert spread(calls) == [0, 1, 2, 3, 4]
    assert marks(tmp_path, "ended") == {0, 1, 2, 3, 4}


def test_a_call_that_fails_drops_the_rest_and_leaves_nothing_running(tmp_path: Path, ray_once: None) -> None:
    with ray_session(2):
        calls = [partial(mark, tmp_path, number, seconds=0.5, fails=number == 1) for number in range(20)]
        with pytest.raises(ValueError, match="number 1"):
            spread(calls)
        assert marks(tmp_path, "begun") == marks(tmp_path, "ended")
        assert len(marks(tmp_path, "begun")) < 6


def test_a_time_limit_holds_for_what_is_spread(tmp_path: Path, ray_once: None) -> None:
    with ray_session(2):
        spread([partial(mark, tmp_path, 9)])  # workers are up
        began_s = time.monotonic()
        with pytest.raises(LookupError), time_limit(0.5, LookupError()):
            spread([partial(mark, tmp_path, number, seconds=60) for number in range(4)])
        assert time.monotonic() - began_s < 10
        assert marks(tmp_path, "ended") == marks(tmp_path, "begun") and len(marks(tmp_path, "begun")) == 3


def test_ctrl_c_waits_for_what_the_command_says() -> None:
    """A terminal sends it to both; the command ends by itself, in its own time and with its own exit code."""
    command = """
import sys, time
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)
    print("stopped", flush=True)
    sys.exit(7)
"""
    run = subprocess.Popen(
        [sys.executable, "-m", "pipelines.engine.ray", sys.executable, "-c", command],
        cwd=ROOT, env=os.environ | {"RAY_ADDRESS": "127.0.0.1:1"}, stdout=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=hear_ctrl_c,
    )  # fmt: skip
    assert run.stdout is not None and run.stdout.readline() == "ready\n"
    os.killpg(run.pid, signal.SIGINT)
    assert run.communicate(timeout=60)[0] == "stopped\n" and run.returncode == 7
