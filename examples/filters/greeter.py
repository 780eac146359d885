"""
A filter that adds a field to each response. What it says is configured, and a route may say something else.
"""

import attrs

from meshproxy.http.filter import HTTPFilter


@attrs.frozen
class Config:
    """
    The keys of C{value} in a bootstrap, with their types, defaults and validators.
    """

    greeting: str = attrs.field(default="hello", validator=attrs.validators.min_len(1))


class Greeter(HTTPFilter):
    """
    Greets.
    """

    Config = Config

    def responseHeaders(self, stream, headers, endStream):
        config = self.routeConfig(stream) or self.config
        headers.set(b"x-greeting", config.greeting.encode("utf-8"))
