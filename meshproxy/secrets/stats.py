# -*- test-case-name: tests.secrets.test_handshakes -*-
"""
What is counted of TLS: C{listener.ADDRESS.ssl.*} and C{cluster.NAME.ssl.*}.
"""

from __future__ import annotations

from collections.abc import Mapping

from meshproxy.net.tlsinfo import TLSInfo
from meshproxy.stats import Counter, Scope

__all__ = ["TLSStats"]


class TLSStats:
    """
    The counters of one listener or cluster; Envoy's U{statistics of
    TLS<https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/stats#tls-statistics>}.
    """

    def __init__(self, scope: Scope) -> None:
        """
        @param scope: That of the listener, or of the cluster.
        """
        self.connectionError = scope.counter("ssl.connection_error")
        self.handshake = scope.counter("ssl.handshake")
        self.sessionReused = scope.counter("ssl.session_reused")
        self.noCertificate = scope.counter("ssl.no_certificate")
        self.failures = {
            name: scope.counter(f"ssl.{name}")
            for name in ("fail_verify_no_cert", "fail_verify_error", "fail_verify_san", "fail_verify_cert_hash")
        }
        self.stapleRequests = scope.counter("ssl.ocsp_staple_requests")
        self.stapleResponses = scope.counter("ssl.ocsp_staple_responses")
        self.stapleOmitted = scope.counter("ssl.ocsp_staple_omitted")
        self.stapleFailed = scope.counter("ssl.ocsp_staple_failed")
        self._scope = scope
        self._ciphers = scope.counters("ssl.ciphers.")
        self._versions = scope.counters("ssl.versions.")
        self._groups = scope.counters("ssl.curves.")
        # What counts a session, by its kind: there are few.
        self._counters: dict[object, tuple[Counter, ...]] = {}

    def expire(self, ends: Mapping[str, float]) -> None:
        """
        Another version of the context is in use.

        @param ends: When its certificates end, by name, in seconds since the epoch.
        """
        for name, end in ends.items():
            self._scope.gauge(f"ssl.certificate.{name}.expiration_unix_time_seconds").value = int(end)

    def broken(self) -> None:
        """
        A peer broke the protocol after its handshake.
        """
        # Envoy counts it when it reads, and again when it cannot say goodbye.
        self.connectionError.value += 2

    def shaken(self, info: TLSInfo) -> None:
        """
        A handshake is over.
        """
        self.handshake.value += 1
        self.sessionReused.value += info.isResumed
        kind = info.kind
        counters = self._counters.get(kind)
        if counters is None:
            counters = self._counters[kind] = self._countersOf(info)
        for counter in counters:
            counter.value += 1
        if not info.isPresented:
            self.noCertificate.value += 1

    def _countersOf(self, info: TLSInfo) -> tuple[Counter, ...]:
        group = info.group
        known = (self._ciphers[info.cipher], self._versions[info.version])
        return (*known, self._groups[group]) if group else known
