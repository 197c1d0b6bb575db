use std::{fmt::Write as _, time::Duration};

use super::{Alert, Cause};
use crate::{
    Timestamp,
    delivery::codes,
    health::Condition,
    subscription::{Subscription, Unreadable},
    time::format_duration,
};

/// More that wait are not counted.
pub const MOST_COUNTED: u64 = 100_000;

/// What the message says beside what was raised.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// How the receiver does now.
    pub condition: Condition,
    /// Deliveries that are unfinished, up to [`MOST_COUNTED`].
    pub waiting: u64,
    /// The last answers, each code once, the newest first.
    pub answers: Vec<Answer>,
}

/// What the receiver answered, or what came of asking it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The outcome's stable code.
    pub code: String,
    /// How often it was seen lately.
    pub count: u64,
    /// When last.
    pub at: Timestamp,
}

/// What is said, whoever it is said to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// In one line.
    pub subject: String,
    /// In lines.
    pub text: String,
}

/// What is said of these alerts of a subscription, the first of which gives the subject. It names the subscription and
/// codes; nothing that was delivered or answered is in it, and no URL beyond its host.
pub fn message(
    subscription: &Subscription,
    alerts: &[&Alert],
    facts: &Facts,
    now: Timestamp,
) -> Message {
    let settings = &subscription.settings;
    let name = inert(&settings.name);
    let subject = alerts.first().map_or_else(String::new, |alert| {
        format!("[Tharsis] {name} {}", headline(alert))
    });
    let mut text = format!(
        "{name}, the webhook to {}\nsubscription {} of client {}\n\n",
        settings.url.host(),
        subscription.id,
        settings.client
    );
    for alert in alerts {
        let sentence = sentence(alert, subscription, facts, now);
        let _ = writeln!(text, "* {}\n  {sentence}\n", alert.cause.as_str());
    }
    let _ = writeln!(text, "{}", waiting(facts, subscription));
    if !facts.answers.is_empty() {
        text.push_str("\nThe last answers:\n");
        for Answer { code, count, at } in &facts.answers {
            let _ = writeln!(text, "  {code:<26} {count:>4} times, last {at}");
        }
    }
    text.push_str("\nWhat to do:\n");
    for advice in advice(alerts, facts) {
        let _ = writeln!(text, "  {advice}");
    }
    for command in commands(alerts, subscription, facts) {
        let _ = writeln!(text, "  {command}");
    }
    Message { subject, text }
}

fn headline(alert: &Alert) -> String {
    match alert.cause {
        Cause::Suspended if unreadable(alert).is_some() => "cannot be sent to".to_owned(),
        Cause::Suspended => "is suspended".to_owned(),
        Cause::Failing if alert.stage > 0 => {
            format!("is failing: {} % of the way to suspension", alert.stage)
        }
        Cause::Failing => "is failing".to_owned(),
        Cause::Recovered => "has recovered".to_owned(),
        Cause::Dead => format!("has dead deliveries: {}", alert.count),
        Cause::Blocked => "leads to an address that is blocked".to_owned(),
        Cause::Expiring => format!("holds deliveries that end within a week: {}", alert.count),
        Cause::Certificate => "has a certificate that ends soon".to_owned(),
    }
}

/// What there is to say of it alone.
pub(super) fn sentence(
    alert: &Alert,
    subscription: &Subscription,
    facts: &Facts,
    now: Timestamp,
) -> String {
    let since = alert.since;
    let suspend_after = subscription.settings.limits.suspend_after;
    match alert.cause {
        Cause::Suspended => match unreadable(alert) {
            Some(unreadable) => format!(
                "Nothing has been sent to it since {since}: {}. It goes on by itself once that is mended.",
                unreadable.meaning()
            ),
            None => {
                format!(
                    "It has failed since {since}. Nothing is sent to it until an admin resumes it."
                )
            }
        },
        Cause::Failing => {
            let is_held = matches!(facts.condition, Condition::Open | Condition::HalfOpen);
            let mut text = format!(
                "It has failed since {since}, for {}.",
                format_duration(whole_seconds(now.since(since)))
            );
            if is_held {
                text.push_str(
                    " What waits for it is held, and one delivery probes it now and then.",
                );
                if let Some(after) = suspend_after {
                    let _ = write!(text, " It is suspended after {}.", format_duration(after));
                }
            }
            text
        }
        Cause::Recovered => {
            format!("It answers again since {since}, and what was held is being sent.")
        }
        Cause::Dead => format!(
            "{} ended dead since {since}: retries are used up. The last outcome was {}.",
            counted(alert.count, "delivery", "deliveries"),
            alert.code.as_deref().unwrap_or("none"),
        ),
        Cause::Blocked => format!(
            "{} since {since}: {}.",
            counted(alert.count, "attempt was stopped", "attempts were stopped"),
            meaning(alert.code.as_deref().unwrap_or_default()),
        ),
        Cause::Expiring => format!(
            "{} held, the oldest of an event of {since}, and will end expired within a week: events are kept no longer.",
            counted(alert.count, "delivery is", "deliveries are"),
        ),
        Cause::Certificate => format!(
            "Its certificate ends at {since}. From then on every delivery fails, until it is renewed."
        ),
    }
}

