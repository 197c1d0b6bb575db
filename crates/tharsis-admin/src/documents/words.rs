//! The words of which a document or a body has one, as the description of the API lists them.

use std::borrow::Cow;

use tharsis::{alert, delivery::End, health, order, store, store::Status, subscription, token};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{ObjectBuilder, Schema, Type},
    },
};

/// Closed sets of words: what each is of, its name, and which there are.
macro_rules! words {
    ($($(#[doc = $told:literal])+ $name:ident: $words:expr;)+) => {$(
        $(#[doc = $told])+
        pub(crate) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let told = [$($told.trim()),+].join(" ");
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .description(Some(told))
                    .enum_values(Some($words))
                    .into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }
        }
    )+};
}

const UNFINISHED: [Status; 3] = [Status::Pending, Status::Retrying, Status::Held];

const ENDS: [End; 5] = [
    End::Delivered,
    End::Dead,
    End::Expired,
    End::Refused,
    End::Cancelled,
];

fn statuses() -> impl Iterator<Item = &'static str> {
    let ended = ENDS.map(Status::Ended);
    UNFINISHED.into_iter().chain(ended).map(Status::as_str)
}

words! {
    /// What became of a delivery.
    DeliveryStatus: statuses();

    /// How a delivery ended.
    DeliveryEnd: ENDS.map(End::as_str);

    /// What became of an event for a subscription: that of its delivery, `not_sent` where there is none, `not_routed` where
    /// there is none yet.
    WhyStatus: statuses().chain(["not_sent", "not_routed"]);

    /// What a delivery waits for: an attempt, a probe of its receiver, somebody to let it go, the one before it, routing, its
    /// end; or nothing any more.
    NextStep: ["attempt", "probe", "release", "predecessor", "routing", "end", "never"];

    /// Whether a subscription is delivered to.
    SubscriptionState: ["active", "paused", "suspended"];

    /// How a receiver does.
    Condition: [
        health::Condition::Healthy,
        health::Condition::Throttled,
        health::Condition::Open,
        health::Condition::HalfOpen,
        health::Condition::Suspended,
    ]
    .map(health::Condition::as_str);

    /// Which of the deliveries that were held: all, the latest of each recipient, none.
    Held: [subscription::Held::All, subscription::Held::Latest, subscription::Held::None]
        .map(subscription::Held::as_str);

    /// What becomes of a delivery whose retries are used up while others wait for it: it is given up, or they are held.
    OnDead: [order::OnDead::GiveUp, order::OnDead::Hold].map(order::OnDead::as_str);

    /// How far a replay is.
    ReplayState: [
        store::ReplayState::Waiting,
        store::ReplayState::Running,
        store::ReplayState::Paused,
        store::ReplayState::Done,
        store::ReplayState::Cancelled,
    ]
    .map(store::ReplayState::as_str);

    /// Under which idempotency value a replay sends: the events' own, or one of its own.
    ReplayKey: [store::ReplayKey::Same, store::ReplayKey::Fresh].map(store::ReplayKey::as_str);

    /// Whether a campaign is stopped.
    CampaignState: ["running", "paused", "cancelled"];

    /// What people and subscriptions are told of.
    AlertCause: alert::Cause::ALL.map(alert::Cause::as_str);

    /// Whether it was told; `moot` where it was overtaken before, `nobody` where there was nobody to tell.
    AlertStatus: ["untold", "told", "moot", "nobody"];

    /// Whose doing an outcome is.
    OutcomeFault: ["none", "theirs", "ours"];

    /// What follows from an outcome: how the delivery ends, or what is done about it.
    OutcomeThen: ["retry", "retry_when_asked", "suspend", "postpone"]
        .into_iter()
        .chain(ENDS.map(End::as_str));

    /// What whoever holds a token may do.
    TokenRole: token::Role::ALL.map(token::Role::as_str);

    /// Whether a token lets somebody in.
    TokenState: [
        store::TokenState::Usable,
        store::TokenState::Expired,
        store::TokenState::Revoked,
    ]
    .map(store::TokenState::as_str);
}

#[cfg(test)]
mod tests {
    use tharsis::delivery::codes;

    use super::*;

    fn listed<T: PartialSchema>() -> Vec<String> {
        let schema = serde_json::to_value(T::schema()).expect("is JSON");
        let words = schema["enum"].as_array().expect("a list of words");
        let words = words.iter().map(|word| word.as_str().expect("a word"));
        words.map(str::to_owned).collect()
    }

    #[test]
    fn the_words_are_those_of_the_code() {
        for word in listed::<DeliveryStatus>() {
            assert!(Status::parse(&word).is_some(), "{word}");
        }
        for word in listed::<DeliveryEnd>() {
            assert!(End::parse(&word).is_some(), "{word}");
        }
        for word in listed::<SubscriptionState>() {
            let state = subscription::State::parse(&word, Some("failing"));
            assert_eq!(state.map(|state| state.as_str()), Some(&*word));
        }
        for word in listed::<Condition>() {
            assert!(health::Condition::parse(&word).is_some(), "{word}");
        }
        let then = listed::<OutcomeThen>();
        for known in codes::ALL {
            let word = known.then.as_str();
            assert!(then.iter().any(|one| one == word), "{word}");
        }
    }
}
