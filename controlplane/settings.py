# -*- test-case-name: tests.controlplane.test_settings -*-
"""
The configuration file of the control plane: Istio's MeshConfig under C{mesh}, this program's own under the other keys.
Without a file the defaults serve one machine.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from attrs import Attribute, Factory, field, frozen

from meshproxy.config.report import Report
from meshproxy.config.structure import Seconds, structure
from meshproxy.config.yamltext import parseYAML
from meshproxy.controlplane.api.access import Role
from meshproxy.controlplane.ca.identity import Identity, IdentityError, checkTrustDomain
from meshproxy.controlplane.translate.mesh import MeshConfig
from meshproxy.errors import ConfigError, ConfigErrors

__all__ = [
    "AuthSettings",
    "CASettings",
    "IdentityGrantSettings",
    "ListenSettings",
    "RESTSettings",
    "Settings",
    "StoreSettings",
    "TokenGrantSettings",
    "XDSSettings",
    "defaultData",
    "loadSettings",
]

_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_ROLES = ", ".join(role.value for role in Role)


def _port(instance: object, attribute: Attribute[int], value: int) -> None:
    if not 0 <= value <= 65535:
        raise ValueError(f"{value} is no port: 0 to 65535, where 0 means any that is free")


def _digest(instance: object, attribute: Attribute[str], value: str) -> None:
    if not _DIGEST.fullmatch(value):
        raise ValueError("it is the SHA-256 of the token in 64 hexadecimal digits: printf %s TOKEN | sha256sum")


def _roles(instance: object, attribute: Attribute[list[str]], value: list[str]) -> None:
    for role in value:
        if role not in [one.value for one in Role]:
            raise ValueError(f"{role!r} is no role: {_ROLES}")


def _positive(instance: object, attribute: Attribute[Seconds], value: Seconds) -> None:
    if value <= 0:
        raise ValueError("it is a time above 0")


def _identity(instance: object, attribute: Attribute[str], value: str) -> None:
    try:
        Identity.parse(value)
    except IdentityError as error:
        raise ValueError(str(error)) from error


@frozen(kw_only=True)
class ListenSettings:
    """
    Where something listens.
    """

    address: str = "127.0.0.1"
    port: int = field(validator=_port)


@frozen(kw_only=True)
class StoreSettings:
    """
    @ivar type: C{sqlite}, in the folder of data, or C{memory}, which forgets all when it ends.
    @ivar history: How many commits are kept.
    """

    type: str = field(default="sqlite")
    history: int = field(default=10_000)

    @type.validator
    def _checkType(self, attribute: Attribute[str], value: str) -> None:
        if value not in ("sqlite", "memory"):
            raise ValueError(f"{value!r} is no store: sqlite, memory")

    @history.validator
    def _checkHistory(self, attribute: Attribute[int], value: int) -> None:
        if value < 10:
            raise ValueError("10 commits at least are kept")


@frozen(kw_only=True)
class RESTSettings:
    """
    @ivar listen: Where the API listens.
    @ivar tls: Whether it speaks TLS, with a certificate of the own authority, and takes client certificates. It has
        to where it listens elsewhere than on this machine.
    """

    listen: ListenSettings = Factory(lambda: ListenSettings(port=15014))
    tls: bool = False


@frozen(kw_only=True)
class XDSSettings:
    """
    @ivar plain: Where xDS is served in clear, to proxies on this machine; L{None} for nowhere.
    @ivar secure: Where it is served with mutual TLS; L{None} for nowhere.
    @ivar names: Host names and addresses of the control plane, in its own certificate.
    """

    plain: ListenSettings | None = Factory(lambda: ListenSettings(port=15010))
    secure: ListenSettings | None = Factory(lambda: ListenSettings(port=15012))
    names: list[str] = Factory(lambda: ["localhost", "127.0.0.1", "::1"])


@frozen(kw_only=True)
class CASettings:
    """
    @ivar folder: Where keys and certificates are; C{ca} in the folder of data if empty. With Istio's C{ca-cert.pem},
        C{ca-key.pem}, C{root-cert.pem} in it, that authority is used.
    @ivar workloadCertTTL: How long certificates of workloads are valid that ask for nothing else.
    @ivar maxWorkloadCertTTL: The most that they may ask for.
    """

    folder: str = ""
    workloadCertTTL: Seconds = field(default=Seconds(86400.0), validator=_positive)
    maxWorkloadCertTTL: Seconds = field(default=Seconds(90 * 86400.0), validator=_positive)


@frozen(kw_only=True)
class TokenGrantSettings:
    """
    A bearer token and what it is good for.
    """

    name: str
    sha256: str = field(validator=_digest)
    roles: list[str] = field(validator=_roles)


@frozen(kw_only=True)
class IdentityGrantSettings:
    """
    A SPIFFE ID and what it is good for.
    """

    id: str = field(validator=_identity)
    roles: list[str] = field(validator=_roles)


@frozen(kw_only=True)
class AuthSettings:
    """
    @ivar local: What callers on this machine may do without a token; nothing closes that.
    """

    tokens: list[TokenGrantSettings] = Factory(list)
    identities: list[IdentityGrantSettings] = Factory(list)
    local: list[str] = field(factory=lambda: [role.value for role in Role], validator=_roles)


@frozen(kw_only=True)
class Settings:
    """
    All of it.
    """

    mesh: MeshConfig = Factory(MeshConfig)
    store: StoreSettings = Factory(StoreSettings)
    rest: RESTSettings = Factory(RESTSettings)
    xds: XDSSettings = Factory(XDSSettings)
    ca: CASettings = Factory(CASettings)
    auth: AuthSettings = Factory(AuthSettings)


def defaultData() -> Path:
    """
    Where data go if nobody says: C{~/.local/state/meshproxy}, or below C{XDG_STATE_HOME}.
    """
    state = os.environ.get("XDG_STATE_HOME", "")
    # XDG Base Directory: a relative path counts as none.
    base = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return base / "meshproxy"


def loadSettings(path: str | None) -> Settings:
    """
    Read the file.

    @param path: L{None} for the defaults.

    @raise ConfigErrors: With every fault, each with its place.
    """
    if path is None:
        return Settings()
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigErrors([ConfigError("", str(error), path)]) from error
    node = parseYAML(text, path)
    report = Report()
    made = Settings() if node.value is None else structure(Settings, node, report, camelCase=True)
    report.raiseIfAny()
    assert made is not None
    try:
        checkTrustDomain(made.mesh.trustDomain)
    except IdentityError as error:
        raise ConfigErrors([ConfigError("mesh.trustDomain", str(error), path)]) from error
    return made
