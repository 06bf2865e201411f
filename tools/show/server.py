"""The application: which path has which answer, errors as one line, the files of the page."""

import asyncio
import json
import re
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from pipelines.engine.jobs import Rejected
from tools.show import answers, media
from tools.show.access import Access, Handler, enter, guard
from tools.show.asked import VIEWER, NotShown, Viewer, as_json
from tools.show.catalog import Catalog
from tools.show.edits import append_edits
from tools.show.sessions import Session
from tools.show.tables import NotThere
from wanstreamer.errors import InputError

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml",
         ".png": "image/png"}  # fmt: skip
MAX_BODY = 1 << 20  # of a request, in bytes
CACHE = "show"  # below the data folder; tools.forget removes it


def make_app(data: Path, access: Access, *, strict: bool) -> web.Application:
    """The application over a data folder. Raises InputError if it has no sessions."""
    data = data.resolve()
    catalog = Catalog(data, strict=strict)
    catalog.snapshot()
    app = web.Application(client_max_size=MAX_BODY, middlewares=[guard(access), explained])
    app[VIEWER] = Viewer(data=data, strict=strict, catalog=catalog, cache=_cache_folder(data))

    async def page(request: web.Request) -> web.StreamResponse:
        return enter(access, request) or page_file("index.html")

    async def part(request: web.Request) -> web.StreamResponse:
        return page_file(request.match_info["name"])

    app.router.add_get("/", page)
    app.router.add_get("/page/{name}", part)
    for path, read in (answers.READS | media.READS).items():
        app.router.add_get(path, _reading(read))
    app.router.add_get("/media/video", media.video)
    app.router.add_post("/api/corrections", correct)
    return app


def page_file(name: str) -> web.Response:
    """A file of the page. Raises NotThere for any other name."""
    path = PAGE / name
    if not re.fullmatch(r"[\w-]+(\.[\w-]+)*", name) or path.suffix not in TYPES or not path.is_file():
        raise NotThere(f"{name!r}: no such part of the page")
    return web.Response(body=path.read_bytes(), content_type=TYPES[path.suffix], charset="utf-8")


@web.middleware
async def explained(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors as one line of JSON. A bug prints its traceback where the server runs."""
    try:
        return await handler(request)
    except NotThere as error:
        return _error(404, str(error))
    except NotShown as error:
        return _error(403, str(error))
    except (InputError, Rejected) as error:
        return _error(400, str(error))
    except web.HTTPRequestEntityTooLarge:
        return _error(413, f"the request is too large; expected at most {MAX_BODY} bytes")
    except web.HTTPException as error:
        return _error(error.status, f"{request.method} {request.path}: {error.reason}")
    except FileNotFoundError as error:
        return _error(503, f"{error.filename}: is gone; a stage may be writing it: try again")
    except Exception:
        traceback.print_exc(file=sys.stderr)
        return _error(500, "a bug in the viewer; the terminal in which it runs has the details")


def _error(status: int, line: str) -> web.Response:
    return web.json_response({"error": line}, status=status)


def _reading(read: Callable[[Viewer, web.Request], web.Response]) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        return await asyncio.to_thread(read, request.app[VIEWER], request)

    return handler


async def correct(request: web.Request) -> web.StreamResponse:
    if request.content_type != "application/json":
        raise InputError(f"content-type {request.content_type!r}: expected application/json")
    try:
        content = json.loads(await request.text())
    except ValueError as error:
        raise InputError(f"corrections: no JSON ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("session"), str):
        raise InputError('corrections: expected {"session": ..., "corrections": [...]}')
    viewer = request.app[VIEWER]
    own = Session(viewer.data, content["session"], viewer.strict)
    return as_json(await asyncio.to_thread(append_edits, own, content.get("corrections")))


def _cache_folder(data: Path) -> Path:
    """Where pictures and waveforms are kept: below the data folder, or, if it cannot be written, until the end."""
    folder = data / CACHE
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return Path(tempfile.mkdtemp(prefix="wanstreamer-show-"))
