"""
L{meshproxy.upstream.grpcstats}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.stats.store import Store
from meshproxy.upstream.grpcstats import GRPCStats, serviceAndMethod


class ServiceAndMethodTests(SynchronousTestCase):
    """
    L{serviceAndMethod} reads paths.
    """

    def test_paths(self) -> None:
        """
        A path has two parts, whatever slashes and query there are besides.
        """
        for path, expected in (
            (b"/t.T/M", ("t.T", "M")),
            (b"//t.T//M/?a=/b", ("t.T", "M")),
            (b"/t.T", None),
            (b"/t.T/M/x", None),
            (b"", None),
            (b"/\xff/M", ("\ufffd", "M")),
        ):
            self.assertEqual(serviceAndMethod(path), expected, path)


class GRPCStatsTests(SynchronousTestCase):
    """
    L{GRPCStats} counts under Envoy's names.
    """

    def setUp(self) -> None:
        self.store = Store()
        self.stats = GRPCStats(self.store.scope("cluster.c."), "grpc")

    def counted(self) -> dict[str, int]:
        """
        All counters.
        """
        return {name.removeprefix("cluster.c.grpc."): metric.value for name, metric in self.store.counters.items()}

    def test_names(self) -> None:
        """
        There is nothing before something is counted; then there is what counted.
        """
        call = self.stats.method("t.T", "M")
        self.assertEqual(self.counted(), {})
        call.statusReceived(None)
        call.statusReceived(b"0")
        call.statusReceived(b"14")
        call.requestMessages(3)
        self.stats.method("t.T", "M").responseMessages(1)
        self.stats.unnamed.ended(True)
        self.assertEqual(
            self.counted(),
            {
                "t.T.M.0": 1,
                "t.T.M.14": 1,
                "t.T.M.success": 1,
                "t.T.M.failure": 1,
                "t.T.M.total": 2,
                "t.T.M.request_message_count": 3,
                "t.T.M.response_message_count": 1,
                "success": 1,
                "total": 1,
            },
        )
        call.recordTime(7)
        self.assertEqual(self.store.histograms["cluster.c.grpc.t.T.M.upstream_rq_time"].bins, {7: 1})

    def test_limits(self) -> None:
        """
        Who makes up methods or statuses does not fill the memory: what is beyond the limits is counted together.
        """
        for number in range(1500):
            self.stats.method("t.T", f"M{number}").requestMessages(1)
            self.stats.method("t.T", "M0").statusReceived(b"%d" % number)
        counted = self.counted()
        self.assertEqual(counted["request_message_count"], 500)
        self.assertEqual(counted["t.T.M0.total"], 1500)
        self.assertLess(len(counted), 1100)
        self.stats.method("t.T", "M0").statusReceived(b"3")
        self.assertEqual(self.counted()["t.T.M0.3"], 2)
