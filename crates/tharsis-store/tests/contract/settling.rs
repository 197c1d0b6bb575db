use tharsis_core::{
    delivery::{End, Spent},
    subscription::{Held, State},
};
use tharsis_store::{
    Fate, Outbox, Registry, Remaining, ReplayChoice, ReplayKey, Settlement, Status,
};

use crate::harness::{House, Store, asking, client, enveloped, event, seconds};

pub(crate) async fn a_success_ends_a_delivery(store: Store) {
    let house = House::new(store).await;
    house.routed(6).await;
    let due = house.due(&house.ours, house.now).await;
    let settlements: Vec<_> = due.iter().map(|d| house.ended(d, End::Delivered)).collect();
    assert_eq!(house.settle(&settlements).await, []);

    assert_eq!(house.due(&house.ours, house.now).await.len(), 0);
    assert_eq!(house.due(&house.theirs, house.now).await.len(), 3);
    let row = house.row(due[0].id).await;
    assert_eq!(row.status, Status::Ended(End::Delivered));
    assert_eq!(
        (row.attempts, row.code.as_deref(), row.due_at),
        (1, Some("http_200"), None)
    );
    assert_eq!(row.last_at, Some(house.now + seconds(1)));
}

pub(crate) async fn a_failure_moves_it_and_is_remembered(store: Store) {
    let house = House::new(store).await;
    house.routed(2).await;
    let due = house.due(&house.ours, house.now).await.remove(0);
    let then = house.now + seconds(5);
    assert_eq!(house.settle(&[house.again(&due, then)]).await, []);

    assert_eq!(
        house.due(&house.ours, house.now + seconds(4)).await.len(),
        0
    );
    let moved = house.due(&house.ours, then).await.remove(0);
    assert_eq!(
        (moved.id, moved.attempts, moved.spent.tries),
        (due.id, 1, 1)
    );
    assert_eq!(moved.position.due_at, then);
    let detail = house.store.delivery(due.id).await.expect("a delivery");
    assert_eq!(detail.row.status, Status::Retrying);
    assert_eq!((detail.row.attempts, detail.row.due_at), (1, Some(then)));
    assert_eq!(detail.attempts.len(), 1);
    assert_eq!(
        detail.attempts[0].attempt,
        house.attempt(1, "http_500", 500)
    );
    assert_eq!(
        (detail.attempts[0].end, detail.attempts[0].due_at),
        (None, Some(then))
    );
}

pub(crate) async fn a_row_that_moved_is_left_alone(store: Store) {
    let house = House::new(store).await;
    house.routed(6).await;
    let due = house.due(&house.ours, house.now).await;
    let then = house.now + seconds(5);
    house.settle(&[house.again(&due[0], then)]).await;

    // The same again, and one under another count of attempts: both are of the past.
    let mut miscounted = house.ended(&due[1], End::Dead);
    miscounted.attempts = 3;
    let stale = house
        .settle(&[
            house.again(&due[0], then),
            miscounted,
            house.ended(&due[2], End::Dead),
        ])
        .await;
    assert_eq!(stale, [due[0].position, due[1].position]);
    assert_eq!(house.row(due[0].id).await.attempts, 1);
    assert_eq!(house.row(due[1].id).await.status, Status::Pending);
    assert_eq!(house.row(due[2].id).await.status, Status::Ended(End::Dead));
}

