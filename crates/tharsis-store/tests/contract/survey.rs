//! How the database does, and what lies in it.

use std::collections::BTreeMap;

use tharsis_core::{
    delivery::End,
    health::{Condition, Health},
};
use tharsis_store::{
    Backlog, Engine, Outbox, Registry, Settlement, Shard, Shards, Survey, Transition,
};

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

pub(crate) async fn what_waits_is_told_by_shard(store: Store) {
    let empty = store.gauges().await.expect("gauges");
    assert!(empty.shards.is_empty() && empty.overdue().is_none());
    assert_eq!((empty.unrouted, empty.held), (0, 0));
    assert_eq!((empty.commands, empty.workers), (0, 0));

    let house = House::new(store).await;
    house.routed(6).await;
    house.publish(&[event(client(1), 10)]).await;
    let gauges = house.store.gauges().await.expect("gauges");
    // They may lie in the same one.
    let [ours, theirs] = [&house.ours, &house.theirs].map(|of| Shard::of_subscription(of.id));
    let mut waiting: BTreeMap<Shard, Backlog> = BTreeMap::new();
    for shard in [ours, theirs] {
        let backlog = waiting.entry(shard).or_default();
        backlog.deliveries += 3;
        backlog.due_since = Some(house.now);
    }
    assert_eq!(gauges.shards, waiting);
    assert_eq!((gauges.unrouted, gauges.held, gauges.workers), (1, 0, 1));
    assert_eq!(gauges.overdue(), Some(gauges.clock.since(house.now)));

    house
        .store
        .pause(house.ours.id, house.now)
        .await
        .expect("paused");
    let paused = house.store.gauges().await.expect("gauges");
    assert_eq!(paused.held, 3);
    let due = paused
        .shards
        .iter()
        .filter(|(_, of)| of.due_since.is_some());
    assert_eq!(due.map(|(shard, _)| *shard).collect::<Vec<_>>(), [theirs]);
    let id = house.due(&house.theirs, house.now).await[0].id;
    house.store.cancel(id, house.now).await.expect("asked");
    let asked = house.store.gauges().await.expect("gauges");
    assert_eq!(asked.commands, 1);

    let pools = house.store.pools();
    let lists = pools.iter().find(|pool| pool.name == "lists");
    let lists = lists.expect("there is one for what people ask");
    assert!(lists.idle + lists.used > 0, "{pools:?}");
}

pub(crate) async fn certificates_that_end_soon_are_told(store: Store) {
    let house = House::new(store).await;
    house.routed(4).await;
    let ends = house.now + seconds(3 * 86_400);
    let due = house.due(&house.ours, house.now).await;
    let settlement = Settlement {
        certificate_ends: Some(ends),
        ..house.ended(&due[0], End::Delivered)
    };
    assert_eq!(house.settle(&[settlement]).await, []);
    let gauges = house.store.gauges().await.expect("gauges");
    assert_eq!(gauges.certificates, [ends]);
    // Whoever is gone has none.
    let removed = house.store.remove(house.ours.id, house.now).await;
    removed.expect("removed");
    let gauges = house.store.gauges().await.expect("gauges");
    assert_eq!(gauges.certificates, []);
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
