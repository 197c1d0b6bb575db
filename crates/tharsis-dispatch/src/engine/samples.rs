//! What the engine's tests are made of.

use std::sync::Arc;

use tharsis_core::{
    ClientId, SubscriptionId, Timestamp,
    egress::Policy,
    subscription::{Draft, State, Subscription, Target},
};
use tharsis_store::{Due, LaneRead, Pending, Rows, Snapshot};

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
    let settings = draft
        .settings(&Policy::default())
        .expect("the draft is right");
    Target {
        subscription: Subscription {
            id: SubscriptionId::new(Timestamp::from_millis(1), [n; 10]),
            settings,
            state: State::Active,
            secret_fingerprint: None,
            created_at: Timestamp::from_millis(1),
            updated_at: Timestamp::from_millis(1),
        },
        secret: None,
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
    }
}

/// Answers a read as the contract of the store says, from rows in any order.
pub(super) fn read(rows: &[Due], reads: &[LaneRead], now: Timestamp) -> Rows {
    let mut answer = Rows::default();
    for read in reads {
        let mut lane: Vec<&Due> = rows
            .iter()
            .filter(|row| row.position.subscription == read.subscription)
            .filter(|row| read.after.is_none_or(|after| row.position > after))
            .collect();
        lane.sort_by_key(|row| row.position);
        let limit = usize::try_from(read.limit).unwrap_or(usize::MAX);
        let due = lane.iter().filter(|row| row.position.due_at <= now);
        let before = answer.due.len();
        answer.due.extend(due.take(limit).map(|row| (*row).clone()));
        let later = lane.iter().find(|row| row.position.due_at > now);
        if answer.due.len() - before < limit
            && let Some(later) = later
        {
            answer.later.push(Pending {
                subscription: read.subscription,
                due_at: later.position.due_at,
            });
        }
    }
    answer
}
