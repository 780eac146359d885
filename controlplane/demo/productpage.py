# -*- test-case-name: tests.controlplane.demo.test_productpage -*-
"""
Bookinfo's productpage: it asks for details and reviews, and shows them.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

from twisted.internet.defer import Deferred, gatherResults
from twisted.web.server import Request

from meshproxy.controlplane.demo.page import productPage
from meshproxy.controlplane.demo.web import Answer, Caller, forwarded, jsonAnswer

__all__ = ["ProductPage"]

#: Seconds that a part of the page may take, and how often reviews are tried: Istio's bookinfo does the same.
_TIMEOUT = 3.0
_REVIEW_TRIES = 2

_USER = b"user"

#: Of a form; a name is shorter.
_NAME_LIMIT = 100

_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


class ProductPage:
    """
    See the module.
    """

    def __init__(self, caller: Caller, details: str, reviews: str) -> None:
        """
        @param details: The host of the details, C{details:9080}; C{reviews} likewise.
        """
        self._caller = caller
        self._details = details
        self._reviews = reviews

    async def answer(self, request: Request) -> Answer:
        """
        C{GET /productpage}, and C{/login} and C{/logout}, which say who looks at it.
        """
        if request.path in (b"/productpage", b"/"):
            return await self._page(request)
        if request.path == b"/login" and request.method == b"POST":
            (name, *_) = (request.args or {}).get(b"username", [b""])
            return _redirect(_cookie(name.strip()[:_NAME_LIMIT]))
        if request.path == b"/logout":
            return _redirect("user=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax")
        return jsonAnswer({"error": "no such path"}, 404)

    async def _page(self, request: Request) -> Answer:
        user = _userOf(request)
        headers = forwarded(request)
        if user:
            headers["end-user"] = quote(user, safe=" @")
        details = self._caller.get(self._details, "/details/0", headers, _TIMEOUT)
        reviews = self._caller.get(self._reviews, "/reviews/0", headers, _TIMEOUT, _REVIEW_TRIES)
        both = [Deferred.fromCoroutine(one) for one in (details, reviews)]
        foundDetails, foundReviews = await gatherResults(both, consumeErrors=True)
        page = productPage(user, foundDetails, foundReviews)
        return Answer(page.encode(), contentType="text/html; charset=utf-8", headers=_HEADERS)


def _userOf(request: Request) -> str:
    """
    Who has logged in; a name in the cookie is no proof of anything, as in Istio's demo.
    """
    value = request.getCookie(_USER) or b""
    return unquote(value.decode("latin-1"), errors="replace")[:_NAME_LIMIT]


def _cookie(name: bytes) -> str:
    return f"user={quote(name, safe='')}; Path=/; HttpOnly; SameSite=Lax"


def _redirect(cookie: str) -> Answer:
    return Answer(b"", 303, "text/plain", {"location": "/productpage", "set-cookie": cookie})
