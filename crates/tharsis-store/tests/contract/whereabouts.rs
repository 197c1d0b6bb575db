//! Where an event has got to, and what holds what is left of it.

use tharsis_core::{
    EventId, SubscriptionId,
    delivery::End,
    order::{By, OnDead, Order, OrderKey},
    subscription::State,
};
use tharsis_store::{
    ASIDE, Anew, Campaign, Candidate, Due, Fate, KEPT, Outbox, PARKED, Place, Registry, Settlement,
    Shards, Status, StopState, Whereabouts,
};

use crate::harness::{House, Store, add, client, code, enveloped, seconds};

impl House {
    async fn whereabouts(&self, event: EventId) -> Whereabouts {
        let found = self.store.whereabouts(event).await;
        found.expect("it is there")
    }

    /// Where its only delivery lies.
    async fn place(&self, event: EventId) -> Option<Place> {
        let found = self.whereabouts(event).await;
        let [one] = <[Candidate; 1]>::try_from(found.candidates).expect("of one");
        one.place
    }
}

fn settled(due: &Due, fate: Fate) -> Settlement {
    Settlement {
        position: due.position,
        event: due.id.event,
        attempts: due.attempts,
        attempt: None,
        fate,
        key: Some(OrderKey::STRICT),
        suspend: None,
        certificate_ends: None,
    }
}

fn ids(whereabouts: &Whereabouts) -> Vec<SubscriptionId> {
    whereabouts.candidates.iter().map(|one| one.id).collect()
}

pub(crate) async fn an_event_is_found_with_all_that_it_may_have_gone_to(store: Store) {
    let house = House::new(store).await;
    let ticket = enveloped(client(1), 1, "");
    let published = house.publish(&[ticket]).await;
    let event = published[0].id;
    let before = house.whereabouts(event).await;
    assert!(!before.event.routed && before.event.deliveries.is_empty());
    assert_eq!(ids(&before), [house.ours.id], "of its client");
    assert_eq!(
        before.candidates[0].subscription.as_ref(),
        Some(&house.ours)
    );
    assert_eq!(
        (&before.candidates[0].delivery, before.candidates[0].place),
        (&None, None)
    );
    assert_eq!(before.owned, Shards::ALL);
    assert!(before.now >= house.now);

    house.route().await;
    let due = house.due(&house.ours, house.now).await.remove(0);
    house
        .settle(&[house.again(&due, house.now + seconds(60))])
        .await;
    let late = add(&house.store, 1, "late", house.now + seconds(5)).await;
    let found = house.whereabouts(event).await;
    assert_eq!(
        ids(&found),
        [house.ours.id, late.id],
        "in the order in which they were added"
    );
    let [ours, theirs] = &found.candidates[..] else {
        panic!("two");
    };
    let of_ours = ours.delivery.as_ref().expect("a delivery");
    let shown = house.store.delivery(due.id).await.expect("it is there");
    assert_eq!(of_ours, &shown);
    assert_eq!(
        (of_ours.row.status, of_ours.attempts.len()),
        (Status::Retrying, 1)
    );
    let live = Place {
        lane: 0,
        tries: 1,
        behind: None,
    };
    assert_eq!((ours.place, theirs.place), (Some(live), None));
    assert_eq!(theirs.delivery, None);

    // Of what is removed, that which it may have gone to.
    house
        .store
        .remove(late.id, house.now + seconds(9))
        .await
        .expect("removed");
    house
        .store
        .remove(house.ours.id, house.now + seconds(9))
        .await
        .expect("removed");
    let found = house.whereabouts(event).await;
    assert_eq!(ids(&found), [house.ours.id, late.id]);
    for one in &found.candidates {
        assert_eq!(
            (one.removed_at, &one.subscription),
            (Some(house.now + seconds(9)), &None)
        );
    }
    assert!(
        found.candidates[0].place.is_some(),
        "until the owner ends it"
    );
    house.work_off(house.now + seconds(9)).await;
    let found = house.whereabouts(event).await;
    let row = &found.candidates[0]
        .delivery
        .as_ref()
        .expect("a delivery")
        .row;
    assert_eq!(
        (row.status, found.candidates[0].place),
        (Status::Ended(End::Cancelled), None)
    );

    let unknown = EventId::new(house.now, [9; 10]);
    assert_eq!(code(house.store.whereabouts(unknown).await), "no event");
}

pub(crate) async fn whoever_was_removed_before_is_no_candidate(store: Store) {
    let house = House::new(store).await;
    let removed_at = house.now - seconds(3_600);
    let gone = add(&house.store, 1, "gone", removed_at - seconds(60)).await;
    house
        .store
        .remove(gone.id, removed_at)
        .await
        .expect("removed");
    let published = house.publish(&[enveloped(client(1), 1, "")]).await;
    assert_eq!(
        ids(&house.whereabouts(published[0].id).await),
        [house.ours.id]
    );
}

