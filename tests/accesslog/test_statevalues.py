"""
Tests for L{meshproxy.accesslog.statevalues}.
"""

from __future__ import annotations

from typing import ClassVar

from meshproxy.accesslog.commands import FormatError
from meshproxy.accesslog.streaminfo import ConnectionInfo, StreamInfo
from meshproxy.accesslog.values import jsonText, plainText
from meshproxy.net.proxyheader import ProxyProtocolData
from tests.accesslog.test_operators import OperatorCase, value


class MetadataTests(OperatorCase):
    """
    Metadata of the stream and of what it passed.
    """

    def setUp(self) -> None:
        self.info = StreamInfo()
        self.info.dynamicMetadata = {"ns": {"k": "v\n", "o": {"a": 1, "b": [1, 2.5, True, None]}}}
        self.info.routeMetadata = {"ns": {"k": "route"}}
        self.info.clusterMetadata = {"cm": {"q": "cq"}}

    def test_paths(self) -> None:
        """
        Down to a key, a structure, or nothing; values keep their types.
        """
        self.check(
            {
                "DYNAMIC_METADATA(ns:k)": "v\\x0a",
                "DYNAMIC_METADATA(ns:o:a)": 1,
                "DYNAMIC_METADATA(ns:o)": {"a": 1, "b": [1, 2.5, True, None]},
                "DYNAMIC_METADATA(ns:k:deeper)": None,
                "DYNAMIC_METADATA(other)": None,
                "METADATA(ROUTE:ns:k)": "route",
                "METADATA(DYNAMIC:ns:o:a)": 1,
                "METADATA(CLUSTER:cm:q)": "cq",
                "CLUSTER_METADATA(cm:q)": "cq",
                "UPSTREAM_METADATA(um:q)": None,
            },
            self.info,
        )

    def test_length(self) -> None:
        """
        Cut after so many characters of its text.
        """
        self.check({"DYNAMIC_METADATA(ns:o):6": '{"a":1', "METADATA(ROUTE:ns:k):2": "ro"}, self.info)

    def test_faults(self) -> None:
        """
        Unknown kinds, and no namespace.
        """
        for text in ("METADATA(X:a)", "METADATA(ROUTE)", "METADATA", "DYNAMIC_METADATA()"):
            self.assertRaises(FormatError, value, text)


class FilterStateTests(OperatorCase):
    """
    Filter state.
    """

    def test_forms(self) -> None:
        """
        As it is, as text, or one field of it.
        """

        class Session:
            user = "ann"

            def __str__(self) -> str:
                return "session\n"

        info = StreamInfo()
        info.filterState = {"s": Session(), "m": {"a": [1]}, "b": b"raw", "t": "text"}
        self.check(
            {
                "FILTER_STATE(s)": "session\\x0a",
                "FILTER_STATE(s:PLAIN)": "session\\x0a",
                "FILTER_STATE(s:FIELD:user)": "ann",
                "FILTER_STATE(m:FIELD:a)": [1],
                "FILTER_STATE(m)": {"a": [1]},
                "FILTER_STATE(b)": "raw",
                "FILTER_STATE(t):3": '"te',
                "FILTER_STATE(t:PLAIN):2": "te",
                "FILTER_STATE(none)": None,
                "FILTER_STATE(s:FIELD:none)": None,
            },
            info,
        )

    def test_ofConnection(self) -> None:
        """
        What listener and network filters share is seen by each stream of the connection, under its own; what is not
        to be shown is not.
        """
        info = StreamInfo()
        info.connection = ConnectionInfo()
        info.connection.setState("a", "connection")
        info.connection.setState("b", "connection")
        info.connection.setState("hidden", ProxyProtocolData(None, None))
        info.filterState = {"a": "stream"}
        self.check({"FILTER_STATE(a)": "stream", "FILTER_STATE(b)": "connection", "FILTER_STATE(hidden)": None}, info)

    def test_typed(self) -> None:
        """
        What has a form of its own is shown in that, where it is asked for as a whole; and nothing else of it.
        """

        class Held:
            isShown = False
            typed: ClassVar[dict[str, object]] = {"headers": [{"key": "a", "value": "b"}]}

        info = StreamInfo()
        info.filterState = {"h": Held()}
        self.check({"FILTER_STATE(h)": Held.typed, "FILTER_STATE(h:TYPED)": Held.typed}, info)
        info.filterState["t"] = 'a "text"'
        self.assertEqual(plainText(value("FILTER_STATE(t)", info)), '"a \\"text\\""')
        self.assertEqual(jsonText(value("FILTER_STATE(t)", info)), '"a \\"text\\""')
        self.assertEqual(plainText(value("FILTER_STATE(t:PLAIN)", info)), 'a "text"')
        self.check({"FILTER_STATE(h:PLAIN)": None, "FILTER_STATE(h:FIELD:typed)": None}, info)
        for words in ("h:TYPED:1", "h:PLAIN:x", "h:FIELD:a:b"):
            self.assertRaises(FormatError, self.check, {f"FILTER_STATE({words})": None}, info)

    def test_faults(self) -> None:
        """
        Unknown forms, and no field.
        """
        for text in ("FILTER_STATE", "FILTER_STATE(a:X)", "FILTER_STATE(a:FIELD)"):
            self.assertRaises(FormatError, value, text)
