# -*- test-case-name: tests.controlplane.test_metrics -*-
"""
What the control plane counts of itself, for Prometheus: in the names of Istio's C{istiod} where it has them, so that
its dashboards and alerts work. All of it is looked up when somebody asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from meshproxy import __version__
from meshproxy.controlplane.ca.authority import Authority
from meshproxy.controlplane.model.kinds import KINDS
from meshproxy.controlplane.snapshot.snapshots import Snapshots
from meshproxy.controlplane.store.interfaces import IStore
from meshproxy.controlplane.xds.server import XDSServer
from meshproxy.xds.types import ORDER, shortName

__all__ = ["ControlMetrics"]

_TYPES = tuple(shortName(typeURL) for typeURL in ORDER)

_Sample = tuple[Mapping[str, str], float]


def _family(name: str, kind: str, about: str, *samples: _Sample) -> Metric:
    metric = Metric(name, about, kind)
    for labels, value in samples:
        metric.add_sample(name, dict(labels), value)
    return metric


def _byType(counts: Mapping[str, int]) -> list[_Sample]:
    # From the first look on, so that an increase from 0 to 1 is seen.
    names = sorted({*_TYPES, *counts})
    return [({"type": name.lower()}, counts.get(name, 0)) for name in names]


class ControlMetrics(Collector):
    """
    See the module.
    """

    def __init__(
        self,
        store: IStore,
        authority: Authority,
        snapshots: Snapshots,
        xds: XDSServer,
        answers: Callable[[], Mapping[tuple[str, int], int]],
        seconds: Callable[[], float],
    ) -> None:
        """
        @param answers: How often the API answered, by method and status.
        @param seconds: The time, since 1970.
        """
        self._store = store
        self._authority = authority
        self._snapshots = snapshots
        self._xds = xds
        self._answers = answers
        self._seconds = seconds
        self._registry = CollectorRegistry()
        self._registry.register(self)
        for standard in (ProcessCollector, PlatformCollector, GCCollector):
            standard(registry=self._registry)

    def text(self) -> bytes:
        """
        All of it, in Prometheus' text format.
        """
        # Not prometheus_client's own writer: that appends _total to counters, which Istio's names do not have.
        lines: list[str] = []
        for metric in self._registry.collect():
            isTotal = any(sample.name == f"{metric.name}_total" for sample in metric.samples)
            name = f"{metric.name}_total" if isTotal else metric.name
            about = metric.documentation.replace("\\", r"\\").replace("\n", r"\n")
            lines += [f"# HELP {name} {about}", f"# TYPE {name} {metric.type}"]
            for sample in metric.samples:
                if sample.name.endswith("_created"):
                    continue
                labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in sorted(sample.labels.items()))
                shown = f"{{{labels}}}" if labels else ""
                lines.append(f"{sample.name}{shown} {floatToGoString(sample.value)}")
        return ("\n".join(lines) + "\n").encode("utf-8")

    def collect(self) -> Iterator[Metric]:
        """
        See C{prometheus_client.registry.Collector}.
        """
        yield _family("istio_build", "gauge", "1, with the version", ({"component": "pilot", "tag": __version__}, 1))
        yield from self._ofProxies()
        yield from self._ofResources()
        yield from self._ofAuthority()
        answers = [
            ({"method": method, "code": str(code)}, count) for (method, code), count in sorted(self._answers().items())
        ]
        yield _family("meshproxy_control_requests", "counter", "Answers of the API, by method and status", *answers)

    def _ofProxies(self) -> Iterator[Metric]:
        connected = self._xds.connected()
        kinds = Counter(str(one.node.get("userAgentName", "") or "unknown") for one in connected)
        told: list[_Sample] = [({"version": kind}, count) for kind, count in sorted(kinds.items())]
        yield _family("pilot_xds", "gauge", "Streams of proxies, by what their data plane is", *(told or [({}, 0)]))
        yield _family("pilot_xds_pushes", "counter", "Responses that were sent, by type", *_byType(self._xds.pushes))
        rejects = _byType(self._xds.rejections)
        yield _family("pilot_total_xds_rejects", "counter", "Responses that proxies did not take, by type", *rejects)
        wrong: Counter[str] = Counter()
        stale = 0
        for one in connected:
            session = one.session
            for typeURL, subscription in session.subscriptions.items():
                if subscription.rejection is not None:
                    wrong[typeURL.rpartition(".")[2]] += 1
                elif session.snapshot is None or subscription.accepted != session.snapshot.version(typeURL):
                    stale += 1
        about = "Subscriptions whose newest response is not taken, by the message"
        now: list[_Sample] = [({"type": name}, count) for name, count in sorted(wrong.items())]
        yield _family("meshproxy_control_rejected", "gauge", about, *now)
        yield _family("meshproxy_control_stale", "gauge", "Subscriptions that are not at the newest yet", ({}, stale))
        made = self._snapshots.made
        yield _family("meshproxy_control_snapshots", "counter", "Configurations of proxies that were made", ({}, made))

    def _ofResources(self) -> Iterator[Metric]:
        world = self._snapshots.world
        services = world.registry.index.services
        endpoints = sum(len(world.registry.index.allEndpoints(service.key)) for service in services)
        kinds = {kind.kind: len(world.resources.all(kind.kind)) for kind in KINDS}
        yield _family("pilot_services", "gauge", "Services that are known", ({}, len(services)))
        yield _family("pilot_virt_services", "gauge", "VirtualServices", ({}, kinds["VirtualService"]))
        yield _family("meshproxy_control_endpoints", "gauge", "Endpoints of all services", ({}, endpoints))
        told: list[_Sample] = [({"kind": kind}, count) for kind, count in sorted(kinds.items())]
        yield _family("meshproxy_control_resources", "gauge", "Resources, by kind", *told)
        revision = self._store.revision
        yield _family("meshproxy_control_store_revision", "gauge", "The revision of the store", ({}, revision))
        about = "The revision that configurations are made of"
        yield _family("meshproxy_control_served_revision", "gauge", about, ({}, world.revision))

    def _ofAuthority(self) -> Iterator[Metric]:
        authority, now = self._authority, self._seconds()
        counted = authority.counts
        for name, about in (
            ("csr_count", "Signing requests that came"),
            ("success_cert_issuance_count", "Certificates that were issued"),
            ("csr_parsing_err_count", "Signing requests that were refused"),
            ("csr_sign_err_count", "Signing requests that could not be signed"),
        ):
            yield _family(f"citadel_server_{name}", "counter", about, ({}, counted[name]))
        ends = (
            ("root_cert", "the root that ends first", [root.not_valid_after_utc for root in authority.roots]),
            ("cert_chain", "the certificate that signs", [authority.signing.not_valid_after_utc]),
        )
        for name, what, found in ends:
            end = min(found).timestamp()
            metric = f"citadel_server_{name}_expiry"
            yield _family(f"{metric}_timestamp", "gauge", f"When {what} ends, in seconds since 1970", ({}, end))
            yield _family(f"{metric}_seconds", "gauge", f"Seconds until {what} ends", ({}, end - now))
        yield from self._ofIssued([issued.notAfter.timestamp() for issued in authority.newest.values()], now)

    def _ofIssued(self, ends: Sequence[float], now: float) -> Iterator[Metric]:
        """
        Of each identity the newest certificate counts.
        """
        alive = [end for end in ends if end > now]
        about = "Identities whose newest certificate is valid"
        yield _family("meshproxy_control_certificates", "gauge", about, ({}, len(alive)))
        about = "Identities whose newest certificate ended, and was not renewed"
        yield _family("meshproxy_control_certificates_ended", "gauge", about, ({}, len(ends) - len(alive)))
        about = "When the first of the valid ones ends, in seconds since 1970; 0 without any"
        first = min(alive, default=0.0)
        yield _family("meshproxy_control_certificate_expiry_timestamp", "gauge", about, ({}, first))


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