pub(crate) async fn what_waits_in_order_says_for_whom(store: Store) {
    let mut house = House::new(store).await;
    let mut settings = house.ours.settings.clone();
    settings.order = Some(Order {
        by: By::Strict,
        on_dead: OnDead::Hold,
    });
    house.ours = (house
        .store
        .set(house.ours.id, &settings, Anew::default(), house.now)
        .await)
        .expect("set");
    house.routed(8).await;
    let ours = house.due(&house.ours, house.now).await;
    let theirs = house.due(&house.theirs, house.now).await;
    let later = house.now + seconds(60);
    let back = |due: &Due| {
        let spent = due.spent;
        settled(
            due,
            Fate::Again {
                due_at: later,
                spent,
            },
        )
    };
    let (due_at, spent) = (ours[1].position.due_at, ours[1].spent);
    let parked = settled(&ours[1], Fate::Parked { due_at, spent });
    assert_eq!(
        house
            .settle(&[back(&ours[0]), parked, back(&theirs[0])])
            .await,
        []
    );
    let first = Some(ours[0].id.event);
    let place = |lane, behind| {
        let tries = 0;
        Some(Place {
            lane,
            tries,
            behind,
        })
    };
    assert_eq!(
        house.place(ours[0].id.event).await,
        place(0, None),
        "it waits for nobody"
    );
    assert_eq!(house.place(ours[1].id.event).await, place(PARKED, first));
    assert_eq!(
        house.place(ours[2].id.event).await,
        place(0, first),
        "in line"
    );
    assert_eq!(
        house.place(theirs[1].id.event).await,
        place(0, None),
        "theirs have no order"
    );

    let back = house.due(&house.ours, later).await.into_iter();
    let back: Vec<Due> = back.filter(|due| due.id == ours[0].id).collect();
    let kept = Settlement {
        attempt: Some(house.attempt(1, "http_500", 500)),
        ..settled(&back[0], Fate::Kept { spent })
    };
    assert_eq!(house.settle(&[kept]).await, []);
    assert_eq!(house.place(ours[0].id.event).await, place(KEPT, None));
    assert_eq!(house.place(ours[2].id.event).await, place(0, first));
}

pub(crate) async fn what_holds_an_event_is_told(store: Store) {
    let house = House::new(store).await;
    let of_spring = |of, n| enveloped(of, n, r#""campaign":"spring","recipient":"ann","#);
    let events = [of_spring(client(1), 1), of_spring(client(2), 2)];
    let published = house.publish(&events).await;
    house.route().await;
    let spring = |recipient: Option<&str>| Campaign {
        client: client(1),
        name: "spring".to_owned(),
        recipient: recipient.map(str::to_owned),
    };
    for recipient in [Some("ann"), Some("bob")] {
        let paused = house
            .store
            .pause_campaign(&spring(recipient), house.now)
            .await;
        paused.expect("paused");
    }
    let due = house.due(&house.ours, house.now).await.remove(0);
    let aside = Settlement {
        key: None,
        ..settled(&due, Fate::Aside)
    };
    assert_eq!(house.settle(&[aside]).await, []);
    house
        .store
        .pause(house.ours.id, house.now + seconds(3))
        .await
        .expect("paused");

    let found = house.whereabouts(published[0].id).await;
    let stops: Vec<_> = found
        .stops
        .iter()
        .map(|stop| (&stop.campaign, stop.state))
        .collect();
    assert_eq!(
        stops,
        [(&spring(Some("ann")), StopState::Paused)],
        "not that of Bob"
    );
    let ours = &found.candidates[0];
    assert_eq!(ours.place.map(|place| place.lane), Some(ASIDE));
    assert_eq!(ours.held_since, Some(house.now + seconds(3)));
    let state = ours.subscription.as_ref().map(|one| &one.state);
    assert_eq!(state, Some(&State::Paused));

    let found = house.whereabouts(published[1].id).await;
    assert_eq!(
        (found.stops.len(), found.candidates[0].held_since),
        (0, None),
        "of the other client"
    );
    house
        .store
        .cancel_campaign(&spring(None), house.now)
        .await
        .expect("cancelled");
    let found = house.whereabouts(published[0].id).await;
    assert_eq!(found.stops.len(), 2, "its own, and that of all");

    house
        .store
        .release(&house.lease, None)
        .await
        .expect("given back");
    assert_eq!(
        house.whereabouts(published[0].id).await.owned,
        Shards::default()
    );
}
