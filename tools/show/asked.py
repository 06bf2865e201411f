"""What the handlers share: the viewer's state, the parameters of a request, JSON."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from tools.show.catalog import Catalog
from tools.show.sessions import Session
from wanstreamer.errors import InputError

LAST_MS = 1 << 40


class NotShown(InputError):
    """A person who is not shown."""


@dataclass(frozen=True, kw_only=True)
class Viewer:
    """What the handlers share."""

    data: Path
    strict: bool  # hide everyone who has not agreed to `show`
    catalog: Catalog
    cache: Path

    def session(self, request: web.Request) -> Session:
        return Session(self.data, text(request, "session"), self.strict)

    def shown(self, request: web.Request) -> tuple[Session, dict[str, Any]]:
        """The session, and the track of a participant. Raises NotShown for a person who is not shown."""
        session = self.session(request)
        track = session.track(text(request, "participant"))
        person = session.people[track["participant"]]
        if not person.shown:
            raise NotShown(f"{person.participant} of {session.session_id}: {person.why}")
        return session, track


VIEWER: web.AppKey[Viewer] = web.AppKey("viewer", Viewer)


def text(request: web.Request, name: str, default: str | None = None) -> str:
    value = request.query.get(name, default)
    if value is None:
        raise InputError(f"{request.path}: {name} is missing")
    return value


def number(request: web.Request, name: str, default: int | None = None) -> int:
    value = request.query.get(name)
    if value is None and default is not None:
        return default
    try:
        whole = int(text(request, name))
    except ValueError as error:
        raise InputError(f"{request.path}: {name} {value!r}: expected a whole number") from error
    if not -LAST_MS <= whole <= LAST_MS:
        raise InputError(f"{request.path}: {name} {whole}: expected a number below {LAST_MS}")
    return whole


def as_json(content: Mapping[str, Any]) -> web.Response:
    body = json.dumps(_plain(content), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return web.Response(text=body, content_type="application/json")


def _plain(value: Any) -> Any:
    """Values that JSON can hold; a number that is none becomes null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | bool | None) else str(value)
