"""
What C{twistd} and C{trial --reactor} find of this program.

Names only: C{twistd} imports this file whenever its plugin cache is stale, long before a reactor is chosen.
"""

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker

meshproxyService = ServiceMaker(
    "meshproxy",
    "meshproxy.tap",
    "A service mesh: a proxy with Envoy's configuration, and its control plane.",
    "meshproxy",
)

meshproxyReactor = Reactor(
    "meshproxy",
    "meshproxy.net.reactor",
    "The epoll reactor without a log context around each event.",
)
