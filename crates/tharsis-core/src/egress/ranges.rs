use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A range that no subscriber lives in.
pub(super) struct Range {
    pub(super) net: IpNet,
    /// As its registry names it.
    pub(super) name: &'static str,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8, name: &'static str) -> Range {
    let net = Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length);
    Range {
        net: IpNet::V4(net),
        name,
    }
}

const fn v6(groups: [u16; 8], length: u8, name: &'static str) -> Range {
    let [a, b, c, d, e, f, g, h] = groups;
    let net = Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), length);
    Range {
        net: IpNet::V6(net),
        name,
    }
}

/// The only block of IPv6 that holds public hosts (IANA, IPv6 address space).
pub(super) const GLOBAL_UNICAST: Ipv6Net =
    Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// The narrowest denied range that holds this address.
pub(super) fn denied(address: IpAddr) -> Option<&'static Range> {
    DENIED.iter().find(|range| range.net.contains(&address))
}

/// IANA's registries of special-purpose addresses, what clouds keep outside of them, and the ranges that embed another
/// address. A range that lies within another one stands before it.
///
/// Some are "globally reachable" by the registry and denied all the same: anycast sinks and protocol helpers, where no
/// receiver of webhooks can be.
#[rustfmt::skip]
pub(super) const DENIED: &[Range] = &[
    v4(0, 0, 0, 0, 8, "\"This network\""),                                // RFC 791
    v4(10, 0, 0, 0, 8, "Private-Use"),                                    // RFC 1918
    v4(100, 64, 0, 0, 10, "Shared Address Space (CGNAT)"),                // RFC 6598
    v4(127, 0, 0, 0, 8, "Loopback"),                                      // RFC 1122
    v4(168, 63, 129, 16, 32, "Azure WireServer"),                         // a public address that answers only inside
    v4(169, 254, 0, 0, 16, "Link Local (cloud metadata)"),                // RFC 3927
    v4(172, 16, 0, 0, 12, "Private-Use"),                                 // RFC 1918
    v4(192, 0, 0, 0, 24, "IETF Protocol Assignments"),                    // RFC 6890
    v4(192, 0, 2, 0, 24, "Documentation (TEST-NET-1)"),                   // RFC 5737
    v4(192, 31, 196, 0, 24, "AS112-v4"),                                  // RFC 7535
    v4(192, 52, 193, 0, 24, "AMT"),                                       // RFC 7450
    v4(192, 88, 99, 0, 24, "Deprecated 6to4 Relay Anycast"),              // RFC 7526
    v4(192, 168, 0, 0, 16, "Private-Use"),                                // RFC 1918
    v4(192, 175, 48, 0, 24, "Direct Delegation AS112"),                   // RFC 7534
    v4(198, 18, 0, 0, 15, "Benchmarking"),                                // RFC 2544
    v4(198, 51, 100, 0, 24, "Documentation (TEST-NET-2)"),                // RFC 5737
    v4(203, 0, 113, 0, 24, "Documentation (TEST-NET-3)"),                 // RFC 5737
    v4(224, 0, 0, 0, 4, "Multicast"),                                     // RFC 5771
    v4(255, 255, 255, 255, 32, "Limited Broadcast"),                      // RFC 919
    v4(240, 0, 0, 0, 4, "Reserved"),                                      // RFC 1112
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128, "Unspecified"),                     // RFC 4291
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, "Loopback"),                        // RFC 4291
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96, "IPv4-compatible (deprecated)"),     // RFC 4291
    v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, "IPv4-mapped"),                 // RFC 4291
    v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96, "IPv4-translated (SIIT)"),      // RFC 2765
    v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, "NAT64 well-known prefix"),  // RFC 6052
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "NAT64 local-use"),          // RFC 8215
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "Discard-Only"),                 // RFC 6666
    v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64, "Dummy IPv6 Prefix"),            // RFC 9780
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, "TEREDO"),                      // RFC 4380
    v6([0x2001, 1, 0, 0, 0, 0, 0, 1], 128, "PCP Anycast"),                // RFC 7723
    v6([0x2001, 1, 0, 0, 0, 0, 0, 2], 128, "TURN Anycast"),               // RFC 8155
    v6([0x2001, 1, 0, 0, 0, 0, 0, 3], 128, "DNS-SD SRP Anycast"),         // RFC 9665
    v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48, "Benchmarking"),                // RFC 5180
    v6([0x2001, 3, 0, 0, 0, 0, 0, 0], 32, "AMT"),                         // RFC 7450
    v6([0x2001, 4, 0x112, 0, 0, 0, 0, 0], 48, "AS112-v6"),                // RFC 7535
    v6([0x2001, 0x10, 0, 0, 0, 0, 0, 0], 28, "Deprecated ORCHID"),        // RFC 4843
    v6([0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28, "ORCHIDv2"),                 // RFC 7343
    v6([0x2001, 0x30, 0, 0, 0, 0, 0, 0], 28, "Drone Remote ID (DETs)"),   // RFC 9374
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "IETF Protocol Assignments (whole block)"), // RFC 2928
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "Documentation"),           // RFC 3849
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "6to4"),                        // RFC 3056
    v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48, "Direct Delegation AS112"), // RFC 7534
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "Documentation"),               // RFC 9637
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, "SRv6 SIDs"),                   // RFC 9602
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "Unique-Local"),                 // RFC 4193
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "Link-Local Unicast"),          // RFC 4291
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "Site-Local (deprecated)"),     // RFC 3879
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "Multicast"),                    // RFC 4291
];
