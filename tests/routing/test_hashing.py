# -*- test-case-name: tests.routing.test_hashing -*-
"""
Tests for L{meshproxy.routing.hashing}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.streaminfo import ConnectionInfo
from meshproxy.config.section import Section
from meshproxy.headers import RequestHeaders
from meshproxy.net.address import Address
from meshproxy.routing.context import RouteContext
from meshproxy.routing.hashing import HashableText, compileHashPolicy, cookieValue, setCookieValue
from meshproxy.routing.xxhash64 import xxhash64
from tests.routing.support import request, streamOf, tableOf


def hashed(
    policies: list[dict[str, Any]], headers: RequestHeaders, connection: ConnectionInfo | None = None
) -> tuple[int | None, list[bytes]]:
    """
    The hash of a request, and the cookies that its response is to have.
    """
    made = [Section.of("envoy.config.route.v3.RouteAction.HashPolicy", policy) for policy in policies]
    policy = compileHashPolicy(made)
    assert policy is not None
    info = streamOf(headers)
    if connection is not None:
        info.connection = connection
    cookies: list[bytes] = []
    return policy(headers, info, cookies), cookies


class HashPolicyTests(SynchronousTestCase):
    """
    L{compileHashPolicy} makes Envoy's numbers.
    """

    def test_header(self) -> None:
        """
        The value of a header, rewritten if that is asked for; several in whatever order.
        """
        policy = {"header": {"header_name": "X-User"}}
        self.assertEqual(hashed([policy], request(x_user="ann")), (xxhash64(b"ann"), []))
        self.assertEqual(hashed([policy], request()), (None, []))
        both = xxhash64(b"b", xxhash64(b"a"))
        self.assertEqual(hashed([policy], request(x_user=["b", "a"]))[0], both)
        self.assertEqual(hashed([policy], request(x_user=["a", "b"]))[0], both)
        rewrite = {"pattern": {"regex": "^(.).*"}, "substitution": r"\1"}
        rewritten = {"header": {"header_name": "x-user", "regex_rewrite": rewrite}}
        self.assertEqual(hashed([rewritten], request(x_user="ann"))[0], xxhash64(b"a"))

    def test_cookie(self) -> None:
        """
        A cookie that is there; without a lifetime a missing one is none.
        """
        policy = {"cookie": {"name": "s"}}
        self.assertEqual(hashed([policy], request(cookie="a=b; s=v")), (xxhash64(b"v"), []))
        self.assertEqual(hashed([policy], request(cookie="ss=v")), (None, []))

    def test_newCookie(self) -> None:
        """
        With a lifetime a missing cookie is made, the same for all streams of a connection.
        """
        policy = {"cookie": {"name": "s", "ttl": "60s", "path": "/p", "attributes": [{"name": "Secure"}]}}
        connection = ConnectionInfo()
        connection.remoteAddress = Address("192.0.2.1", 1234)
        connection.localAddress = Address("192.0.2.2", 80)
        value = b"%016x" % xxhash64(b"192.0.2.1:1234192.0.2.2:80")
        expected = xxhash64(value), [b's="' + value + b'"; Max-Age=60; Path=/p; Secure; HttpOnly']
        self.assertEqual(hashed([policy], request(), connection), expected)
        self.assertEqual(hashed([policy], request(cookie="s="), connection), expected)

    def test_sourceAddress(self) -> None:
        """
        The address without its port; a unix socket has none.
        """
        policy = {"connection_properties": {"source_ip": True}}
        connection = ConnectionInfo()
        for address, expected in ((Address("192.0.2.1", 1234), xxhash64(b"192.0.2.1")), (Address("/run/x"), None)):
            connection.remoteAddress = address
            self.assertEqual(hashed([policy], request(), connection)[0], expected)

    def test_queryParameter(self) -> None:
        """
        The first value of a parameter.
        """
        policy = {"query_parameter": {"name": "u"}}
        self.assertEqual(hashed([policy], request("/?a&u=1&u=2"))[0], xxhash64(b"1"))
        self.assertIsNone(hashed([policy], request("/"))[0])

    def test_filterState(self) -> None:
        """
        An object of the stream or of its connection, if it is one that has a hash.
        """
        policies = [{"filter_state": {"key": "k"}}]
        for held, expected in ((HashableText("v"), xxhash64(b"v")), ("v", None), (None, None)):
            connection = ConnectionInfo()
            if held is not None:
                connection.setState("k", held)
            self.assertEqual(hashed(policies, request(), connection)[0], expected)

    def test_several(self) -> None:
        """
        All count, in order, equal ones too; behind a terminal one that gave a number nothing does.
        """
        one, other = ({"header": {"header_name": name}} for name in ("x-a", "x-b"))
        a, b = xxhash64(b"a"), xxhash64(b"b")
        turned = (a << 1 | a >> 63) & ((1 << 64) - 1)
        asked = request(x_a="a", x_b="b")
        self.assertEqual(hashed([one, other], asked)[0], turned ^ b)
        self.assertEqual(hashed([one, one], asked)[0], turned ^ a)
        self.assertEqual(hashed([{**one, "terminal": True}, other], asked)[0], a)
        self.assertEqual(hashed([{**one, "terminal": True}, other], request(x_b="b"))[0], b)

    def test_nothing(self) -> None:
        """
        No policy is none; one that names no kind is refused.
        """
        self.assertIsNone(compileHashPolicy([]))
        unknown = Section.of("envoy.config.route.v3.RouteAction.HashPolicy", {"terminal": True})
        self.assertIsNone(compileHashPolicy([unknown]))
        self.assertEqual(len(unknown.report.errors), 1)

    def test_weights(self) -> None:
        """
        C{use_hash_policy}: the same request gets the same weighted cluster, whatever chance says.
        """
        action = {
            "hash_policy": [{"header": {"header_name": "x-u"}}],
            "weighted_clusters": {
                "clusters": [{"name": "a", "weight": 1}, {"name": "b", "weight": 1}],
                "use_hash_policy": True,
            },
        }
        table = tableOf({"match": {"prefix": "/"}, "route": action}, context=RouteContext(random=lambda: 0.0))
        chosen = set()
        for user in "abcdefgh":
            route = table.match(request(x_u=user), streamOf(request()))
            assert route is not None and route.action is not None
            self.assertEqual(route.action.cluster, "ab"[xxhash64(user.encode()) % 2])
            chosen.add(route.action.cluster)
        self.assertEqual(chosen, {"a", "b"})


class CookieTests(SynchronousTestCase):
    """
    Cookies are read and written as Envoy does.
    """

    def test_read(self) -> None:
        """
        The first of a name, on any line, without its quotes.
        """
        for lines, expected in (
            (["s=1; s=2"], b"1"),
            (["a=b", "x; s=1"], b"1"),
            (['s="q"'], b"q"),
            (["s="], b""),
            (["s"], None),
            (['s="'], b'"'),
            (["s=a=b"], b"a=b"),
        ):
            self.assertEqual(cookieValue(request(cookie=lines), b"s"), expected, lines)

    def test_written(self) -> None:
        """
        Without a lifetime and a path it is shorter.
        """
        self.assertEqual(setCookieValue(b"s", b"v", b"", 0, [(b"SameSite", b"Lax")]), b's="v"; SameSite=Lax; HttpOnly')
