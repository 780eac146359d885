"""
The tests. In all of them a field of a configuration that is read has to be declared.
"""

from tests.house.declared import guardReads

guardReads()
