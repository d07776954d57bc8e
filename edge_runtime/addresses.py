"""Which IP addresses a request made on behalf of a stranger may go to. Pure decisions; nothing is resolved here.

`ipaddress.is_global` is not used: its answers differ between Python 3.10 and 3.13, and on all of them it says yes to
multicast, fec0::/10, ::a.b.c.d and NAT64 forms of private addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# IANA IPv4 and IPv6 special-purpose address registries; blocks that are not for everyday public hosts are refused as a
# whole, also where single addresses in them are global anycast.
_REFUSED: Final[tuple[Network, ...]] = tuple(
    ip_network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers; a cloud's metadata service lives here
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a cloud's platform service, on an address that looks public
        "169.254.0.0/16",  # link-local, metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # former 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "2001::/23",  # protocol assignments, among them Teredo, which carries an IPv4 address
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which carries an IPv4 address
        "3fff::/20",  # documentation
    )
)
# Everything else in IPv6 is unassigned, local, multicast, or a wrapping of IPv4: ::/96, 64:ff9b:1::/48 and so on.
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_ISATAP_IDENTIFIERS: Final = (0x00005EFE, 0x02005EFE)


def is_allowed(text: str, exempt: Sequence[Network] = ()) -> bool:
    """Say whether `text`, a numeric IP address, is public or lies in one of the `exempt` networks of the operator.

    An IPv4 address inside ::ffff:0:0/96 (mapped) or 64:ff9b::/96 (NAT64) is judged as that IPv4 address. The other
    wrappings (6to4, Teredo, IPv4-compatible, ISATAP, local NAT64) are refused unless the wrapped and the wrapping
    address are both public, which only ISATAP's can be. Text that is no address is not allowed.
    """
    try:
        address = _unwrapped(ip_address(text))
    except ValueError:
        return False
    return any(address in network for network in exempt) or _is_public(address)


def _unwrapped(address: Address) -> Address:
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address


def _is_public(address: Address) -> bool:
    if any(address in network for network in _REFUSED):
        return False
    if isinstance(address, IPv4Address):
        return True
    if address.scope_id is not None or address not in _GLOBAL_UNICAST:
        return False
    identifier = int(address) >> 32 & 0xFFFF_FFFF
    return identifier not in _ISATAP_IDENTIFIERS or _is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
