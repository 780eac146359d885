# -*- test-case-name: tests.net.test_instances -*-
"""
Keep the attributes of many instances where CPython finds them at once.

CPython 3.11 keeps what an instance has beside it, in the order of its class, and makes no dictionary for it, as long as
the class knows the names: up to thirty, and only those that were set before as many instances were made. Where a
hundred streams are under way before the first of them ends, the attributes that ends are told by come too late: from
then on each instance gets a dictionary as soon as one of them is set, and none of what is done with it is quick.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

__all__ = ["MOST_ATTRIBUTES", "withAttributes"]

T = TypeVar("T")

MOST_ATTRIBUTES = 30
"""
How many names CPython keeps so.
"""


def withAttributes(*names: str) -> Callable[[type[T]], type[T]]:
    """
    A decorator for classes: let the class know these names before there are instances. No instance has them by that;
    those that are set first come first, for there may be too many.
    """

    def decorate(cls: type[T]) -> type[T]:
        instance = cls.__new__(cls)
        for name in names[:MOST_ATTRIBUTES]:
            setattr(instance, name, None)
        return cls

    return decorate
