"""
L{meshproxy.http.dropping}: requests that their cluster drops.
"""

from __future__ import annotations

from typing import Any

from meshproxy.testing.bootstraps import BACKEND
from tests.http.support import ProxyCase

_HOST, _, _PORT = BACKEND.partition(":")
_ENDPOINT = {"endpoint": {"address": {"socket_address": {"address": _HOST, "port_value": int(_PORT)}}}}


def dropping(numerator: int) -> dict[str, Any]:
    """
    A cluster that drops so many percent of its requests.
    """
    overload = {"category": "load", "drop_percentage": {"numerator": numerator}}
    return {
        "load_assignment": {
            "cluster_name": "backend",
            "endpoints": [{"lb_endpoints": [_ENDPOINT]}],
            "policy": {"drop_overloads": [overload]},
        }
    }


class DroppingTests(ProxyCase):
    """
    C{drop_overloads}.
    """

    def test_share(self) -> None:
        """
        A share of the requests is answered here; those are counted as the cluster's, and tried nowhere.
        """
        chance = 0.5
        self.start(
            cluster=dropping(30),
            chance=lambda: chance,
            accessLog="%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_HOST% %UPSTREAM_CLUSTER%",
        )
        client = self.proxy.client()
        answers = []
        for chance in (0.29, 0.31, 0.1):  # noqa: B007
            answers.append(client.request())
        self.assertEqual([answer.status for answer in answers], [503, 200, 503])
        self.assertEqual((answers[0].body, answers[0].header("x-envoy-drop-overload")), (b"drop overload", "true"))
        self.assertEqual(len(self.backend.requests), 1)
        self.assertEqual(self.proxy.accessLog[0], "DO drop_overload - backend")
        counted = [self.clusterStat(name) for name in ("upstream_rq_503", "upstream_rq_200", "upstream_rq_total")]
        self.assertEqual(counted, [2, 1, 1])
        self.assertEqual(self.stat("rq_total"), 3)
        self.assertQuiet()

    def test_all(self) -> None:
        """
        Where all are dropped it is said so; with a body to come, and whatever the retry policy.
        """
        self.start(cluster=dropping(100), route={"retry_policy": {"retry_on": "5xx", "num_retries": 3}})
        answer = self.proxy.client().request("POST", "/", body=b"abc")
        self.assertEqual((answer.status, answer.body), (503, b"unconditional drop overload"))
        self.assertEqual(answer.header("x-envoy-unconditional-drop-overload"), "true")
        self.assertEqual(self.clusterStat("upstream_rq_retry"), 0)
        self.assertQuiet()

    def test_quiet(self) -> None:
        """
        A router that is to add no fields of Envoy's adds none here; no tries are told, for there were none.
        """
        self.start(
            cluster=dropping(100),
            router={"suppress_envoy_headers": True},
            virtualHost={"include_attempt_count_in_response": True},
        )
        answer = self.proxy.client().request()
        told = [answer.header(f"x-envoy-{name}") for name in ("unconditional-drop-overload", "attempt-count")]
        self.assertEqual((answer.status, told), (503, [None, None]))

    def test_none(self) -> None:
        """
        A share of 0 drops nothing.
        """
        self.start(cluster=dropping(0), chance=lambda: 0.0)
        self.assertEqual(self.proxy.client().request().status, 200)
