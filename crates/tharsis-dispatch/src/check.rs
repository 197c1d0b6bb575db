use std::{fmt, time::Duration};

use tharsis_core::{
    DeliveryId, Invalid, Timestamp,
    delivery::{Fault, Outcome, classify, codes},
    profile::{self, Profile},
    signer::{self, Request},
    subscription::{Credentials, Settings},
};

use crate::Client;

/// A check may take so long, even where deliveries may not: it happens once, often while the receiver wakes up.
const DEADLINE: Duration = Duration::from_secs(5);

/// How a URL proves that it is there before anything is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckMethod {
    /// One HEAD request that must be answered 200. It carries no payload, no signature and no secret.
    Head,
    /// The profile's test event, signed, by POST; any status of success will do.
    Post,
}

impl CheckMethod {
    /// What was asked for, else what the profile says.
    ///
    /// # Errors
    /// `check_not_allowed` where the profile leaves no choice.
    pub fn of(profile: &Profile, asked: Option<Self>) -> Result<Self, Invalid> {
        match (profile.check, asked) {
            (profile::Check::HeadAlone, Some(Self::Post)) => Err(Invalid::new(
                "check_not_allowed",
                format!(
                    "cannot be: the profile {} checks by HEAD alone",
                    profile.name
                ),
            )
            .at("check")
            .hint("answer HEAD with 200")),
            (_, Some(asked)) => Ok(asked),
            (profile::Check::HeadAlone | profile::Check::Head, None) => Ok(Self::Head),
            (profile::Check::TestEvent, None) => Ok(Self::Post),
        }
    }
}

/// The check failed; nothing is created.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CheckError {
    /// Stable code: `status_not_200`, `status_not_success`, `endpoint_busy`, `endpoint_error`, `endpoint_timeout`,
    /// `endpoint_not_allowed`, or that of the outcome: `http_redirect`, `tls_cert_expired`, `dns_no_such_name`,
    /// `connect_refused`, …
    pub code: String,
    /// Which part failed: DNS, connection, certificate, status, redirect.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// What came back. Where the address was not allowed it does not say which one it was: whoever registers URLs must
    /// not learn what names lead to inside of this network.
    pub outcome: Box<Outcome>,
    /// Which one it was, for the log and the audit, and not for whoever asked.
    pub withheld: Option<Withheld>,
}

/// What whoever registers a URL is not told. It is not printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Withheld(pub String);

impl fmt::Debug for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[WITHHELD]")
    }
}

/// Makes one request to the URL of `settings` and judges the answer. `id` names the test event, where one is sent.
///
/// # Errors
/// When the answer is not what `method` asks for.
pub async fn check(
    client: &Client,
    settings: &Settings,
    credentials: &Credentials,
    method: CheckMethod,
    id: DeliveryId,
    now: Timestamp,
) -> Result<Outcome, CheckError> {
    let request = request(settings, credentials, method, id, now)?;
    let outcome = client.send(request).await;
    judge(settings, method, outcome)
}

fn request(
    settings: &Settings,
    credentials: &Credentials,
    method: CheckMethod,
    id: DeliveryId,
    now: Timestamp,
) -> Result<Request, CheckError> {
    match method {
        CheckMethod::Head => Ok(Request {
            deadline: settings.timeout.max(DEADLINE),
            ..signer::head(settings)
        }),
        CheckMethod::Post => {
            signer::test(settings, credentials, id, now).map_err(|invalid| unsendable(&invalid))
        }
    }
}

fn judge(
    settings: &Settings,
    method: CheckMethod,
    outcome: Outcome,
) -> Result<Outcome, CheckError> {
    let passed = match (method, outcome.status) {
        (_, None) => false,
        (CheckMethod::Head, Some(status)) => status == 200,
        (CheckMethod::Post, Some(status)) => {
            classify(status, settings.profile.success).1 == Fault::None
        }
    };
    if passed {
        Ok(outcome)
    } else if let (Some(status), false) = (outcome.status, is_transport(&outcome.code)) {
        Err(wrong_status(settings, method, status, outcome))
    } else {
        Err(no_status(settings, outcome))
    }
}

/// Codes that have a status and yet are not about the status alone.
fn is_transport(code: &str) -> bool {
    matches!(
        code,
        codes::HTTP_REDIRECT | codes::HTTP_PROTOCOL | codes::HTTP_INVALID_STATUS
    )
}

