"""One local Ray for all stages that a command runs: `python -m pipelines.engine.ray COMMAND ...`.

Without it, each stage that needs Ray starts its own and stops it at the end. On a small corpus this takes longer than
the work. The first stage that needs it starts it (ray_on_demand.py); with a few sessions, none does.
"""

import errno
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.ray_on_demand import KEEP, SOCKET, ray_on_demand
from pipelines.engine.spent import count_elsewhere, cpu_s
from pipelines.engine.watchdog import Watch, time_limit, waiting_for_others, watching
from wanstreamer.errors import InputError

# For every worker process: sums, and therefore bytes, depend on the number of threads.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
PACKAGES = ("pipelines", "schemas", "tools", "wanstreamer")
QUIET = {"log_to_driver": False, "logging_level": logging.ERROR}
NAMES = "--ray-address or RAY_ADDRESS"
REACH_S = 10  # for the first bytes of an answer
CONNECT_S = 60  # for all of it
START_AGAIN_S = (2.0, 10.0)  # waits after a local Ray that did not start
GRACE_S = 1.0  # a spread call stops this much after the key's time limit, so that the key is stopped first
Returned = TypeVar("Returned")
SHARED = "WANSTREAMER_RAY"  # variable with the address of a Ray that was started here, with ONE_THREAD


class NoRay(InputError):
    """A local Ray did not start."""


@contextmanager
def ray_session(workers: int) -> Iterator[int]:
    """A connection to Ray: the existing one, or the cluster at RAY_ADDRESS, or a new local Ray.

    Yields:
        The number of worker processes to use: at most one for each core of a local Ray. A cluster may have fewer than
        `workers`: it grows when they are asked for, if it can, and else uses the cores it has.

    Raises:
        NoRay: A local Ray did not start.
        InputError: The cluster cannot be used.
    """
    _ask_for_shared()
    ray = _import_ray()
    started = not ray.is_initialized()
    address = os.environ.get("RAY_ADDRESS")
    if started and address:
        _connect(ray, address)
    elif started:
        _start(ray, workers)
    try:
        is_local = address in (None, os.environ.get(SHARED))
        yield max(1, min(workers, int(ray.cluster_resources().get("CPU", 1)))) if is_local else workers
    finally:
        if started:
            ray.shutdown()


def _ask_for_shared() -> None:
    """Use the Ray that the commands around this one share, if they do; it is started now if it does not run yet."""
    path = os.environ.get(SOCKET)
    if "RAY_ADDRESS" in os.environ or not path:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(path)
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
    except OSError:  # the command that has made it is gone
        return
    if not answer:
        raise NoRay("Ray did not start, see above; without Ray: --set run.ray=false")
    os.environ.update(json.loads(answer))


def _start(ray: Any, workers: int) -> None:
    """Start a local Ray. On a busy machine it can miss its own time limits, and is tried again."""
    for wait_s in (*START_AGAIN_S, None):
        try:
            with environment(ONE_THREAD), _stderr_caught():
                ray.init(address="local", num_cpus=workers, include_dashboard=False, **QUIET)
            return
        except Exception as error:  # Ray's exceptions are too general to be caught by name
            ray.shutdown()
            reason = _first_line(error)
            if wait_s is None:
                raise NoRay(
                    f"Ray did not start: {reason} It was tried {len(START_AGAIN_S) + 1} times. Free memory and space "
                    "in /tmp, or wait until the machine is less busy, and run the same command again; without Ray: "
                    "--set run.ray=false"
                ) from error
            print(f"Ray did not start: {reason} It is started again in {wait_s:g} s", file=sys.stderr)
            time.sleep(wait_s)


def _connect(ray: Any, address: str) -> None:
    """Connect to a running cluster. Raises InputError for all that can be wrong with the address."""
    _check_address(address)
    # A Ray that we started has the environment already; a runtime_env would make it start its workers again.
    options = {} if address == os.environ.get(SHARED) else {"runtime_env": runtime_env()}
    late = InputError(
        f"{NAMES} {address}: no answer for {CONNECT_S} s: what listens there is no head of Ray, or this machine is no "
        "node of its cluster; expected HOST:PORT as printed by `ray start --head`, 6379 by default, and a command that "
        "runs on a node: the head, or one that `ray start --address=HOST:PORT` has added"
    )
    with _stderr_caught() as printed:
        try:
            with time_limit(CONNECT_S, late):
                ray.init(address=address, **QUIET, **options)
        except Exception as error:
            ray.shutdown()
            raise InputError(_refusal(address, error, printed())) from error


