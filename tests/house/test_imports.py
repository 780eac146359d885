"""
Which room may import which.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tests.house.source import Module, modules, parsed

#: Each room imports only rooms of later lines.
ORDER = (
    {"tap"},
    {"commandline", "process"},
    {"dryrun"},
    {"server"},
    {"admin", "workers"},
    {"configuration"},
    {"logs", "reload"},
    {"identity"},
    {"xds"},
    {"listener"},
    {"http"},
    {"upstream"},
    {"routing"},
    {"grpc", "secrets", "accesslog", "tracing"},
    {"net", "runtime", "overload"},
    {"runtimedisk"},
    {"stats"},
    {"config"},
    {"interfaces"},
    {"codec", "headers", "flags"},
    {"errors"},
)

#: Rooms of one line that may look at each other all the same.
NEIGHBOURS = {
    "codec": {"headers", "flags"},
    "net": {"runtime", "overload"},
    "runtime": {"net", "overload"},
    "overload": {"net", "runtime"},
}

#: What every room may import: the version, and the package through which plugins are found.
EVERYWHERE = {"__version__", "plugins"}

RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}


def _from(room: str) -> set[str]:
    """
    A room's line and every later one.
    """
    return set().union(*ORDER[RANK[room] :])


def roomOf(name: str) -> str:
    """
    The room a full name lies in: the part after C{meshproxy}, empty for the package itself.
    """
    return (name.split(".") + [""])[1]


def _filterFile(name: str) -> tuple[str, ...]:
    return tuple(name.split(".")[2:4])


def mayImport(importer: str, imported: str) -> bool:
    """
    Whether a module may import a name of this package.

    @param importer: The full name of the module.
    @param imported: The full name that it imports.
    """
    here, there = roomOf(importer), roomOf(imported)
    if here == "testing" or (here == there and here != "filters"):
        return True
    if there in EVERYWHERE:
        return True
    if here == "plugins":
        # Descriptors name modules; they load none.
        return there in _from("interfaces")
    if here == "filters":
        if there == "filters":
            return _filterFile(importer) == _filterFile(imported)
        return there in _from("http")
    if here == "controlplane":
        if there == "xds":
            return imported.split(".")[2:3] == ["types"]
        if there in ("server", "identity"):
            return importer.split(".")[2:3] == ["demo"]
        return there in _from("grpc")
    if here not in RANK or there not in RANK:
        return False
    return RANK[there] > RANK[here] or there in NEIGHBOURS.get(here, ())


def faults(module: Module) -> list[str]:
    """
    The imports of a module that point the wrong way.
    """
    ours = sorted(name for name in module.imports if name.split(".")[0] == "meshproxy")
    return [f"{module.name} imports {name}" for name in ours if not mayImport(module.name, name)]


class ImportDirectionTests(SynchronousTestCase):
    """
    Imports go one way through the rooms.
    """

    maxDiff = None

    def _all(self, rule: Callable[[Module], list[str]]) -> list[str]:
        return [fault for module in modules() if module.name != "meshproxy" for fault in rule(module)]

    def test_direction(self) -> None:
        """
        No module imports a room to the left of its own, under TYPE_CHECKING neither.
        """
        self.assertEqual(self._all(faults), [])

    def test_everyRoomHasAPlace(self) -> None:
        """
        Each module lies in a room that the order knows, so that none escapes the rule.
        """
        known = set(RANK) | {"filters", "controlplane", "testing", "plugins", "_build"}
        self.assertEqual({roomOf(module.name) for module in modules() if module.name != "meshproxy"} - known, set())

    def test_noRelativeNamesOfOldPaths(self) -> None:
        """
        Nothing imports C{filters} or C{controlplane} by the bare name, which belongs to other distributions.
        """
        bare = {"filters", "controlplane"}

        def rule(module: Module) -> list[str]:
            return [f"{module.name}: {name}" for name in module.imports if name.split(".")[0] in bare]

        self.assertEqual(self._all(rule), [])

    def test_codecKnowsNoTwisted(self) -> None:
        """
        A codec is bytes and values: it runs under any event loop.
        """

        def rule(module: Module) -> list[str]:
            if roomOf(module.name) not in ("codec", "headers", "errors"):
                return []
            return [f"{module.name}: {name}" for name in module.imports if name.split(".")[0] in ("twisted", "zope")]

        found = [line for line in self._all(rule) if ": zope.interface." not in line]
        self.assertEqual(found, [])

    def test_noGlobalReactor(self) -> None:
        """
        The reactor is handed in: importing a module installs none.
        """

        def rule(module: Module) -> list[str]:
            return [
                f"{module.name}: {name}"
                for name in module.importsWhenLoaded
                if name.startswith("twisted.internet.reactor")
            ]

        self.assertEqual(self._all(rule), [])

    def test_buildStandsAlone(self) -> None:
        """
        L{meshproxy._build} runs before there is an installation, so it needs nothing of the package, and the
        package, which is installed without setuptools, needs nothing of it.
        """
        (build,) = [module for module in modules() if module.name == "meshproxy._build"]
        self.assertEqual([name for name in build.imports if name.startswith("meshproxy")], [])
        self.assertEqual(self._all(lambda module: [n for n in module.imports if n.startswith("meshproxy._build")]), [])


class RuleTests(SynchronousTestCase):
    """
    The rules above refuse what they should, so that a green L{ImportDirectionTests} means something.
    """

    def _faults(self, name: str, *lines: str, isPackage: bool = False) -> list[str]:
        return faults(parsed(name, "\n".join(lines), isPackage))

    def test_leftwards(self) -> None:
        """
        A room that stands further left is refused, wherever the import hides.
        """
        for text in (
            "import meshproxy.http.stream",
            "from meshproxy.http import stream",
            "from meshproxy import http",
            "def f():\n    from meshproxy.http import stream",
            "if TYPE_CHECKING:\n    from meshproxy.http.stream import Stream",
            "from ..http import stream",
        ):
            self.assertEqual(len(self._faults("meshproxy.routing.table", text)), 1, text)

    def test_rightwards(self) -> None:
        """
        Rooms to the right are open, any of them.
        """
        lines = ["from meshproxy.config import Section", "from meshproxy.errors import ConfigError", "import os"]
        self.assertEqual(self._faults("meshproxy.routing.table", *lines), [])

    def test_relative(self) -> None:
        """
        One dot in a package's C{__init__} is the package itself.
        """
        self.assertEqual(self._faults("meshproxy.routing", "from .table import Table", isPackage=True), [])
        self.assertEqual(
            self._faults("meshproxy.routing", "from ..http import stream", isPackage=True),
            ["meshproxy.routing imports meshproxy.http.stream"],
        )

    def test_neighbours(self) -> None:
        """
        Rooms that stand together do not see each other, but for the few that are named.
        """
        self.assertTrue(mayImport("meshproxy.codec.http1", "meshproxy.headers.HeaderMap"))
        self.assertFalse(mayImport("meshproxy.headers", "meshproxy.codec.http1"))
        self.assertFalse(mayImport("meshproxy.secrets.files", "meshproxy.tracing.span"))
        self.assertTrue(mayImport("meshproxy.net.tcp", "meshproxy.runtime.Runtime"))

    def test_filters(self) -> None:
        """
        A filter sees C{http} and what stands right of it, and never another filter.
        """
        cors = "meshproxy.filters.http.cors"
        self.assertTrue(mayImport(cors, "meshproxy.http.filters.Callbacks"))
        self.assertFalse(mayImport(cors, "meshproxy.listener.chain"))
        self.assertFalse(mayImport(cors, "meshproxy.filters.http.csrf"))
        self.assertFalse(mayImport("meshproxy.http.chain", cors))

    def test_controlplane(self) -> None:
        """
        The control plane sees the xDS types and C{grpc} rightwards; its demo alone runs proxies.
        """
        self.assertTrue(mayImport("meshproxy.controlplane.xds.server", "meshproxy.xds.types.Snapshot"))
        self.assertFalse(mayImport("meshproxy.controlplane.xds.server", "meshproxy.xds.client"))
        self.assertFalse(mayImport("meshproxy.controlplane.ca.root", "meshproxy.routing.table"))
        self.assertTrue(mayImport("meshproxy.controlplane.demo.mesh", "meshproxy.server.Server"))
        self.assertFalse(mayImport("meshproxy.controlplane.api.rest", "meshproxy.server.Server"))
        self.assertFalse(mayImport("meshproxy.server", "meshproxy.controlplane.store"))

    def test_testing(self) -> None:
        """
        The kit imports anything, and nothing imports the kit.
        """
        self.assertTrue(mayImport("meshproxy.testing.mesh", "meshproxy.filters.http.cors"))
        self.assertFalse(mayImport("meshproxy.server", "meshproxy.testing.mesh"))

    def test_whenLoaded(self) -> None:
        """
        An import inside a function or under TYPE_CHECKING does not run when the module loads; one under C{try}
        or in a class does.
        """
        module = parsed(
            "meshproxy.net.x",
            "if TYPE_CHECKING:\n    import a\ndef f():\n    import b\ntry:\n    import c\nexcept E:\n    import d\n"
            "class C:\n    import e\n    def g(self):\n        import f\n",
        )
        self.assertEqual(module.importsWhenLoaded, {"c", "d", "e"})
