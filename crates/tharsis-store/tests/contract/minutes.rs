//! Figures over time.

use std::time::Duration;

use tharsis_core::{Timestamp, delivery::End, erasure::Erasure, subscription::Subscription};
use tharsis_store::{By, Depth, Figures, Outbox, Registry, Retention, Traffic};

use crate::harness::{House, Store, client, event, seconds};

/// In the minute that began so many after a certain instant.
fn at(minute: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_040_000) + seconds(60 * minute)
}

/// A minute in which so many were delivered and one failed.
fn minute(of: u64, delivered: u64) -> Traffic {
    counted(Traffic::minute(at(of)), delivered)
}

/// The same in a quarter of an hour: in the first one lies that instant, its last minute.
fn quarter(of: u64, delivered: u64) -> Traffic {
    counted(Traffic::quarter(at(of * 15)), delivered)
}

fn counted(mut traffic: Traffic, delivered: u64) -> Traffic {
    for n in 0..delivered {
        traffic.attempted(Duration::from_millis(n * 7), true);
        traffic.ended(End::Delivered);
    }
    traffic.attempted(Duration::from_millis(300), false);
    traffic.ended(End::Dead);
    traffic
}

async fn add(store: &Store, minutes: &[(u8, Traffic)]) {
    let of = |(n, minute): &(u8, Traffic)| (client(*n), minute.clone());
    let figures = Figures {
        minutes: minutes.iter().map(of).collect(),
        quarters: Vec::new(),
    };
    store.add_figures(&figures).await.expect("added");
}

async fn add_quarters(house: &House, quarters: &[(&Subscription, Traffic)]) {
    let of = |(subscription, quarter): &(&Subscription, Traffic)| {
        (house.number(subscription), quarter.clone())
    };
    let figures = Figures {
        minutes: Vec::new(),
        quarters: quarters.iter().map(of).collect(),
    };
    house.store.add_figures(&figures).await.expect("added");
}

async fn quarters(house: &House, of: &Subscription, since: Timestamp) -> Vec<Traffic> {
    let found = house.store.quarters(of.id, since).await;
    found.expect("figures")
}

async fn minutes(store: &Store, of: Option<u8>, since: Timestamp) -> Vec<Traffic> {
    let found = store.minutes(of.map(client), since).await;
    found.expect("figures")
}

pub(crate) async fn what_is_added_to_a_minute_is_summed(store: Store) {
    let House { store, .. } = House::new(store).await;
    assert_eq!(minutes(&store, None, at(0)).await, []);
    add(&store, &[]).await;
    let (first, second) = (minute(0, 3), minute(0, 40));
    add(&store, &[(1, first.clone())]).await;
    assert_eq!(
        minutes(&store, Some(1), at(0)).await,
        std::slice::from_ref(&first)
    );
    add(&store, &[(1, second.clone()), (1, minute(1, 1))]).await;
    let mut both = first;
    both.merge(&second);
    assert_eq!(minutes(&store, Some(1), at(0)).await, [both, minute(1, 1)]);
}

pub(crate) async fn each_client_has_its_own_figures(store: Store) {
    let House { store, .. } = House::new(store).await;
    let (ours, theirs) = (minute(0, 3), minute(0, 5));
    // In no order.
    let all = [(2, minute(1, 1)), (2, theirs.clone()), (1, ours.clone())];
    add(&store, &all).await;
    assert_eq!(
        minutes(&store, Some(1), at(0)).await,
        std::slice::from_ref(&ours)
    );
    assert_eq!(
        minutes(&store, Some(2), at(0)).await,
        [theirs.clone(), minute(1, 1)]
    );
    assert_eq!(minutes(&store, Some(3), at(0)).await, []);
    let mut both = ours;
    both.merge(&theirs);
    assert_eq!(minutes(&store, None, at(0)).await, [both, minute(1, 1)]);
    assert_eq!(minutes(&store, None, at(1)).await, [minute(1, 1)]);
    assert_eq!(minutes(&store, None, at(2)).await, []);
}

pub(crate) async fn each_subscription_has_its_own_figures(store: Store) {
    let house = House::new(store).await;
    let (ours, theirs) = (&house.ours, &house.theirs);
    assert_eq!(quarters(&house, ours, quarter(0, 0).at).await, []);
    let (first, second) = (quarter(1, 3), quarter(1, 40));
    add_quarters(&house, &[(ours, first.clone())]).await;
    // In no order.
    let more = [
        (theirs, quarter(1, 5)),
        (ours, quarter(2, 1)),
        (ours, second.clone()),
    ];
    add_quarters(&house, &more).await;
    let mut both = first;
    both.merge(&second);
    assert_eq!(quarters(&house, ours, at(0)).await, [both, quarter(2, 1)]);
    assert_eq!(quarters(&house, theirs, at(0)).await, [quarter(1, 5)]);
    assert_eq!(
        quarters(&house, ours, quarter(2, 0).at).await,
        [quarter(2, 1)]
    );
    assert_eq!(quarters(&house, ours, quarter(3, 0).at).await, []);
    // They are none of the minutes.
    assert_eq!(minutes(&house.store, None, at(0)).await, []);
}

