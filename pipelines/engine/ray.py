"""Start one local Ray for all stages that a command runs: `python -m pipelines.engine.ray COMMAND ...`.

Without it, each stage starts its own Ray and stops it at the end. On a small corpus this takes longer than the work.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from pipelines.engine.errors import exit_on_input_error
from wanstreamer.errors import InputError

# For every worker process: sums, and therefore bytes, depend on the number of threads.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
PACKAGES = ("pipelines", "schemas", "tools", "wanstreamer")
CONNECT_S = 10
GRACE_S = 1.0  # a spread call stops this much after the key's time limit, so that the key is stopped first
Returned = TypeVar("Returned")
SHARED = "WANSTREAMER_RAY"  # variable with the address of a Ray that was started here, with ONE_THREAD


@contextmanager
def ray_session(workers: int) -> Iterator[int]:
    """A connection to Ray: the existing one, or the cluster at RAY_ADDRESS, or a new local Ray.

    Yields:
        The number of worker processes it can run, at most `workers`.
    """
    ray = _import_ray()
    started = not ray.is_initialized()
    address = os.environ.get("RAY_ADDRESS")
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if started and address:
        # A Ray that we started has the environment already; a runtime_env would make it start its workers again.
        options = {} if address == os.environ.get(SHARED) else {"runtime_env": runtime_env()}
        _check_address(address)
        with _no_stderr():
            ray.init(address=address, **quiet, **options)
    elif started:
        try:
            with environment(ONE_THREAD), _no_stderr():
                ray.init(address="local", num_cpus=workers, include_dashboard=False, **quiet)
        except Exception as error:  # Ray's exceptions are too general to be caught by name
            reason = str(error).strip().partition("\n")[0]
            raise InputError(
                f"Ray did not start: {reason} On a busy machine this can happen once: run the same command again"
            ) from error
    try:
        yield max(1, min(workers, int(ray.cluster_resources().get("CPU", 1))))
    finally:
        if started:
            ray.shutdown()


def spread(calls: Sequence[Callable[[], Returned]]) -> list[Returned]:
    """Run the calls and return their results in order. Inside a Ray worker, idle workers run them in parallel.

    A waiting task frees its core, but a waiting actor does not; therefore only stages that run as tasks may use this.
    After the first exception no further calls are started, and this returns when the running ones have ended. They are
    not cancelled: Ray can end the process that cancels a task at the moment when the task ends.
    """
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return [call() for call in calls]
    once = ray.remote(num_cpus=1)(_call)
    cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
    left_s = signal.getitimer(signal.ITIMER_REAL)[0]  # rest of the key's time limit
    until = time.time() + left_s + GRACE_S if left_s else None
    returned: dict[int, Returned] = {}
    waiting = list(enumerate(calls))[::-1]
    under_way: dict[Any, int] = {}
    try:
        while waiting or under_way:
            while waiting and len(under_way) < cores:
                place, call = waiting.pop()
                under_way[once.remote(call, until)] = place
            for handle in ray.wait(list(under_way))[0]:
                place = under_way.pop(handle)
                returned[place] = ray.get(handle)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except SystemError as error:  # Ray's C++ code turns an exception raised by a signal into this
        raise error.__cause__ or error from None
    finally:
        for handle in under_way:
            with suppress(ray.exceptions.RayError):
                ray.get(handle)
    return [returned[place] for place in range(len(calls))]


def _call(call: Callable[[], Returned], until: float | None) -> Returned:
    """Runs in a worker; stopped at `until`, in seconds of time.time()."""
    with time_limit(max(0.001, until - time.time()) if until else 0, TimeoutError()):
        return call()


@contextmanager
def time_limit(seconds: float, error: Exception) -> Iterator[None]:
    """Raises `error` inside the block when the time is over; 0: no limit. Works in main threads only; in others there
    is no limit."""
    if not seconds or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise error

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def runtime_env() -> dict[str, Any]:
    """What a worker of a cluster needs besides the installed packages: this code, and one thread."""
    root = Path(__file__).parents[2]
    return {"env_vars": ONE_THREAD, "py_modules": [str(root / name) for name in PACKAGES]}


def _check_address(address: str) -> None:
    """Raises InputError if no Ray answers at the address. Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if address != "auto":
            socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise InputError(
            f"--ray-address or RAY_ADDRESS {address}: no Ray answers there; expected HOST:PORT as printed by "
            "`ray start --head`; leave it out for a local Ray"
        ) from error


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
def _no_stderr() -> Iterator[None]:
    """Drops what Ray's C++ code prints at its start at any log level; errors are raised as exceptions."""
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


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
    with exit_on_input_error(), shared_ray(os.cpu_count() or 1) as variables:
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
