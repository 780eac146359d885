"""
Tests for L{meshproxy.admin.explain.scopes}.
"""

from __future__ import annotations

from meshproxy.admin.explain.answer import explain
from meshproxy.admin.explain.place import Answer
from meshproxy.admin.explain.question import askedIn
from meshproxy.admin.explain.text import readable
from meshproxy.dryrun import explainRequest
from meshproxy.server import ProxyOptions
from tests.xds.support import XDSTestCase, answering, scope, scopedListener


class ScopeTests(XDSTestCase):
    """
    L{meshproxy.admin.explain.scopes.chooseScope}.
    """

    def setUp(self) -> None:
        super().setUp()
        inPlace = scope("b", "y", routeConfiguration=answering("own", "own"))
        scopes = [scope("a", "x", "r"), inPlace, scope("c", "z", "s", onDemand=True)]
        self.source.set(listeners=[scopedListener()], scopes=scopes, routes=[answering("r", "R")])

    def ask(self, *headers: str) -> Answer:
        """
        Ask for a request to the listener.
        """
        server = self.proxy.server
        listeners = list(server.listeners.byName.values())
        question = askedIn("http://192.0.2.1:80/", fields=headers)
        return explain(question, listeners, server.clusters.byName, server.context.runtime)

    def test_chosen(self) -> None:
        """
        The scope is told with its key, and the others with theirs; only its own virtual hosts are told of.
        """
        self.start()
        answer = self.ask("x-scope: x")
        self.assertEqual(answer["scope"], {"name": "a", "key": ["x"], "at": "scopes[a]"})
        self.assertEqual([(each["name"], each["key"]) for each in answer["other_scopes"]], [("b", ["y"]), ("c", ["z"])])
        self.assertEqual(
            (answer["virtual_host"]["at"], answer["other_virtual_hosts"]), ("routes[r].virtual_hosts[0]", [])
        )
        self.assertEqual(answer["outcome"].partition(",")[0], "200")
        text = readable(answer)
        self.assertIn("scope a (scopes[a]): key x\n  not b (scopes[b]): key y\n", text)

    def test_none(self) -> None:
        """
        Why there is no scope, or why it has no routes.
        """
        self.start()
        why = "404 from the router (route_not_found): "
        for headers, told in (
            ((), "it is in no scope: x-scope has no such part ("),
            (("x-scope: q",), "it is in no scope: none has the key q"),
            (("x-scope: z",), "the routes 's' of its scope are asked for on demand, and have not come"),
        ):
            answer = self.ask(*headers)
            self.assertEqual(answer["outcome"][: len(why + told)], why + told)
            self.assertNotIn("virtual_host", answer)

    def test_notCome(self) -> None:
        """
        What has not come is told.
        """
        options = ProxyOptions(configText=self.bootstrap(listeners=[scopedListener()]))
        question = askedIn("http://192.0.2.1:80/", fields=["x-scope: x"])
        answer = explainRequest(options, self.reactor, self.network, question)
        self.assertIn("the scopes come by SRDS, and have not come", answer["outcome"])
        self.start()
        self.reactor.advance(15)
        self.change(listeners=[scopedListener()], scopes=[scope("a", "x", "other")])
        self.reactor.advance(15)
        self.assertIn(
            "the routes 'other' of its scope come by RDS, and have not come", self.ask("x-scope: x")["outcome"]
        )
