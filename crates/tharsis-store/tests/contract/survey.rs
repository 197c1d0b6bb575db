//! How the database does, and what lies in it.

use tharsis_core::health::{Condition, Health};
use tharsis_store::{Engine, Outbox, Registry, Shards, Survey, Transition};

use crate::harness::{House, Schema, Store, client, enveloped, event, seconds};

impl House {
    async fn survey(&self) -> Survey {
        self.store.survey().await.expect("a survey")
    }
}

pub(crate) async fn what_waits_and_who_delivers_is_counted(store: Store) {
    let empty = store.survey().await.expect("a survey");
    assert_eq!(
        (empty.unrouted, empty.unfinished, empty.commands),
        (0, 0, 0)
    );
    assert_eq!((empty.unrouted_since, empty.due_since), (None, None));
    assert_eq!((empty.workers.len(), empty.owned), (0, Shards::default()));
    assert!(empty.schema >= 9);

    let house = House::new(store).await;
    house.routed(6).await;
    let events: Vec<_> = (10..13).map(|n| event(client(1), n)).collect();
    let published = house.publish(&events).await;
    let found = house.survey().await;
    assert_eq!((found.unrouted, found.unfinished), (3, 6));
    let first = house
        .store
        .event(published[0].id)
        .await
        .expect("it is there");
    assert_eq!(found.unrouted_since, Some(first.published_at));
    assert_eq!(found.due_since, Some(house.now));
    assert_eq!((found.workers.len(), found.owned), (1, Shards::ALL));
    assert!(found.clock >= house.now);
    match found.engine {
        Engine::Sqlite(engine) => {
            assert_eq!((&*engine.journal_mode, engine.synchronous), ("wal", 2));
            assert!(
                engine.version.starts_with("3.") && engine.wal_bytes > 0,
                "{engine:?}"
            );
        }
        Engine::Postgres(engine) => {
            assert!(engine.version >= 150_000 && engine.fsync && engine.full_page_writes);
            assert_eq!(&*engine.synchronous_commit, "on");
            let until = engine.days_until.expect("days were made");
            assert!(until > found.clock + seconds(6 * 86_400), "{until}");
            assert!(!engine.in_default);
        }
    }
    let id = house.due(&house.ours, house.now).await[0].id;
    house.store.cancel(id, house.now).await.expect("asked");
    assert_eq!(house.survey().await.commands, 1);
}

pub(crate) async fn what_is_held_is_not_overdue(store: Store) {
    let house = House::new(store).await;
    house.routed(2).await;
    house
        .store
        .pause(house.ours.id, house.now)
        .await
        .expect("paused");
    assert_eq!(house.survey().await.due_since, Some(house.now), "theirs");
    let open = Transition {
        subscription: house.number(&house.theirs),
        at: house.now,
        health: Health {
            condition: Condition::Open,
            since: Some(house.now),
            cause: Some("http_503".to_owned()),
            failing_since: Some(house.now),
            probe_at: Some(house.now + seconds(60)),
            probes: 1,
            version: 1,
        },
    };
    let left = house.store.transition(&house.lease, &[open]).await;
    assert_eq!(left.expect("written"), Vec::<i64>::new());
    let found = house.survey().await;
    assert_eq!((found.due_since, found.unfinished), (None, 2));
    // What is scheduled for later is not overdue either.
    let later = house.now + seconds(3_600);
    let fields = format!(r#""not_before":"{later}","#);
    house.publish(&[enveloped(client(1), 9, &fields)]).await;
    assert_eq!(house.survey().await.due_since, None);
}

/// Whoever lost the key can see what there is to see.
pub(crate) async fn it_needs_no_key(schema: &Schema) {
    let url = schema.url();
    let options = tharsis_store::postgres::Options {
        key_file: None,
        ..schema.options()
    };
    let store = tharsis_store::postgres::PostgresStore::open(&url, options).await;
    let found = store.expect("opens");
    let found = tharsis_store::Registry::survey(&found).await;
    assert_eq!(found.expect("a survey").workers, []);
}
