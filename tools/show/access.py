"""Who may ask: a request needs the token, and must come from the viewer's own page.

A page from elsewhere that is open in the same browser can send requests to this server. It does not know the token, its
Origin differs, and the cookie is not sent with its requests (SameSite=Strict). If its own name is made to point to this
machine (DNS rebinding), the Host header still has that name.
"""

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

TOKEN_HEADER = "X-Show-Token"
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",  # no copy of a person stays in the browser
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach a server on `host`: an address, or localhost."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a request must have. `host` is the name or address that the server listens on."""

    host: str
    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    @property
    def cookie(self) -> str:
        """The cookie's name: browsers share cookies between the ports of a host."""
        return f"show_token_{self.port}"

    def url(self) -> str:
        """The address to open."""
        host = self.host
        if host in ("0.0.0.0", "::"):
            host = socket.gethostname()
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/?token={self.token}"

    def knows(self, token: str | None) -> bool:
        return token is not None and hmac.compare_digest(token.encode(), self.token.encode())

    def is_own_name(self, host_header: str) -> bool:
        """Whether the Host header is a name of this server. Only a name can be made to point here, an address cannot.

        The port is not compared: a tunnel (`ssh -L 9000:localhost:8765`) has another one.
        """
        try:
            name = urlsplit(f"//{host_header}").hostname or ""
        except ValueError:
            return False
        names = {"localhost", self.host.lower()}
        if not is_loopback(self.host):
            names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        if name in names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not is_loopback(self.host)

    def refusal(self, request: web.Request) -> str | None:
        """Why the request is refused; None: it may go on."""
        host = request.headers.get("Host", "")
        if not self.is_own_name(host):
            return f"Host {host!r}: not a name of this server; open the address that `python -m tools.show` printed"
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"{request.scheme}://{host}":
            return f"Origin {origin!r}: a page from elsewhere; only the viewer's own page may ask"
        if request.method not in ("GET", "HEAD") and origin is None and TOKEN_HEADER not in request.headers:
            return "no Origin: only the viewer's own page may write"
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        if site not in ("same-origin", "none") and request.headers.get("Sec-Fetch-Mode") != "navigate":
            return f"Sec-Fetch-Site {site!r}: a page from elsewhere; only the viewer's own page may ask"
        if request.path == "/" and self.knows(request.query.get("token")):
            return None
        if self.knows(request.headers.get(TOKEN_HEADER)) or self.knows(request.cookies.get(self.cookie)):
            return None
        return "no token, or a wrong one; open the address that `python -m tools.show` printed"


def guard(access: Access) -> Middleware:
    """The middleware that refuses requests, and sets the headers of every answer."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        why = access.refusal(request)
        if why is not None:
            answer: web.StreamResponse = web.json_response({"error": why}, status=403)
        else:
            answer = await handler(request)
        answer.headers.update(HEADERS)
        return answer

    return guarded


def enter(access: Access, request: web.Request) -> web.Response | None:
    """The answer to the address with the token: a cookie, and the address without it. None: no token in the address."""
    if "token" not in request.query:
        return None
    answer = web.Response(status=303, headers={"Location": "/"})
    answer.set_cookie(access.cookie, access.token, httponly=True, samesite="Strict", path="/")
    return answer
