"""
Start the proxies of a case, let them work in turn, and compare.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.load import MESSAGE, Case, Sample
from bench.process import Failed, Process, cores
from bench.proxies import KINDS, nginxPath, write

__all__ = ["Outcome", "Ports", "backends", "runCase", "started"]

_BIG = 16 << 20

# What a configuration has in the place of $transport where clients speak TLS.
_TLS = (
    "transport_socket: {name: envoy.transport_sockets.tls, typed_config: {"
    '"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, '
    "common_tls_context: {alpn_protocols: [h2, http/1.1], tls_certificates: ["
    "{certificate_chain: {filename: $folder/cert.pem}, private_key: {filename: $folder/key.pem}}]}}}"
)


@dataclass(frozen=True)
class Ports:
    """
    Which ports are used: three for the backends, then one for each proxy.
    """

    base: int

    @property
    def http(self) -> int:
        """
        The HTTP backend.
        """
        return self.base

    @property
    def grpc(self) -> int:
        """
        The gRPC backend.
        """
        return self.base + 2

    @property
    def echo(self) -> int:
        """
        The echo.
        """
        return self.base + 1

    def proxy(self, name: str) -> int:
        """
        The listener of a proxy.
        """
        return self.base + 10 + list(KINDS).index(name)

    def inner(self, name: str) -> int:
        """
        Its second listener, where a case has one behind the first.
        """
        return self.proxy(name) + len(KINDS)


@dataclass
class Outcome:
    """
    What a case gave.

    @ivar samples: The measurements of each proxy, one a round; round for round they were made one after the other.
    @ivar faults: Why a proxy is missing.
    """

    case: Case
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)

    def cost(self, name: str) -> float:
        """
        The median cost of a unit.
        """
        return median(sample.cost for sample in self.samples[name])

    def ratio(self, name: str, other: str = "envoy") -> float | None:
        """
        The median over the rounds of a proxy's cost to another's: what disturbs the machine for longer than a round
        disturbs both.
        """
        mine, its = self.samples.get(name, []), self.samples.get(other, [])
        pairs = [a.cost / b.cost for a, b in zip(mine, its, strict=False) if b.cost > 0]
        return median(pairs) if pairs else None


def _writeCertificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench.example.com")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=7))
    names = [
        x509.DNSName("bench.example.com"),
        x509.UniformResourceIdentifier("spiffe://cluster.local/ns/bench/sa/all"),
    ]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, *plain))


@contextlib.contextmanager
def backends(ports: Ports, folder: Path) -> Iterator[None]:
    """
    Run what stands behind every proxy.
    """
    _, core = cores()
    nginx = nginxPath()
    if nginx is None:
        raise Failed("nginx is the backend, and is not installed")
    with (folder / "big").open("wb") as big:
        big.truncate(_BIG)
    _writeCertificate(folder)
    (folder / "message").write_bytes(MESSAGE)
    values = {"backend": ports.http, "grpc": ports.grpc, "body": "x" * 200}
    config = write("backend.nginx.conf", folder, "backend.conf", values)
    with contextlib.ExitStack() as stack:
        http = Process("backend", [str(nginx), "-c", str(config)], core, folder)
        stack.callback(http.stop)
        root = str(Path(__file__).resolve().parent.parent)
        start = f"import sys; sys.path.insert(0, {root!r}); from bench.generator import main; main()"
        echo = Process("echo", [sys.executable, "-c", start, "echo", str(ports.echo)], core, folder)
        stack.callback(echo.stop)
        http.ready(ports.http)
        http.ready(ports.grpc)
        echo.ready(ports.echo)
        yield


@contextlib.contextmanager
def started(name: str, case: Case, ports: Ports, folder: Path) -> Iterator[Process]:
    """
    Run a proxy with the configuration of a case.

    @raise Failed: If it is not installed, takes no part in the case, or does not come up.
    """
    kind = KINDS[name]
    template = kind.template(case.config)
    if template is None:
        raise Failed("takes no part")
    if kind.program() is None:
        raise Failed("is not installed")
    port = ports.proxy(name)
    transport = _TLS.replace("$folder", str(folder)) if case.isSecure else ""
    backend = getattr(ports, case.behind)
    values = {
        "listen": port,
        "inner": ports.inner(name),
        "backend": backend,
        "log": folder / f"{name}.access.log",
        "transport": transport,
    }
    config = write(template, folder, f"{name}-{template}", values)
    process = Process(name, kind.command(config), cores()[0], folder)
    try:
        process.ready(port)
        yield process
    finally:
        process.stop()


def runCase(case: Case, names: list[str], rounds: int, seconds: float, ports: Ports, folder: Path) -> Outcome:
    """
    Measure a case on all proxies, in turn, round after round.
    """
    outcome = Outcome(case)
    if case.fresh:
        _freshRounds(outcome, names, rounds, seconds, ports, folder)
    else:
        _rounds(outcome, names, rounds, seconds, ports, folder)
    return outcome


def _rounds(outcome: Outcome, names: list[str], rounds: int, seconds: float, ports: Ports, folder: Path) -> None:
    case, core = outcome.case, cores()[1]
    with contextlib.ExitStack() as stack:
        running: dict[str, Process] = {}
        for name in names:
            try:
                process = stack.enter_context(started(name, case, ports, folder))
                # The first connections to the backend, the first use of everything: not measured.
                case.measure(process, ports.proxy(name), core, 1)
                running[name] = process
            except Failed as fault:
                outcome.faults[name] = str(fault)
        for _ in range(rounds):
            for name, process in list(running.items()):
                try:
                    sample = case.measure(process, ports.proxy(name), core, seconds)
                except Failed as fault:
                    outcome.faults[name] = str(fault)
                    outcome.samples.pop(name, None)
                    del running[name]
                else:
                    outcome.samples.setdefault(name, []).append(sample)


def _freshRounds(outcome: Outcome, names: list[str], rounds: int, seconds: float, ports: Ports, folder: Path) -> None:
    case, core = outcome.case, cores()[1]
    for _ in range(rounds):
        for name in names:
            if name in outcome.faults:
                continue
            try:
                with started(name, case, ports, folder) as process:
                    sample = case.measure(process, ports.proxy(name), core, seconds)
            except Failed as fault:
                outcome.faults[name] = str(fault)
                outcome.samples.pop(name, None)
            else:
                outcome.samples.setdefault(name, []).append(sample)
