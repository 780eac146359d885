# -*- test-case-name: tests.config.test_near -*-
"""
Tests for L{meshproxy.config.near}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.near import didYouMean, near, nearTypes


class NearTests(SynchronousTestCase):
    """
    L{near} finds what a mistyped name meant.
    """

    def test_typing(self) -> None:
        """
        Slips of the finger, case and joining do not hide a name.
        """
        names = ["connect_timeout", "lb_policy", "ROUND_ROBIN"]
        self.assertEqual(near("conect_timeout", names), ["connect_timeout"])
        self.assertEqual(near("connectTimeout", names), ["connect_timeout"])
        self.assertEqual(near("round-robin", names), ["ROUND_ROBIN"])

    def test_nothing(self) -> None:
        """
        A name that resembles none has no near one.
        """
        self.assertEqual(near("zebra", ["connect_timeout", "name"]), [])

    def test_types(self) -> None:
        """
        Of the types with the same last name, the one whose package resembles most is meant; an old version finds the
        new.
        """
        names = [
            "envoy.extensions.filters.http.router.v3.Router",
            "envoy.extensions.filters.network.dubbo_proxy.router.v3.Router",
            "envoy.config.route.v3.Route",
        ]
        url = "type.googleapis.com/envoy.config.filter.http.router.v2.Router"
        self.assertEqual(nearTypes(url, names)[0], names[0])
        self.assertEqual(nearTypes("x/envoy.extensions.filters.http.router.v3.Ruoter", names)[0], names[0])
        self.assertEqual(nearTypes("x/zebra.Zoo", names), [])

    def test_didYouMean(self) -> None:
        """
        The sentence ends as people would end it.
        """
        self.assertEqual(didYouMean([]), "")
        self.assertEqual(didYouMean(["a"]), "; did you mean a?")
        self.assertEqual(didYouMean(["a", "b", "c"]), "; did you mean a, b or c?")
