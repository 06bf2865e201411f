"""Look at a data folder in the browser: sessions, videos, voices, words, turns, events, and what the model sees.

Prints an address with a token; it is valid until the command ends. Only this machine reaches it, unless --host names
another address. docs/viewer.md has the rest.
"""

import argparse
import asyncio
import os
import signal
import socket
import sys
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.tables import check_data_folder
from tools.show.access import Access, is_loopback
from tools.show.server import make_app
from wanstreamer.errors import InputError

PORT = 8765


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises InputError if it cannot: the port is taken, or no such address is here."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(128)
        return sock
    except OverflowError as error:
        raise InputError(f"--port {port}: expected 0 to 65535") from error
    except OSError as error:
        raise InputError(
            f"--host {host} --port {port}: {error.strerror}; choose another --port, or 0 for any free one"
        ) from error


async def serve(data: Path, *, host: str, port: int, shared: bool, open_browser: bool) -> None:
    """Serve until Ctrl-C. Raises InputError."""
    sock = listening(host, port)
    access = Access(host=host, port=sock.getsockname()[1])
    strict = shared or not is_loopback(host)
    app = await asyncio.to_thread(make_app, data, access, strict=strict)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, sock, shutdown_timeout=1).start()
    if strict and not shared:
        print(f"--host {host}: others can reach it; people who have not agreed to `show` are hidden", file=sys.stderr)
    print(access.url(), flush=True)
    print("Open this address in a browser. Ctrl-C stops the viewer.", file=sys.stderr, flush=True)
    if open_browser:
        await asyncio.to_thread(webbrowser.open, access.url())
    stopped = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(name, stopped.set)
    await stopped.wait()
    await runner.cleanup()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.show", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)"
    )
    parser.add_argument("--port", type=int, default=PORT, help=f"port; 0: any free one (default: {PORT})")
    parser.add_argument(
        "--shared", action="store_true", help="hide everyone who has not agreed to `show`, also on this machine"
    )
    parser.add_argument("--open", action="store_true", help="open the browser")
    args = parser.parse_args(arguments)
    with exit_on_input_error():
        check_data_folder(args.data)
        asyncio.run(serve(args.data, host=args.host, port=args.port, shared=args.shared, open_browser=args.open))
    print("viewer: stopped", file=sys.stderr)
    sys.stdout.flush()
    os._exit(0)  # a thread may still wait for a slow query


if __name__ == "__main__":
    main()