/// What the test event is to be answered.
fn wanted(settings: &Settings) -> &'static str {
    match settings.profile.success {
        profile::Success::Any2xx => "a success",
        profile::Success::Exactly200 => "exactly 200",
    }
}

fn wrong_status(
    settings: &Settings,
    method: CheckMethod,
    status: u16,
    outcome: Outcome,
) -> CheckError {
    let (asked, wanted, code) = match method {
        CheckMethod::Head => ("HEAD", "200", "status_not_200"),
        CheckMethod::Post => ("the test event", wanted(settings), "status_not_success"),
    };
    let code = match status {
        429 | 503 => "endpoint_busy",
        500..=599 => "endpoint_error",
        _ => code,
    };
    CheckError {
        code: code.to_owned(),
        message: format!("status: {asked} was answered {status}, not {wanted}"),
        hint: status_hint(method, status).to_owned(),
        outcome: Box::new(outcome),
        withheld: None,
    }
}

fn status_hint(method: CheckMethod, status: u16) -> &'static str {
    match (method, status) {
        (_, 429 | 503) => "the receiver is busy: ask again later",
        (_, 500..=599) => "the receiver failed: look at its logs",
        (_, 404) => "check the path of the URL and whether the receiver is deployed",
        (CheckMethod::Head, 401 | 403) => {
            "a HEAD carries neither signature nor credentials; where the receiver wants them, check with the test event (--check post)"
        }
        (CheckMethod::Head, _) => {
            "answer HEAD with 200, or check with the test event (--check post)"
        }
        (CheckMethod::Post, 401 | 403) => {
            "the receiver does not accept the signature or the credentials: check that both sides have the same"
        }
        (CheckMethod::Post, _) => "look at the receiver's logs",
    }
}

fn no_status(settings: &Settings, mut outcome: Outcome) -> CheckError {
    if matches!(
        &*outcome.code,
        codes::ADDRESS_NOT_GLOBAL | codes::ADDRESS_IS_SELF
    ) {
        let detail = outcome.detail.take().unwrap_or_default();
        tracing::info!(
            url.host = settings.url.host(),
            detail = &*detail,
            "Refused to check a URL whose address is not allowed"
        );
        return CheckError {
            code: "endpoint_not_allowed".to_owned(),
            message: "address: the URL leads to an address that is not allowed".to_owned(),
            hint: "register a public host; an operator may allow a range by name (--egress-allow-address)".to_owned(),
            outcome: Box::new(outcome),
            withheld: Some(Withheld(detail)),
        };
    }
    let code = if outcome.code.starts_with("timeout_") {
        "endpoint_timeout"
    } else {
        &outcome.code
    };
    let known = codes::find(&outcome.code);
    let meaning = known.map_or("the request failed", |known| known.meaning);
    let mut message = format!("{}: {meaning}", part(&outcome.code));
    if let Some(detail) = &outcome.detail {
        message = format!("{message} ({detail})");
    }
    CheckError {
        code: code.to_owned(),
        message,
        hint: known
            .map_or("look at the receiver's logs", |known| known.advice)
            .to_owned(),
        outcome: Box::new(outcome),
        withheld: None,
    }
}

/// Which part of a request a code is about.
fn part(code: &str) -> &'static str {
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| code.starts_with(prefix));
    if begins(&["dns_", "timeout_dns"]) {
        "DNS"
    } else if begins(&["connect", "timeout_connect"]) {
        "connection"
    } else if begins(&["tls_cert_"]) {
        "certificate"
    } else if begins(&["tls_", "timeout_tls"]) {
        "TLS handshake"
    } else if code == codes::HTTP_REDIRECT {
        "redirect"
    } else if begins(&["http_", "timeout_"]) {
        "answer"
    } else {
        "this process"
    }
}

/// The test event itself was refused, so nothing was sent.
fn unsendable(invalid: &Invalid) -> CheckError {
    CheckError {
        code: invalid.code.to_owned(),
        message: invalid.message.to_string(),
        hint: invalid.hint.as_deref().unwrap_or_default().to_owned(),
        outcome: Box::new(Outcome {
            code: invalid.code.into(),
            fault: Fault::Ours,
            status: None,
            retry_after: None,
            excerpt: Vec::new(),
            detail: Some(invalid.to_string()),
            duration: Duration::ZERO,
            certificate: None,
        }),
        withheld: None,
    }
}
