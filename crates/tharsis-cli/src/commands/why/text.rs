//! The answer as people read it.

use tharsis::{
    Timestamp,
    store::{AttemptRecord, Candidate, EventRecord, Whereabouts},
};
use tharsis_admin::why::{Answer, Finding, Next, Said, meaning};

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tharsis::{
        ClientId, EventId, SubscriptionId,
        egress::Policy,
        event::EventType,
        health::Health,
        profile::Profiles,
        store::{Attempt, DeliveryDetail, DeliveryRow, Place, Shards, Status},
        subscription::{Credentials, Draft, State, Subscription},
    };
    use tharsis_admin::why::judge;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + seconds * 1_000)
    }

    fn client() -> ClientId {
        ClientId::new(Timestamp::from_millis(1), [1; 10])
    }

    /// A nudge that was published a minute ago and is routed, while a worker owns everything.
    fn nudge() -> EventRecord {
        EventRecord {
            id: EventId::new(at(-60), [1; 10]),
            event_type: "nudge".to_owned(),
            client: client(),
            campaign: None,
            recipient: None,
            published_at: at(-60),
            not_before: None,
            expires_at: None,
            routed: true,
            refused: None,
            payload: br#"{"channel":"sms"}"#.to_vec().into(),
            deliveries: Vec::new(),
        }
    }

    /// A subscription, as old as the hills.
    fn subscription(n: u8, name: &str) -> Subscription {
        let draft = Draft {
            client: client().to_string(),
            name: name.to_owned(),
            url: "https://hooks.example.com/in".to_owned(),
            ..Draft::default()
        };
        let settings = draft
            .settings(&Policy::default(), &Profiles::default())
            .unwrap();
        Subscription::new(
            SubscriptionId::new(at(-1_000), [n; 10]),
            settings,
            (State::Active, Health::default()),
            &Credentials::default(),
            (at(-1_000), at(-1_000)),
        )
    }

    /// With a delivery that has failed once and is tried again.
    fn retrying(mut candidate: Candidate) -> Candidate {
        let attempt = Attempt {
            number: 1,
            at: at(-30),
            duration: Duration::from_micros(12_340),
            code: "http_503".to_owned(),
            status: Some(503),
            excerpt: b"an answer that is nobody's business".to_vec(),
            detail: None,
        };
        let row = DeliveryRow {
            id: format!("{}/{}", nudge().id, candidate.id).parse().unwrap(),
            event_type: "nudge".to_owned(),
            client: client(),
            campaign: None,
            subscription_name: candidate.name.clone(),
            status: Status::Retrying,
            attempts: 1,
            code: Some(attempt.code.clone()),
            published_at: at(-60),
            last_at: Some(attempt.at),
            due_at: Some(at(45)),
        };
        candidate.delivery = Some(DeliveryDetail {
            row,
            attempts: vec![AttemptRecord {
                attempt,
                end: None,
                due_at: None,
            }],
        });
        candidate.place = Some(Place {
            lane: 0,
            tries: 1,
            behind: None,
        });
        candidate
    }

    #[test]
    fn people_read_the_answer_first_and_nothing_remote_steers_their_terminal() {
        let shop = retrying(super::super::candidate(subscription(2, "Shop")));
        let mut app = subscription(3, "App");
        app.settings.events = vec![EventType::new("signal").unwrap()];
        let mut unwanted = super::super::candidate(app);
        unwanted.name.push_str(" \u{1b}[31m");
        let whereabouts = Whereabouts {
            now: at(0),
            event: nudge(),
            candidates: vec![shop, unwanted],
            stops: Vec::new(),
            owned: Shards::ALL,
        };
        let told = for_people(&whereabouts, &judge(&whereabouts));
        assert!(
            !told.contains("nobody's business") && !told.contains("sms"),
            "{told}"
        );
        insta::assert_snapshot!(told, @r"
    It went to 1 of the 2 subscriptions of its client: 1 retrying.

    event      018bcfe4-7da0-7101-8101-010101010101
    type       nudge
    client     00000000-0001-7101-8101-010101010101
    published  2023-11-14T22:12:20Z (1m ago)

    Shop   018bcfd6-25c0-7202-8202-020202020202
      status     retrying
      attempt 1  2023-11-14T22:12:50Z (30s ago)   12.3 ms   http_503: the receiver is not available
      because    retry 1 of 3 is due 2023-11-14T22:14:05Z (in 45s)
      hint       it need not wait, if the receiver is back
      run        tharsis delivery retry 018bcfe4-7da0-7101-8101-010101010101/018bcfd6-25c0-7202-8202-020202020202
      next       an attempt 2023-11-14T22:14:05Z (in 45s)

    App \u{1b}[31m   018bcfd6-25c0-7303-8303-030303030303
      status   not sent
      because  it does not want events of the type nudge, but signal
      run      tharsis subscription show 018bcfd6-25c0-7303-8303-030303030303
      next     nothing
    ");
    }
}