pub(crate) async fn a_success_counts_wherever_its_row_has_gone(store: Store) {
    let house = House::new(store).await;
    house.routed(6).await;
    let due = house.due(&house.ours, house.now).await;
    let then = house.now + seconds(600);
    house.settle(&[house.again(&due[0], then)]).await;
    let waiting = house.due(&house.ours, then).await;
    let first = waiting.iter().find(|d| d.id == due[0].id).expect("waits");
    // In flight while one is made due now and the other is cancelled.
    house
        .store
        .retry(due[0].id, house.now)
        .await
        .expect("accepted");
    house
        .store
        .cancel(due[1].id, house.now)
        .await
        .expect("accepted");
    house.work_off(house.now + seconds(1)).await;
    assert_eq!(
        house.row(due[1].id).await.status,
        Status::Ended(End::Cancelled)
    );

    let successes = [
        house.ended(first, End::Delivered),
        house.ended(&due[1], End::Delivered),
    ];
    assert_eq!(house.settle(&successes).await, []);
    for (id, attempts) in [(due[0].id, 2), (due[1].id, 1)] {
        let row = house.row(id).await;
        assert_eq!(row.status, Status::Ended(End::Delivered));
        assert_eq!(
            (row.attempts, row.code.as_deref()),
            (attempts, Some("http_200"))
        );
    }
    let left: Vec<_> = house
        .due(&house.ours, then)
        .await
        .iter()
        .map(|d| d.id)
        .collect();
    assert_eq!(left, [due[2].id]);
}

pub(crate) async fn what_is_written_again_after_a_lost_answer_is_there_once(store: Store) {
    let house = House::new(store).await;
    house.routed(6).await;
    let due = house.due(&house.ours, house.now).await;
    let successes: Vec<_> = due.iter().map(|d| house.ended(d, End::Delivered)).collect();
    house.settle(&successes).await;
    assert_eq!(house.settle(&successes).await, []);
    let shown = house.store.delivery(due[0].id).await.expect("a delivery");
    assert_eq!(shown.attempts.len(), 1);

    // What was asked for since is not undone by it.
    let chosen = ReplayChoice::Deliveries(vec![due[0].id]);
    house
        .store
        .replay(&asking(&chosen, ReplayKey::Same), house.now)
        .await
        .expect("asked");
    house.work_off(house.now + seconds(10)).await;
    assert_eq!(house.settle(&successes).await, []);
    let again = house.due(&house.ours, house.now + seconds(10)).await;
    let again: Vec<_> = again.iter().map(|d| d.id).collect();
    assert_eq!(again, [due[0].id]);
}

pub(crate) async fn a_late_success_does_not_undo_a_replay(store: Store) {
    let house = House::new(store).await;
    house.routed(2).await;
    let in_flight = house.due(&house.ours, house.now).await.remove(0);
    let id = in_flight.id;
    house.store.cancel(id, house.now).await.expect("accepted");
    house.work_off(house.now + seconds(10)).await;
    let chosen = ReplayChoice::Deliveries(vec![id]);
    house
        .store
        .replay(&asking(&chosen, ReplayKey::Same), house.now)
        .await
        .expect("asked");
    house.work_off(house.now + seconds(10)).await;

    let late = [house.ended(&in_flight, End::Delivered)];
    assert_eq!(house.settle(&late).await, []);
    assert_eq!(house.settle(&late).await, [], "once");
    let again = house.due(&house.ours, house.now + seconds(10)).await;
    let again = again.first().expect("it is still due");
    assert_eq!((again.id, again.attempts, again.spent.tries), (id, 1, 0));

    // What comes of it is recorded, too, and counts.
    assert_eq!(house.settle(&[house.ended(again, End::Dead)]).await, []);
    let detail = house.store.delivery(id).await.expect("a delivery");
    let numbers: Vec<_> = detail.attempts.iter().map(|a| a.attempt.number).collect();
    assert_eq!(numbers, [0, 1, 2]);
    assert_eq!(detail.row.status, Status::Ended(End::Dead));
}

