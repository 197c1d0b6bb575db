//! What is kept no longer.

use std::{collections::HashMap, time::Duration};

use tharsis_core::{DeliveryId, EventId, Timestamp, alert::Cause, delivery::End};
use tharsis_store::{
    By, DeliveryFilter, Forgotten, Outbox, Registry, ReplayChoice, ReplayKey, Retention, Status,
    StoreError, Telling, Told,
};

use crate::harness::{House, Store, asking, client, event, seconds};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn history(days: u32) -> Retention {
    Retention {
        history: Some(DAY * days),
        ..Retention::FOREVER
    }
}

/// Forgets all that there is to forget.
async fn forget(house: &House, retention: &Retention, now: Timestamp) -> Forgotten {
    let mut all = Forgotten::default();
    for _ in 0..1_000 {
        let gone = house.store.forget(retention, now).await.expect("forgotten");
        all.events += gone.events;
        all.excerpts += gone.excerpts;
        all.audit += gone.audit;
        if !gone.more {
            return all;
        }
    }
    panic!("there is always more");
}

async fn is_known(house: &House, id: EventId) -> bool {
    match house.store.event(id).await {
        Ok(_) => true,
        Err(StoreError::NotFound { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Publishes one event of each client.
async fn published(house: &House, n: u32) -> [EventId; 2] {
    let both = [1, 2].map(|of| event(client(of), n));
    let ids = house.publish(&both).await;
    [ids[0].id, ids[1].id]
}

pub(crate) async fn what_is_over_is_forgotten_with_all_that_is_known_of_it(store: Store) {
    let house = House::new(store).await;
    let mut old = Vec::new();
    for n in 0..3 {
        old.extend(published(&house, n).await);
    }
    house.route().await;
    let [last, _] = published(&house, 3).await;
    let later = house.now + DAY * 91;

    // One is not routed, and none is delivered.
    assert_eq!(forget(&house, &history(90), later).await.events, 0);
    let outlived = house.store.outlived(&history(90), later).await;
    let outlived = outlived.expect("counted");
    assert_eq!((outlived.events, outlived.needed), (0, 8));
    house.route().await;
    house.end_all(&house.ours, End::Delivered).await;
    assert_eq!(
        forget(&house, &history(90), house.now + DAY).await.events,
        0
    );
    house.end_all(&house.theirs, End::Dead).await;

    assert_eq!(forget(&house, &history(92), later).await.events, 0);
    let outlived = house.store.outlived(&history(90), later).await;
    let expected = outlived.expect("counted").events;
    let gone = forget(&house, &history(90), later).await.events;
    assert!(gone >= 7 && gone == expected, "{gone} of {expected}");
    for id in &old {
        assert!(!is_known(&house, *id).await);
    }
    let listed = house.all(&DeliveryFilter::default()).await;
    assert!(listed.len() <= 1, "{listed:?}");
    // Its key is free again.
    let again = house.publish(&[event(client(1), 0)]).await;
    assert!(!again[0].duplicate && again[0].id > last);
    house.route().await;
    assert_eq!(house.due(&house.ours, house.now + DAY).await.len(), 1);
}

pub(crate) async fn what_a_replay_is_to_look_at_is_kept(store: Store) {
    let house = House::new(store).await;
    let [first, _] = published(&house, 1).await;
    published(&house, 2).await;
    house.route().await;
    house.end_all(&house.ours, End::Dead).await;
    house.end_all(&house.theirs, End::Delivered).await;
    let mut filter = DeliveryFilter::default();
    filter.client = Some(client(1));
    let draft = asking(&ReplayChoice::Filter(filter), ReplayKey::Same);
    let replay = house.store.replay(&draft, house.now).await.expect("asked");
    let paused = house
        .store
        .pause_replay(replay.id, By::new("sre", house.now))
        .await;
    paused.expect("paused");
    let later = house.now + DAY * 91;

    assert_eq!(forget(&house, &history(90), later).await.events, 0);
    assert!(is_known(&house, first).await);
    let called_off = house
        .store
        .cancel_replay(replay.id, By::new("sre", house.now))
        .await;
    called_off.expect("called off");
    house.work_off(house.now).await;
    assert!(forget(&house, &history(90), later).await.events >= 3);
    assert!(!is_known(&house, first).await);
    let replays = house.store.replays(None).await.expect("a list");
    assert_eq!(replays, [], "it is forgotten itself");
    assert_eq!(house.audit().await.len(), 3);
}

/// How many deliveries of the first client are in each state.
async fn states(house: &House) -> HashMap<Status, usize> {
    let mut states = HashMap::new();
    for row in house.all(&DeliveryFilter::default()).await {
        if row.client == client(1) {
            *states.entry(row.status).or_default() += 1;
        }
    }
    states
}

/// People are told what is to be told.
async fn tell(house: &House, now: Timestamp) {
    let cases = house.store.cases(&house.lease, now).await.expect("cases");
    let alerts = cases.into_iter().flat_map(|case| case.alerts);
    let told: Vec<Telling> = alerts
        .map(|alert| Telling {
            alert,
            became: Told::Told,
        })
        .collect();
    assert!(!told.is_empty());
    house.store.told(&told, now).await.expect("told");
}

pub(crate) async fn what_is_held_for_too_long_ends_and_is_told_before(store: Store) {
    let house = House::new(store).await;
    for n in 0..3 {
        published(&house, n).await;
    }
    house.route().await;
    house
        .store
        .pause(house.ours.id, house.now)
        .await
        .expect("held");
    let kept = history(90);
    let expire = async |now: Timestamp| {
        let done = house.store.expire(&house.lease, &kept, now).await;
        done.expect("looked")
    };
    let told = async |now: Timestamp| {
        let cases = house.store.cases(&house.lease, now).await.expect("cases");
        let alerts = cases.into_iter().flat_map(|case| case.alerts);
        let mut told: Vec<_> = (alerts.map(|alert| (alert.cause, alert.count))).collect();
        told.sort();
        told
    };

    let early = house.now + DAY * 82;
    assert_eq!(expire(early).await, Default::default());
    assert_eq!(told(early).await, []);
    let week = house.now + DAY * 84;
    for _ in 0..2 {
        let done = expire(week).await;
        assert!(!done.more && done.lanes.is_empty());
        assert_eq!(told(week).await, [(Cause::Expiring, 3)], "once");
    }
    assert_eq!(states(&house).await, HashMap::from([(Status::Held, 3)]));
    tell(&house, week).await;

    let over = house.now + DAY * 91;
    let done = expire(over).await;
    let lanes: Vec<i64> = done.lanes.iter().map(|lane| lane.subscription).collect();
    assert_eq!(lanes, [house.number(&house.ours)]);
    assert!(done.more && !expire(over).await.more);
    assert_eq!(
        states(&house).await,
        HashMap::from([(Status::Ended(End::Expired), 3)])
    );
    for row in house.all(&DeliveryFilter::default()).await {
        if row.client == client(1) {
            assert_eq!(row.code.as_deref(), Some("retention"));
        } else {
            assert_eq!(row.status, Status::Pending, "it is not held");
        }
    }
    // What nothing holds is sent, however old it is.
    assert_eq!(house.due(&house.theirs, over).await.len(), 3);
}

pub(crate) async fn what_was_not_told_does_not_end(store: Store) {
    let house = House::new(store).await;
    published(&house, 1).await;
    house.route().await;
    let held = house.store.pause(house.ours.id, house.now).await;
    held.expect("held");
    let ends = async |days: u32| {
        let now = house.now + DAY * days;
        let done = house.store.expire(&house.lease, &history(90), now).await;
        !done.expect("looked").lanes.is_empty()
    };
    assert!(!ends(190).await, "it is raised");
    assert!(!ends(198).await, "and nobody was told");
    tell(&house, house.now + DAY * 200).await;
    // A week after they were it ends.
    for (days, is_over) in [(201, false), (206, false), (207, true)] {
        assert_eq!(ends(days).await, is_over, "{days} days");
    }
}

pub(crate) async fn answers_and_the_audit_have_ages_of_their_own(store: Store) {
    let house = House::new(store).await;
    let [ours, theirs] = published(&house, 1).await;
    house.route().await;
    house.end_all(&house.ours, End::Dead).await;
    house.end_all(&house.theirs, End::Delivered).await;
    let ours = DeliveryId {
        event: ours,
        subscription: house.ours.id,
    };
    let choice = ReplayChoice::Deliveries(vec![ours]);
    let draft = asking(&choice, ReplayKey::Same);
    house.store.replay(&draft, house.now).await.expect("asked");
    house.work_off(house.now).await;
    let excerpts = async |id: DeliveryId| {
        let detail = house.store.delivery(id).await.expect("a delivery");
        let attempts = detail.attempts.into_iter();
        let said: Vec<bool> = attempts.map(|a| !a.attempt.excerpt.is_empty()).collect();
        said
    };
    let retention = Retention {
        excerpts: Some(DAY * 30),
        audit: Some(DAY * 60),
        history: None,
    };

    let early = forget(&house, &retention, house.now + DAY * 29).await;
    assert_eq!((early.excerpts, early.audit), (0, 0));
    let outlived = house.store.outlived(&retention, house.now + DAY * 31);
    assert_eq!(outlived.await.expect("counted").excerpts, 2);
    let gone = forget(&house, &retention, house.now + DAY * 31).await;
    assert_eq!((gone.events, gone.excerpts, gone.audit), (0, 2, 0));
    assert_eq!(excerpts(ours).await, [false], "the attempt stays");
    let theirs = DeliveryId {
        event: theirs,
        subscription: house.theirs.id,
    };
    assert_eq!(excerpts(theirs).await, [false]);

    // A later answer of an old event is kept for as long as others.
    let mut due = house.due(&house.ours, house.now + seconds(60)).await;
    let mut late = house.ended(&due.remove(0), End::Delivered);
    let attempt = late.attempt.as_mut().expect("an attempt");
    attempt.at = house.now + DAY * 31;
    assert_eq!(house.settle(&[late]).await, []);
    assert_eq!(
        forget(&house, &retention, house.now + DAY * 50)
            .await
            .excerpts,
        0
    );
    assert_eq!(excerpts(ours).await, [false, true]);
    let gone = forget(&house, &retention, house.now + DAY * 62).await;
    // Of the replay, and of both subscriptions.
    assert_eq!((gone.excerpts, gone.audit), (1, 3));
    assert_eq!(excerpts(ours).await, [false, false]);
    assert_eq!(house.audit().await, []);
}
