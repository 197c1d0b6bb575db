//! What the receiver answers, and what it notes down.

use std::{sync::Arc, time::Duration};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tharsis_core::{
    profile::MARS,
    secret::Secret,
    signer::{Signed, sign},
};
use tharsis_receiver::{Answer, Authority, Options, Receiver, Sink, StatusCode, Verify};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

const POST: &str = "POST /hook?a=1 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
const HEAD: &str = "HEAD /hook HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// Sends `request` and returns the first line of the answer.
#[expect(
    clippy::disallowed_methods,
    reason = "the client of Tharsis stands above this crate"
)]
async fn ask(authority: &Authority, receiver: &Receiver, request: &str) -> String {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(receiver.addr()).await.unwrap();
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("localhost").unwrap(), stream)
        .await
        .unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn fails_the_first_requests_and_then_does_not() {
    let authority = Authority::generate().unwrap();
    let receiver = Receiver::bind(Options {
        answer: Answer {
            fail_first: 2,
            ..Answer::default()
        },
        paths: vec![("/gone".to_owned(), Answer::status(StatusCode::GONE))],
        ..Options::new(&authority)
    })
    .await
    .unwrap();

    assert_eq!(ask(&authority, &receiver, HEAD).await, "HTTP/1.1 200 OK");
    for expected in [
        "HTTP/1.1 503 Service Unavailable",
        "HTTP/1.1 503 Service Unavailable",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK",
    ] {
        assert_eq!(ask(&authority, &receiver, POST).await, expected);
    }
    let gone = POST.replace("/hook?a=1", "/gone");
    assert_eq!(ask(&authority, &receiver, &gone).await, "HTTP/1.1 410 Gone");

    assert!(receiver.wait_until(5, Duration::from_secs(1)).await);
    assert!(!receiver.wait_until(6, Duration::from_millis(1)).await);
    assert_eq!(receiver.count(), 5);
    assert_eq!(receiver.received().len(), 6);
    assert_eq!(receiver.connections(), 6);
    receiver.shutdown().await;
}

#[tokio::test]
async fn notes_down_what_it_received_as_a_line_of_json() {
    let authority = Authority::generate().unwrap();
    let receiver = Receiver::bind(Options::new(&authority)).await.unwrap();
    ask(&authority, &receiver, POST).await;

    let mut received = receiver.received_at("/hook?a=1").remove(0);
    assert!(received.at.as_millis() > 1_700_000_000_000);
    received.at = tharsis_core::Timestamp::from_millis(1_767_225_600_000);
    insta::assert_snapshot!(
        serde_json::to_string(&received).unwrap(),
        @r#"{"at":"2026-01-01T00:00:00.000Z","method":"POST","path":"/hook?a=1","headers":{"host":"localhost","content-length":"2","connection":"close"},"body":"{}","data":null,"verified":null,"reason":null}"#
    );
}

