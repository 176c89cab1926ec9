"""The server's half of an IPMI v2.0 (RMCP+) session: packets in, packets out; no socket, no clock, no machine.

What `ipmi_sim` lacks: cipher suite 17 (RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128) beside 3, a limit of sessions,
users of less privilege. Sections are those of the IPMI v2.0 specification, revision 1.1. It exists to be driven by the
real ipmitool, and must never be used for anything but tests: it keeps passwords in clear and answers whoever asks.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

RMCP = b"\x06\x00\xff\x07"  # 13.1.3: version 1.0, no ACK wanted, class IPMI
V15, V20 = 0x00, 0x06  # authentication type: none (sessionless), RMCP+
IPMI, OPEN, OPENED, RAKP1, RAKP2, RAKP3, RAKP4 = 0x00, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15
ENCRYPTED, AUTHENTICATED = 0x80, 0x40
AES_CBC_128 = 1
# Cipher suite: authentication and integrity algorithm, hash, bytes kept of the integrity code (22.15.2, 13.28).
SUITES = {3: (1, 1, "sha1", 12), 17: (3, 4, "sha256", 16)}
USER, OPERATOR, ADMINISTRATOR = 2, 3, 4
# Status codes of 13.24.
NO_RESOURCES, BAD_INTEGRITY, NO_ROLE, UNAUTHORIZED_NAME, NO_SUITE = 0x01, 0x0F, 0x09, 0x0D, 0x11
OK, NODE_BUSY, INVALID_COMMAND, LOW_PRIVILEGE, PRIVILEGE_LIMIT = 0x00, 0xC0, 0xC1, 0xD4, 0x81
UNSPECIFIED = 0xFF

Execute = Callable[[int, int, bytes, int], tuple[int, bytes]]  # netfn, command, data, privilege: code and answer


@dataclass
class Account:
    """The one user: `privilege` is the highest that it may have on this channel."""

    name: str
    password: bytes
    privilege: int = ADMINISTRATOR


@dataclass
class Session:
    """One session slot, taken from Open Session on."""

    console_id: bytes
    id: bytes
    suite: int
    tag: int
    touched_at: float
    random_console: bytes = b""
    random_own: bytes = b""
    role: int = 0
    name: bytes = b""
    k1: bytes = b""
    k2: bytes = b""
    privilege: int = USER
    active: bool = False
    sequence: int = 0


@dataclass
class Sessions:
    """All sessions of one BMC. `take(packet, now)` returns the answer, or None where a BMC would be silent."""

    account: Account
    guid: bytes
    execute: Execute
    suites: tuple[int, ...] = (17, 3)
    limit: int = 4
    timeout_s: float = 60.0
    open: dict[bytes, Session] = field(default_factory=dict)
    opened: int = 0  # since the start
    closed: int = 0

    def take(self, packet: bytes, now: float) -> bytes | None:
        """Answer one datagram; what is not understood is dropped, as a BMC does."""
        for session in [each for each in self.open.values() if now - each.touched_at > self.timeout_s]:
            del self.open[session.id]
        try:
            if packet[:4] != RMCP:
                return None
            if packet[4] == V15:
                return self._sessionless(packet[5:])
            return self._rmcp_plus(packet[4:], now) if packet[4] == V20 else None
        except (IndexError, struct.error, KeyError):
            return None

    def _sessionless(self, rest: bytes) -> bytes | None:
        """13.6: sequence and session are 0; only Get Channel Authentication Capabilities (22.13) is allowed."""
        length = rest[8]
        answer = self._message(rest[9 : 9 + length], None)
        return None if answer is None else RMCP + bytes([V15]) + bytes(8) + bytes([len(answer)]) + answer

    def _rmcp_plus(self, packet: bytes, now: float) -> bytes | None:
        kind, session_id = packet[1], packet[2:6]
        (length,) = struct.unpack_from("<H", packet, 10)
        payload = packet[12 : 12 + length]
        if kind == OPEN:
            return _plain(OPENED, self._open(payload, now))
        if kind == RAKP1:
            answer = self._rakp1(payload, now)
            return None if answer is None else _plain(RAKP2, answer)
        if kind == RAKP3:
            answer = self._rakp3(payload, now)
            return None if answer is None else _plain(RAKP4, answer)
        session = self.open.get(session_id)
        if kind != IPMI | ENCRYPTED | AUTHENTICATED or session is None or not session.active:
            return None
        return self._in_session(session, packet, payload, length, now)

    def _open(self, payload: bytes, now: float) -> bytes:
        """13.17, 13.18."""
        tag, console_id = payload[0], payload[4:8]
        wanted = (payload[12], payload[20], payload[28])
        suite = next((n for n in self.suites if (SUITES[n][0], SUITES[n][1], AES_CBC_128) == wanted), None)
        if suite is None:
            return bytes([tag, NO_SUITE, 0, 0]) + console_id
        if len(self.open) >= self.limit:
            return bytes([tag, NO_RESOURCES, 0, 0]) + console_id
        session = Session(console_id, os.urandom(4), suite, tag, now)
        self.open[session.id] = session
        self.opened += 1
        algorithms_ = b"".join(bytes([index, 0, 0, 8, algorithm, 0, 0, 0]) for index, algorithm in enumerate(wanted))
        return bytes([tag, OK, self.account.privilege, 0]) + console_id + session.id + algorithms_

    def _rakp1(self, payload: bytes, now: float) -> bytes | None:
        """13.20, 13.21."""
        session = self.open.get(payload[4:8])
        if session is None:
            return None
        session.touched_at, session.tag = now, payload[0]
        session.random_console, session.role = payload[8:24], payload[24]
        session.name = payload[28 : 28 + payload[27]]
        head = bytes([session.tag]), bytes(2) + session.console_id
        if session.name != self.account.name.encode():
            return self._refuse(session, UNAUTHORIZED_NAME)
        if session.role & 0x0F > self.account.privilege:
            return self._refuse(session, NO_ROLE)
        session.random_own = session.random_own or os.urandom(16)
        code = self._hmac(session, self._key, session.console_id + session.id + session.random_console
                          + session.random_own + self.guid + self._who(session))  # fmt: skip
        return head[0] + bytes([OK]) + head[1] + session.random_own + self.guid + code

    def _rakp3(self, payload: bytes, now: float) -> bytes | None:
        """13.22, 13.23; SIK, K1 and K2: 13.31, 13.32."""
        session = self.open.get(payload[4:8])
        if session is None:
            return None
        session.touched_at, session.tag = now, payload[0]
        if payload[1] != OK:  # the console found the password wrong, and says goodbye
            del self.open[session.id]
            return None
        expected = self._hmac(session, self._key, session.random_own + session.console_id + self._who(session))
        if not hmac.compare_digest(payload[8:], expected):
            return self._refuse(session, BAD_INTEGRITY)
        sik = self._hmac(session, self._key, session.random_console + session.random_own + self._who(session))
        session.k1 = self._hmac(session, sik, b"\x01" * 20)
        session.k2 = self._hmac(session, sik, b"\x02" * 20)[:16]
        session.active = True
        check = self._hmac(session, sik, session.random_console + session.id + self.guid)
        kept = SUITES[session.suite][3]
        return bytes([session.tag, OK, 0, 0]) + session.console_id + check[:kept]

    def _refuse(self, session: Session, status: int) -> bytes:
        self.open.pop(session.id, None)
        return bytes([session.tag, status, 0, 0]) + session.console_id

    def _in_session(self, session: Session, packet: bytes, payload: bytes, length: int, now: float) -> bytes | None:
        """13.28.4: the integrity code covers everything from the authentication type to the next-header byte."""
        kept = SUITES[session.suite][3]
        covered, code = packet[:-kept], packet[-kept:]
        if len(packet) < 12 + length + 2 + kept or code != self._hmac(session, session.k1, covered)[:kept]:
            return None
        session.touched_at = now
        answer = self._message(_decrypt(session.k2, payload), session)
        if answer is None:
            return None
        session.sequence += 1
        sealed = _encrypt(session.k2, answer)
        head = bytes([V20, IPMI | ENCRYPTED | AUTHENTICATED]) + session.console_id
        body = head + struct.pack("<IH", session.sequence, len(sealed)) + sealed
        pad = -(len(body) + 2) % 4
        body += b"\xff" * pad + bytes([pad, 0x07])
        return RMCP + body + self._hmac(session, session.k1, body)[:kept]

    def _message(self, message: bytes, session: Session | None) -> bytes | None:
        """13.8: rsAddr, netFn/rsLUN, checksum, rqAddr, rqSeq/rqLUN, command, data, checksum."""
        netfn, command, data = message[1] >> 2, message[5], message[6:-1]
        if session is None:
            if (netfn, command) != (0x06, 0x38):
                return None
            # Channel 1, RMCP+ only, names are not null, v2.0 connections.
            code, answer = OK, bytes([1, 0x80, 0x04, 0x02, 0, 0, 0, 0])
        else:
            code, answer = self._command(session, netfn, command, data)
        head = bytes([message[3], (netfn | 1) << 2])
        body = bytes([message[0], message[4], command, code]) + answer
        return head + bytes([_checksum(head)]) + body + bytes([_checksum(body)])

    def _command(self, session: Session, netfn: int, command: int, data: bytes) -> tuple[int, bytes]:
        if (netfn, command) == (0x06, 0x3B):  # Set Session Privilege Level, 22.18
            wanted = data[0] & 0x0F
            if wanted > self.account.privilege:
                return PRIVILEGE_LIMIT, b""
            session.privilege = wanted or session.privilege
            return OK, bytes([session.privilege])
        if (netfn, command) == (0x06, 0x3C):  # Close Session, 22.19
            if self.open.pop(data[:4], None) is not None:
                self.closed += 1
            return OK, b""
        return self.execute(netfn, command, data, session.privilege)

    @property
    def _key(self) -> bytes:
        return self.account.password.ljust(20, b"\0")

    def _who(self, session: Session) -> bytes:
        return bytes([session.role, len(session.name)]) + session.name

    def _hmac(self, session: Session, key: bytes, data: bytes) -> bytes:
        return hmac.new(key, data, getattr(hashlib, SUITES[session.suite][2])).digest()


def _plain(kind: int, payload: bytes) -> bytes:
    return RMCP + bytes([V20, kind]) + bytes(8) + struct.pack("<H", len(payload)) + payload


def _checksum(data: bytes) -> int:
    return -sum(data) & 0xFF


def _encrypt(key: bytes, data: bytes) -> bytes:
    """13.29: a random initialization vector, padding 1, 2, 3, ..., and its length."""
    pad = -(len(data) + 1) % 16
    encryptor = Cipher(algorithms.AES(key), modes.CBC(vector := os.urandom(16))).encryptor()
    return vector + encryptor.update(data + bytes(range(1, pad + 1)) + bytes([pad])) + encryptor.finalize()


def _decrypt(key: bytes, sealed: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES(key), modes.CBC(sealed[:16])).decryptor()
    data = decryptor.update(sealed[16:]) + decryptor.finalize()
    return data[: len(data) - 1 - data[-1]]
