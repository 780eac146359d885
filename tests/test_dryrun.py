"""
L{meshproxy.dryrun}; what it explains is tested with the explanations (L{tests.admin.explain}).
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.dryrun import validate
from meshproxy.errors import ConfigErrors
from meshproxy.server import ProxyOptions
from meshproxy.testing import MemoryNetwork, VirtualReactor
from tests.integration.configs import bootstrap, cluster, direct, listener

PORT = 10000


class ValidateTests(SynchronousTestCase):
    """
    L{validate}.
    """

    def test_validate(self) -> None:
        """
        Validating raises what is wrong, returns what is warned of, and binds nothing.
        """
        network = MemoryNetwork(VirtualReactor())

        def check(text: str, allow: bool = False) -> list[str]:
            options = ProxyOptions(configText=text, allowUnknown=allow)
            return validate(options, network.reactor, network)

        self.assertEqual(check(bootstrap(listener("l", PORT, direct("x")))), [])
        text = bootstrap(cluster("c", 1, lrs_server={"self": {}}))
        self.assertRaises(ConfigErrors, check, text)
        [warning] = check(text, allow=True)
        self.assertIn("lrs_server", warning)
        self.assertEqual(network.addresses, [])
