//! How receivers do.

use tharsis_core::{
    Timestamp,
    delivery::End,
    event::Event,
    health::{Condition, Health},
    subscription::{Held, State, Subscription},
};
use tharsis_store::{
    Anew, DeliveryFilter, Outbox, Registry, Remaining, Status, StoreError, Transition,
};

use crate::harness::{House, Store, client, enveloped, seconds, secret, settings};

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

impl House {
    /// How many deliveries of it ended so.
    async fn ends_of(&self, of: &Subscription, code: &str) -> usize {
        let mut filter = DeliveryFilter::default();
        filter.subscription = vec![of.id];
        filter.status = vec![Status::Ended(End::Cancelled)];
        let (mut after, mut count) = (None, 0);
        loop {
            let page = self.store.deliveries(&filter, after.as_deref(), 500).await;
            let page = page.expect("a page");
            count += page
                .items
                .iter()
                .filter(|row| row.code.as_deref() == Some(code))
                .count();
            after = page.next;
            if after.is_none() {
                return count;
            }
        }
    }

    async fn turn(&self, of: &Subscription, health: Health) -> Vec<i64> {
        let transition = Transition {
            subscription: self.number(of),
            at: health.since.unwrap_or(self.now),
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

pub(crate) async fn transitions_are_kept_and_the_newer_one_counts(store: Store) {
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
    // One that goes on to be open is open all the time.
    for version in [3, 4] {
        let open = open(version, house.now);
        assert_eq!(house.turn(&house.ours, open).await, NONE);
    }
    let passed = house.passed(&house.ours).await;
    let code = Some("http_503".to_owned());
    assert_eq!(
        passed,
        [
            (Condition::Open, code.clone()),
            (Condition::HalfOpen, None),
            (Condition::Open, code)
        ]
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

pub(crate) async fn an_open_breaker_holds_until_its_probe_is_due(store: Store) {
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
    let mut held = DeliveryFilter::default();
    held.status = vec![Status::Held];
    assert_eq!(house.store.count(&held).await.expect("counted"), 3);
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

pub(crate) async fn failing_for_long_suspends_and_resuming_probes(store: Store) {
    let house = House::new(store).await;
    house.routed(2).await;
    let revision = house.revision().await;
    house.turn(&house.ours, open(1, house.now)).await;
    let suspended = Health {
        condition: Condition::Suspended,
        probe_at: None,
        ..open(2, house.now)
    };
    assert_eq!(house.turn(&house.ours, suspended).await, NONE);
    let ours = house.store.find(house.ours.id).await.expect("ours");
    assert_eq!(ours.state.reason(), Some("failing"));
    assert!(house.revision().await > revision, "every worker holds it");

    let later = house.now + seconds(90);
    let resumed = house.store.resume(house.ours.id, Held::All, later).await;
    let resumed = resumed.expect("resumed");
    assert_eq!(resumed.state, State::Active);
    let half_open = Health {
        condition: Condition::HalfOpen,
        since: Some(later),
        cause: Some("resumed".to_owned()),
        version: 3,
        ..Health::default()
    };
    assert_eq!(resumed.health, half_open);
    // Its owner decided meanwhile, twice, and learns that it came too late.
    let number = house.number(&house.ours);
    let both = [3, 4].map(|version| Transition {
        subscription: number,
        health: open(version, later),
        at: later,
    });
    let left = house.store.transition(&house.lease, &both).await;
    assert_eq!(left.expect("written"), [number]);
    assert_eq!(house.health(&house.ours).await, half_open);
    assert_eq!(house.turn(&house.ours, open(4, later)).await, NONE);

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

pub(crate) async fn whoever_changes_a_subscription_in_doubt_has_it_probed(store: Store) {
    let house = House::new(store).await;
    house.turn(&house.ours, open(1, house.now)).await;
    let (id, now) = (house.ours.id, house.now);
    let changed = settings(client(1), "ours");
    let set = house.store.set(id, &changed, Anew::default(), now).await;
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
            house.store.resume(of, Held::All, now).await
        };
        assert_eq!(result.expect("done").health, Health::default());
    }
    assert_eq!(house.health(&house.theirs).await, Health::default());
    assert_eq!(
        house.health(&house.ours).await.condition,
        Condition::HalfOpen
    );
}

/// Ours is paused, `count` events are for three recipients and nobody in turn, and one is routed after `held` was asked for.
async fn resumed(store: Store, count: u32, held: Held) -> House {
    let house = House::new(store).await;
    let (id, now) = (house.ours.id, house.now);
    house.store.pause(id, now).await.expect("paused");
    let events: Vec<_> = (0..count).map(for_one_of_three).collect();
    house.publish(&events).await;
    house.routed(2).await;
    let resumed = house.store.resume(id, held, now).await.expect("asked");
    assert_eq!(
        (&resumed.state, resumed.resuming),
        (&State::Paused, Some(held))
    );
    let commands = house.store.remaining(now).await.expect("counted").commands;
    assert_eq!(commands, 1);
    house.publish(&[for_one_of_three(count)]).await;
    house.route().await;
    house.work_off(now).await;
    let found = house.store.find(id).await.expect("it is there");
    assert_eq!((&found.state, found.resuming), (&State::Active, None));
    assert_eq!(found.health, Health::default(), "it was well");
    house
}

/// Of our client; the last ones of each are the latest.
fn for_one_of_three(n: u32) -> Event {
    let fields = match n % 4 {
        0 => r#""recipient":"ann","#,
        1 => r#""recipient":"ben","#,
        2 => r#""recipient":"eve","#,
        _ => "",
    };
    enveloped(client(1), 10_000 + n, fields)
}

pub(crate) async fn who_resumes_without_what_was_held_gets_only_what_comes_later(store: Store) {
    let house = resumed(store, 1_300, Held::None).await;
    let due = house.due(&house.ours, house.now).await;
    assert_eq!(due.len(), 1, "what was routed later");
    let dropped = house.ends_of(&house.ours, "dropped").await;
    assert_eq!(dropped, 1_301);
    assert_eq!(house.due(&house.theirs, house.now).await.len(), 1);
}

pub(crate) async fn who_resumes_with_the_latest_gets_one_for_each_recipient(store: Store) {
    let house = resumed(store, 1_300, Held::Latest).await;
    let due = house.due(&house.ours, house.now).await;
    // 325 are for nobody, and one of those that came beside; three latest; and one came later.
    assert_eq!(due.len(), 325 + 1 + 3 + 1);
    let superseded = house.ends_of(&house.ours, "superseded").await;
    assert_eq!(superseded, 3 * 324);
    assert_eq!(house.due(&house.theirs, house.now).await.len(), 1);

    // Of one that is not held there is nothing to choose.
    let (id, now) = (house.ours.id, house.now);
    let refused = house.store.resume(id, Held::None, now).await;
    let is_refused = matches!(refused, Err(StoreError::Invalid(why)) if why.code == "not_held");
    assert!(is_refused);
    // Whoever thinks better of it is not resumed later.
    house.store.pause(id, now).await.expect("paused");
    let resume = house.store.resume(id, Held::None, now).await;
    resume.expect("asked");
    let paused = house.store.pause(id, now).await.expect("paused");
    assert_eq!(paused.resuming, None);
    house.work_off(now).await;
    assert_eq!(house.due(&house.ours, now).await.len(), 330);
}
