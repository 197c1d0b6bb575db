use std::{collections::BTreeSet, time::Duration};

use tharsis_core::{Timestamp, event::IdempotencyKey};

use crate::harness::{House, Store, client, enveloped, event};
use tharsis_store::{Outbox, Registry};

fn keyed(n: u32, key: &str) -> tharsis_core::event::Event {
    event(client(1), n).with_key(IdempotencyKey::new(key).expect("a key"))
}

pub(crate) async fn an_event_is_published_once(store: Store) {
    let house = House::new(store).await;
    let first = house.publish(&[event(client(1), 1)]).await[0];
    let again = house.publish(&[event(client(1), 1)]).await[0];
    let other = house.publish(&[event(client(1), 2)]).await[0];

    assert!(!first.duplicate);
    assert!(again.duplicate);
    assert_eq!(again.id, first.id);
    assert!(!other.duplicate);
    assert_ne!(other.id, first.id);
    let pointers = house
        .store
        .pointers(&house.lease, 10)
        .await
        .expect("pointers");
    let ids: Vec<_> = pointers.events.iter().map(|p| p.event).collect();
    assert_eq!(ids, [first.id, other.id]);
}

pub(crate) async fn a_batch_reports_what_it_refuses_by_its_place(store: Store) {
    let house = House::new(store).await;
    let batch = [
        keyed(1, "a"),
        keyed(2, "a"),
        keyed(1, "a"),
        event(client(1), 3),
        event(client(1), 3),
    ];
    let published = house.store.publish(&batch).await.expect("published");

    let first = published[0].as_ref().expect("new");
    assert!(!first.duplicate);
    let refused = published[1].as_ref().expect_err("another payload");
    assert_eq!(
        (refused.code, refused.field.as_deref()),
        ("idempotency_conflict", Some("key"))
    );
    let again = published[2].as_ref().expect("the same");
    assert_eq!((again.id, again.duplicate), (first.id, true));
    let third = published[3].as_ref().expect("new");
    assert!(!third.duplicate);
    let fourth = published[4].as_ref().expect("the same");
    assert_eq!((fourth.id, fourth.duplicate), (third.id, true));
    assert_eq!(
        house
            .store
            .remaining(house.now)
            .await
            .expect("counted")
            .unrouted,
        2
    );
}

