# -*- test-case-name: tests.identity.test_settings -*-
"""
How a workload comes by its identity: C{bootstrap_extensions} of a bootstrap, or the options of the agent.
"""

from __future__ import annotations

from pathlib import Path

from attrs import Attribute, field, frozen
from cryptography import x509

from meshproxy.config import Section
from meshproxy.config.structure import Seconds, structure
from meshproxy.errors import MeshProxyError

__all__ = ["EXTENSION", "IdentitySettings", "SettingsError", "compileIdentity", "readRoots", "splitAddress"]

EXTENSION = "meshproxy.identity"
"""
The C{type_url} of the C{TypedStruct} in C{bootstrap_extensions}.
"""

_STRUCT = "xds.type.v3.TypedStruct"

LEAST_LIFETIME = 1.0


class SettingsError(MeshProxyError):
    """
    A setting that cannot be used.
    """


def splitAddress(text: str) -> tuple[str, int]:
    """
    Host and port of C{HOST:PORT}; an IPv6 address stands in brackets.

    @raise ValueError: If it is none.
    """
    host, colon, port = text.rpartition(":")
    isBracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not isBracketed) or not (port.isascii() and port.isdecimal()):
        raise ValueError(f"{text!r} is not of the form HOST:PORT, such as 127.0.0.1:15012 or [::1]:15012")
    if len(port) > 5 or not 0 < int(port) < 65536:
        raise ValueError(f"{port} is no port: 1 to 65535")
    return host.strip("[]"), int(port)


def _address(instance: object, attribute: Attribute[str], value: str) -> None:
    splitAddress(value)


def _lifetime(instance: object, attribute: Attribute[Seconds], value: Seconds) -> None:
    if value < LEAST_LIFETIME:
        raise ValueError(f"a certificate lives for {LEAST_LIFETIME:g} s at least")


def _ratio(instance: object, attribute: Attribute[float], value: float) -> None:
    if not 0.05 <= value <= 0.95:
        raise ValueError("it is a part of a life: 0.05 to 0.95")


def _notEmpty(instance: object, attribute: Attribute[str], value: str) -> None:
    if not value:
        raise ValueError("it is the path of a file")


@frozen(kw_only=True)
class IdentitySettings:
    """
    @ivar address: Where certificates are signed: the port of the control plane that speaks TLS.
    @ivar serverName: For whom the certificate of the control plane has to be; by default the host of C{address}.
    @ivar roots: A file with the roots that the control plane is verified by, in PEM.
    @ivar token: A file with a bootstrap token, which proves the identity for the first time; it may come later.
    @ivar folder: Where key and certificate are kept, so that they outlive this process; nowhere if empty.
    @ivar lifetime: How long certificates are to be valid.
    @ivar gracePeriodRatio: Which part of its life a certificate has left when it is renewed (Istio's
        C{SECRET_GRACE_PERIOD_RATIO}).
    """

    address: str = field(default="127.0.0.1:15012", validator=_address)
    serverName: str = ""
    roots: str = field(validator=_notEmpty)
    token: str = ""
    folder: str = ""
    lifetime: Seconds = field(default=Seconds(86400.0), validator=_lifetime)
    gracePeriodRatio: float = field(default=0.5, validator=_ratio)

    @property
    def where(self) -> tuple[str, int]:
        """
        Host and port.
        """
        return splitAddress(self.address)

    @property
    def verifiedName(self) -> str:
        """
        The name or address that has to be in the certificate of the control plane.
        """
        return self.serverName or self.where[0]


def readRoots(path: str) -> list[x509.Certificate]:
    """
    The certificates of a file.

    @raise SettingsError: If it holds none.
    """
    try:
        return x509.load_pem_x509_certificates(Path(path).read_bytes())
    except OSError as error:
        raise SettingsError(f"{path!r} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"{path!r} holds no certificate in PEM") from error


def compileIdentity(bootstrap: Section) -> IdentitySettings | None:
    """
    Read C{bootstrap_extensions}. Faults go to the report.

    @return: L{None} where the proxy has no identity of its own.
    """
    found = None
    for extension in bootstrap.children("bootstrap_extensions"):
        config = extension.any("typed_config")
        if config is None or config.typeName != _STRUCT or config.get("type_url") != EXTENSION:
            only = f"a {_STRUCT} of the type_url {EXTENSION}"
            extension.refuse(f"of the extensions of a bootstrap there is one: {only}", "typed_config")
            continue
        if found is not None:
            extension.refuse("a proxy has one identity", "typed_config")
            continue
        found = structure(IdentitySettings, config, config.report)
        if found is not None:
            try:
                readRoots(found.roots)
            except SettingsError as error:
                config.refuse(str(error), "value.roots")
    return found
