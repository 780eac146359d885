"""
L{meshproxy.filters.network.set_filter_state}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.filters.network.support import TCP, BytesBackend, FilterProxy, accessLog, refusals


def _value(key: str, text: str, **fields: Any) -> dict[str, Any]:
    return {"object_key": key, "format_string": {"text_format_source": {"inline_string": text}}, **fields}


def _shared(*values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "set_filter_state", {"on_new_connection": list(values)}


class SetFilterStateTests(SynchronousTestCase):
    """
    What is shared, and who heeds it.
    """

    def test_cluster(self) -> None:
        """
        The filter state names the cluster; a later value may hold an earlier one.
        """
        proxy = FilterProxy(
            _shared(
                _value("half", "oth", factory_key="envoy.string"),
                _value("envoy.tcp_proxy.cluster", "%FILTER_STATE(half:PLAIN)%er"),
            ),
            ("tcp_proxy", TCP),
        )
        other = BytesBackend(proxy.proxy, 9001)
        proxy.talk(b"hello")
        self.assertEqual((other.received, proxy.backend.received), ([b"hello"], []))

    def test_empty(self) -> None:
        """
        An empty text is shared, unless it is to be left out; then what was there stays.
        """
        values = [
            _value("kept", "a", factory_key="envoy.string"),
            _value("kept", "", factory_key="envoy.string", skip_if_empty=True),
            _value("lost", "a", factory_key="envoy.string"),
            _value("lost", "", factory_key="envoy.string"),
        ]
        for value in (values[1], values[3]):
            value["format_string"] = {
                "text_format_source": {"inline_string": "%DYNAMIC_METADATA(none:x)%"},
                "omit_empty_values": True,
            }
        log = accessLog("%FILTER_STATE(kept:PLAIN)%|%FILTER_STATE(lost:PLAIN)%\n")
        proxy = FilterProxy(_shared(*values), ("tcp_proxy", {**TCP, "access_log": log}))
        proxy.talk(b"hello").abort()
        self.assertEqual(proxy.log[-1].strip(), "a|")

    def test_nothing(self) -> None:
        """
        Without values nothing stands between the connection and the next filter.
        """
        proxy = FilterProxy(_shared(), ("tcp_proxy", TCP))
        proxy.talk(b"hello")
        self.assertEqual(proxy.backend.received, [b"hello"])

    def test_refused(self) -> None:
        """
        What nobody can make, and what is not implemented, is told with its place.
        """
        for fields, place, why in (
            ({"object_key": "envoy.tcp_proxy.clutser"}, "object_key", "did you mean"),
            ({"object_key": "x", "factory_key": "envoy.network.ip"}, "factory_key", "no object is made by"),
            ({"object_key": "x", "factory_key": "envoy.string", "read_only": True}, "read_only", "only false"),
            (
                {"object_key": "x", "factory_key": "envoy.string", "shared_with_upstream": "ONCE"},
                "shared_with_upstream",
                "NONE",
            ),
        ):
            format_ = {"format_string": {"text_format_source": {"inline_string": "x"}}}
            told = refusals(("set_filter_state", {"on_new_connection": [{**format_, **fields}]}), ("tcp_proxy", TCP))
            self.assertIn(f"on_new_connection[0].{place}", told)
            self.assertIn(why, told)
