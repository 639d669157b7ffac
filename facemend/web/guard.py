"""Which requests are answered at all, and the headers of every answer."""

import hmac
import ipaddress
import secrets
import socket

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Facemend"  # of every request that changes something; a form of another site cannot send it
COOKIE = "facemend-{}"  # holds the token of the server at a port: a browser sends a cookie to all ports of a host
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",  # the browser too keeps pictures in memory only
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # another name
        return False


class Guard:
    """Refuses requests that the page has not made.

    A site in the same browser may post to this server, or give its own name the address of this machine (DNS
    rebinding). So the Host must be this machine, the Origin that of the page, and every POST has a header that
    another site cannot send. Where other machines can reach the server, each request also needs the token.

    Args:
        app: what answers the others.
        host: the address that the server listens on.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._host = host.lower()
        self._names = _own_names() if not is_loopback(host) else set()  # found once, as a resolver may be slow
        self.token = "" if is_loopback(host) else secrets.token_urlsafe(16)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer = self._refusal(scope) or self._app
        await answer(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_this_machine(host):
            return _forbidden("this server does not answer to this name: use the address it printed")
        if origin not in (None, f"http://{host}", f"https://{host}"):
            return _forbidden("another site has sent this request")
        if scope["method"] not in ("GET", "HEAD") and HEADER not in headers:
            return _forbidden(f"the header {HEADER} is missing")
        return self._unknown(scope, headers) if self.token else None

    def _unknown(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer to a request without the token: with it in the address, the browser gets it as a cookie."""
        name = COOKIE.format(scope["server"][1])
        given = QueryParams(scope["query_string"]).get("token", "")
        if hmac.compare_digest(given.encode(), self.token.encode()):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(name, self.token, httponly=True, samesite="lax")
            return answer
        cookie = cookie_parser(headers.get("cookie", "")).get(name, "")
        if hmac.compare_digest(cookie.encode(), self.token.encode()):
            return None
        return _forbidden("open the address with the token that 'facemend web' printed")

    def _is_this_machine(self, host: str) -> bool:
        """Whether a Host header names this machine. Rebinding needs a name, so any IP address is safe."""
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        name = name.removeprefix("[").removesuffix("]").lower()
        if is_loopback(name):
            return True
        if is_loopback(self._host):
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in {self._host, *self._names}
        return True


def _own_names() -> set[str]:
    name = socket.gethostname().lower()
    return {name, f"{name}.local", socket.getfqdn().lower()}


def _forbidden(reason: str) -> Response:
    return PlainTextResponse(f"{reason}\n", 403)
