"""
The plugin package: descriptors of filters, found by L{twisted.plugin.getPlugins}.

Each module here, and in the C{meshproxy/plugins} folder (one without C{__init__.py}) of any other
distribution, holds lazy descriptors only: names of modules, never the modules.
"""

from twisted.plugin import pluginPackagePaths

__all__: list[str] = []

__path__.extend(pluginPackagePaths(__name__))
