# -*- test-case-name: tests.controlplane.model.test_names -*-
"""
Tests for L{meshproxy.controlplane.model.names} and L{meshproxy.controlplane.model.hosts}.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.model import names
from meshproxy.controlplane.model.hosts import covers, fullName, mostSpecific, overlaps, within

LONG = "a" * 64


class NameTests(SynchronousTestCase):
    """
    What is a name and what is not.
    """

    def _check(self, check: Callable[[str], str | None], good: list[str], bad: list[str]) -> None:
        for text in good:
            self.assertIsNone(check(text), text)
        for text in bad:
            self.assertIsNotNone(check(text), text)

    def test_labels(self) -> None:
        """
        One label of a DNS name.
        """
        self._check(names.badLabel, ["a", "a-b", "A9", "a" * 63], ["", "-a", "a-", "a.b", "a_b", LONG, "a\n"])

    def test_fqdn(self) -> None:
        """
        A DNS name ends in a label that is no number; one dot at the end is allowed.
        """
        self._check(
            names.badFQDN,
            ["a", "a.b", "a.b.", "xn--a.example"],
            ["", ".", "a..b", "a.1", "*.a", "1.2.3.4", "a." + "b" * 255, "a b"],
        )

    def test_domain(self) -> None:
        """
        A wildcard is, or begins, the first label.
        """
        self._check(
            names.badDomain,
            ["*", "*.a", "*a.b", "*-a.b", "a.b", "reviews"],
            ["a.*", "**", "*.1", "a*.b", "", ".a", "*."],
        )

    def test_gatewayHosts(self) -> None:
        """
        A host of a gateway has a dot or is a wildcard, and perhaps a namespace.
        """
        self._check(
            names.badGatewayHost,
            ["*", "a.b", "*.b", "ns/a.b", "./a.b", "*/*", "10.0.0.1"],
            ["a", "*a.b", "ns/a", "/a.b", "n.s/a.b", "a/b/c.d", "ns/"],
        )

    def test_subnets(self) -> None:
        """
        Addresses and ranges, IPv6 too.
        """
        self._check(names.badSubnet, ["10.0.0.1", "10.0.0.0/8", "::1", "2001::/16"], ["10.0.0.1/33", "a", "", "10.0"])

    def test_durations(self) -> None:
        """
        At least a millisecond, and no parts of one.
        """
        for seconds in (0.001, 1, 1.5, 3600, 0.1 + 0.2):
            self.assertIsNone(names.badDuration(seconds), seconds)
        for seconds in (0, -1, 0.0005, 1.0005):
            self.assertIsNotNone(names.badDuration(seconds), seconds)

    def test_regexes(self) -> None:
        """
        RE2's language: no look-ahead, and no more than Envoy will take.
        """
        self._check(names.badRegex, ["a.*", "^(v1|v2)$"], ["", "(", "(?=a)", r"(a)\1", "a" * 1025])

    def test_headers(self) -> None:
        """
        Names are tokens; values balance their percent signs.
        """
        self._check(names.badHeaderName, ["x-a", "A", "x_y"], ["", "a b", ":path", "a:b"])
        self.assertIsNone(names.badHeaderName(":path", pseudo=True))
        self.assertIsNotNone(names.badHeaderName(":paths", pseudo=True))
        self._check(
            names.badHeaderValue,
            ["", "a", "100%%", "%HOSTNAME%", "a %REQ(x-b)% c", '%UPSTREAM_METADATA(["a", "b"])%', "a\tb"],
            ["%", "a%b", "%A", "%A(b%", "a\nb", "\x7f", "%START_TIME%%"],
        )

    def test_retryOn(self) -> None:
        """
        Envoy's conditions, and the statuses of HTTP.
        """
        self._check(names.badRetryOn, ["5xx", "503", "unavailable"], ["", "5XX", "999", "99999999999", "²"])

    def test_labelsOfKubernetes(self) -> None:
        """
        Keys may have a prefix that is a DNS name; values may be empty.
        """
        for good in ({"app": "a"}, {"example.com/app": ""}, {"a_b.c": "V1"}):
            self.assertIsNone(names.badLabels(good), good)
        for bad in ({"": "a"}, {"a/b/c": "d"}, {"a": "b c"}, {"a" * 64: "b"}, {"-a": "b"}):
            self.assertIsNotNone(names.badLabels(bad), bad)

    def test_sockets(self) -> None:
        """
        Absolute paths of files, and abstract names.
        """
        self._check(names.badUnixPath, ["/a", "@a"], ["", "a", "/a/"])


class HostTests(SynchronousTestCase):
    """
    Wildcards and short names.
    """

    def test_within(self) -> None:
        """
        A name, or a narrower wildcard, lies within a wildcard; never the other way round.
        """
        for host, other in (("a.b", "*"), ("a.b", "*.b"), ("*.a.b", "*.b"), ("*.b", "*.b"), ("a", "a")):
            self.assertTrue(within(host, other), (host, other))
            self.assertTrue(covers(other, host))
            self.assertTrue(overlaps(host, other) and overlaps(other, host))
        for host, other in (("*", "*.b"), ("b", "*.b"), ("*.b", "*.a.b"), ("a", "b"), ("a.b", "a")):
            self.assertFalse(within(host, other), (host, other))
        self.assertFalse(overlaps("a.b", "*.c"))

    def test_fullNames(self) -> None:
        """
        A short name belongs to the namespace of who says it; anything else stays.
        """
        self.assertEqual(fullName("reviews", "shop"), "reviews.shop.svc.cluster.local")
        self.assertEqual(fullName("reviews", "shop", "example"), "reviews.shop.svc.example")
        for host in ("a.b", "*", "*-a", "::1"):
            self.assertEqual(fullName(host, "shop"), host)

    def test_mostSpecific(self) -> None:
        """
        The host itself wins, then the longest wildcard.
        """
        self.assertEqual(mostSpecific("a.b.c", ["*", "*.c", "*.b.c", "x"]), "*.b.c")
        self.assertEqual(mostSpecific("a.b.c", ["*.b.c", "a.b.c"]), "a.b.c")
        self.assertIsNone(mostSpecific("a.b.c", ["*.d", "b.c"]))
