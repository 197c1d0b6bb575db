//! What is done with arbitrary bytes, one function for each reader in `tharsis-core`. None may panic, and what is
//! accepted must be what it says it is.

use std::time::Duration;

use tharsis_core::{
    ClientId, DeliveryId, Invalid, Timestamp,
    alert::MailAddress,
    egress::{MAX_URL, PayloadUrl, Policy},
    event::{Event, EventType, IdempotencyKey, MAX_PAYLOAD},
    filter::{Filter, MAX_STEPS},
    format_duration, json, parse_duration,
    profile::{Declaration, Profiles},
    rate::Rate,
    retry::{MAX_DELAY, RetryPolicy, retry_after},
    secret::{Keyring, Secret},
    signer::{self, Incoming},
    subscription::{header::OwnHeader, name_key},
    token::Token,
};

/// A URL that somebody registers.
pub(crate) fn url(bytes: &[u8]) {
    let policy = Policy::default();
    let url = match PayloadUrl::parse(bytes, &policy) {
        Ok(url) => url,
        Err(refused) => return is_fit_to_show(&refused),
    };
    assert_eq!(url.given().as_bytes(), bytes);
    let canonical = url.canonical();
    assert_eq!(canonical.scheme(), "https");
    assert!(canonical.domain().is_some_and(|host| host.contains('.')));
    assert!(canonical.username().is_empty() && canonical.password().is_none());
    assert!(canonical.fragment().is_none());
    assert!(policy.allow_ports.contains(&url.port()));
    assert_eq!(PayloadUrl::stored(url.given()).as_ref(), Ok(&url));
    // What is escaped grows.
    if canonical.as_str().len() <= MAX_URL {
        let again = PayloadUrl::parse(canonical.as_str().as_bytes(), &policy).expect("it is good");
        assert_eq!(again.canonical(), canonical);
    }
}

/// A body, as our own reader and writer have it.
pub(crate) fn json(bytes: &[u8]) {
    match json::parse(bytes) {
        Err(refused) => is_fit_to_show(&refused),
        Ok(value) => {
            let written = value.to_vec();
            assert!(
                written.len() <= bytes.len().max(1) * 25,
                "{} bytes",
                written.len()
            );
            let again = json::parse(&written).expect("what we write we read");
            assert_eq!(again.to_vec(), written);
        }
    }
}

/// An event that an engine publishes.
pub(crate) fn event(bytes: &[u8]) {
    match Event::parse(bytes) {
        Err(refused) => is_fit_to_show(&refused),
        Ok(event) => {
            assert!(event.payload().len() <= MAX_PAYLOAD);
            let frozen =
                Event::freeze(event.event_type().as_str(), event.client(), event.payload())
                    .expect("what was frozen can be frozen");
            assert_eq!(frozen.payload(), event.payload());
            let _ = event.idempotency();
        }
    }
}

/// What a receiver answers in `Retry-After`.
pub(crate) fn retry(bytes: &[u8]) {
    for now in [i64::MIN, 0, 784_111_777_000, i64::MAX] {
        let _ = retry_after(bytes, Timestamp::from_millis(now));
    }
}

/// A filter, and in the lines below it the payload that is judged.
pub(crate) fn filter(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (filter, payload) = text.split_once('\n').unwrap_or((&text, SAMPLE));
    let filter = match Filter::parse(filter) {
        Ok(filter) => filter,
        Err(refused) => return is_fit_to_show(&refused),
    };
    let again = Filter::parse(filter.text()).expect("it is good");
    for payload in [payload, SAMPLE] {
        let Ok(payload) = json::parse(payload.as_bytes()) else {
            continue;
        };
        let (answer, steps) = filter.judge(&payload);
        assert!(steps <= MAX_STEPS, "{steps} steps");
        assert_eq!(again.judge(&payload), (answer, steps));
    }
}

const SAMPLE: &str = r#"{"channel":"push","status":"pristine","predictions":[{"discount":30,"name":"Tank Top"},{"discount":10}],"n":-0.5,"t":true,"x":null,"deep":{"a":{"b":[[1],[2,3],"\u0000"]}}}"#;

/// A header of a subscription's own: name, colon, value.
pub(crate) fn header(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (name, value) = text.split_once(':').unwrap_or((&text, "x"));
    let made = [
        OwnHeader::new(name, value),
        OwnHeader::basic(name, value),
        OwnHeader::bearer(value),
    ];
    for header in made {
        match header {
            Err(refused) => {
                is_fit_to_show(&refused);
                assert!(
                    value.len() < 20
                        || name.contains(value)
                        || !refused.to_string().contains(value),
                    "{refused}"
                );
            }
            Ok(header) => {
                let is_name =
                    |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
                assert!(!header.name().is_empty() && header.name().bytes().all(is_name));
                let value = header.value().expose();
                assert!(value.bytes().all(|b| b == b' ' || b.is_ascii_graphic()));
                assert!(!["host", "content-length", "transfer-encoding"].contains(&header.name()));
            }
        }
    }
}

