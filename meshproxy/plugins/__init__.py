"""
The plugin package: descriptors of filters, found by L{twisted.plugin.getPlugins}.

Each module here, and in the C{meshproxy/plugins} folder (one without C{__init__.py}) of any other
distribution, holds lazy descriptors only: names of modules, never the modules. L{FilterPlugin} is one.
"""

from twisted.plugin import pluginPackagePaths

from meshproxy.plugins.descriptor import FilterPlugin

__all__ = ["FilterPlugin"]

__path__.extend(pluginPackagePaths(__name__))
