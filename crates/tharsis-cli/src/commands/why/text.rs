//! The answer as people read it.

use tharsis::{
    Timestamp,
    store::{AttemptRecord, Candidate, EventRecord, Whereabouts},
};

use super::{
    judge::{Answer, Finding, Next, Said},
    meaning,
};
use crate::output::{
    fields,
    text::{excerpt, inert, measured, moment},
};

/// The sentence, then what is known of the event, then each subscription.
pub(super) fn for_people(whereabouts: &Whereabouts, answer: &Answer) -> String {
    let now = whereabouts.now;
    let mut told = format!("{}\n\n", inert(&answer.sentence));
    told.push_str(&fields(of_event(&whereabouts.event, answer, now)));
    for (said, candidate) in answer.subscriptions.iter().zip(&whereabouts.candidates) {
        told.push_str(&format!(
            "\n{}   {}\n",
            inert(&candidate.name),
            candidate.id
        ));
        for line in fields(of_subscription(said, candidate, now)).lines() {
            told.push_str(&format!("  {line}\n"));
        }
    }
    told
}

fn of_event(event: &EventRecord, answer: &Answer, now: Timestamp) -> Vec<[String; 2]> {
    let mut pairs = Pairs::default();
    pairs.add("event", event.id.to_string());
    pairs.add("type", event.event_type.clone());
    pairs.add("client", event.client.to_string());
    if let Some(campaign) = &event.campaign {
        pairs.add("campaign", campaign.clone());
    }
    pairs.add("published", moment(event.published_at, now));
    if let Some(at) = event.not_before {
        pairs.add("not before", moment(at, now));
    }
    if let Some(at) = event.expires_at {
        pairs.add("expires", moment(at, now));
    }
    pairs.findings(&answer.findings);
    pairs.0
}

fn of_subscription(said: &Said, candidate: &Candidate, now: Timestamp) -> Vec<[String; 2]> {
    let mut pairs = Pairs::default();
    pairs.add("status", said.status.replace('_', " "));
    let attempts = candidate.delivery.iter().flat_map(|of| &of.attempts);
    for record in attempts {
        let number = record.attempt.number;
        if number == 0 {
            pairs.add("no request", attempt(record, now));
        } else {
            pairs.add(&format!("attempt {number}"), attempt(record, now));
        }
    }
    pairs.findings(&said.findings);
    pairs.add("next", next(said.next, now));
    pairs.0
}

/// Names and values. Several values of one name stand below each other.
#[derive(Default)]
struct Pairs(Vec<[String; 2]>);

impl Pairs {
    fn add(&mut self, name: &str, value: String) {
        self.0.push([name.to_owned(), value]);
    }

    fn findings(&mut self, findings: &[Finding]) {
        for (n, finding) in findings.iter().enumerate() {
            let name = if n == 0 { "because" } else { "and" };
            self.add(name, finding.sentence.clone());
        }
        for finding in findings {
            if let Some(hint) = &finding.hint {
                self.add("hint", hint.clone());
            }
            if let Some(command) = &finding.command {
                self.add("run", command.clone());
            }
        }
    }
}

/// When, how long it took, and what came of it.
fn attempt(record: &AttemptRecord, now: Timestamp) -> String {
    let attempt = &record.attempt;
    let mut told = moment(attempt.at, now);
    if attempt.number != 0 {
        told.push_str(&format!("   {}", measured(attempt.duration)));
    }
    told.push_str(&format!("   {}", attempt.code));
    // A code of a status says it already.
    let status = attempt
        .status
        .filter(|status| attempt.code != format!("http_{status}"));
    if let Some(status) = status {
        told.push_str(&format!(" (status {status})"));
    }
    if let Some(meaning) = meaning(&attempt.code) {
        told.push_str(&format!(": {meaning}"));
    }
    if let Some(detail) = &attempt.detail {
        told.push_str(&format!(" ({})", excerpt(detail.as_bytes(), 200)));
    }
    told
}

fn next(next: Next, now: Timestamp) -> String {
    match next {
        Next::Attempt(at) if at <= now => "an attempt, as soon as its turn comes".to_owned(),
        Next::Attempt(at) => format!("an attempt {}", moment(at, now)),
        Next::Probe(Some(at)) if at > now => format!("a probe of the receiver {}", moment(at, now)),
        Next::Probe(_) => "a probe of the receiver, as soon as its turn comes".to_owned(),
        Next::Release => "nothing, until it is let go".to_owned(),
        Next::After(Some(event)) => format!("an attempt, once that of {event} is through"),
        Next::After(None) => "an attempt, once those before it are through".to_owned(),
        Next::Routing => "it is routed".to_owned(),
        Next::End => "it ends, without a request".to_owned(),
        Next::Never => "nothing".to_owned(),
    }
}
