use tharsis_core::{Timestamp, delivery::Outcome, secret::Secret, subscription::Settings};

use crate::Client;

/// How a URL proves that it is there before anything is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckMethod {
    /// One HEAD request that must be answered 200.
    #[default]
    Head,
    /// The profile's test event, signed, by POST; any status of success will do.
    Post,
}

/// The check failed; nothing is created.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CheckError {
    /// Stable code: `status_not_200`, `endpoint_busy`, `endpoint_error`, `endpoint_timeout`, `endpoint_not_allowed`,
    /// `http_redirect`, `tls_cert_expired`, `dns_no_such_name`, `connect_refused`, …
    pub code: String,
    /// Which part failed: DNS, connection, certificate, status, redirect.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// What came back.
    pub outcome: Outcome,
}

/// Makes one request to the URL of `settings` and judges the answer.
///
/// # Errors
/// When the answer is not what `method` asks for.
pub async fn check(
    client: &Client,
    settings: &Settings,
    secret: Option<&Secret>,
    method: CheckMethod,
    now: Timestamp,
) -> Result<Outcome, CheckError> {
    let _ = (client, settings, secret, method, now);
    unimplemented!()
}
