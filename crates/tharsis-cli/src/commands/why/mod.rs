//! `tharsis why`: of one event, to whom it went, to whom not, and what its deliveries wait for.

mod judge;
mod text;

use clap::Args;
use serde::Serialize;
use tharsis::{
    EventId, Registry, SubscriptionId,
    delivery::codes,
    store::{Candidate, EventRecord, Whereabouts},
    subscription::Subscription,
};

use self::judge::{Answer, Finding, Next, Said, judge};
use super::{
    Context,
    documents::{AttemptDocument, refusal},
};
use crate::output::{Exit, Failure, Fault};

/// Say of an event to whom it went, to whom not and why, and what holds it now
///
/// The first line is the answer. Below it stands each subscription of the event's client: each attempt and what came of
/// it, what holds the delivery, what comes next and when, and what to run. A filter and the types of a subscription are
/// judged as they are today.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis why 019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11
  tharsis why 019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11 \\
      --subscription 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
  tharsis why 019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11 --json | jq -r .answer")]
pub(crate) struct Options {
    /// Its id, the first half of a delivery's name
    #[arg(value_name = "EVENT")]
    event: EventId,

    /// This subscription alone
    #[arg(long, value_name = "SUBSCRIPTION")]
    subscription: Option<SubscriptionId>,
}

pub(crate) async fn run(context: &Context, options: &Options) -> Result<Exit, Failure> {
    let output = context.output;
    let emitter = context.open().await?;
    let mut whereabouts = emitter.registry().whereabouts(options.event).await?;
    if let Some(id) = options.subscription {
        whereabouts.candidates.retain(|one| one.id == id);
        // One that it could not have gone to: of another client.
        if whereabouts.candidates.is_empty() {
            let other = emitter.registry().find(id).await?;
            whereabouts.candidates.push(candidate(other));
        }
    }
    let answer = judge(&whereabouts);
    if output.json {
        output.document(&Document::of(&whereabouts, &answer))?;
    } else {
        output.line(text::for_people(&whereabouts, &answer).trim_end())?;
    }
    Ok(Exit::Done)
}

/// A subscription without a delivery.
fn candidate(subscription: Subscription) -> Candidate {
    Candidate {
        id: subscription.id,
        name: subscription.settings.name.clone(),
        created_at: subscription.created_at,
        removed_at: None,
        held_since: None,
        subscription: Some(subscription),
        delivery: None,
        place: None,
    }
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    event: String,
    #[serde(rename = "type")]
    event_type: &'a str,
    client: String,
    campaign: Option<&'a str>,
    published_at: String,
    not_before: Option<String>,
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

#[derive(Debug, Serialize)]
struct SaidDocument<'a> {
    id: String,
    name: &'a str,
    /// That of its delivery; `not_sent` where there is none, `not_routed` where there is none yet.
    status: &'static str,
    /// What says why, the first before all others.
    findings: Vec<FindingDocument<'a>>,
    attempts: Vec<Tried<'a>>,
    next: NextDocument,
}

#[derive(Debug, Serialize)]
struct FindingDocument<'a> {
    code: &'a str,
    message: &'a str,
    hint: Option<&'a str>,
    /// What to run next.
    command: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Tried<'a> {
    #[serde(flatten)]
    attempt: AttemptDocument<'a>,
    /// Of its reason.
    meaning: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct NextDocument {
    /// `attempt`, `probe`, `release`, `predecessor`, `routing`, `end`, `never`.
    what: &'static str,
    at: Option<String>,
    /// The event that it comes after.
    after: Option<String>,
}

impl<'a> Document<'a> {
    fn of(whereabouts: &'a Whereabouts, answer: &'a Answer) -> Self {
        let event: &EventRecord = &whereabouts.event;
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

/// What a recorded code means.
fn meaning(code: &str) -> Option<&'static str> {
    codes::find(code).map(|code| code.meaning)
}