/// The headers that a receiver verifies, under each profile that signs, and a line below them the body.
pub(crate) fn signature(bytes: &[u8]) {
    let (value, body) = match bytes.iter().position(|b| *b == b'\n') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &b"{}"[..]),
    };
    let text = Secret::generate([8; 20]);
    let standard =
        Secret::new("whsec_HQVpwMPJsBxjIF/kRr1ZRP+EbA3wUicPvAXAIGVNNAM=").expect("a good one");
    for profile in Profiles::default().iter() {
        let Some(signature) = &profile.signature else {
            continue;
        };
        for secret in [&text, &standard] {
            let headers = [
                (&*signature.header, value),
                ("webhook-id", value),
                ("webhook-timestamp", value),
            ];
            let incoming = Incoming {
                headers: &headers[..1],
                body,
                url: Some("https://hooks.example.com/"),
                now: None,
            };
            // Nobody guesses a digest.
            let rejected =
                signer::verify(profile, Some(secret), &incoming).expect_err("it is not signed");
            let _ = (rejected.to_string(), rejected.hint());
            let incoming = Incoming {
                headers: &headers,
                now: Some(Timestamp::from_millis(0)),
                ..incoming
            };
            let _ = signer::verify(profile, Some(secret), &incoming).expect_err("it is not signed");
        }
    }
}

/// A declared profile: a field in each line, in the order of [`Declaration`].
pub(crate) fn profile(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text
        .lines()
        .map(|line| (!line.is_empty()).then(|| line.to_owned()));
    let mut next = || lines.next().flatten();
    let name = next().unwrap_or_default();
    let declared = Declaration {
        content_type: next(),
        encoding: next(),
        form_field: next(),
        signature_header: next(),
        signed: next(),
        algorithm: next(),
        key: next(),
        prefix: next(),
        digest: next(),
        timestamp_prefix: next(),
        separator: next(),
        headers: next()
            .into_iter()
            .map(|line| {
                let (name, value) = line.split_once('=').unwrap_or((&line, ""));
                (name.to_owned(), value.to_owned())
            })
            .collect(),
        check: next(),
        success: next(),
        timeout: next(),
        most_retries: next().and_then(|n| n.parse().ok()),
        payload_limit: next().and_then(|n| n.parse().ok()),
        events: next().into_iter().collect(),
        batch_items: next().and_then(|n| n.parse().ok()),
        linger: next(),
    };
    match declared.profile(&name) {
        Err(refused) => is_fit_to_show(&refused),
        Ok(profile) => assert_eq!(profile.name, name),
    }
}

/// Text that may be a secret or the file of one, the file of a key, or a token.
pub(crate) fn secret(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for secret in [Secret::new(&text), Secret::from_file_text(bytes)] {
        match secret {
            Ok(secret) => assert_eq!(format!("{secret:?}"), "[REDACTED]"),
            Err(refused) => {
                is_fit_to_show(&refused);
                assert!(text.len() < 20 || !refused.to_string().contains(&*text));
            }
        }
    }
    let _ = Keyring::parse(bytes);
    match Token::parse(&text) {
        Ok(token) => assert_eq!(token.expose(), text),
        Err(refused) => {
            is_fit_to_show(&refused);
            assert!(text.len() < 20 || !refused.to_string().contains(&*text));
        }
    }
}

/// Whatever else is read from a word.
pub(crate) fn word(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let refusals = [
        text.parse::<RetryPolicy>().map(|policy| {
            assert_eq!(policy.to_string().parse(), Ok(policy.clone()));
            assert!(policy.delays().iter().all(|delay| *delay <= MAX_DELAY));
        }),
        parse_duration(&text).map(|span| {
            assert_eq!(
                parse_duration(&format_duration(span)),
                Ok(Duration::from_millis(
                    u64::try_from(span.as_millis()).expect("it was read from so many"),
                ))
            );
        }),
        Timestamp::parse(&text).map(|at| {
            assert_eq!(Timestamp::parse(&at.to_string()), Ok(at));
        }),
        text.parse::<ClientId>()
            .map(|id| assert!(id.to_string().eq_ignore_ascii_case(&text))),
        text.parse::<DeliveryId>().map(|_| ()),
        text.parse::<Rate>()
            .map(|rate| assert_eq!(rate.to_string().parse(), Ok(rate))),
        text.parse::<MailAddress>()
            .map(|address| assert_eq!(address.as_str().matches('@').count(), 1)),
        EventType::new(&text).map(|kind| assert!(kind.as_str().len() <= 128)),
        IdempotencyKey::new(&text).map(|key| assert!(key.as_str().len() <= 255)),
        Policy::range(&text).map(|_| ()),
        tharsis_core::order::By::parse(&text).map(|_| ()),
    ];
    for refused in refusals.into_iter().filter_map(Result::err) {
        is_fit_to_show(&refused);
    }
    let key = name_key(&text);
    assert_eq!(name_key(&key), key);
}

/// A refusal is printed on terminals and in logs: nothing in it may act there (CWE-117).
fn is_fit_to_show(refused: &Invalid) {
    let acts =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let told = refused.to_string();
    assert!(!told.chars().any(acts), "{told:?}");
    assert!(told.len() < 10_000, "{} bytes", told.len());
}
