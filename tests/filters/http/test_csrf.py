"""
L{meshproxy.filters.http.csrf}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.filters.http.csrf import CSRF, hostAndPort
from meshproxy.testing import FilterHarness

ON = {"default_value": {"numerator": 100}}
OFF = {"default_value": {"numerator": 0}}


class CSRFTests(SynchronousTestCase):
    """
    L{CSRF} in a proxy; requests are for C{example.com}.
    """

    def setUp(self) -> None:
        """
        A filter that is on.
        """
        self.harness = FilterHarness(
            CSRF, {"filter_enabled": ON, "additional_origins": [{"suffix": ".friends.example"}]}
        )

    def ask(self, method: str = "POST", harness: FilterHarness | None = None, **fields: str) -> int:
        """
        Send a request, and get its status.
        """
        return (harness or self.harness).request(method, "/", list(fields.items())).status

    def counted(self, harness: FilterHarness | None = None) -> tuple[int, int, int]:
        """
        How many requests were valid, invalid, and without a source.
        """
        stats = (harness or self.harness).proxy.stats("http.test.csrf.")
        return tuple(  # type: ignore[return-value]  # three of them
            stats[f"http.test.csrf.{name}"] for name in ("request_valid", "request_invalid", "missing_source_origin")
        )

    def test_origin(self) -> None:
        """
        A page of the same host may, and one of a friend; one of another host may not.
        """
        self.assertEqual(self.ask(origin="https://example.com"), 200)
        self.assertEqual(self.ask(origin="https://a.friends.example"), 200)
        self.assertEqual(self.ask(origin="https://evil.example"), 403)
        self.assertEqual(self.counted(), (2, 1, 0))

    def test_refusal(self) -> None:
        """
        The answer and its details are Envoy's, and nothing goes upstream.
        """
        result = self.harness.request("POST", "/", [("origin", "https://evil.example")])
        self.assertEqual(
            (result.body, result.log["details"], result.upstreamRequest),
            (b"Invalid origin", "csrf_origin_mismatch", None),
        )

    def test_referer(self) -> None:
        """
        Without an origin, the referer counts; with one it does not.
        """
        self.assertEqual(self.ask(referer="https://example.com/form"), 200)
        self.assertEqual(self.ask(origin="https://evil.example", referer="https://example.com/"), 403)

    def test_missing(self) -> None:
        """
        Who tells neither is refused, and counted apart.
        """
        self.assertEqual(self.ask(), 403)
        self.assertEqual(self.counted(), (0, 1, 1))

    def test_methods(self) -> None:
        """
        Only methods that change something are looked at.
        """
        statuses = {method: self.ask(method) for method in ("GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE")}
        self.assertEqual(statuses, {"GET": 200, "HEAD": 200, "OPTIONS": 200, "PUT": 403, "PATCH": 403, "DELETE": 403})

    def test_shadow(self) -> None:
        """
        A policy that is only tried counts and lets everything through; one that is off does not count.
        """
        shadow = FilterHarness(CSRF, {"filter_enabled": OFF, "shadow_enabled": ON})
        self.assertEqual((self.ask(harness=shadow), self.counted(shadow)), (200, (0, 1, 1)))
        off = FilterHarness(CSRF, {"filter_enabled": OFF})
        self.assertEqual((self.ask(harness=off), self.counted(off)), (200, (0, 0, 0)))

    def test_route(self) -> None:
        """
        A route's policy takes the place of the filter's.
        """
        routed: dict[str, Any] = {"filter_enabled": OFF}
        self.assertEqual(self.ask(harness=FilterHarness(CSRF, {"filter_enabled": ON}, routed)), 200)


class HostAndPortTests(SynchronousTestCase):
    """
    L{hostAndPort}.
    """

    def test_urls(self) -> None:
        """
        Host and port of a URL, without a user; what is no URL as it is.
        """
        for url, expected in {
            b"https://example.com": b"example.com",
            b"http://example.com:8080/a?b": b"example.com:8080",
            b"https://example.com?b": b"example.com",
            b"https://evil.example@example.com/": b"example.com",
            b"https://evil.example/@example.com": b"evil.example",
            b"https://example.com#a": b"https://example.com#a",
            b"https://[::1]:80/": b"[::1]:80",
            b"null": b"null",
            b"example.com": b"example.com",
        }.items():
            self.assertEqual(hostAndPort(url), expected)
        self.assertEqual(hostAndPort(None), b"")
