//! Which URLs are registered and which addresses are dialled, judged by the corpus and by properties.

mod corpus;
mod escaped;
mod judge;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;
use tharsis_core::egress::{MAX_ADDRESSES, MAX_URL, PayloadUrl, Policy};

fn code(raw: &[u8], policy: &Policy) -> &'static str {
    PayloadUrl::parse(raw, policy).map_or_else(|e| e.code, |_| "accepted")
}

#[test]
fn every_bad_url_is_refused_for_its_own_reason() {
    let policy = Policy::default();
    judge::each("urls_reject.tsv", &corpus::rows("urls_reject.tsv"), |row| {
        let expected = match row.get("stage") {
            "registration" => row.get("reason"),
            "connect" => "accepted",
            other => panic!("unknown stage {other}"),
        };
        let got = PayloadUrl::parse(&escaped::bytes(row.get("url")), &policy);
        if let Err(e) = &got {
            assert_eq!(e.field.as_deref(), Some("url"), "{}", row.get("id"));
        }
        let got = got.map_or_else(|e| e.code, |_| "accepted");
        assert_eq!(got, expected, "{}", row.get("id"));
    });
}

#[test]
fn the_rules_hold_where_the_corpus_is_silent() {
    let policy = Policy::default();
    let long = |n: usize| format!("https://{}com/", "aaaaaaa.".repeat(n));
    for (url, expected) in [
        ("https://hooks.example.com/in%7F", "url_encoded_control"),
        ("https://hooks.example.com/in%1f", "url_encoded_control"),
        ("https://hooks.example.com/in%20x", "accepted"),
        ("https://hooks.example.com/a[0]", "url_illegal_char"),
        ("https://hooks.example.com/in?q='x'", "accepted"),
        ("https://hooks.example.com:/in", "port_malformed"),
        ("https://hooks.example.com:0/in", "port_malformed"),
        ("https://hooks.example.com:+443/in", "port_malformed"),
        ("https://hooks..example.com/in", "host_label_invalid"),
        ("https://.example.com/in", "host_label_invalid"),
        ("https://hooks.example.c0m/in", "host_tld_invalid"),
        ("https://hooks.example.xn--p1ai/in", "accepted"),
        ("HTTPS://hooks.example.com/in", "accepted"),
        ("//hooks.example.com/in", "scheme_missing"),
        ("1https://hooks.example.com/in", "scheme_missing"),
        ("https://\thooks.example.com/in", "url_control_char"),
        ("https://[2606:4700::1]:443/in", "host_ip_literal"),
        ("https://[2606:4700::1]x/in", "host_invalid"),
        ("https://hooks.example.com/a/%2E%2e/./in?q='x'", "accepted"),
        // The parser that makes the connection keeps `a:`, as if it were a drive; others do not.
        ("https://hooks.example.com//a:/../in", "url_malformed"),
        (&long(31), "accepted"),
        (&long(32), "host_too_long"),
    ] {
        assert_eq!(code(url.as_bytes(), &policy), expected, "{url}");
    }
    let exactly = format!("https://hooks.example.com/{}", "a".repeat(MAX_URL - 26));
    assert_eq!(code(exactly.as_bytes(), &policy), "accepted");
    assert_eq!(
        code(format!("{exactly}a").as_bytes(), &policy),
        "url_too_long"
    );
}

#[test]
fn every_good_url_is_accepted_and_dialled_in_its_canonical_form() {
    let policy = Policy::default();
    judge::each("urls_accept.tsv", &corpus::rows("urls_accept.tsv"), |row| {
        let raw = escaped::bytes(row.get("url"));
        let url =
            PayloadUrl::parse(&raw, &policy).unwrap_or_else(|e| panic!("{}: {e}", row.get("id")));
        assert_eq!(
            url.canonical().as_str(),
            row.get("stored_as"),
            "{}",
            row.get("id")
        );
        assert_eq!(url.given().as_bytes(), raw, "{}", row.get("id"));
        assert_eq!(PayloadUrl::stored(url.given()), Ok(url));
    });
}

#[test]
fn every_address_of_the_corpus_has_its_verdict() {
    let policy = Policy::default();
    judge::each("addresses.tsv", &corpus::rows("addresses.tsv"), |row| {
        let address: IpAddr = row.get("address").parse().expect("an address");
        match (policy.verdict(address), row.get("verdict")) {
            (Ok(()), "allow") => {}
            (Err(denied), "deny") if row.get("rfc").starts_with("IANA") => {
                assert_eq!(denied.range, "IPv6 outside 2000::/3", "{address}");
            }
            (Err(denied), "deny") => {
                assert!(
                    row.get("name").starts_with(denied.range),
                    "{address}: {denied}"
                );
            }
            (got, expected) => panic!("{address}: {got:?} for {expected}"),
        }
    });
}

/// Any range of the corpus that holds the address denies it.
fn denied_by_corpus(ranges: &[IpNet], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(&address))
}

