//! The check at registration: rows F238 to F251 of the corpus, and the test event in its place.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::Method;
use tharsis_core::{
    DeliveryId, EventId, SubscriptionId, Timestamp,
    egress::Policy,
    profile::{MARS, Profiles},
    secret::Secret,
    subscription::{Credentials, Draft, Settings},
};
use tharsis_dispatch::{CheckError, CheckMethod, check};
use tharsis_receiver::{
    Answer, Authority, Fault, FaultServer, Flaw, Options, Receiver, StatusCode, Then, Verify,
    closed_port,
};

use crate::{client, loopback, url};

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

fn settings(target: &str) -> Settings {
    of(target, "mars")
}

/// Under another profile. The port was chosen by the receiver, so the policy's ports are not asked.
fn of(target: &str, profile: &str) -> Settings {
    let panel = ("panel".to_owned(), "Shop".to_owned());
    let draft = Draft {
        client: "36011017-0e00-4e29-a054-7a1fbb8b60a2".to_owned(),
        name: "shop".to_owned(),
        url: "https://hooks.example.com/".to_owned(),
        profile: Some(profile.to_owned()),
        profile_settings: (profile == "smartech")
            .then_some(panel)
            .into_iter()
            .collect(),
        ..Draft::default()
    };
    Settings {
        url: url(target),
        ..draft
            .settings(&Policy::default(), &Profiles::default())
            .unwrap()
    }
}

fn id() -> DeliveryId {
    DeliveryId {
        event: EventId::new(NOW, [1; 10]),
        subscription: SubscriptionId::new(NOW, [2; 10]),
    }
}

fn secret() -> Secret {
    Secret::new("9d0c6e51b7f2a84835be1f60d27c94a3e8f51b06").unwrap()
}

/// Checks by HEAD a receiver that answers like this.
async fn head(answer: Answer) -> (Result<u16, CheckError>, Receiver) {
    let authority = Authority::generate().unwrap();
    let receiver = Receiver::bind(Options {
        answer,
        ..Options::new(&authority)
    })
    .await
    .unwrap();
    let settings = settings(&receiver.url("/hooks?key=hidden"));
    let client = client(&authority, loopback());
    let checked = check(
        &client,
        &settings,
        &secret().into(),
        CheckMethod::Head,
        id(),
        NOW,
    )
    .await;
    (checked.map(|outcome| outcome.status.unwrap()), receiver)
}

async fn refusal(target: &str, authority: &Authority, egress: Policy) -> CheckError {
    check(
        &client(authority, egress),
        &settings(target),
        &secret().into(),
        CheckMethod::Head,
        id(),
        NOW,
    )
    .await
    .unwrap_err()
}

/// F238, and F251: one call only.
#[tokio::test]
async fn one_head_that_is_answered_200_is_enough_and_tells_no_secret() {
    let (checked, receiver) = head(Answer::default()).await;
    assert_eq!(checked.unwrap(), 200);
    let [received] = receiver.received().try_into().unwrap();
    assert_eq!(received.method, Method::HEAD);
    assert!(received.body.is_empty());
    assert!(!received.headers.contains_key("x-mars-signature"));
}

/// F239, F242, F245, F246.
#[tokio::test]
async fn any_other_status_is_refused_and_named() {
    for (status, code) in [
        (401, "status_not_200"),
        (403, "status_not_200"),
        (204, "status_not_200"),
        (400, "status_not_200"),
        (415, "status_not_200"),
        (422, "status_not_200"),
        (429, "endpoint_busy"),
        (503, "endpoint_busy"),
        (500, "endpoint_error"),
        (502, "endpoint_error"),
        (504, "endpoint_error"),
    ] {
        let (checked, receiver) = head(Answer {
            head: StatusCode::from_u16(status).unwrap(),
            ..Answer::default()
        })
        .await;
        let error = checked.unwrap_err();
        assert_eq!(error.code, code, "{status}");
        assert_eq!(
            error.message,
            format!("status: HEAD was answered {status}, not 200")
        );
        assert!(!error.hint.is_empty());
        assert_eq!(receiver.received().len(), 1);
    }
}

