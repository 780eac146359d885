"""
The benchmark of the control plane gives it what it takes.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bench.control import Client, Size, mesh, node, requests
from meshproxy.config.pool import messageClass
from meshproxy.controlplane.ca.identity import Identity
from meshproxy.controlplane.ca.requests import checkRequest
from meshproxy.controlplane.model.documents import parseObject
from meshproxy.controlplane.registry.registry import indexOf
from meshproxy.controlplane.translate.mesh import MeshConfig
from meshproxy.controlplane.translate.proxy import proxyOf
from meshproxy.controlplane.translate.resourceset import ResourceSet
from meshproxy.controlplane.translate.translation import translate
from meshproxy.xds.types import CLUSTER, ENDPOINTS, LISTENER

SIZE = Size(services=6, endpoints=2, proxies=3)


class MeshTests(SynchronousTestCase):
    """
    L{mesh} is a mesh.
    """

    def test_translated(self) -> None:
        """
        Each proxy calls all services by its configuration, of which nothing is wrong.
        """
        resources = []
        for document in mesh(SIZE):
            resource, problems = parseObject(document, "")
            assert resource is not None, problems
            self.assertEqual(problems, [])
            resources.append(resource)
        for number in range(SIZE.proxies):
            told = dict(node(SIZE, number))
            told["userAgentName"] = told.pop("user_agent_name")
            made = translate(proxyOf(told), MeshConfig(), ResourceSet(resources), indexOf(resources))
            self.assertEqual(made.problems, [])
            self.assertEqual(len(made.endpoints), 6 + 2 * 2)
            self.assertEqual(len(made.routes["9080"]["virtualHosts"]), 6 + 1)
            self.assertEqual(len(made.listeners), 2)


class SigningTests(SynchronousTestCase):
    """
    L{requests} is what the authority signs.
    """

    def test_requests(self) -> None:
        """
        Each is for another workload, with a key of its own.
        """
        told = [json.loads(body) for body in requests(3)]
        keys = [checkRequest(one["csr"].encode(), Identity("td", "ns-0", one["serviceAccount"])) for one in told]
        self.assertEqual(len({one["serviceAccount"] for one in told}), 3)
        self.assertFalse(any(one == other for number, one in enumerate(keys) for other in keys[:number]))


class _Call:
    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, message: bytes) -> None:
        request: Any = messageClass("envoy.service.discovery.v3.DeltaDiscoveryRequest")()
        request.ParseFromString(message)
        self.sent.append(request)


class ClientTests(SynchronousTestCase):
    """
    L{Client} asks for all that it is told of.
    """

    def test_asks(self) -> None:
        """
        Each response is taken; clusters lead to endpoints, listeners to routes, and only new names are asked for.
        """
        client = Client(node(SIZE, 0))
        call = _Call()
        client._call = call  # type: ignore[assignment]  # it only sends
        for typeURL, names in (
            (CLUSTER, ["outbound|80||a", "inbound|80||"]),
            (LISTENER, ["127.0.0.1_9080", "virtualInbound"]),
            (CLUSTER, ["outbound|80||b"]),
        ):
            response: Any = messageClass("envoy.service.discovery.v3.DeltaDiscoveryResponse")()
            response.type_url, response.nonce = typeURL, "n"
            for name in names:
                response.resources.add().name = name
            client.messageReceived(response.SerializeToString())
        asked = [(one.type_url, one.response_nonce, list(one.resource_names_subscribe)) for one in call.sent]
        self.assertEqual(asked[:2], [(CLUSTER, "n", []), (ENDPOINTS, "", ["outbound|80||a"])])
        self.assertEqual([one[2] for one in asked[2:]], [[], ["9080"], [], ["outbound|80||b"]])
        self.assertFalse(client.isComplete)
