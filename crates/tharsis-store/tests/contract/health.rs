//! How receivers do.

use tharsis_core::{
    Timestamp,
    health::{Condition, Health},
    subscription::{State, Subscription},
};
use tharsis_store::{Remaining, Status, Transition};

use crate::harness::{House, Store, client, seconds, secret, settings};

/// Nobody had written something newer.
const NONE: [i64; 0] = [];

fn open(version: i64, at: Timestamp) -> Health {
    Health {
        condition: Condition::Open,
        since: Some(at),
        cause: Some("http_503".to_owned()),
        failing_since: Some(at),
        probe_at: Some(at + seconds(60)),
        probes: 2,
        version,
    }
}

impl<S: Store> House<S> {
    async fn turn(&self, of: &Subscription, health: Health) -> Vec<i64> {
        let transition = Transition {
            subscription: self.number(of),
            health,
        };
        let left = self.store.transition(&self.lease, &[transition]).await;
        left.expect("written")
    }

    async fn health(&self, of: &Subscription) -> Health {
        let found = self.store.find(of.id).await.expect("it is there");
        found.health
    }

    /// What became of it and why, oldest first.
    async fn passed(&self, of: &Subscription) -> Vec<(Condition, Option<String>)> {
        let all = self.store.transitions(of.id).await.expect("transitions");
        (all.into_iter().rev())
            .map(|one| (one.became, one.cause))
            .collect()
    }

    async fn revision(&self) -> i64 {
        self.store.snapshot().await.expect("a snapshot").revision
    }
}

pub(crate) async fn transitions_are_kept_and_the_newer_one_counts<S: Store>(store: S) {
    let house = House::new(store).await;
    let revision = house.revision().await;
    assert_eq!(house.health(&house.ours).await, Health::default());
    assert_eq!(house.turn(&house.ours, open(1, house.now)).await, NONE);
    assert_eq!(house.health(&house.ours).await, open(1, house.now));
    // The same again, after a lost answer.
    let number = house.number(&house.ours);
    let again = open(1, house.now + seconds(9));
    assert_eq!(house.turn(&house.ours, again).await, [number]);
    assert_eq!(house.health(&house.ours).await, open(1, house.now));

    let half_open = Health {
        condition: Condition::HalfOpen,
        cause: None,
        probe_at: None,
        ..open(2, house.now + seconds(60))
    };
    assert_eq!(house.turn(&house.ours, half_open.clone()).await, NONE);
    assert_eq!(house.health(&house.ours).await, half_open);
    let passed = house.passed(&house.ours).await;
    let code = Some("http_503".to_owned());
    assert_eq!(
        passed,
        [(Condition::Open, code), (Condition::HalfOpen, None)]
    );
    assert_eq!(house.health(&house.theirs).await, Health::default());
    assert!(house.passed(&house.theirs).await.is_empty());
    assert_eq!(house.revision().await, revision, "no worker needs to know");
    assert_eq!(house.turn(&house.theirs, open(1, house.now)).await, NONE);

    // Of one that is removed nothing is written down.
    let removed = house.store.remove(house.theirs.id, house.now).await;
    removed.expect("removed");
    let number = house.number(&house.theirs);
    assert_eq!(
        house.turn(&house.theirs, open(2, house.now)).await,
        [number]
    );
}

pub(crate) async fn an_open_breaker_holds_until_its_probe_is_due<S: Store>(store: S) {
    let house = House::new(store).await;
    house.routed(6).await;
    house.turn(&house.ours, open(1, house.now)).await;
    let due = house.due(&house.ours, house.now).await;
    let other = house.due(&house.theirs, house.now).await;
    assert_eq!(
        (due.len(), other.len()),
        (3, 3),
        "reads are the engine's business"
    );
    assert_eq!(house.row(due[0].id).await.status, Status::Held);
    assert_eq!(house.row(other[0].id).await.status, Status::Pending);
    let filter = tharsis_store::DeliveryFilter::default();
    let held = || {
        let mut filter = filter.clone();
        filter.status = vec![Status::Held];
        filter
    };
    assert_eq!(house.store.count(&held()).await.expect("counted"), 3);
    let remaining = |held| Remaining {
        pending: 6 - held,
        held,
        ..Remaining::default()
    };
    let counted = |now| {
        let store = &house.store;
        async move { store.remaining(now).await.expect("counted") }
    };
    assert_eq!(counted(house.now + seconds(59)).await, remaining(3));
    // It is waited for what the probe brings.
    assert_eq!(counted(house.now + seconds(60)).await, remaining(0));
}

pub(crate) async fn failing_for_long_suspends_and_resuming_probes<S: Store>(store: S) {
    let house = House::new(store).await;
    house.routed(2).await;
    let revision = house.revision().await;
    let suspended = Health {
        condition: Condition::Suspended,
        probe_at: None,
        ..open(5, house.now)
    };
    assert_eq!(house.turn(&house.ours, suspended).await, NONE);
    let ours = house.store.find(house.ours.id).await.expect("ours");
    assert_eq!(ours.state.reason(), Some("failing"));
    assert!(house.revision().await > revision, "every worker holds it");

    let later = house.now + seconds(90);
    let resumed = house.store.resume(house.ours.id, later).await;
    let resumed = resumed.expect("resumed");
    assert_eq!(resumed.state, State::Active);
    let half_open = Health {
        condition: Condition::HalfOpen,
        since: Some(later),
        cause: Some("resumed".to_owned()),
        version: 6,
        ..Health::default()
    };
    assert_eq!(resumed.health, half_open);
    // Its owner decided meanwhile, and learns that it came too late.
    let number = house.number(&house.ours);
    assert_eq!(house.turn(&house.ours, open(6, later)).await, [number]);
    assert_eq!(house.turn(&house.ours, open(7, later)).await, NONE);

    let gone = Health {
        condition: Condition::Suspended,
        cause: Some("http_410".to_owned()),
        probe_at: None,
        ..open(1, house.now)
    };
    house.turn(&house.theirs, gone).await;
    let theirs = house.store.find(house.theirs.id).await.expect("theirs");
    assert_eq!(theirs.state.reason(), Some("http_410"));
}

pub(crate) async fn whoever_changes_a_subscription_in_doubt_has_it_probed<S: Store>(store: S) {
    let house = House::new(store).await;
    house.turn(&house.ours, open(1, house.now)).await;
    let (id, now) = (house.ours.id, house.now);
    let changed = settings(client(1), "ours");
    let set = house.store.set(id, &changed, None, now).await;
    assert_eq!(set.expect("set").health.condition, Condition::HalfOpen);

    house.turn(&house.ours, open(3, house.now)).await;
    let rotated = house.store.rotate(id, Some(&secret(9)), None, now).await;
    assert_eq!(
        rotated.expect("rotated").health.condition,
        Condition::HalfOpen
    );

    // One that is well is not put in doubt by a pause.
    for pauses in [true, false] {
        let of = house.theirs.id;
        let result = if pauses {
            house.store.pause(of, now).await
        } else {
            house.store.resume(of, now).await
        };
        assert_eq!(result.expect("done").health, Health::default());
    }
    assert_eq!(house.health(&house.theirs).await, Health::default());
    assert_eq!(
        house.health(&house.ours).await.condition,
        Condition::HalfOpen
    );
}
