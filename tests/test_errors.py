"""
Tests for L{meshproxy.errors}.
"""

from __future__ import annotations

import pickle

from twisted.trial.unittest import SynchronousTestCase

from meshproxy import errors
from meshproxy.errors import ConfigError, ConfigErrors, LimitExceeded, MeshProxyError, RemoteProtocolError


class ConfigErrorTests(SynchronousTestCase):
    """
    L{ConfigError} says where the fault is.
    """

    def test_whole(self) -> None:
        """
        File, line and column, then the path and the reason.
        """
        error = ConfigError("clusters[2].lb_policy", "'X' is no policy", "envoy.yaml", 12, 5)
        self.assertEqual(str(error), "envoy.yaml:12:5  clusters[2].lb_policy: 'X' is no policy")

    def test_unknownPlaces(self) -> None:
        """
        What is unknown is left out.
        """
        self.assertEqual(str(ConfigError("a.b", "why", "f.yaml")), "f.yaml  a.b: why")
        self.assertEqual(str(ConfigError("a.b", "why")), "a.b: why")
        self.assertEqual(str(ConfigError("", "why")), "why")
        self.assertEqual(str(ConfigError("", "why", "f.yaml", 3, 1)), "f.yaml:3:1  why")

    def test_several(self) -> None:
        """
        All faults, one a line.
        """
        several = ConfigErrors([ConfigError("a", "x"), ConfigError("b", "y")])
        self.assertEqual(str(several), "a: x\nb: y")
        self.assertEqual([error.path for error in several.errors], ["a", "b"])

    def test_pickled(self) -> None:
        """
        A worker process can send one to its supervisor.
        """
        error = pickle.loads(pickle.dumps(ConfigError("a", "x", "f", 1, 2)))
        self.assertEqual(str(error), "f:1:2  a: x")


class TreeTests(SynchronousTestCase):
    """
    The tree of exceptions.
    """

    def test_root(self) -> None:
        """
        Everything that is raised on purpose has one root.
        """
        for name in errors.__all__:
            self.assertTrue(issubclass(getattr(errors, name), MeshProxyError), name)

    def test_remoteProtocolError(self) -> None:
        """
        By default a bad request; the reason is for the log.
        """
        error = RemoteProtocolError("two lengths")
        self.assertEqual((error.statusHint, error.details, error.h2Code), (400, "http1.codec_error", 1))
        self.assertEqual(str(error), "two lengths")
        error = RemoteProtocolError("too large", 431, "http1.headers_too_large", 11)
        self.assertEqual((error.statusHint, error.details, error.h2Code), (431, "http1.headers_too_large", 11))

    def test_limit(self) -> None:
        """
        A limit is named.
        """
        self.assertEqual(LimitExceeded("max_requests").limit, "max_requests")
