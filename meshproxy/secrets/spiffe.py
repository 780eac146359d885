# -*- test-case-name: tests.secrets.test_spiffe -*-
"""
Trust domains and their bundles: C{SPIFFECertValidatorConfig}.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from cryptography import x509

from meshproxy.config import Section
from meshproxy.net.certificates import fingerprint
from meshproxy.secrets.roots import readRoots
from meshproxy.secrets.sources import Loading, readSource

__all__ = ["findSPIFFE", "readTrustDomains"]

_SPIFFE = "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig"


def findSPIFFE(section: Section) -> Section | None:
    """
    The configuration of the SPIFFE validator in a C{CertificateValidationContext}, if it asks for that.
    """
    custom = section.child("custom_validator_config")
    if custom is None:
        return None
    config = custom.any("typed_config")
    if config is not None and config.typeName == _SPIFFE:
        return config
    custom.refuse(f"of the validators, only envoy.tls.cert_validator.spiffe ({_SPIFFE}) is implemented")
    return None


def readTrustDomains(config: Section, domains: dict[str, frozenset[str]], loading: Loading) -> list[x509.Certificate]:
    """
    Read the bundles of all trust domains.

    @return: The certificates of all of them: chains are built with these, and the end of each tells its domain.
    """
    every: list[x509.Certificate] = []
    listed = config.children("trust_domains")
    bundles = config.child("trust_bundles")
    if bundles is not None:
        # As in Envoy, it goes over the list.
        _readBundles(bundles, domains, every, loading)
        return every
    if not listed:
        config.refuse("a trust domain is needed, here or in trust_bundles", "trust_domains")
    for domain in listed:
        name = domain.get("name")
        if name in domains:
            domain.refuse(f"there are two trust domains of the name {name!r}", "name")
        source = domain.child("trust_bundle")
        roots: list[x509.Certificate] = []
        if source is None:
            domain.refuse("a trust bundle is needed", "trust_bundle")
        else:
            readRoots(source, roots, [], loading)
        domains[name] = frozenset(map(fingerprint, roots))
        every += [root for root in roots if root not in every]
    return every


def _readBundles(
    source: Section, domains: dict[str, frozenset[str]], every: list[x509.Certificate], loading: Loading
) -> None:
    """
    Read a map of trust domains to their bundles (U{the SPIFFE trust domain and
    bundle<https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Trust_Domain_and_Bundle.md>}, 4), in JSON.
    """
    data = readSource(source, loading)
    if data is None:
        return
    try:
        told = json.loads(data)
        listed = told["trust_domains"].items()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        source.refuse('holds no JSON object with "trust_domains", a map of names to bundles')
        return
    if not listed:
        source.refuse("holds no trust domain")
    for name, bundle in listed:
        try:
            roots = [root for key in bundle["keys"] for root in _keyRoots(key)]
        except (ValueError, LookupError, TypeError):
            source.refuse(f"the bundle of {name!r} is no list of keys, each a JSON Web Key with use and x5c")
            continue
        if not roots:
            source.refuse(f"the bundle of {name!r} has no key for x509-svid")
        domains[name] = frozenset(map(fingerprint, roots))
        every += [root for root in roots if root not in every]


def _keyRoots(key: Any) -> list[x509.Certificate]:
    """
    The certificates of a JSON Web Key, where it is for X.509.

    @raise ValueError: If it has none that can be read, or says not what it is for; or a likewise error.
    """
    if key["use"] != "x509-svid":
        return []
    found = [x509.load_der_x509_certificate(base64.b64decode(text, validate=True)) for text in key["x5c"]]
    if not found:
        raise ValueError("no certificate")
    return found