pub(crate) async fn a_replay_ends_with_its_own_success_after_a_late_one(store: Store) {
    let house = House::new(store).await;
    house.routed(2).await;
    let in_flight = house.due(&house.ours, house.now).await.remove(0);
    let id = in_flight.id;
    house.store.cancel(id, house.now).await.expect("accepted");
    house.work_off(house.now + seconds(1)).await;
    let chosen = ReplayChoice::Deliveries(vec![id]);
    let asked = house
        .store
        .replay(&asking(&chosen, ReplayKey::Same), house.now)
        .await;
    asked.expect("asked");
    house.work_off(house.now + seconds(1)).await;

    // Both are under way when the first one is answered, and then the row is no longer as the second one was read.
    let again = house.due(&house.ours, house.now + seconds(1)).await;
    let replayed = again.first().expect("it is due");
    for (under_way, wait) in [(&in_flight, 0), (replayed, 1)] {
        let mut success = house.ended(under_way, End::Delivered);
        let attempt = success.attempt.as_mut().expect("an attempt");
        attempt.at = attempt.at + seconds(wait);
        assert_eq!(house.settle(&[success]).await, []);
    }
    let row = house.row(id).await;
    assert_eq!(
        (row.status, row.attempts),
        (Status::Ended(End::Delivered), 2)
    );
    assert_eq!(
        house.due(&house.ours, house.now + seconds(9)).await.len(),
        0
    );
}

pub(crate) async fn a_fault_of_ours_records_nothing(store: Store) {
    let house = House::new(store).await;
    house.routed(2).await;
    let due = house.due(&house.ours, house.now).await.remove(0);
    let then = house.now + seconds(2);
    let postponed = Settlement {
        attempt: None,
        fate: Fate::Again {
            due_at: then,
            spent: Spent::default(),
        },
        ..house.again(&due, then)
    };
    assert_eq!(house.settle(&[postponed]).await, []);

    let moved = house.due(&house.ours, then).await.remove(0);
    assert_eq!((moved.attempts, moved.spent.tries), (0, 0));
    let detail = house.store.delivery(due.id).await.expect("a delivery");
    assert_eq!(detail.attempts, []);
    assert_eq!(detail.row.status, Status::Pending);
    let left = house.store.remaining(house.now).await.expect("counted");
    assert_eq!((left.pending, left.scheduled), (2, 0), "it is waited for");
}

pub(crate) async fn an_end_without_a_request_can_come_twice(store: Store) {
    let house = House::new(store).await;
    house.routed(2).await;
    let due = house.due(&house.ours, house.now).await.remove(0);
    let then = house.now + seconds(5);
    house.settle(&[house.again(&due, then)]).await;
    let unsent = |due: &tharsis_store::Due, code: &str| Settlement {
        attempt: Some(tharsis_store::Attempt {
            status: None,
            ..house.attempt(0, code, 0)
        }),
        ..house.ended(due, End::Expired)
    };
    let waiting = house.due(&house.ours, then).await.remove(0);
    house.settle(&[unsent(&waiting, "expired")]).await;
    let row = house.row(due.id).await;
    assert_eq!(
        (row.status, row.code.as_deref()),
        (Status::Ended(End::Expired), Some("expired"))
    );
    assert_eq!(row.attempts, 1);

    // A replay makes one attempt more and ends without a request again.
    let choice = tharsis_store::ReplayChoice::Deliveries(vec![due.id]);
    house
        .store
        .replay(&asking(&choice, ReplayKey::Same), then)
        .await
        .expect("asked for");
    house.work_off(then).await;
    let again = house.due(&house.ours, then).await.remove(0);
    assert_eq!((again.attempts, again.spent.tries), (1, 0));
    house
        .settle(&[house.again(&again, then + seconds(1))])
        .await;
    let last = house.due(&house.ours, then + seconds(1)).await.remove(0);
    house.settle(&[unsent(&last, "request_invalid")]).await;

    let detail = house.store.delivery(due.id).await.expect("a delivery");
    assert_eq!(detail.row.status, Status::Ended(End::Expired));
    assert_eq!(detail.row.code.as_deref(), Some("request_invalid"));
    let numbers: Vec<_> = detail.attempts.iter().map(|a| a.attempt.number).collect();
    assert_eq!(numbers, [1, 2, 0], "in the order in which it happened");
}

