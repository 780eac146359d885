"""
L{meshproxy.codec.http1.grammar}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http1.grammar import (
    INTERN,
    METHODS,
    InternTable,
    isHostAndPort,
    matchChunkLine,
    matchRequest,
    matchResponse,
    parseLength,
    splitFields,
)


class PatternTests(SynchronousTestCase):
    """
    What the patterns accept at once.
    """

    def test_request(self) -> None:
        """
        The parts of a usual request.
        """
        match = matchRequest(b"GET /a?b HTTP/1.1\r\nHost: x\r\nA-b: c d\r\n\r\nrest")
        assert match is not None
        self.assertEqual(match.groups(), (b"GET", b"/a?b", b"Host: x\r\nA-b: c d\r\n"))
        self.assertEqual(splitFields(match[3]), [(b"Host", b"x"), (b"A-b", b"c d")])

    def test_response(self) -> None:
        """
        The parts of a usual response, with and without a reason phrase.
        """
        for line in (b"HTTP/1.1 200 OK", b"HTTP/1.1 200 ", b"HTTP/1.1 200", b"HTTP/1.1 200 \xe4 x"):
            match = matchResponse(line + b"\r\na: b\r\n\r\n")
            assert match is not None
            self.assertEqual(match.groups(), (b"200", b"a: b\r\n"))

    def test_notUsual(self) -> None:
        """
        Each octet that no legal field line has at some place is left to the slow parser.
        """
        for octet in (*range(0x20), 0x7F):
            if octet != 9:
                wire = b"GET / HTTP/1.1\r\nHost: x\r\na: b%bc\r\n\r\n" % bytes([octet])
                self.assertIsNone(matchRequest(wire), octet)
        for name in (b"", b" a", b"a ", b"a\t", b"a(", b"\xe4", b"a\0"):
            self.assertIsNone(matchRequest(b"GET / HTTP/1.1\r\nHost: x\r\n%b: b\r\n\r\n" % name), name)
        for value in (b"", b" b", b"\tb", b"b ", b"b\t"):
            self.assertIsNone(matchRequest(b"GET / HTTP/1.1\r\nHost: x\r\na: %b\r\n\r\n" % value), value)
        for path in (b"*", b"a", b"/#", b"/ ", b"/\x7f", b"/\xe4", b"http://x/"):
            self.assertIsNone(matchRequest(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path), path)

    def test_methods(self) -> None:
        """
        The methods are Envoy's, all of them in capitals.
        """
        self.assertEqual(len(METHODS), 35)
        self.assertIn(b"MSEARCH", METHODS)
        self.assertNotIn(b"M-SEARCH", METHODS)
        self.assertEqual({method.upper() for method in METHODS}, METHODS)

    def test_chunkLine(self) -> None:
        """
        Chunk extensions as in RFC 9112, 7.1.1, and nothing that resembles them.
        """
        for line in (b"5", b"0f;a", b"5;a=b", b'5 ; a = "q \\" ;"', b"5;a;b=c;d", b"000"):
            self.assertIsNotNone(matchChunkLine(line), line)
        for line in (
            b"",
            b"5 ",
            b"5;",
            b"5;=b",
            b"5;a=",
            b'5;a="b',
            b"5;a b",
            b"0x5",
            b"+5",
            b"5,5",
            b"f" * 16,
            b"5\0",
        ):
            self.assertIsNone(matchChunkLine(line), line)

    def test_hostAndPort(self) -> None:
        """
        Names, addresses and ports.
        """
        for text in (b"a", b"a.b:80", b"[::1]:80", b"127.0.0.1"):
            self.assertIsNotNone(isHostAndPort(text), text)
        for text in (b"", b":80", b"a:", b"a:b", b"a:123456", b"a b", b"a/b", b"[::1", b"a,b", b"a@b"):
            self.assertIsNone(isHostAndPort(text), text)


class LengthTests(SynchronousTestCase):
    """
    L{parseLength} reads digits.
    """

    def test_digits(self) -> None:
        """
        A number in digits, zeros before it included.
        """
        self.assertEqual([parseLength(text) for text in (b"0", b"007", b"9" * 18)], [0, 7, 10**18 - 1])

    def test_refused(self) -> None:
        """
        What C{int} would take and RFC 9110 does not, and what no counter could hold.
        """
        for text in (b"", b"+5", b"-5", b" 5", b"5 ", b"1_0", b"0x5", b"5.0", b"5,5", b"1e1", b"\xb2", b"9" * 19):
            self.assertIsNone(parseLength(text), text)


class InternTests(SynchronousTestCase):
    """
    L{InternTable} lower-cases.
    """

    def test_oneObject(self) -> None:
        """
        Every spelling of a usual name gives the same object.
        """
        self.assertIs(INTERN[b"Content-Length"], INTERN[b"content-length"])
        self.assertIs(INTERN[b"CONTENT-LENGTH"], INTERN[b"content-length"])

    def test_learns(self) -> None:
        """
        A name that comes again is found.
        """
        table = InternTable(b"a")
        self.assertEqual(table[b"X-New"], b"x-new")
        self.assertIs(table[b"X-New"], table[b"X-New"])

    def test_bounded(self) -> None:
        """
        However many names a peer makes up, the table stays small, and knows the usual ones.
        """
        table = InternTable(b"host accept", limit=16)
        for number in range(1000):
            self.assertEqual(table[b"X-%d" % number], b"x-%d" % number)
            self.assertLessEqual(len(table), 16)
        self.assertTrue({b"host", b"Host", b"accept", b"Accept"} <= table.keys())

    def test_longNames(self) -> None:
        """
        A long name is lower-cased and not kept.
        """
        table = InternTable(b"")
        self.assertEqual(table[b"X" * 5000], b"x" * 5000)
        self.assertEqual(len(table), 0)
