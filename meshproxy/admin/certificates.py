# -*- test-case-name: tests.admin.test_certificates -*-
"""
C{/certs}, and the secrets in C{/config_dump}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from cryptography import x509

from meshproxy.admin.commands import AdminRequest, AdminResponse, Lazy, jsonResponse
from meshproxy.admin.messages import anyOf, dictOf, setTimestamp
from meshproxy.admin.served import Served
from meshproxy.config.pool import newMessage
from meshproxy.net.certificates import altNames, serialOf
from meshproxy.secrets.store import NamedSecret

__all__ = ["certificateList", "secretDumps"]

_ADMIN = "envoy.admin.v3."


def certificateList(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/certs}.
    """
    now = server.context.clock.seconds()

    def shown() -> Iterator[object]:
        for user in list(server.context.secrets.users):
            staples = user.staples()
            for roots, chains in user.certificates():
                message: Any = newMessage(_ADMIN + "Certificate")
                for path, certificate in roots:
                    _describe(message.ca_cert.add(), path, certificate, now)
                for path, certificate in chains:
                    details = message.cert_chain.add()
                    _describe(details, path, certificate, now)
                    staple = staples.get(certificate)
                    if staple is not None:
                        setTimestamp(details.ocsp_details.valid_from, staple.begins)
                        setTimestamp(details.ocsp_details.expiration, now if staple.ends is None else staple.ends)
                found: dict[str, Any] = dictOf(message)
                # As in Envoy, what is empty or nought is told as well.
                for shownDetails in (*found.setdefault("ca_cert", []), *found.setdefault("cert_chain", [])):
                    shownDetails.setdefault("days_until_expiration", "0")
                    shownDetails.setdefault("subject_alt_names", [])
                yield found

    # A lazy list may not be empty.
    return jsonResponse({"certificates": [] if next(shown(), None) is None else Lazy(shown)})


def _describe(message: Any, path: str, certificate: x509.Certificate, now: float) -> None:
    message.path = path
    message.serial_number = serialOf(certificate)
    names = altNames(certificate)
    for field, values in (("dns", names.dns), ("uri", names.uris), ("ip_address", names.ips)):
        for value in values:
            setattr(message.subject_alt_names.add(), field, value)
    ends = certificate.not_valid_after_utc.timestamp()
    message.days_until_expiration = max(int((ends - now) // 86400), 0)
    setTimestamp(message.valid_from, certificate.not_valid_before_utc.timestamp())
    setTimestamp(message.expiration_time, ends)


def secretDumps(server: Served, matches: Callable[[str], bool]) -> dict[str, list[Callable[[], Any]]]:
    """
    The lists of C{SecretsConfigDump}; what is secret in them is taken out where they are shown.
    """
    secrets = server.context.secrets
    dynamic = [secret for secret in (*secrets.dynamic, *secrets.own.values()) if matches(secret.name)]
    return {
        "static_secrets": [
            partial(_message, "StaticSecret", secret) for secret in secrets.static.values() if matches(secret.name)
        ],
        "dynamic_active_secrets": [
            partial(_message, "DynamicSecret", secret) for secret in dynamic if secret.section is not None
        ],
        "dynamic_warming_secrets": [
            partial(_message, "DynamicSecret", secret) for secret in dynamic if secret.section is None
        ],
    }


def _message(kind: str, secret: NamedSecret) -> Any:
    message: Any = newMessage(f"{_ADMIN}SecretsConfigDump.{kind}")
    message.name = secret.name
    setTimestamp(message.last_updated, secret.updated)
    if secret.section is not None:
        message.secret.CopyFrom(anyOf(secret.section.message))
        if kind == "DynamicSecret":
            message.version_info = secret.version
    return message
