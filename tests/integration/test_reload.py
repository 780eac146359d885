"""
A file that changes while its proxy runs.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.configs import bootstrap, cluster, direct, forward, listener
from tests.integration.peers import Backend, Client, answer, readHead
from tests.integration.process import Proxy, connectable, fetch, freePort, freePorts, until


class ReloadCase(SynchronousTestCase):
    """
    A proxy with a file.
    """

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.path = self.folder / "envoy.yaml"
        self.port = freePort()

    def begin(self, *resources: dict[str, Any], **fields: Any) -> Proxy:
        """
        Start with a configuration.
        """
        self.write(*resources, **fields)
        return Proxy(self, "-c", str(self.path)).ready(self.port)

    def write(self, *resources: dict[str, Any], **fields: Any) -> None:
        """
        Write the file in place.
        """
        self.path.write_text(bootstrap(*resources, **fields))

    def answers(self, body: bytes, port: int = 0) -> None:
        """
        Wait until new connections are answered so.
        """
        until(lambda: fetch(port or self.port)[1] == body, repr(body))

    def reloaded(self, proxy: Proxy, times: int = 1) -> None:
        """
        Wait until a configuration was taken.
        """
        proxy.waitLogged("the configuration was reloaded", times)


class NoticeTests(ReloadCase):
    """
    How a change is noticed.
    """

    def test_inPlace(self) -> None:
        """
        A file that is written in place is noticed; how soon, L{tests.test_reload} has by a clock of its own.
        """
        self.begin(listener("l", self.port, direct("one")))
        self.write(listener("l", self.port, direct("two")))
        self.answers(b"two")

    def test_renamed(self) -> None:
        """
        So is another file that takes its name.
        """
        self.begin(listener("l", self.port, direct("one")))
        other = self.folder / "next"
        other.write_text(bootstrap(listener("l", self.port, direct("two"))))
        os.rename(other, self.path)
        self.answers(b"two")

    def test_symbolicLinks(self) -> None:
        """
        So is a folder behind a link that is swapped, as Kubernetes does it with ConfigMaps.
        """
        for name in ("one", "two"):
            (self.folder / name).mkdir()
            text = bootstrap(listener("l", self.port, direct(name)))
            (self.folder / name / "envoy.yaml").write_text(text)
        (self.folder / "data").symlink_to("one")
        self.path.symlink_to("data/envoy.yaml")
        Proxy(self, "-c", str(self.path)).ready(self.port)
        self.assertEqual(fetch(self.port)[1], b"one")
        (self.folder / "data.new").symlink_to("two")
        os.rename(self.folder / "data.new", self.folder / "data")
        self.answers(b"two")

    def test_missingForAWhile(self) -> None:
        """
        A file that is away for a while changes nothing until it is back.
        """
        self.begin(listener("l", self.port, direct("one")))
        self.path.unlink()
        time.sleep(1)
        self.assertEqual(fetch(self.port)[1], b"one")
        self.write(listener("l", self.port, direct("two")))
        self.answers(b"two")


class RefusalTests(ReloadCase):
    """
    Configurations that are not taken.
    """

    def test_faults(self) -> None:
        """
        A bad file leaves the running configuration, and the log tells all that is wrong with it.
        """
        proxy = self.begin(listener("l", self.port, direct("one")))
        self.write(
            listener("l", self.port, direct("bad"), forward("nowhere")),
            cluster("c", 1, lb_policy="BEST"),
            cluster("c", 2),
        )
        proxy.waitLogged("is refused")
        self.assertIn(f"{self.path}:", proxy.log)
        self.assertIn("'BEST'", proxy.log)
        self.write(listener("l", self.port, direct("bad"), forward("nowhere")), cluster("c", 1), cluster("c", 2))
        proxy.waitLogged("is refused", 2)
        self.assertIn("'nowhere'", proxy.log)
        self.assertIn("two clusters of the name 'c'", proxy.log)
        self.assertEqual(fetch(self.port)[1], b"one")
        self.write(listener("l", self.port, direct("good")))
        self.answers(b"good")

    def test_notYAML(self) -> None:
        """
        A file that is no YAML at all, likewise.
        """
        proxy = self.begin(listener("l", self.port, direct("one")))
        self.path.write_text("static_resources: [\n")
        proxy.waitLogged("is refused")
        self.assertNotIn("Traceback", proxy.log)
        self.assertEqual(fetch(self.port)[1], b"one")

    def test_elsewhere(self) -> None:
        """
        A change of what is read only once refuses the whole file, and names each such field.
        """
        proxy = self.begin(listener("l", self.port, direct("one")), node={"id": "a", "cluster": "b"})
        admin = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
        self.write(listener("l", self.port, direct("two")), node={"id": "z", "cluster": "b"}, admin=admin)
        proxy.waitLogged("is refused")
        self.assertIn("node: cannot change while the proxy runs", proxy.log)
        self.assertIn("admin: cannot change while the proxy runs", proxy.log)
        self.assertEqual(fetch(self.port)[1], b"one")

    def test_portInUse(self) -> None:
        """
        A new listener that cannot be bound refuses the file; all ports are as before.
        """
        proxy = self.begin(listener("l", self.port, direct("one")))
        other = freePort()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.write(
                listener("l", self.port, direct("two")),
                listener("m", other, direct("two")),
                listener("n", taken.getsockname()[1], direct("two")),
            )
            proxy.waitLogged("is refused")
        self.assertEqual(fetch(self.port)[1], b"one")
        self.assertFalse(connectable(other))


class StreamTests(ReloadCase):
    """
    What happens to connections and streams.
    """

    def test_nextStream(self) -> None:
        """
        A stream in flight ends on the routes that it began with, and the next one of the same connection takes the new
        ones.
        """
        asked, go = threading.Event(), threading.Event()
        self.addCleanup(go.set)

        def serve(connection: socket.socket) -> None:
            while head := readHead(connection):
                if b"/slow" in head:
                    asked.set()
                    go.wait(60)
                connection.sendall(answer(b"backend"))

        backend = Backend(serve=serve)
        self.addCleanup(backend.close)
        old = listener("l", self.port, forward("c"), logs=True)
        proxy = self.begin(old, cluster("c", backend.port))
        slow, quick = Client(self.port), Client(self.port)
        self.addCleanup(slow.close)
        self.addCleanup(quick.close)
        self.assertEqual(quick.get("/before").body, b"backend")
        slow.ask("/slow")
        self.assertTrue(asked.wait(60))
        self.write(listener("l", self.port, direct("direct"), logs=True))
        self.reloaded(proxy)
        self.assertEqual(quick.get("/after").body, b"direct")
        go.set()
        response = slow.response()
        self.assertEqual((response.status, response.body), (200, b"backend"))
        self.assertNotIn("connection", response.headers)
        self.assertEqual(slow.get("/after").body, b"direct")
        # The log of the former connection manager was open until its last stream was in it.
        until(lambda: proxy.output.count("\n") == 4, "four lines of the access log")

    def test_twice(self) -> None:
        """
        New connections get the newest configuration, however often it changed.
        """
        proxy = self.begin(listener("l", self.port, direct("0")))
        for number in range(1, 4):
            # Another name of the chain's connection manager, and other chains: nothing of the old is of use.
            new = listener("l", self.port, direct(str(number)))
            new["filter_chains"][0]["name"] = f"chain{number}"
            self.write(new)
            self.reloaded(proxy, number)
            self.assertEqual(fetch(self.port)[1], str(number).encode())

    def test_removedListener(self) -> None:
        """
        A listener that is gone from the file accepts no more, and its idle connections close.
        """
        other = freePort()
        keep = listener("l", self.port, direct("one"))
        self.begin(keep, listener("m", other, direct("two"))).ready(other)
        idle = Client(other)
        self.addCleanup(idle.close)
        self.assertEqual(idle.get().body, b"two")
        self.write(keep)
        self.assertTrue(idle.isClosed())
        until(lambda: not connectable(other), "its end")
        self.assertEqual(fetch(self.port)[1], b"one")

    def test_removedWithStream(self) -> None:
        """
        A stream of a removed listener ends in peace, and its connection with it.
        """
        asked, go = threading.Event(), threading.Event()
        self.addCleanup(go.set)

        def serve(connection: socket.socket) -> None:
            readHead(connection)
            asked.set()
            go.wait(60)
            connection.sendall(answer(b"end"))

        backend = Backend(serve=serve)
        self.addCleanup(backend.close)
        other = freePort()
        keep = listener("l", self.port, direct("one"))
        proxy = self.begin(keep, listener("m", other, forward("c")), cluster("c", backend.port)).ready(other)
        client = Client(other)
        self.addCleanup(client.close)
        client.ask()
        self.assertTrue(asked.wait(60))
        self.write(keep)
        self.reloaded(proxy)
        go.set()
        response = client.response()
        self.assertEqual((response.body, response.headers["connection"]), (b"end", "close"))

    def test_renamedListener(self) -> None:
        """
        A listener under another name takes the port over: a client that keeps connecting is never refused.
        """
        self.begin(listener("a", self.port, direct("one")))
        bodies: set[bytes] = set()
        self.write(listener("b", self.port, direct("two")))
        until(lambda: bodies.add(fetch(self.port)[1]) or b"two" in bodies, "the new listener")  # type: ignore[func-returns-value]
        self.assertLessEqual(bodies, {b"one", b"two"})

    def test_added(self) -> None:
        """
        A listener and a cluster that are added serve.
        """
        backend = Backend(b"added")
        self.addCleanup(backend.close)
        other = freePort()
        keep = listener("l", self.port, direct("one"))
        proxy = self.begin(keep)
        self.write(keep, listener("m", other, forward("c")), cluster("c", backend.port))
        proxy.ready(other)
        self.assertEqual(fetch(other), (200, b"added"))

    def test_load(self) -> None:
        """
        Ten reloads under load fail no request, neither of new connections nor of those that stay.
        """
        backend = Backend(b"x" * 1000)
        self.addCleanup(backend.close)
        proxy = self.begin(listener("l", self.port, forward("c")), cluster("c", backend.port))
        over = threading.Event()
        self.addCleanup(over.set)
        failures: list[object] = []
        done = [0]

        def stay() -> None:
            with Client(self.port) as client:
                while not over.is_set():
                    response = client.get()
                    done[0] += 1
                    if response.status != 200 or len(response.body) != 1000:
                        failures.append(response)

        def come() -> None:
            while not over.is_set():
                status, body = fetch(self.port)
                done[0] += 1
                if (status, len(body)) != (200, 1000):
                    failures.append(status)

        def guarded(work: Any) -> None:
            try:
                work()
            except Exception as exception:
                failures.append(exception)

        threads = [threading.Thread(target=guarded, args=(work,)) for work in (stay, stay, come, come)]
        for thread in threads:
            thread.start()
        for number in range(1, 11):
            self.write(
                listener("l", self.port, forward("c"), stat_prefix=f"p{number}"),
                cluster("c", backend.port, connect_timeout=f"{number}s"),
            )
            self.reloaded(proxy, number)
        over.set()
        for thread in threads:
            thread.join(10)
        self.assertEqual(failures, [])
        self.assertGreater(done[0], 100)

    def test_nothingIsLeft(self) -> None:
        """
        Reloads leave no descriptor open, neither of logs nor of sockets.
        """
        other = freePorts(1)[0]
        logs = [str(self.folder / name) for name in ("a.log", "b.log")]

        def resources(number: int) -> list[dict[str, Any]]:
            log = {
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": logs[number % 2],
                },
            }
            return [
                listener("l", self.port, direct(str(number)), access_log=[log]),
                *([listener("m", other, direct("m"), access_log=[log])] if number % 2 else []),
            ]

        proxy = self.begin(*resources(0))
        client = Client(self.port)
        self.addCleanup(client.close)
        self.assertEqual(client.get().body, b"0")
        before = proxy.descriptors()
        for number in range(1, 9):
            self.write(*resources(number))
            self.reloaded(proxy, number)
            self.assertEqual(client.get().body, str(number).encode())
        until(lambda: proxy.descriptors() <= before, f"{before} descriptors instead of {proxy.descriptors()}", 5)
