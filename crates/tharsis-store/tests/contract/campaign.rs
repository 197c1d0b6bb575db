//! Campaigns that are stopped. Two clients have one of the same name each.

use std::collections::BTreeMap;

use tharsis_core::{ClientId, DeliveryId, delivery::End, event::Event, subscription::Subscription};
use tharsis_store::{
    Campaign, DeliveryFilter, Due, Fate, Named, Outbox, Position, Published, Registry,
    ReplayChoice, ReplayKey, Settlement, Status, StopState,
};

use crate::harness::{House, Store, asking, client, code, enveloped, event, seconds};

const NONE: [Position; 0] = [];

fn spring(of: ClientId) -> Campaign {
    Campaign {
        client: of,
        name: "spring".to_owned(),
        recipient: None,
    }
}

fn for_ann(of: ClientId) -> Campaign {
    Campaign {
        recipient: Some("ann".to_owned()),
        ..spring(of)
    }
}

fn of_spring(of: ClientId, n: u32, recipient: &str) -> Event {
    enveloped(
        of,
        n,
        &format!(r#""campaign":"spring","recipient":"{recipient}","#),
    )
}

fn aside(due: &Due) -> Settlement {
    Settlement {
        position: due.position,
        event: due.id.event,
        attempts: due.attempts,
        attempt: None,
        fate: Fate::Aside,
        key: None,
        suspend: None,
        certificate_ends: None,
    }
}

fn id(event: Published, of: &Subscription) -> DeliveryId {
    DeliveryId {
        event: event.id,
        subscription: of.id,
    }
}

impl House {
    /// Of each client one of spring for Ann, one of spring for Bob, and one of no campaign, in this order.
    async fn campaigns(&self) -> [Vec<Published>; 2] {
        let mut all = Vec::new();
        for of in [client(1), client(2)] {
            let events = [
                of_spring(of, 1, "ann"),
                of_spring(of, 2, "bob"),
                event(of, 3),
            ];
            all.push(self.publish(&events).await);
        }
        self.route().await;
        all.try_into().expect("two")
    }

    async fn pause_campaign(&self, campaign: &Campaign) {
        let stop = self
            .store
            .pause_campaign(campaign, self.now)
            .await
            .expect("paused");
        assert_eq!((&stop.campaign, stop.state), (campaign, StopState::Paused));
    }

    async fn cancel_campaign(&self, campaign: &Campaign) {
        let stop = self
            .store
            .cancel_campaign(campaign, self.now)
            .await
            .expect("cancelled");
        assert_eq!(
            (&stop.campaign, stop.state),
            (campaign, StopState::Cancelled)
        );
    }

    /// Lifts its stop, and lets the owner do what follows from that.
    async fn resume_campaign(&self, campaign: &Campaign) {
        let lifted = self
            .store
            .resume_campaign(campaign, self.now)
            .await
            .expect("resumed");
        assert_eq!(lifted.expect("it was stopped").campaign, *campaign);
        self.work_off(self.now).await;
    }

    /// Sets aside all of spring that is due of one subscription, as an owner does that knows of the pause.
    async fn set_aside(&self, of: &Subscription) -> Vec<Position> {
        let due = self.due(of, self.now).await;
        let is_spring = |due: &&Due| due.named.is_some();
        let settlements: Vec<_> = due.iter().filter(is_spring).map(aside).collect();
        self.settle(&settlements).await
    }

    async fn status(&self, event: Published, of: &Subscription) -> Status {
        self.row(id(event, of)).await.status
    }
}

pub(crate) async fn what_rows_and_pointers_are_of_is_told_while_something_is_stopped(store: Store) {
    let house = House::new(store).await;
    house.campaigns().await;
    let named = async || -> Vec<Option<Named>> {
        let due = house.due(&house.ours, house.now).await;
        due.into_iter()
            .map(|due| due.named.map(|named| *named))
            .collect()
    };
    assert_eq!(named().await, [None, None, None]);
    let late = house.publish(&[of_spring(client(1), 7, "ann")]).await;
    let pointers = async || {
        let pointers = house
            .store
            .pointers(&house.lease, 10)
            .await
            .expect("pointers");
        assert_eq!(pointers.events.len(), 1);
        assert_eq!(pointers.events[0].event, late[0].id);
        pointers.events[0].named.clone().map(|named| *named)
    };
    assert_eq!(pointers().await, None);

    let before = house.store.snapshot().await.expect("a snapshot");
    assert!(before.stops.is_empty());
    house.changed().await;
    house.pause_campaign(&for_ann(client(2))).await;
    assert!(house.changed().await, "the owner is told");
    let snapshot = house.store.snapshot().await.expect("a snapshot");
    assert!(snapshot.revision > before.revision);
    let first = snapshot.stops[0].clone();
    assert_eq!(
        (&first.campaign, first.state, first.since),
        (&for_ann(client(2)), StopState::Paused, house.now)
    );
    let of = |recipient: &str| {
        Some(Named {
            campaign: Some("spring".into()),
            recipient: Some(recipient.into()),
        })
    };
    assert_eq!(named().await, [of("ann"), of("bob"), None]);
    assert_eq!(pointers().await, of("ann"));

    // Twice is once.
    let again = house
        .store
        .pause_campaign(&for_ann(client(2)), house.now + seconds(9))
        .await;
    assert_eq!(again.expect("paused"), first);
    house.resume_campaign(&for_ann(client(2))).await;
    let lifted = house
        .store
        .resume_campaign(&for_ann(client(2)), house.now)
        .await;
    assert_eq!(lifted.expect("resumed"), None);
    assert_eq!(named().await, [None, None, None]);
    house.pause_campaign(&for_ann(client(2))).await;
    let snapshot = house.store.snapshot().await.expect("a snapshot");
    assert_ne!(snapshot.stops[0].seq, first.seq, "it is another one");
}

pub(crate) async fn what_is_paused_goes_aside_and_comes_back(store: Store) {
    let house = House::new(store).await;
    let [ours, theirs] = house.campaigns().await;
    // One was tried before.
    let due = house.due(&house.ours, house.now).await;
    assert_eq!(house.settle(&[house.again(&due[1], house.now)]).await, NONE);
    let before = house.due(&house.ours, house.now).await;

    house.pause_campaign(&spring(client(1))).await;
    let others = house.set_aside(&house.theirs).await;
    assert_eq!(others.len(), 2, "theirs is not paused");
    assert_eq!(house.set_aside(&house.ours).await, NONE);
    let due = house.due(&house.ours, house.now).await;
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].id.event, ours[2].id);
    assert_eq!(house.due(&house.theirs, house.now).await.len(), 3);
    let lanes = house.store.lanes(&house.lease).await.expect("lanes");
    assert_eq!(lanes.len(), 2);

    assert_eq!(house.status(ours[0], &house.ours).await, Status::Held);
    assert_eq!(house.status(ours[1], &house.ours).await, Status::Held);
    assert_eq!(house.status(ours[2], &house.ours).await, Status::Pending);
    assert_eq!(
        house.status(theirs[0], &house.theirs).await,
        Status::Pending
    );
    let mut held = DeliveryFilter::default();
    held.status = vec![Status::Held];
    assert_eq!(house.all(&held).await.len(), 2);
    let remaining = house.store.remaining(house.now).await.expect("counted");
    assert_eq!((remaining.held, remaining.pending), (2, 4));

    // Who hurries one does not let it go.
    let hurried = house.store.retry(id(ours[0], &house.ours), house.now).await;
    hurried.expect("asked for");
    house.work_off(house.now).await;
    assert_eq!(house.due(&house.ours, house.now).await.len(), 1);

    house.resume_campaign(&spring(client(1))).await;
    let names = |due: &[Due]| -> Vec<_> {
        due.iter()
            .map(|due| (due.id.event, due.attempts, due.spent, due.position))
            .collect()
    };
    let mut back = house.due(&house.ours, house.now).await;
    assert!(
        back.iter()
            .all(|due| due.position.lane == 0 && due.named.is_none())
    );
    back.sort_by_key(|due| due.position);
    assert_eq!(names(&back), names(&before), "as they were");
    // What comes late leaves nothing behind.
    let late: Vec<_> = back.iter().map(aside).collect();
    assert_eq!(house.settle(&late).await.len(), 3);
    assert_eq!(house.due(&house.ours, house.now).await.len(), 3);
}

