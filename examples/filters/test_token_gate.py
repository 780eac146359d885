"""
The authorization service is a backend of the harness, and time is virtual.
"""

from token_gate import TokenGate
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.testing import Answer, FilterHarness


class TokenGateTests(SynchronousTestCase):
    """
    L{TokenGate} lets pass whom the service knows.
    """

    def setUp(self):
        self.harness = FilterHarness(TokenGate, config={"cluster": "auth"}, clusters=["auth"])
        self.auth = self.harness.backends["auth"]

    def test_passes(self):
        """
        A known token passes; the upstream is told whose it is.
        """
        self.auth.answer(Answer(200, headers={"x-user": "ada"}))
        result = self.harness.request("GET", "/", headers={"authorization": "Bearer t"})
        self.assertEqual(result.status, 200)
        self.assertEqual(result.upstreamRequest.header("x-user"), "ada")
        self.assertEqual((self.auth.last.path, self.auth.last.header("authorization")), (b"/check", "Bearer t"))

    def test_denied(self):
        """
        An unknown one does not reach the upstream.
        """
        self.auth.answer(Answer(401))
        result = self.harness.request("GET", "/")
        self.assertEqual((result.status, result.upstreamRequest), (403, None))
        self.assertEqual(result.log["details"], "token_gate_denied")

    def test_waits(self):
        """
        The request waits for the answer, and no longer than the time-out.
        """
        self.auth.answer(Answer(200, delay=0.5))
        self.assertEqual(self.harness.request().log["duration"], 500)
        self.auth.answer(Answer.hang())
        result = self.harness.request()
        self.assertEqual((result.status, result.log["duration"]), (503, 1000))

    def test_unreachable(self):
        """
        Without the service nobody passes.
        """
        self.auth.stop()
        self.assertEqual(self.harness.request().status, 503)

    def test_clientLeaves(self):
        """
        A client that leaves ends the question as well.
        """
        self.auth.answer(Answer.hang())
        client = self.harness.client()
        client.send("GET", "/")
        self.harness.advance(0.25)
        client.abort()
        self.harness.advance(0)
        self.assertTrue(self.auth.connections[0].closed)
