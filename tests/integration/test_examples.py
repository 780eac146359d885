"""
Every file in C{etc/} is started and asked what its head says, on other ports; a real Envoy takes it, too, where there
is one.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration.peers import Backend, Client, Response
from tests.integration.process import ROOT, Proxy, fetch, freePorts, until

ETC = ROOT / "etc"


def envoy() -> str | None:
    """
    The path of a real Envoy.
    """
    beside = Path(sys.executable).parent / "envoy"
    return str(beside) if beside.exists() else shutil.which("envoy")


class ExampleTests(SynchronousTestCase):
    """
    One method for each file: C{test_NAME}.
    """

    def begin(self, name: str, folder: Path | None = None, **given: int) -> Proxy:
        """
        Start an example, each of its ports replaced by a free one.

        @param folder: Where it runs; by default a new one.
        @param given: Ports to replace by others: C{p8080=backend.port}.
        """
        text = (ETC / f"{name}.yaml").read_text()
        ports = sorted({int(port) for port in re.findall(r"port_value: (\d+)", text)})
        free = dict(zip(ports, freePorts(len(ports)), strict=True))
        free.update({int(port[1:]): number for port, number in given.items()})
        self.ports = free
        path = Path(self.mktemp()).absolute()
        path.write_text(re.sub(r"port_value: (\d+)", lambda match: f"port_value: {free[int(match[1])]}", text))
        listening = [port for number, port in free.items() if f"p{number}" not in given]
        return Proxy(self, "-c", str(path), folder=folder).ready(*listening)

    def get(self, port: int, path: str = "/", **headers: str) -> Response:
        """
        Ask a port of the file.
        """
        with Client(self.ports[port]) as client:
            return client.get(path, {name.replace("_", "-"): value for name, value in headers.items()})

    def test_all(self) -> None:
        """
        Each file has a test here.
        """
        tested = {name.removeprefix("test_") for name in dir(self) if re.match(r"test_\d", name)}
        self.assertEqual({path.stem.replace("-", "_") for path in ETC.glob("*.yaml")}, tested)

    def test_heads(self) -> None:
        """
        Each file says in its first lines what it is; its commands ask ports that it has.
        """
        for path in ETC.glob("*.yaml"):
            text = path.read_text()
            self.assertTrue(text.startswith("# "), path)
            for port in re.findall(r"http://127\.0\.0\.1:(\d+)", text):
                self.assertIn(f"port_value: {port}}}", text)

    def test_envoyTakesThem(self) -> None:
        """
        C{envoy --mode validate} accepts each.
        """
        program = envoy()
        if program is None:
            raise SkipTest("there is no Envoy here")
        folder = self.certificates()
        for path in sorted(ETC.glob("*.yaml")):
            command = [program, "--mode", "validate", "-c", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=folder)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_01_http(self) -> None:
        """
        The smallest one answers, through the proxy.
        """
        proxy = self.begin("01-http")
        response = self.get(10000, "/any/path")
        self.assertEqual((response.status, response.body), (200, b"hello from behind the proxy\n"))
        self.assertEqual(response.headers["x-path"], "/any/path")
        until(lambda: "GET /any/path HTTP/1.1" in proxy.output, "the access log")

    def test_02_tcp(self) -> None:
        """
        Bytes in, bytes out.
        """
        backend = Backend(b"bytes")
        self.addCleanup(backend.close)
        self.begin("02-tcp", p8080=backend.port)
        self.assertEqual(fetch(self.ports[10002]), (200, b"bytes"))

    def test_07_tunnel(self) -> None:
        """
        Bytes in, bytes out, through a CONNECT in between.
        """
        backend = Backend(b"through a tunnel")
        self.addCleanup(backend.close)
        proxy = self.begin("07-tunnel", p8080=backend.port)
        self.assertEqual(fetch(self.ports[10007]), (200, b"through a tunnel"))
        until(lambda: "CONNECT service.example:8080 for 127.0.0.1 200" in proxy.output, "the access log")

    def test_03_routes(self) -> None:
        """
        Each route is the one that the file says.
        """
        self.begin("03-routes")
        self.assertEqual(self.get(10003).body, b"welcome\n")
        api = self.get(10003, "/api/v1/users")
        self.assertEqual((api.body, api.headers["x-seen-path"]), (b"version one\n", "/users"))
        self.assertEqual(self.get(10003, "/api/v1/users", x_canary="yes").body, b"version two\n")
        moved = self.get(10003, "/old/page?q=1")
        self.assertEqual((moved.status, moved.headers["location"]), (301, "http://test/new/page?q=1"))
        self.assertEqual(self.get(10003, "/else?debug").body, b"version two\n")
        self.assertEqual(self.get(10003, "/else").status, 404)
        self.assertEqual(self.get(10003, "/shopping").status, 404)
        shops = {self.get(10003, "/shop").body for _ in range(100)}
        self.assertEqual(shops, {b"version one\n", b"version two\n"})

    def test_04_filters(self) -> None:
        """
        Each filter does what the file says.
        """
        proxy = self.begin("04-filters")
        plain = self.get(10004)
        self.assertEqual((plain.body, plain.headers["x-answered-by"]), (b"hello\n", "meshproxy"))
        self.assertEqual(self.get(10004, x_envoy_fault_abort_request="503").status, 503)
        denied = self.get(10004, "/admin")
        self.assertEqual((denied.status, denied.body), (403, b"RBAC: access denied"))
        self.assertEqual(self.get(10004, "/admin", x_user="root").status, 200)
        statuses = [self.get(10004, "/limited").status for _ in range(6)]
        self.assertEqual(statuses, [200] * 5 + [429])
        until(lambda: "/limited 429 local_rate_limited" in proxy.output, "the access log")

    def test_06_tls(self) -> None:
        """
        With certificates that the script makes, a client is served with and without one, and the service is told.
        """
        proxy = self.begin("06-tls", folder=self.certificates())
        url = f"https://localhost:{self.ports[10006]}/"
        curl = ["curl", "-sS", "-i", "--cacert", "certs/ca.pem"]
        plain = subprocess.run([*curl, url], cwd=proxy.folder, capture_output=True, text=True, timeout=60)
        self.assertIn("hello over TLS", plain.stdout, plain.stderr)
        self.assertNotIn("x-client", plain.stdout)
        self.assertIn("x-proxy: spiffe://example.org/client by TLSv1.3", plain.stdout)
        mine = ["--cert", "certs/client.pem", "--key", "certs/client.key", url]
        mutual = subprocess.run([*curl, *mine], cwd=proxy.folder, capture_output=True, text=True, timeout=60)
        self.assertIn(';Subject="CN=client";URI=spiffe://example.org/client', mutual.stdout, mutual.stderr)

    def certificates(self) -> Path:
        """
        A folder with what C{06-tls.sh} makes.
        """
        if shutil.which("openssl") is None or shutil.which("curl") is None:
            raise SkipTest("openssl makes the certificates, and curl asks")
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        made = subprocess.run(["sh", str(ETC / "06-tls.sh")], cwd=folder, capture_output=True, text=True, timeout=60)
        self.assertEqual(made.returncode, 0, made.stderr)
        return folder

    def test_05_edge(self) -> None:
        """
        What an edge does with what it gets from outside.
        """
        self.begin("05-edge")
        normal = self.get(10005, "/a/../b//c")
        self.assertEqual((normal.status, normal.headers["x-seen-path"]), (200, "/b/c"))
        redirected = self.get(10005, "/a%2Fb")
        self.assertEqual((redirected.status, redirected.headers["location"]), (307, "/a/b"))
        with Client(self.ports[10005]) as client:
            self.assertEqual(client.get("/", {"x_odd": "1"}).status, 400)
