//! Where an event has got to.

use serde::Serialize;
use tharsis::store::{Candidate, Whereabouts};
use utoipa::ToSchema;

use super::{AttemptDocument, Fault, refusal, words};
use crate::why::{Answer, Finding, Next, Said, meaning};

/// To whom an event went, to whom not, and what its deliveries wait for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Why)]
pub struct WhyDocument<'a> {
    #[schema(format = "uuid")]
    event: String,
    #[serde(rename = "type")]
    event_type: &'a str,
    #[schema(format = "uuid")]
    client: String,
    campaign: Option<&'a str>,
    #[schema(format = DateTime)]
    published_at: String,
    #[schema(format = DateTime)]
    not_before: Option<String>,
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    routed: bool,
    /// Why it could not be frozen.
    refused: Option<Fault>,
    /// In one sentence.
    answer: &'a str,
    /// Of the event itself.
    findings: Vec<FindingDocument<'a>>,
    subscriptions: Vec<SaidDocument<'a>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WhySubscription)]
struct SaidDocument<'a> {
    #[schema(format = "uuid")]
    id: String,
    name: &'a str,
    /// That of its delivery; `not_sent` where there is none, `not_routed` where there is none yet.
    #[schema(value_type = words::WhyStatus)]
    status: &'static str,
    /// What says why, the first before all others.
    findings: Vec<FindingDocument<'a>>,
    attempts: Vec<Tried<'a>>,
    next: NextDocument,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Finding)]
struct FindingDocument<'a> {
    code: &'a str,
    message: &'a str,
    hint: Option<&'a str>,
    /// What to run next.
    command: Option<&'a str>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WhyAttempt)]
struct Tried<'a> {
    #[serde(flatten)]
    attempt: AttemptDocument<'a>,
    /// Of its reason.
    meaning: Option<&'static str>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Next)]
struct NextDocument {
    /// `attempt`, `probe`, `release`, `predecessor`, `routing`, `end`, `never`.
    #[schema(value_type = words::NextStep)]
    what: &'static str,
    #[schema(format = DateTime)]
    at: Option<String>,
    /// The event that it comes after.
    #[schema(format = "uuid")]
    after: Option<String>,
}

impl<'a> WhyDocument<'a> {
    /// What was read of it, and what was said of that.
    pub fn of(whereabouts: &'a Whereabouts, answer: &'a Answer) -> Self {
        let event = &whereabouts.event;
        let subscriptions = (answer.subscriptions.iter())
            .zip(&whereabouts.candidates)
            .map(|(said, candidate)| SaidDocument::of(said, candidate));
        Self {
            event: event.id.to_string(),
            event_type: &event.event_type,
            client: event.client.to_string(),
            campaign: event.campaign.as_deref(),
            published_at: event.published_at.to_string(),
            not_before: event.not_before.map(|at| at.to_string()),
            expires_at: event.expires_at.map(|at| at.to_string()),
            routed: event.routed,
            refused: event.refused.as_ref().map(refusal),
            answer: &answer.sentence,
            findings: answer.findings.iter().map(FindingDocument::from).collect(),
            subscriptions: subscriptions.collect(),
        }
    }
}

impl<'a> SaidDocument<'a> {
    fn of(said: &'a Said, candidate: &'a Candidate) -> Self {
        let attempts = candidate.delivery.iter().flat_map(|of| &of.attempts);
        Self {
            id: candidate.id.to_string(),
            name: &candidate.name,
            status: said.status,
            findings: said.findings.iter().map(FindingDocument::from).collect(),
            attempts: attempts
                .map(|record| Tried {
                    attempt: record.into(),
                    meaning: meaning(&record.attempt.code),
                })
                .collect(),
            next: said.next.into(),
        }
    }
}

impl<'a> From<&'a Finding> for FindingDocument<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            code: &finding.code,
            message: &finding.sentence,
            hint: finding.hint.as_deref(),
            command: finding.command.as_deref(),
        }
    }
}

impl From<Next> for NextDocument {
    fn from(next: Next) -> Self {
        let (what, at, after) = match next {
            Next::Attempt(at) => ("attempt", Some(at), None),
            Next::Probe(at) => ("probe", at, None),
            Next::Release => ("release", None, None),
            Next::After(event) => ("predecessor", None, event),
            Next::Routing => ("routing", None, None),
            Next::End => ("end", None, None),
            Next::Never => ("never", None, None),
        };
        Self {
            what,
            at: at.map(|at| at.to_string()),
            after: after.map(|event| event.to_string()),
        }
    }
}
