from __future__ import annotations

from ipaddress import ip_network

import pytest

from edge_runtime.addresses import is_allowed

REFUSED = [
    # Addresses that ipaddress.is_global, or a rule seen elsewhere, lets through on some Python.
    "100.64.0.1", "100.100.100.200", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1",
    "::169.254.169.254", "fec0::1", "192.0.0.8", "192.88.99.1", "224.0.0.1",
    # The rest of the special-purpose registries.
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.9", "192.0.0.192", "192.0.2.1", "192.168.1.1", "198.18.0.1",
    "198.19.255.255", "198.51.100.7", "203.0.113.7", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0:127.0.0.1", "::127.0.0.1", "::8.8.8.8",
    "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::808:808", "64:ff9b:1:7f00:0:100::", "100::1",
    "2001::1", "2001:0:7f00:1::", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:20::1",
    "2001:db8::1", "2002:7f00:1::1", "2002:808:808::1", "3fff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254",
    "fe80::1", "fe80::1%eth0", "2606:4700::1%eth0", "ff02::1", "ff0e::1",
    "2606:4700::5efe:a00:1", "2606:4700::200:5efe:7f00:1", "fe80::5efe:808:808",
    # No addresses at all.
    "", "localhost", "1.2.3", "127.1", "0x7f000001", "2130706433", "::1::", "8.8.8.8/32",
]
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "93.184.216.34", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.0.1.1",
    "198.17.0.1", "198.20.0.1", "223.255.255.255", "2606:4700::1111", "2001:4860:4860::8888", "2a00:1450::1",
    "::ffff:8.8.8.8", "64:ff9b::808:808", "2606:4700::5efe:808:808",
]


@pytest.mark.parametrize("address", REFUSED)
def test_refused(address: str) -> None:
    assert not is_allowed(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_allowed(address)


def test_networks_of_the_operator_are_exempt() -> None:
    exempt = (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))
    assert is_allowed("10.1.2.3", exempt)
    assert is_allowed("::ffff:10.1.2.3", exempt)
    assert is_allowed("fd00::1", exempt)
    assert not is_allowed("10.2.0.1", exempt)
    assert not is_allowed("::1", exempt)