#[test]
fn the_table_is_the_corpus_and_nothing_more() {
    let policy = Policy::default();
    let mut ranges: Vec<IpNet> = Vec::new();
    judge::each("deny_ranges.tsv", &corpus::rows("deny_ranges.tsv"), |row| {
        let range: IpNet = row.get("cidr").parse().expect("a range");
        for edge in [range.network(), range.broadcast()] {
            assert!(policy.verdict(edge).is_err(), "{edge} of {range}");
        }
        ranges.push(range);
    });
    let check = |address: IpAddr| {
        let expected = denied_by_corpus(&ranges, address);
        assert_eq!(policy.verdict(address).is_err(), expected, "{address}");
    };
    proptest!(|(bits: u32)| check(Ipv4Addr::from(bits).into()));
    proptest!(|(bits: u128)| check(Ipv6Addr::from(bits).into()));
    // Near the ranges, where a wrong prefix length would show.
    proptest!(|(i in 0..ranges.len(), offset: u16, below: bool)| {
        let step = |edge: u128, down: bool| {
            if down { edge.wrapping_sub(offset.into()) } else { edge.wrapping_add(offset.into()) }
        };
        match ranges[i] {
            IpNet::V4(net) => {
                let edge = if below { net.network() } else { net.broadcast() };
                let moved = step(u32::from(edge).into(), below) % (1 << 32);
                check(Ipv4Addr::from(u32::try_from(moved).expect("below 2^32")).into());
            }
            IpNet::V6(net) => {
                let edge = if below { net.network() } else { net.broadcast() };
                check(Ipv6Addr::from(step(edge.into(), below)).into());
            }
        }
    });
}

#[test]
fn what_names_lead_to_is_vetted_as_the_corpus_says() {
    let policy = Policy::default();
    let own: Vec<IpAddr> = vec!["203.0.114.7".parse().expect("an address")];
    let rows = corpus::rows("urls_reject.tsv");
    let (unanswered, answered): (Vec<_>, Vec<_>) = rows
        .iter()
        .filter(|row| row.get("stage") == "connect")
        .partition(|row| row.get("reason") == "dns_failure");
    // No answer at all: the resolver's failure, which its own tests tell, and no set of addresses to be vetted.
    let unanswered: Vec<_> = unanswered.iter().map(|row| row.get("id")).collect();
    assert_eq!(unanswered, ["R365"]);
    judge::each("urls_reject.tsv, at connect", answered, |row| {
        let (id, dns) = (row.get("id"), row.get("dns"));
        let answer: Vec<IpAddr> = match id {
            "R362" => own.clone(),
            "R367" => (0..4096)
                .map(|i| Ipv4Addr::from(0x0808_0000 + i).into())
                .collect(),
            // Of answers that change with time, the one that is dialled.
            _ => dns
                .rsplit("; 2nd")
                .next()
                .unwrap_or(dns)
                .rsplit("attempt 2")
                .next()
                .unwrap_or(dns)
                .split([' ', ',', ';', '='])
                .filter_map(|part| part.parse().ok())
                .collect(),
        };
        let refused = policy.vet(&answer, &own).expect_err(id);
        assert_eq!(refused.code, row.get("reason"), "{id}: {dns}");
    });
}

#[test]
fn public_answers_pass_up_to_the_bound() {
    let policy = Policy::default();
    let public = |n: u32| -> Vec<IpAddr> {
        (0..n)
            .map(|i| Ipv4Addr::from(0x0808_0000 + i).into())
            .collect()
    };
    assert_eq!(policy.vet(&public(1), &[]), Ok(()));
    assert_eq!(policy.vet(&public(64), &[]), Ok(()));
    assert_eq!(MAX_ADDRESSES, 64);
    assert_eq!(
        policy.vet(&public(65), &[]).unwrap_err().code,
        "dns_too_many_addresses"
    );
}

#[test]
fn an_operator_opens_ranges_hosts_and_ports_by_name() {
    let mut policy = Policy::default();
    let loopback: IpAddr = Ipv4Addr::LOCALHOST.into();
    assert_eq!(code(b"https://localhost/in", &policy), "host_special_use");
    assert_eq!(code(b"https://redis/in", &policy), "host_single_label");
    assert_eq!(
        code(b"https://hooks.example.com:9443/in", &policy),
        "port_not_allowed"
    );

    policy
        .allow_addresses
        .push(Policy::range("127.0.0.0/8").expect("a range"));
    policy
        .allow_hosts
        .extend(["LocalHost".to_owned(), "redis".to_owned()]);
    policy.allow_ports.push(9443);
    assert_eq!(code(b"https://localhost/in", &policy), "accepted");
    assert_eq!(code(b"https://redis/in", &policy), "accepted");
    assert_eq!(
        code(b"https://hooks.example.com:9443/in", &policy),
        "accepted"
    );
    // The machine's own address, but allowed by name.
    assert_eq!(policy.vet(&[loopback], &[loopback]), Ok(()));
    assert_eq!(
        policy.verdict("::ffff:127.0.0.1".parse().expect("an address")),
        Ok(())
    );

    // Only what was named is open: the rest of the name, other ranges, literals, other ports.
    assert_eq!(
        code(b"https://hooks.localhost/in", &policy),
        "host_special_use"
    );
    assert_eq!(code(b"https://127.0.0.1/in", &policy), "host_ip_literal");
    assert_eq!(
        code(b"https://localhost:22/in", &policy),
        "port_not_allowed"
    );
    assert_eq!(code(b"http://localhost/in", &policy), "scheme_not_https");
    assert!(policy.verdict("::1".parse().expect("an address")).is_err());
    assert!(
        policy
            .verdict("10.0.0.1".parse().expect("an address"))
            .is_err()
    );
}

