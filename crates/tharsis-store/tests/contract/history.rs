use tharsis_core::{ClientId, EventId, SubscriptionId, Timestamp, delivery::End};
use tharsis_store::{DeliveryFilter, Registry, Settled, SettledAttempt, Status, Unfinished};

use crate::harness::{House, Store, add, client, code, enveloped, event, seconds};

/// 12 events of two clients; of ours 1 is delivered, 1 dead, 1 retrying, 1 cancelled, 2 pending; theirs are delivered.
async fn mixed(store: Store) -> House {
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

pub(crate) async fn lists_are_newest_first_and_paged(store: Store) {
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

impl House {
    /// As it is counted without events, which is as it is counted with them.
    async fn unfinished(&self, client: Option<ClientId>) -> Unfinished {
        self.unfinished_to(client, None).await
    }

    async fn unfinished_to(
        &self,
        client: Option<ClientId>,
        subscription: Option<SubscriptionId>,
    ) -> Unfinished {
        let found = self.store.unfinished(client, subscription, 100).await;
        let found = found.expect("counted");
        for (status, number) in [
            (Status::Pending, found.pending),
            (Status::Retrying, found.retrying),
            (Status::Held, found.held),
        ] {
            let mut filter = DeliveryFilter::default();
            filter.client = client;
            filter.subscription.extend(subscription);
            filter.status = vec![status];
            let counted = self.store.count(&filter).await.expect("counted");
            assert_eq!(number, counted, "{status:?} of {client:?}");
        }
        found
    }
}

pub(crate) async fn what_is_unfinished_is_counted_by_its_status(store: Store) {
    let house = mixed(store).await;
    let of = |pending, retrying, held| Unfinished {
        pending,
        retrying,
        held,
        more: false,
    };
    assert_eq!(house.unfinished(None).await, of(2, 1, 0));
    assert_eq!(house.unfinished(Some(client(1))).await, of(2, 1, 0));
    assert_eq!(house.unfinished(Some(client(2))).await, of(0, 0, 0));

    let events: Vec<_> = (100..120)
        .map(|n| event(client(1 + (n % 2) as u8), n))
        .collect();
    house.publish(&events).await;
    house.route().await;
    let paused = house.store.pause(house.ours.id, house.now).await;
    paused.expect("paused");
    assert_eq!(house.unfinished(None).await, of(10, 0, 13));
    assert_eq!(house.unfinished(Some(client(1))).await, of(0, 0, 13));
    assert_eq!(house.unfinished(Some(client(2))).await, of(10, 0, 0));
    assert_eq!(house.unfinished(Some(client(9))).await, of(0, 0, 0));
    let ours = Some(house.ours.id);
    assert_eq!(house.unfinished_to(None, ours).await, of(0, 0, 13));
    assert_eq!(
        house.unfinished_to(Some(client(1)), ours).await,
        of(0, 0, 13)
    );
    assert_eq!(
        house.unfinished_to(Some(client(2)), ours).await,
        of(0, 0, 0)
    );

    // No more is counted than is asked for.
    for (most, counted, more) in [(24, 23, false), (23, 23, true), (5, 5, true)] {
        let found = house
            .store
            .unfinished(None, None, most)
            .await
            .expect("counted");
        let sum = found.pending + found.retrying + found.held;
        assert_eq!((sum, found.more), (counted, more), "{most}");
    }
}

pub(crate) async fn filters_restrict(store: Store) {
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

/// Many events of theirs, which go to five, and some of ours among them, at the beginning, in the middle and at the end.
async fn a_few_among_many(store: Store) -> (House, Vec<EventId>) {
    /// Twice as many of them, each five times, are more than two looks at the history take in.
    const MANY: u32 = 900;
    let mut house = House::new(store).await;
    let mut to = vec![house.theirs.clone()];
    for name in ["second", "third", "fourth", "fifth"] {
        to.push(add(&house.store, 2, name, house.now).await);
    }
    house.reload().await;
    let mut ours = Vec::new();
    for round in 0..3 {
        let few: Vec<_> = (0..3)
            .map(|n| enveloped(client(1), round * MANY + n, r#""campaign":"rare","#))
            .collect();
        ours.extend(house.publish(&few).await.iter().map(|event| event.id));
        if round < 2 {
            let many: Vec<_> = (0..MANY)
                .map(|n| event(client(2), round * MANY + n))
                .collect();
            house.publish(&many).await;
        }
    }
    house.route().await;
    house.end_all(&to[0], End::Dead).await;
    for of in &to[1..] {
        house.end_all(of, End::Delivered).await;
    }
    // Of ours one is delivered, one dead, and one under way, each time.
    for (due, n) in house.due(&house.ours, house.now).await.iter().zip(0..) {
        match n % 3 {
            0 => drop(house.settle(&[house.ended(due, End::Delivered)]).await),
            1 => drop(house.settle(&[house.ended(due, End::Dead)]).await),
            _ => {}
        }
    }
    (house, ours)
}

pub(crate) async fn what_is_rare_is_found_over_several_pages(store: Store) {
    let (house, ours) = a_few_among_many(store).await;
    let all = house.all(&DeliveryFilter::default()).await;
    assert_eq!(all.len(), 9 + 5 * 1_800);
    let mut of_ours = DeliveryFilter::default();
    of_ours.client = Some(client(1));
    let mut of_a_campaign = DeliveryFilter::default();
    of_a_campaign.campaign = Some("rare".to_owned());
    let mut of_a_subscription = DeliveryFilter::default();
    of_a_subscription.subscription = vec![house.ours.id];
    let mut absent = DeliveryFilter::default();
    absent.event_type = vec!["nudge".to_owned()];
    let mut dead = of_ours.clone();
    dead.status = vec![Status::Ended(End::Dead)];
    let mut delivered = of_ours.clone();
    delivered.status = vec![Status::Ended(End::Delivered)];
    let mut pending = of_ours.clone();
    pending.status = vec![Status::Pending];
    let mut old = of_ours.clone();
    old.until = all.last().map(|row| row.published_at + seconds(1));
    for (filter, limit, found) in [
        (&of_ours, 1, 9),
        (&of_ours, 100, 9),
        (&of_a_campaign, 4, 9),
        (&of_a_subscription, 9, 9),
        (&absent, 10, 0),
        (&dead, 10, 3),
        (&delivered, 10, 3),
        (&pending, 2, 3),
        (&old, 10, house.all(&old).await.len()),
        (&DeliveryFilter::default(), 999, all.len()),
    ] {
        let matching: Vec<_> = house.all(filter).await;
        assert_eq!(matching.len(), found, "{filter:?}");
        let mut told = Vec::new();
        let (mut after, mut short) = (None, 0);
        loop {
            let page = house.store.deliveries(filter, after.as_deref(), limit);
            let page = page.await.expect("a page");
            let is_full = page.items.len() == limit as usize;
            told.extend(page.items);
            if let Some(until) = page.searched_until {
                assert!(!is_full && page.next.is_some(), "{filter:?}");
                let (newer, older): (Vec<_>, Vec<_>) =
                    matching.iter().partition(|row| row.published_at > until);
                assert!(told.len() >= newer.len(), "what is newer was told");
                let same = older.iter().filter(|row| row.published_at == until);
                assert!(
                    told.len() <= newer.len() + same.count(),
                    "what is older was not"
                );
                short += 1;
            } else {
                assert!(is_full || page.next.is_none(), "{filter:?}");
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(told, matching, "{filter:?}");
        let is_rare = filter.client.is_none() && filter.status.is_empty() && found < 10;
        assert!(!is_rare || short > 1, "{short} short pages of {filter:?}");
    }
    let mut of_one = DeliveryFilter::default();
    of_one.event = Some(ours[0]);
    let page = house.store.deliveries(&of_one, None, 10).await;
    let page = page.expect("a page");
    assert_eq!(
        (page.items.len(), page.next, page.searched_until),
        (1, None, None)
    );
}

pub(crate) async fn cursors_are_checked(store: Store) {
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

pub(crate) async fn a_delivery_shows_its_attempts(store: Store) {
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

pub(crate) async fn an_event_shows_its_deliveries(store: Store) {
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

impl House {
    async fn settled_since(&self, filter: &DeliveryFilter, since: Timestamp) -> Settled {
        let found = self.store.settled(filter, since, 1_000).await;
        found.expect("read")
    }
}

pub(crate) async fn attempts_come_in_the_order_in_which_they_were_settled(store: Store) {
    let house = mixed(store).await;
    let before = house.now - seconds(1);
    let any = DeliveryFilter::default();
    // Of an event that is not new any more, and one that took its time.
    let due = house.due(&house.ours, house.now + seconds(60)).await;
    let again = due.iter().find(|due| due.attempts == 1).expect("a retry");
    let fresh = due.iter().find(|due| due.attempts == 0).expect("a new one");
    let mut slow = house.ended(fresh, End::Delivered);
    if let Some(attempt) = &mut slow.attempt {
        attempt.duration = seconds(3);
    }
    house.settle(&[house.ended(again, End::Dead), slow]).await;

    let all = house.settled_since(&any, before).await;
    assert_eq!((all.items.len(), all.left_out), (12, 0));
    assert!(all.items.is_sorted_by_key(SettledAttempt::settled_at));
    let last = |found: &Settled| {
        let items = found.items.iter().rev();
        items.take(2).map(|one| one.id).collect::<Vec<_>>()
    };
    assert_eq!(last(&all), [fresh.id, again.id]);
    let (retry, slowest) = (&all.items[10], &all.items[11]);
    let took = retry.record.attempt.duration;
    assert_eq!(retry.settled_at(), house.now + seconds(2) + took);
    assert_eq!(retry.record.end, Some(End::Dead));
    assert_eq!(
        (
            retry.record.attempt.number,
            retry.subscription_name.as_str()
        ),
        (2, "ours")
    );
    let told = house.store.delivery(fresh.id).await.expect("a delivery");
    assert_eq!(told.attempts, std::slice::from_ref(&slowest.record));

    // The latest of them, and how many there are before.
    let few = house.store.settled(&any, before, 2).await.expect("read");
    assert_eq!((few.items.len(), few.left_out), (2, 10));
    assert_eq!(last(&few), last(&all));

    // By when they were settled, not by when they began.
    let late = house.settled_since(&any, house.now + seconds(2)).await;
    assert_eq!(last(&late), last(&all));
    assert_eq!(late.items.len(), 2);
    let latest = house.settled_since(&any, house.now + seconds(4)).await;
    assert_eq!((latest.items.len(), latest.left_out), (1, 0));
    let none = house.settled_since(&any, house.now + seconds(5)).await;
    assert_eq!((none.items.len(), none.left_out), (0, 0));
}

pub(crate) async fn what_was_settled_is_filtered_as_lists_are(store: Store) {
    let house = mixed(store).await;
    let before = house.now - seconds(1);
    let count = async |change: &dyn Fn(&mut DeliveryFilter)| {
        let mut filter = DeliveryFilter::default();
        change(&mut filter);
        house.settled_since(&filter, before).await.items.len()
    };
    assert_eq!(count(&|_| {}).await, 10);
    for (status, found) in [
        (Status::Ended(End::Delivered), 7),
        (Status::Ended(End::Dead), 1),
        (Status::Ended(End::Cancelled), 1),
        (Status::Ended(End::Expired), 0),
        (Status::Retrying, 1),
        (Status::Pending, 0),
    ] {
        let counted = count(&|filter| filter.status = vec![status]).await;
        assert_eq!(counted, found, "{status:?}");
    }
    for (of, subscription, found) in [(1, &house.ours, 4), (2, &house.theirs, 6)] {
        assert_eq!(count(&|f| f.client = Some(client(of))).await, found);
        assert_eq!(
            count(&|f| f.subscription = vec![subscription.id]).await,
            found
        );
        let mut filter = DeliveryFilter::default();
        filter.client = Some(client(of));
        let its = house.settled_since(&filter, before).await;
        assert!(its.items.iter().all(|one| one.client == client(of)));
    }
    assert_eq!(count(&|f| f.client = Some(client(9))).await, 0);
    assert_eq!(count(&|f| f.campaign = Some("spring".to_owned())).await, 6);
    assert_eq!(
        count(&|f| f.event_type = vec!["ticket".to_owned()]).await,
        10
    );
    assert_eq!(count(&|f| f.event_type = vec!["other".to_owned()]).await, 0);
    let any = DeliveryFilter::default();
    let one = house.settled_since(&any, before).await.items.remove(0);
    assert_eq!(count(&|f| f.event = Some(one.id.event)).await, 1);
    let tomorrow = house.now + seconds(86_400);
    assert_eq!(count(&|f| f.since = Some(tomorrow)).await, 0);
    assert_eq!(count(&|f| f.until = Some(tomorrow)).await, 10);
    assert_eq!(count(&|f| f.ended_since = Some(tomorrow)).await, 0);
}