/// What the documented receivers do with `X-Mars-Signature`, and what the line of `listen` says of it.
#[tokio::test]
async fn verifies_with_the_profiles_signature_and_says_what_is_wrong() {
    let authority = Authority::generate().unwrap();
    let secret = Secret::new("9d0c6e51b7f2a84835be1f60d27c94a3e8f51b06").unwrap();
    let receiver = Receiver::bind(Options {
        verify: Some(Verify {
            profile: Arc::new(MARS.clone()),
            url: None,
            secret: Some(secret.clone()),
        }),
        ..Options::new(&authority)
    })
    .await
    .unwrap();
    let signature = MARS.signature.as_ref().unwrap();
    let signature = sign(signature, [&secret], &Signed::body(b"{}")).unwrap();
    let signed = |value: &str| {
        POST.replace(
            "content-length",
            &format!("X-Mars-Signature: {value}\r\ncontent-length"),
        )
    };
    for request in [
        signed(&signature),
        signed(&signature.replace("sha1=", "sha256=")),
        signed(&format!("sha1={}", "0".repeat(40))),
        POST.to_owned(),
        HEAD.to_owned(),
    ] {
        ask(&authority, &receiver, &request).await;
    }

    let verdicts: Vec<_> = (receiver.received().into_iter())
        .map(|received| serde_json::json!([received.verified, received.reason]).to_string())
        .collect();
    insta::assert_snapshot!(verdicts.join("\n"), @r#"
    [true,null]
    [false,"the signature does not begin with sha1="]
    [false,"the signature is of another body or another secret"]
    [false,"there is no header x-mars-signature"]
    [null,null]
    "#);
}

#[tokio::test]
async fn hands_on_what_it_received_before_it_answers() {
    let authority = Authority::generate().unwrap();
    let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
    let receiver = Receiver::bind(Options {
        sink: Sink::Channel(sender),
        ..Options::new(&authority)
    })
    .await
    .unwrap();
    ask(&authority, &receiver, POST).await;
    assert_eq!(received.try_recv().unwrap().path, "/hook?a=1");
    assert!(
        receiver.received().is_empty(),
        "what goes elsewhere is not kept"
    );

    drop(received);
    ask(&authority, &receiver, POST).await;
    assert_eq!(
        receiver.count(),
        2,
        "it goes on when nobody listens any more"
    );
}

#[tokio::test]
async fn changes_its_answers_while_it_runs() {
    let authority = Authority::generate().unwrap();
    let receiver = Receiver::bind(Options::new(&authority)).await.unwrap();
    assert_eq!(ask(&authority, &receiver, POST).await, "HTTP/1.1 200 OK");
    receiver.answer(Answer::status(StatusCode::BAD_GATEWAY), Vec::new());
    assert_eq!(
        ask(&authority, &receiver, POST).await,
        "HTTP/1.1 502 Bad Gateway"
    );
}

#[tokio::test]
async fn gives_its_port_back_when_it_is_shut_down() {
    let authority = Authority::generate().unwrap();
    let receiver = Receiver::bind(Options::new(&authority)).await.unwrap();
    let port = receiver.addr().port();
    let taken = Receiver::bind(Options {
        port,
        ..Options::new(&authority)
    })
    .await
    .unwrap_err();
    assert_eq!(
        taken.to_string(),
        format!("cannot listen on 127.0.0.1 port {port}")
    );

    receiver.shutdown().await;
    let again = Receiver::bind(Options {
        port,
        ..Options::new(&authority)
    });
    assert_eq!(again.await.unwrap().addr().port(), port);
}

#[tokio::test]
async fn somebody_who_waits_is_woken_by_the_request_that_makes_it_up() {
    let authority = Authority::generate().unwrap();
    let receiver = Receiver::bind(Options::new(&authority)).await.unwrap();
    let waiting = receiver.wait_until(1, Duration::from_secs(10));
    let (reached, _) = tokio::join!(waiting, ask(&authority, &receiver, POST));
    assert!(reached);
}

#[tokio::test]
async fn an_authority_is_found_again_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let first = Authority::load_or_create(&file).unwrap();
    let again = Authority::load_or_create(&file).unwrap();
    assert_eq!(first.pem(), again.pem());

    let receiver = Receiver::bind(Options::new(&again)).await.unwrap();
    assert_eq!(ask(&first, &receiver, HEAD).await, "HTTP/1.1 200 OK");
}

#[cfg(unix)]
#[test]
fn the_key_of_an_authority_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    Authority::load_or_create(folder.path().join("ca.pem")).unwrap();
    let key = std::fs::metadata(folder.path().join("ca.pem.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_certificate_with_the_key_of_another_authority_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let [file, other] = ["ca.pem", "other.pem"].map(|name| folder.path().join(name));
    Authority::load_or_create(&file).unwrap();
    Authority::load_or_create(&other).unwrap();
    std::fs::copy(&other, &file).unwrap();
    let error = Authority::load_or_create(&file).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("not the two files of one authority"),
        "{error}"
    );
}

/// As an urlencoded parser reads it.
#[tokio::test]
async fn shows_the_value_of_a_form_decoded() {
    let authority = Authority::generate().unwrap();
    let receiver = Receiver::bind(Options::new(&authority)).await.unwrap();
    let body = "data=%7B%22Shop%22%3A%5B%22Thane%26Kalyan%2025%2B%22%5D%7D";
    let form = format!(
        "POST /hook HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    ask(&authority, &receiver, &form).await;
    let [received] = receiver.received().try_into().unwrap();
    assert_eq!(
        received.data().as_deref(),
        Some(r#"{"Shop":["Thane&Kalyan 25+"]}"#)
    );
}
