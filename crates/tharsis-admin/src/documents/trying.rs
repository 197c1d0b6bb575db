//! What was tried of a subscription.

use std::collections::BTreeMap;

use serde::Serialize;
use tharsis::{delivery::Outcome, filter::Filter, signer, text::excerpt};
use utoipa::ToSchema;

use super::millis;
use crate::trying::Sent;

/// A test event that was sent, and what came of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SubscriptionTest)]
pub struct TestDocument<'a> {
    /// Whether the receiver took it.
    delivered: bool,
    request: RequestDocument<'a>,
    answer: AnswerDocument<'a>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SentRequest)]
struct RequestDocument<'a> {
    method: &'static str,
    #[schema(format = "uri")]
    url: &'a str,
    /// Without the values of those that are secret.
    headers: BTreeMap<&'a str, &'a str>,
    body: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReceivedAnswer)]
struct AnswerDocument<'a> {
    status: Option<u16>,
    /// The code of the outcome.
    reason: &'a str,
    duration_ms: u64,
    detail: Option<&'a str>,
    /// The beginning of the answer's body, made inert.
    excerpt: Option<String>,
}

impl<'a> From<&'a Sent> for TestDocument<'a> {
    fn from(sent: &'a Sent) -> Self {
        Self {
            delivered: sent.delivered,
            request: RequestDocument::from(&sent.request),
            answer: AnswerDocument::from(&sent.outcome),
        }
    }
}

impl<'a> From<&'a signer::Request> for RequestDocument<'a> {
    fn from(request: &'a signer::Request) -> Self {
        Self {
            method: "POST",
            url: request.url.given(),
            headers: request
                .headers
                .iter()
                .map(|header| (&*header.name, header.shown()))
                .collect(),
            body: String::from_utf8_lossy(&request.body).into_owned(),
        }
    }
}

impl<'a> From<&'a Outcome> for AnswerDocument<'a> {
    fn from(outcome: &'a Outcome) -> Self {
        Self {
            status: outcome.status,
            reason: &outcome.code,
            duration_ms: millis(outcome.duration),
            detail: outcome.detail.as_deref(),
            excerpt: (!outcome.excerpt.is_empty()).then(|| excerpt(&outcome.excerpt, usize::MAX)),
        }
    }
}

/// What a filter does to events.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FilterTest)]
pub struct FilterTestDocument<'a> {
    filter: &'a str,
    /// So many of them.
    wanted: usize,
    events: Vec<JudgedDocument>,
}

impl<'a> FilterTestDocument<'a> {
    /// To these.
    pub fn of(filter: &'a Filter, events: Vec<JudgedDocument>) -> Self {
        Self {
            filter: filter.text(),
            wanted: events.iter().filter(|event| event.wanted).count(),
            events,
        }
    }
}

/// What a filter does to an event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JudgedEvent)]
pub struct JudgedDocument {
    /// Its id, or where it was given.
    pub event: String,
    /// Its type.
    pub r#type: String,
    /// Whether the subscription gets it.
    pub wanted: bool,
    /// Why it does not.
    pub reason: Option<String>,
}
