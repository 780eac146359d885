"""
Tests for L{meshproxy.config.sources}.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Report, Section
from meshproxy.config.sources import ConfigSource, compileSource, readNodes, readResources
from meshproxy.errors import ConfigErrors

_RDS = "envoy.extensions.filters.network.http_connection_manager.v3.Rds"
_ROUTES = "envoy.config.route.v3.RouteConfiguration"


def _typed(name: str, typeName: str = _ROUTES) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/{typeName}", "name": name}


class SourceTests(SynchronousTestCase):
    """
    L{compileSource} reads a C{ConfigSource}.
    """

    def compiled(self, source: dict[str, Any] | None, hasStream: bool = False) -> tuple[ConfigSource, str]:
        """
        A source, and what is wrong with it.
        """
        value: dict[str, Any] = {"route_config_name": "r"}
        if source is not None:
            value["config_source"] = source
        owner = Section.of(_RDS, value)
        found = compileSource(owner.child("config_source"), owner, "config_source", hasStream)
        return found, "\n".join(map(str, owner.report.errors))

    def test_files(self) -> None:
        """
        A file may be named in two ways; it has to be there.
        """
        path = self.mktemp()
        with open(path, "w"):
            pass
        for source in ({"path": path}, {"path_config_source": {"path": path}}):
            self.assertEqual(self.compiled(source), (ConfigSource(path), ""))
        told = self.compiled({"path_config_source": {"path": "/nowhere/x"}})[1]
        self.assertIn("config_source.path_config_source: '/nowhere/x' does not exist", told)

    def test_stream(self) -> None:
        """
        A control plane has to be there, too; how long its first response may take is read.
        """
        source = {"ads": {}, "initial_fetch_timeout": "3s"}
        self.assertEqual(self.compiled(source, True), (ConfigSource("", 3.0), ""))
        self.assertIn("config_source.ads: nothing comes by ads", self.compiled(source)[1])

    def test_others(self) -> None:
        """
        Other sources, and none, are refused with what there is.
        """
        api = {"api_config_source": {"api_type": "GRPC", "transport_api_version": "V3"}}
        self.assertIn("config_source.api_config_source: of the sources, path_config_source", self.compiled(api)[1])
        self.assertIn("config_source: a source is needed", self.compiled(None)[1])


class ResourcesTests(SynchronousTestCase):
    """
    L{readResources} reads what is in a file.
    """

    def read(self, *resources: dict[str, Any], **more: Any) -> dict[str, Section]:
        """
        The resources of a file of routes.
        """
        self.path = self.mktemp() + ".json"
        with open(self.path, "w") as file:
            json.dump({"version_info": "7", "resources": resources, **more}, file)
        report = Report()
        found = readResources(self.path, readNodes(self.path, report), _ROUTES, report)
        self.assertEqual(found.version, "7")
        return dict(found.resources)

    def refused(self, *resources: dict[str, Any], **more: Any) -> str:
        """
        What is wrong with it.
        """
        return str(self.assertRaises(ConfigErrors, self.read, *resources, **more))

    def test_named(self) -> None:
        """
        Resources come by their names, and know their places.
        """
        found = self.read(_typed("a"), _typed("b"))
        self.assertEqual(list(found), ["a", "b"])
        self.assertEqual((found["b"].path, found["b"].place.file), ("resources[1]", self.path))

    def test_wrapped(self) -> None:
        """
        One that is wrapped as in delta responses is taken out.
        """
        wrapped = {**_typed("x", "envoy.service.discovery.v3.Resource"), "resource": _typed("a")}
        self.assertEqual(list(self.read(wrapped)), ["a"])

    def test_faults(self) -> None:
        """
        Resources of another type, two of one name, and nothing where one is to be.
        """
        told = self.refused(_typed("c", "envoy.config.cluster.v3.Cluster"))
        self.assertIn("resources[0].@type: is a envoy.config.cluster.v3.Cluster", told)
        self.assertIn(f"{self.path}:1:", told)
        self.assertIn("two resources of the name 'a'", self.refused(_typed("a"), _typed("a")))
        empty = {"@type": "type.googleapis.com/envoy.service.discovery.v3.Resource", "name": "x"}
        self.assertIn("resources[0]: holds no resource", self.refused(empty))
        self.assertIn("did you mean resources?", self.refused(resource=[]))

    def test_text(self) -> None:
        """
        A file without anything in it, without JSON, or that is gone, is told before it is looked into.
        """
        path = self.mktemp() + ".json"
        for text, why in (("", ""), ("null", "holds nothing"), ("{", ":1:2")):
            with open(path, "w") as file:
                file.write(text)
            self.assertIn(why, str(self.assertRaises(ConfigErrors, readNodes, path, Report())))
        self.assertIn("cannot be read", str(self.assertRaises(ConfigErrors, readNodes, path + "x", Report())))