def _refusal(address: str, error: Exception, printed: str) -> str:
    """One line for what Ray reports in an exception, or has printed only."""
    text = f"{error}\n{printed}"
    if any(word in text for word in ("InvalidAuthToken", "Unauthenticated", "uthentication token")):
        return (
            f"{NAMES} {address}: the cluster asks for its token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to what "
            "`ray get-auth-token` prints on its head"
        )
    versions = re.findall(r"(?:Ray|Python): (\S+)", text) if "Version mismatch" in text else []
    if len(versions) == 4:
        theirs, ours = (f"Ray {ray} with Python {python}" for ray, python in (versions[:2], versions[2:]))
        return f"{NAMES} {address}: the cluster runs {theirs}, and this is {ours}; expected the same on all machines"
    if isinstance(error, InputError):
        return str(error)
    return f"{NAMES} {address}: the cluster refuses this program: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


_STAYS: ContextVar[bool] = ContextVar("stays", default=False)


@contextmanager
def staying_here() -> Iterator[None]:
    """What the block spreads runs on this machine: the calls read and write files that no other machine has."""
    token = _STAYS.set(True)
    try:
        yield
    finally:
        _STAYS.reset(token)


def spread(calls: Sequence[Callable[[], Returned]]) -> list[Returned]:
    """Run the calls and return their results in order. Inside a Ray worker, idle workers run them in parallel.

    A waiting task frees its core, but a waiting actor does not; therefore only stages that run as tasks may use this.
    After the first exception no further calls are started, and this returns when the running ones have ended. They are
    not cancelled: Ray can end the process that cancels a task at the moment when the task ends.

    Raises:
        OSError: Workers died on one of the calls; ECONNRESET, as of other things that may work the next time.
    """
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return [call() for call in calls]
    once = ray.remote(num_cpus=1)(_call)
    resources = ray.cluster_resources()
    if _STAYS.get():
        here = ray.get_runtime_context().get_node_id()
        once = once.options(
            scheduling_strategy=ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, False)
        )
        resources = next(node["Resources"] for node in ray.nodes() if node["NodeID"] == here)
    cores = max(1, int(resources.get("CPU", 1)))
    left_s = signal.getitimer(signal.ITIMER_REAL)[0]  # rest of the key's time limit
    until = time.time() + left_s + GRACE_S if left_s else None
    returned: dict[int, Returned] = {}
    waiting = list(enumerate(calls))[::-1]
    under_way: dict[Any, int] = {}
    with waiting_for_others() as (watch, key):
        try:
            while waiting or under_way:
                while waiting and len(under_way) < cores:
                    place, call = waiting.pop()
                    under_way[once.remote(call, until, watch, key)] = place
                for handle in ray.wait(list(under_way))[0]:
                    place = under_way.pop(handle)
                    returned[place], seconds = ray.get(handle)
                    count_elsewhere(seconds)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise OSError(errno.ECONNRESET, f"a worker died on a part: {_first_line(error)}") from error
        except SystemError as error:  # Ray's C++ code turns an exception raised by a signal into this
            raise error.__cause__ or error from None
        finally:
            for handle in under_way:
                with suppress(ray.exceptions.RayError):
                    ray.get(handle)
    return [returned[place] for place in range(len(calls))]


def _call(call: Callable[[], Returned], until: float | None, watch: Watch, key: str) -> tuple[Returned, float]:
    """Runs in a worker; stopped at `until`, in seconds of time.time(). Also returns the CPU seconds it took."""
    before_s = cpu_s()
    left_s = max(0.001, until - time.time()) if until else 0
    with watching(watch, key), time_limit(left_s, TimeoutError()):
        return call(), cpu_s() - before_s


def runtime_env() -> dict[str, Any]:
    """What a worker of a cluster needs besides the installed packages: this code, and one thread."""
    root = Path(__file__).parents[2]
    return {"env_vars": ONE_THREAD, "py_modules": [str(root / name) for name in PACKAGES]}


def _check_address(address: str) -> None:
    """Raises InputError if no Ray can be at the address. Ray itself would try for minutes."""
    if address.startswith("ray://"):
        raise InputError(
            f"{NAMES} {address}: the address of a Ray client; expected HOST:PORT of the head, 6379 by default, and a "
            "command that runs on a node of the cluster (`ray job submit` starts one there)"
        )
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    answers, asks_for_token = True, False
    try:
        with socket.create_connection((host, int(port)), timeout=REACH_S) as connection:
            if os.environ.get("RAY_USE_TLS") != "1":
                answers = _speaks_http2(connection)
                asks_for_token = answers and _asks_for_token(connection)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{NAMES} {address}: no Ray answers there; expected HOST:PORT as printed by `ray start --head`; leave it "
            "out for a local Ray"
        ) from error
    if not answers:
        raise InputError(
            f"{NAMES} {address}: what listens there is not Ray; expected HOST:PORT as printed by `ray start --head`, "
            "6379 by default"
        )
    if asks_for_token:
        _use_token()