pub(crate) async fn the_figures_of_a_subscription_go_with_it(store: Store) {
    let house = House::new(store).await;
    let (ours, theirs) = (&house.ours, &house.theirs);
    let both = [(ours, quarter(0, 3)), (theirs, quarter(0, 5))];
    add_quarters(&house, &both).await;
    let removed = house.store.remove(ours.id, house.now).await;
    removed.expect("removed");
    assert_eq!(quarters(&house, ours, quarter(0, 0).at).await, []);
    // What a worker had in memory comes later, and comes to nothing.
    add_quarters(&house, &both).await;
    assert_eq!(quarters(&house, ours, quarter(0, 0).at).await, []);
    let mut twice = quarter(0, 5);
    twice.merge(&quarter(0, 5));
    assert_eq!(quarters(&house, theirs, quarter(0, 0).at).await, [twice]);
}

pub(crate) async fn figures_are_forgotten_after_two_days(store: Store) {
    let house = House::new(store).await;
    let store = &house.store;
    let (first, second) = (minute(0, 1), minute(1, 1));
    add(store, &[(1, first), (1, second.clone())]).await;
    let both = [(&house.ours, quarter(0, 1)), (&house.ours, quarter(1, 1))];
    add_quarters(&house, &both).await;
    for minute in 0..2 {
        store.note_depth(at(minute)).await.expect("noted");
    }
    let later = at(1) + seconds(48 * 60 * 60);
    let forget = async |now| {
        while (store.forget(&Retention::FOREVER, now).await)
            .expect("forgotten")
            .more
        {}
    };
    forget(at(0) + seconds(48 * 60 * 60)).await;
    assert_eq!(minutes(store, None, at(0)).await.len(), 2);
    forget(later).await;
    assert_eq!(minutes(store, None, at(0)).await, [second]);
    let left = quarters(&house, &house.ours, quarter(0, 0).at).await;
    assert_eq!(left, [quarter(1, 1)]);
    let depths = store.depths(at(0)).await.expect("depths");
    assert_eq!(depths.len(), 1);
    assert_eq!(depths[0].at, at(1));
}

pub(crate) async fn figures_far_ahead_are_forgotten(store: Store) {
    let house = House::new(store).await;
    let store = &house.store;
    let (near, far) = (minute(60, 1), minute(61, 1));
    add(store, &[(1, near.clone()), (1, far)]).await;
    let both = [(&house.ours, quarter(4, 1)), (&house.ours, quarter(5, 1))];
    add_quarters(&house, &both).await;
    store.note_depth(at(61)).await.expect("noted");
    let forgotten = store.forget(&Retention::FOREVER, at(0) + seconds(59)).await;
    assert!(!forgotten.expect("forgotten").more);
    assert_eq!(minutes(store, None, at(0)).await, [near]);
    let left = quarters(&house, &house.ours, at(0)).await;
    assert_eq!(left, [quarter(4, 1)]);
    assert_eq!(store.depths(at(0)).await.expect("depths"), []);
}

pub(crate) async fn the_figures_of_a_client_go_with_it(store: Store) {
    let house = House::new(store).await;
    let theirs = minute(0, 5);
    add(&house.store, &[(1, minute(0, 3)), (2, theirs.clone())]).await;
    let whose = Erasure::Client(client(1));
    let by = By::new("sre", house.now);
    house
        .store
        .erase(&whose, by, &|_| {})
        .await
        .expect("erased");
    assert_eq!(minutes(&house.store, Some(1), at(0)).await, []);
    assert_eq!(
        minutes(&house.store, None, at(0)).await,
        std::slice::from_ref(&theirs)
    );
    // What a worker had in memory comes later, and comes to nothing.
    let late = [(1, minute(0, 3)), (2, minute(1, 1))];
    add(&house.store, &late).await;
    assert_eq!(minutes(&house.store, Some(1), at(0)).await, []);
    assert_eq!(
        minutes(&house.store, None, at(0)).await,
        [theirs, minute(1, 1)]
    );
}

pub(crate) async fn how_much_waits_is_noted_once_a_minute(store: Store) {
    let house = House::new(store).await;
    house.store.note_depth(at(0)).await.expect("noted");
    house.routed(6).await;
    house.publish(&[event(client(1), 10)]).await;
    for minute in [0, 1, 1] {
        house.store.note_depth(at(minute)).await.expect("noted");
    }
    let depths = house.store.depths(at(0)).await.expect("depths");
    let [empty, full] = &depths[..] else {
        panic!("{depths:?}");
    };
    let expected = Depth {
        at: at(0),
        waiting: 0,
        overdue: None,
    };
    assert_eq!(*empty, expected);
    assert_eq!((full.at, full.waiting), (at(1), 7));
    assert!(full.overdue.is_some_and(|overdue| overdue < seconds(60)));
    let last = house.store.depths(at(1)).await.expect("depths");
    assert_eq!(last, [*full]);
}