/// Where it is no receiver that is in the way, but what a worker cannot read.
fn unreadable(alert: &Alert) -> Option<Unreadable> {
    let code = alert
        .code
        .as_deref()
        .filter(|_| alert.cause == Cause::Suspended);
    code.and_then(Unreadable::parse)
}

/// Whether what waits is held.
pub(super) fn is_held(facts: &Facts, subscription: &Subscription) -> bool {
    let condition = facts.condition;
    subscription.state.as_str() != "active"
        || matches!(
            condition,
            Condition::Open | Condition::HalfOpen | Condition::Suspended
        )
}

fn waiting(facts: &Facts, subscription: &Subscription) -> String {
    let how = if is_held(facts, subscription) {
        "held"
    } else {
        "waiting"
    };
    match facts.waiting {
        0 => format!("No delivery is {how}."),
        1 => format!("1 delivery is {how}."),
        n if n >= MOST_COUNTED => format!("{MOST_COUNTED} deliveries or more are {how}."),
        n => format!("{n} deliveries are {how}."),
    }
}

fn meaning(code: &str) -> &'static str {
    codes::find(code).map_or("the outcome is none that is known here", |code| {
        code.meaning
    })
}

/// What to do about the outcomes, each code once.
pub(super) fn advice(alerts: &[&Alert], facts: &Facts) -> Vec<String> {
    if alerts.iter().all(|alert| alert.cause == Cause::Recovered) {
        return vec!["Nothing.".to_owned()];
    }
    let is_ending = alerts.iter().any(|alert| alert.cause == Cause::Certificate);
    let renew = "Renew the receiver's certificate, and reload its server.";
    let mend = alerts.iter().find_map(|alert| unreadable(alert));
    let mend = mend.map(|unreadable| {
        let (code, meaning, advice) = (
            unreadable.as_str(),
            unreadable.meaning(),
            unreadable.advice(),
        );
        format!("{code}: {meaning}; {advice}")
    });
    let raised = (alerts.iter())
        .filter(|alert| unreadable(alert).is_none())
        .filter_map(|alert| alert.code.as_deref());
    let answered = facts.answers.iter().map(|answer| &*answer.code);
    let mut seen: Vec<&str> = Vec::new();
    for code in raised.chain(answered) {
        let is_failure = codes::find(code)
            .is_some_and(|code| code.fault() != Some(crate::delivery::Fault::None));
        if is_failure && !seen.contains(&code) && seen.len() < 3 {
            seen.push(code);
        }
    }
    let of_codes = seen.into_iter().filter_map(|code| {
        let known = codes::find(code)?;
        Some(format!("{code}: {}; {}", known.meaning, known.advice))
    });
    (is_ending.then(|| renew.to_owned()).into_iter())
        .chain(mend)
        .chain(of_codes)
        .collect()
}

pub(super) fn commands(
    alerts: &[&Alert],
    subscription: &Subscription,
    facts: &Facts,
) -> Vec<String> {
    let id = subscription.id;
    let has = |cause| alerts.iter().any(|alert| alert.cause == cause);
    let mut commands = vec![format!("tharsis subscription health {id}")];
    if has(Cause::Expiring) {
        commands.push(format!(
            "tharsis delivery list --status held --subscription {id}"
        ));
    }
    let is_unreadable = alerts.iter().any(|alert| unreadable(alert).is_some());
    if is_unreadable {
        commands.push("tharsis doctor".to_owned());
    }
    if (has(Cause::Suspended) && !is_unreadable) || facts.condition == Condition::Suspended {
        commands.push(format!("tharsis subscription resume {id}"));
    }
    if has(Cause::Failing) || has(Cause::Blocked) || has(Cause::Certificate) {
        commands.push(format!("tharsis subscription test {id}"));
    }
    if has(Cause::Dead) {
        commands.push(format!(
            "tharsis delivery list --status dead --subscription {id}"
        ));
        commands.push(format!("tharsis replay --status dead --subscription {id}"));
    }
    commands
}

fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}

/// A name is an admin's, and its line is not to be broken.
pub(super) fn inert(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
