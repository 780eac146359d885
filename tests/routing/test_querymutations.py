"""
L{meshproxy.routing.querymutations}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.config import Section, sectionFromYAML
from meshproxy.headers import RequestHeaders
from meshproxy.routing.querymutations import compileQueryMutations

MUTATION = "envoy.config.core.v3.KeyValueMutation"


def mutated(path: bytes, *texts: str, header: bytes = b"") -> bytes:
    """
    A path after some mutations.
    """
    sections: list[Section] = [sectionFromYAML(MUTATION, text) for text in texts]
    mutate = compileQueryMutations(sections)
    assert mutate is not None
    for section in sections:
        section.report.raiseIfAny()
    headers = RequestHeaders(b"GET", path, b"h", [(b"x-v", header)] if header else [])
    info = StreamInfo()
    info.requestHeaders = headers
    mutate(headers, info)
    return headers.path


def append(key: str, value: str, action: str = "APPEND_IF_EXISTS_OR_ADD") -> str:
    """
    A mutation that appends.
    """
    return f"append: {{record: {{key: {key}, value: '{value}'}}, action: {action}}}"


class QueryMutationTests(SynchronousTestCase):
    """
    What becomes of a query.
    """

    def test_actions(self) -> None:
        """
        Each action on a parameter that is there twice, and on one that is not there.
        """
        for action, there, absent in (
            ("APPEND_IF_EXISTS_OR_ADD", b"/p?a=1&a=2&a=n", b"/p?a=n"),
            ("ADD_IF_ABSENT", b"/p?a=1&a=2", b"/p?a=n"),
            ("OVERWRITE_IF_EXISTS_OR_ADD", b"/p?a=n", b"/p?a=n"),
            ("OVERWRITE_IF_EXISTS", b"/p?a=n", b"/p"),
        ):
            self.assertEqual(mutated(b"/p?a=1&a=2", append("a", "n", action)), there, action)
            self.assertEqual(mutated(b"/p", append("a", "n", action)), absent, action)

    def test_remove(self) -> None:
        """
        Every value goes, and with the last parameter the question mark.
        """
        self.assertEqual(mutated(b"/p?a=1&b=2&a", "remove: a"), b"/p?b=2")
        self.assertEqual(mutated(b"/p?a=1", "remove: a"), b"/p")

    def test_inOrder(self) -> None:
        """
        Each mutation sees what the one before it did; within one entry, removal comes first.
        """
        self.assertEqual(
            mutated(b"/?a=1", append("b", "2"), "remove: b", append("b", "3", "ADD_IF_ABSENT")), b"/?a=1&b=3"
        )
        self.assertEqual(mutated(b"/?a=1", "remove: a\n" + append("a", "2")), b"/?a=2")

    def test_sorted(self) -> None:
        """
        As in Envoy the parameters come out by name, with an equals sign each, and without a fragment.
        """
        self.assertEqual(
            mutated(b"/p?zz=1&k&q=0&k2=&=5#f", append("q", "1")),
            b"/p?=5&k=&k2=&q=0&q=1&zz=1",
        )

    def test_encodingStays(self) -> None:
        """
        What was encoded stays so: nothing decodes into another parameter, a space or a line.
        """
        self.assertEqual(mutated(b"/p?b=%0d%0a%26x&a=%20+", append("c", "1")), b"/p?a=%20+&b=%0d%0a%26x&c=1")

    def test_valueIsEncoded(self) -> None:
        """
        A header's value adds no parameter, fragment or space, whatever is in it.
        """
        self.assertEqual(
            mutated(b"/p", append("q", "%REQ(x-v)%"), header=b"a&b=c #\xff%41"),
            b"/p?q=a%26b=c%20%23%FF%41",
        )

    def test_missingValue(self) -> None:
        """
        An operator without a value is empty.
        """
        self.assertEqual(mutated(b"/p", append("q", "a%REQ(x-v)%")), b"/p?q=a")

    def test_nothing(self) -> None:
        """
        No mutations, no function.
        """
        self.assertIsNone(compileQueryMutations([]))

    def test_refused(self) -> None:
        """
        An entry must do something.
        """
        section = Section.of(MUTATION, {})
        compileQueryMutations([section])
        self.assertEqual([error.why for error in section.report.errors], ["one of append and remove is needed"])
