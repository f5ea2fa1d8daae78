"""The address guard: nothing private is reached, by whatever way it is named."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from website import NOW, Names, Site, loopback, open_site

from connectors.http import Fetcher, HttpPolicy
from connectors.http.guard import AddressGuard, refusal
from monitor.core.clock import ManualClock
from monitor.core.errors import BlockedAddressError, ConfigError, FetchError

PRIVATE = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.0.3", "169.254.169.254", "169.254.1.1",
    "172.16.0.1", "192.168.1.1", "192.0.0.192", "198.18.0.1", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255", "168.63.129.16", "100.100.100.200", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1",
    "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:db8::1",
    "fec0::1",
]  # fmt: skip
PUBLIC = ["93.184.216.34", "8.8.8.8", "1.1.1.1", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused(address: str) -> None:
    assert refusal(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address: str) -> None:
    assert refusal(ipaddress.ip_address(address)) == ""


@settings(deadline=None)
@given(st.ip_addresses(v=4))
def test_a_translated_address_fares_as_the_one_inside(address: ipaddress.IPv4Address) -> None:
    outcome = bool(refusal(address))
    number = int(address)
    for prefix in ("::ffff:0:0", "64:ff9b::", "64:ff9b:1::"):
        outer = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | number)
        assert bool(refusal(outer)) is outcome
    assert bool(refusal(ipaddress.IPv6Address((0x2002 << 112) | (number << 80)))) is outcome


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0",
     "169.254.169.254", "[fd00:ec2::254]", "user:pw@127.0.0.1"],
)  # fmt: skip
async def test_no_spelling_of_a_local_address_is_fetched(host: str, site: Site) -> None:
    site.put("/", "secret")
    async with Fetcher(HttpPolicy(), ManualClock(NOW)) as fetcher:
        with pytest.raises((BlockedAddressError, FetchError)) as caught:
            await fetcher.get(f"http://{host}:{site.port}/")
    assert caught.value.code in ("blocked_address", "dns", "bad_url")
    assert site.requests == []
    if host in ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost"):
        assert caught.value.code == "blocked_address"
        assert "http.allow_networks" in str(caught.value)


async def test_a_redirect_to_loopback_is_refused_although_its_host_is_allowed(site: Site) -> None:
    site.redirect("/feed", f"http://127.0.0.1:{site.port}/secret")
    site.put("/secret", "secret")
    policy = HttpPolicy(allow_hosts=("news.example",), spacing=0)
    async with Fetcher(policy, ManualClock(NOW), resolver=Names(news_example=["127.0.0.1"])) as fetcher:
        with pytest.raises(BlockedAddressError) as caught:
            await fetcher.get(f"http://news.example:{site.port}/feed")
    assert [seen.path for seen in site.requests] == ["/feed"]
    assert caught.value.code == "blocked_address"


async def test_a_redirect_to_a_name_that_resolves_to_loopback_is_refused(site: Site) -> None:
    site.redirect("/feed", f"http://inside.example:{site.port}/secret")
    policy = HttpPolicy(allow_hosts=("news.example",), spacing=0)
    names = Names(news_example=["127.0.0.1"], inside_example=["127.0.0.1"])
    async with Fetcher(policy, ManualClock(NOW), resolver=names) as fetcher:
        with pytest.raises(BlockedAddressError, match=r"inside\.example"):
            await fetcher.get(f"http://news.example:{site.port}/feed")
    assert [seen.path for seen in site.requests] == ["/feed"]


async def test_a_name_that_is_rebound_between_two_fetches_is_refused() -> None:
    site, runner = await open_site("127.0.0.2")
    site.put("/", "feed", Connection="close")
    names = Names(rebind_example=["127.0.0.2", "127.0.0.1"])
    try:
        async with Fetcher(
            HttpPolicy(allow_networks=("127.0.0.2/32",), spacing=0), ManualClock(NOW), resolver=names
        ) as fetcher:
            assert (await fetcher.get(f"http://rebind.example:{site.port}/")).body == b"feed"
            with pytest.raises(BlockedAddressError):
                await fetcher.get(f"http://rebind.example:{site.port}/")
        # One look-up per connect: what was checked is what is connected to.
        assert names.asked == ["rebind.example", "rebind.example"]
    finally:
        await runner.cleanup()


async def test_only_the_allowed_ones_of_several_addresses_are_used() -> None:
    site, runner = await open_site("127.0.0.2")
    site.put("/", "feed")
    names = Names(mixed_example=["127.0.0.1 127.0.0.2"])
    try:
        async with Fetcher(HttpPolicy(allow_networks=("127.0.0.2/32",)), ManualClock(NOW), resolver=names) as fetcher:
            assert (await fetcher.get(f"http://mixed.example:{site.port}/")).status == 200
    finally:
        await runner.cleanup()


async def test_the_socket_is_the_last_line() -> None:
    guard = AddressGuard(HttpPolicy())
    with pytest.raises(BlockedAddressError):
        guard.socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)))
    AddressGuard(loopback()).socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))).close()


def test_a_bad_network_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="allow_networks"):
        HttpPolicy(allow_networks=("10.0.0.0/99",))
