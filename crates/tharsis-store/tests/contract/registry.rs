use std::time::Duration;

use tharsis_core::{SubscriptionId, delivery::End, retry::RetryPolicy, subscription::State};
use tharsis_store::{CommandAccepted, Status};

use crate::harness::{House, Store, add, client, code, event, seconds, secret, settings};

pub(crate) async fn a_subscription_comes_back_as_it_was_added<S: Store>(store: S) {
    let house = House::new(store).await;
    let mut wanted = settings(client(1), "Café 5");
    wanted.retry =
        RetryPolicy::new(vec![Duration::from_millis(1_500), seconds(60)]).expect("a policy");
    wanted.timeout = Duration::from_millis(1_200);
    wanted.max_in_flight = 3;
    let added = house
        .store
        .add(&wanted, None, house.now)
        .await
        .expect("added");

    assert_eq!(added.settings, wanted);
    assert_eq!(added.state, State::Active);
    assert_eq!(added.secret_fingerprint, None);
    assert_eq!((added.created_at, added.updated_at), (house.now, house.now));
    assert_eq!(house.store.find(added.id).await.expect("found"), added);
    let all: Vec<_> = house
        .store
        .list(None)
        .await
        .expect("a list")
        .iter()
        .map(|s| s.id)
        .collect();
    assert_eq!(all, [house.ours.id, house.theirs.id, added.id]);
    let of_one: Vec<_> = house
        .store
        .list(Some(client(2)))
        .await
        .expect("a list")
        .iter()
        .map(|s| s.id)
        .collect();
    assert_eq!(of_one, [house.theirs.id]);
    let unknown = SubscriptionId::new(house.now, [9; 10]);
    assert_eq!(code(house.store.find(unknown).await), "no subscription");
}

pub(crate) async fn names_are_taken_once_for_each_client<S: Store>(store: S) {
    let house = House::new(store).await;
    let add = async |of, name| {
        house
            .store
            .add(&settings(client(of), name), None, house.now)
            .await
    };
    add(1, "Café").await.expect("free");
    assert_eq!(code(add(1, "CAFE\u{301}").await), "name_taken");
    add(2, "Café").await.expect("free for another client");
    let other = add(1, "tea").await.expect("free");
    assert_eq!(
        code(
            house
                .store
                .set(other.id, &settings(client(1), "café"), house.now)
                .await
        ),
        "name_taken"
    );
    house
        .store
        .remove(other.id, house.now)
        .await
        .expect("removed");
    add(1, "tea").await.expect("free again");
}

pub(crate) async fn settings_change_but_not_whose_they_are<S: Store>(store: S) {
    let house = House::new(store).await;
    let later = house.now + seconds(9);
    let changed = house
        .store
        .set(house.ours.id, &settings(client(1), "renamed"), later)
        .await
        .expect("changed");
    assert_eq!(changed.settings, settings(client(1), "renamed"));
    assert_eq!((changed.created_at, changed.updated_at), (house.now, later));
    assert_eq!(changed.secret_fingerprint, house.ours.secret_fingerprint);
    let stolen = house
        .store
        .set(house.ours.id, &settings(client(2), "renamed"), later)
        .await;
    assert_eq!(code(stolen), "not_changeable");
}

pub(crate) async fn pause_and_resume<S: Store>(store: S) {
    let house = House::new(store).await;
    house.routed(2).await;
    let id = house.due(&house.ours, house.now).await[0].id;
    assert_eq!(
        house
            .store
            .pause(house.ours.id, house.now)
            .await
            .expect("paused")
            .state,
        State::Paused
    );
    assert_eq!(
        house
            .store
            .pause(house.ours.id, house.now)
            .await
            .expect("still")
            .state,
        State::Paused
    );
    assert_eq!(house.row(id).await.status, Status::Held);
    assert_eq!(
        house
            .store
            .resume(house.ours.id, house.now)
            .await
            .expect("resumed")
            .state,
        State::Active
    );
    assert_eq!(house.row(id).await.status, Status::Pending);
}

