# -*- test-case-name: tests.controlplane.translate.test_gateways -*-
"""
The certificates that Gateways and Sidecars name, out of the Secrets of the namespace of the proxy.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.translate.context import Context
from meshproxy.controlplane.translate.messages import JSON, without

__all__ = ["credentialsOf", "gatewaySecrets"]

_PREFIX = "kubernetes://"
_ROOTS = "-cacert"


def credentialsOf(value: object) -> list[str]:
    """
    The names of the secrets that a transport asks for.
    """
    if isinstance(value, dict):
        name = value.get("name")
        own = [name] if isinstance(name, str) and name.startswith("kubernetes://") else []
        return own + [found for held in value.values() for found in credentialsOf(held)]
    if isinstance(value, list):
        return [found for held in value for found in credentialsOf(held)]
    return []


def _inline(value: bytes) -> JSON:
    return {"inlineBytes": base64.b64encode(value).decode("ascii")}


def gatewaySecrets(context: Context, credentials: Iterable[tuple[str, Resource]]) -> dict[str, JSON]:
    """
    The secrets by the names that listeners ask for.

    A proxy is given what is in its own namespace, and nothing else.

    @param credentials: C{kubernetes://NAME}, or C{kubernetes://NAME-cacert} for roots, each with the resource that
        names it.
    """
    made: dict[str, JSON] = {}
    for credential, gateway in credentials:
        name = credential.removeprefix(_PREFIX)
        own = context.resources.get("", "Secret", context.proxy.namespace, name)
        roots = name.endswith(_ROOTS)
        if own is None and roots:
            own = context.resources.get("", "Secret", context.proxy.namespace, name.removesuffix(_ROOTS))
        value = None
        if own is not None:
            context.uses(own)
            value = _roots(own) if roots else _certificate(own)
        if value is None:
            what = "roots" if roots else "a certificate with its key"
            why = f"there is no Secret {context.proxy.namespace}/{name} with {what}: connections to it fail"
            context.warn("not-found", why, gateway)
        else:
            made[credential] = {"name": credential, **value}
    return made


def _certificate(resource: Resource) -> JSON | None:
    chain, key = resource.spec.certificate, resource.spec.privateKey
    if chain is None or key is None:
        return None
    return {"tlsCertificate": {"certificateChain": _inline(chain), "privateKey": _inline(key)}}


def _roots(resource: Resource) -> JSON | None:
    roots, revoked = resource.spec.roots, resource.spec.revoked
    if roots is None:
        return None
    crl = _inline(revoked) if revoked is not None else None
    return {"validationContext": without({"trustedCa": _inline(roots), "crl": crl})}
