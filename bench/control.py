"""
C{python -m bench.control}: the control plane with many services and many proxies. How long does a change take to each?

The control plane runs on one core, what plays the proxies on another one. The proxies speak delta xDS and take all they
are given; what they do with it is not part of the time. A time ends when the response has arrived, and begins before
the change is sent to the API.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from statistics import quantiles
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from zope.interface import implementer

from bench.process import Failed, Process, cores
from meshproxy.config.pool import messageClass
from meshproxy.grpc.client import ChannelOptions, GRPCChannel, IResponseReceiver
from meshproxy.grpc.status import GRPCError
from meshproxy.identity.credential import newKey, signingRequest
from meshproxy.xds.types import AGGREGATED_DELTA, CLUSTER, ENDPOINTS, LISTENER, ROUTES

__all__ = ["Client", "Size", "mesh", "node"]

_GOALS = {"route": 2.0, "endpoint": 0.5}
_MEMORY_GOAL = 800
_SIGNING_GOAL = 200
_PATIENCE = 120.0
_STOP = 15.0


@dataclass(frozen=True)
class Size:
    """
    @ivar services: How many services.
    @ivar endpoints: How many endpoints each has.
    @ivar proxies: How many proxies.
    """

    services: int
    endpoints: int
    proxies: int


def _host(number: int) -> str:
    return f"service-{number}.{_namespace(number)}.svc.cluster.local"


def _namespace(number: int) -> str:
    return f"team-{number % 10}"


def _address(service: int, endpoint: int) -> str:
    return f"10.{service // 250}.{service % 250}.{endpoint + 1}"


def _resource(kind: str, number: int, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": f"service-{number}", "namespace": _namespace(number)}
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


def service(size: Size, number: int, more: int = 0) -> dict[str, Any]:
    """
    A service with its endpoints.

    @param more: How many endpoints it has beyond the usual number.
    """
    endpoints = [
        {
            "address": _address(number, index),
            "labels": {"version": f"v{index % 2 + 1}"},
            "serviceAccount": f"service-{number}",
        }
        for index in range(size.endpoints + more)
    ]
    return _resource(
        "ServiceEntry",
        number,
        {
            "hosts": [_host(number)],
            "ports": [{"number": 9080, "name": "http", "protocol": "HTTP"}],
            "location": "MESH_INTERNAL",
            "resolution": "STATIC",
            "endpoints": endpoints,
        },
    )


def route(number: int, timeout: str) -> dict[str, Any]:
    """
    How a service is called.
    """
    destination = {"host": _host(number), "subset": "v1"}
    spec = {"hosts": [_host(number)], "http": [{"route": [{"destination": destination}], "timeout": timeout}]}
    return _resource("VirtualService", number, spec)


def mesh(size: Size) -> list[dict[str, Any]]:
    """
    Services, every third one with two subsets and a route.
    """
    found = [service(size, number) for number in range(size.services)]
    for number in range(0, size.services, 3):
        subsets = [{"name": name, "labels": {"version": name}} for name in ("v1", "v2")]
        found.append(_resource("DestinationRule", number, {"host": _host(number), "subsets": subsets}))
        found.append(route(number, "1s"))
    return found


def node(size: Size, number: int) -> dict[str, Any]:
    """
    The sidecar of an endpoint.
    """
    own = number % size.services
    address, namespace = _address(own, number // size.services), _namespace(own)
    return {
        "id": f"sidecar~{address}~service-{own}-{number}.{namespace}~{namespace}.svc.cluster.local",
        "cluster": f"service-{own}.{namespace}",
        "user_agent_name": "envoy",
        "metadata": {
            "NAMESPACE": namespace,
            "INSTANCE_IPS": address,
            "INTERCEPTION_MODE": "NONE",
            "LABELS": {"app": f"service-{own}"},
        },
    }


@implementer(IResponseReceiver)
class Client:
    """
    A proxy, as far as the control plane sees it.

    @ivar known: The names it was given, by type.
    @ivar arrived: When the last response of each type arrived.
    @ivar received: Bytes of responses.
    """

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.known: dict[str, set[str]] = {one: set() for one in (LISTENER, CLUSTER, ROUTES, ENDPOINTS)}
        self.arrived: dict[str, float] = {}
        self.received = 0
        self.error: GRPCError | None = None
        self._request = messageClass("envoy.service.discovery.v3.DeltaDiscoveryRequest")
        self._response = messageClass("envoy.service.discovery.v3.DeltaDiscoveryResponse")
        self._node = told
        self._asked: dict[str, set[str]] = {ROUTES: set(), ENDPOINTS: set()}

    def start(self, port: int) -> None:
        """
        Connect, and ask for all.
        """

        def connect(protocol: Any, failed: Callable[[Exception], object]) -> Any:
            attempt = connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), protocol)
            return attempt.addErrback(lambda failure: failed(failure.value))

        self.channel = GRPCChannel(connect, reactor, ChannelOptions(maxMessage=64 << 20))
        self._call = self.channel.open(AGGREGATED_DELTA, self)
        self._ask(CLUSTER, node=self._node)
        self._ask(LISTENER)

    def _ask(self, typeURL: str, **fields: Any) -> None:
        request: Any = self._request(type_url=typeURL, **{name: one for name, one in fields.items() if name != "node"})
        if "node" in fields:
            told = dict(fields["node"])
            request.node.metadata.update(told.pop("metadata"))
            for name, value in told.items():
                setattr(request.node, name, value)
        self._call.send(request.SerializeToString())

    def messageReceived(self, message: bytes) -> None:
        """
        See L{IResponseReceiver}.
        """
        now = time.monotonic()
        response: Any = self._response()
        response.ParseFromString(message)
        typeURL = response.type_url
        self.received += len(message)
        self.arrived[typeURL] = now
        self.known[typeURL].update(one.name for one in response.resources)
        self.known[typeURL].difference_update(response.removed_resources)
        self._ask(typeURL, response_nonce=response.nonce)
        if typeURL == CLUSTER:
            self._subscribe(ENDPOINTS, {name for name in self.known[CLUSTER] if name.startswith("outbound|")})
        elif typeURL == LISTENER:
            ports = {name.rpartition("_")[2] for name in self.known[LISTENER] if name.startswith("127.")}
            self._subscribe(ROUTES, ports)

    def _subscribe(self, typeURL: str, names: set[str]) -> None:
        new = names - self._asked[typeURL]
        if new:
            self._asked[typeURL] |= new
            self._ask(typeURL, resource_names_subscribe=sorted(new))

    @property
    def isComplete(self) -> bool:
        """
        Whether it has all that it asked for.
        """
        return bool(self.known[LISTENER]) and all(names <= self.known[one] for one, names in self._asked.items())

    def callEnded(self, error: GRPCError | None) -> None:
        """
        See L{IResponseReceiver}.
        """
        self.error = error


@dataclass
class _Times:
    """
    @ivar each: Seconds until a change was at a proxy, of all changes and proxies.
    @ivar sent: Bytes that a change cost for a proxy.
    @ivar cpu: Seconds of CPU that the changes cost the control plane.
    """

    each: list[float] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def told(self, goal: float) -> str:
        """
        In words.
        """
        cuts = quantiles(self.each, n=100)
        size = sum(self.sent) / len(self.sent)
        return (
            f"p50 {cuts[49] * 1000:,.0f} ms, p99 {cuts[98] * 1000:,.0f} ms (goal {goal * 1000:,.0f} ms), "
            f"worst {max(self.each) * 1000:,.0f} ms; {size:,.0f} bytes for each proxy, "
            f"{sum(self.cpu) / len(self.cpu) * 1000:,.0f} ms of CPU for each change"
        )


def _apply(port: int, documents: list[dict[str, Any]]) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    body = "\n---\n".join(json.dumps(one) for one in documents)
    connection.request("POST", "/v1/apply", body, {"host": "localhost", "content-type": "application/yaml"})
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    if response.status != 200:
        raise Failed(f"the API answered {response.status}: {answer[:500]!r}")


def requests(count: int) -> list[bytes]:
    """
    Bodies that ask for certificates, each for another workload.
    """
    told = [{"namespace": "ns-0", "serviceAccount": f"w{number}"} for number in range(count)]
    return [json.dumps({"csr": signingRequest(newKey()).decode(), **one}).encode() for one in told]


def _sign(port: int, bodies: list[bytes], control: Process) -> str:
    """
    Have certificates signed over the API, one after the other.

    @return: How many a second, in words.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"host": "localhost", "content-type": "application/json"}
    cpu, began = control.cpu(), time.monotonic()
    for body in bodies:
        connection.request("POST", "/v1/ca/certificates", body, headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status != 201:
            raise Failed(f"the API answered {response.status}: {answer[:500]!r}")
    taken, cpu = time.monotonic() - began, control.cpu() - cpu
    connection.close()
    return (
        f"{len(bodies) / taken:,.0f} certificates/s, and {len(bodies) / max(cpu, 0.01):,.0f} for each second of CPU "
        f"(goal {_SIGNING_GOAL})"
    )


def _until(clients: list[Client], condition: Callable[[Client], bool]) -> Generator[Deferred[Any], Any, None]:
    end = time.monotonic() + _PATIENCE
    while not all(condition(one) for one in clients):
        gone = next((one.error for one in clients if one.error is not None), None)
        if gone is not None or time.monotonic() > end:
            missing = sum(not condition(one) for one in clients)
            raise Failed(f"{missing} proxies did not get what they were to get: {gone or 'time is over'}")
        yield deferLater(reactor, 0.01, lambda: None)


def _arrivedAfter(typeURL: str, start: float, client: Client) -> bool:
    return client.arrived.get(typeURL, 0.0) > start


@inlineCallbacks
def _measure(size: Size, changes: int, rest: int, xds: int, control: Process) -> Generator[Deferred[Any], Any, None]:
    documents = mesh(size)
    began = time.monotonic()
    yield deferToThread(_apply, rest, documents)
    print(f"{len(documents)} resources applied in {time.monotonic() - began:.2f} s")
    clients = [Client(node(size, number)) for number in range(size.proxies)]
    began = time.monotonic()
    for client in clients:
        client.start(xds)
    yield from _until(clients, lambda one: one.isComplete)
    whole = sum(one.received for one in clients) / size.proxies
    print(f"{size.proxies} proxies have all of it after {time.monotonic() - began:.2f} s; {whole:,.0f} bytes for each")
    for kind, typeURL in (("route", ROUTES), ("endpoint", ENDPOINTS)):
        times = _Times()
        for turn in range(changes):
            number = turn * 3 % size.services
            change = route(number, f"{turn + 2}s") if kind == "route" else service(size, number, 1)
            before = [one.received for one in clients]
            start, cpu = time.monotonic(), control.cpu()
            yield deferToThread(_apply, rest, [change])
            yield from _until(clients, partial(_arrivedAfter, typeURL, start))
            yield deferLater(reactor, 0.3, lambda: None)  # what else comes of it
            times.each += [one.arrived[typeURL] - start for one in clients]
            times.cpu.append(control.cpu() - cpu)
            times.sent += [one.received - old for one, old in zip(clients, before, strict=True)]
        print(f"{kind:<9} {times.told(_GOALS[kind])}")
    for client in clients:
        client.channel.close()
    told = yield deferToThread(_sign, rest, requests(600), control)
    print(f"signing   {told}")
    print(f"memory    {control.memory() / 1e6:,.0f} MB (goal {_MEMORY_GOAL} MB)")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.control", description="the control plane with many proxies")
    add = parser.add_argument
    add("--services", type=int, default=300, help="how many services (300)")
    add("--endpoints", type=int, default=10, help="how many endpoints each has (10)")
    add("--proxies", type=int, default=200, help="how many proxies (200)")
    add("--changes", type=int, default=20, help="changes of each kind (20)")
    add("--timeout", type=float, default=900.0, help="seconds after which the run is given up (900)")
    add("--base-port", type=int, default=9440, help="the first of three ports that are used (9440)")
    return parser.parse_args()


def main(reactor: Any) -> Deferred[None]:
    """
    Measure and print.
    """
    options = _options()
    size = Size(options.services, options.endpoints, options.proxies)
    rest, xds, secure = range(options.base_port, options.base_port + 3)
    core, other = cores()
    temporary = tempfile.TemporaryDirectory()
    folder = Path(temporary.name)
    listens = {"rest": {"listen": {"port": rest}}, "xds": {"plain": {"port": xds}, "secure": {"port": secure}}}
    (folder / "control.yaml").write_text(json.dumps(listens))
    command = [str(Path(sys.executable).with_name("twistd")), "-n", "meshproxy", "control"]
    arguments = ["--config", str(folder / "control.yaml"), "--data", str(folder / "data")]
    control = Process("control", [*command, *arguments], core, folder)

    def over(result: Any) -> Any:
        ended = control.stop(_STOP)
        temporary.cleanup()
        if not ended and not isinstance(result, Failure):
            raise Failed(f"the control plane did not stop within {_STOP:.0f} s, and was killed")
        return result

    def run() -> Deferred[Any]:
        control.ready(rest)
        return _measure(size, options.changes, rest, xds, control)

    os.sched_setaffinity(0, {other})
    done: Deferred[Any] = deferLater(reactor, 0, run)
    done.addTimeout(options.timeout, reactor, _late)
    return done.addBoth(over)


def _late(result: Any, timeout: float) -> Any:
    raise Failed(f"it took longer than {timeout:.0f} s")


if __name__ == "__main__":
    react(main)