pub(crate) async fn a_cancelled_campaign_ends_what_there_is_of_it_wherever_it_lies(store: Store) {
    let house = House::new(store).await;
    let [ours, theirs] = house.campaigns().await;
    house.pause_campaign(&for_ann(client(1))).await;
    let ann = house.due(&house.ours, house.now).await.remove(0);
    assert_eq!(house.settle(&[aside(&ann)]).await, NONE);

    house.cancel_campaign(&spring(client(1))).await;
    house.cancel_campaign(&spring(client(1))).await;
    let paused = house
        .store
        .pause_campaign(&spring(client(1)), house.now)
        .await;
    assert_eq!(code(paused), "campaign_cancelled");
    // Published later, and routed by somebody who did not know: not the command's.
    let late = house.publish(&[of_spring(client(1), 8, "bob")]).await;
    house.route().await;
    house.work_off(house.now).await;
    for event in [ours[0], ours[1]] {
        let detail = house
            .store
            .delivery(id(event, &house.ours))
            .await
            .expect("there");
        assert_eq!(detail.row.status, Status::Ended(End::Cancelled));
        assert_eq!(detail.row.code.as_deref(), Some("campaign_cancelled"));
        assert_eq!(detail.attempts[0].attempt.number, 0);
    }
    assert_eq!(house.status(ours[2], &house.ours).await, Status::Pending);
    assert_eq!(house.status(late[0], &house.ours).await, Status::Pending);
    for event in &theirs {
        assert_eq!(house.status(*event, &house.theirs).await, Status::Pending);
    }

    house.resume_campaign(&spring(client(1))).await;
    assert_eq!(
        house.status(ours[1], &house.ours).await,
        Status::Ended(End::Cancelled)
    );
    let chosen = ReplayChoice::Deliveries(vec![id(ours[1], &house.ours)]);
    let replay = house
        .store
        .replay(&asking(&chosen, ReplayKey::Same), house.now)
        .await;
    replay.expect("asked for");
    house.work_off(house.now).await;
    assert_eq!(house.status(ours[1], &house.ours).await, Status::Pending);
}

