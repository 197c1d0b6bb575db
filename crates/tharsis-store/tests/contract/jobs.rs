//! Replays as jobs: how fast they go, and what becomes of two at a time.

use std::collections::BTreeSet;

use tharsis_core::{
    DeliveryId, ReplayId, SubscriptionId, Timestamp, delivery::End, filter::Filter,
    subscription::Held,
};
use tharsis_store::{
    Anew, By, DeliveryFilter, Outbox, Registry, Replay, ReplayChoice, ReplayDraft, ReplayKey,
    ReplayState, Status,
};

use crate::harness::{
    House, Store, add, asking, client, code, draft, enveloped, event, seconds, secret,
};

fn dead() -> DeliveryFilter {
    let mut filter = DeliveryFilter::default();
    filter.status = vec![Status::Ended(End::Dead)];
    filter
}

async fn asked(house: &House, draft: &ReplayDraft) -> ReplayId {
    let asked = house.store.replay(draft, house.now).await;
    asked.expect("asked").id
}

async fn ask(house: &House, choice: ReplayChoice) -> ReplayId {
    asked(house, &asking(&choice, ReplayKey::Same)).await
}

async fn state(house: &House, id: ReplayId) -> Replay {
    house.store.replay_state(id).await.expect("a replay")
}

/// Does all that can be done now, and says when there is more to do.
async fn until_then(house: &House, now: Timestamp) -> Option<Timestamp> {
    for _ in 0..1_000 {
        let done = house.store.work_off(&house.lease, now).await;
        let done = done.expect("worked off");
        if !done.more {
            return done.next;
        }
    }
    panic!("there is always more");
}

/// A subscription of the first client that is sent one at a time: so it has room for 64 of a replay.
async fn narrow(house: &mut House) -> tharsis_core::subscription::Subscription {
    let added = add(&house.store, 1, "narrow", house.now).await;
    let mut settings = added.settings.clone();
    settings.max_in_flight = 1;
    let set = house
        .store
        .set(added.id, &settings, Anew::default(), house.now)
        .await;
    house.reload().await;
    set.expect("changed")
}

pub(crate) async fn a_subscription_has_some_of_a_replay_at_a_time(store: Store) {
    let mut house = House::new(store).await;
    let narrow = narrow(&mut house).await;
    house.routed(400).await;
    house.end_all(&narrow, End::Dead).await;
    house.end_all(&house.ours, End::Delivered).await;
    house.end_all(&house.theirs, End::Dead).await;
    let mut filter = dead();
    filter.subscription = vec![narrow.id];
    let id = ask(&house, ReplayChoice::Filter(filter)).await;

    let (mut now, mut sent) = (house.now, BTreeSet::new());
    while state(&house, id).await.state != ReplayState::Done {
        let next = until_then(&house, now).await;
        let due = house.due(&narrow, now).await;
        assert!(due.len() <= 64, "{}", due.len());
        assert_eq!(state(&house, id).await.unfinished, due.len() as u64);
        // A few are not enough for a next step.
        let mut first = due.iter().take(60);
        let settled: Vec<_> = (first.by_ref())
            .map(|due| house.ended(due, End::Delivered))
            .collect();
        assert!(due.iter().take(60).all(|due| sent.insert(due.id)), "once");
        assert_eq!(house.settle(&settled).await, []);
        if let Some(next) = next {
            assert!(next > now && next <= now + seconds(1));
            now = next;
        }
    }
    sent.extend(house.due(&narrow, now).await.iter().map(|due| due.id));
    assert_eq!(sent.len(), 200);
    let done = state(&house, id).await;
    assert_eq!((done.examined, done.replayed), (200, 200));
    assert_eq!(house.due(&house.theirs, now).await.len(), 0);
}

