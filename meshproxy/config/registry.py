# -*- test-case-name: tests.config.test_registry -*-
"""
Which filter a configuration means.

As in Envoy, the type of a filter's C{typed_config} decides, and its C{name} is free; of a C{TypedStruct}, the name in
its C{type_url} decides. Filters are plugins, and none is imported before a configuration asks for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module, invalidate_caches
from importlib.machinery import PathFinder, SourceFileLoader
from importlib.util import module_from_spec
from types import ModuleType
from typing import NamedTuple

from twisted.plugin import getCache
from twisted.python.modules import getModule
from zope.interface.verify import verifyObject

import meshproxy.plugins
from meshproxy.config.constraints import checkConstraints
from meshproxy.config.near import near, nearTypes
from meshproxy.config.pool import findType, newMessage, typeName, typeURL
from meshproxy.config.section import Section
from meshproxy.config.structs import structNode
from meshproxy.config.walker import Walker
from meshproxy.errors import MeshProxyError
from meshproxy.interfaces import IClusterSpecifier, IFilterFactory, IHTTPFilter, IListenerFilter
from meshproxy.plugins import FilterPlugin

__all__ = ["FilterRegistry", "FoundFilter", "ReloadFailed", "findPlugins"]

#: Before C{package.module:Class}, where a filter is named without a plugin.
PYTHON = "python:"

#: What the classes of a kind must implement.
_INTERFACES = {"http": IHTTPFilter, "listener": IListenerFilter, "cluster_specifier": IClusterSpecifier}

#: What those of a kind are called that are no filters.
_WORDS = {"cluster_specifier": "cluster specifier plugin"}

_STRUCTS = frozenset({"xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"})


class ReloadFailed(MeshProxyError):
    """
    A filter's module could not be loaded again. What was loaded before is as it was.
    """


class FoundFilter(NamedTuple):
    """
    The filter that a configuration means.

    @ivar plugin: Its descriptor.
    @ivar filterClass: Its class.
    @ivar config: Its configuration: a message of one of its types, or a C{TypedStruct}.
    """

    plugin: IFilterFactory
    filterClass: type
    config: Section


def findPlugins() -> tuple[list[IFilterFactory], dict[str, str]]:
    """
    Find all filters that are installed.

    @return: Their descriptors; and for each plugin file that could not be loaded its name, with the reason.
    """
    failures: dict[str, str] = {}
    found: list[IFilterFactory] = []
    dropins = getCache(meshproxy.plugins)
    for module in getModule(meshproxy.plugins.__name__).iterModules():
        if module.name.rpartition(".")[2] not in dropins:
            try:
                import_module(module.name)
            except Exception as error:
                failures[module.name] = _why(error)
    for dropin in dropins.values():
        for cached in dropin.plugins:
            if IFilterFactory not in cached.provided:
                continue
            try:
                plugin = cached.load()
                verifyObject(IFilterFactory, plugin)
            except Exception as error:
                failures[f"{dropin.moduleName}.{cached.name}"] = _why(error)
            else:
                found.append(plugin)
    return found, failures


def _why(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


class FilterRegistry:
    """
    The filters that can be configured.

    @ivar plugins: Their descriptors.
    @ivar failures: Plugin files that could not be loaded, with the reason.
    """

    def __init__(
        self, plugins: Iterable[IFilterFactory] | None = None, failures: Mapping[str, str] | None = None
    ) -> None:
        """
        @param plugins: By default those of L{findPlugins}.
        """
        if plugins is None:
            plugins, failures = findPlugins()
        self.plugins: list[IFilterFactory] = list(plugins)
        self.failures: dict[str, str] = dict(failures or {})
        self._named: dict[tuple[str, str], IFilterFactory] = {}

    def names(self, kind: str) -> list[str]:
        """
        The names of all filters of a kind.
        """
        return sorted({plugin.name for plugin in self.plugins if plugin.kind == kind})

    def byName(self, kind: str, name: str) -> IFilterFactory | None:
        """
        The filter of a name; C{python:package.module:Class} needs no plugin.
        """
        if name.startswith(PYTHON) and name.count(":") == 2:
            return self._named.setdefault((kind, name), FilterPlugin(name, kind, name[len(PYTHON) :]))
        return next((plugin for plugin in self.plugins if plugin.kind == kind and plugin.name == name), None)

    def byType(self, kind: str, messageName: str) -> IFilterFactory | None:
        """
        The filter that is configured by a message, in its chain or by its routes.
        """
        for plugin in self.plugins:
            if plugin.kind == kind and messageName in _typesOf(plugin):
                return plugin
        return None

    def declare(self, messageName: str) -> None:
        """
        Load the filter that a message configures, so that it declares what it implements: a resolver for
        L{meshproxy.config.supported.addResolver}.
        """
        for plugin in self.plugins:
            if messageName in _typesOf(plugin):
                try:
                    plugin.load()
                except Exception:
                    # Whoever builds the chain is told why, at the filter's place.
                    return

    def isKnown(self, kind: str, held: Section) -> bool:
        """
        Whether there is a filter for the configuration in a C{google.protobuf.Any}; a filter that cannot be loaded is
        one all the same.
        """
        messageName = typeName(held.message.type_url)
        if messageName not in _STRUCTS:
            return self.byType(kind, messageName) is not None
        struct = held.unpack()
        if struct is None:
            return False
        name = struct.get("type_url")
        return self._byURL(kind, name) is not None or self.byType(kind, typeName(name)) is not None

    def _byURL(self, kind: str, name: str) -> IFilterFactory | None:
        return self.byName(kind, name) or self.byName(kind, typeName(name))

    def find(self, kind: str, section: Section) -> FoundFilter | None:
        """
        Find the filter of a C{HttpFilter}, a C{Filter} or a C{ListenerFilter}.

        @param kind: C{"http"}, C{"network"}, C{"listener"} or C{"cluster_specifier"}.
        @param section: The message with C{name} and C{typed_config}. Its faults are told there.

        @return: L{None} if there is none; that is then recorded.
        """
        config = section.any("typed_config")
        if config is None:
            if not section.has("typed_config") or not section.message.typed_config.type_url:
                self._refuseUntyped(kind, section)
            return None
        return self.findTyped(kind, config)

    def findTyped(self, kind: str, config: Section) -> FoundFilter | None:
        """
        Find the filter of a configuration by its type: what C{typed_config} and C{typed_per_filter_config} hold.

        @param config: The unpacked message.
        """
        if config.typeName not in _STRUCTS:
            plugin = self.byType(kind, config.typeName)
            if plugin is None:
                types = {name for plugin in self.plugins if plugin.kind == kind for name in plugin.configTypes}
                why = f"{config.typeName} configures no {_word(kind)} that is known here"
                config.refuse(why + self._known(kind), "@type", nearTypes(config.typeName, types))
                return None
            return self._loaded(plugin, config)
        name = config.get("type_url")
        plugin = self._byURL(kind, name)
        if plugin is not None:
            return self._loaded(plugin, config)
        if findType(typeName(name)) is not None:
            # Envoy: the value of a TypedStruct may be any message, written as a Struct.
            message = _messageOfStruct(config, typeName(name))
            return None if message is None else self.findTyped(kind, message)
        why = f"{name!r} is no {_word(kind)} that is known here"
        config.refuse(why + self._known(kind), "type_url", near(name, self.names(kind)))
        return None

    def _loaded(self, plugin: IFilterFactory, config: Section) -> FoundFilter | None:
        try:
            filterClass = plugin.load()
        except Exception as error:
            config.refuse(f"the filter {plugin.name} cannot be loaded from {plugin.module}: {_why(error)}")
            return None
        wanted = _INTERFACES.get(plugin.kind)
        if wanted is not None and not wanted.implementedBy(filterClass):
            config.refuse(f"{plugin.module}:{filterClass.__name__} is no {wanted.getName()}")
            return None
        return FoundFilter(plugin, filterClass, config)

    def _refuseUntyped(self, kind: str, section: Section) -> None:
        name = section.get("name")
        plugin = self.byName(kind, name)
        if plugin is None:
            why = "typed_config is needed: its type says which filter this is" + self._known(kind)
            section.refuse(why, "typed_config", near(name, self.names(kind)))
        elif plugin.configTypes:
            section.refuse(f"typed_config is needed, with '@type': {typeURL(plugin.configTypes[0])}", "typed_config")
        else:
            url = typeURL("xds.type.v3.TypedStruct")
            section.refuse(f"typed_config is needed, with '@type': {url} and type_url: {name}", "typed_config")

    def _known(self, kind: str) -> str:
        known = f"; known are {', '.join(self.names(kind)) or 'none'}"
        if self.failures:
            failed = ", ".join(f"{name} ({why})" for name, why in sorted(self.failures.items()))
            known += f"; these plugins could not be loaded: {failed}"
        return known

    def reload(self, name: str) -> list[type]:
        """
        Load a filter's module again, from what its file holds now.

        @param name: The filter's name, as a plugin has it or as C{python:package.module:Class}.

        @return: The new classes of all filters of that name. Chains that are built from now on use them.

        @raise ReloadFailed: If there is no such filter, or its new code does not load. The old code then goes on.
        """
        self.reloadModules([name])
        return [plugin.load() for plugin in self._called(name)]

    def reloadModules(self, names: Iterable[str]) -> Callable[[], None]:
        """
        Load the modules of some filters again, all or none.

        @return: What takes it back.

        @raise ReloadFailed: As of L{reload}.
        """
        before: list[ModuleType] = []

        def undo() -> None:
            for module in before:
                _install(module)

        try:
            for name in names:
                plugins = self._called(name)
                if not plugins:
                    raise ReloadFailed(f"{name!r} is no filter that is known here{self._known('http')}")
                for module in dict.fromkeys(plugin.module for plugin in plugins):
                    if module in sys.modules and all(old.__name__ != module for old in before):
                        before.append(_reloadModule(sys.modules[module]))
                for plugin in plugins:
                    _loadAgain(plugin)
        except ReloadFailed:
            undo()
            raise
        return undo

    def _called(self, name: str) -> list[IFilterFactory]:
        return [plugin for plugin in [*self.plugins, *self._named.values()] if plugin.name == name]

    def loadedFiles(self) -> dict[str, list[str]]:
        """
        The files whose code is in use, each with the names of the filters in it.
        """
        found: dict[str, list[str]] = {}
        for plugin in [*self.plugins, *self._named.values()]:
            file = getattr(sys.modules.get(plugin.module), "__file__", None)
            if file is not None:
                found.setdefault(file, []).append(plugin.name)
        return found


def _word(kind: str) -> str:
    return _WORDS.get(kind, f"{kind} filter")


def _typesOf(plugin: IFilterFactory) -> tuple[str, ...]:
    routeTypes: tuple[str, ...] = getattr(plugin, "routeConfigTypes", ())
    return plugin.configTypes + routeTypes


def _loadAgain(plugin: IFilterFactory) -> None:
    try:
        plugin.load()
    except Exception as error:
        raise ReloadFailed(f"{plugin.name} cannot be loaded, its old code stays: {_why(error)}") from error


def _reloadModule(old: ModuleType) -> ModuleType:
    """
    Put a new module in the place of one. What runs on the old one goes on with all of its names, so that a stream never
    sees half of each; C{importlib.reload} would run the new code in the old module.

    @return: The old one.

    @raise ReloadFailed: If its file does not run. Then nothing changed.
    """
    name = old.__name__
    invalidate_caches()
    parent = sys.modules.get(name.rpartition(".")[0])
    try:
        spec = PathFinder.find_spec(name, getattr(parent, "__path__", None)) or old.__spec__
        if spec is None or spec.loader is None:
            raise ImportError("nobody knows where it came from")
        fresh = module_from_spec(spec)
        _install(fresh)
        if isinstance(spec.loader, SourceFileLoader) and spec.origin is not None:
            # From the source, whatever is cached: a file that is saved twice in a second may keep its time and size.
            exec(spec.loader.source_to_code(spec.loader.get_data(spec.origin), spec.origin), vars(fresh))
        else:
            spec.loader.exec_module(fresh)
    except Exception as error:
        _install(old)
        raise ReloadFailed(f"{name} cannot be loaded again, its old code stays: {_why(error)}") from error
    return old


def _install(module: ModuleType) -> None:
    """
    Let imports find a module.
    """
    sys.modules[module.__name__] = module
    parent, _, name = module.__name__.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], name, module)


def _messageOfStruct(struct: Section, messageName: str) -> Section | None:
    """
    The message that a C{TypedStruct} holds as a C{Struct}.

    @return: L{None} if it does not fit; that is then recorded.
    """
    path = struct.pathOf("value")
    faults = len(struct.report.errors)
    message = newMessage(messageName)
    Walker(struct.report, {}).fill(structNode(struct), message, path)
    section = Section(message, path, struct.report, struct.places)
    if len(struct.report.errors) == faults:
        checkConstraints(section)
    return section if len(struct.report.errors) == faults else None