#[tokio::test]
async fn a_receiver_that_wants_a_signature_is_told_of_the_test_event() {
    let (checked, _) = head(Answer {
        head: StatusCode::UNAUTHORIZED,
        ..Answer::default()
    })
    .await;
    insta::assert_snapshot!(
        checked.unwrap_err().hint,
        @"a HEAD carries neither signature nor credentials; where the receiver wants them, check with the test event (--check post)"
    );
}

#[tokio::test]
async fn a_redirect_is_refused_and_its_target_left_alone() {
    let authority = Authority::generate().unwrap();
    let target = Receiver::bind(Options::new(&authority)).await.unwrap();
    let mut headers = http::HeaderMap::new();
    headers.insert("location", target.url("/").parse().unwrap());
    let (checked, _) = head(Answer {
        head: StatusCode::MOVED_PERMANENTLY,
        headers,
        ..Answer::default()
    })
    .await;
    let error = checked.unwrap_err();
    assert_eq!(error.code, "http_redirect");
    insta::assert_snapshot!(
        error.message,
        @"redirect: the receiver redirects; no redirect is followed (redirects to https://localhost/…)"
    );
    assert_eq!(target.connections(), 0);
}

/// F247.
#[tokio::test]
async fn each_flaw_of_the_certificate_is_named() {
    for (flaw, code) in [
        (Flaw::Expired, "tls_cert_expired"),
        (Flaw::SelfSigned, "tls_cert_unknown_issuer"),
        (Flaw::WrongName, "tls_cert_name_mismatch"),
    ] {
        let authority = Authority::generate().unwrap();
        let receiver = Receiver::bind(Options {
            flaw: Some(flaw),
            ..Options::new(&authority)
        })
        .await
        .unwrap();
        let error = refusal(&receiver.url("/"), &authority, loopback()).await;
        assert_eq!(error.code, code);
        assert!(error.message.starts_with("certificate: "), "{error}");
        assert!(receiver.received().is_empty());
    }
}

#[tokio::test]
async fn dns_and_connection_are_told_apart() {
    let authority = Authority::generate().unwrap();
    let port = closed_port().unwrap().port();
    let nobody = format!("https://localhost:{port}/");
    let error = refusal(&nobody, &authority, loopback()).await;
    assert_eq!(error.code, "connect_refused");
    assert!(error.message.starts_with("connection: "), "{error}");
}

/// F248: five seconds, though the subscription's own deadline is three.
#[tokio::test]
async fn a_receiver_that_does_not_answer_is_waited_for_five_seconds() {
    let authority = Authority::generate().unwrap();
    let server = FaultServer::bind(&authority, Fault::Answer(Vec::new(), Then::Hang))
        .await
        .unwrap();
    let began = Instant::now();
    let error = refusal(&server.url("/"), &authority, loopback()).await;
    assert_eq!(error.code, "endpoint_timeout");
    assert_eq!(error.outcome.code, "timeout_response_headers");
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(5), "{waited:?}");
    assert!(waited < Duration::from_secs(6), "{waited:?}");
}

/// F249: no connection, and no word about where the name leads.
#[tokio::test]
async fn an_address_that_is_not_allowed_is_not_told() {
    let authority = Authority::generate().unwrap();
    let receiver = Receiver::bind(Options::new(&authority)).await.unwrap();
    let error = refusal(&receiver.url("/"), &authority, Policy::default()).await;
    assert_eq!(error.code, "endpoint_not_allowed");
    assert!(!format!("{error:?}").contains("127.0.0"), "{error:?}");
    assert_eq!(receiver.connections(), 0);
}

/// F207.
#[tokio::test]
async fn a_head_that_is_answered_with_a_body_is_a_success() {
    let authority = Authority::generate().unwrap();
    let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody";
    let server = FaultServer::bind(&authority, Fault::Answer(bytes.to_vec(), Then::Hang))
        .await
        .unwrap();
    let settings = settings(&server.url("/"));
    let client = client(&authority, loopback());
    let checked = check(
        &client,
        &settings,
        &Credentials::default(),
        CheckMethod::Head,
        id(),
        NOW,
    )
    .await;
    assert_eq!(checked.unwrap().code, "http_200");
}

