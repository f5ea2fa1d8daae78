"""The address guard: what a feed, a redirect or a link may make Riskwire connect to.

The check is made on the resolved address, by the resolver that the connection itself uses, at every connect; there is
no second look-up between check and use, so DNS rebinding has no moment to act in. Literal addresses never reach a
resolver and are checked before each request and once more when the socket is made.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from aiohttp.abc import AbstractResolver, ResolveResult

from connectors.http.policy import HttpPolicy
from monitor.core.errors import BlockedAddressError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_V4_COMPATIBLE = ipaddress.IPv6Network("::/96")
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in ("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254")
)
"""Cloud metadata and platform addresses (AWS, GCP, Azure, Alibaba, Oracle). 168.63.129.16 lies in public space."""


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a translating IPv6 address leads to."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in _NAT64) or (address in _V4_COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def refusal(address: Address) -> str:
    """Why ``address`` is not public, in a word or two; empty when it is public."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _embedded(address)
        if inner is not None:
            return refusal(inner)
        if address.is_site_local:
            return "a private"
    if address in _METADATA:
        return "a cloud metadata"
    if address.is_unspecified:
        return "an unspecified"
    if address.is_loopback:
        return "a loopback"
    if address.is_link_local:
        return "a link-local"
    if address.is_multicast:
        return "a multicast"
    if address.is_private or not address.is_global:  # also carrier-grade NAT 100.64.0.0/10
        return "a private"
    if address.is_reserved:
        return "a reserved"
    return ""


def _plain(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


class AddressGuard:
    """Decides over addresses by the policy's allow-lists."""

    def __init__(self, policy: HttpPolicy) -> None:
        self._networks = policy.networks()
        self._hosts = frozenset(host.lower().rstrip(".") for host in policy.allow_hosts)
        # Addresses that an allow-listed host name led to; the socket factory sees no names. Names are few.
        self._via_host: set[str] = set()

    def allows_host(self, host: str) -> bool:
        """True when the policy names ``host``."""
        return host.lower().rstrip(".").strip("[]") in self._hosts

    def check(self, text: str, *, host: str) -> None:
        """Raises BlockedAddressError when ``text``, an address of ``host``, may not be connected to."""
        address = ipaddress.ip_address(text)
        reason = refusal(address)
        if not reason:
            return
        plain = _plain(address)
        if any(plain in network for network in self._networks if network.version == plain.version):
            return
        if self.allows_host(host):
            self._via_host.add(text)
            return
        shown = host if host.strip("[]") == text else f"{host} ({text})"
        raise BlockedAddressError(
            f"{shown} is {reason} address, which sources may not reach.",
            hint="If this is meant, add the network to http.allow_networks or the host to http.allow_hosts.",
        )

    def check_literal(self, host: str) -> None:
        """Checks ``host`` when it is a literal address; names are left to the resolver."""
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return
        self.check(host, host=host)

    def socket(self, info: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        """Makes the socket for a connection: the last line, reached by every connect."""
        family, kind, protocol, _, target = info
        text = str(target[0])
        if text not in self._via_host:
            self.check(text, host=text)
        return socket.socket(family, kind, protocol)


class GuardedResolver(AbstractResolver):
    """Resolves by ``inner`` and lets only allowed addresses through."""

    def __init__(self, inner: AbstractResolver, guard: AddressGuard) -> None:
        self._inner = inner
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The allowed addresses of ``host``. Raises BlockedAddressError when it has addresses, but none is allowed."""
        found = await self._inner.resolve(host, port, family)
        allowed, blocked = self._split(host, found)
        if blocked is not None and not allowed:
            raise blocked
        return allowed

    def _split(
        self, host: str, found: Iterable[ResolveResult]
    ) -> tuple[list[ResolveResult], BlockedAddressError | None]:
        allowed: list[ResolveResult] = []
        blocked: BlockedAddressError | None = None
        for item in found:
            try:
                self._guard.check(item["host"], host=host)
            except BlockedAddressError as error:
                blocked = error
            else:
                allowed.append(item)
        return allowed, blocked

    async def close(self) -> None:
        """Closes the inner resolver."""
        await self._inner.close()