pub(crate) async fn a_recipient_is_held_by_a_stop_of_its_own(store: Store) {
    let house = House::new(store).await;
    let [ours, _] = house.campaigns().await;
    house.pause_campaign(&spring(client(1))).await;
    house.pause_campaign(&for_ann(client(1))).await;
    assert_eq!(house.set_aside(&house.ours).await, NONE);
    house.resume_campaign(&spring(client(1))).await;
    assert_eq!(house.status(ours[0], &house.ours).await, Status::Held);
    assert_eq!(house.status(ours[1], &house.ours).await, Status::Pending);

    house.pause_campaign(&spring(client(1))).await;
    house.resume_campaign(&for_ann(client(1))).await;
    assert_eq!(
        house.status(ours[0], &house.ours).await,
        Status::Held,
        "with all the others"
    );
    house.resume_campaign(&spring(client(1))).await;
    assert_eq!(house.status(ours[0], &house.ours).await, Status::Pending);
    assert_eq!(house.due(&house.ours, house.now).await.len(), 3);

    house.cancel_campaign(&for_ann(client(1))).await;
    house.work_off(house.now).await;
    assert_eq!(
        house.status(ours[0], &house.ours).await,
        Status::Ended(End::Cancelled)
    );
    assert_eq!(house.status(ours[1], &house.ours).await, Status::Pending);
}