pub(crate) async fn gone_for_good_suspends_once(store: Store) {
    let house = House::new(store).await;
    house.routed(6).await;
    let revision = house.store.snapshot().await.expect("a snapshot").revision;
    let due = house.due(&house.ours, house.now).await;
    let gone: Vec<_> = due[..2]
        .iter()
        .map(|d| Settlement {
            suspend: Some("http_410"),
            ..house.ended(d, End::Dead)
        })
        .collect();
    house.settle(&gone[..1]).await;
    house.settle(&gone[1..]).await;

    let ours = house.store.find(house.ours.id).await.expect("ours");
    assert_eq!(
        ours.state,
        State::Suspended {
            reason: "http_410".to_owned()
        }
    );
    assert_eq!(
        house
            .store
            .find(house.theirs.id)
            .await
            .expect("theirs")
            .state,
        State::Active
    );
    assert_eq!(
        house.store.snapshot().await.expect("a snapshot").revision,
        revision + 1
    );
    // Held, not lost.
    assert_eq!(house.row(due[2].id).await.status, Status::Held);
    house
        .store
        .resume(house.ours.id, Held::All, house.now)
        .await
        .expect("resumed");
    assert_eq!(house.row(due[2].id).await.status, Status::Pending);
}

pub(crate) async fn what_was_tried_before_its_time_waits_for_a_retry(store: Store) {
    let house = House::new(store).await;
    let later = event(client(1), 1).with_not_before(house.now + seconds(600));
    house.publish(&[later.expect("it never expires")]).await;
    let due_at = house.now + seconds(600);
    let mut plan = house.route_plan(10).await;
    for to in plan.iter_mut().flat_map(|one| &mut one.to) {
        to.due_at = due_at;
    }
    let routed = house.store.route(&house.lease, &plan).await;
    routed.expect("routed");
    let left = async || {
        let left = house.store.remaining(house.now).await.expect("counted");
        (left.pending, left.scheduled)
    };
    assert_eq!(left().await, (0, 1));

    let waits = house.due(&house.ours, due_at).await.remove(0);
    house.store.retry(waits.id, house.now).await.expect("asked");
    house.work_off(house.now).await;
    assert_eq!(left().await, (1, 0), "somebody wants it now");
    let due = house.due(&house.ours, house.now).await.remove(0);
    let again = house.again(&due, house.now + seconds(5));
    assert_eq!(house.settle(&[again]).await, []);
    assert_eq!(house.row(due.id).await.status, Status::Retrying);
    assert_eq!(left().await, (1, 0), "it is waited for");
}

pub(crate) async fn what_is_not_finished_is_counted(store: Store) {
    let house = House::new(store).await;
    let counted = async || house.store.remaining(house.now).await.expect("counted");
    assert_eq!(counted().await, Remaining::default());
    house.routed(8).await;
    let later = house.now + seconds(3_600);
    house
        .publish(&[enveloped(
            client(1),
            100,
            &format!(r#""not_before":"{later}","#),
        )])
        .await;
    assert_eq!(
        counted().await,
        Remaining {
            unrouted: 1,
            pending: 8,
            ..Remaining::default()
        }
    );

    let mut plan = house.route_plan(10).await;
    plan[0].to[0].due_at = later;
    house
        .store
        .route(&house.lease, &plan)
        .await
        .expect("routed");
    house
        .store
        .pause(house.theirs.id, house.now)
        .await
        .expect("paused");
    let due = house.due(&house.ours, house.now).await;
    house
        .settle(&[
            house.ended(&due[0], End::Delivered),
            house.again(&due[1], house.now + seconds(5)),
        ])
        .await;
    house
        .store
        .cancel(due[2].id, house.now)
        .await
        .expect("asked for");
    assert_eq!(
        counted().await,
        Remaining {
            unrouted: 0,
            pending: 3,
            held: 4,
            scheduled: 1,
            commands: 1
        }
    );
}