#[test]
fn a_range_is_given_as_cidr_or_as_one_address() {
    let range = |text| {
        Policy::range(text)
            .map(|r| r.to_string())
            .map_err(|e| e.code)
    };
    assert_eq!(range("10.0.0.0/8").as_deref(), Ok("10.0.0.0/8"));
    assert_eq!(range("192.168.1.7").as_deref(), Ok("192.168.1.7/32"));
    assert_eq!(range("::1").as_deref(), Ok("::1/128"));
    for bad in ["", "10.0.0.0/33", "localhost", "10.0.0.0/8 ", "*"] {
        assert_eq!(range(bad), Err("bad_address_range"), "{bad:?}");
    }
}

#[test]
fn what_was_accepted_once_is_read_back_under_any_policy() {
    let mut open = Policy::default();
    open.allow_hosts.push("localhost".to_owned());
    open.allow_ports.push(9443);
    let url = PayloadUrl::parse(b"https://localhost:9443/in", &open).expect("allowed by name");
    assert_eq!(PayloadUrl::stored(url.given()), Ok(url));
    // A row that someone changed by hand is still no way around the structure.
    for bad in [
        "http://localhost/",
        "https://127.0.0.1/",
        "https://u@hooks.example.com/",
        "",
    ] {
        assert!(PayloadUrl::stored(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_url_shows_who_is_told_and_not_what_lets_the_sender_in() {
    let policy = Policy::default();
    let shown = |raw: &str| {
        let url = PayloadUrl::parse(raw.as_bytes(), &policy).expect("a good URL");
        assert_eq!(format!("{url:?}"), format!("PayloadUrl({url})"));
        url.to_string()
    };
    assert_eq!(
        shown("https://Hooks.example.com/services/T0/B0/XXXX"),
        "https://hooks.example.com/…"
    );
    assert_eq!(
        shown("https://hooks.example.com?token=1"),
        "https://hooks.example.com/…"
    );
    assert_eq!(
        shown("https://hooks.example.com:8443/"),
        "https://hooks.example.com:8443/"
    );
}

#[test]
fn a_refusal_says_what_to_do() {
    let policy = Policy::default();
    let said = |raw: &str| {
        PayloadUrl::parse(raw.as_bytes(), &policy)
            .unwrap_err()
            .to_string()
    };
    insta::assert_snapshot!(said("hooks.example.com/in"), @"url: the URL does not begin with https:// (give the whole URL: https://host/path)");
    insta::assert_snapshot!(said("https://localhost/in"), @"url: names under .localhost are not public (use a full public name; for local work allow it by name: --egress-allow-host localhost, and its address: --egress-allow-address)");
    insta::assert_snapshot!(said("https://hooks.example.com:9443/in"), @"url: port 9443 is not allowed (use one of 443, 8443, or let the operator allow it: --egress-allow-port 9443)");
    insta::assert_snapshot!(said("https://hooks.example.com/{id}"), @"url: the URL holds '{', which must be encoded (write it as %7B)");
    let private = policy
        .vet(&[Ipv4Addr::new(10, 0, 0, 5).into()], &[])
        .unwrap_err();
    insta::assert_snapshot!(private, @"the name leads to 10.0.0.5, which is not public: it lies in Private-Use (point the name at public addresses, or let the operator allow the range: --egress-allow-address)");
}

proptest! {
    #[test]
    fn no_bytes_make_parsing_panic(raw in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = PayloadUrl::parse(&raw, &Policy::default());
    }

    /// Text that comes near to a URL gets past the first rules; what is accepted is what it must be.
    #[test]
    fn whatever_is_accepted_is_safe_and_stable(
        host in r"([a-zA-Z0-9-]{1,6}[.]){1,3}([a-zA-Z]{2,6}|[a-z0-9.%@_-]{1,6})(:8?443|:[0-9]{1,5})?",
        target in r"(/[!-~]{0,6})?([?][!-~]{0,6})?",
    ) {
        let raw = format!("https://{host}{target}");
        let policy = Policy::default();
        if let Ok(url) = PayloadUrl::parse(raw.as_bytes(), &policy) {
            let canonical = url.canonical();
            prop_assert_eq!(canonical.scheme(), "https");
            prop_assert!(canonical.domain().is_some());
            prop_assert!(canonical.username().is_empty() && canonical.password().is_none());
            prop_assert!(canonical.fragment().is_none());
            prop_assert!([443, 8443].contains(&url.port()));
            prop_assert_eq!(url.given(), &raw);
            let again = PayloadUrl::parse(canonical.as_str().as_bytes(), &policy)
                .map(|u| u.canonical().clone());
            prop_assert_eq!(again.as_ref(), Ok(canonical));
        }
    }
}