pub(crate) async fn one_that_is_held_does_not_hold_up_the_others(store: Store) {
    let mut house = House::new(store).await;
    let narrow = narrow(&mut house).await;
    house.routed(1_600).await;
    for of in [&narrow, &house.ours, &house.theirs] {
        house.end_all(of, End::Dead).await;
    }
    house.store.pause(narrow.id, house.now).await.expect("held");
    let mut filter = dead();
    filter.client = Some(client(1));
    let id = ask(&house, ReplayChoice::Filter(filter)).await;

    let (mut now, mut sent) = (house.now, 0);
    for _ in 0..20 {
        let next = until_then(&house, now).await.expect("it waits");
        sent += house.due(&house.ours, now).await.len();
        house.end_all(&house.ours, End::Delivered).await;
        now = next;
    }
    assert_eq!(sent, 800);
    let waits = state(&house, id).await;
    assert_eq!(waits.state, ReplayState::Running);
    assert_eq!(waits.held_for, [narrow.id]);
    assert_eq!((waits.replayed, waits.unfinished), (864, 64));
    let left = house.store.remaining(now).await.expect("counted");
    assert_eq!(left.commands, 0, "nobody waits for what is held");

    let resumed = house.store.resume(narrow.id, Held::All, now).await;
    resumed.expect("let go");
    assert_eq!(
        house.store.remaining(now).await.expect("counted").commands,
        1
    );
    for _ in 0..40 {
        now = until_then(&house, now).await.unwrap_or(now);
        house.end_all(&narrow, End::Delivered).await;
    }
    let done = state(&house, id).await;
    assert_eq!((done.state, done.replayed), (ReplayState::Done, 1_600));
    assert_eq!((done.skipped, done.unfinished), (0, 0));
    assert_eq!(house.all(&dead()).await.len(), 800, "the other client's");
}

pub(crate) async fn a_rate_spreads_what_becomes_due(store: Store) {
    let house = House::new(store).await;
    house.routed(20).await;
    house.end_all(&house.ours, End::Dead).await;
    house.end_all(&house.theirs, End::Dead).await;
    let mut draft = asking(&ReplayChoice::Filter(dead()), ReplayKey::Same);
    draft.rate = Some("10/s".parse().expect("a rate"));
    draft.expected = Some(20);
    let id = asked(&house, &draft).await;
    let start = state(&house, id).await;
    assert_eq!((start.rate, start.expected), (draft.rate, Some(20)));

    let mut now = house.now + seconds(10);
    let mut looks = 0;
    while state(&house, id).await.state != ReplayState::Done {
        looks += 1;
        let next = until_then(&house, now).await;
        let made = state(&house, id).await.replayed;
        assert!(made <= 1 + looks, "{made} after {looks} looks");
        now = next.unwrap_or(now);
    }
    let far = now + seconds(100);
    let mut due: Vec<Timestamp> = Vec::new();
    for of in [&house.ours, &house.theirs] {
        due.extend(
            house
                .due(of, far)
                .await
                .iter()
                .map(|due| due.position.due_at),
        );
    }
    due.sort();
    assert_eq!(due.len(), 20);
    for two in due.windows(2) {
        assert_eq!(two[1].since(two[0]).as_millis(), 100);
    }
}

pub(crate) async fn a_replay_is_paused_resumed_and_called_off(store: Store) {
    let house = House::new(store).await;
    house.routed(8).await;
    house.end_all(&house.ours, End::Dead).await;
    house.end_all(&house.theirs, End::Dead).await;
    let mut ours = dead();
    ours.client = Some(client(1));
    let (store, now) = (&house.store, house.now);
    let id = ask(&house, ReplayChoice::Filter(ours)).await;
    let other = ask(&house, ReplayChoice::Filter(dead())).await;

    let paused = store
        .pause_replay(id, By::new("ann", now))
        .await
        .expect("paused");
    assert_eq!(paused.state, ReplayState::Paused);
    let cancelled = store.cancel_replay(other, By::new("bob", now)).await;
    let cancelled = cancelled.expect("called off");
    assert_eq!(
        (cancelled.state, cancelled.finished_at),
        (ReplayState::Cancelled, Some(now))
    );
    assert_eq!(until_then(&house, now + seconds(9)).await, None);
    assert_eq!(house.due(&house.ours, now + seconds(9)).await.len(), 0);
    let left = store.remaining(now).await.expect("counted");
    assert_eq!(left.commands, 0);

    let resumed = store
        .resume_replay(id, By::new("ann", now))
        .await
        .expect("resumed");
    assert_eq!(resumed.state, ReplayState::Waiting);
    house.work_off(now).await;
    assert_eq!(house.due(&house.ours, now).await.len(), 4);
    assert_eq!(house.due(&house.theirs, now).await.len(), 0);
    for over in [id, other] {
        for answer in [
            store.pause_replay(over, By::new("ann", now)).await,
            store.resume_replay(over, By::new("ann", now)).await,
            store.cancel_replay(over, By::new("ann", now)).await,
        ] {
            assert_eq!(code(answer), "replay_over");
        }
    }
    let nobody = ReplayId::new(now, [5; 10]);
    assert_eq!(
        code(store.pause_replay(nobody, By::new("ann", now)).await),
        "no replay"
    );

    let audit = house.audit().await;
    let told: Vec<_> = (audit.iter())
        .map(|entry| (&*entry.actor, &*entry.action, entry.subject.clone()))
        .collect();
    let (id, other) = (id.to_string(), other.to_string());
    assert_eq!(
        told,
        [
            ("ann", "replay.resumed", id.clone()),
            ("bob", "replay.cancelled", other.clone()),
            ("ann", "replay.paused", id.clone()),
            ("engine", "replay.asked", other),
            ("engine", "replay.asked", id),
        ]
    );
    assert!(audit[4].detail.contains("what matches"), "{:?}", audit[4]);
}

