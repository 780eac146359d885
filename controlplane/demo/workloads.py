# -*- test-case-name: tests.controlplane.demo.test_workloads -*-
"""
Who is in the mesh of the demo, and where: each workload has an address for itself, two for its sidecar.
"""

from __future__ import annotations

from importlib import resources
from string import Template

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IAgent

from meshproxy.controlplane.demo.productpage import ProductPage
from meshproxy.controlplane.demo.services import Details, Ratings, Reviews
from meshproxy.controlplane.demo.web import App, Caller

__all__ = ["GATEWAY_ACCOUNT", "OWN_PORT", "PORT", "WORKLOADS", "Workload", "bookinfo", "makeApp"]

#: The service account of the gateway.
GATEWAY_ACCOUNT = "bookinfo-gateway"

#: The port of all services, as in Istio's bookinfo.
PORT = 9080

#: At which a workload listens itself, for its sidecar.
OWN_PORT = 19080


@frozen
class Workload:
    """
    One workload.

    @ivar number: The last number of its addresses.
    """

    app: str
    version: str
    number: int

    @property
    def name(self) -> str:
        """
        Its name, C{reviews-v1}.
        """
        return f"{self.app}-{self.version}"

    @property
    def account(self) -> str:
        """
        Its service account, by which it is known to others; as in Istio's bookinfo, the versions of a service share it.
        """
        return f"bookinfo-{self.app}"

    def inbound(self, network: str) -> str:
        """
        Where its sidecar listens for it, at L{PORT}: its address in the mesh. It listens itself there too, at
        L{OWN_PORT}.

        @param network: The first two numbers of all addresses, C{127.0}.
        """
        return f"{network}.1.{self.number}"

    def outbound(self, network: str) -> str:
        """
        Where its sidecar listens for what it calls.
        """
        return f"{network}.2.{self.number}"


WORKLOADS = (
    Workload("productpage", "v1", 1),
    Workload("details", "v1", 2),
    Workload("reviews", "v1", 3),
    Workload("reviews", "v2", 4),
    Workload("reviews", "v3", 5),
    Workload("ratings", "v1", 6),
)


def makeApp(workload: Workload, agent: IAgent, reactor: IReactorTime, network: str, patience: float = 1.0) -> App:
    """
    The program of a workload.

    @param agent: How it calls others.
    @param patience: How many times as long as in Istio's bookinfo it waits for them.
    """
    caller = Caller(agent, reactor, f"{workload.outbound(network)}:{PORT}", patience)
    if workload.app == "productpage":
        return App(workload.name, ProductPage(caller, f"details:{PORT}", f"reviews:{PORT}").answer)
    if workload.app == "details":
        return App(workload.name, Details().answer)
    if workload.app == "reviews":
        return App(workload.name, Reviews(workload.version, caller, f"ratings:{PORT}").answer)
    return App(workload.name, Ratings().answer)


def bookinfo(network: str, port: int) -> str:
    """
    The resources of the mesh, as text.

    @param port: Where the gateway listens.
    """
    text = (resources.files("meshproxy.controlplane.demo") / "resources" / "bookinfo.yaml").read_text("utf-8")
    return Template(text).substitute(network=network, port=port)
