use std::{sync::Arc, time::Duration};

use tharsis_core::{
    SubscriptionId,
    delivery::End,
    egress::{PayloadUrl, Policy},
    health::{Condition, Health},
    profile::{Batch, Declaration, NUDGE, Profiles, Requirement},
    retry::RetryPolicy,
    secret::Secret,
    subscription::{Credentials, Draft, Held, Retiring, Settings, State, header::OwnHeader},
};
use tharsis_store::{
    Anew, CommandAccepted, DeliveryFilter, Outbox, Registry, Settlement, Status, Transition,
};

use crate::harness::{
    House, Store, add, asking, client, code, draft, event, seconds, secret, settings, standard,
    standard_secret,
};

pub(crate) async fn a_subscription_comes_back_as_it_was_added(store: Store) {
    let house = House::new(store).await;
    let mut wanted = settings(client(1), "Café 5");
    wanted.retry =
        RetryPolicy::new(vec![Duration::from_millis(1_500), seconds(60)]).expect("a policy");
    wanted.timeout = Duration::from_millis(1_200);
    wanted.max_in_flight = 3;
    let added = house
        .store
        .add(&wanted, &Credentials::default(), house.now)
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

pub(crate) async fn what_a_profile_leaves_to_it_comes_back(store: Store) {
    let house = House::new(store).await;
    let checked = |draft: Draft| {
        let settings = draft.settings(&Policy::default(), &Profiles::default());
        settings.expect("settings")
    };
    let activities = Draft {
        profile: Some("smartech".to_owned()),
        profile_settings: [("panel".to_owned(), "shop \"1\"".to_owned())].into(),
        ..draft(client(1), "activities")
    };
    let few = checked(Draft {
        payload_limit: Some(50_000),
        rate: Some("300/m".to_owned()),
        batch_items: Some(7),
        linger: Some("250ms".to_owned()),
        profile_settings: [("panel", "Café"), ("label", "SMS")]
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into(),
        fields: vec!["webhook_name".to_owned(), "att_params.CITY".to_owned()],
        filter: Some(r#"event.att_params.CITY == "Thane&Kalyan""#.to_owned()),
        ..activities.clone()
    });
    let added = house
        .store
        .add(&few, &Credentials::default(), house.now)
        .await
        .expect("added");
    assert_eq!(added.settings, few);
    assert_eq!(
        house.store.find(added.id).await.expect("found").settings,
        few
    );

    // And goes again.
    let plain = checked(activities);
    let changed = house
        .store
        .set(added.id, &plain, Anew::default(), house.now)
        .await
        .expect("changed");
    assert_eq!(changed.settings, plain);
    let profile = &plain.profile;
    assert_eq!(
        (plain.payload_limit, plain.batch),
        (profile.payload_limit, profile.batch)
    );
    assert_eq!(
        (plain.fields.is_all(), plain.filter, plain.rate),
        (true, None, None)
    );
    let alone = Settings {
        batch: Some(Batch {
            items: 1,
            linger: Duration::ZERO,
        }),
        ..few
    };
    let changed = house
        .store
        .set(added.id, &alone, Anew::default(), house.now)
        .await;
    assert_eq!(changed.expect("changed").settings, alone);
    let snapshot = house.store.snapshot().await.expect("a snapshot");
    let mut targets = snapshot.targets.iter().map(|(_, t)| &t.subscription);
    let target = targets.find(|subscription| subscription.id == added.id);
    assert_eq!(target.map(|found| &found.settings), Some(&alone));
}

pub(crate) async fn headers_of_its_own_are_kept_and_replaced(store: Store) {
    let house = House::new(store).await;
    let wanted = settings(client(1), "with headers");
    let header = |name, value| OwnHeader::new(name, value).expect("a header");
    let first = vec![
        header("x-shop", "7"),
        OwnHeader::basic("shop", "opensesame").expect("a header"),
    ];
    let credentials = Credentials {
        secret: Some(secret(3)),
        headers: first.clone(),
        ..Credentials::default()
    };
    let added = house
        .store
        .add(&wanted, &credentials, house.now)
        .await
        .expect("added");
    let id = added.id;
    assert_eq!(added.headers, ["x-shop", "authorization"]);
    let present = async || house.store.credentials(id).await.expect("credentials");
    assert_eq!(present().await, credentials);

    let set = async |headers: Option<&[OwnHeader]>| {
        let anew = Anew {
            headers,
            ..Anew::default()
        };
        house.store.set(id, &wanted, anew, house.now).await
    };
    assert_eq!(set(None).await.expect("set").headers, added.headers);
    let rotated = house
        .store
        .rotate(id, Some(&secret(4)), None, house.now)
        .await
        .expect("rotated");
    assert_eq!(rotated.headers, added.headers);
    assert_eq!(present().await.headers, first);

    let second = [header("x-till", "8"), header("x-shop", "9")];
    let changed = set(Some(&second)).await.expect("set");
    assert_eq!(changed.headers, ["x-till", "x-shop"]);
    assert_eq!(present().await.headers, second);
    assert_eq!(present().await.secret, Some(secret(4)));
    let reserved = [header("x-mars-signature", "sha1=")];
    assert_eq!(code(set(Some(&reserved)).await), "reserved_header");
    assert_eq!(present().await.headers, second, "left as they were");
    let snapshot = house.store.snapshot().await.expect("a snapshot");
    let mut targets = snapshot.targets.iter();
    let target = targets.find(|(_, target)| target.subscription.id == id);
    let (_, target) = target.expect("a target");
    assert_eq!(target.credentials, present().await);

    let none = set(Some(&[])).await.expect("set");
    assert_eq!(none.headers, [""; 0]);
    set(Some(&first)).await.expect("set");
    house.store.remove(id, house.now).await.expect("removed");
    assert_eq!(code(house.store.credentials(id).await), "no subscription");
    let again = house
        .store
        .add(&wanted, &Credentials::default(), house.now)
        .await
        .expect("its name is free");
    assert_eq!(
        house.store.credentials(again.id).await.expect("none"),
        Credentials::default()
    );
}

pub(crate) async fn names_are_taken_once_for_each_client(store: Store) {
    let house = House::new(store).await;
    let add = async |of, name| {
        house
            .store
            .add(
                &settings(client(of), name),
                &Credentials::default(),
                house.now,
            )
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
                .set(
                    other.id,
                    &settings(client(1), "café"),
                    Anew::default(),
                    house.now
                )
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

pub(crate) async fn settings_change_but_not_whose_they_are(store: Store) {
    let house = House::new(store).await;
    let later = house.now + seconds(9);
    let changed = house
        .store
        .set(
            house.ours.id,
            &settings(client(1), "renamed"),
            Anew::default(),
            later,
        )
        .await
        .expect("changed");
    assert_eq!(changed.settings, settings(client(1), "renamed"));
    assert_eq!((changed.created_at, changed.updated_at), (house.now, later));
    assert_eq!(changed.secret_fingerprint, house.ours.secret_fingerprint);
    let stolen = house
        .store
        .set(
            house.ours.id,
            &settings(client(2), "renamed"),
            Anew::default(),
            later,
        )
        .await;
    assert_eq!(code(stolen), "not_changeable");
}

pub(crate) async fn pause_and_resume(store: Store) {
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
            .resume(house.ours.id, Held::All, house.now)
            .await
            .expect("resumed")
            .state,
        State::Active
    );
    assert_eq!(house.row(id).await.status, Status::Pending);
}

pub(crate) async fn secrets_are_sealed_and_rotated(store: Store) {
    let house = House::new(store).await;
    let id = house.ours.id;
    let present = async |id| {
        let credentials = house.store.credentials(id).await.expect("credentials");
        credentials.secret
    };
    assert_eq!(present(id).await, Some(secret(1)));
    assert_eq!(house.ours.secret_fingerprint, Some(secret(1).fingerprint()));
    assert_eq!(
        code(
            house
                .store
                .rotate(id, Some(&secret(1)), None, house.now)
                .await
        ),
        "secret_reused"
    );

    let rotated = house
        .store
        .rotate(id, Some(&secret(7)), None, house.now)
        .await
        .expect("rotated");
    assert_eq!(rotated.secret_fingerprint, Some(secret(7).fingerprint()));
    assert_eq!(present(id).await, Some(secret(7)));
    let snapshot = house.store.snapshot().await.expect("a snapshot");
    let (_, target) = &snapshot.targets[0];
    assert_eq!(
        (target.subscription.id, target.credentials.secret.as_ref()),
        (id, Some(&secret(7)))
    );

    house
        .store
        .rotate(id, None, None, house.now)
        .await
        .expect("without one");
    assert_eq!(present(id).await, None);
    assert_eq!(present(house.theirs.id).await, Some(secret(2)));
}

pub(crate) async fn a_secret_may_sign_beside_the_next_for_a_while(store: Store) {
    let house = House::new(store).await;
    let wanted = standard(client(1), "several signatures");
    let added = house
        .store
        .add(&wanted, &standard_secret(1).into(), house.now)
        .await
        .expect("added");
    assert_eq!(added.overlap_until, None);
    let at = |after| house.now + seconds(after);
    let rotate = async |n, overlap: Option<u64>, now| {
        let until = overlap.map(at);
        let next = standard_secret(n);
        let rotated = house.store.rotate(added.id, Some(&next), until, now).await;
        let rotated = rotated.expect("rotated");
        assert_eq!(rotated.secret_fingerprint, Some(next.fingerprint()));
        let credentials = house.store.credentials(added.id).await;
        let credentials = credentials.expect("credentials");
        assert_eq!(credentials.secret, Some(next));
        (rotated.overlap_until, credentials.retiring)
    };
    let until = |n, after| Retiring {
        secret: standard_secret(n),
        until: at(after),
    };

    let (overlap, retiring) = rotate(2, Some(60), at(0)).await;
    assert_eq!(overlap, Some(at(60)));
    assert_eq!(retiring, [until(1, 60)]);
    let (overlap, retiring) = rotate(3, Some(90), at(0)).await;
    assert_eq!(overlap, Some(at(90)));
    assert_eq!(retiring, [until(2, 90), until(1, 60)]);
    let snapshot = house.store.snapshot().await.expect("a snapshot");
    let mut targets = snapshot.targets.iter();
    let target = targets.find(|(_, target)| target.subscription.id == added.id);
    let (_, target) = target.expect("a target");
    assert_eq!(target.credentials.retiring, retiring);
    assert_eq!(target.subscription.overlap_until, overlap);

    // What no longer signs is forgotten.
    let (overlap, retiring) = rotate(4, Some(80), at(60)).await;
    assert_eq!(overlap, Some(at(90)));
    assert_eq!(retiring, [until(2, 90), until(3, 80)]);
    // In the end they are forgotten in any case, a day later.
    let day = 24 * 60 * 60;
    for (now, left) in [
        (79, vec![until(2, 90), until(3, 80)]),
        (80, vec![until(2, 90)]),
    ] {
        house
            .store
            .maintain(at(day + now))
            .await
            .expect("maintained");
        let credentials = house.store.credentials(added.id).await;
        assert_eq!(credentials.expect("credentials").retiring, left);
    }
    let (overlap, retiring) = rotate(5, None, at(80)).await;
    assert_eq!((overlap, retiring), (None, Vec::new()), "it signs alone");

    let none = house.store.rotate(added.id, None, None, at(70)).await;
    assert_eq!(code(none), "secret_required");
    let of_mars = house
        .store
        .rotate(house.ours.id, Some(&secret(7)), Some(at(60)), house.now)
        .await;
    assert_eq!(code(of_mars), "one_signature");
    let present = house.store.credentials(house.ours.id).await;
    assert_eq!(present.expect("credentials"), secret(1).into());
}

pub(crate) async fn what_is_under_an_unknown_profile_is_held(store: Store) {
    let mut house = House::new(store).await;
    // As a process leaves it that knows the profile.
    let acme = Declaration::default().profile("acme").expect("a profile");
    let wanted = Settings {
        profile: Arc::new(acme),
        ..settings(client(1), "acme")
    };
    let added = house
        .store
        .add(&wanted, &Credentials::default(), house.now)
        .await
        .expect("added");
    house.reload().await;
    let unknown = State::Suspended {
        reason: "profile_unknown".to_owned(),
    };
    let listed = house.store.list(Some(client(1))).await.expect("a list");
    let states: Vec<_> = listed.iter().map(|s| (s.id, &s.state)).collect();
    assert_eq!(
        states,
        [(house.ours.id, &State::Active), (added.id, &unknown)]
    );
    let found = house.store.find(added.id).await.expect("found");
    assert_eq!(found.state, unknown);
    assert_eq!(found.settings.profile.name, "acme");

    house.routed(2).await;
    let mut held = DeliveryFilter::default();
    held.status = vec![Status::Held];
    let rows = house.all(&held).await;
    let of: Vec<_> = rows.iter().map(|row| row.id.subscription).collect();
    assert_eq!(of, [added.id]);
    held.client = Some(client(1));
    assert_eq!(house.all(&held).await, rows);
    held.client = Some(client(2));
    assert_eq!(house.all(&held).await, []);
    let event = house.store.event(rows[0].id.event).await;
    assert!(event.expect("an event").deliveries.contains(&rows[0]));
    assert_eq!(house.row(rows[0].id).await.status, Status::Held);
    let left = house.store.remaining(house.now).await.expect("counted");
    assert_eq!((left.pending, left.held), (2, 1));
    // Nobody can make it go here, nor give it a secret of a kind that is not known.
    let resumed = house.store.resume(added.id, Held::All, house.now).await;
    assert_eq!(resumed.expect("resumed").state, unknown);
    let new = secret(7);
    let rotated = house.store.rotate(added.id, Some(&new), None, house.now);
    assert_eq!(code(rotated.await), "unknown_profile");
}

pub(crate) async fn what_its_profile_asks_too_much_of_is_held(store: Store) {
    let mut house = House::new(store).await;
    // As it was before the profile came to want a secret, and quicker answers.
    let mut before = NUDGE.clone();
    before.secret = Requirement::Optional;
    let wanted = Settings {
        profile: Arc::new(before),
        timeout: Duration::from_secs(10),
        ..settings(client(1), "rewards")
    };
    let added = house
        .store
        .add(&wanted, &Credentials::default(), house.now)
        .await
        .expect("added");
    house.reload().await;
    let found = house.store.find(added.id).await.expect("found");
    let changed = State::Suspended {
        reason: "profile_changed".to_owned(),
    };
    assert_eq!(found.state, changed);
    assert_eq!(found.settings.timeout, NUDGE.timeout);
    house.routed(1).await;
    let left = house.store.remaining(house.now).await.expect("counted");
    assert_eq!((left.pending, left.held), (1, 1));

    let new = secret(7);
    let rotated = house.store.rotate(added.id, Some(&new), None, house.now);
    assert_eq!(rotated.await.expect("rotated").state, State::Active);
    let left = house.store.remaining(house.now).await.expect("counted");
    assert_eq!((left.pending, left.held), (2, 0));
}

pub(crate) async fn removing_ends_what_is_unfinished(store: Store) {
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

pub(crate) async fn every_write_is_seen_by_the_owner(store: Store) {
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
        .set(
            added.id,
            &settings(client(1), "renamed"),
            Anew::default(),
            house.now,
        )
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
        .resume(added.id, Held::All, house.now)
        .await
        .expect("resumed");
    newer("resume").await;
    house
        .store
        .rotate(added.id, None, None, house.now)
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
        .replay(&asking(&choice, tharsis_store::ReplayKey::Same), house.now)
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

pub(crate) async fn retry_makes_one_due_now(store: Store) {
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
    assert_eq!((now_due[0].id, now_due[0].spent.tries), (due[0].id, 1));
}

pub(crate) async fn cancel_ends_one_for_good(store: Store) {
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

pub(crate) async fn what_is_asked_twice_is_done_once(store: Store) {
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

/// What is another host's is not sent to this one. On its own host a URL may change and keep them.
pub(crate) async fn credentials_stay_with_their_host(store: Store) {
    let house = House::new(store).await;
    let (here, there) = (settings(client(1), "moves"), {
        let mut there = settings(client(1), "moves");
        there.url = PayloadUrl::stored("https://other.example.com/in").expect("a URL");
        there
    });
    let mut beside = here.clone();
    beside.url =
        PayloadUrl::stored(&format!("https://{}/other/path", here.url.host())).expect("a URL");
    let credentials = Credentials {
        secret: Some(secret(3)),
        headers: vec![OwnHeader::basic("shop", "opensesame").expect("a header")],
        ..Credentials::default()
    };
    let id = (house.store.add(&here, &credentials, house.now).await)
        .expect("added")
        .id;
    let set = async |settings: &Settings, secret: Option<Option<&Secret>>| {
        let anew = Anew {
            secret,
            ..Anew::default()
        };
        let set = house.store.set(id, settings, anew, house.now).await;
        let credentials = house.store.credentials(id).await.expect("credentials");
        set.map(|_| credentials)
    };
    assert_eq!(set(&beside, None).await.expect("set"), credentials);
    // Nobody loses a secret unasked.
    assert_eq!(code(set(&there, None).await), "secret_of_another_host");
    let kept = house.store.credentials(id).await.expect("credentials");
    assert_eq!(kept, credentials);
    let moved = set(&there, Some(None)).await.expect("set");
    assert_eq!(moved, Credentials::default());
    let anew = secret(4);
    let back = set(&here, Some(Some(&anew))).await.expect("set");
    assert_eq!((back.secret, back.headers.len()), (Some(anew), 0));
}

/// Whether people or a worker made it.
pub(crate) async fn each_change_is_counted(store: Store) {
    let house = House::new(store).await;
    house.routed(4).await;
    let (store, now, id) = (&house.store, house.now, house.ours.id);
    assert_eq!(house.ours.version, 1);
    let wanted = settings(client(1), "renamed");
    let set = store.set(id, &wanted, Anew::default(), now).await;
    assert_eq!(set.expect("set").version, 2);
    let paused = store.pause(id, now).await;
    assert_eq!(paused.expect("paused").version, 3);
    let resumed = store.resume(id, Held::All, now).await;
    assert_eq!(resumed.expect("resumed").version, 4);
    let rotated = store.rotate(id, None, None, now).await;
    assert_eq!(rotated.expect("rotated").version, 5);
    let stolen = settings(client(2), "renamed");
    let refused = store.set(id, &stolen, Anew::default(), now).await;
    assert_eq!(code(refused), "not_changeable");
    let version = async |id| store.find(id).await.expect("found").version;
    assert_eq!(version(id).await, 5);

    // Twice in one go, and once more: it is suspended once.
    let due = house.due(&house.ours, now).await;
    let gone = |n: usize| Settlement {
        suspend: Some("http_410"),
        ..house.ended(&due[n], End::Dead)
    };
    assert_eq!(house.settle(&[gone(0), gone(1)]).await, []);
    assert_eq!(version(id).await, 6);
    let suspended = |of| Transition {
        subscription: house.number(of),
        at: now,
        health: Health {
            condition: Condition::Suspended,
            since: Some(now),
            cause: Some("http_503".to_owned()),
            version: 1,
            ..Health::default()
        },
    };
    let both = [suspended(&house.ours), suspended(&house.theirs)];
    let left = store.transition(&house.lease, &both).await;
    assert_eq!(left.expect("written"), [0_i64; 0]);
    assert_eq!(version(id).await, 6);
    assert_eq!(version(house.theirs.id).await, 2);

    // It is held until the worker has ended what was held, and goes on then.
    for _ in 0..2 {
        let resumed = store.resume(id, Held::None, now).await;
        assert_eq!(resumed.expect("asked for").version, 7);
    }
    house.work_off(now).await;
    assert_eq!(version(id).await, 8);
    let listed = store.list(None).await.expect("a list");
    let versions: Vec<_> = listed.iter().map(|one| one.version).collect();
    assert_eq!(versions, [8, 2]);
    let snapshot = store.snapshot().await.expect("a snapshot");
    let targets = snapshot.targets.iter();
    let versions: Vec<_> = targets.map(|(_, one)| one.subscription.version).collect();
    assert_eq!(versions, [8, 2]);
}

pub(crate) async fn nobody_replaces_what_was_changed_meanwhile(store: Store) {
    let house = House::new(store).await;
    let id = house.ours.id;
    let set = async |name: &str, version: Option<u64>| {
        let anew = Anew {
            version,
            ..Anew::default()
        };
        let wanted = settings(client(1), name);
        house.store.set(id, &wanted, anew, house.now).await
    };
    let read = house.ours.version;
    let first = set("first", Some(read)).await.expect("it is what was read");
    assert_eq!(code(set("second", Some(read)).await), "changed_meanwhile");
    let found = house.store.find(id).await;
    assert_eq!(found.expect("found"), first, "nothing was written");
    let second = set("second", Some(first.version)).await;
    let second = second.expect("it is what was read");
    let paused = house.store.pause(id, house.now).await;
    paused.expect("paused");
    let third = set("third", Some(second.version)).await;
    assert_eq!(code(third), "changed_meanwhile");
    // Who says nothing of that replaces whatever there is.
    let third = set("third", None).await.expect("set");

    let read = Some(third.version);
    let (one, other) = tokio::join!(set("one", read), set("other", read));
    let refused: Vec<_> = ([one, other].into_iter())
        .filter(Result::is_err)
        .map(code)
        .collect();
    assert_eq!(refused, ["changed_meanwhile"]);
    let theirs = house.store.find(house.theirs.id).await;
    assert_eq!(theirs.expect("found"), house.theirs);
}
