//! What becomes of a subscription, told to others of its client: the events that we publish ourselves.

use std::time::Duration;

use super::{
    Documented, Facts, Fields,
    shape::{
        FROM_ZERO, Field,
        Kind::{
            Bool, Integer, Label, Line, Lines, Object, Objects, OrNull, Text, Time, Type, Uuid,
        },
        required,
    },
    uuid,
};
use crate::{
    Invalid, Timestamp,
    alert::{self, Alert, Answer, Cause},
    egress::Policy,
    event::{Event, EventType},
    health::{Condition, Health},
    json,
    profile::Profiles,
    subscription::{Credentials, Draft, State, Subscription},
};

/// Who tells it, where a documented type names the profile of its sender.
const SENDER: &str = "tharsis";

/// Freezes what tells of this.
pub(crate) fn own(cause: Cause, payload: &json::Object<'_>) -> Result<Event, Invalid> {
    documented(cause).bare(EventType::new(cause.as_str())?, payload)
}

const fn documented(cause: Cause) -> &'static Documented {
    match cause {
        Cause::Suspended => &SUSPENDED,
        Cause::Failing => &FAILING,
        Cause::Recovered => &RECOVERED,
        Cause::Dead => &DEAD,
        Cause::Blocked => &BLOCKED,
        Cause::Expiring => &EXPIRING,
        Cause::Certificate => &CERTIFICATE,
    }
}

pub(super) static FAILING: Documented = Documented {
    name: Cause::Failing.as_str(),
    profile: SENDER,
    summary: "A subscription fails: its breaker opened or a delivery ended dead; again on the way to its suspension.",
    shape: &shape(Cause::Failing.as_str()),
    facts,
    example: || example(Cause::Failing),
};

pub(super) static SUSPENDED: Documented = Documented {
    name: Cause::Suspended.as_str(),
    profile: SENDER,
    summary: "A subscription was suspended: nothing is sent to it until an admin resumes it, or until a worker can read it again.",
    shape: &shape(Cause::Suspended.as_str()),
    facts,
    example: || example(Cause::Suspended),
};

pub(super) static RECOVERED: Documented = Documented {
    name: Cause::Recovered.as_str(),
    profile: SENDER,
    summary: "A subscription of which it was told that it fails takes what is sent to it again.",
    shape: &shape(Cause::Recovered.as_str()),
    facts,
    example: || example(Cause::Recovered),
};

pub(super) static DEAD: Documented = Documented {
    name: Cause::Dead.as_str(),
    profile: SENDER,
    summary: "Deliveries of a subscription ended dead: how many since the last event of this type.",
    shape: &shape(Cause::Dead.as_str()),
    facts,
    example: || example(Cause::Dead),
};

pub(super) static BLOCKED: Documented = Documented {
    name: Cause::Blocked.as_str(),
    profile: SENDER,
    summary: "The host of a subscription leads to an address that must not be reached.",
    shape: &shape(Cause::Blocked.as_str()),
    facts,
    example: || example(Cause::Blocked),
};

pub(super) static EXPIRING: Documented = Documented {
    name: Cause::Expiring.as_str(),
    profile: SENDER,
    summary: "Deliveries of a subscription are held that end within a week: events are kept no longer.",
    shape: &shape(Cause::Expiring.as_str()),
    facts,
    example: || example(Cause::Expiring),
};

pub(super) static CERTIFICATE: Documented = Documented {
    name: Cause::Certificate.as_str(),
    profile: SENDER,
    summary: "The certificate of a subscription's receiver ends within two weeks: `since` is when.",
    shape: &shape(Cause::Certificate.as_str()),
    facts,
    example: || example(Cause::Certificate),
};

const fn shape(name: &'static str) -> [Field; 17] {
    [
        required("type", Type(name)),
        required("clientId", Uuid),
        required("subscriptionId", Uuid),
        required("subscriptionName", Line),
        required("host", Line),
        required("since", Time),
        required("raisedAt", Time),
        required("toldAt", Time),
        required("stage", Integer(0.0..=100.0)),
        required("count", Integer(FROM_ZERO)),
        required("code", OrNull(&Label)),
        required("condition", Label),
        required("message", Text),
        required("waiting", Object(WAITING)),
        required("answers", Objects(0, ANSWER)),
        required("advice", Lines),
        required("commands", Lines),
    ]
}

const WAITING: &[Field] = &[
    required("count", Integer(FROM_ZERO)),
    required("isCapped", Bool),
    required("isHeld", Bool),
];

const ANSWER: &[Field] = &[
    required("code", Label),
    required("count", Integer(FROM_ZERO)),
    required("at", Time),
];

/// It is for the subscription that it is about.
fn facts(payload: &json::Object<'_>) -> Result<Facts, Invalid> {
    let about = Fields(payload).required("subscriptionId", uuid)?;
    Ok(Facts {
        recipient: Some(about.to_string().into()),
        ..Facts::default()
    })
}

fn example(cause: Cause) -> Result<Event, Invalid> {
    let begin = Timestamp::parse("2026-01-31T12:30:00Z")?;
    let after = |minutes: u64| begin + Duration::from_secs(60 * minutes);
    let draft = Draft {
        client: "36011017-0e00-4e29-a054-7a1fbb8b60a2".to_owned(),
        name: "shop".to_owned(),
        url: "https://hooks.example.com/in".to_owned(),
        ..Draft::default()
    };
    let subscription = Subscription::new(
        "019b2f70-91d2-7b35-8f06-3f1c5d0a7e42".parse()?,
        draft.settings(&Policy::default(), &Profiles::default())?,
        (State::Active, Health::default()),
        &Credentials::default(),
        (begin, begin),
    );
    let (stage, count, code, condition) = match cause {
        Cause::Failing => (50, 0, "http_503", Condition::Open),
        Cause::Suspended => (0, 0, "http_503", Condition::Suspended),
        Cause::Recovered => (0, 0, "http_200", Condition::Throttled),
        Cause::Dead => (0, 7, "http_503", Condition::Healthy),
        Cause::Blocked => (0, 3, "address_not_global", Condition::Healthy),
        Cause::Expiring => (0, 1_280, "http_503", Condition::Suspended),
        Cause::Certificate => (0, 0, "http_200", Condition::Healthy),
    };
    let has_code = !matches!(
        cause,
        Cause::Recovered | Cause::Expiring | Cause::Certificate
    );
    let alert = Alert {
        id: 1,
        cause,
        raised_at: after(90),
        since: begin,
        stage,
        count,
        code: has_code.then(|| code.to_owned()),
        due_at: after(90),
        tries: 0,
        accepted: Vec::new(),
        event: None,
        event_count: 0,
    };
    let facts = alert::Facts {
        condition,
        waiting: 1_280,
        answers: vec![Answer {
            code: code.to_owned(),
            count: 23,
            at: after(89),
        }],
    };
    alert::event(&subscription, &alert, &facts, after(91))
}
