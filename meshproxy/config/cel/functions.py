# -*- test-case-name: tests.config.cel.test_functions -*-
"""
Which functions there are: those of the language that Envoy leaves in, and more where C{cel_config} asks for them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from meshproxy.config.section import Section
from meshproxy.config.supported import declare

__all__ = ["DEFAULTS", "Options", "compileOptions", "hasFunction", "isFunction"]

_CONFIG: Final = "envoy.config.core.v3.CelExpressionConfig"

declare(_CONFIG, "enable_string_conversion", "enable_string_concat", "enable_string_functions")


class Options(NamedTuple):
    """
    A C{CelExpressionConfig}: whether C{string(x)} is there, whether C{+} takes texts, and functions such as
    C{x.lowerAscii()}.
    """

    convertsStrings: bool = False
    addsStrings: bool = False
    hasStringFunctions: bool = False


DEFAULTS: Final = Options()


def compileOptions(section: Section | None) -> Options:
    """
    Compile it; what there is without one.
    """
    if section is None:
        return DEFAULTS
    return Options(
        section.get("enable_string_conversion"),
        section.get("enable_string_concat"),
        section.get("enable_string_functions"),
    )


def _table(text: str) -> frozenset[tuple[str, int]]:
    """
    @param text: Names, each with the numbers of arguments that it takes.
    """
    found = set()
    for word in text.split():
        name, _, counts = word.rpartition("/")
        found |= {(name, int(count)) for count in counts.split(",")}
    return frozenset(found)


# f(x, y)
_FREE: Final = _table(
    "_&&_/2 _||_/2 !_/1 _?_:_/3 _==_/2 _!=_/2 _<_/2 _<=_/2 _>_/2 _>=_/2 _+_/2 _-_/2 _*_/2 _/_/2 _%_/2 -_/1 @in/2 _[_]/2"
    " size/1 contains/2 startsWith/2 endsWith/2 matches/2 int/1 uint/1 double/1 bool/1 bytes/1 timestamp/1 duration/1"
    " type/1 dyn/1"
)
# x.f(y); x is not counted.
_MEMBERS: Final = _table(
    "size/0 contains/1 startsWith/1 endsWith/1 matches/1 getFullYear/0,1 getMonth/0,1 getDayOfYear/0,1"
    " getDayOfMonth/0,1 getDate/0,1 getDayOfWeek/0,1 getHours/0,1 getMinutes/0,1 getSeconds/0,1 getMilliseconds/0,1"
)
_OF_STRINGS: Final = _table(
    "charAt/1 format/1 indexOf/1,2 join/0,1 lastIndexOf/1,2 lowerAscii/0 replace/2,3 reverse/0 split/1,2"
    " substring/1,2 trim/0 upperAscii/0"
)
_FREE_OF_STRINGS: Final = _table("strings.quote/1")
# Envoy's, of regular expressions.
_MISSING: Final = _table("re.extract/3 re.capture/2 re.captureN/2")


def isFunction(name: str, count: int) -> bool:
    """
    Whether a name with a point in it is that of a function, with so many arguments.
    """
    return (name, count) in _FREE_OF_STRINGS or (name, count) in _MISSING


def hasFunction(name: str, count: int, isMember: bool, options: Options) -> str | None:
    """
    Whether there is a function.

    @param count: How many arguments it is called with.
    @param isMember: Whether it is called as C{x.f(y)}; C{x} is not counted.

    @return: L{None} if so, else what to say of it.
    """
    if (name, count) in (_MEMBERS if isMember else _FREE):
        return None
    if name == "string" and count == 1 and not isMember:
        return None if options.convertsStrings else "string() needs enable_string_conversion in the cel_config"
    if (name, count) in (_OF_STRINGS if isMember else _FREE_OF_STRINGS):
        return None if options.hasStringFunctions else f"{name}() needs enable_string_functions in the cel_config"
    if not isMember and (name, count) in _MISSING:
        return f"{name}() is not implemented by meshproxy"
    plural = "" if count == 1 else "s"
    return f"there is no {'method' if isMember else 'function'} {name}() of {count} argument{plural}"
