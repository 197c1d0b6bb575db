use tharsis_core::{
    EventId, Timestamp,
    delivery::{End, Spent},
};
use tharsis_store::{LaneRead, Outbox, Registry, RouteTo, Routed, Status};

use crate::harness::{House, Store, add, client, enveloped, event, seconds};

pub(crate) async fn pointers_come_in_order_of_publication(store: Store) {
    let house = House::new(store).await;
    let late = Timestamp::from_millis(4_000_000_000_000);
    let first = enveloped(
        client(1),
        1,
        &format!(
            r#""campaign":"spring","recipient":"r1","not_before":"2026-01-01T00:00:00Z","expires_at":"{late}","#
        ),
    );
    let published = house
        .publish(&[first.clone(), event(client(2), 2), event(client(1), 3)])
        .await;

    let pointers = house
        .store
        .pointers(&house.lease, 2)
        .await
        .expect("pointers")
        .events;
    assert_eq!(pointers.len(), 2);
    assert_eq!(pointers[0].event, published[0].id);
    assert_eq!(pointers[0].client, client(1));
    assert_eq!(&*pointers[0].event_type, "ticket");
    assert_eq!(pointers[0].size, first.payload().len());
    assert_eq!(pointers[0].not_before, first.not_before());
    assert_eq!(pointers[0].expires_at, Some(late));
    assert_eq!(pointers[0].unfrozen, None);
    let age = house
        .now
        .since(pointers[0].published_at)
        .max(pointers[0].published_at.since(house.now));
    assert!(age < seconds(60), "by the clock of the database");
    assert!(pointers[0].seq < pointers[1].seq);
    let record = house.store.event(published[0].id).await.expect("an event");
    assert_eq!(
        (record.campaign.as_deref(), record.recipient.as_deref()),
        (Some("spring"), Some("r1"))
    );
    assert!(!record.routed);
}

pub(crate) async fn payloads_come_in_the_order_in_which_they_are_asked_for(store: Store) {
    let house = House::new(store).await;
    let events: Vec<_> = (0..12).map(|n| event(client(1), n)).collect();
    let published = house.publish(&events).await;
    let (mut ids, mut expected): (Vec<_>, Vec<_>) = published
        .iter()
        .zip(&events)
        .rev()
        .map(|(published, event)| (published.id, event.payload().clone()))
        .unzip();
    // One that two subscriptions ask for.
    ids.push(ids[3]);
    expected.push(expected[3].clone());
    let store = &house.store;
    assert_eq!(store.payloads(&ids).await.expect("payloads"), expected);
    assert_eq!(store.payloads(&[]).await.expect("none"), [""; 0]);
    ids.push(EventId::new(house.now, [9; 10]));
    let missing = store.payloads(&ids).await;
    missing.expect_err("one is not there");
}

pub(crate) async fn an_event_is_routed_to_those_who_want_it(store: Store) {
    let mut house = House::new(store).await;
    let second = add(&house.store, 1, "second", house.now).await;
    house.reload().await;
    let published = house.routed(4).await;

    for (of, expected) in [
        (&house.ours, [0, 2]),
        (&second, [0, 2]),
        (&house.theirs, [1, 3]),
    ] {
        let due = house.due(of, house.now).await;
        let events: Vec<_> = due.iter().map(|d| d.id.event).collect();
        assert_eq!(events, expected.map(|at: usize| published[at].id));
        assert!(due.iter().all(|d| d.id.subscription == of.id));
        assert!(
            due.iter()
                .all(|d| (d.attempts, d.spent) == (0, Spent::default()))
        );
        assert_eq!(due[0].payload, format!("{{\"n\":{}}}", expected[0]));
        assert_eq!(&*due[0].event_type, "ticket");
    }
    assert_eq!(
        house
            .store
            .pointers(&house.lease, 10)
            .await
            .expect("pointers")
            .events
            .len(),
        0
    );
    assert!(
        house
            .store
            .event(published[0].id)
            .await
            .expect("an event")
            .routed
    );
}

pub(crate) async fn routing_again_makes_no_second_delivery(store: Store) {
    let house = House::new(store).await;
    house.publish(&[event(client(1), 1)]).await;
    let plan = house.route_plan(10).await;
    house
        .store
        .route(&house.lease, &plan)
        .await
        .expect("routed");
    let due = house.due(&house.ours, house.now).await;
    assert_eq!(due.len(), 1);

    house
        .store
        .route(&house.lease, &plan)
        .await
        .expect("nothing to do");
    assert_eq!(house.due(&house.ours, house.now).await.len(), 1);
    // Nor after it was delivered.
    house.settle(&[house.ended(&due[0], End::Delivered)]).await;
    house
        .store
        .route(&house.lease, &plan)
        .await
        .expect("nothing to do");
    assert_eq!(house.due(&house.ours, house.now).await.len(), 0);
}

