"""
Bytes to events and back, one package per wire protocol. Nothing here does I/O or imports Twisted.
"""
