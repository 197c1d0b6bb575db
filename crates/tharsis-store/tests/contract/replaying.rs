use std::collections::BTreeSet;

use tharsis_core::{DeliveryId, EventId, ReplayId, Timestamp, delivery::End};
use tharsis_store::{
    DeliveryFilter, Due, Outbox, Registry, ReplayChoice, ReplayKey, ReplayState, RouteTo, Status,
};

use crate::harness::{House, Store, asking, client, code, enveloped, event, seconds};

fn dead() -> DeliveryFilter {
    let mut filter = DeliveryFilter::default();
    filter.status = vec![Status::Ended(End::Dead)];
    filter
}

pub(crate) async fn chosen_deliveries_become_due_again(store: Store) {
    let house = House::new(store).await;
    house.routed(8).await;
    let due = house.due(&house.ours, house.now).await;
    house
        .settle(&[
            house.ended(&due[0], End::Dead),
            house.ended(&due[1], End::Delivered),
        ])
        .await;
    house.end_all(&house.theirs, End::Dead).await;

    let chosen = vec![due[0].id, due[1].id, due[2].id, due[0].id];
    let asked = house
        .store
        .replay(
            &asking(&ReplayChoice::Deliveries(chosen), ReplayKey::Same),
            house.now,
        )
        .await
        .expect("asked");
    assert_eq!((asked.state, asked.examined), (ReplayState::Waiting, 0));
    let later = house.now + seconds(100);
    house.work_off(later).await;

    let done = house.store.replay_state(asked.id).await.expect("a replay");
    assert_eq!(done.state, ReplayState::Done);
    assert_eq!(
        (done.examined, done.replayed, done.skipped),
        (3, 2, 1),
        "one was unfinished"
    );
    assert_eq!(
        (done.created_at, done.finished_at),
        (house.now, Some(later))
    );
    let again = house.due(&house.ours, later).await;
    let mut tries: Vec<_> = again
        .iter()
        .map(|d| (d.id, d.attempts, d.spent.tries))
        .collect();
    tries.sort();
    let mut expected = vec![
        (due[0].id, 1, 0),
        (due[1].id, 1, 0),
        (due[2].id, 0, 0),
        (due[3].id, 0, 0),
    ];
    expected.sort();
    assert_eq!(tries, expected, "a new budget, and numbers go on");
    assert_eq!(house.due(&house.theirs, later).await.len(), 0);
    let first = again.iter().find(|d| d.id == due[0].id).expect("due");
    house.settle(&[house.ended(first, End::Delivered)]).await;
    assert_eq!(
        house.row(due[0].id).await.status,
        Status::Ended(End::Delivered)
    );
    assert_eq!(house.row(due[0].id).await.attempts, 2);
    let mut list = house.store.replays(None).await.expect("a list");
    assert_eq!(
        (done.unfinished, list[0].unfinished),
        (2, 1),
        "one has ended"
    );
    list[0].unfinished = done.unfinished;
    assert_eq!(list, [done]);
}

pub(crate) async fn a_filter_takes_what_has_ended(store: Store) {
    let house = House::new(store).await;
    house.routed(12).await;
    let due = house.due(&house.ours, house.now).await;
    house
        .settle(&[
            house.ended(&due[0], End::Dead),
            house.ended(&due[1], End::Dead),
            house.ended(&due[2], End::Delivered),
            house.again(&due[3], house.now + seconds(9_000)),
        ])
        .await;
    house.end_all(&house.theirs, End::Dead).await;
    let mut filter = dead();
    filter.client = Some(client(1));

    let asked = house
        .store
        .replay(
            &asking(&ReplayChoice::Filter(filter), ReplayKey::Same),
            house.now,
        )
        .await
        .expect("asked");
    house.work_off(house.now).await;
    let done = house.store.replay_state(asked.id).await.expect("a replay");
    assert_eq!((done.examined, done.replayed, done.skipped), (2, 2, 0));
    assert_eq!(house.row(due[0].id).await.status, Status::Pending);
    assert_eq!(
        house.row(due[2].id).await.status,
        Status::Ended(End::Delivered)
    );
    assert_eq!(house.due(&house.theirs, house.now).await.len(), 0);

    // Without a status it takes all that has ended, and nothing that has not.
    let mut theirs = DeliveryFilter::default();
    theirs.subscription = vec![house.theirs.id, house.ours.id];
    let asked = house
        .store
        .replay(
            &asking(&ReplayChoice::Filter(theirs), ReplayKey::Same),
            house.now,
        )
        .await
        .expect("asked");
    house.work_off(house.now).await;
    let done = house.store.replay_state(asked.id).await.expect("a replay");
    assert_eq!((done.examined, done.replayed), (7, 7));
    assert_eq!(house.due(&house.theirs, house.now).await.len(), 6);
}