pub(crate) async fn what_cannot_be_sent_ends_without_a_request(store: Store) {
    let house = House::new(store).await;
    let published = house
        .publish(&[event(client(1), 1), event(client(1), 2)])
        .await;
    let pointers = house
        .store
        .pointers(&house.lease, 10)
        .await
        .expect("pointers")
        .events;
    let routed: Vec<Routed> = pointers
        .iter()
        .zip([
            Some((End::Refused, "payload_too_large")),
            Some((End::Expired, "expired")),
        ])
        .map(|(pointer, ends)| Routed {
            seq: pointer.seq,
            to: vec![RouteTo {
                subscription: house.number(&house.ours),
                due_at: house.now,
                ends,
            }],
            frozen: None,
        })
        .collect();
    house
        .store
        .route(&house.lease, &routed)
        .await
        .expect("routed");

    assert_eq!(house.due(&house.ours, house.now).await.len(), 0);
    for (event, end, code) in [
        (published[0].id, End::Refused, "payload_too_large"),
        (published[1].id, End::Expired, "expired"),
    ] {
        let record = house.store.event(event).await.expect("an event");
        assert_eq!(record.deliveries.len(), 1);
        let row = &record.deliveries[0];
        assert_eq!(row.status, Status::Ended(end));
        assert_eq!((row.attempts, row.code.as_deref()), (0, Some(code)));
        let detail = house.store.delivery(row.id).await.expect("a delivery");
        assert_eq!(detail.attempts.len(), 1);
        assert_eq!(detail.attempts[0].attempt.number, 0);
        assert_eq!(detail.attempts[0].end, Some(end));
    }
}

pub(crate) async fn a_subscription_removed_meanwhile_ends_what_is_routed_to_it(store: Store) {
    let house = House::new(store).await;
    let published = house
        .publish(&[event(client(1), 1), event(client(2), 2)])
        .await;
    let plan = house.route_plan(10).await;
    house
        .store
        .remove(house.ours.id, house.now)
        .await
        .expect("removed");
    house.work_off(house.now).await;
    house
        .store
        .route(&house.lease, &plan)
        .await
        .expect("routed");

    let record = house.store.event(published[0].id).await.expect("an event");
    assert_eq!(record.deliveries[0].status, Status::Ended(End::Cancelled));
    assert_eq!(
        record.deliveries[0].code.as_deref(),
        Some("subscription_removed")
    );
    assert_eq!(house.due(&house.theirs, house.now).await.len(), 1);
    assert_eq!(
        house
            .store
            .remaining(house.now)
            .await
            .expect("counted")
            .pending,
        1
    );
}

pub(crate) async fn rows_come_due_in_order_and_lanes_say_when_they_are_due(store: Store) {
    let house = House::new(store).await;
    let published = house
        .publish(&(0..5).map(|n| event(client(1), n)).collect::<Vec<_>>())
        .await;
    let mut plan = house.route_plan(10).await;
    for (routed, after) in plan.iter_mut().zip([30, 10, 20, 10, 40]) {
        routed.to[0].due_at = house.now + seconds(after);
    }
    house
        .store
        .route(&house.lease, &plan)
        .await
        .expect("routed");
    let ours = house.number(&house.ours);

    let lanes = house.store.lanes(&house.lease).await.expect("lanes");
    assert_eq!(lanes.len(), 1);
    assert_eq!(
        (lanes[0].subscription, lanes[0].due_at),
        (ours, house.now + seconds(10))
    );

    let read = async |now| {
        let lane = LaneRead {
            subscription: ours,
            after: None,
            limit: 10,
            named: false,
        };
        house
            .store
            .due(&house.lease, &[lane], now)
            .await
            .expect("due")
    };
    let none = read(house.now + seconds(9)).await;
    assert_eq!(none.due.len(), 0);
    assert_eq!(
        none.later.iter().map(|l| l.due_at).collect::<Vec<_>>(),
        [house.now + seconds(10)]
    );
    let some = read(house.now + seconds(20)).await;
    let events: Vec<_> = some.due.iter().map(|d| d.id.event).collect();
    assert_eq!(events, [1, 3, 2].map(|at: usize| published[at].id));
    assert_eq!(
        some.later.iter().map(|l| l.due_at).collect::<Vec<_>>(),
        [house.now + seconds(30)]
    );
    let all = read(house.now + seconds(40)).await;
    assert_eq!(all.due.len(), 5);
    assert_eq!(all.later, []);
}

pub(crate) async fn a_read_goes_on_after_a_position_and_keeps_to_each_limit(store: Store) {
    let house = House::new(store).await;
    house.routed(20).await;
    let (ours, theirs) = (house.number(&house.ours), house.number(&house.theirs));
    let all = house.due(&house.ours, house.now).await;
    assert_eq!(all.len(), 10);

    let lanes = [
        LaneRead {
            subscription: theirs,
            after: None,
            limit: 3,
            named: false,
        },
        LaneRead {
            subscription: ours,
            after: Some(all[3].position),
            limit: 10,
            named: false,
        },
    ];
    let read = house
        .store
        .due(&house.lease, &lanes, house.now)
        .await
        .expect("due");
    let (of_theirs, of_ours): (Vec<_>, Vec<_>) = read
        .due
        .iter()
        .map(|d| d.position)
        .partition(|position| position.subscription == theirs);
    assert_eq!(of_theirs.len(), 3);
    assert_eq!(
        of_ours,
        all[4..].iter().map(|d| d.position).collect::<Vec<_>>()
    );
    assert_eq!(
        read.later,
        [],
        "theirs was not read to its end, ours has nothing later"
    );
    let nothing = house
        .store
        .due(&house.lease, &[], house.now)
        .await
        .expect("due");
    assert_eq!((nothing.due.len(), nothing.later.len()), (0, 0));
}
