//! What the client does and refuses to do, whoever is on the other side.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use http::HeaderMap;
use tharsis_core::{
    delivery::{Fault as Whose, Outcome},
    egress::Policy,
    signer::Method,
};
use tharsis_dispatch::{Client, ClientOptions, Proxy};
use tharsis_receiver::{
    Answer, Authority, Fault, FaultServer, Flaw, Options, Receiver, StatusCode, Then, closed_port,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{BRIEF, PATIENT, client, client_with, loopback, post};

#[tokio::test]
async fn a_request_arrives_as_it_was_made() {
    let authority = Authority::generate().unwrap();
    let receiver = Receiver::bind(Options {
        answer: Answer {
            body: "thank you".into(),
            ..Answer::status(StatusCode::CREATED)
        },
        ..Options::new(&authority)
    })
    .await
    .unwrap();

    let outcome = client(&authority, loopback())
        .send(post(&receiver.url("/hook?key=a%20b"), PATIENT))
        .await;

    assert_eq!(
        (&*outcome.code, outcome.fault, outcome.status),
        ("http_201", Whose::None, Some(201))
    );
    assert_eq!(outcome.excerpt, b"thank you");
    assert_eq!(outcome.detail, None);
    assert!(outcome.duration > Duration::ZERO);
    let received = receiver.received_at("/hook?key=a%20b").remove(0);
    assert_eq!(&*received.body, br#"{"type":"nudge"}"#);
    let mut headers = received.headers;
    headers.insert("host", "localhost".parse().unwrap());
    insta::assert_snapshot!(lines(&headers), @r"
    accept-encoding: identity
    accept: */*
    content-length: 16
    content-type: application/json
    host: localhost
    x-mars-signature: sha1=00
    ");
}

fn lines(headers: &HeaderMap) -> String {
    let mut lines: Vec<_> = (headers.iter())
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    lines.join("\n")
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let authority = Authority::generate().unwrap();
    let receiver = Receiver::bind(Options {
        answer: Answer {
            body: vec![b'x'; 60_000].into(),
            ..Answer::default()
        },
        ..Options::new(&authority)
    })
    .await
    .unwrap();
    let client = client(&authority, loopback());
    for _ in 0..20 {
        let outcome = client.send(post(&receiver.url("/"), PATIENT)).await;
        assert_eq!(outcome.code, "http_200");
        assert_eq!(outcome.excerpt, [b'x'; 4096], "read whole, kept in part");
    }
    assert_eq!((receiver.connections(), receiver.count()), (1, 20));
}

#[tokio::test]
async fn a_redirect_is_told_and_not_followed() {
    let authority = Authority::generate().unwrap();
    let target = Receiver::bind(Options::new(&authority)).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("location", target.url("/secret-path").parse().unwrap());
    let receiver = Receiver::bind(Options {
        answer: Answer {
            headers,
            ..Answer::status(StatusCode::TEMPORARY_REDIRECT)
        },
        ..Options::new(&authority)
    })
    .await
    .unwrap();

    let outcome = client(&authority, loopback())
        .send(post(&receiver.url("/"), PATIENT))
        .await;

    assert_eq!(
        (&*outcome.code, outcome.status),
        ("http_redirect", Some(307))
    );
    assert_eq!(
        outcome.detail.as_deref(),
        Some("redirects to https://localhost/…")
    );
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn no_byte_goes_to_an_address_that_is_not_allowed() {
    let authority = Authority::generate().unwrap();
    let receiver = Receiver::bind(Options::new(&authority)).await.unwrap();
    let outcome = client(&authority, Policy::default())
        .send(post(&receiver.url("/"), PATIENT))
        .await;

    assert_eq!(
        (&*outcome.code, outcome.fault),
        ("address_not_global", Whose::Theirs)
    );
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_silent_receiver_costs_no_more_than_the_deadline() {
    let authority = Authority::generate().unwrap();
    let receiver = Receiver::bind(Options {
        answer: Answer {
            delay: Duration::from_secs(60),
            ..Answer::default()
        },
        ..Options::new(&authority)
    })
    .await
    .unwrap();
    let began = Instant::now();
    let outcome = client(&authority, loopback())
        .send(post(&receiver.url("/"), BRIEF))
        .await;
    assert_eq!(
        (&*outcome.code, outcome.fault),
        ("timeout_response_headers", Whose::Theirs)
    );
    assert!(began.elapsed() < BRIEF + Duration::from_secs(1));
}

/// A request asks for a connection of its own and gets, before that one stands, another that came free. What it then
/// waits for is an answer.
#[tokio::test]
async fn a_timeout_names_what_was_waited_for_on_the_connection_that_was_used() {
    let authority = Authority::generate().unwrap();
    let slow = |delay| Answer {
        delay,
        ..Answer::default()
    };
    let receiver = Receiver::bind(Options {
        paths: vec![
            ("/slow".to_owned(), slow(BRIEF)),
            ("/never".to_owned(), slow(Duration::from_secs(60))),
        ],
        ..Options::new(&authority)
    })
    .await
    .unwrap();
    let port = first_connection_only(receiver.addr()).await;
    let client = client(&authority, loopback());
    let to = |path| post(&format!("https://localhost:{port}{path}"), 4 * BRIEF);

    let first = tokio::spawn({
        let client = client.clone();
        let request = to("/slow");
        async move { client.send(request).await }
    });
    assert!(receiver.wait_until(1, PATIENT).await);
    let second = client.send(to("/never")).await;

    assert_eq!(first.await.unwrap().code, "http_200");
    assert_eq!((receiver.connections(), receiver.count()), (1, 2));
    assert_eq!(second.code, "timeout_response_headers");
}

/// Hands one connection on; all others stand and get no answer.
#[expect(clippy::disallowed_methods, reason = "it is a receiver's side")]
async fn first_connection_only(target: SocketAddr) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        let mut onwards = TcpStream::connect(target).await.unwrap();
        let _others = listener;
        tokio::io::copy_bidirectional(&mut first, &mut onwards).await
    });
    port
}

#[tokio::test]
async fn an_endless_body_is_cut_off_and_changes_nothing() {
    let authority = Authority::generate().unwrap();
    let server = FaultServer::bind(
        &authority,
        Fault::Flood {
            head: b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
            chunk: [b"1000\r\n", [b'x'; 4096].as_slice(), b"\r\n"].concat(),
        },
    )
    .await
    .unwrap();
    let began = Instant::now();
    let outcome = client(&authority, loopback())
        .send(post(&server.url("/"), PATIENT))
        .await;
    assert_eq!((&*outcome.code, outcome.fault), ("http_200", Whose::None));
    assert_eq!(outcome.excerpt, [b'x'; 4096]);
    assert!(
        began.elapsed() < PATIENT / 2,
        "it ended by its bound, not by its deadline"
    );
}

#[tokio::test]
async fn a_body_that_stops_midway_ends_with_the_deadline_and_the_status_counts() {
    let authority = Authority::generate().unwrap();
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf of it";
    let server = FaultServer::bind(&authority, Fault::Answer(head.to_vec(), Then::Hang))
        .await
        .unwrap();
    let outcome = client(&authority, loopback())
        .send(post(&server.url("/"), BRIEF))
        .await;
    assert_eq!((&*outcome.code, outcome.fault), ("http_200", Whose::None));
    assert_eq!(outcome.excerpt, b"half of it");
}

#[tokio::test]
async fn plain_http_is_not_spoken() {
    let authority = Authority::generate().unwrap();
    let bare = client(&authority, loopback()).bare();
    let port = closed_port().unwrap().port();
    let error = bare
        .post(format!("http://localhost:{port}/"))
        .send()
        .await
        .unwrap_err();
    assert!(error.is_builder(), "{error}");
}

#[tokio::test]
async fn a_head_request_has_no_body() {
    let authority = Authority::generate().unwrap();
    let receiver = Receiver::bind(Options::new(&authority)).await.unwrap();
    let mut request = post(&receiver.url("/"), PATIENT);
    request.method = Method::Head;
    request.headers.clear();
    request.body = bytes::Bytes::new();
    let outcome = client(&authority, loopback()).send(request).await;
    assert_eq!(outcome.code, "http_200");
    let received = receiver.received().remove(0);
    assert_eq!(received.method, http::Method::HEAD);
    assert!(!received.headers.contains_key("content-length"));
}

#[tokio::test]
async fn whoever_connects_learns_when_the_certificate_ends() {
    const DAYS: u64 = 24 * 60 * 60;
    let authority = Authority::generate().unwrap();
    let client = client(&authority, loopback());
    for (flaw, days) in [(None, 395..=396), (Some(Flaw::EndsSoon), 4..=5)] {
        let receiver = Receiver::bind(Options {
            flaw,
            ..Options::new(&authority)
        })
        .await
        .unwrap();
        let first = client.send(post(&receiver.url("/"), PATIENT)).await;
        let until = first.certificate.expect("a connection was made").until;
        let left = until.since(tharsis_dispatch::system_now()).as_secs() / DAYS;
        assert!(days.contains(&left), "{left} days");
        let second = client.send(post(&receiver.url("/"), PATIENT)).await;
        assert_eq!((second.certificate, receiver.connections()), (None, 1));
    }
}

/// Linux answers on all of 127.0.0.0/8.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn requests_go_out_from_the_named_addresses_in_turn() {
    let authority = Authority::generate().unwrap();
    let receiver = Receiver::bind(Options::new(&authority)).await.unwrap();
    let from = |addresses: &[&str]| {
        let parse = |address: &&str| address.parse().unwrap();
        client_with(&authority, |options| {
            options.source_addresses = addresses.iter().map(parse).collect();
        })
    };
    let client = from(&["127.0.0.2", "127.0.0.3"]).unwrap();
    for _ in 0..4 {
        let outcome = client.send(post(&receiver.url("/"), PATIENT)).await;
        assert_eq!(outcome.code, "http_200");
    }
    let seen: Vec<String> = (receiver.received().iter())
        .map(|received| received.peer.ip().to_string())
        .collect();
    assert_eq!(seen, ["127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3"]);
    assert_eq!(receiver.connections(), 2);

    // What has an address of the other family alone is out of reach, and no other source is taken.
    let other = from(&["::1"]).unwrap();
    let outcome = other.send(post(&receiver.url("/"), PATIENT)).await;
    assert_eq!(outcome.code, "connect_unreachable");
    let code = |addresses: &[&str]| from(addresses).unwrap_err().code;
    assert_eq!(code(&["203.0.114.7"]), "source_address_unusable");
    assert_eq!(code(&["127.0.0.1", "::1"]), "source_addresses_mixed");
}

#[tokio::test]
async fn requests_go_through_the_proxy_that_is_named_and_stay_sealed() {
    let authority = Authority::generate().unwrap();
    let receiver = Receiver::bind(Options::new(&authority)).await.unwrap();
    let proxy = ConnectProxy::start().await;
    let through = |proxy: &str| {
        let proxy = Proxy::parse(proxy).unwrap();
        // It is the proxy that judges addresses.
        client_with(&authority, |options| {
            options.egress = Policy::default();
            options.proxy = Some(proxy);
        })
        .unwrap()
    };
    let (host, port) = ("localhost", proxy.port);
    for named in [
        format!("http://127.0.0.1:{port}"),
        format!("http://egress:hunter2@{host}:{port}"),
    ] {
        let outcome = through(&named)
            .send(post(&receiver.url("/"), PATIENT))
            .await;
        assert_eq!(outcome.code, "http_200", "{outcome:?}");
        assert!(outcome.certificate.is_some(), "verified end to end");
    }
    let asked = proxy.asked();
    let target = format!("CONNECT localhost:{} HTTP/1.1", receiver.addr().port());
    assert!(asked[0].starts_with(&target), "{asked:?}");
    assert!(!asked[0].contains("Proxy-Authorization"), "{asked:?}");
    assert!(
        asked[1].contains("Proxy-Authorization: Basic ZWdyZXNzOmh1bnRlcjI="),
        "{asked:?}"
    );

    // Nobody is there, for the proxy.
    let closed = closed_port().unwrap().port();
    let nobody = format!("https://localhost:{closed}/");
    let outcome = through(&format!("http://localhost:{port}"))
        .send(post(&nobody, PATIENT))
        .await;
    assert_eq!(
        (&*outcome.code, outcome.fault),
        ("proxy_refused", Whose::Theirs)
    );
    // And no proxy is: that costs the receiver no attempt.
    let gone = closed_port().unwrap().port();
    for host in ["127.0.0.1", "localhost"] {
        let client = through(&format!("http://{host}:{gone}"));
        let outcome = client.send(post(&receiver.url("/"), PATIENT)).await;
        assert_eq!(
            (&*outcome.code, outcome.fault),
            ("proxy_unreachable", Whose::Ours)
        );
    }
    // An address in a URL is judged here all the same.
    let literal = through(&format!("http://localhost:{port}"));
    let outcome = literal
        .look_up(&crate::url("https://localhost/"), PATIENT)
        .await;
    assert_eq!(outcome, None, "the proxy will ask for it");
    assert_eq!(proxy.asked().len(), 3);
}

/// A proxy that knows `CONNECT` and keeps what it was asked.
struct ConnectProxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ConnectProxy {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let kept = asked.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(tunnel(client, kept.clone()));
            }
        });
        Self { port, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[expect(clippy::disallowed_methods, reason = "it is a proxy's side")]
async fn tunnel(mut client: TcpStream, asked: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    asked.lock().unwrap().push(head);
    match TcpStream::connect(target).await {
        Ok(mut onwards) => {
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut client, &mut onwards).await;
        }
        Err(_) => {
            let refusal = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";
            client.write_all(refusal).await.unwrap();
        }
    }
}

#[test]
fn a_ca_file_that_is_none_is_refused_with_advice() {
    let new = |text: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Client::new(&ClientOptions {
            ca_file: Some(file.path().to_owned()),
            ..ClientOptions::default()
        })
        .unwrap_err()
    };
    assert_eq!(new("nothing of the kind").code, "ca_file_invalid");
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(new(damaged).code, "ca_file_invalid");
    let missing = Client::new(&ClientOptions {
        ca_file: Some("/nowhere/ca.pem".into()),
        ..ClientOptions::default()
    });
    let error = missing.unwrap_err();
    assert_eq!(error.code, "ca_file_unreadable");
    assert!(error.hint.contains("PEM"), "{}", error.hint);
}

// === what can only be shown in a process of its own ===

/// Says which child this process is. The child tests do nothing when they are run without it.
const CHILD: &str = "THARSIS_TEST_CHILD";

/// Runs one test of this binary again in another process, through a shell line that sets the scene. It must pass.
fn run_child(test: &str, scene: &str, environment: &[(&str, String)]) {
    let binary = std::env::current_exe().unwrap();
    let child = Command::new("sh")
        .args([
            "-c",
            &format!("{scene}; exec \"$0\" --exact {test} --nocapture"),
        ])
        .arg(binary)
        .env(CHILD, test)
        .envs(environment.iter().map(|(name, value)| (*name, value)))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && told.contains("1 passed"),
        "{child:?}"
    );
}

fn is_child(test: &str) -> bool {
    std::env::var(CHILD).as_deref() == Ok(test)
}

async fn send_to_own_receiver() -> Outcome {
    let authority = Authority::generate().unwrap();
    let receiver = Receiver::bind(Options::new(&authority)).await.unwrap();
    client(&authority, loopback())
        .send(post(&receiver.url("/"), PATIENT))
        .await
}

#[tokio::test]
async fn proxies_of_the_environment_are_ignored() {
    const SELF: &str = "guard::proxies_of_the_environment_are_ignored";
    if is_child(SELF) {
        assert_eq!(send_to_own_receiver().await.code, "http_200");
        return;
    }
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let environment = [
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
        "HTTP_PROXY",
    ]
    .map(|name| (name, proxy.clone()));

    run_child(SELF, "unset NO_PROXY no_proxy", &environment);

    assert!(listener.accept().is_err(), "somebody asked the proxy");
}

/// A minimal image may come without any certificates.
#[tokio::test]
async fn without_the_systems_roots_a_ca_file_is_enough() {
    const SELF: &str = "guard::without_the_systems_roots_a_ca_file_is_enough";
    if !is_child(SELF) {
        let nowhere = |name| (name, "/nowhere".to_owned());
        run_child(
            SELF,
            ":",
            &[nowhere("SSL_CERT_FILE"), nowhere("SSL_CERT_DIR")],
        );
        return;
    }
    assert_eq!(send_to_own_receiver().await.code, "http_200");
    let error = Client::new(&ClientOptions::default()).unwrap_err();
    assert_eq!(error.code, "no_trusted_roots");
}

/// The descriptors run out before the client can connect, so the attempt must not count against the receiver.
#[cfg(unix)]
#[tokio::test]
async fn running_out_of_descriptors_is_our_fault() {
    const SELF: &str = "guard::running_out_of_descriptors_is_our_fault";
    if !is_child(SELF) {
        run_child(SELF, "ulimit -n 64", &[]);
        return;
    }
    let authority = Authority::generate().unwrap();
    let receiver = Receiver::bind(Options::new(&authority)).await.unwrap();
    let client = client(&authority, loopback());
    let mut held = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        held.push(file);
    }
    let outcome = client.send(post(&receiver.url("/"), PATIENT)).await;
    drop(held);
    assert_eq!(
        (&*outcome.code, outcome.fault),
        ("local_resource", Whose::Ours)
    );
}
