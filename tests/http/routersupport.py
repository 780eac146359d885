"""
A proxy with a router, before an endpoint.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import deferLater

from meshproxy.http.filter import HTTPFilter
from meshproxy.net.address import Address
from tests.http.support import ProxyCase, scripted

__all__ = ["ENDPOINT", "RouterCase", "taking"]


#: Where the endpoint is.
ENDPOINT = Address("127.0.0.1", 9000)


def taking(seconds: float) -> type[HTTPFilter]:
    """
    A filter that holds each request for some time.
    """

    def hold(stream: Any, headers: Any, end: bool) -> object:
        return deferLater(stream.manager.clock, seconds)

    return scripted(requestHeaders=hold)


class RouterCase(ProxyCase):
    """
    A proxy and its log.
    """

    def logged(self) -> str:
        """
        The last line of the access log.
        """
        return self.proxy.accessLog[-1]

    def begin(self, *args: Any, **kwargs: Any) -> Any:
        """
        A client with a request under way.
        """
        client = self.proxy.client()
        client.send(*args, **kwargs)
        self.proxy.settle()
        return client
