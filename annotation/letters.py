"""One HTTP request to an address that somebody typed in: only to the public network, to one resolved address, briefly.

The host is resolved once, and the connection goes to what was checked: a name that changes its address between
the check and the connection (DNS rebinding) gains nothing. No redirect is followed and no proxy is used.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

from annotation.errors import Invalid

SECONDS = 10.0
MOST_READ = 1024
LONGEST_ADDRESS = 500
PORTS = {"http": 80, "https": 443}


class Undelivered(Exception):
    """There was no answer; the message says why."""


def read_address(url: str) -> str:
    """An address that letters may be sent to; Invalid otherwise. Its name is looked up anew for each letter."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as problem:
        raise Invalid(f"{url!r} is not an address: {problem}.", field="url") from None
    if parts.scheme not in PORTS or not parts.hostname or port == 0:
        raise Invalid(
            f"Found {url!r}; expected an address that begins with https:// or http://.", field="url"
        )
    if parts.username is not None or parts.fragment:
        raise Invalid("An address may hold no user name, password or #fragment.", field="url")
    whole = parts.geturl()
    if len(whole) > LONGEST_ADDRESS or not whole.isascii() or not whole.isprintable() or " " in whole:
        raise Invalid(
            f"An address is plain ASCII without spaces, of {LONGEST_ADDRESS} characters at the most.",
            field="url",
        )
    try:
        resolve(parts)
    except Undelivered as problem:
        raise Invalid(str(problem), field="url") from None
    return whole


def resolve(parts: SplitResult) -> tuple[str, int]:
    """The IP address and port to connect to; all that the name has must be public, unless private ones are allowed."""
    port = parts.port or PORTS[parts.scheme]
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as problem:
        raise Undelivered(f"{parts.hostname} has no address: {problem}.") from None
    addresses = [row[4][0] for row in found]
    if not settings.KIBITZ_WEBHOOKS_PRIVATE:
        for address in addresses:
            if not is_public(address):
                raise Undelivered(
                    f"{parts.hostname} is at {address}, which is private. Letters go to public addresses alone, "
                    "unless KIBITZ_WEBHOOKS_PRIVATE=1 is set."
                )
    return addresses[0], port


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open Internet; so must be the IPv4 address in a 6to4 one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if not ip.is_global or ip.is_multicast or ip.is_reserved:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.sixtofour:
        return is_public(str(ip.sixtofour))
    return True


def post(url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
    """Sends one letter; the status of the answer, and in words what was wrong with it (empty where nothing was)."""
    parts = urlsplit(url)
    address = resolve(parts)
    connection = _connection(parts, address)
    # Timeouts of a socket are for each read: this ends an answer that drips, too.
    watch = threading.Timer(SECONDS, _cut, [connection])
    watch.daemon = True
    watch.start()
    try:
        path = parts.path or "/"
        connection.request("POST", f"{path}?{parts.query}" if parts.query else path, body, dict(headers))
        answer = connection.getresponse()
        with suppress(OSError, http.client.HTTPException):  # the status is what counts
            answer.read(MOST_READ)
    except (OSError, http.client.HTTPException) as problem:
        raise Undelivered(
            f"{type(problem).__name__}: {problem}" if str(problem) else _late(problem)
        ) from None
    finally:
        watch.cancel()
        connection.close()
    return answer.status, _words(answer.status)


def _late(problem: Exception) -> str:
    return f"No answer within {SECONDS:.0f} s ({type(problem).__name__})."


def _words(status: int) -> str:
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return f"Answered {status}, a redirect. Redirects are not followed: enter the address it leads to."
    return f"Answered {status}; expected 200 to 299."


def _connection(parts: SplitResult, address: tuple[str, int]) -> http.client.HTTPConnection:
    """A connection to this IP address, in the name of the host."""
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", address[1], timeout=SECONDS)

    def connect() -> None:
        plain = socket.create_connection(address, SECONDS)
        connection.sock = plain  # so that it can be cut while it says hello
        if secure:
            context = ssl.create_default_context()
            connection.sock = context.wrap_socket(plain, server_hostname=parts.hostname)

    connection.connect = connect  # type: ignore[method-assign]
    return connection


def _cut(connection: http.client.HTTPConnection) -> None:
    with suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)
