"""Which addresses a webhook may go to: a URL is a tenant's wish to make our server open a connection (B168).

It is checked twice, with the same rules: when it is registered, so that its owner learns of it, and when a connection
is opened, because names change what they stand for. The connection then goes to the very address that was checked.
"""

import asyncio
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Self

import httpx

from models.problems import Problem, invalid
from settings import Settings

REFUSED: Final = "webhook_url_refused"
LONGEST_URL: Final = 2048
_RESOLVE_SECONDS: Final = 5
_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network

#: What `webhook_allow_private` opens. Link-local addresses are not among them: clouds hand out credentials there.
_PRIVATE: Final[tuple[_Network, ...]] = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/32", "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::/128", "::1/128", "fc00::/7",
    )
)  # fmt: skip
#: Where clouds hand out credentials beside the link-local addresses; refused in whatever network is admitted.
_METADATA: Final = frozenset(
    ip_address(address) for address in ("100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)
#: Not public by IANA's registries, though not every Python knows.
_NOT_GLOBAL: Final[tuple[_Network, ...]] = tuple(
    ip_network(network) for network in ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20", "5f00::/16", "100:0:0:1::/64")
)
#: Labels of 1 to 63 characters, as the DNS knows them; an address in digits is one, too.
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_LONGEST_NAME: Final = 253
_IPV6: Final = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
#: The end of an address in digits (127.1, 0x7f000001); no name ends so.
_DIGITS: Final = re.compile(r"(.*\.)?([0-9]+|0[xX][0-9A-Fa-f]*)")
_LAST_PORT: Final = 65_535
_NAT64: Final = IPv6Network("64:ff9b::/96")
#: Translators of a private network (RFC 8215): where they lead is not known here.
_LOCAL_NAT64: Final = IPv6Network("64:ff9b:1::/48")
#: Names are resolved in threads of their own: a name server that hangs delays no other use of threads.
_RESOLVERS: Final = ThreadPoolExecutor(32, thread_name_prefix="resolve")


class AddressRefused(Exception):
    """Raised for an address that no webhook may go to; its text says why."""


@dataclass(frozen=True)
class Guard:
    """The rules of one deployment.

    ``allow_private`` also admits loopback and private networks; ``allowed`` lists single networks to admit.
    """

    allow_private: bool = False
    allowed: tuple[_Network, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Make the guard that the settings describe."""
        return cls(settings.webhook_allow_private, tuple(map(ip_network, settings.webhook_allowed_networks)))

    def check_url(self, url: str) -> httpx.URL:
        """Read a URL: http or https, with a host, without credentials. Raises `Refused`."""
        return _read(url)

    def check_address(self, text: str) -> None:
        """Refuse an address that is not a public one, in whatever form it is written. Raises `Refused`."""
        address = ip_address(text.partition("%")[0])
        for meant in _meant(address):
            if not self._allowed(meant):
                raise AddressRefused("its address is not a public one")

    def _allowed(self, address: _Address) -> bool:
        admitted = (*self.allowed, *(_PRIVATE if self.allow_private else ()))
        if any(address in network for network in admitted):
            return address not in _METADATA and not address.is_link_local
        if isinstance(address, IPv6Address) and (address.is_site_local or address in _LOCAL_NAT64):
            return False
        if any(address in network for network in _NOT_GLOBAL):
            return False
        return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)

    async def resolve(self, url: httpx.URL) -> list[str]:
        """Give the addresses of the URL's host, each of them allowed. Raises `Refused`, and OSError for no address."""
        addresses = await _addresses(url.raw_host.decode("ascii"))
        for address in addresses:
            self.check_address(address)
        return addresses

    async def check_registration(self, url: str) -> str:
        """Refuse a URL that nothing would be delivered to; gives it back. A name that has no address yet is accepted.

        Raises ``Problem`` 422 ``webhook_url_refused``.
        """
        try:
            await self.resolve(self.check_url(url))
        except AddressRefused as refusal:
            raise refused(refusal) from refusal
        except (OSError, TimeoutError):
            return url
        return url


@lru_cache(maxsize=1024)
def _read(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, UnicodeError) as error:
        raise AddressRefused("it cannot be read as a URL") from error
    if parsed.scheme not in ("http", "https"):
        raise AddressRefused("only http and https are delivered to")
    if parsed.userinfo:
        raise AddressRefused(
            "a URL with credentials would show them to everybody who may read it; verify the signature"
        )
    host = parsed.raw_host.decode("ascii")
    if not host:
        raise AddressRefused("it names no host")
    if not (_NAME.fullmatch(host) and len(host) <= _LONGEST_NAME) and not _IPV6.fullmatch(host):
        raise AddressRefused("its host is neither a name nor an address")
    if ":" not in host and _DIGITS.fullmatch(host.rstrip(".")) and _in_digits(host) is None:
        raise AddressRefused("its host is neither a name nor an address")
    if parsed.port is not None and not 0 < parsed.port <= _LAST_PORT:
        raise AddressRefused(f"port {parsed.port} cannot be connected to")
    return parsed


def _in_digits(host: str) -> str | None:
    """Read an IPv4 address however it is written, as whoever connects would: 127.1, 0x7f000001, a dot at its end."""
    try:
        return str(IPv4Address(socket.inet_aton(host.rstrip("."))))
    except OSError:
        return None


async def _addresses(host: str) -> list[str]:
    found_in_digits = _in_digits(host)
    if found_in_digits is not None:
        return [found_in_digits]
    with suppress(ValueError):
        return [str(ip_address(host.partition("%")[0]))]
    if f".{host}".rstrip(".").lower().endswith(".localhost"):
        host = "localhost"  # this machine, whatever a name server says (RFC 6761)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_RESOLVE_SECONDS):
        try:
            found = await loop.run_in_executor(
                _RESOLVERS, partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
            )
        except UnicodeError as error:
            raise OSError(f"{host[:100]} is no host name") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def refused(reason: AddressRefused) -> Problem:
    """Say that nothing is delivered to this URL, and why (422)."""
    return invalid("url", f"nothing is delivered to this address: {reason}", REFUSED)


def _meant(address: _Address) -> list[_Address]:
    """List the address, or what it carries: IPv4-mapped, NAT64, 6to4. Other carriers are not public anyway."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [IPv4Address(int(address) & 0xFFFFFFFF)]
    return [address] if address.sixtofour is None else [address, address.sixtofour]
