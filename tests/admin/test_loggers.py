"""
Tests for L{meshproxy.admin.loggers}.
"""

from __future__ import annotations

from importlib.util import find_spec

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.admin import loggers
from meshproxy.admin.loggers import LOGGERS, setLevels
from meshproxy.logs import LogLevels
from tests.admin.support import ask, makeServer


class LoggingTests(SynchronousTestCase):
    """
    C{/logging}.
    """

    def setUp(self) -> None:
        """
        Levels of this test's own, and a proxy.
        """
        self.levels = LogLevels()
        self.patch(loggers, "levels", self.levels)
        self.server = makeServer()

    def post(self, query: str) -> dict[str, str]:
        """
        The levels that an answer lists, by logger.
        """
        answer = ask(self.server, "/logging" + query, "POST")
        self.assertEqual(answer.status, 200, answer.text)
        self.assertTrue(answer.text.startswith("active loggers:\n"))
        return dict(line.strip().rsplit(": ", 1) for line in answer.text.splitlines()[1:] if line)

    def test_lists(self) -> None:
        """
        Without parameters, or with those that a form left empty, all levels are listed and stay.
        """
        for query in ("", "?paths=&level="):
            self.assertEqual(self.post(query), dict.fromkeys(LOGGERS, "info"))

    def test_get(self) -> None:
        """
        Envoy wants POST, even to read.
        """
        answer = ask(self.server, "/logging")
        self.assertEqual((answer.status, answer.text), (405, "Method GET not allowed, POST required."))

    def test_all(self) -> None:
        """
        C{level} changes all.
        """
        self.assertEqual(set(self.post("?level=debug").values()), {"debug"})
        self.assertEqual(self.levels.default, "debug")

    def test_one(self) -> None:
        """
        One logger by Envoy's name, or by the namespace that the log shows. A narrower name follows a wider one.
        """
        found = self.post("?http=trace")
        self.assertEqual((found["http"], found["router"], found["admin"]), ("trace", "trace", "info"))
        self.assertEqual(self.post("?meshproxy.mine=error")["meshproxy.mine"], "error")

    def test_paths(self) -> None:
        """
        Several at once; names may hold colons.
        """
        found = self.post("?paths=upstream:warning,rbac:debug")
        self.assertEqual((found["upstream"], found["rbac"], found["pool"]), ("warning", "debug", "warning"))

    def test_wrong(self) -> None:
        """
        Unknown names and levels, and more than one parameter, are 400 with the usage; nothing changes.
        """
        for query, why in (
            ("level=loud", "unknown logger level"),
            ("paths=admin:debug,nobody:debug", "unknown logger name"),
            ("paths=admin", "empty logger name or empty logger level"),
            ("paths=:info", "empty logger name or empty logger level"),
            ("nobody=debug", "unknown logger name"),
            ("admin=debug&http=debug", "invalid number of parameters"),
        ):
            answer = ask(self.server, "/logging?" + query, "POST")
            self.assertEqual(answer.status, 400)
            self.assertTrue(answer.text.startswith(f"error: {why}\n\nusage: /logging?<name>=<level>"), answer.text)
            self.assertIn("levels: trace debug info warning error critical off \n", answer.text)
        self.assertEqual((self.levels.default, self.levels.byNamespace), ("info", {}))

    def test_setLevels(self) -> None:
        """
        C{off} is a level, for all and for one.
        """
        self.assertIsNone(setLevels({"level": "off"}, self.levels))
        self.assertIsNone(setLevels({"admin": "off"}, self.levels))
        self.assertEqual(self.levels.byNamespace, {"meshproxy.admin": "off"})

    def test_parents(self) -> None:
        """
        Names stand for distinct parts; of those that are here already, the modules exist.
        """
        self.assertEqual(len(set(LOGGERS.values())), len(LOGGERS))
        for name in ("admin", "http", "upstream", "connection", "conn_handler", "main", "router", "pool", "config"):
            self.assertIsNotNone(find_spec(LOGGERS[name]), name)
