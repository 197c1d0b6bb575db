//! Making a database: opening a new file, migrating, making the key.

use std::fs;

use tharsis::{
    Emitter, Registry, Secret, profile::Profiles, store::failpoint::Failpoint,
    subscription::Credentials, system_now,
};
use tharsis_tests::{ALPHA, Database, Subscribe, World, on_both_databases, pause};

use crate::{
    KILLS, MOMENT, kill_at, number,
    point::{Leaves, Story, points},
    publish,
};

on_both_databases! {
    a_migration_that_dies_is_completed_by_the_next,
    a_key_whose_maker_dies_is_the_one_that_the_next_takes,
}

fn a_migration_that_dies_is_completed_by_the_next(on: Database) {
    is_completed(on, Story::Migrate);
}

fn a_key_whose_maker_dies_is_the_one_that_the_next_takes(on: Database) {
    is_completed(on, Story::Key);
}

fn is_completed(on: Database, story: Story) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let whole = {
        begin(&world, 0);
        migrate(&world);
        schema(&world)
    };
    let mut databases = 0;
    for (point, leaves) in points(story, on) {
        let name = point.as_str();
        // Some die one after the other at the same step, of what the one before has left behind, where that is taken again.
        let in_a_row = match leaves {
            Leaves::Nothing if point != Failpoint::KeyMade => 3,
            _ => 1,
        };
        let mut left = KILLS;
        while left > 0 {
            databases += 1;
            let key_file = begin(&world, databases);
            let mut key = None;
            for _ in 0..in_a_row.min(left) {
                kill_at(&world, point, 1, &["migrate"], |_| pause(MOMENT));
                let now = fs::read(&key_file).ok();
                assert!(key.is_none() || key == now, "{name}: the key is kept");
                assert_eq!(now.is_some(), has_key(point, on), "{name}: the key file");
                key = now;
                left -= 1;
            }
            // To look is to open it, so the next process is the first to do so at every second one.
            if databases.is_multiple_of(2) {
                let is_done = is_committed(&world, story);
                assert_eq!(is_done, leaves == Leaves::Done, "{name}");
            }
            match databases % 3 {
                0 => migrate(&world),
                // An embedder opens it.
                1 if on == Database::Sqlite => drop(world.emitter()),
                _ => drop(world.ask(["migrate"])),
            }
            assert_eq!(schema(&world), whole, "{name}");
            let made = fs::read(&key_file).expect("there is a key");
            assert!(key.is_none_or(|key| key == made), "{name}: the key is kept");
            assert_seals(&world);
        }
    }
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let lines = world.predictions(ALPHA, 3);
    publish(&world, &lines);
    world.run_until_idle();
    shop.assert_received_once(&lines);
    assert_eq!(world.integrity(), "ok");
}

/// Whether the key is in its file by then.
fn has_key(point: Failpoint, on: Database) -> bool {
    match point {
        Failpoint::KeyMade | Failpoint::KeyNoted | Failpoint::KeyCommitted => true,
        // There it is made in the transaction of the migrations.
        Failpoint::MigrateCommitted => on == Database::Postgres,
        _ => false,
    }
}

/// Whether what the story is about is there.
fn is_committed(world: &World, story: Story) -> bool {
    let count = match (world.is_on(Database::Sqlite), story) {
        (true, Story::Key) => "SELECT count(*) FROM tharsis_key",
        (true, _) => "SELECT count(*) FROM sqlite_schema",
        // There both are one transaction.
        (false, _) => "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()",
    };
    number(world, count) > 0
}

/// A place where there is nothing, and the key file that will be there.
fn begin(world: &World, number: usize) -> std::path::PathBuf {
    if world.is_on(Database::Sqlite) {
        let name = format!("outbox-{number}.db");
        world.use_file(&name);
        return world.path(&format!("{name}.key"));
    }
    world.execute(&format!("DROP SCHEMA IF EXISTS {} CASCADE", world.schema()));
    let key_file = world.path("tharsis.key");
    // Of the one before.
    if key_file.exists() {
        fs::remove_file(&key_file).expect("the folder is the world's");
    }
    key_file
}

fn migrate(world: &World) {
    let options = world.options();
    let migrated = world.block_on(Emitter::migrate(&world.database_url(), &options));
    migrated.expect("it is completed");
}

/// All that a migration makes, a line each.
fn schema(world: &World) -> Vec<String> {
    if world.is_on(Database::Sqlite) {
        let mut made = world.select("SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY name");
        made.extend(world.select("SELECT version || name FROM tharsis_migration"));
        made.extend(world.select("SELECT CAST(count(*) AS TEXT) FROM tharsis_key"));
        return made;
    }
    [
        "SELECT table_name || '.' || column_name || ' ' || data_type FROM information_schema.columns
         WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position",
        "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema() ORDER BY 1",
        "SELECT p.oid::regprocedure::text FROM pg_proc p
         WHERE p.pronamespace = current_schema()::regnamespace ORDER BY 1",
        "SELECT version || name FROM migration",
        "SELECT count(*)::text FROM key",
        "SELECT count(*)::text FROM shard",
    ]
    .into_iter()
    .flat_map(|query| world.select(query))
    .collect()
}

/// Secrets are sealed, and opened again by another who opens the database.
fn assert_seals(world: &World) {
    let secret = Secret::new(&world.secret()).expect("a good secret");
    let credentials = Credentials::from(secret);
    let registry = world.emitter();
    let draft = tharsis::subscription::Draft {
        client: world.client(),
        name: "sealed".to_owned(),
        url: "https://localhost:9443/hook".to_owned(),
        ..Default::default()
    };
    let policy = tharsis::egress::Policy {
        allow_hosts: vec!["localhost".to_owned()],
        allow_ports: vec![9443],
        ..Default::default()
    };
    let settings = draft
        .settings(&policy, &Profiles::default())
        .expect("good settings");
    let added = registry
        .registry()
        .add(&settings, &credentials, system_now());
    let id = world.block_on(added).expect("it is added").id;
    let again = world.emitter();
    let opened = world.block_on(again.registry().credentials(id));
    assert_eq!(opened.expect("they open"), credentials);
}
