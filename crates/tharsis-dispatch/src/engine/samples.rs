//! What the engine's tests are made of.

use std::sync::Arc;

use tharsis_core::{
    ClientId, SubscriptionId, Timestamp,
    egress::Policy,
    health::Health,
    profile::Profiles,
    subscription::{Credentials, Draft, State, Subscription, Target},
};
use tharsis_store::Snapshot;
pub(super) use tharsis_store::model::read;

pub(super) fn client(n: u8) -> ClientId {
    ClientId::new(Timestamp::from_millis(1), [n; 10])
}

/// A subscription of client `owner` with the number `n`.
pub(super) fn target(owner: u8, n: u8) -> Target {
    let draft = Draft {
        client: client(owner).to_string(),
        name: format!("subscription {n}"),
        url: format!("https://hooks.example.com/{n}"),
        ..Draft::default()
    };
    let mut settings = draft
        .settings(&Policy::default(), &Profiles::default())
        .expect("the draft is right");
    // Unless a story says so, it never opens.
    settings.limits.breaker = None;
    let credentials = Credentials::default();
    let at = Timestamp::from_millis(1);
    let id = SubscriptionId::new(at, [n; 10]);
    Target {
        subscription: Subscription::new(
            id,
            settings,
            (State::Active, Health::default()),
            &credentials,
            (at, at),
        ),
        credentials,
    }
}

pub(super) fn snapshot(
    revision: i64,
    targets: impl IntoIterator<Item = (i64, Target)>,
) -> Snapshot {
    Snapshot {
        revision,
        targets: targets
            .into_iter()
            .map(|(id, target)| (id, Arc::new(target)))
            .collect(),
        stops: Vec::new(),
    }
}
