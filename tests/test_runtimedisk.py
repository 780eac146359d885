"""
Tests for L{meshproxy.runtimedisk}, and for L{meshproxy.runtime} where it reads directories.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.runtime import Runtime
from meshproxy.runtimedisk import DiskLayer, RuntimeFault
from meshproxy.stats import Store

LAYERED = "envoy.config.bootstrap.v3.LayeredRuntime"
DISK = "envoy.config.bootstrap.v3.RuntimeLayer.DiskLayer"


class DiskCase(SynchronousTestCase):
    """
    A folder with a link C{current} to another one.
    """

    def setUp(self) -> None:
        """
        Make them.
        """
        self.folder = Path(self.mktemp())
        self.write("first/v/a/b", "1")
        (self.folder / "current").symlink_to("first")

    def write(self, name: str, text: str | bytes) -> None:
        """
        Write a file.
        """
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)

    def link(self, to: str) -> None:
        """
        Let the link lead elsewhere, in one step.
        """
        (self.folder / "next").symlink_to(to)
        (self.folder / "next").replace(self.folder / "current")

    def fields(self, **fields: Any) -> dict[str, Any]:
        """
        Of a C{DiskLayer}.
        """
        return {"symlink_root": str(self.folder / "current"), "subdirectory": "v", **fields}


class DiskLayerTests(DiskCase):
    """
    L{DiskLayer}.
    """

    def layer(self, **fields: Any) -> DiskLayer:
        """
        A layer of a node in the cluster C{c}.
        """
        return DiskLayer(Section.of(DISK, self.fields(**fields)), "c")

    def test_texts(self) -> None:
        """
        Paths are keys; comments and blanks at the end do not count, and a file without more is an empty value.
        """
        self.write("first/v/a/c/d", "# one\nx: 1\n#two\ny: 2 \n\n")
        self.write("first/v/none", "# nothing\n")
        self.assertEqual(self.layer().texts(), {"a.b": "1", "a.c.d": "x: 1\ny: 2", "none": ""})

    def test_serviceCluster(self) -> None:
        """
        A directory for each cluster of nodes.
        """
        self.assertIsNone(self.layer(append_service_cluster=True).texts())
        self.write("first/v/c/own", "2")
        self.assertEqual(self.layer(append_service_cluster=True).texts(), {"own": "2"})

    def test_changes(self) -> None:
        """
        Another link is a change, told once; what is written below it is none.
        """
        layer = self.layer()
        self.write("first/v/new", "2")
        self.assertFalse(layer.hasChanged())
        self.write("second/v/a", "2")
        self.link("second")
        self.assertTrue(layer.hasChanged())
        self.assertFalse(layer.hasChanged())
        (self.folder / "current").unlink()
        self.assertTrue(layer.hasChanged())

    def test_limits(self) -> None:
        """
        A tree that is too deep, or no text, is a fault.
        """
        self.write("first/v/" + "d/" * 17 + "file", "1")
        self.assertRaises(RuntimeFault, self.layer().texts)
        self.link("second")
        self.write("second/v/x", b"\xff")
        self.assertRaises(RuntimeFault, self.layer().texts)
        with (self.folder / "second/v/x").open("wb") as file:
            file.truncate((16 << 20) + 1)
        self.assertRaises(RuntimeFault, self.layer().texts)


class LayeredTests(DiskCase):
    """
    L{Runtime} with directories.
    """

    def setUp(self) -> None:
        """
        A runtime with a layer below the directory and one above it.
        """
        super().setUp()
        self.store = Store()
        self.runtime = Runtime(scope=self.store.scope())
        layers = [
            {"name": "base", "static_layer": {"a": {"b": 9}, "x": 9}},
            {"name": "disk", "disk_layer": self.fields()},
            {"name": "admin", "admin_layer": {}},
        ]
        self.runtime.update(Section.of(LAYERED, {"layers": layers}))

    def test_reread(self) -> None:
        """
        Values of files stand over those below. Another directory takes their place, what was written stays.
        """
        self.runtime.modify({"y": "5"})
        self.assertEqual([self.runtime.number(key, 0) for key in ("a.b", "x", "y")], [1, 9, 5])
        self.write("second/v/x", "2")
        self.link("second")
        self.runtime.refresh()
        self.assertEqual([self.runtime.number(key, 0) for key in ("a.b", "x", "y")], [9, 2, 5])
        self.link("third")
        self.runtime.refresh()
        self.assertEqual(self.runtime.snapshot()["layers"], ["base", "admin"])
        self.assertEqual(self.store.counters["runtime.override_dir_not_exists"].value, 1)
        self.assertEqual(self.store.counters["runtime.override_dir_exists"].value, 2)

    def test_unchanged(self) -> None:
        """
        Nothing is read again where nothing changed.
        """
        loads = self.store.counters["runtime.load_success"].value
        self.runtime.refresh()
        self.assertEqual(self.store.counters["runtime.load_success"].value, loads)

    def test_fault(self) -> None:
        """
        A directory with a fault is left out, counted and told.
        """
        self.write("second/v/x", "[1, 2]")
        self.link("second")
        self.runtime.refresh()
        self.assertEqual(self.runtime.snapshot()["layers"], ["base", "admin"])
        self.assertEqual(self.store.counters["runtime.load_error"].value, 1)
