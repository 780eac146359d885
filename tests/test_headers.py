"""
Tests for L{meshproxy.headers}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders, withRoom

NAMES = st.sampled_from([b"a", b"b", b"c"])
OPERATIONS = st.lists(st.tuples(st.sampled_from(["add", "set", "remove"]), NAMES, st.binary(max_size=3)))


class PlainMap:
    """
    What a header map does, written for clarity: a list of names, each with its list of values.
    """

    def __init__(self) -> None:
        self.held: list[tuple[bytes, list[bytes]]] = []

    def find(self, name: bytes) -> list[bytes] | None:
        """
        The values of a name.
        """
        return next((values for held, values in self.held if held == name), None)

    def add(self, name: bytes, value: bytes) -> None:
        """
        One more value.
        """
        values = self.find(name)
        if values is None:
            self.held.append((name, [value]))
        else:
            values.append(value)

    def set(self, name: bytes, value: bytes) -> None:
        """
        The only value.
        """
        values = self.find(name)
        if values is None:
            self.held.append((name, [value]))
        else:
            values[:] = [value]

    def remove(self, name: bytes, value: bytes = b"") -> None:
        """
        No value.
        """
        self.held = [(held, values) for held, values in self.held if held != name]

    def fields(self) -> list[tuple[bytes, bytes]]:
        """
        All fields.
        """
        return [(name, value) for name, values in self.held for value in values]


class HeaderMapTests(SynchronousTestCase):
    """
    L{HeaderMap} is an ordered multimap.
    """

    @given(OPERATIONS)
    def test_asPlain(self, operations: list[tuple[str, bytes, bytes]]) -> None:
        """
        Any sequence of changes leaves the same fields as in the plain map.
        """
        plain, headers = PlainMap(), HeaderMap()
        for operation, name, value in operations:
            getattr(plain, operation)(name, value)
            if operation == "remove":
                headers.remove(name)
            else:
                getattr(headers, operation)(name, value)
        expected = plain.fields()
        self.assertEqual(list(headers.fields()), expected)
        self.assertEqual(len(headers), len(expected))
        self.assertEqual(headers.byteSize(), sum(len(name) + len(value) for name, value in expected))
        for name in (b"a", b"b", b"c"):
            values = plain.find(name) or []
            self.assertEqual(headers.values(name), values)
            self.assertEqual(headers.get(name), values[0] if values else None)
            self.assertEqual(headers.joined(name), b",".join(values) if values else None)
            self.assertEqual(name in headers, bool(values))

    @given(st.lists(st.tuples(NAMES, st.binary(max_size=3))))
    def test_fromPairs(self, pairs: list[tuple[bytes, bytes]]) -> None:
        """
        A map made of pairs is one to which they were added.
        """
        added = HeaderMap()
        for name, value in pairs:
            added.add(name, value)
        self.assertEqual(HeaderMap(pairs), added)
        self.assertEqual(HeaderMap(iter(pairs)), added)

    def test_secondsAreSeen(self) -> None:
        """
        Matchers look at all values, so that a second one cannot hide.
        """
        headers = HeaderMap([(b"x", b"good"), (b"y", b"1"), (b"x", b"bad")])
        self.assertEqual(headers.joined(b"x"), b"good,bad")
        self.assertEqual(list(headers.fields()), [(b"x", b"good"), (b"x", b"bad"), (b"y", b"1")])

    def test_remove(self) -> None:
        """
        Removing tells whether there was something, and takes all values.
        """
        headers = HeaderMap([(b"x", b"1"), (b"x", b"2")])
        self.assertTrue(headers.remove(b"x"))
        self.assertFalse(headers.remove(b"x"))
        headers.add(b"x", b"3")
        self.assertEqual(headers.values(b"x"), [b"3"])

    def test_copy(self) -> None:
        """
        A copy and its origin go their own ways, with second values too.
        """
        headers = HeaderMap([(b"x", b"1"), (b"x", b"2")])
        copied = headers.copy()
        copied.add(b"x", b"3")
        copied.set(b"y", b"1")
        self.assertEqual(list(headers.fields()), [(b"x", b"1"), (b"x", b"2")])
        self.assertEqual(copied.values(b"x"), [b"1", b"2", b"3"])

    def test_notHashable(self) -> None:
        """
        What changes is no key, and is equal to nothing of another kind.
        """
        self.assertRaises(TypeError, hash, HeaderMap())
        self.assertNotEqual(HeaderMap(), [])
        self.assertNotIn("x", HeaderMap([(b"x", b"1")]))
        self.assertEqual(repr(HeaderMap([(b"x", b"1")])), "<HeaderMap [(b'x', b'1')]>")


class RequestTests(SynchronousTestCase):
    """
    L{RequestHeaders}.
    """

    def setUp(self) -> None:
        self.headers = RequestHeaders(b"GET", b"/a?b", b"example.com", [(b"x", b"1")], b"https")

    def test_pseudo(self) -> None:
        """
        Pseudo-header fields by name, and host as the authority.
        """
        names = (b":method", b":path", b":authority", b"host", b":scheme", b"x", b"none")
        self.assertEqual(
            [self.headers.get(name) for name in names],
            [b"GET", b"/a?b", b"example.com", b"example.com", b"https", b"1", None],
        )

    def test_written(self) -> None:
        """
        Writing by name writes the attribute, once, however it is done.
        """
        self.headers.set(b"host", b"a")
        self.headers.add(b":path", b"/new")
        self.headers.add(b"x", b"2")
        self.assertEqual((self.headers.authority, self.headers.path), (b"a", b"/new"))
        self.assertEqual(list(self.headers.fields()), [(b"x", b"1"), (b"x", b"2")])
        self.assertNotIn(b"host", self.headers.first)

    def test_absent(self) -> None:
        """
        An empty authority is none.
        """
        self.assertIsNone(RequestHeaders(b"GET", b"/").get(b":authority"))
        self.assertNotIn(b"host", RequestHeaders(b"GET", b"/"))

    def test_allFields(self) -> None:
        """
        Pseudo-header fields come first, and count by size but not by number.
        """
        self.assertEqual(
            list(self.headers.allFields()),
            [
                (b":method", b"GET"),
                (b":scheme", b"https"),
                (b":authority", b"example.com"),
                (b":path", b"/a?b"),
                (b"x", b"1"),
            ],
        )
        self.assertEqual(len(self.headers), 1)
        self.assertEqual(self.headers.byteSize(), 7 + 3 + 7 + 5 + 10 + 11 + 5 + 4 + 2)

    def test_copy(self) -> None:
        """
        A copy is a request too, and independent.
        """
        copied = self.headers.copy()
        self.assertEqual(copied, self.headers)
        copied.path = b"/other"
        copied.set(b"x", b"2")
        self.assertEqual((self.headers.path, self.headers.get(b"x")), (b"/a?b", b"1"))
        self.assertNotEqual(copied, self.headers)


class ResponseTests(SynchronousTestCase):
    """
    L{ResponseHeaders}.
    """

    def test_status(self) -> None:
        """
        The status by name.
        """
        headers = ResponseHeaders(200, [(b"x", b"1")])
        self.assertEqual((headers.get(b":status"), headers.get(b"x")), (b"200", b"1"))
        headers.set(b":status", b"404")
        headers.add(b":status", b"503")
        headers.add(b"x", b"2")
        self.assertEqual((headers.status, headers.values(b"x")), (503, [b"1", b"2"]))
        self.assertEqual(next(headers.allFields()), (b":status", b"503"))

    def test_badStatus(self) -> None:
        """
        A status is three digits; otherwise nothing changes.
        """
        headers = ResponseHeaders(200)
        for status in (b"", b"20", b"2000", b"+20", b"2 0", "٢٠٠".encode()):
            self.assertRaises(ValueError, headers.set, b":status", status)
        self.assertEqual(headers.status, 200)

    def test_copy(self) -> None:
        """
        A copy is a response too, and independent.
        """
        headers = ResponseHeaders(200, [(b"x", b"1")])
        copied = headers.copy()
        copied.status = 404
        copied.remove(b"x")
        self.assertEqual((headers.status, headers.get(b"x")), (200, b"1"))


class WithRoomTests(SynchronousTestCase):
    """
    L{withRoom} changes nothing that can be seen.
    """

    def test_same(self) -> None:
        """
        Equal, in the same order, independent, and so are its copies, whatever is added to them.
        """
        for size in range(40):
            fields = {b"n%d" % number: b"v%d" % number for number in range(size)}
            roomy = withRoom(fields)
            grown = roomy.copy()
            for number in range(size, 3 * size + 3):
                grown[b"n%d" % number] = b"more"
            self.assertEqual(list(roomy.items()), list(fields.items()))
            self.assertEqual(list(grown)[:size], list(fields))
            self.assertEqual(len(grown), 3 * size + 3)
            roomy[b"n0"] = b"other"
            self.assertNotEqual(fields.get(b"n0"), b"other")