pub(crate) async fn of_two_replays_of_the_same_one_sends_it(store: Store) {
    let house = House::new(store).await;
    house.routed(6).await;
    let ids: Vec<DeliveryId> = (house.due(&house.ours, house.now).await.iter())
        .map(|due| due.id)
        .collect();
    house.end_all(&house.ours, End::Dead).await;
    house.end_all(&house.theirs, End::Dead).await;

    // By name both, and a filter beside them; what the first one sends fails at once.
    let first = ask(&house, ReplayChoice::Deliveries(ids.clone())).await;
    let second = ask(&house, ReplayChoice::Deliveries(ids.clone())).await;
    let third = ask(&house, ReplayChoice::Filter(dead())).await;
    for end in [End::Dead, End::Delivered, End::Dead] {
        let done = house.store.work_off(&house.lease, house.now).await;
        assert!(done.expect("worked off").more);
        house.end_all(&house.ours, end).await;
    }
    house.work_off(house.now).await;
    let counts = async |id| {
        let replay = state(&house, id).await;
        assert_eq!(replay.state, ReplayState::Done);
        (replay.examined, replay.replayed)
    };
    assert_eq!(counts(first).await, (3, 3));
    assert_eq!(counts(second).await, (3, 0));
    assert_eq!(counts(third).await, (6, 3), "those of the other client");
    assert_eq!(house.due(&house.theirs, house.now).await.len(), 3);

    // One that is asked for later takes them again.
    house.end_all(&house.theirs, End::Delivered).await;
    let later = ask(&house, ReplayChoice::Deliveries(ids)).await;
    house.work_off(house.now).await;
    assert_eq!(counts(later).await, (3, 3));
}

pub(crate) async fn what_is_on_its_way_when_a_replay_is_asked_for_is_not_sent_twice(store: Store) {
    let house = House::new(store).await;
    house.routed(4).await;
    let ids: Vec<DeliveryId> = (house.due(&house.ours, house.now).await.iter())
        .map(|due| due.id)
        .collect();
    house.end_all(&house.ours, End::Dead).await;
    let first = ask(&house, ReplayChoice::Deliveries(ids.clone())).await;
    house.work_off(house.now).await;
    assert_eq!(state(&house, first).await.state, ReplayState::Done);
    let second = ask(&house, ReplayChoice::Deliveries(ids)).await;
    house.end_all(&house.ours, End::Delivered).await;
    house.work_off(house.now).await;
    let second = state(&house, second).await;
    assert_eq!((second.replayed, second.skipped), (0, 2));
    assert_eq!(house.due(&house.theirs, house.now).await.len(), 2);
}

