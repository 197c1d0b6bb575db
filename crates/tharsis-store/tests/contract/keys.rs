//! Keys that take the place of others, while what they sealed is used.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tharsis_core::{
    Timestamp,
    subscription::{Credentials, header::OwnHeader},
};
use tharsis_store::{By, KeyRecord, KeyRotated, KeyState, Registry};

use crate::harness::{House, Store, client, seconds, secret, standard, standard_secret};

async fn keys(house: &House) -> Vec<KeyRecord> {
    house.store.keys().await.expect("the keys")
}

async fn rotate(house: &House, now: Timestamp) -> KeyRotated {
    let rotated = house.store.rotate_key(By::new("sre", now), &|_| ()).await;
    rotated.expect("rotated")
}

fn header(name: &str, value: &str) -> OwnHeader {
    OwnHeader::new(name, value).expect("a header")
}

pub(crate) async fn a_key_takes_the_place_of_another_and_all_is_sealed_anew(store: Store) {
    let house = House::new(store).await;
    let headers = [header("x-shop", "one"), header("x-till", "two")];
    let credentials = Credentials {
        secret: Some(standard_secret(3)),
        headers: headers.to_vec(),
        ..Credentials::default()
    };
    let wanted = standard(client(1), "all kinds");
    let added = house.store.add(&wanted, &credentials, house.now).await;
    let id = added.expect("added").id;
    let until = house.now + seconds(3_600);
    (house.store)
        .rotate(id, Some(&standard_secret(4)), Some(until), house.now)
        .await
        .expect("a former secret");
    let before = house.store.credentials(id).await.expect("credentials");
    let first = keys(&house).await;
    let [only] = &*first else { panic!("{first:?}") };
    assert_eq!(
        (only.state, only.values, only.is_here),
        (KeyState::Sealing, 6, true)
    );

    let prepared = house.store.prepare_key().await.expect("prepared");
    let again = house.store.prepare_key().await.expect("it is there");
    assert_eq!(prepared, again);
    let listed = keys(&house).await;
    assert_eq!((&listed[0], &listed[1].id), (only, &prepared));
    let expected = (KeyState::Prepared, 0, true, None);
    let found = (
        listed[1].state,
        listed[1].values,
        listed[1].is_here,
        listed[1].since,
    );
    assert_eq!(found, expected);

    let at = house.now + seconds(60);
    let told = AtomicU64::new(0);
    let tell = |values| told.store(values, Relaxed);
    let rotated = house.store.rotate_key(By::new("sre", at), &tell).await;
    let expected = KeyRotated {
        key: prepared.clone(),
        former: Some(only.id.clone()),
        is_made: false,
        values: 6,
        unreadable: 0,
    };
    assert_eq!(rotated.expect("rotated"), expected);
    assert_eq!(told.load(Relaxed), 6);
    let listed = keys(&house).await;
    let states: Vec<_> = (listed.iter())
        .map(|key| (&key.id, key.state, key.values, key.retired_at))
        .collect();
    let expected = [
        (&prepared, KeyState::Sealing, 6, None),
        (&only.id, KeyState::Retired, 0, Some(at)),
    ];
    assert_eq!(states, expected);
    assert_eq!(
        house.store.credentials(id).await.expect("they open"),
        before
    );
    for (subscription, n) in [(&house.ours, 1), (&house.theirs, 2)] {
        let credentials = house.store.credentials(subscription.id).await;
        assert_eq!(credentials.expect("they open").secret, Some(secret(n)));
    }

    // What is written from now on is sealed with it. Another one is made where none is prepared.
    (house.store)
        .rotate(house.ours.id, Some(&secret(7)), None, at)
        .await
        .expect("rotated");
    assert_eq!(keys(&house).await[0].values, 6);
    let rotated = rotate(&house, at + seconds(60)).await;
    assert_eq!((rotated.is_made, rotated.values), (true, 6));
    assert_eq!(rotated.former, Some(prepared.clone()));
    let mut audit = house.audit().await;
    audit.retain(|entry| entry.action == "key.rotated");
    let told: Vec<_> = (audit.iter())
        .map(|entry| (&*entry.action, &entry.subject, &*entry.actor))
        .collect();
    let expected = [
        ("key.rotated", &rotated.key, "sre"),
        ("key.rotated", &prepared, "sre"),
    ];
    assert_eq!(told, expected);
    assert!(audit[1].detail.contains(&only.id), "{}", audit[1].detail);
}

pub(crate) async fn a_rotation_goes_on_where_one_was_cut_short(store: Store) {
    let house = House::new(store).await;
    // Dropped in its midst, at each of its waits, until one comes to its end.
    let mut waits = 0;
    let whole = loop {
        waits += 1;
        let rotating = house.store.rotate_key(By::new("sre", house.now), &|_| ());
        if let Some(rotated) = give_up_after(waits, rotating).await {
            break rotated.expect("rotated");
        }
        for (subscription, n) in [(&house.ours, 1), (&house.theirs, 2)] {
            let credentials = house.store.credentials(subscription.id).await;
            assert_eq!(credentials.expect("they open").secret, Some(secret(n)));
        }
    };
    assert!(waits > 2, "{waits}");
    assert_eq!(whole.unreadable, 0);
    let listed = keys(&house).await;
    assert_eq!((&listed[0].id, listed[0].values), (&whole.key, 2));
    assert!(listed[1..].iter().all(|key| key.values == 0), "{listed:?}");
}

/// Drops it when it has had to wait so many times.
async fn give_up_after<F: Future>(waits: u32, future: F) -> Option<F::Output> {
    let mut left = waits;
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
        std::task::Poll::Pending => {
            left -= 1;
            match left {
                0 => std::task::Poll::Ready(None),
                _ => std::task::Poll::Pending,
            }
        }
    })
    .await
}
