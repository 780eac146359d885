# -*- test-case-name: tests.net.test_openssl -*-
"""
The few calls of OpenSSL that pyOpenSSL keeps to itself, all in one place.

They are in the bindings of C{cryptography}, which pyOpenSSL is made of. Two reasons bring one here: pyOpenSSL has no
name for the call (groups, signature algorithms, whether a session was resumed), or its way costs too much for each
read and write (a fresh buffer, and an exception whenever there is nothing to read yet).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any, Final

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

from meshproxy.errors import TLSError

__all__ = [
    "BATCH",
    "RECORD",
    "RecordMemory",
    "drainErrors",
    "isSessionResumed",
    "negotiatedProtocol",
    "notifyClose",
    "onServerName",
    "prioritizeChaCha",
    "readPlain",
    "sessionKind",
    "setGroups",
    "setSignatureAlgorithms",
    "shakeHands",
    "verifyErrorText",
    "writePlain",
]

_lib: Any = Binding.lib
_ffi: Any = Binding.ffi

#: The most that one record carries (RFC 8446, 5.1).
RECORD: Final = 16384

#: How many bytes L{RecordMemory} takes at once.
BATCH: Final = 15 * RECORD

# How many bytes of whole records one read takes before others are served.
_MOST_READ = 4 * RECORD

# Shared by all reads: what is in it is copied before anybody else can read.
_buffer = _ffi.new("char[]", RECORD)

# What a batch becomes, with what each record adds at most (RFC 8446, 5.2, and 5 bytes of header), and a few small ones.
_records = _ffi.new("char[]", BATCH + 24 * 261)
_recordsView = memoryview(_ffi.buffer(_records))

# Where OpenSSL puts what ALPN agreed upon.
_protocol = _ffi.new("unsigned char **")
_protocolLength = _ffi.new("unsigned int *")

_NULL = _ffi.NULL

_SSL_read = _lib.SSL_read
_SSL_write = _lib.SSL_write
_SSL_do_handshake = _lib.SSL_do_handshake
_SSL_get_error = _lib.SSL_get_error
_unpack = _ffi.unpack
_fromBuffer = _ffi.from_buffer

_WANT_READ: Final = _lib.SSL_ERROR_WANT_READ
_WANT_WRITE: Final = _lib.SSL_ERROR_WANT_WRITE
_ZERO_RETURN: Final = _lib.SSL_ERROR_ZERO_RETURN
_SYSCALL: Final = _lib.SSL_ERROR_SYSCALL

# include/openssl/ssl.h: a client that puts ChaCha20 first has no AES in hardware, and gets what it asks for.
_PRIORITIZE_CHACHA: Final = 1 << 21


def readPlain(connection: SSL.Connection, most: int = _MOST_READ) -> bytes | None:
    """
    Read what is there: one record, or a few where the first was a full one.

    @param most: After how many bytes no other record is begun; 64 KiB at the most, so that others have their turn.

    @return: L{None} if there is nothing yet, empty if the peer finished, with a C{close_notify} or without one.

    @raise TLSError: If the peer broke the protocol.
    @raise OSError: If the socket is broken.
    """
    ssl = connection._ssl
    count = _SSL_read(ssl, _buffer, RECORD)
    if count <= 0:
        return _nothingRead(ssl, count)
    data: bytes = _unpack(_buffer, count)
    if count < RECORD or most <= RECORD:
        return data
    pieces = [data]
    most = min(most, _MOST_READ)
    while len(pieces) * RECORD < most:
        count = _SSL_read(ssl, _buffer, RECORD)
        if count <= 0:
            # The end, or an error, is found again by the next read, but its words are not.
            _lib.ERR_clear_error()
            break
        pieces.append(_unpack(_buffer, count))
        if count < RECORD:
            break
    return b"".join(pieces)


def shakeHands(connection: SSL.Connection) -> bool:
    """
    Go on with a handshake.

    @return: Whether it is over; else more of the peer's bytes are needed.

    @raise SSL.WantWriteError: If the socket takes no more now.
    @raise Exception: What a callback of the context raised, or what pyOpenSSL makes of OpenSSL's words.
    """
    ssl = connection._ssl
    result = _SSL_do_handshake(ssl)
    if result == 1:
        return True
    if _SSL_get_error(ssl, result) == _WANT_READ:
        return False
    connection._raise_ssl_error(ssl, result)
    return False


def notifyClose(connection: SSL.Connection) -> bool:
    """
    Say that this side finished: C{close_notify}.

    @return: Whether that could be said.
    """
    if _lib.SSL_shutdown(connection._ssl) >= 0:
        return True
    _lib.ERR_clear_error()
    return False


def _nothingRead(ssl: Any, result: int) -> bytes | None:
    number = _ffi.errno
    why = _SSL_get_error(ssl, result)
    if why == _WANT_READ or why == _WANT_WRITE:
        return None
    if why == _ZERO_RETURN:
        return b""
    if why == _SYSCALL:
        _lib.ERR_clear_error()
        if result == 0 or number == 0:
            return b""
        raise OSError(number, os.strerror(number))
    if _lib.ERR_GET_REASON(_lib.ERR_peek_error()) == _lib.SSL_R_UNEXPECTED_EOF_WHILE_READING:
        # As in Envoy, a peer that leaves out its close_notify has finished all the same.
        _lib.ERR_clear_error()
        return b""
    raise TLSError(drainErrors())


def writePlain(connection: SSL.Connection, data: bytes | memoryview) -> int:
    """
    Write as much as one record takes; to a L{RecordMemory} all.

    @return: How many bytes were taken; 0 if the socket takes none now. Then the next call has to begin with the same
        bytes.

    @raise TLSError: If nothing can be written any more.
    @raise OSError: If the socket is broken.
    """
    ssl = connection._ssl
    # Bytes are taken as they are; anything else has to be made a pointer first.
    count: int = _SSL_write(ssl, data if type(data) is bytes else _fromBuffer(data), len(data))
    if count > 0:
        return count
    number = _ffi.errno
    why = _SSL_get_error(ssl, count)
    if why == _WANT_WRITE or why == _WANT_READ:
        return 0
    if why == _SYSCALL:
        _lib.ERR_clear_error()
        raise OSError(number or errno.EPIPE, os.strerror(number or errno.EPIPE))
    raise TLSError(drainErrors())


class RecordMemory:
    """
    Memory that a connection's records come from and go to, instead of its socket.

    L{writePlain} then takes up to L{BATCH} bytes at once; L{readPlain} gives what there is of what came.
    """

    __slots__ = ("_incoming", "_outgoing", "_ssl")

    def __init__(self, connection: SSL.Connection) -> None:
        self._ssl = connection._ssl
        self._incoming = _lib.BIO_new(_lib.BIO_s_mem())
        self._outgoing = _lib.BIO_new(_lib.BIO_s_mem())
        _lib.SSL_set_bio(self._ssl, self._incoming, self._outgoing)
        # Memory takes all, so no write is a partial one.
        _lib.SSL_clear_mode(self._ssl, _lib.SSL_MODE_ENABLE_PARTIAL_WRITE)
        # OpenSSL would let the memory grow record by record, with a copy each time.
        _lib.BIO_write(self._outgoing, _records, len(_recordsView))
        _lib.BIO_read(self._outgoing, _records, len(_recordsView))

    def give(self, data: bytes) -> None:
        """
        Hand over what came from the peer.
        """
        _lib.BIO_write(self._incoming, data, len(data))

    def take(self) -> memoryview:
        """
        What is to be sent: valid until the next call of any connection's.
        """
        return _recordsView[: max(0, _lib.BIO_read(self._outgoing, _records, len(_recordsView)))]

    def leave(self, descriptor: int) -> None:
        """
        Have records come from and go to a socket again. All that was given has been read, and all that there was to
        send was taken.
        """
        _lib.SSL_set_mode(self._ssl, _lib.SSL_MODE_ENABLE_PARTIAL_WRITE)
        _lib.SSL_set_fd(self._ssl, descriptor)
        # OpenSSL has freed them; it takes null for none.
        self._incoming = self._outgoing = _ffi.NULL


def drainErrors() -> str:
    """
    Empty OpenSSL's queue of errors.

    @return: Its words, in the form of Envoy's: C{SSL routines::wrong version number}, the first one first.
    """
    told: list[str] = []
    while True:
        code = _lib.ERR_get_error()
        if not code:
            return "|".join(told)
        told.append(":".join(_text(part(code)) for part in _PARTS))


_PARTS = (_lib.ERR_lib_error_string, _lib.ERR_func_error_string, _lib.ERR_reason_error_string)


def _text(words: Any) -> str:
    return "" if words == _ffi.NULL else _ffi.string(words).decode("ascii", "replace")


def verifyErrorText(code: int) -> str:
    """
    What a verification error is called: C{unable to get local issuer certificate}.
    """
    return _text(_lib.X509_verify_cert_error_string(code))


def isSessionResumed(connection: SSL.Connection) -> bool:
    """
    Whether the handshake took up an earlier session.
    """
    return bool(_lib.SSL_session_reused(connection._ssl))


def sessionKind(connection: SSL.Connection) -> tuple[int, object, bytes]:
    """
    What a session is counted under, to be compared with what others gave, and in no other way readable: it is told
    without making names of it.

    @return: Its version, cipher and group, after the handshake.
    """
    ssl = connection._ssl
    group = _lib.SSL_get0_group_name(ssl)
    # The names of ciphers are constants; those of groups belong to a context.
    cipher = _lib.SSL_CIPHER_get_name(_lib.SSL_get_current_cipher(ssl))
    return _lib.SSL_version(ssl), cipher, b"" if group == _NULL else _ffi.string(group)


def negotiatedProtocol(connection: SSL.Connection) -> bytes:
    """
    What ALPN agreed upon, empty if nothing: as pyOpenSSL's C{get_alpn_proto_negotiated}.
    """
    _lib.SSL_get0_alpn_selected(connection._ssl, _protocol, _protocolLength)
    length = _protocolLength[0]
    return _ffi.buffer(_protocol[0], length)[:] if length else b""


def setGroups(context: SSL.Context, names: str) -> bool:
    """
    Set the groups for key exchange, the preferred one first, with colons between them.

    @return: Whether all are known.
    """
    return _set(_lib.SSL_CTX_set1_curves_list, context, names)


def setSignatureAlgorithms(context: SSL.Context, names: str) -> bool:
    """
    Set the signature algorithms that are offered and taken, with colons between them.

    @return: Whether all are known.
    """
    return _set(_lib.SSL_CTX_set1_sigalgs_list, context, names)


def _set(call: Callable[[Any, bytes], int], context: SSL.Context, names: str) -> bool:
    done = call(context._context, names.encode("ascii", "replace"))
    _lib.ERR_clear_error()
    return done == 1


def prioritizeChaCha(context: SSL.Context) -> None:
    """
    Let clients have ChaCha20 that ask for it before all else.
    """
    context.set_options(_PRIORITIZE_CHACHA)


def onServerName(context: SSL.Context, choose: Callable[[SSL.Connection], bool]) -> object:
    """
    Have somebody look at each ClientHello's server name, whether there is one or not.

    pyOpenSSL's own way prints a traceback for a name that is refused.

    @param choose: Answers whether the handshake goes on; it may give the connection another context.

    @return: What has to be kept for as long as the context lives.
    """
    connections = SSL.Connection._reverse_mapping

    def asked(ssl: Any, alert: Any, argument: Any) -> int:
        try:
            goesOn = choose(connections[ssl])
        except Exception:
            goesOn = False
        result: int = _lib.SSL_TLSEXT_ERR_OK if goesOn else _lib.SSL_TLSEXT_ERR_ALERT_FATAL
        return result

    callback = _ffi.callback("int (*)(SSL *, int *, void *)", asked)
    _lib.SSL_CTX_set_tlsext_servername_callback(context._context, callback)
    return callback
