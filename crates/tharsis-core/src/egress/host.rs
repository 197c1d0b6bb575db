use url::Host;

use super::Policy;
use crate::Invalid;

/// The longest name that DNS can carry (RFC 1035), written without the final dot.
const MAX_NAME: usize = 253;

/// Last labels that no public host has: reserved by the IETF, kept out of the root by ICANN because private networks use
/// them, or common inside such networks.
const SPECIAL: &[&str] = &[
    "alt",         // RFC 9476
    "arpa",        // RFC 3172; home.arpa: RFC 8375
    "corp",        // ICANN, name collisions
    "example",     // RFC 6761
    "home",        // ICANN, name collisions
    "internal",    // ICANN, reserved for private use in 2024
    "intranet",    // RFC 6762, appendix G
    "invalid",     // RFC 6761
    "lan",         // RFC 6762, appendix G
    "local",       // RFC 6762
    "localdomain", // the usual alias of loopback
    "localhost",   // RFC 6761
    "mail",        // ICANN, name collisions
    "onion",       // RFC 7686
    "private",     // RFC 6762, appendix G
    "test",        // RFC 6761
];

/// Whether this is an ordinary host name, written as DNS and every parser agree to read it. Returns it in lower case.
///
/// These rules cannot be switched off.
pub(super) fn structure(host: &str) -> Result<String, Invalid> {
    match Host::parse(host) {
        Ok(Host::Domain(_)) => {}
        // Decimal, hexadecimal, octal and shortened forms of IPv4 come out here too.
        Ok(Host::Ipv4(_) | Host::Ipv6(_)) => return Err(ip_literal()),
        Err(_) => return Err(invalid()),
    }
    if host.ends_with('.') {
        return Err(
            Invalid::new("host_trailing_dot", "the host ends with a dot").hint("leave it away"),
        );
    }
    if host.len() > MAX_NAME {
        return Err(Invalid::new(
            "host_too_long",
            format!("the host is longer than {MAX_NAME} characters"),
        ));
    }
    if !host.split('.').all(is_label) {
        return Err(Invalid::new(
            "host_label_invalid",
            "a part of the host is not 1 to 63 letters, digits or inner hyphens",
        )
        .hint("use the name that stands in the receiver's certificate"));
    }
    Ok(host.to_ascii_lowercase())
}

/// Whether a public receiver can have this name, which is in lower case.
pub(super) fn permitted(policy: &Policy, host: &str) -> Result<(), Invalid> {
    if policy
        .allow_hosts
        .iter()
        .any(|h| h.eq_ignore_ascii_case(host))
    {
        return Ok(());
    }
    let (rest, last) = host.rsplit_once('.').unwrap_or(("", host));
    if SPECIAL.contains(&last) {
        return Err(Invalid::new(
            "host_special_use",
            format!("names under .{last} are not public"),
        )
        .hint(open_by_name(host)));
    }
    if rest.is_empty() {
        return Err(Invalid::new(
            "host_single_label",
            "the host has only one part, which is looked up inside the network",
        )
        .hint(open_by_name(host)));
    }
    let ends_like_a_name = last.len() >= 2
        && (last.starts_with("xn--") || last.bytes().all(|b| b.is_ascii_alphabetic()));
    if !ends_like_a_name {
        return Err(Invalid::new(
            "host_tld_invalid",
            format!("there is no top-level domain .{last}"),
        )
        .hint("check the spelling of the host"));
    }
    Ok(())
}

fn open_by_name(host: &str) -> String {
    format!(
        "use a full public name; for local work allow it by name: --egress-allow-host {host}, \
         and its address: --egress-allow-address"
    )
}

pub(super) fn ip_literal() -> Invalid {
    Invalid::new("host_ip_literal", "the host is an IP address")
        .hint("use a host name: a certificate and a public name are what the receiver is known by")
}

pub(super) fn invalid() -> Invalid {
    Invalid::new("host_invalid", "the host is no host name").hint("check the spelling of the host")
}

/// RFC 1123: letters, digits, inner hyphens. No public CA may issue for anything else (no underscore).
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}
