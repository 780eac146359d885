# -*- test-case-name: tests.secrets.test_handshakes -*-
"""
What the context of a listener or a cluster is made of, wherever it is kept: C{CommonTlsContext}.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from cryptography import x509
from OpenSSL import SSL

from meshproxy.config import Report, Section
from meshproxy.errors import ConfigError, ConfigErrors
from meshproxy.secrets.keylog import KeyLog
from meshproxy.secrets.keys import CertifiedKey, loadCertifiedKey
from meshproxy.secrets.parameters import Parameters, compileParameters
from meshproxy.secrets.sources import Loading
from meshproxy.secrets.store import FileSecret, NamedSecret, SecretStore
from meshproxy.secrets.validation import Validation, compileValidation

__all__ = ["ContextSource", "Material", "prepare"]

# OpenSSL's SSL_MODE_NO_AUTO_CHAIN.
_NO_AUTO_CHAIN = 0x8

# Envoy's: the digits are of a digest of no name.
_UNNAMED = "unnamed_{}_e3b0c442"

# What a context is, as its maker sees it.
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Material:
    """
    One version of all that a context is made of.
    """

    keys: tuple[CertifiedKey, ...]
    validation: Validation


def prepare(context: SSL.Context, parameters: Parameters, validation: Validation, keyLog: KeyLog | None) -> None:
    """
    Set up what contexts of both sides have in common.
    """
    # Half the memory of an idle connection.
    context.set_mode(SSL._lib.SSL_MODE_RELEASE_BUFFERS)  # type: ignore[attr-defined]  # pyOpenSSL has no name for it
    # As in Envoy, peers are sent the chain that is configured, and nothing out of the certificates that are trusted.
    context.set_mode(_NO_AUTO_CHAIN)
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    parameters.setUp(context)
    validation.setUp(context)
    if keyLog is not None:
        keyLog.setUp(context)


class ContextSource(Generic[Made]):
    """
    Keeps a context up to date with its secrets: a version is made when they change, and handshakes take the last one.

    @ivar made: The last one; L{None} while a secret has not come.
    @ivar material: What it was made of.
    """

    def __init__(
        self,
        common: Section,
        secrets: SecretStore,
        isServer: bool,
        updated: Callable[[], object],
        expire: Callable[[dict[str, float]], object],
    ) -> None:
        """
        @param updated: Is told of each version after the first, and of what came by SDS for that.
        @param expire: Is told of each version when its certificates end.
        """
        self.made: Made | None = None
        self.material: Material | None = None
        self.parameters = compileParameters(common.child("tls_params"), isServer)
        self.alpn: tuple[bytes, ...] = tuple(name.encode("utf-8") for name in common.scalars("alpn_protocols"))
        self._secrets = secrets
        self._updated = updated
        self._expire = expire
        self._common = common
        self._make: Callable[[Material], Made] | None = None
        self._inlineKeys = common.children("tls_certificates")
        self._namedKeys = [secrets.find(each) for each in common.children("tls_certificate_sds_secret_configs")]
        self._default: Section | None = common.child("validation_context")
        named = common.child("validation_context_sds_secret_config")
        combined = common.child("combined_validation_context")
        if combined is not None:
            self._default = combined.child("default_validation_context")
            named = combined.child("validation_context_sds_secret_config")
        self._namedValidation = None if named is None else secrets.find(named)
        self._isNamedValidation = named is not None
        self._watch = secrets.files.watch(self.refresh)
        self._subscriptions: list[Callable[[], None]] = []

    def begin(self, make: Callable[[Material], Made]) -> None:
        """
        Make the first version; faults go to the report of the configuration.

        @param make: Makes a context; or raises L{ConfigError}, where what was loaded does not do.

        @raise OpenSSL.SSL.Error: If OpenSSL does not take what was loaded.
        """
        self._make = make
        self._subscribe()
        loading = Loading()
        before = len(self._common.report.ordered())
        material = self._load(loading, None)
        self._watch.look(loading.files)
        if material is not None and len(self._common.report.ordered()) == before:
            try:
                self.made, self.material = make(material), material
                self._expire(self._ends(material))
                for secret in (*self._namedKeys, self._namedValidation):
                    if isinstance(secret, FileSecret):
                        # It came by SDS, though no connection had to wait for it.
                        self._updated()
            except SSL.Error as error:
                self._common.refuse(f"OpenSSL does not take it: {_reason(error)}")
            except ConfigError as error:
                self._common.report.add(error)

    def _subscribe(self) -> None:
        named = [*self._namedKeys, self._namedValidation]
        self._subscriptions = [secret.subscribe(self.refresh) for secret in named if secret is not None]

    def _load(self, loading: Loading, report: Report | None) -> Material | None:
        """
        Read all there is.

        @param report: Takes the faults; by default that of the configuration.
        """
        keys: list[CertifiedKey | None] = [
            loadCertifiedKey(_reporting(each, report), loading) for each in self._inlineKeys
        ]
        for secret in self._namedKeys:
            held = _held(secret, "tls_certificate", self._common, report)
            if held is None:
                return None
            keys.append(loadCertifiedKey(held, loading))
        validation = self._default if report is None or self._default is None else _reporting(self._default, report)
        if self._isNamedValidation:
            held = _held(self._namedValidation, "validation_context", self._common, report)
            if held is None:
                return None
            validation = held if validation is None else _merged(validation, held)
        compiled = compileValidation(validation, loading)
        return Material(tuple(key for key in keys if key is not None), compiled)

    def refresh(self) -> None:
        """
        A secret changed, or a file: make another version. What does not load leaves the last one as it is.
        """
        make = self._make
        if make is None:
            return
        loading, report = Loading(), Report()
        try:
            material = self._load(loading, report)
            report.raiseIfAny()
            made = None if material is None else make(material)
        except (ConfigErrors, ConfigError) as error:
            self._secrets.tellRejected(error)
            return
        except SSL.Error as error:
            self._secrets.tellRejected(self._common.error(f"OpenSSL does not take it: {_reason(error)}"))
            return
        finally:
            self._watch.look(loading.files)
        if made is not None:
            self.made, self.material = made, material
            if material is not None:
                self._expire(self._ends(material))
            self._secrets.updated.value += 1
            self._updated()

    def _ends(self, material: Material) -> dict[str, float]:
        """
        When certificates end, by Envoy's names for them: that of the secret, or one for all that have none.
        """
        names = [_UNNAMED.format("cert")] * len(self._inlineKeys)
        names += [_UNNAMED.format("cert") if secret is None else secret.name for secret in self._namedKeys]
        ends = {name: _end(key.chain[0]) for name, key in zip(names, material.keys, strict=False) if key.chain}
        roots, named = material.validation.roots, self._namedValidation
        if material.validation.domains is not None:
            # Of trust domains, each root has its own.
            name = "unnamed_ca_cert" if named is None else named.name
            ends |= {f"{name}_{number}": _end(root) for number, root in enumerate(roots)}
        elif roots:
            ends[_UNNAMED.format("ca_cert") if named is None else named.name] = min(map(_end, roots))
        return ends

    def stop(self) -> None:
        """
        Follow the secrets no more.
        """
        for leave in self._subscriptions:
            leave()
        self._subscriptions = []
        self._watch.stop()


def _end(certificate: x509.Certificate) -> float:
    return certificate.not_valid_after_utc.timestamp()


def _reporting(section: Section, report: Report | None) -> Section:
    return section if report is None else Section(section.message, section.path, report, section.places)


def _held(secret: NamedSecret | None, kind: str, common: Section, report: Report | None) -> Section | None:
    """
    What a secret holds; L{None} if it has not come, or is of another kind, which is told.
    """
    if secret is None or secret.section is None:
        return None
    held = secret.section.child(kind)
    target = common if report is None else _reporting(common, report)
    if held is None:
        target.refuse(f"the secret {secret.name!r} holds no {kind}")
        return None
    return Section(held.message, held.path, target.report, held.places)


def _merged(default: Section, dynamic: Section) -> Section:
    """
    A combined validation context: what comes by SDS is merged over the default as protobuf merges.
    """
    message = type(default.message)()
    message.CopyFrom(default.message)
    message.MergeFrom(dynamic.message)
    return Section(message, default.path, default.report, default.places)


def _reason(error: SSL.Error) -> str:
    told = error.args[0] if error.args else ()
    return "; ".join(parts[-1] for parts in told) if isinstance(told, list) else "it is not known why"
