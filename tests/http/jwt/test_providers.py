"""
L{meshproxy.http.jwt.providers}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.headers import RequestHeaders
from meshproxy.http.jwt.keys import FixedKeys
from meshproxy.http.jwt.providers import Locations, Provider, TokenCache, claim, plainAudience
from meshproxy.http.jwt.token import readJWT
from tests.http.jwt.support import token


def provider(issuer: str = "one", **fields: Any) -> Provider:
    """
    A provider whose tokens are where they usually are.
    """
    held: dict[str, Any] = dict.fromkeys(("audiences", "splitClaims", "claimHeaders"), ())
    held |= {"name": issuer, "issuer": issuer, "subjects": None, "needsExpiration": False, "longestLife": 0, "skew": 0}
    held |= {"keys": FixedKeys(()), "fromHeaders": ((b"authorization", b"Bearer "),), "fromParameters": (b"t",)}
    held |= {"fromCookies": (), "forwards": False, "payloadHeader": b"", "padsPayload": False, "payloadKey": ""}
    held |= {"headerKey": "", "failureKey": "", "clearsRoute": False, "cache": None, **fields}
    return Provider(**held)


class LocationTests(SynchronousTestCase):
    """
    L{Locations}.
    """

    def found(self, locations: Locations, path: bytes = b"/", *fields: tuple[bytes, bytes]) -> list[bytes]:
        """
        The tokens in a request.
        """
        return [each.token for each in locations.find(RequestHeaders(b"GET", path, b"h", fields))]

    def test_headers(self) -> None:
        """
        A token stands behind its prefix, wherever that is; where there is none, all of the value is it.
        """
        locations = Locations([provider(fromHeaders=((b"authorization", b"Bearer "), (b"x-t", b"")))])
        for value, expected in (
            (b"Bearer a.b.c", [b"a.b.c"]),
            (b"x Bearer  a", [b"a"]),
            (b"bearer a", []),
            (b"Bearer ", [b"Bearer "]),
        ):
            self.assertEqual(self.found(locations, b"/", (b"authorization", value)), expected)
        self.assertEqual(self.found(locations, b"/", (b"x-t", b"a"), (b"x-t", b"b")), [b"a", b"b"])
        twice = self.found(locations, b"/", (b"authorization", b"Bearer a"), (b"authorization", b"Bearer b"))
        self.assertEqual(twice, [b"a,Bearer b"])

    def test_others(self) -> None:
        """
        Parameters are decoded, the first of a name counts; cookies are found as well.
        """
        locations = Locations([provider(fromCookies=(b"c",))])
        self.assertEqual(self.found(locations, b"/?t=a%2Eb&t=x&%74=y", (b"cookie", b"b=1; c=d")), [b"a.b", b"d"])

    def test_issuers(self) -> None:
        """
        A place that providers share is for the tokens of each of them.
        """
        [found] = Locations([provider("one"), provider("two")]).find(RequestHeaders(b"GET", b"/?t=a", b"h"))
        self.assertEqual(found.issuers, {"one", "two"})

    def test_remove(self) -> None:
        """
        A token is taken out of its header, or out of the path, of which all else stays as it is.
        """
        for path, expected in ((b"/?t=a", b"/"), (b"/p?x=%20&t=a&y&%74=b", b"/p?x=%20&y")):
            headers = RequestHeaders(b"GET", path, b"h", [(b"authorization", b"Bearer a")])
            for each in Locations([provider()]).find(headers):
                each.remove(headers)
            self.assertEqual((headers.path, list(headers.fields())), (expected, []))


class ClaimTests(SynchronousTestCase):
    """
    L{claim}.
    """

    def test_values(self) -> None:
        """
        Texts, numbers and booleans are values, wherever they are; what would begin another field is none.
        """
        payload = {
            "s": "é",
            "n": 5,
            "r": -1.5,
            "big": 1e30,
            "f": False,
            "l": [1],
            "o": {"a": {"b": "deep"}},
            "a.b": "dot",
        }
        payload |= {"nl": "a\nb", "nul": "\0", "lone": "\ud800"}
        for path, expected in (
            ("s", "é".encode()),
            ("n", b"5"),
            ("r", b"-1.500000"),
            ("big", b"1000000000000000019884624838656.000000"),
            ("f", b"false"),
            ("l", b""),
            ("o", b""),
            ("o.a.b", b"deep"),
            ("o.a.c", b""),
            ("a.b", b"dot"),
            ("nl", b""),
            ("nul", b""),
            ("none", b""),
        ):
            self.assertEqual(claim(payload, path), expected, path)

    def test_audiences(self) -> None:
        """
        An audience is compared without its scheme and last slash.
        """
        for text in ("https://a/b/", "http://a/b", "a/b"):
            self.assertEqual(plainAudience(text), "a/b")
        self.assertEqual(plainAudience("ftp://a"), "ftp://a")


class CacheTests(SynchronousTestCase):
    """
    L{TokenCache}.
    """

    def test_lastUsed(self) -> None:
        """
        The last used ones are kept, and none that is too long.
        """
        jwt = readJWT(token({}).encode())
        cache = TokenCache(2, 3)
        for text in (b"a", b"b", b"long"):
            cache.put(text, jwt)
        cache.get(b"a")
        cache.put(b"c", jwt)
        self.assertEqual(
            [cache.get(text) is not None for text in (b"a", b"b", b"c", b"long")], [True, False, True, False]
        )
        cache.clear()
        self.assertIsNone(cache.get(b"a"))