pub(crate) async fn what_lies_aside_ends_like_all_else(store: Store) {
    let house = House::new(store).await;
    let [ours, theirs] = house.campaigns().await;
    let read = house.due(&house.ours, house.now).await;
    house.pause_campaign(&spring(client(1))).await;
    house.pause_campaign(&spring(client(2))).await;
    assert_eq!(house.set_aside(&house.ours).await, NONE);
    assert_eq!(house.set_aside(&house.theirs).await, NONE);

    // A request was under way, and its success counts.
    assert_eq!(
        house.settle(&[house.ended(&read[0], End::Delivered)]).await,
        NONE
    );
    assert_eq!(
        house.status(ours[0], &house.ours).await,
        Status::Ended(End::Delivered)
    );
    let failed = house.again(&read[1], house.now + seconds(5));
    assert_eq!(
        house.settle(&[failed]).await,
        [read[1].position],
        "it lies elsewhere"
    );
    let cancelled = house
        .store
        .cancel(id(ours[1], &house.ours), house.now)
        .await;
    cancelled.expect("asked for");
    house.work_off(house.now).await;
    assert_eq!(
        house.status(ours[1], &house.ours).await,
        Status::Ended(End::Cancelled)
    );

    let removed = house
        .store
        .remove(house.theirs.id, house.now)
        .await
        .expect("removed");
    assert_eq!(removed.unfinished, 3);
    house.work_off(house.now).await;
    for event in theirs {
        assert_eq!(
            house.status(event, &house.theirs).await,
            Status::Ended(End::Cancelled)
        );
    }
    let remaining = house.store.remaining(house.now).await.expect("counted");
    assert_eq!(
        (remaining.held, remaining.pending, remaining.commands),
        (0, 1, 0)
    );
}

pub(crate) async fn a_long_campaign_is_let_go_and_ended_in_chunks(store: Store) {
    let house = House::new(store).await;
    let events: Vec<Event> = (0..1_300)
        .map(|n| match n % 4 {
            0 => event(client(1), n),
            _ => of_spring(client(1), n, "ann"),
        })
        .collect();
    house.publish(&events).await;
    house.route().await;
    house.pause_campaign(&spring(client(1))).await;
    for chunk in house.due(&house.ours, house.now).await.chunks(400) {
        let of_it = chunk.iter().filter(|due| due.named.is_some());
        let settlements: Vec<_> = of_it.map(aside).collect();
        assert_eq!(house.settle(&settlements).await, NONE);
    }
    assert_eq!(house.due(&house.ours, house.now).await.len(), 325);
    let lifted = house
        .store
        .resume_campaign(&spring(client(1)), house.now)
        .await;
    lifted.expect("resumed");
    let first = house
        .store
        .work_off(&house.lease, house.now)
        .await
        .expect("worked off");
    assert_eq!(first.lanes[0].subscription, house.number(&house.ours));
    assert_eq!(
        house.due(&house.ours, house.now).await.len(),
        825,
        "a chunk of 500"
    );
    house.work_off(house.now).await;
    let due = house.due(&house.ours, house.now).await;
    assert_eq!(due.len(), 1_300);
    assert!(due.is_sorted_by_key(|due| due.position));

    house.cancel_campaign(&spring(client(1))).await;
    assert!(house.work_off(house.now).await >= 3);
    assert_eq!(house.due(&house.ours, house.now).await.len(), 325);
}