pub(crate) async fn instants_beyond_the_years_1970_to_9999_are_refused(store: Store) {
    let house = House::new(store).await;
    let last = Timestamp::parse("9999-12-31T23:59:59.999Z").expect("a time");
    let not_before = |n, at| event(client(1), n).with_not_before(at).expect("an event");
    let expires_at = |n, at| enveloped(client(1), n, &format!(r#""expires_at":"{at}","#));
    let batch = [
        not_before(1, Timestamp::from_millis(0)),
        not_before(2, last + Duration::from_millis(1)),
        not_before(3, Timestamp::from_millis(i64::MAX)),
        not_before(4, last),
        not_before(5, Timestamp::from_millis(-1)),
        expires_at(6, "9999-12-31T23:59:59.999-00:01"),
        expires_at(7, "1969-12-31T23:59:59.999Z"),
        expires_at(8, "9999-12-31T23:59:59.999Z"),
    ];
    let published = house.store.publish(&batch).await.expect("published");

    let refused: Vec<_> = published
        .iter()
        .map(|one| one.as_ref().err().map(|e| (e.code, e.field.as_deref())))
        .collect();
    let (not_before, expires_at) = (
        Some(("bad_time", Some("not_before"))),
        Some(("bad_time", Some("expires_at"))),
    );
    let expected = [
        None, not_before, not_before, None, not_before, expires_at, expires_at, None,
    ];
    assert_eq!(refused, expected);
    let pointers = house.store.pointers(&house.lease, 10).await;
    let pointers = pointers.expect("pointers").events;
    let taken: Vec<_> = published.iter().flatten().map(|one| one.id).collect();
    let there: Vec<_> = pointers.iter().map(|pointer| pointer.event).collect();
    assert_eq!(there, taken, "the others are durable");
    assert_eq!(pointers[1].not_before, Some(last));
    assert_eq!(pointers[2].expires_at, Some(last));
}

pub(crate) async fn another_payload_under_a_key_is_refused(store: Store) {
    let house = House::new(store).await;
    let first = house.publish(&[keyed(1, "order-1")]).await[0];

    let refused = house
        .store
        .publish(&[keyed(2, "order-1")])
        .await
        .expect("published");
    assert_eq!(
        refused[0].as_ref().expect_err("refused").code,
        "idempotency_conflict"
    );
    let same = house.publish(&[keyed(1, "order-1")]).await[0];
    assert_eq!((same.id, same.duplicate), (first.id, true));
    // Without the key, or under another one, it is another event.
    assert!(!house.publish(&[event(client(1), 1)]).await[0].duplicate);
    assert!(!house.publish(&[keyed(1, "order-2")]).await[0].duplicate);
}

pub(crate) async fn keys_belong_to_their_client(store: Store) {
    let house = House::new(store).await;
    let key = || IdempotencyKey::new("same").expect("a key");
    let published = house
        .publish(&[
            event(client(1), 1).with_key(key()),
            event(client(2), 2).with_key(key()),
        ])
        .await;
    assert!(published.iter().all(|p| !p.duplicate));
}

pub(crate) async fn one_key_from_a_hundred_tasks_is_one_event(store: Store) {
    let house = House::new(store).await;
    let event = keyed(1, "race");
    let posts = (0..100).map(|_| house.store.publish(std::slice::from_ref(&event)));
    let published: Vec<_> = join_all(posts)
        .await
        .into_iter()
        .map(|one| *one.expect("published")[0].as_ref().expect("not refused"))
        .collect();

    assert_eq!(published.iter().filter(|p| !p.duplicate).count(), 1);
    let ids: BTreeSet<_> = published.iter().map(|p| p.id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(
        house
            .store
            .remaining(house.now)
            .await
            .expect("counted")
            .unrouted,
        1
    );
}

pub(crate) async fn many_small_publishes_keep_their_answers_apart(store: Store) {
    let house = House::new(store).await;
    let batches: Vec<Vec<_>> = (0..40)
        .map(|n| {
            vec![
                event(client(1), n),
                keyed(1_000 + n, "k"),
                event(client(2), n),
            ]
        })
        .collect();
    let published = join_all(batches.iter().map(|batch| house.store.publish(batch))).await;

    let mut ids = BTreeSet::new();
    let mut conflicts = 0;
    for (n, one) in published.into_iter().enumerate() {
        let one = one.expect("published");
        for (place, of) in [(0, 1), (2, 2)] {
            let id = one[place].as_ref().expect("not refused").id;
            assert!(ids.insert(id), "each event its own id");
            let record = house.store.event(id).await.expect("an event");
            assert_eq!(record.client, client(of));
            assert_eq!(record.payload, format!("{{\"n\":{n}}}"));
        }
        conflicts += usize::from(one[1].is_err());
    }
    assert_eq!(conflicts, 39, "one of them has the key");
}

pub(crate) async fn a_large_batch_is_published_whole(store: Store) {
    let house = House::new(store).await;
    let events: Vec<_> = (0..1_000)
        .map(|n| enveloped(client(1), n, r#""campaign":"spring","#))
        .collect();
    let published = house.publish(&events).await;

    let mut order = Vec::new();
    while order.len() < 1_000 {
        let plan = house.route_plan(300).await;
        let pointers = house
            .store
            .pointers(&house.lease, 300)
            .await
            .expect("pointers");
        order.extend(pointers.events.iter().map(|p| p.event));
        house
            .store
            .route(&house.lease, &plan)
            .await
            .expect("routed");
    }
    assert_eq!(order, published.iter().map(|p| p.id).collect::<Vec<_>>());
}

async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.into_iter().map(|f| (Box::pin(f), None)).collect();
    std::future::poll_fn(|cx| {
        let mut is_ready = true;
        for (future, output) in &mut pending {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => is_ready = false,
                }
            }
        }
        if is_ready {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    pending
        .into_iter()
        .map(|(_, output)| output.expect("every one is ready"))
        .collect()
}
