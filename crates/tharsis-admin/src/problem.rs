//! Why something was refused, or failed, as an answer: problem details (RFC 9457).

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tharsis::{Error, Invalid, store::StoreError};
use utoipa::ToSchema;

/// An answer that says why not. Programs match on `code`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    code: String,
    field: Option<String>,
    message: String,
    hint: Option<String>,
    /// Seconds after which to try again.
    retry_after: Option<u32>,
}

const TOKEN_UNKNOWN: &str = "token_unknown";

/// Why something was refused, or failed (RFC 9457). Programs match on `code`.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemDocument<'a> {
    /// `urn:tharsis:problem:` and the code.
    #[schema(format = "uri")]
    r#type: String,
    /// What its status means.
    title: &'a str,
    /// That of the answer.
    status: u16,
    /// What is wrong.
    detail: &'a str,
    /// Stable, snake case.
    code: &'a str,
    /// The place, where there is one: `filter.status`, `events[3]`.
    field: Option<&'a str>,
    /// What to do.
    hint: Option<&'a str>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            field: None,
            message: message.into(),
            hint: None,
            retry_after: None,
        }
    }

    /// There is none, or it is another client's: nobody is told which. So the answer is the same to the letter.
    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("there is no such {what}"),
        )
    }

    /// Nobody is told whether there ever was such a token.
    pub(crate) fn token_unknown() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            TOKEN_UNKNOWN,
            "the token is none that counts: there is no such token, or it has expired, or it was revoked",
        )
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    pub(crate) fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// What is wrong, for people: lower case, without a full stop.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// What to do, for people.
    pub(crate) fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Seconds after which to try again.
    pub(crate) fn wait(&self) -> Option<u32> {
        self.retry_after
    }

    /// Whether the request bore a token that may have been guessed.
    pub(crate) fn is_guess(&self) -> bool {
        self.code == TOKEN_UNKNOWN
    }

    pub(crate) fn at(self, field: &str) -> Self {
        Self {
            field: Some(field.to_owned()),
            ..self
        }
    }

    /// The place lies in that one.
    pub(crate) fn within(self, whole: &str) -> Self {
        let field = match &self.field {
            Some(field) => format!("{whole}.{field}"),
            None => whole.to_owned(),
        };
        self.at(&field)
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    pub(crate) fn retry_after(self, seconds: u32) -> Self {
        Self {
            retry_after: Some(seconds),
            ..self
        }
    }
}

/// Codes of what clashes with what is there.
const CONFLICTS: &[&str] = &[
    "campaign_ambiguous",
    "campaign_cancelled",
    "delivery_ended",
    "expired",
    "idempotency_conflict",
    "name_taken",
    "not_changeable",
    "not_held",
    "one_signature",
    "refused",
    "replay_over",
    "secret_of_another_host",
    "subscription_suspended",
    "unfinished",
];

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        let status = match invalid.code {
            "backlog_full" => StatusCode::TOO_MANY_REQUESTS,
            "changed_meanwhile" => StatusCode::PRECONDITION_FAILED,
            "campaign_unknown" => StatusCode::NOT_FOUND,
            "client_not_allowed" => StatusCode::FORBIDDEN,
            "no_randomness" => StatusCode::SERVICE_UNAVAILABLE,
            "too_many_deliveries" | "too_many_events" => StatusCode::PAYLOAD_TOO_LARGE,
            code if CONFLICTS.contains(&code) => StatusCode::CONFLICT,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let problem = Self {
            field: invalid.field,
            hint: invalid.hint.map(std::borrow::Cow::into_owned),
            ..Self::new(status, invalid.code, invalid.message)
        };
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                problem.retry_after(10)
            }
            _ => problem,
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(invalid) | Error::Store(StoreError::Invalid(invalid)) => invalid.into(),
            Error::Store(error) => error.into(),
            error => {
                let hint = error.hint().filter(|hint| !hint.is_empty());
                let (status, field) = match &error {
                    Error::Check(_) => (StatusCode::UNPROCESSABLE_ENTITY, Some("url")),
                    _ => {
                        let source: &dyn std::error::Error = &error;
                        tracing::error!(error = source, "a request failed");
                        (StatusCode::INTERNAL_SERVER_ERROR, None)
                    }
                };
                Self {
                    field: field.map(str::to_owned),
                    hint: hint.map(str::to_owned),
                    ..Self::new(status, error.code(), error.to_string())
                }
            }
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Invalid(invalid) => invalid.into(),
            StoreError::NotFound { what, .. } => Self::not_found(what),
            error => {
                // What the database says is for those who run it.
                let source: &dyn std::error::Error = &error;
                tracing::error!(error = source, "a request failed");
                let seconds = match &error {
                    StoreError::Database(_) => 1,
                    // Somebody has to see to it.
                    _ => 60,
                };
                let error = Error::from(error);
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    error.code(),
                    "the database did not do it",
                )
                .hint("try again later; the log of this process says why")
                .retry_after(seconds)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = ProblemDocument {
            r#type: format!("urn:tharsis:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Refused"),
            status: self.status.as_u16(),
            detail: &self.message,
            code: &self.code,
            field: self.field.as_deref(),
            hint: self.hint.as_deref(),
        };
        let body = serde_json::to_string(&document).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        // For whom pages are made, it is told as one.
        response.extensions_mut().insert(self);
        response
    }
}
