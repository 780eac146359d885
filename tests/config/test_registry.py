"""
L{meshproxy.config.registry}.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

import meshproxy.plugins
from meshproxy.config import sectionFromYAML
from meshproxy.config.registry import FilterRegistry, FoundFilter, ReloadFailed, findPlugins
from meshproxy.plugins import FilterPlugin

FILTER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter"
FAULT = "envoy.extensions.filters.http.fault.v3.HTTPFault"
GREETER = """
from zope.interface import implementer
from meshproxy.http.filter import HTTPFilter
class Greeter(HTTPFilter):
    word = "hello"
class Silent:
    pass
"""


def struct(name: str, value: str = "{}") -> str:
    """
    An C{HttpFilter} with a C{TypedStruct}.
    """
    return (
        "{name: mine, typed_config: {'@type': type.googleapis.com/xds.type.v3.TypedStruct, "
        f"type_url: '{name}', value: {value}}}}}"
    )


class RegistryTests(SynchronousTestCase):
    """
    With a module of its own that holds two classes.
    """

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.file = folder / "registrygreeter.py"
        self.file.write_text(GREETER)
        for patched in (
            patch.object(sys, "path", [str(folder), *sys.path]),
            patch.object(sys, "dont_write_bytecode", True),
            patch.dict(sys.modules),
        ):
            patched.start()
            self.addCleanup(patched.stop)
        self.registry = FilterRegistry(
            [
                FilterPlugin("example.greeter", "http", "registrygreeter:Greeter", routeConfigTypes=("example.Route",)),
                FilterPlugin("envoy.filters.http.fault", "http", "registrygreeter:Greeter", (FAULT,)),
                FilterPlugin("example.silent", "http", "registrygreeter:Silent"),
                FilterPlugin("example.missing", "http", "registrymissing:Nothing"),
                FilterPlugin("example.raw", "network", "registrygreeter:Silent"),
            ],
            {"broken.py": "SyntaxError: no"},
        )

    def found(self, text: str, kind: str = "http") -> FoundFilter:
        """
        What is found for an C{HttpFilter}, without a fault.
        """
        section = sectionFromYAML(FILTER, text)
        found = self.registry.find(kind, section)
        section.report.raiseIfAny()
        assert found is not None
        return found

    def fault(self, text: str) -> str:
        """
        Why nothing is found.
        """
        section = sectionFromYAML(FILTER, text)
        self.assertIsNone(self.registry.find("http", section))
        (error,) = section.report.errors
        return str(error)

    def test_byType(self) -> None:
        """
        The type of C{typed_config} decides, and the name is free.
        """
        found = self.found(f"{{name: any name, typed_config: {{'@type': type.googleapis.com/{FAULT}}}}}")
        self.assertEqual(found.plugin.name, "envoy.filters.http.fault")
        self.assertEqual(found.filterClass.__name__, "Greeter")
        self.assertEqual(found.config.typeName, FAULT)

    def test_byStruct(self) -> None:
        """
        The name in a C{TypedStruct} decides, with or without the host of a type URL before it.
        """
        for name in ("example.greeter", "type.googleapis.com/example.greeter"):
            found = self.found(struct(name))
            self.assertEqual((found.plugin.name, found.config.typeName), ("example.greeter", "xds.type.v3.TypedStruct"))

    def test_isKnown(self) -> None:
        """
        A filter is known by its type or by the name in a C{TypedStruct}, be it that its module is missing.
        """
        for text, known in (
            (f"{{name: x, typed_config: {{'@type': type.googleapis.com/{FAULT}}}}}", True),
            ("{name: x, typed_config: {'@type': type.googleapis.com/google.protobuf.Empty}}", False),
            (struct("example.greeter"), True),
            (struct("example.missing"), True),
            (struct(f"type.googleapis.com/{FAULT}"), True),
            (struct("example.raw"), False),
            (struct("nowhere"), False),
        ):
            held = sectionFromYAML(FILTER, text).childOrEmpty("typed_config")
            self.assertIs(self.registry.isKnown("http", held), known, text)

    def test_python(self) -> None:
        """
        A class may be named without a plugin.
        """
        self.assertEqual(self.found(struct("python:registrygreeter:Greeter")).filterClass.__name__, "Greeter")

    def test_pythonNoFilter(self) -> None:
        """
        A class that is no HTTP filter is refused, found by whichever way; of other kinds it may be.
        """
        self.assertIn("registrygreeter:Silent is no IHTTPFilter", self.fault(struct("python:registrygreeter:Silent")))
        self.assertIn("registrygreeter:Silent is no IHTTPFilter", self.fault(struct("example.silent")))
        self.assertEqual(self.found(struct("example.raw"), "network").filterClass.__name__, "Silent")

    def test_messageInStruct(self) -> None:
        """
        As in Envoy, a C{TypedStruct} may hold a message; what does not fit is told at its place.
        """
        url = f"type.googleapis.com/{FAULT}"
        config = self.found(struct(url, "{delay: {fixed_delay: 2s}}")).config
        self.assertEqual(config.childOrEmpty("delay").seconds("fixed_delay"), 2.0)
        self.assertIn("typed_config.value.dealy", self.fault(struct(url, "{dealy: {}}")))
        self.assertIn("typed_config.value.delay", self.fault(struct(url, "{delay: {}}")))

    def test_unknownName(self) -> None:
        """
        An unknown name lists the known ones, the nearest, and the plugins that did not load.
        """
        why = self.fault(struct("example.greter"))
        self.assertIn("'example.greter' is no http filter that is known here", why)
        self.assertIn("known are envoy.filters.http.fault, example.greeter, example.missing, example.silent", why)
        self.assertIn("broken.py (SyntaxError: no)", why)
        self.assertIn("did you mean example.greeter", why)
        self.assertNotIn("example.raw", why)

    def test_unknownType(self) -> None:
        """
        So does a type that configures no filter.
        """
        cors = "envoy.extensions.filters.http.cors.v3.Cors"
        why = self.fault(f"{{name: x, typed_config: {{'@type': type.googleapis.com/{cors}}}}}")
        self.assertIn(f"{cors} configures no http filter", why)
        self.assertIn("envoy.filters.http.fault", why)

    def test_untyped(self) -> None:
        """
        The name alone, which Envoy does not take either, is told what is missing.
        """
        self.assertIn(f"'@type': type.googleapis.com/{FAULT}", self.fault("name: envoy.filters.http.fault"))
        self.assertIn("type_url: example.greeter", self.fault("name: example.greeter"))
        self.assertIn("did you mean example.greeter", self.fault("name: example.greter"))

    def test_brokenModule(self) -> None:
        """
        A filter whose module does not load is refused with the reason; the others are not touched.
        """
        self.assertIn("ModuleNotFoundError: No module named 'registrymissing'", self.fault(struct("example.missing")))
        self.assertEqual(self.found(struct("example.greeter")).filterClass.__name__, "Greeter")

    def test_routeTypes(self) -> None:
        """
        A filter is found by the messages of its routes too.
        """
        found = self.registry.byType("http", "example.Route")
        assert found is not None
        self.assertEqual(found.name, "example.greeter")
        self.assertIsNone(self.registry.byType("network", "example.Route"))

    def test_declare(self) -> None:
        """
        Asked about a message, the registry loads the filter; a broken one, or none, is no error there.
        """
        self.registry.declare("example.unknown")
        self.assertNotIn("registrygreeter", sys.modules)
        self.registry.declare(FAULT)
        self.assertIn("registrygreeter", sys.modules)
        FilterRegistry([FilterPlugin("x", "http", "registrymissing:X", ("example.X",))]).declare("example.X")

    def test_reload(self) -> None:
        """
        The module is run again, and what is found from then on is the new class.
        """
        old = self.found(struct("example.greeter")).filterClass
        self.file.write_text(GREETER.replace("hello", "good evening"))
        self.assertEqual(
            [getattr(cls, "word", "") for cls in self.registry.reload("example.greeter")], ["good evening"]
        )
        new = self.found(struct("example.greeter")).filterClass
        self.assertEqual((getattr(old, "word", ""), getattr(new, "word", "")), ("hello", "good evening"))

    def test_reloadFails(self) -> None:
        """
        New code that raises leaves the old code as it was, even what the new code had already replaced.
        """
        self.found(struct("python:registrygreeter:Greeter"))
        for bad in ("class Greeter:\n    word = 'half'\nraise ValueError('later')", "class Greeter(:"):
            self.file.write_text(bad)
            with self.assertRaises(ReloadFailed) as caught:
                self.registry.reload("python:registrygreeter:Greeter")
            self.assertIn("its old code stays", str(caught.exception))
        found = self.found(struct("python:registrygreeter:Greeter")).filterClass
        self.assertEqual(getattr(found, "word", ""), "hello")

    def test_reloadKeepsOldNames(self) -> None:
        """
        What runs on the old code keeps all names of its module; imports find the new one.
        """
        old = self.found(struct("example.greeter")).filterClass
        before = sys.modules["registrygreeter"]
        self.file.write_text(GREETER.replace("hello", "bye") + "\nNEW = 1\n")
        self.registry.reload("example.greeter")
        self.assertIs(sys.modules[old.__module__], sys.modules["registrygreeter"])
        self.assertIsNot(sys.modules["registrygreeter"], before)
        self.assertFalse(hasattr(before, "NEW"))

    def test_reloadAtOnce(self) -> None:
        """
        A file that is saved again with the time and the size that it had is read all the same.
        """
        self.found(struct("example.greeter"))
        stamp = self.file.stat()
        self.file.write_text(GREETER.replace("hello", "salve"))
        os.utime(self.file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        self.assertEqual([getattr(cls, "word", "") for cls in self.registry.reload("example.greeter")], ["salve"])

    def test_reloadTakenBack(self) -> None:
        """
        A reload can be taken back, for a reason that shows later.
        """
        self.found(struct("example.greeter"))
        self.file.write_text(GREETER.replace("hello", "bye"))
        undo = self.registry.reloadModules(["example.greeter"])
        self.assertEqual(getattr(self.found(struct("example.greeter")).filterClass, "word", ""), "bye")
        undo()
        self.assertEqual(getattr(self.found(struct("example.greeter")).filterClass, "word", ""), "hello")

    def test_reloadAllOrNone(self) -> None:
        """
        If one of several cannot be reloaded, none is.
        """
        self.found(struct("example.greeter"))
        self.file.write_text(GREETER.replace("hello", "bye"))
        self.assertRaises(ReloadFailed, self.registry.reloadModules, ["example.greeter", "nobody"])
        self.assertEqual(getattr(self.found(struct("example.greeter")).filterClass, "word", ""), "hello")

    def test_loadedFiles(self) -> None:
        """
        Files are told once their code is in use, with the names of what is in them.
        """
        self.assertNotIn(str(self.file), self.registry.loadedFiles())
        self.found(struct("example.greeter"))
        self.found(struct("python:registrygreeter:Greeter"))
        names = {Path(path).name: names for path, names in self.registry.loadedFiles().items()}
        self.assertIn("example.greeter", names[self.file.name])
        self.assertIn("python:registrygreeter:Greeter", names[self.file.name])

    def test_reloadUnknown(self) -> None:
        """
        A name that nobody has is told.
        """
        with self.assertRaises(ReloadFailed) as caught:
            self.registry.reload("nobody")
        self.assertIn("'nobody' is no filter", str(caught.exception))


class FindPluginsTests(SynchronousTestCase):
    """
    L{findPlugins} on plugin files.
    """

    def test_builtin(self) -> None:
        """
        The built-in filters are found, each by a type of its own, and no plugin file is broken.
        """
        registry = FilterRegistry()
        self.assertEqual(registry.failures, {})
        self.assertIn("envoy.filters.http.router", registry.names("http"))
        self.assertIn("envoy.filters.network.tcp_proxy", registry.names("network"))
        types = [name for plugin in registry.plugins for name in plugin.configTypes]
        self.assertEqual(len(types), len(set(types)))

    def test_brokenFile(self) -> None:
        """
        A plugin file that raises is reported with its reason, and hides no other.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "brokenplugin.py").write_text("import nothing_of_this_name")
        (folder / "goodplugin.py").write_text(
            "from meshproxy.plugins import FilterPlugin\ng = FilterPlugin('example.g', 'http', 'example:G')\n"
        )
        self.patch(meshproxy.plugins, "__path__", [str(folder)])
        for name in ("brokenplugin", "goodplugin"):
            self.addCleanup(sys.modules.pop, f"meshproxy.plugins.{name}", None)
        found, failures = findPlugins()
        self.assertEqual([plugin.name for plugin in found], ["example.g"])
        self.assertEqual(list(failures), ["meshproxy.plugins.brokenplugin"])
        self.assertIn("nothing_of_this_name", failures["meshproxy.plugins.brokenplugin"])
        self.flushLoggedErrors(ModuleNotFoundError)