pub(crate) async fn secrets_are_sealed_and_rotated<S: Store>(store: S) {
    let house = House::new(store).await;
    let id = house.ours.id;
    let present = || async { house.store.secret(id).await.expect("a secret") };
    assert_eq!(present().await, Some(secret(1)));
    assert_eq!(house.ours.secret_fingerprint, Some(secret(1).fingerprint()));
    assert_eq!(
        code(house.store.rotate(id, Some(&secret(1)), house.now).await),
        "secret_reused"
    );

    let rotated = house
        .store
        .rotate(id, Some(&secret(7)), house.now)
        .await
        .expect("rotated");
    assert_eq!(rotated.secret_fingerprint, Some(secret(7).fingerprint()));
    assert_eq!(present().await, Some(secret(7)));
    let snapshot = house.store.snapshot().await.expect("a snapshot");
    let (_, target) = &snapshot.targets[0];
    assert_eq!(
        (target.subscription.id, target.secret.as_ref()),
        (id, Some(&secret(7)))
    );

    house
        .store
        .rotate(id, None, house.now)
        .await
        .expect("without one");
    assert_eq!(present().await, None);
    assert_eq!(
        house.store.secret(house.theirs.id).await.expect("theirs"),
        Some(secret(2))
    );
}

pub(crate) async fn removing_ends_what_is_unfinished<S: Store>(store: S) {
    let house = House::new(store).await;
    let published = house.routed(1_400).await;
    let due = house.due(&house.ours, house.now).await;
    house
        .settle(&[
            house.ended(&due[0], End::Delivered),
            house.again(&due[1], house.now),
        ])
        .await;

    let removed = house
        .store
        .remove(house.ours.id, house.now)
        .await
        .expect("removed");
    assert_eq!(removed.unfinished, 699);
    assert_eq!(
        code(house.store.find(house.ours.id).await),
        "no subscription"
    );
    assert_eq!(
        code(house.store.remove(house.ours.id, house.now).await),
        "no subscription"
    );
    assert_eq!(
        house
            .store
            .snapshot()
            .await
            .expect("a snapshot")
            .targets
            .len(),
        1
    );
    assert!(house.work_off(house.now).await >= 2, "in chunks");

    assert_eq!(
        house
            .store
            .remaining(house.now)
            .await
            .expect("counted")
            .pending,
        700
    );
    let row = house.row(due[1].id).await;
    assert_eq!(row.status, Status::Ended(End::Cancelled));
    assert_eq!(
        (row.attempts, row.code.as_deref()),
        (1, Some("subscription_removed"))
    );
    assert_eq!(
        house.row(due[0].id).await.status,
        Status::Ended(End::Delivered)
    );
    assert_eq!(row.subscription_name, "ours", "the history keeps the name");
    let record = house.store.event(published[2].id).await.expect("an event");
    assert_eq!(record.deliveries[0].status, Status::Ended(End::Cancelled));
}

pub(crate) async fn every_write_is_seen_by_the_owner<S: Store>(store: S) {
    let house = House::new(store).await;
    house.routed(4).await;
    let ids: Vec<_> = house
        .due(&house.ours, house.now)
        .await
        .iter()
        .map(|d| d.id)
        .collect();
    let seen = async |what: &str| {
        assert!(house.changed().await, "{what}");
        assert!(!house.changed().await, "once");
        house
            .store
            .pointers(&house.lease, 1)
            .await
            .expect("pointers")
            .revision
    };
    let mut revision = seen("what was before").await;
    let mut newer = async |what: &str| {
        let now = seen(what).await;
        assert!(now > revision, "{what}");
        revision = now;
    };
    let added = add(&house.store, 1, "another", house.now).await;
    newer("add").await;
    house
        .store
        .set(added.id, &settings(client(1), "renamed"), house.now)
        .await
        .expect("set");
    newer("set").await;
    house
        .store
        .pause(added.id, house.now)
        .await
        .expect("paused");
    newer("pause").await;
    house
        .store
        .resume(added.id, house.now)
        .await
        .expect("resumed");
    newer("resume").await;
    house
        .store
        .rotate(added.id, None, house.now)
        .await
        .expect("rotated");
    newer("rotate").await;
    house.store.retry(ids[0], house.now).await.expect("retry");
    newer("retry").await;
    house.store.cancel(ids[1], house.now).await.expect("cancel");
    newer("cancel").await;
    let choice = tharsis_store::ReplayChoice::Deliveries(vec![ids[0]]);
    house
        .store
        .replay(&choice, house.now)
        .await
        .expect("replay");
    newer("replay").await;
    house
        .store
        .remove(added.id, house.now)
        .await
        .expect("removed");
    newer("remove").await;
    house.publish(&[event(client(1), 50)]).await;
    assert!(house.changed().await, "publish");
}

