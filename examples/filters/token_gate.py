"""
A filter that asks a service whether a request may pass, and waits for the answer without holding up anybody else.
"""

import attrs

from meshproxy.errors import MeshProxyError
from meshproxy.headers import RequestHeaders
from meshproxy.http.filter import HTTPFilter


@attrs.frozen
class Config:
    """
    Whom to ask. A cluster is required; it stands in the same bootstrap.
    """

    cluster: str
    path: str = "/check"
    timeout: float = 1.0


class TokenGate(HTTPFilter):
    """
    Passes what the service answers with 200, and tells the upstream whose request it is.
    """

    Config = Config

    async def requestHeaders(self, stream, headers, endStream):
        question = RequestHeaders(b"GET", self.config.path.encode("ascii"), self.config.cluster.encode("ascii"))
        question.set(b"authorization", headers.get(b"authorization") or b"")
        try:
            answer = await self.context.calls.call(self.config.cluster, question, timeout=self.config.timeout)
        except MeshProxyError as error:
            self.context.log.warn("nobody says who may pass: {error}", error=error)
            return stream.reply(503, b"try again later\n", details="token_gate_unavailable")
        if answer.headers.status != 200:
            return stream.reply(403, b"you may not pass\n", details="token_gate_denied")
        headers.set(b"x-user", answer.headers.get(b"x-user") or b"unknown")