async fn post(answer: Answer, verify_with: Secret) -> (Result<u16, CheckError>, Receiver) {
    let authority = Authority::generate().unwrap();
    let receiver = Receiver::bind(Options {
        answer,
        verify: Some(Verify {
            profile: Arc::new(MARS.clone()),
            secret: Some(verify_with),
            url: None,
        }),
        ..Options::new(&authority)
    })
    .await
    .unwrap();
    let settings = settings(&receiver.url("/hooks"));
    let client = client(&authority, loopback());
    let checked = check(
        &client,
        &settings,
        &secret().into(),
        CheckMethod::Post,
        id(),
        NOW,
    )
    .await;
    (checked.map(|outcome| outcome.status.unwrap()), receiver)
}

#[tokio::test]
async fn the_test_event_is_signed_and_any_success_will_do() {
    let (checked, receiver) = post(Answer::status(StatusCode::ACCEPTED), secret()).await;
    assert_eq!(checked.unwrap(), 202);
    let [received] = receiver.received().try_into().unwrap();
    assert_eq!(received.verified, Some(true));
    insta::assert_snapshot!(
        String::from_utf8_lossy(&received.body),
        @r#"{"type":"webhook.test","clientId":"36011017-0e00-4e29-a054-7a1fbb8b60a2","sentAt":"2026-01-01T00:00:00.000+00:00"}"#
    );
}

#[tokio::test]
async fn a_receiver_with_another_secret_says_401_and_the_hint_says_why() {
    let other = Secret::new("another secret of some length").unwrap();
    let (checked, receiver) = post(Answer::status(StatusCode::UNAUTHORIZED), other).await;
    let error = checked.unwrap_err();
    assert_eq!(error.code, "status_not_success");
    insta::assert_snapshot!(error.message, @"status: the test event was answered 401, not a success");
    insta::assert_snapshot!(
        error.hint,
        @"the receiver does not accept the signature or the credentials: check that both sides have the same"
    );
    let received = receiver.received().remove(0);
    assert_eq!(received.verified, Some(false));
    assert_eq!(
        received.reason.as_deref(),
        Some("the signature is of another body or another secret")
    );
}

#[tokio::test]
async fn smartech_wants_its_test_event_answered_exactly_200() {
    let authority = Authority::generate().unwrap();
    for (status, passes) in [(StatusCode::OK, true), (StatusCode::ACCEPTED, false)] {
        let receiver = Receiver::bind(Options {
            answer: Answer::status(status),
            ..Options::new(&authority)
        })
        .await
        .unwrap();
        let settings = of(&receiver.url("/hooks"), "smartech");
        let method = CheckMethod::of(&settings.profile, None).unwrap();
        assert_eq!(method, CheckMethod::Post);
        let client = client(&authority, loopback());
        let credentials = Credentials::default();
        let checked = check(&client, &settings, &credentials, method, id(), NOW).await;
        assert_eq!(checked.is_ok(), passes, "{status}");
        if let Err(error) = checked {
            assert_eq!(
                error.message,
                "status: the test event was answered 202, not exactly 200"
            );
        }
        let [received] = receiver.received().try_into().unwrap();
        assert_eq!(received.method, Method::POST);
        assert_eq!(
            received.data().as_deref(),
            Some(
                r#"{"Shop":[{"webhook_name":"webhook.test","event_params":{},"custom_params":{},"att_params":{}}]}"#
            )
        );
    }
}

#[test]
fn the_check_is_the_profiles_unless_the_admin_has_a_choice() {
    let chosen = |profile, asked| {
        CheckMethod::of(&of("https://hooks.example.com/", profile).profile, asked)
            .map_err(|e| e.code)
    };
    let (head, post) = (CheckMethod::Head, CheckMethod::Post);
    assert_eq!(chosen("mars", None), Ok(head));
    assert_eq!(chosen("mars", Some(post)), Ok(post));
    assert_eq!(chosen("smartech", Some(head)), Ok(head));
    assert_eq!(chosen("insightarc", None), Ok(head));
    assert_eq!(chosen("insightarc", Some(post)), Err("check_not_allowed"));
}
