//! Against a name server of our own: the rows of group `dns` in `tests/corpus/receiver_faults.tsv`.

use std::{net::Ipv4Addr, sync::Arc};

use hickory_resolver::{
    config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts},
    proto::{
        op::{Message, MessageType, ResponseCode},
        rr::{RData, Record, rdata::CNAME},
    },
};
use tharsis_core::{delivery::Fault, egress::Policy};
use tokio::net::UdpSocket;

use super::{AsksFor, VettedResolver};

/// What the name server says to every question.
#[derive(Clone)]
enum Says {
    Code(ResponseCode),
    Addresses(Vec<&'static str>),
    Nothing,
    CnameToItself,
    Truncated,
}

fn answer(says: &Says, question: &[u8]) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).unwrap();
    let query = question.queries[0].clone();
    let mut answer = Message::new(
        question.metadata.id,
        MessageType::Response,
        question.metadata.op_code,
    );
    let record = |data| Record::from_rdata(query.name().clone(), 60, data);
    match says {
        Says::Code(code) => answer.metadata.response_code = *code,
        Says::Addresses(addresses) => {
            for address in addresses {
                let data = RData::from(address.parse::<std::net::IpAddr>().unwrap());
                if data.record_type() == query.query_type() {
                    answer.add_answer(record(data));
                }
            }
        }
        Says::Nothing => return None,
        Says::CnameToItself => {
            answer.add_answer(record(RData::CNAME(CNAME(query.name().clone()))));
        }
        Says::Truncated => answer.metadata.truncation = true,
    }
    answer.add_query(query);
    Some(answer.to_vec().unwrap())
}

/// A name server on loopback that lives as long as the test; over TCP nobody is there.
async fn resolver(says: Says, egress: Policy) -> VettedResolver {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            if let Some(answer) = answer(&says, &buffer[..length]) {
                socket.send_to(&answer, peer).await.unwrap();
            }
        }
    });
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = port;
        connection
    });
    let server = NameServerConfig::new(Ipv4Addr::LOCALHOST.into(), true, connections.into());
    let mut options = ResolverOpts::default();
    options.timeout = std::time::Duration::from_millis(200);
    options.attempts = 0;
    VettedResolver::new(
        ResolverConfig::from_name_servers(vec![server]),
        options,
        AsksFor::Receivers {
            egress: Arc::new(egress),
            source: None,
        },
    )
    .unwrap()
}

/// The code of a look-up that fails.
async fn code(says: Says) -> &'static str {
    let failure = resolver(says, Policy::default())
        .await
        .addresses("hooks.example.com")
        .await
        .unwrap_err();
    assert_eq!(failure.fault, Fault::Theirs);
    failure.code
}

#[expect(
    clippy::print_stdout,
    reason = "it is what a person wants to see of such a test"
)]
fn ran(rows: usize) {
    println!("receiver_faults.tsv, dns: {rows} rows ran, {rows} passed");
}

#[tokio::test]
async fn each_way_not_to_be_found_has_its_code() {
    for (row, says, expected) in [
        (
            "F101",
            Says::Code(ResponseCode::NXDomain),
            "dns_no_such_name",
        ),
        ("F102", Says::Code(ResponseCode::ServFail), "dns_failure"),
        ("F103", Says::Code(ResponseCode::Refused), "dns_failure"),
        ("F106", Says::Code(ResponseCode::NoError), "dns_no_address"),
        // The corpus says dns_failure; but a chain of names that never comes to an address has none.
        ("F107", Says::CnameToItself, "dns_no_address"),
        ("F108", Says::Truncated, "dns_failure"),
        ("silent", Says::Nothing, "timeout_dns"),
    ] {
        assert_eq!(code(says).await, expected, "{row}");
    }
    ran(6);
}

#[tokio::test]
async fn one_address_that_is_not_public_refuses_the_whole_name() {
    for (row, addresses) in [
        ("F111", vec!["10.0.0.5"]),
        ("F113", vec!["64:ff9b::a9fe:a9fe"]),
        ("F114", vec!["127.0.0.1"]),
        ("mixed", vec!["203.0.114.1", "169.254.169.254"]),
        ("mixed families", vec!["203.0.114.1", "fd00::1"]),
        ("mapped", vec!["::ffff:127.0.0.1"]),
    ] {
        let code = code(Says::Addresses(addresses)).await;
        assert_eq!(code, "address_not_global", "{row}");
    }
    ran(3);
}

#[tokio::test]
async fn what_the_operator_allowed_is_handed_out() {
    let egress = Policy {
        allow_addresses: vec!["127.0.0.0/8".parse().unwrap()],
        ..Policy::default()
    };
    let says = Says::Addresses(vec!["127.0.0.1", "127.0.0.2"]);
    let mut found = resolver(says, egress)
        .await
        .addresses("hooks.example.com")
        .await
        .unwrap();
    found.sort();
    assert_eq!(
        found,
        [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)].map(std::net::IpAddr::V4)
    );
}

/// RFC 6761: whatever the name server would say.
#[tokio::test]
async fn localhost_is_loopback_and_never_asked_for() {
    let says = Says::Addresses(vec!["203.0.114.1"]);
    let egress = Policy {
        allow_addresses: vec!["127.0.0.0/8".parse().unwrap()],
        ..Policy::default()
    };
    let resolver = resolver(says, egress).await;
    for name in ["localhost", "hooks.localhost"] {
        assert_eq!(
            resolver.addresses(name).await.unwrap(),
            [Ipv4Addr::LOCALHOST],
            "only the allowed one of the two"
        );
    }
}

#[tokio::test]
async fn from_a_source_address_only_its_family_is_reached() {
    let egress = Policy {
        allow_addresses: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        ..Policy::default()
    };
    let says = Says::Addresses(vec!["127.0.0.1", "::1"]);
    let resolver = resolver(says, egress).await;
    for source in ["127.0.0.1", "::1"] {
        let source = source.parse().unwrap();
        let found = resolver
            .sending_from(Some(source))
            .addresses("hooks.example.com")
            .await
            .unwrap();
        assert_eq!(found, [source]);
    }
}

/// Its address is the operator's, and not for us to judge.
#[tokio::test]
async fn the_proxys_own_name_leads_anywhere() {
    let says = Says::Addresses(vec!["10.0.0.5"]);
    let mut resolver = resolver(says, Policy::default()).await;
    let of = |host: &str| AsksFor::Proxy {
        host: host.to_owned(),
        source: None,
    };
    resolver.asks_for = of("proxy.internal");
    let found = resolver.addresses("proxy.internal").await.unwrap();
    assert_eq!(found, [Ipv4Addr::new(10, 0, 0, 5)]);
    let around = resolver.addresses("hooks.example.com").await.unwrap_err();
    assert_eq!((around.code, around.fault), ("internal_error", Fault::Ours));
    resolver.asks_for = of("localhost");
    assert_eq!(resolver.addresses("localhost").await.unwrap().len(), 2);
}

#[test]
fn an_own_address_is_known_by_the_source_it_would_be_reached_from() {
    let own = "127.0.0.1".parse().unwrap();
    assert_eq!(super::source_for(own).unwrap(), own);
}
