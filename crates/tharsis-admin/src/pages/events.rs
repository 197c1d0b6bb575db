//! Events: to whom one went, to whom not, and why.

mod list;

use askama::Template;
use axum::{http::StatusCode, response::Response};
use tharsis::{
    Timestamp,
    store::{Candidate, EventRecord},
    text::excerpt,
};

use super::{
    campaigns,
    fields::Fact,
    layout::{self, Frame},
    markup::Badge,
    visit::{Path, Visit},
};
use crate::{
    Problem,
    text::moment,
    why::{Finding, Next, Said, judge},
};

pub(crate) use list::list;

/// Subscriptions of one page: a client may have more, and a filter in each.
const SUBSCRIPTIONS: usize = 25;

/// So much of a sentence is shown, in characters: a filter may stand in it.
const SENTENCE: usize = 400;

/// So much of a payload is shown, in characters.
const PAYLOAD: usize = 4_000;

#[derive(Template)]
#[template(path = "event.html")]
struct Page {
    frame: Frame,
    /// In one sentence.
    answer: String,
    facts: Vec<Fact>,
    /// Of the event itself.
    findings: Vec<Told>,
    subscriptions: Vec<Row>,
    /// Where the deliveries are of those that are not shown.
    others: Option<String>,
    payload: String,
}

/// What there is to say of a subscription.
struct Row {
    name: String,
    /// `None` where it was removed.
    href: Option<String>,
    status: Badge,
    /// That of the delivery, if there is one.
    delivery: Option<String>,
    findings: Vec<Told>,
    next: String,
}

/// One reason, and what to do about it.
struct Told {
    sentence: String,
    hint: Option<String>,
    command: Option<String>,
}

impl From<&Finding> for Told {
    fn from(finding: &Finding) -> Self {
        let cut = |text: &String| excerpt(text.as_bytes(), SENTENCE);
        Self {
            sentence: cut(&finding.sentence),
            hint: finding.hint.as_ref().map(cut),
            command: finding.command.as_ref().map(cut),
        }
    }
}

/// One of them, with each subscription of its client.
pub(crate) async fn show(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let whereabouts = visit.desk.whereabouts(&id).await?;
    let answer = judge(&whereabouts);
    let (event, now) = (&whereabouts.event, whereabouts.now);
    let subscriptions = answer.subscriptions.iter().zip(&whereabouts.candidates);
    let is_more = answer.subscriptions.len() > SUBSCRIPTIONS;
    let page = Page {
        frame: visit.frame("Event"),
        answer: excerpt(answer.sentence.as_bytes(), SENTENCE),
        facts: facts(event, now),
        findings: answer.findings.iter().map(Told::from).collect(),
        subscriptions: subscriptions
            .take(SUBSCRIPTIONS)
            .map(|(said, candidate)| row(event, said, candidate, now))
            .collect(),
        others: is_more.then(|| format!("/deliveries?event={}", event.id)),
        payload: excerpt(&event.payload, PAYLOAD),
    };
    layout::answer(StatusCode::OK, &page)
}

fn facts(event: &EventRecord, now: Timestamp) -> Vec<Fact> {
    let mut facts = vec![
        Fact::new("Event", event.id.to_string()),
        Fact::new("Type", &*event.event_type),
        Fact::new("Client", event.client.to_string()),
    ];
    facts.extend((event.campaign.as_deref()).map(|campaign| {
        Fact::new("Campaign", campaign).at(campaigns::place(event.client, campaign, None))
    }));
    facts.extend((event.recipient.as_deref()).map(|recipient| Fact::new("Recipient", recipient)));
    facts.push(Fact::new("Published", moment(event.published_at, now)));
    for (name, at) in [
        ("Not before", event.not_before),
        ("Expires", event.expires_at),
    ] {
        facts.extend(at.map(|at| Fact::new(name, moment(at, now))));
    }
    facts
}

fn row(event: &EventRecord, said: &Said, candidate: &Candidate, now: Timestamp) -> Row {
    let id = candidate.id;
    let (is_there, is_sent) = (
        candidate.subscription.is_some(),
        candidate.delivery.is_some(),
    );
    Row {
        name: candidate.name.clone(),
        href: is_there.then(|| format!("/subscriptions/{id}")),
        status: Badge::of(said.status),
        delivery: is_sent.then(|| format!("/deliveries/{}/{id}", event.id)),
        findings: said.findings.iter().map(Told::from).collect(),
        next: next(said.next, now),
    }
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
