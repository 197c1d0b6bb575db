//! A secret is shown once, stored encrypted, and found nowhere else.

use std::{fs, path::PathBuf, time::Duration};

use tharsis_tests::{
    ALPHA, BETA, Database, Inbox, Line, Subscribe, World, on_both_databases, wait_until,
};

/// What a machine under load may need for anything that takes milliseconds.
const SOON: Duration = Duration::from_secs(30);

on_both_databases! {
    no_file_no_answer_and_no_row_holds_it,
    one_that_does_not_open_holds_its_subscription,
    a_key_that_is_lost_for_good_costs_the_secrets_and_nothing_else,
    a_key_takes_the_place_of_another_while_a_worker_delivers,
    keys_may_be_given_in_place_of_a_file,
    a_worker_without_the_new_key_sends_nothing_until_it_has_it,
    a_weak_secret_is_taken_from_who_insists_and_noted,
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
    let key = key_file(&world, on);
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

fn key_file(world: &World, on: Database) -> PathBuf {
    world.path(match on {
        Database::Sqlite => "outbox.db.key",
        Database::Postgres => "tharsis.key",
    })
}

/// Two receivers of two clients, and what each is to have got.
struct Shops {
    inboxes: [(&'static str, Inbox); 2],
    lines: [Vec<Line>; 2],
}

impl Shops {
    fn start(world: &World) -> Self {
        let inboxes = [(ALPHA, "alpha"), (BETA, "beta")]
            .map(|(client, name)| (client, world.receiver(name).start()));
        for (client, inbox) in &inboxes {
            let subscribe = Subscribe::new(client, inbox).flag("--header-file=till=till.txt");
            world.write("till.txt", "of the till");
            world.subscribe(&subscribe);
        }
        Self {
            inboxes,
            lines: Default::default(),
        }
    }

    fn publish(&mut self, world: &World) {
        for (at, (client, _)) in self.inboxes.iter().enumerate() {
            let lines = world.predictions(client, 3);
            world.publish(&lines);
            self.lines[at].extend(lines);
        }
    }

    /// Publishes to both, and waits until a worker has delivered it.
    fn deliver(&mut self, world: &World) {
        self.publish(world);
        for ((_, inbox), lines) in self.inboxes.iter().zip(&self.lines) {
            inbox.wait_for(lines.len(), SOON);
        }
        self.assert_signed();
    }

    fn assert_signed(&self) {
        for ((_, inbox), lines) in self.inboxes.iter().zip(&self.lines) {
            inbox.assert_received_once(lines);
        }
    }
}

fn a_key_takes_the_place_of_another_while_a_worker_delivers(on: Database) {
    let world = World::on(on);
    let mut shops = Shops::start(&world);
    let worker = world.spawn_run();
    shops.deliver(&world);
    shops.publish(&world);
    let rotated = world.ask(["key", "rotate"]);
    assert_eq!(
        (&rotated["made"], &rotated["values"], &rotated["unreadable"]),
        (&true.into(), &4.into(), &0.into()),
        "{rotated}"
    );
    shops.deliver(&world);

    // Whatever changes from here on is read anew by the worker, which finds the key in its file.
    let file = format!(
        "--secret-file={}",
        world.secret_file(&shops.inboxes[0].1.secret).display()
    );
    let listed = world.ask(["subscription", "list"]);
    let id = listed["subscriptions"][1]["id"].as_str().expect("an id");
    world.ask(["subscription", "pause", id]);
    world.ask(["subscription", "resume", id]);
    let refused = world.refused([
        "subscription",
        "rotate",
        listed["subscriptions"][0]["id"].as_str().expect("an id"),
        &file,
    ]);
    assert_eq!(refused["code"], "secret_reused");
    shops.deliver(&world);

    // And the former key may go.
    let key = key_file(&world, on);
    let text = fs::read_to_string(&key).expect("a key file");
    let former = rotated["former"].as_str().expect("an id");
    let kept: String = (text.lines().filter(|line| !line.contains(former)))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!((text.lines().count(), kept.lines().count()), (2, 1));
    fs::write(&key, kept).expect("the folder is the world's");
    let keys = world.ask(["key", "list"]);
    let told: Vec<_> = (keys["keys"].as_array().expect("a list").iter())
        .map(|key| (&key["state"], &key["values"], &key["here"]))
        .collect();
    let expected = [
        (&"sealing".into(), &4.into(), &true.into()),
        (&"retired".into(), &0.into(), &false.into()),
    ];
    assert_eq!(told, expected, "{keys}");
    shops.deliver(&world);
    worker.terminate();
    worker.finish(SOON).ok();
    shops.publish(&world);
    world.run_until_idle();
    shops.assert_signed();

    let audit = world.audit();
    let entry = (audit.iter()).find(|entry| entry["action"] == "key.rotated");
    let entry = entry.expect("it is kept");
    assert_eq!(
        (
            &entry["action"],
            &entry["subject"],
            &entry["detail"]["former"]
        ),
        (&"key.rotated".into(), &rotated["key"], &rotated["former"])
    );
}

fn keys_may_be_given_in_place_of_a_file(on: Database) {
    let world = World::on(on);
    let mut shops = Shops::start(&world);
    let file = key_file(&world, on);
    let text = fs::read_to_string(&file).expect("a key file");
    let first = text.split(' ').next().expect("a key").to_owned();
    fs::remove_file(&file).expect("it was there");
    assert_eq!(world.refused(["key", "list"])["code"], "key_missing");
    world.set_environment("THARSIS_KEYS", &first);
    let made = world.ask(["key", "rotate", "--prepare", "--print"]);
    let second = made["secret"].as_str().expect("a key");
    assert_eq!(world.refused(["key", "rotate"])["code"], "key_not_prepared");

    world.set_environment("THARSIS_KEYS", &format!("{first},{second}"));
    let worker = world.spawn_run();
    shops.deliver(&world);
    let prepared = world.ask(["key", "rotate", "--prepare"]);
    assert_eq!(prepared["key"], made["key"]);
    let rotated = world.ask(["key", "rotate"]);
    assert_eq!(
        (&rotated["key"], &rotated["values"]),
        (&made["key"], &4.into())
    );
    shops.deliver(&world);
    worker.terminate();
    worker.finish(SOON).ok();

    world.set_environment("THARSIS_KEYS", second);
    shops.publish(&world);
    world.run_until_idle();
    shops.assert_signed();
    // Somebody starts it as it was before.
    world.set_environment("THARSIS_KEYS", &first);
    assert_eq!(world.refused(["run", "--until-idle"])["code"], "key_wrong");
    assert!(!file.exists());
    assert_eq!(world.refused(["key", "init"])["code"], "keys_given");
    assert_eq!(
        world.refused(["key", "init", "--print"])["code"],
        "key_known"
    );
}

/// The key was made on another host, and nobody has given it to this one.
fn a_worker_without_the_new_key_sends_nothing_until_it_has_it(on: Database) {
    let world = World::on(on);
    let mut shops = Shops::start(&world);
    let file = key_file(&world, on);
    let text = fs::read_to_string(&file).expect("a key file");
    let first = text.split(' ').next().expect("a key").to_owned();
    // Never printed: the world searches what its processes wrote for the keys in its files.
    let second = "b7".repeat(32);
    let both = format!("{first},{second}");
    let worker = world.spawn_run();
    shops.deliver(&world);

    // The worker has the file alone.
    world.set_environment("THARSIS_KEYS", &both);
    world.ask(["key", "rotate"]);
    let listed = world.ask(["subscription", "list"]);
    for subscription in listed["subscriptions"].as_array().expect("a list") {
        let id = subscription["id"].as_str().expect("an id");
        world.ask(["subscription", "set", id, "--max-in-flight=3"]);
    }
    shops.publish(&world);
    wait_until("the worker has looked at what was published", SOON, || {
        let waits = world.select(&format!(
            "SELECT count(*) || '' FROM {}",
            world.table("outbox")
        ));
        (waits == ["0"]).then_some(())
    });
    wait_until("people are told of both", SOON, || {
        let alerts = world.ask(["alert", "list"]);
        let raised = alerts["alerts"].as_array().expect("a list");
        let told = |alert: &&serde_json::Value| {
            alert["type"] == "subscription.suspended" && alert["reason"] == "secret_unreadable"
        };
        (raised.iter().filter(told).count() == 2).then_some(())
    });
    for (_, inbox) in &shops.inboxes {
        assert_eq!(inbox.count(), 3);
    }

    // It looks again now and then, and nobody has to start it anew.
    fs::write(&file, format!("{text}{second}\n")).expect("the folder is the world's");
    for ((_, inbox), lines) in shops.inboxes.iter().zip(&shops.lines) {
        inbox.wait_for(lines.len(), SOON);
    }
    shops.assert_signed();
    worker.terminate();
    worker.finish(SOON).ok();
}

/// Its fingerprint is in the audit, and the secret is not.
fn a_weak_secret_is_taken_from_who_insists_and_noted(on: Database) {
    const WEAK: &str = "open sesame";
    let world = World::on(on);
    let shop = world.receiver("shop").with_secret(WEAK).start();
    let partner = world.receiver("partner").start();
    world.subscribe(&Subscribe::new(BETA, &partner));
    let weak = Subscribe::new(ALPHA, &shop).secret(WEAK);
    let refused = world.try_subscribe(&weak).error();
    assert_eq!(refused["code"], "secret_too_short", "{refused}");
    let hint = refused["hint"].as_str().expect("it says what to do");
    assert!(hint.contains("--accept-weak-secret"), "{hint}");

    let added = world.subscribe(&weak.flag("--accept-weak-secret"));
    let lines = world.predictions(ALPHA, 2);
    world.publish(&lines);
    world.run_until_idle();
    shop.assert_received_once(&lines);
    let audit = world.audit();
    let done: Vec<_> = audit.iter().map(|entry| &entry["action"]).collect();
    let added_last = ["subscription.added", "secret.weak", "subscription.added"];
    assert_eq!(done, added_last, "{audit:?}");
    let entry = &audit[1];
    let shown = world.ask(["subscription", "show", &added.id]);
    assert_eq!(
        (&entry["client"], &entry["detail"]["weakness"]),
        (&ALPHA.into(), &"secret_too_short".into())
    );
    assert_eq!(entry["detail"]["fingerprint"], shown["secret_fingerprint"]);
    assert!(!format!("{audit:?}").contains(WEAK));
}
