# -*- test-case-name: tests.integration.test_demo -*-
"""
What the demo asks its control plane, by its API.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.internet.task import deferLater
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer
from zope.interface import implementer

from meshproxy.controlplane.demo.web import content
from meshproxy.errors import MeshProxyError

__all__ = ["ControlAPI", "ControlAPIError"]

_PAUSE = 0.05


class ControlAPIError(MeshProxyError):
    """
    The control plane says no.
    """


class ControlAPI:
    """
    See the module.
    """

    def __init__(self, agent: IAgent, port: int, reactor: Any) -> None:
        self._agent = agent
        self._base = f"http://127.0.0.1:{port}"
        self._reactor = reactor

    async def ready(self) -> None:
        """
        Wait until it answers.
        """
        while True:
            try:
                await self._ask(b"GET", "/version")
            except (CancelledError, ControlAPIError):
                raise
            except Exception:
                await deferLater(self._reactor, _PAUSE)
            else:
                return

    async def apply(self, text: str) -> None:
        """
        Apply resources.
        """
        await self._ask(b"POST", "/v1/apply?filename=bookinfo.yaml&message=demo", text, "application/yaml")

    async def roots(self) -> str:
        """
        The roots of the mesh, PEM.
        """
        pem: str = json.loads(await self._ask(b"GET", "/v1/ca/roots"))["pem"]
        return pem

    async def token(self, account: str) -> str:
        """
        A bootstrap token.
        """
        asked = json.dumps({"namespace": "default", "serviceAccount": account})
        token: str = json.loads(await self._ask(b"POST", "/v1/ca/tokens", asked))["token"]
        return token

    async def _ask(self, method: bytes, path: str, text: str = "", contentType: str = "application/json") -> bytes:
        headers = Headers({"content-type": [contentType]}) if text else None
        body = _Body(text.encode()) if text else None
        response: Any = await self._agent.request(method, (self._base + path).encode(), headers, body)
        told = await content(response)
        if response.code not in (200, 201):
            raise ControlAPIError(f"{path} is refused: {told.decode('utf-8', 'replace')}")
        return told


@implementer(IBodyProducer)
class _Body:
    """
    A text to send.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """
        All of it at once: it is short.
        """
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """
        It is written already.
        """

    def resumeProducing(self) -> None:
        """
        Likewise.
        """

    def stopProducing(self) -> None:
        """
        Likewise.
        """