pub(crate) async fn what_was_never_delivered_goes_to_a_newer_subscription(store: Store) {
    let mut house = House::new(store).await;
    let soon = house.now + seconds(60);
    let mut events: Vec<_> = (0..12)
        .map(|n| event(client(1 + n % 2), n.into()))
        .collect();
    events.push(enveloped(
        client(1),
        77,
        &format!(r#""expires_at":"{soon}","#),
    ));
    house.publish(&events).await;
    house.route().await;
    house.end_all(&house.ours, End::Delivered).await;
    house.end_all(&house.theirs, End::Delivered).await;
    let newer = add(&house.store, 1, "newer", house.now).await;
    house.reload().await;
    // This one it gets anyhow, and the next is routed only later.
    house.publish(&[event(client(1), 90)]).await;
    house.route().await;
    house.end_all(&newer, End::Delivered).await;
    house.publish(&[event(client(1), 91)]).await;

    let missing = |of: SubscriptionId| ReplayChoice::Missing(of, DeliveryFilter::default());
    let tally = house
        .store
        .tally(&missing(newer.id), None)
        .await
        .expect("counted");
    assert_eq!(tally.counts, [(newer.id, 7)]);
    let id = ask(&house, missing(newer.id)).await;
    house.work_off(house.now + seconds(61)).await;
    let done = state(&house, id).await;
    assert_eq!(
        (done.state, done.examined, done.replayed, done.skipped),
        (ReplayState::Done, 7, 6, 1),
        "one has expired"
    );
    let due = house.due(&newer, house.now + seconds(61)).await;
    assert_eq!(due.len(), 6);
    assert!(due.iter().all(|due| due.attempts == 0));
    assert_eq!(house.due(&house.theirs, soon).await.len(), 0);
    house.end_all(&newer, End::Delivered).await;

    // It has all of them now, but for the one that is routed at last.
    house.route().await;
    house.end_all(&newer, End::Dead).await;
    let id = ask(&house, missing(newer.id)).await;
    house.work_off(house.now).await;
    assert_eq!(
        state(&house, id).await.replayed,
        2,
        "dead, and expired by no clock"
    );

    let wrong = ReplayChoice::Missing(newer.id, dead());
    let refused = asking(&wrong, ReplayKey::Same);
    let refused = house.store.replay(&refused, house.now).await;
    assert_eq!(code(refused), "bad_choice");
    let gone = house.store.remove(newer.id, house.now).await;
    gone.expect("removed");
    let refused = asking(&missing(newer.id), ReplayKey::Same);
    let refused = house.store.replay(&refused, house.now).await;
    assert_eq!(code(refused), "no subscription");
}

pub(crate) async fn only_what_its_filter_wants_is_missing(store: Store) {
    let mut house = House::new(store).await;
    let mut draft = draft(client(1), "picky");
    let events: Vec<_> = (0..200).map(|n| event(client(1), n)).collect();
    house.publish(&events).await;
    house.route().await;
    house.end_all(&house.ours, End::Delivered).await;
    draft.filter = Some("false".to_owned());
    let policy = tharsis_core::egress::Policy::default();
    let profiles = tharsis_core::profile::Profiles::default();
    let mut settings = draft.settings(&policy, &profiles).expect("settings");
    settings.events.clone_from(&house.ours.settings.events);
    let picky = house
        .store
        .add(&settings, &secret(1).into(), house.now)
        .await;
    let picky = picky.expect("added");
    house.reload().await;
    let missing = ReplayChoice::Missing(picky.id, DeliveryFilter::default());
    let id = ask(&house, missing.clone()).await;
    house.work_off(house.now).await;
    assert_eq!(state(&house, id).await.replayed, 0);

    let mut settings = picky.settings.clone();
    settings.filter = Some(Filter::parse("true").expect("a filter"));
    let set = house
        .store
        .set(picky.id, &settings, Anew::default(), house.now)
        .await;
    set.expect("changed");
    let id = ask(&house, missing).await;
    assert!(house.work_off(house.now).await > 3, "in chunks");
    assert_eq!(state(&house, id).await.replayed, 200);
}

pub(crate) async fn what_failed_since_then_is_chosen_and_counted(store: Store) {
    let house = House::new(store).await;
    house.routed(8).await;
    for of in [&house.ours, &house.theirs] {
        let due = house.due(of, house.now).await;
        let mut settled: Vec<_> = due.iter().map(|due| house.ended(due, End::Dead)).collect();
        settled[0].attempt.as_mut().expect("one").at = house.now + seconds(500);
        settled[1].attempt.as_mut().expect("one").at = house.now + seconds(600);
        assert_eq!(house.settle(&settled).await, []);
    }
    let mut filter = dead();
    filter.ended_since = Some(house.now + seconds(500));
    assert_eq!(house.all(&filter).await.len(), 4);
    let tally = house
        .store
        .tally(&ReplayChoice::Filter(filter.clone()), None)
        .await;
    let tally: BTreeSet<_> = tally.expect("counted").counts.into_iter().collect();
    assert_eq!(
        tally,
        [(house.ours.id, 2), (house.theirs.id, 2)]
            .into_iter()
            .collect()
    );
    filter.client = Some(client(2));
    let id = ask(&house, ReplayChoice::Filter(filter)).await;
    house.work_off(house.now).await;
    assert_eq!(state(&house, id).await.replayed, 2);
    assert_eq!(house.due(&house.theirs, house.now).await.len(), 2);
    assert_eq!(house.due(&house.ours, house.now).await.len(), 0);
}

pub(crate) async fn so_many_are_looked_at_and_no_more(store: Store) {
    let mut house = House::new(store).await;
    house.routed(20).await;
    house.end_all(&house.ours, End::Dead).await;
    house.end_all(&house.theirs, End::Dead).await;
    let mut rare = dead();
    rare.campaign = Some("none".to_owned());
    for (filter, looked, expected, may_be_more) in [
        (dead(), None, 20, false),
        (dead(), Some(100), 20, false),
        (dead(), Some(5), 5, true),
        (rare.clone(), Some(5), 0, true),
        (rare, None, 0, false),
    ] {
        let choice = ReplayChoice::Filter(filter);
        let tally = house.store.tally(&choice, looked).await.expect("counted");
        let count: u64 = tally.counts.iter().map(|(_, count)| count).sum();
        assert_eq!(
            (count, tally.may_be_more),
            (expected, may_be_more),
            "{looked:?}"
        );
    }

    let newer = add(&house.store, 1, "newer", house.now).await;
    house.reload().await;
    let missing = ReplayChoice::Missing(newer.id, DeliveryFilter::default());
    let all = house.store.tally(&missing, None).await.expect("counted");
    assert_eq!(
        (&*all.counts, all.may_be_more),
        (&[(newer.id, 10)][..], false)
    );
    let same = house.store.tally(&missing, Some(1_000)).await;
    assert_eq!(same.expect("counted"), all);
}

pub(crate) async fn another_subscription_of_the_client_gets_it_in_place_of_its_own(store: Store) {
    let mut house = House::new(store).await;
    house.routed(8).await;
    let other = add(&house.store, 1, "other", house.now).await;
    let sandbox = add(&house.store, 1, "sandbox", house.now).await;
    house.reload().await;
    house
        .publish(&[event(client(1), 100), event(client(2), 101)])
        .await;
    house.route().await;
    for of in [&house.ours, &house.theirs, &other, &sandbox] {
        house.end_all(of, End::Delivered).await;
    }
    let before = house.all(&DeliveryFilter::default()).await.len();

    // Of both of this client's, and of the other client's too: those it does not get.
    let mut draft = asking(
        &ReplayChoice::Filter(DeliveryFilter::default()),
        ReplayKey::Same,
    );
    draft.to = Some(sandbox.id);
    let id = asked(&house, &draft).await;
    house.work_off(house.now).await;
    let done = state(&house, id).await;
    assert_eq!((done.state, done.replayed), (ReplayState::Done, 5));
    assert_eq!(done.skipped, 5, "the other client's");
    let due = house.due(&sandbox, house.now).await;
    let events: BTreeSet<_> = due.iter().map(|due| due.id.event).collect();
    assert_eq!((due.len(), events.len()), (5, 5));
    for of in [&house.ours, &house.theirs, &other] {
        assert_eq!(house.due(of, house.now).await.len(), 0);
    }
    house.end_all(&sandbox, End::Dead).await;
    let all = house.all(&DeliveryFilter::default()).await;
    assert_eq!(
        all.len(),
        before + 4,
        "the one that it had is there already"
    );
    assert_eq!(house.all(&dead()).await.len(), 5, "and its alone");

    let gone = house.store.remove(sandbox.id, house.now).await;
    gone.expect("removed");
    let refused = house.store.replay(&draft, house.now).await;
    assert_eq!(code(refused), "no subscription");
}

pub(crate) async fn a_burst_for_one_that_is_held_does_not_hide_the_others(store: Store) {
    let house = House::new(store).await;
    let bursts: Vec<_> = (0..3_000).map(|n| event(client(1), n)).collect();
    house.publish(&bursts).await;
    let later: Vec<_> = (3_000..3_010).map(|n| event(client(2), n)).collect();
    house.publish(&later).await;
    house.route().await;
    house.end_all(&house.ours, End::Dead).await;
    house.end_all(&house.theirs, End::Dead).await;
    house
        .store
        .pause(house.ours.id, house.now)
        .await
        .expect("held");
    let id = ask(&house, ReplayChoice::Filter(dead())).await;
    until_then(&house, house.now).await.expect("it waits");
    assert_eq!(house.due(&house.theirs, house.now).await.len(), 10);
    let waits = state(&house, id).await;
    assert!(
        !waits.is_held,
        "not known before it was looked at by itself"
    );
    until_then(&house, house.now + seconds(1))
        .await
        .expect("it waits");
    let waits = state(&house, id).await;
    assert!(waits.is_held && waits.state == ReplayState::Running);
    assert_eq!(
        (&*waits.held_for, waits.replayed),
        (&[house.ours.id][..], 1_010)
    );
}

pub(crate) async fn a_replay_waits_for_what_lies_aside_and_nobody_waits_for_it(store: Store) {
    let mut house = House::new(store).await;
    let narrow = narrow(&mut house).await;
    let soon = house.now + seconds(3_600);
    let events: Vec<_> = (0..5_000)
        .map(|n| enveloped(client(1), n, &format!(r#""not_before":"{soon}","#)))
        .collect();
    house.publish(&events).await;
    house.publish(&[event(client(2), 9_000)]).await;
    house.route().await;
    for of in [&narrow, &house.ours, &house.theirs] {
        house.end_all(of, End::Dead).await;
    }
    let mut filter = dead();
    filter.subscription = vec![narrow.id];
    let id = ask(&house, ReplayChoice::Filter(filter)).await;
    let mut now = house.now;
    for _ in 0..80 {
        now = until_then(&house, now).await.expect("it waits");
    }
    let waits = state(&house, id).await;
    assert!(waits.is_held && waits.held_for.is_empty());
    assert!(waits.replayed <= 4_096, "{}", waits.replayed);
    let left = house.store.remaining(now).await.expect("counted");
    assert_eq!((left.commands, left.scheduled), (0, waits.replayed));
    assert_eq!(house.due(&house.theirs, now).await.len(), 0);
}

pub(crate) async fn of_two_that_are_asked_for_at_the_same_moment_one_sends_it(store: Store) {
    let house = House::new(store).await;
    house.routed(20).await;
    house.end_all(&house.ours, End::Dead).await;
    house.end_all(&house.theirs, End::Dead).await;
    for _ in 0..10 {
        let mut ours = dead();
        ours.client = Some(client(1));
        let draft = asking(&ReplayChoice::Filter(ours), ReplayKey::Same);
        let (one, other) = tokio::join!(
            house.store.replay(&draft, house.now),
            house.store.replay(&draft, house.now)
        );
        let ids = [one.expect("asked").id, other.expect("asked").id];
        // Each chunk ends dead before the next.
        let mut sent = 0;
        while house
            .store
            .work_off(&house.lease, house.now)
            .await
            .expect("worked off")
            .more
        {
            sent += house.due(&house.ours, house.now).await.len();
            house.end_all(&house.ours, End::Dead).await;
        }
        assert_eq!(sent, 10);
        let mut replayed = 0;
        for id in ids {
            replayed += state(&house, id).await.replayed;
        }
        assert_eq!(replayed, 10);
    }
    assert_eq!(house.due(&house.theirs, house.now).await.len(), 0);
}

pub(crate) async fn what_is_missing_of_a_campaign_is_found_among_what_has_none(store: Store) {
    let mut house = House::new(store).await;
    let of_spring = |n| enveloped(client(1), n, r#""campaign":"spring","#);
    house
        .publish(&[
            event(client(1), 1),
            of_spring(2),
            of_spring(3),
            event(client(2), 4),
        ])
        .await;
    house.route().await;
    house.end_all(&house.ours, End::Delivered).await;
    house.end_all(&house.theirs, End::Delivered).await;
    let newer = add(&house.store, 1, "newer", house.now).await;
    house.reload().await;
    let mut filter = DeliveryFilter::default();
    filter.campaign = Some("spring".to_owned());
    let missing = ReplayChoice::Missing(newer.id, filter);
    let tally = house.store.tally(&missing, None).await.expect("counted");
    assert_eq!(tally.counts, [(newer.id, 2)]);
    let id = ask(&house, missing).await;
    house.work_off(house.now).await;
    assert_eq!(state(&house, id).await.replayed, 2);
    assert_eq!(house.due(&newer, house.now).await.len(), 2);
    assert_eq!(house.due(&house.theirs, house.now).await.len(), 0);
}

pub(crate) async fn nothing_is_passed_by_where_it_goes_to_another_one_at_a_rate(store: Store) {
    let mut house = House::new(store).await;
    let other = add(&house.store, 1, "other", house.now).await;
    let sandbox = add(&house.store, 1, "sandbox", house.now).await;
    house.reload().await;
    house.routed(80).await;
    for of in [&house.ours, &house.theirs, &other, &sandbox] {
        house.end_all(of, End::Delivered).await;
    }
    let mut filter = DeliveryFilter::default();
    filter.subscription = vec![other.id];
    let mut draft = asking(&ReplayChoice::Filter(filter), ReplayKey::Same);
    draft.to = Some(sandbox.id);
    draft.rate = Some("100/s".parse().expect("a rate"));
    let id = asked(&house, &draft).await;
    let mut now = house.now;
    for _ in 0..100 {
        now = until_then(&house, now).await.unwrap_or(now);
    }
    let done = state(&house, id).await;
    assert_eq!(
        (done.state, done.examined, done.replayed),
        (ReplayState::Done, 40, 40)
    );
    assert_eq!(house.due(&sandbox, now + seconds(9)).await.len(), 40);
    assert_eq!(house.due(&house.theirs, now).await.len(), 0);
}

pub(crate) async fn one_that_is_held_while_it_is_waited_for_does_not_hold_up_the_other(
    store: Store,
) {
    let mut house = House::new(store).await;
    let narrow = narrow(&mut house).await;
    let mut settings = house.ours.settings.clone();
    settings.max_in_flight = 1;
    let set = house
        .store
        .set(house.ours.id, &settings, Anew::default(), house.now)
        .await;
    set.expect("changed");
    house.routed(200).await;
    for of in [&narrow, &house.ours, &house.theirs] {
        house.end_all(of, End::Dead).await;
    }
    let mut filter = dead();
    filter.client = Some(client(1));
    let id = ask(&house, ReplayChoice::Filter(filter)).await;
    let mut now = until_then(&house, house.now).await.expect("it waits");
    house.store.pause(house.ours.id, now).await.expect("held");
    let mut sent = 0;
    for _ in 0..10 {
        sent += house.due(&narrow, now).await.len();
        house.end_all(&narrow, End::Delivered).await;
        let left = house.store.remaining(now).await.expect("counted");
        assert!(sent == 100 || left.commands == 1, "{sent} were sent");
        now = until_then(&house, now).await.expect("it waits");
    }
    assert_eq!(sent, 100);
    assert_eq!(state(&house, id).await.held_for, [house.ours.id]);
    let left = house.store.remaining(now).await.expect("counted");
    assert_eq!(left.commands, 0);
    assert_eq!(house.due(&house.theirs, now).await.len(), 0);
}

pub(crate) async fn what_had_failed_before_a_replay_was_asked_for_is_taken_again(store: Store) {
    let house = House::new(store).await;
    house.routed(8).await;
    house.end_all(&house.ours, End::Dead).await;
    house.end_all(&house.theirs, End::Dead).await;
    let mut ours = dead();
    ours.client = Some(client(1));
    let mut draft = asking(&ReplayChoice::Filter(ours.clone()), ReplayKey::Same);
    draft.rate = Some("5/h".parse().expect("a rate"));
    let slow = asked(&house, &draft).await;
    until_then(&house, house.now).await.expect("it waits");
    assert_eq!(state(&house, slow).await.replayed, 1);
    house.end_all(&house.ours, End::Dead).await;
    house
        .store
        .pause_replay(slow, By::new("sre", house.now))
        .await
        .expect("paused");

    let later = house.now + seconds(60);
    let again = asking(&ReplayChoice::Filter(ours), ReplayKey::Same);
    let again = house.store.replay(&again, later).await.expect("asked").id;
    house.work_off(later).await;
    let done = state(&house, again).await;
    assert_eq!((done.replayed, done.skipped), (4, 0), "also that one");
    assert_eq!(house.due(&house.theirs, later).await.len(), 0);
}

pub(crate) async fn a_replay_of_one_client_takes_nothing_of_another(store: Store) {
    let house = House::new(store).await;
    house.routed(8).await;
    let [ours, theirs] = [
        house.due(&house.ours, house.now).await[0].id,
        house.due(&house.theirs, house.now).await[0].id,
    ];
    house.end_all(&house.ours, End::Dead).await;
    house.end_all(&house.theirs, End::Dead).await;
    let of_ours = |choice: ReplayChoice| {
        let mut draft = asking(&choice, ReplayKey::Same);
        draft.client = Some(client(1));
        draft
    };
    let named = |id: DeliveryId| ReplayChoice::Deliveries(vec![id]);
    let missing = |of: SubscriptionId| ReplayChoice::Missing(of, DeliveryFilter::default());
    let mut of_theirs = dead();
    of_theirs.client = Some(client(2));

    // What names nobody takes of that client alone.
    let all = asked(&house, &of_ours(ReplayChoice::Filter(dead()))).await;
    house.work_off(house.now).await;
    let done = state(&house, all).await;
    assert_eq!(done.client, Some(client(1)));
    assert_eq!((done.examined, done.replayed), (4, 4));
    assert_eq!(house.due(&house.ours, house.now).await.len(), 4);
    assert_eq!(house.due(&house.theirs, house.now).await.len(), 0);
    house.end_all(&house.ours, End::Dead).await;

    // What is another's is not there, and nothing is asked for.
    let refused = async |draft: ReplayDraft| code(house.store.replay(&draft, house.now).await);
    assert_eq!(refused(of_ours(named(theirs))).await, "no delivery");
    let beside = ReplayChoice::Deliveries(vec![ours, theirs]);
    assert_eq!(refused(of_ours(beside)).await, "no delivery");
    let theirs_lack = missing(house.theirs.id);
    assert_eq!(refused(of_ours(theirs_lack)).await, "no subscription");
    let mut to_theirs = of_ours(named(ours));
    to_theirs.to = Some(house.theirs.id);
    assert_eq!(refused(to_theirs).await, "no subscription");
    let theirs_failed = ReplayChoice::Filter(of_theirs.clone());
    assert_eq!(refused(of_ours(theirs_failed)).await, "bad_choice");

    // Each sees its own, and who sees all sees all.
    let one = asked(&house, &of_ours(named(ours))).await;
    let lack = asked(&house, &of_ours(missing(house.ours.id))).await;
    let both = ask(&house, ReplayChoice::Filter(dead())).await;
    let of_theirs = ask(&house, ReplayChoice::Filter(of_theirs)).await;
    let listed = async |of: Option<u8>| {
        let list = house.store.replays(of.map(client)).await;
        let ids = list.expect("a list").into_iter().map(|replay| replay.id);
        ids.collect::<Vec<_>>()
    };
    assert_eq!(listed(None).await, [of_theirs, both, lack, one, all]);
    assert_eq!(listed(Some(1)).await, [lack, one, all]);
    assert_eq!(listed(Some(2)).await, [of_theirs]);
    assert_eq!(listed(Some(3)).await, []);
    assert_eq!(state(&house, both).await.client, None);

    let by = By::new("ann", house.now);
    let paused = house.store.pause_replay(one, by).await;
    assert_eq!(paused.expect("paused").client, Some(client(1)));
    let resumed = house.store.resume_replay(one, by).await;
    resumed.expect("resumed");
    for called_off in [both, of_theirs] {
        let cancelled = house.store.cancel_replay(called_off, by).await;
        cancelled.expect("called off");
    }
    let kept = async |of: u8| {
        let page = house.store.audit(Some(client(of)), None, 100).await;
        let entries = page.expect("the audit").items.into_iter();
        entries.map(|entry| entry.action).collect::<Vec<_>>()
    };
    assert_eq!(
        kept(1).await,
        [
            "replay.resumed",
            "replay.paused",
            "replay.asked",
            "replay.asked",
            "replay.asked",
            "subscription.added",
        ]
    );
    assert_eq!(
        kept(2).await,
        ["replay.cancelled", "replay.asked", "subscription.added"]
    );

    house.work_off(house.now).await;
    let mut replayed = 0;
    for id in [one, lack] {
        replayed += state(&house, id).await.replayed;
    }
    assert_eq!(replayed, 4, "each once");
    assert_eq!(house.due(&house.ours, house.now).await.len(), 4);
    assert_eq!(house.due(&house.theirs, house.now).await.len(), 0);
}