pub(crate) async fn a_replay_does_not_touch_what_comes_after_it(store: Store) {
    let house = House::new(store).await;
    house.routed(2).await;
    house.end_all(&house.ours, End::Dead).await;
    let asked = house
        .store
        .replay(
            &asking(&ReplayChoice::Filter(dead()), ReplayKey::Same),
            house.now,
        )
        .await
        .expect("asked");
    house.publish(&[event(client(1), 77)]).await;
    house.route().await;
    house.end_all(&house.ours, End::Dead).await;

    house.work_off(house.now).await;
    let done = house.store.replay_state(asked.id).await.expect("a replay");
    assert_eq!((done.examined, done.replayed), (1, 1));
    assert_eq!(house.all(&dead()).await.len(), 1);
}

pub(crate) async fn what_cannot_be_sent_again_is_skipped(store: Store) {
    let house = House::new(store).await;
    let soon: Timestamp = house.now + seconds(60);
    let later = house.now + seconds(3_600);
    let events = [
        enveloped(client(1), 1, &format!(r#""expires_at":"{soon}","#)),
        event(client(1), 2),
        event(client(2), 3),
        enveloped(client(1), 4, &format!(r#""not_before":"{later}","#)),
    ];
    house.publish(&events).await;
    let mut plan = house.route_plan(10).await;
    plan[1].to = vec![RouteTo {
        subscription: house.number(&house.ours),
        due_at: house.now,
        ends: Some((End::Refused, "payload_too_large")),
    }];
    house
        .store
        .route(&house.lease, &plan)
        .await
        .expect("routed");
    house.end_all(&house.ours, End::Dead).await;
    house.end_all(&house.theirs, End::Dead).await;
    house
        .store
        .remove(house.theirs.id, house.now)
        .await
        .expect("removed");

    let all = ReplayChoice::Filter(DeliveryFilter::default());
    let asked = house
        .store
        .replay(&asking(&all, ReplayKey::Same), house.now)
        .await
        .expect("asked");
    house.work_off(house.now + seconds(61)).await;
    let done = house.store.replay_state(asked.id).await.expect("a replay");
    assert_eq!((done.examined, done.replayed, done.skipped), (4, 1, 3));
    let due = house.due(&house.ours, later).await;
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].position.due_at, later, "not before its time");
}

pub(crate) async fn a_long_replay_goes_in_chunks_and_takes_each_once(store: Store) {
    let house = House::new(store).await;
    house.routed(2_400).await;
    house.end_all(&house.ours, End::Dead).await;
    house.end_all(&house.theirs, End::Delivered).await;
    let asked = house
        .store
        .replay(
            &asking(&ReplayChoice::Filter(dead()), ReplayKey::Same),
            house.now,
        )
        .await
        .expect("asked");

    let mut again = BTreeSet::new();
    let mut chunks = 0;
    loop {
        let done = house
            .store
            .work_off(&house.lease, house.now)
            .await
            .expect("worked off");
        if !done.more {
            break;
        }
        chunks += 1;
        // What was made due fails again at once: it must not be taken a second time.
        for due in house.due(&house.ours, house.now).await {
            assert!(again.insert(due.id), "each once");
        }
        house.end_all(&house.ours, End::Dead).await;
        let state = house
            .store
            .replay_state(asked.id)
            .await
            .expect("a replay")
            .state;
        assert!(matches!(state, ReplayState::Running | ReplayState::Done));
    }
    assert!(chunks >= 3, "{chunks} chunks");
    assert_eq!(again.len(), 1_200);
    let done = house.store.replay_state(asked.id).await.expect("a replay");
    assert_eq!(
        (done.state, done.replayed, done.skipped),
        (ReplayState::Done, 1_200, 0)
    );

    let mut chosen: Vec<DeliveryId> = again.into_iter().collect();
    chosen.truncate(1_000);
    let asked = house
        .store
        .replay(
            &asking(&ReplayChoice::Deliveries(chosen), ReplayKey::Same),
            house.now,
        )
        .await
        .expect("asked");
    assert!(house.work_off(house.now).await >= 3);
    let done = house.store.replay_state(asked.id).await.expect("a replay");
    assert_eq!((done.examined, done.replayed), (1_000, 1_000));
}

pub(crate) async fn a_filter_goes_straight_to_what_can_match(store: Store) {
    let house = House::new(store).await;
    let published = house.routed(1_800).await;
    house.end_all(&house.ours, End::Dead).await;
    house.end_all(&house.theirs, End::Dead).await;
    for (event, replayed) in [
        (published[0].id, 1),
        (published[1_799].id, 1),
        (EventId::new(house.now, [5; 10]), 0),
    ] {
        let mut filter = dead();
        filter.event = Some(event);
        let asked = house
            .store
            .replay(
                &asking(&ReplayChoice::Filter(filter), ReplayKey::Same),
                house.now,
            )
            .await
            .expect("asked");
        assert_eq!(house.work_off(house.now).await, 1, "one chunk");
        let done = house.store.replay_state(asked.id).await.expect("a replay");
        assert_eq!((done.state, done.replayed), (ReplayState::Done, replayed));
    }
}

pub(crate) async fn a_fresh_key_is_of_its_replay_alone(store: Store) {
    let house = House::new(store).await;
    house.routed(4).await;
    let first = house.due(&house.ours, house.now).await;
    assert!(first.iter().all(|due| due.fresh.is_none()), "of routing");
    let id = first[0].id;
    house.end_all(&house.ours, End::Delivered).await;
    house.end_all(&house.theirs, End::Delivered).await;

    let replayed = async |key: ReplayKey| {
        let choice = ReplayChoice::Deliveries(vec![id]);
        let asked = house.store.replay(&asking(&choice, key), house.now).await;
        let asked = asked.expect("asked");
        assert_eq!(asked.key, key);
        house.work_off(house.now).await;
        let replays = house.store.replays(None).await.expect("a list");
        assert_eq!((replays[0].id, replays[0].key), (asked.id, key));
        house.due(&house.ours, house.now).await.remove(0)
    };
    let fresh = replayed(ReplayKey::Fresh).await;
    let replays = house.store.replays(None).await.expect("a list");
    assert_eq!(fresh.fresh.as_deref(), Some(&replays[0].id));

    // It stays with the delivery on every further attempt, whether that comes by itself or is asked for.
    let then = house.now + seconds(600);
    house.settle(&[house.again(&fresh, then)]).await;
    let waits = house.due(&house.ours, then).await.remove(0);
    let key_of = |due: &Due| (due.fresh.clone(), due.position.replay);
    assert_eq!(key_of(&waits), key_of(&fresh));
    let asked = house.store.retry(id, house.now).await;
    asked.expect("asked");
    house.work_off(house.now).await;
    let now = house.due(&house.ours, house.now).await.remove(0);
    assert_eq!(key_of(&now), key_of(&fresh));
    house.settle(&[house.ended(&now, End::Dead)]).await;

    let same = replayed(ReplayKey::Same).await;
    assert_eq!(same.fresh, None);
    house.settle(&[house.ended(&same, End::Dead)]).await;
    let other = replayed(ReplayKey::Fresh).await;
    assert!(other.fresh.is_some());
    assert_ne!(other.fresh, fresh.fresh);
    assert_eq!(house.due(&house.theirs, house.now).await.len(), 0);
}

pub(crate) async fn unknown_deliveries_are_not_found(store: Store) {
    let house = House::new(store).await;
    let published = house.routed(2).await;
    for event in [published[1].id, EventId::new(house.now, [5; 10])] {
        let unknown = DeliveryId {
            event,
            subscription: house.ours.id,
        };
        let choice = ReplayChoice::Deliveries(vec![unknown]);
        assert_eq!(
            code(
                house
                    .store
                    .replay(&asking(&choice, ReplayKey::Same), house.now)
                    .await
            ),
            "no delivery"
        );
        assert_eq!(code(house.store.delivery(unknown).await), "no delivery");
    }
    assert_eq!(house.store.replays(None).await.expect("a list"), []);
    assert_eq!(
        code(
            house
                .store
                .replay_state(ReplayId::new(house.now, [5; 10]))
                .await
        ),
        "no replay"
    );
}
