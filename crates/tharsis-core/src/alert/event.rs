use super::{
    Alert, Facts, MOST_COUNTED,
    text::{advice, commands, inert, is_held, sentence},
};
use crate::{
    Invalid, Timestamp,
    event::Event,
    json::{Object, Value},
    payload::{self, written},
    subscription::Subscription,
};

/// The event that tells of an alert of a subscription, for others of the same client; its recipient is that subscription.
/// It says what a [message](super::message()) does, and as little of what was delivered or answered, or of the URL.
///
/// # Errors
/// Where a code is none that can be told, which none of ours is.
pub fn event(
    subscription: &Subscription,
    alert: &Alert,
    facts: &Facts,
    now: Timestamp,
) -> Result<Event, Invalid> {
    let payload = payload(subscription, alert, facts, now)?;
    payload::own(alert.cause, &payload)
}

fn payload<'a>(
    subscription: &Subscription,
    alert: &'a Alert,
    facts: &'a Facts,
    now: Timestamp,
) -> Result<Object<'a>, Invalid> {
    let settings = &subscription.settings;
    let alone = [alert];
    let answers: Result<Vec<Value<'_>>, Invalid> = (facts.answers.iter())
        .map(|answer| {
            written([
                ("code", Some((&*answer.code).into())),
                ("count", Some(number(answer.count))),
                ("at", Some(time(answer.at))),
            ])
            .map(Value::Object)
        })
        .collect();
    let waiting = written([
        ("count", Some(number(facts.waiting))),
        ("isCapped", Some(Value::Bool(facts.waiting >= MOST_COUNTED))),
        ("isHeld", Some(Value::Bool(is_held(facts, subscription)))),
    ]);
    written([
        ("type", Some(alert.cause.as_str().into())),
        ("clientId", Some(settings.client.to_string().into())),
        ("subscriptionId", Some(subscription.id.to_string().into())),
        ("subscriptionName", Some(inert(&settings.name).into())),
        ("host", Some(settings.url.host().to_string().into())),
        ("since", Some(time(alert.since))),
        ("raisedAt", Some(time(alert.raised_at))),
        ("toldAt", Some(time(now))),
        ("stage", Some(f64::from(alert.stage).into())),
        ("count", Some(number(alert.count))),
        (
            "code",
            Some(alert.code.as_deref().map_or(Value::Null, Value::from)),
        ),
        ("condition", Some(facts.condition.as_str().into())),
        (
            "message",
            Some(sentence(alert, subscription, facts, now).into()),
        ),
        ("waiting", Some(waiting?.into())),
        ("answers", Some(answers?.into())),
        ("advice", Some(lines(advice(&alone, facts)))),
        (
            "commands",
            Some(lines(commands(&alone, subscription, facts))),
        ),
    ])
}

fn time(at: Timestamp) -> Value<'static> {
    at.to_offset_string().into()
}

/// Such numbers are told as exactly as JSON can.
fn number(count: u64) -> Value<'static> {
    (count as f64).into()
}

fn lines(lines: Vec<String>) -> Value<'static> {
    let lines: Vec<Value<'static>> = lines.into_iter().map(Value::from).collect();
    lines.into()
}