pub(crate) async fn retry_makes_one_due_now<S: Store>(store: S) {
    let house = House::new(store).await;
    house.routed(4).await;
    let due = house.due(&house.ours, house.now).await;
    let far = house.now + seconds(600);
    house
        .settle(&[house.again(&due[0], far), house.again(&due[1], far)])
        .await;

    let accepted = house
        .store
        .retry(due[0].id, house.now)
        .await
        .expect("accepted");
    assert_eq!(accepted, CommandAccepted { owned: true });
    let soon = house.now + seconds(1);
    assert_eq!(
        house.due(&house.ours, soon).await.len(),
        0,
        "the registry touches no delivery"
    );
    let done = house
        .store
        .work_off(&house.lease, soon)
        .await
        .expect("worked off");
    assert_eq!(
        done.lanes
            .iter()
            .map(|l| l.subscription)
            .collect::<Vec<_>>(),
        [house.number(&house.ours)]
    );
    let now_due = house.due(&house.ours, soon).await;
    assert_eq!(now_due.len(), 1);
    assert_eq!((now_due[0].id, now_due[0].tries), (due[0].id, 1));
}

pub(crate) async fn cancel_ends_one_for_good<S: Store>(store: S) {
    let house = House::new(store).await;
    let published = house.routed(4).await;
    let due = house.due(&house.ours, house.now).await;
    house
        .store
        .cancel(due[0].id, house.now)
        .await
        .expect("accepted");
    house.work_off(house.now).await;

    assert_eq!(house.due(&house.ours, house.now).await.len(), 1);
    let row = house.row(due[0].id).await;
    assert_eq!(
        (row.status, row.code.as_deref()),
        (Status::Ended(End::Cancelled), Some("cancelled"))
    );
    assert_eq!(
        code(house.store.cancel(due[0].id, house.now).await),
        "delivery_ended"
    );
    assert_eq!(
        code(house.store.retry(due[0].id, house.now).await),
        "delivery_ended"
    );
    // An event of theirs never went to ours.
    let unknown = tharsis_core::DeliveryId {
        event: published[1].id,
        subscription: house.ours.id,
    };
    assert_eq!(
        code(house.store.cancel(unknown, house.now).await),
        "no delivery"
    );
    // Its late failure is left alone.
    assert_eq!(
        house.settle(&[house.ended(&due[0], End::Dead)]).await,
        [due[0].position]
    );
    assert_eq!(
        house.row(due[0].id).await.status,
        Status::Ended(End::Cancelled)
    );
}

pub(crate) async fn what_is_asked_twice_is_done_once<S: Store>(store: S) {
    let house = House::new(store).await;
    house.routed(6).await;
    let due = house.due(&house.ours, house.now).await;
    let far = house.now + seconds(600);
    house
        .settle(&[house.again(&due[1], far), house.again(&due[2], far)])
        .await;
    let (store, now) = (&house.store, house.now);
    for _ in 0..2 {
        store.cancel(due[0].id, now).await.expect("accepted");
        store.cancel(due[0].id, now).await.expect("accepted");
    }
    store.retry(due[1].id, now).await.expect("accepted");
    store.retry(due[1].id, now).await.expect("accepted");
    store.cancel(due[2].id, now).await.expect("accepted");
    store.retry(due[2].id, now).await.expect("accepted");
    house.work_off(now).await;

    assert_eq!(store.remaining(now).await.expect("counted").commands, 0);
    let left = house.due(&house.ours, now).await;
    assert_eq!(left.iter().map(|d| d.id).collect::<Vec<_>>(), [due[1].id]);
    for ended in [&due[0], &due[2]] {
        let detail = store.delivery(ended.id).await.expect("a delivery");
        assert_eq!(detail.row.status, Status::Ended(End::Cancelled));
        let ends = detail.attempts.iter().filter(|a| a.end.is_some()).count();
        assert_eq!(ends, 1);
    }
}
