"""
Nothing here opens a socket or waits: a whole proxy runs in memory around the filter.
"""

from greeter import Greeter
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import ConfigErrors
from meshproxy.testing import FilterHarness


class GreeterTests(SynchronousTestCase):
    """
    L{Greeter} says what it is told.
    """

    def test_default(self):
        """
        Without a configuration it says hello.
        """
        result = FilterHarness(Greeter).request("GET", "/")
        self.assertEqual((result.status, result.header("x-greeting")), (200, "hello"))

    def test_configured(self):
        """
        It says what its configuration says, and what the route says rather.
        """
        harness = FilterHarness(Greeter, config={"greeting": "hi"})
        self.assertEqual(harness.request().header("x-greeting"), "hi")
        harness = FilterHarness(Greeter, config={"greeting": "hi"}, routeConfig={"greeting": "welcome"})
        self.assertEqual(harness.request().header("x-greeting"), "welcome")

    def test_refused(self):
        """
        A configuration with a fault is refused, with the place and the probable meaning.
        """
        error = self.assertRaises(ConfigErrors, FilterHarness, Greeter, config={"greating": "hi"})
        self.assertIn("greeting", str(error))
