use tharsis_core::{EventId, delivery::End};
use tharsis_store::{DeliveryFilter, Status};

use crate::harness::{House, Store, client, code, enveloped, seconds};

/// 12 events of two clients; of ours 1 is delivered, 1 dead, 1 retrying, 1 cancelled, 2 pending; theirs are delivered.
async fn mixed<S: Store>(store: S) -> House<S> {
    let house = House::new(store).await;
    let events: Vec<_> = (0..12)
        .map(|n| {
            let campaign = if n < 6 { "spring" } else { "autumn" };
            enveloped(
                client(1 + (n % 2) as u8),
                n,
                &format!(r#""campaign":"{campaign}","#),
            )
        })
        .collect();
    house.publish(&events).await;
    house.route().await;
    let due = house.due(&house.ours, house.now).await;
    house
        .settle(&[
            house.ended(&due[0], End::Delivered),
            house.ended(&due[1], End::Dead),
            house.again(&due[2], house.now + seconds(60)),
        ])
        .await;
    house
        .store
        .cancel(due[3].id, house.now)
        .await
        .expect("accepted");
    house.work_off(house.now).await;
    house.end_all(&house.theirs, End::Delivered).await;
    house
}

pub(crate) async fn lists_are_newest_first_and_paged<S: Store>(store: S) {
    let house = mixed(store).await;
    let filter = DeliveryFilter::default();
    let all = house.all(&filter).await;
    assert_eq!(all.len(), 12);
    let published: Vec<_> = all.iter().map(|row| row.id.event).collect();
    let mut paged = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = house
            .store
            .deliveries(&filter, after.as_deref(), 5)
            .await
            .expect("a page");
        assert!(page.items.len() <= 5);
        paged.extend(page.items.iter().map(|row| row.id.event));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(paged, published);
    assert_eq!(all[0].event_type, "ticket");
    assert_eq!(
        (all[0].client, all[0].subscription_name.as_str()),
        (client(2), "theirs")
    );
    assert_eq!(
        (all[11].client, all[11].subscription_name.as_str()),
        (client(1), "ours")
    );
    let times: Vec<_> = all.iter().map(|row| row.published_at).collect();
    assert!(times.is_sorted_by(|a, b| a >= b));
}

pub(crate) async fn filters_restrict<S: Store>(store: S) {
    let house = mixed(store).await;
    let count = async |filter: DeliveryFilter| house.all(&filter).await.len();
    let with = |change: &dyn Fn(&mut DeliveryFilter)| {
        let mut filter = DeliveryFilter::default();
        change(&mut filter);
        filter
    };
    let status = |status: &[Status]| {
        let status = status.to_vec();
        with(&move |f| f.status.clone_from(&status))
    };
    assert_eq!(count(status(&[Status::Ended(End::Delivered)])).await, 7);
    assert_eq!(count(status(&[Status::Ended(End::Dead)])).await, 1);
    assert_eq!(
        count(status(&[
            Status::Ended(End::Dead),
            Status::Ended(End::Cancelled)
        ]))
        .await,
        2
    );
    assert_eq!(count(status(&[Status::Retrying])).await, 1);
    assert_eq!(count(status(&[Status::Pending])).await, 2);
    assert_eq!(count(status(&[Status::Held])).await, 0);
    assert_eq!(
        count(status(&[Status::Pending, Status::Ended(End::Delivered)])).await,
        9
    );

    assert_eq!(count(with(&|f| f.client = Some(client(1)))).await, 6);
    assert_eq!(count(with(&|f| f.client = Some(client(9)))).await, 0);
    assert_eq!(
        count(with(&|f| f.campaign = Some("spring".into()))).await,
        6
    );
    assert_eq!(
        count(with(
            &|f| f.event_type = vec!["ticket".into(), "nudge".into()]
        ))
        .await,
        12
    );
    assert_eq!(
        count(with(&|f| f.event_type = vec!["nudge".into()])).await,
        0
    );
    assert_eq!(
        count(with(&|f| f.subscription = vec![house.ours.id])).await,
        6
    );
    assert_eq!(
        count(with(
            &|f| f.subscription = vec![house.ours.id, house.theirs.id]
        ))
        .await,
        12
    );

    let all = house.all(&DeliveryFilter::default()).await;
    assert_eq!(count(with(&|f| f.event = Some(all[4].id.event))).await, 1);
    assert_eq!(
        count(with(&|f| f.event = Some(EventId::new(house.now, [1; 10])))).await,
        0
    );
    let (newest, oldest) = (all[0].published_at, all[11].published_at);
    assert_eq!(count(with(&|f| f.since = Some(oldest))).await, 12);
    assert_eq!(
        count(with(&|f| f.since = Some(newest + seconds(1)))).await,
        0
    );
    assert_eq!(count(with(&|f| f.until = Some(oldest))).await, 0);
    assert_eq!(
        count(with(&|f| f.until = Some(newest + seconds(1)))).await,
        12
    );

    house
        .store
        .pause(house.ours.id, house.now)
        .await
        .expect("paused");
    assert_eq!(count(status(&[Status::Held])).await, 3);
    assert_eq!(count(status(&[Status::Pending, Status::Retrying])).await, 0);
}

pub(crate) async fn cursors_are_checked<S: Store>(store: S) {
    let house = mixed(store).await;
    let filter = DeliveryFilter::default();
    let page = house
        .store
        .deliveries(&filter, None, 5)
        .await
        .expect("a page");
    let cursor = page.next.expect("more");
    let mut other = DeliveryFilter::default();
    other.client = Some(client(1));
    let mut forged = cursor.clone();
    let another = if cursor[15..16] == *"f" { "0" } else { "f" };
    forged.replace_range(15..16, another);
    for (filter, cursor) in [
        (&filter, "nonsense"),
        (&filter, ""),
        (&filter, &cursor[1..]),
        (&filter, forged.as_str()),
        (&other, cursor.as_str()),
    ] {
        assert_eq!(
            code(house.store.deliveries(filter, Some(cursor), 5).await),
            "bad_cursor"
        );
    }
    house
        .store
        .deliveries(&filter, Some(&cursor), 5)
        .await
        .expect("the next page");
}

pub(crate) async fn a_delivery_shows_its_attempts<S: Store>(store: S) {
    let house = House::new(store).await;
    house.routed(2).await;
    let mut due = house.due(&house.ours, house.now).await.remove(0);
    for n in 1..=3 {
        let then = house.now + seconds(n);
        house.settle(&[house.again(&due, then)]).await;
        due = house.due(&house.ours, then).await.remove(0);
    }
    house.settle(&[house.ended(&due, End::Dead)]).await;

    let detail = house.store.delivery(due.id).await.expect("a delivery");
    assert_eq!(detail.row.status, Status::Ended(End::Dead));
    assert_eq!(
        (detail.row.attempts, detail.row.code.as_deref()),
        (4, Some("http_500"))
    );
    let numbers: Vec<_> = detail.attempts.iter().map(|a| a.attempt.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    let ends: Vec<_> = detail.attempts.iter().map(|a| a.end).collect();
    assert_eq!(ends, [None, None, None, Some(End::Dead)]);
    assert_eq!(detail.attempts[1].due_at, Some(house.now + seconds(2)));
    assert_eq!(detail.attempts[3].due_at, None);
}

pub(crate) async fn an_event_shows_its_deliveries<S: Store>(store: S) {
    let mut house = House::new(store).await;
    let second = crate::harness::add(&house.store, 1, "second", house.now).await;
    house.reload().await;
    let published = house.routed(2).await;
    house.end_all(&second, End::Dead).await;

    let record = house.store.event(published[0].id).await.expect("an event");
    assert_eq!(
        (record.id, record.client, record.event_type.as_str()),
        (published[0].id, client(1), "ticket")
    );
    assert_eq!(record.payload, r#"{"n":0}"#);
    assert_eq!(record.refused, None);
    let states: Vec<_> = record
        .deliveries
        .iter()
        .map(|d| (d.id.subscription, d.status))
        .collect();
    assert_eq!(
        states,
        [
            (house.ours.id, Status::Pending),
            (second.id, Status::Ended(End::Dead))
        ]
    );
    assert_eq!(
        code(house.store.event(EventId::new(house.now, [3; 10])).await),
        "no event"
    );
}
