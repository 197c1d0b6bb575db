//! A secret is shown once, stored encrypted, and found nowhere else.

use std::fs;

use tharsis_tests::{ALPHA, BETA, Database, Subscribe, World, on_both_databases};

on_both_databases! {
    no_file_no_answer_and_no_row_holds_it,
    one_that_does_not_open_holds_its_subscription,
    a_key_that_is_lost_for_good_costs_the_secrets_and_nothing_else,
}

fn no_file_no_answer_and_no_row_holds_it(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").answers(500).then(200).start();
    let subscription = world.subscribe(&Subscribe::new(ALPHA, &shop).retry("20ms"));
    world.publish(&world.predictions(ALPHA, 3));
    world.tharsis(["--log=trace", "run", "--until-idle"]).ok();
    let rotated = world.secret();
    let file = format!("--secret-file={}", world.secret_file(&rotated).display());
    world.ask(["subscription", "rotate", &subscription.id, &file]);
    for command in [
        &["subscription", "show", &subscription.id][..],
        &["subscription", "list"],
        &["subscription", "test", &subscription.id],
        &["delivery", "list"],
    ] {
        world.tharsis(command);
        world.tharsis(["--json", "--log=trace"].iter().chain(command));
    }

    let secrets = [&shop.secret, &rotated];
    let mut searched = 0;
    let mut folders = vec![world.path(".")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)
            .expect("the folder can be read")
            .flatten()
        {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if !name.starts_with("secret-") {
                let bytes = fs::read(&path).expect("the file can be read");
                for secret in secrets {
                    assert!(!holds(&bytes, secret), "{name} holds a secret");
                }
                searched += 1;
            }
        }
    }
    assert!(searched > 20, "database, key and logs: {searched}");
    if world.is_on(Database::Postgres) {
        let rows = rows(&world);
        // Bytes are written as hexadecimal there.
        for secret in secrets {
            let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            let found = rows
                .iter()
                .find(|row| row.contains(secret) || row.contains(&hex));
            assert_eq!(found, None);
        }
        let found = rows.iter().any(|row| row.contains(&subscription.id));
        assert!(
            found,
            "what is there can be found like this: {}",
            rows.len()
        );
    }
}

/// Every row of every table, as text.
fn rows(world: &World) -> Vec<String> {
    let tables =
        world.select("SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()");
    tables
        .iter()
        .flat_map(|table| world.select(&format!("SELECT one::text FROM {table} AS one")))
        .collect()
}

fn holds(bytes: &[u8], secret: &str) -> bool {
    bytes
        .windows(secret.len())
        .any(|window| window == secret.as_bytes())
}

/// What is sealed for one subscription does not open for another, and what was tampered with does not open at all: the
/// subscription is suspended, and nothing goes out unsigned.
fn one_that_does_not_open_holds_its_subscription(on: Database) {
    let world = World::on(on);
    let (alpha, beta) = (
        world.receiver("alpha").start(),
        world.receiver("beta").start(),
    );
    let of_alpha = world.subscribe(&Subscribe::new(ALPHA, &alpha));
    world.subscribe(&Subscribe::new(BETA, &beta));
    let secret = world.table("secret");
    let tampered = world.execute(&format!(
        "UPDATE {secret} SET sealed = (SELECT other.sealed FROM {secret} other
                                       WHERE other.subscription = (SELECT max(subscription) FROM {secret}))
         WHERE subscription = (SELECT min(subscription) FROM {secret})"
    ));
    assert_eq!(tampered, 1);
    world.publish(&[world.predictions(ALPHA, 2), world.predictions(BETA, 2)].concat());
    let summary = world.run_until_idle().json();
    assert_eq!((alpha.count(), beta.count()), (0, 2));
    assert_eq!(summary["remaining"]["held"], 2);
    let shown = world.ask(["subscription", "show", &of_alpha.id]);
    assert_eq!(
        (&shown["state"], &shown["reason"]),
        (&"suspended".into(), &"secret_unreadable".into())
    );

    // A new secret mends it.
    let file = format!(
        "--secret-file={}",
        world.secret_file(&world.secret()).display()
    );
    world.ask(["subscription", "rotate", &of_alpha.id, &file]);
    world.ask(["subscription", "resume", &of_alpha.id]);
    world.run_until_idle();
    assert_eq!(alpha.count(), 2);
}

/// As the book says: the database forgets its key, another one is made, and each secret is rotated.
fn a_key_that_is_lost_for_good_costs_the_secrets_and_nothing_else(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let subscription = world.subscribe(&Subscribe::new(ALPHA, &shop));
    let lines = world.predictions(ALPHA, 2);
    world.publish(&lines);
    let key = world.path(match on {
        Database::Sqlite => "outbox.db.key",
        Database::Postgres => "tharsis.key",
    });
    fs::remove_file(&key).expect("it was there");
    let refused = world.refused(["run", "--until-idle"]);
    assert_eq!(refused["code"], "key_missing");

    world.execute(&format!("DELETE FROM {}", world.table("key")));
    let migrated = world.ask(["migrate"]);
    assert_eq!(migrated["key_file"]["state"], "made", "{migrated}");
    assert!(key.exists());
    let summary = world.run_until_idle().json();
    assert_eq!(
        (shop.count(), &summary["remaining"]["held"]),
        (0, &2.into())
    );
    let shown = world.ask(["subscription", "show", &subscription.id]);
    assert_eq!(shown["reason"], "secret_unreadable");

    // The receiver verifies with its old secret, which is read from a file here.
    let file = format!(
        "--secret-file={}",
        world.secret_file(&shop.secret).display()
    );
    world.ask(["subscription", "rotate", &subscription.id, &file]);
    world.ask(["subscription", "resume", &subscription.id]);
    world.run_until_idle();
    shop.assert_received_once(&lines);
}