pub(crate) async fn what_has_expired_is_told_as_such_whatever_holds_it(store: Store) {
    let house = House::new(store).await;
    let expired = r#""campaign":"spring","expires_at":"2020-01-01T00:00:00Z","#;
    let to_come = r#""campaign":"spring","expires_at":"2999-01-01T00:00:00Z","#;
    let events = [
        enveloped(client(1), 1, expired),
        enveloped(client(1), 2, to_come),
        enveloped(client(2), 1, expired),
    ];
    let published = house.publish(&events).await;
    house.route().await;
    house.pause_campaign(&spring(client(1))).await;
    assert_eq!(house.set_aside(&house.ours).await, NONE);
    let subscriptions = [&house.ours, &house.ours, &house.theirs];
    let told = [
        Status::Ended(End::Expired),
        Status::Held,
        Status::Ended(End::Expired),
    ];
    for ((event, of), expected) in published.iter().zip(subscriptions).zip(told) {
        assert_eq!(house.status(*event, of).await, expected);
        let shown = house.store.event(event.id).await.expect("there");
        assert_eq!(shown.deliveries[0].status, expected);
    }
    let by = async |status: Status| {
        let mut filter = DeliveryFilter::default();
        filter.status = vec![status];
        house.all(&filter).await.len()
    };
    assert_eq!(by(Status::Ended(End::Expired)).await, 2);
    assert_eq!(by(Status::Held).await, 1);
    assert_eq!(by(Status::Pending).await, 0);
    assert_eq!(by(Status::Ended(End::Dead)).await, 0);
}

pub(crate) async fn a_report_counts_one_clients_campaign(store: Store) {
    let house = House::new(store).await;
    let [_, theirs] = house.campaigns().await;
    let report = async |campaign: &Campaign| house.store.campaign(campaign).await.expect("told");
    let all = report(&spring(client(1))).await;
    assert_eq!((all.published, all.pending, all.held), (2, 2, 0));
    assert_eq!((all.stop, all.recipients.len()), (None, 0));

    house.pause_campaign(&for_ann(client(1))).await;
    let due = house.due(&house.ours, house.now).await;
    let mut delivered = house.ended(&due[1], End::Delivered);
    let attempt = delivered.attempt.as_mut().expect("there");
    attempt.at = house.now;
    assert_eq!(house.settle(&[delivered]).await, NONE);
    let all = report(&spring(client(1))).await;
    assert_eq!(
        (all.published, all.pending, all.held, all.delivered),
        (2, 0, 1, 1)
    );
    assert_eq!(all.delivered_last_minute, 1);
    assert_eq!(all.slowest.len(), 1);
    let slow = &all.slowest[0];
    assert_eq!((slow.subscription, slow.attempts), (house.ours.id, 1));
    assert_eq!((slow.mean, slow.p95), (slow.p95, slow.mean));
    assert_eq!(slow.p95.as_micros(), 1_234);
    assert_eq!((all.stop.is_some(), all.recipients.len()), (false, 1));
    let ann = report(&for_ann(client(1))).await;
    assert_eq!((ann.published, ann.held, ann.delivered), (1, 1, 0));
    assert_eq!(ann.stop.map(|stop| stop.state), Some(StopState::Paused));

    // Theirs is another.
    let dead = house.due(&house.theirs, house.now).await;
    assert_eq!(
        house.settle(&[house.ended(&dead[0], End::Dead)]).await,
        NONE
    );
    house.cancel_campaign(&spring(client(2))).await;
    house.work_off(house.now).await;
    let all = report(&spring(client(2))).await;
    assert_eq!((all.published, all.cancelled, all.pending), (2, 1, 0));
    assert_eq!(all.dead, BTreeMap::from([("http_500".to_owned(), 1)]));
    assert_eq!(all.stop.map(|stop| stop.state), Some(StopState::Cancelled));
    assert_eq!(
        house.status(theirs[2], &house.theirs).await,
        Status::Pending
    );
}

pub(crate) async fn the_clients_of_a_campaign_are_found(store: Store) {
    let house = House::new(store).await;
    let clients = async |name: &str| house.store.campaign_clients(name).await.expect("found");
    assert_eq!(clients("spring").await, []);
    house.publish(&[of_spring(client(2), 1, "ann")]).await;
    assert_eq!(clients("spring").await, [client(2)]);
    house.campaigns().await;
    assert_eq!(clients("spring").await, [client(1), client(2)]);
    assert_eq!(clients("autumn").await, []);
    // One that is still to come.
    let autumn = Campaign {
        name: "autumn".to_owned(),
        ..spring(client(1))
    };
    house.pause_campaign(&autumn).await;
    assert_eq!(clients("autumn").await, [client(1)]);
}