def _speaks_http2(connection: socket.socket) -> bool:
    """Whether the other side answers as RFC 9113 (3.4) wants: the head of Ray is a gRPC server."""
    settings = _frame(4, 0, b"", stream=0)  # empty
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings)
    frame = b""
    with suppress(OSError):
        while len(frame) < len(settings) and (more := connection.recv(len(settings) - len(frame))):
            frame += more
    return len(frame) == len(settings) and frame[3] == settings[3]


def _asks_for_token(connection: socket.socket) -> bool:
    """Whether the head refuses a call without a token. Ray itself would try again for half a minute."""
    name = b"/ray.rpc.NodeInfoGcsService/GetClusterId"
    fields = [
        (b"\x04", name),
        (b"\x01", b"ray"),
        (b"\x0f\x10", b"application/grpc"),
        (b"\x00\x02te", b"trailers"),
    ]
    headers = b"\x83\x86" + b"".join(field + bytes([len(value)]) + value for field, value in fields)  # RFC 7541 (6.2.2)
    ends_headers, ends_stream = 4, 1
    answer = b""
    with suppress(OSError):
        connection.sendall(_frame(1, ends_headers, headers) + _frame(0, ends_stream, bytes(5)))  # an empty message
        while b"grpc-status" not in answer and b"InvalidAuthToken" not in answer and (more := connection.recv(4096)):
            answer += more
    return b"InvalidAuthToken" in answer


def _frame(kind: int, flags: int, payload: bytes, stream: int = 1) -> bytes:
    """A frame of HTTP/2, RFC 9113 (4.1)."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def _use_token() -> None:
    """From now on, present the token that `ray` has made on this machine, if there is one.

    Only to a cluster that asks for it: processes that use a token refuse those that do not.
    """
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    if "RAY_AUTH_MODE" not in os.environ and ("RAY_AUTH_TOKEN" in os.environ or token.is_file()):
        from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available

        with _stderr_caught():
            maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def _import_ray():  # type: ignore[no-untyped-def]  # a module
    """Import Ray; it takes seconds, so only when there is work. Ray reads the variables during the import."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault(
        "RAY_BACKEND_LOG_LEVEL", "fatal"
    )  # log level of Ray itself; exceptions of our workers are shown anyway
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    import ray.data

    for name in ("ray", "ray.data"):  # after the import, because it sets levels too
        logging.getLogger(name).setLevel(logging.ERROR)
    return ray


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Environment variables for processes that are started inside the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _stderr_caught() -> Iterator[Callable[[], str]]:
    """Keeps back what Ray's C++ code prints at its start at any log level; yields a function that reads it."""
    with tempfile.TemporaryFile() as file:
        stderr = os.dup(2)
        os.dup2(file.fileno(), 2)

        def printed() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        try:
            yield printed
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


@contextmanager
def shared_ray(workers: int) -> Iterator[dict[str, str]]:
    """Keeps a Ray running; yields environment variables for child processes to use it. Empty if RAY_ADDRESS is set."""
    if "RAY_ADDRESS" in os.environ:
        yield {}
        return
    with ray_session(workers):
        address = _import_ray().get_runtime_context().gcs_address
        yield {"RAY_ADDRESS": address, SHARED: address}


def main() -> None:
    if len(sys.argv) < 2:
        print("usage: python -m pipelines.engine.ray COMMAND [ARGUMENT ...]", file=sys.stderr)
        sys.exit(2)
    if sys.argv[1] == KEEP:
        with exit_on_input_error(), shared_ray(int(sys.argv[2])) as variables:
            print(json.dumps(variables), flush=True)
            sys.stdin.read()
        return
    with exit_on_input_error(), ray_on_demand(os.cpu_count() or 1) as variables:
        command = subprocess.Popen(sys.argv[1:], env={**os.environ, **variables})
        while True:
            try:
                code = command.wait()
                break
            except KeyboardInterrupt:  # the command gets it too; wait until it has printed what is saved, and ended
                continue
    sys.exit(128 - code if code < 0 else code)


if __name__ == "__main__":
    main()
