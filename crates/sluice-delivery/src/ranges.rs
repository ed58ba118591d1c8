//! The special addresses of the Internet: which ranges are not public, by the registries that RFC 6890 began.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a special IPv4 range is: its first address, its length in bits, its name.
const IPV4: [(Ipv4Addr, u32, &str); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "an unspecified address"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "a private address"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "a carrier's private address"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "a loopback address"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "a link-local address"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "a private address"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "an address for protocols"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "an address for documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a relay's address"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "a private address"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "an address for benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "an address for documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "an address for documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "a multicast address"),
    (Ipv4Addr::new(255, 255, 255, 255), 32, "the broadcast address"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "a reserved address"),
];

/// The same for IPv6.
const IPV6: [(Ipv6Addr, u32, &str); 14] = [
    (Ipv6Addr::UNSPECIFIED, 128, "an unspecified address"),
    (Ipv6Addr::LOCALHOST, 128, "a loopback address"),
    // Without IPv4 addresses within, which are judged as such.
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, "a private address"),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, "an address that discards"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "an address for documentation"),
    (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48, "an address for benchmarks"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "an address for protocols"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "an address for documentation"),
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16, "an address for protocols"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "a private address"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "a link-local address"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "a private address"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "a multicast address"),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 0), 96, "an address for protocols"),
];

/// What an address is that is not public; `None` for a public one.
pub(crate) fn kind(address: IpAddr) -> Option<&'static str> {
    own_kind(address).or_else(|| embedded_ipv4(address).and_then(ipv4_kind))
}

/// The same, whatever IPv4 address may be within.
pub(crate) fn own_kind(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => ipv4_kind(address),
        IpAddr::V6(address) => IPV6
            .iter()
            .find(|(first, length, _)| (u128::from(address) ^ u128::from(*first)) >> (128 - length) == 0)
            .map(|(_, _, kind)| *kind),
    }
}

fn ipv4_kind(address: Ipv4Addr) -> Option<&'static str> {
    let bits = |address: Ipv4Addr| u64::from(u32::from(address));
    let found = IPV4.iter().find(|(first, length, _)| (bits(address) ^ bits(*first)) >> (32 - length) == 0);
    found.map(|(_, _, kind)| *kind)
}

/// The IPv4 address within an IPv6 one: mapped, translated (RFC 2765, RFC 6052) or tunnelled (6to4, ISATAP).
pub(crate) fn embedded_ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    let from = |high: u16, low: u16| Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => from(high, low),
        [0, 0, 0, 0, 0xffff, 0, high, low] | [0x2002, high, low, ..] => from(high, low),
        // Two bits of it say whether it is unique and whether it is of a group: RFC 5214, section 6.1.
        [_, _, _, _, 0 | 0x100 | 0x200 | 0x300, 0x5efe, high, low] => from(high, low),
        _ => None,
    }
}

/// What `localhost` and its like are called.
pub(crate) const THIS_MACHINE: &str = "a name of this machine";

/// What a name is that no public name server gives an address; `None` for any other.
pub(crate) fn local_name(name: &str) -> Option<&'static str> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let ends = |suffix: &str| name == suffix[1..] || name.ends_with(suffix);
    if ends(".localhost") || ends(".localdomain") || matches!(&*name, "ip6-localhost" | "ip6-loopback") {
        Some(THIS_MACHINE)
    } else if ends(".internal") || matches!(&*name, "metadata" | "instance-data") {
        Some("a name of a cloud's inner services")
    } else if ends(".local") || ends(".home.arpa") {
        Some("a name of the local network")
    } else {
        None
    }
}
