"""
Tests for L{meshproxy.admin.home}.
"""

from __future__ import annotations

from html.parser import HTMLParser

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.admin.commands import CHOICE, FLAG, OK, Command, Parameter
from meshproxy.admin.home import homePage
from tests.admin.support import ask, makeServer


class _Page(HTMLParser):
    """
    Notes the elements of a page.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """
        An element begins.
        """
        self.elements.append((tag, dict(attributes)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """
        The attributes of each element of a kind.
        """
        return [attributes for name, attributes in self.elements if name == tag]


class HomePageTests(SynchronousTestCase):
    """
    L{homePage}.
    """

    def test_commands(self) -> None:
        """
        Each command is there: what only reads and takes nothing as a link, the rest as a form with its method.
        """
        server = makeServer()
        answer = ask(server, "/")
        self.assertEqual(answer.headers["content-type"], "text/html; charset=UTF-8")
        page = _Page(answer.text)
        links = {item["href"] for item in page.all("a")}
        forms = {item["action"]: item["method"] for item in page.all("form")}
        self.assertEqual(links | set(forms), set(server.admin.commands.commands))
        changing = {path for path, command in server.admin.commands.commands.items() if command.mutates}
        self.assertEqual({path for path, method in forms.items() if method == "post"}, changing)

    def test_fields(self) -> None:
        """
        Each field of a form belongs to one that is there.
        """
        page = _Page(ask(makeServer(), "/").text)
        forms = {item["id"] for item in page.all("form")}
        self.assertEqual(len(forms), len(page.all("form")))
        self.assertLessEqual({item["form"] for item in [*page.all("input"), *page.all("select")]}, forms)

    def test_escaped(self) -> None:
        """
        Whatever stands in names, help and node, it makes no element.
        """
        evil = "<script>alert('1')</script>"
        parameters = (Parameter(evil, evil), Parameter(evil, evil, FLAG), Parameter(evil, evil, CHOICE, (evil,)))
        commands = [
            Command("/" + evil, evil, lambda server, request: OK),
            Command("/x" + evil, evil, lambda server, request: OK, True, parameters),
        ]
        text = homePage(commands, evil, evil).body
        assert isinstance(text, str)
        self.assertEqual(_Page(text).all("script"), [])
        self.assertNotIn("alert('", text)

    def test_policy(self) -> None:
        """
        The browser is told to run nothing, load nothing, and show the page in no frame.
        """
        answer = ask(makeServer(), "/")
        self.assertIn("default-src 'none'", answer.headers["content-security-policy"])
        self.assertIn("frame-ancestors 'none'", answer.headers["content-security-policy"])
        self.assertEqual(answer.headers["x-frame-options"], "DENY")

    def test_node(self) -> None:
        """
        The page says whose it is, and how that one is.
        """
        server = makeServer()
        self.assertIn("Node node-1, LIVE", ask(server, "/").text)
        server.failedHealthCheck = True
        self.assertIn("Node node-1, DRAINING", ask(server, "/").text)
