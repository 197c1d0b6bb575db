//! Whether everything is as it should be: faults that are really there are found.

use std::{fs, time::Duration};

use serde_json::Value;
use tharsis_receiver::closed_port;
use tharsis_tests::{
    ALPHA, BETA, Clock, Database, Inbox, Subscribe, World, on_both_databases, wait_until,
};

on_both_databases! {
    an_installation_that_is_well_says_so,
    nobody_delivers_though_there_is_something_to_do,
    a_url_that_is_not_allowed_any_more_and_leads_where_nothing_may_be_sent,
    an_authority_that_cannot_be_read,
    a_receiver_that_is_gone_and_one_that_fails,
    people_who_could_not_be_told,
    a_schema_that_does_not_fit,
    too_few_files_for_what_may_be_under_way,
    a_host_that_does_not_exist,
    a_key_that_is_of_another_house,
    a_secret_that_does_not_open,
    a_range_that_holds_everything,
}

const SOON: Duration = Duration::from_secs(30);

/// What is found, but for what is well, when the program ends with this.
#[track_caller]
fn findings(world: &World, flags: &[&str], exit: i32) -> Vec<Value> {
    let arguments = ["--json", "doctor"].iter().chain(flags);
    let answer = world.tharsis(arguments).expect(exit).json();
    bad(&answer)
}

fn bad(answer: &Value) -> Vec<Value> {
    let all = answer["findings"].as_array().expect("a list");
    assert!(all.len() > 4, "what is well is told too: {answer}");
    let bad = all.iter().filter(|finding| finding["severity"] != "ok");
    bad.cloned().collect()
}

/// The one of this code, which has a remedy.
#[track_caller]
fn found<'a>(findings: &'a [Value], severity: &str, code: &str) -> &'a str {
    let one = findings.iter().find(|finding| finding["code"] == code);
    let one = one.unwrap_or_else(|| panic!("no {code}: {findings:#?}"));
    assert_eq!(one["severity"], severity, "{one}");
    assert!(one["remedy"].is_string(), "{one}");
    one["message"].as_str().expect("a sentence")
}

/// A world with a subscription of each of two clients, and their receivers.
fn two(on: Database) -> (World, [Inbox; 2]) {
    let world = World::on(on);
    let inboxes = [(ALPHA, "shop"), (BETA, "app")].map(|(client, name)| {
        let inbox = world.receiver(name).start();
        world.subscribe(&Subscribe::new(client, &inbox));
        inbox
    });
    (world, inboxes)
}

fn an_installation_that_is_well_says_so(on: Database) {
    let (world, _inboxes) = two(on);
    let worker = world.spawn_run();
    wait_until("it owns everything", SOON, || {
        (world.share_of(&worker) == 64).then_some(())
    });
    assert_eq!(findings(&world, &[], 0), Vec::<Value>::new());
    let told = world.tharsis(["doctor"]).ok().stdout;
    assert!(told.starts_with("All is well: "), "{told}");
    worker.terminate();
    worker.finish(SOON).ok();
    let idle = findings(&world, &[], 0);
    found(&idle, "note", "no_worker");
}

fn nobody_delivers_though_there_is_something_to_do(on: Database) {
    let (world, _inboxes) = two(on);
    world.publish(&world.predictions(ALPHA, 3));
    let findings = findings(&world, &[], 3);
    assert!(found(&findings, "error", "no_worker").contains("3 events to be routed"));
    let told = world.tharsis(["doctor"]).expect(3).stdout;
    assert!(
        told.starts_with("1 error; ") && told.contains("tharsis run"),
        "{told}"
    );
}

fn a_url_that_is_not_allowed_any_more_and_leads_where_nothing_may_be_sent(on: Database) {
    let (world, _inboxes) = two(on);
    let closed = format!(
        "database = \"{}\"\n[egress]\nca_file = \"ca.pem\"\n",
        world.database_url()
    );
    let file = world.write("closed.toml", closed).display().to_string();
    let findings = findings(&world, &["--config", &file], 1);
    let message = found(&findings, "warning", "url_not_allowed");
    assert!(
        message.contains("shop") && message.contains("app"),
        "{message}"
    );
    assert!(!message.contains("/shop"), "no path is told: {message}");
    let message = found(&findings, "warning", "address_not_global");
    assert!(message.contains("localhost (shop, app)"), "{message}");
}

fn an_authority_that_cannot_be_read(on: Database) {
    let (world, _inboxes) = two(on);
    let missing = findings(&world, &["--egress-ca-file", "nowhere.pem"], 3);
    assert!(found(&missing, "error", "ca_file_unreadable").contains("nowhere.pem"));
    let file = world.write(
        "bad.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let file = file.display().to_string();
    let bad = findings(&world, &["--egress-ca-file", &file], 3);
    found(&bad, "error", "ca_file_invalid");
}

fn a_receiver_that_is_gone_and_one_that_fails(on: Database) {
    let world = World::on(on);
    let gone = world.receiver("gone").answers(410).start();
    let dead = world.receiver("dead").answers(500).start();
    world.subscribe(&Subscribe::new(ALPHA, &gone));
    let failing = world.subscribe(&Subscribe::new(BETA, &dead).flag("--breaker=3"));
    world.publish(&world.predictions(ALPHA, 1));
    world.publish(&world.predictions(BETA, 10));
    world.run_until_idle();
    let findings = findings(&world, &[], 1);
    assert!(found(&findings, "warning", "suspended").contains("(http_410)"));
    let message = found(&findings, "warning", "breaker_open");
    assert!(
        message.contains(&failing.id) && message.contains("(http_500)"),
        "{message}"
    );
}

fn people_who_could_not_be_told(on: Database) {
    let world = World::on(on);
    let gone = world.receiver("gone").answers(410).start();
    let well = world.receiver("well").start();
    world.subscribe(&Subscribe::new(ALPHA, &gone));
    world.subscribe(&Subscribe::new(BETA, &well));
    world.configure("[alerts]\nmail = [\"ops@house.example\"]\n");
    let nameless = findings(&world, &[], 1);
    found(&nameless, "warning", "no_smtp");

    let port = closed_port().expect("there is a port").port();
    world.configure(&format!(
        "[smtp]\nhost = \"localhost\"\nport = {port}\ntls = \"none\"\nfrom = \"tharsis@house.example\"\n"
    ));
    world.publish(&world.predictions(ALPHA, 1));
    let worker = world.spawn_run();
    wait_until("it was tried to tell", SOON, || {
        let alerts = world.ask(["alert", "list"]);
        let tries = alerts["alerts"][0]["tries"].as_u64();
        tries.filter(|tries| *tries > 0)
    });
    let findings = findings(&world, &[], 1);
    let message = found(&findings, "warning", "alerts_untold");
    assert!(message.contains("of gone"), "{message}");
    drop(worker);
}

fn a_schema_that_does_not_fit(on: Database) {
    let (world, _inboxes) = two(on);
    let migration = world.table("migration");
    let (statement, code) = match on {
        Database::Sqlite => (
            format!("INSERT INTO {migration} (version, name) VALUES (999, 'tomorrow')"),
            "schema_too_new",
        ),
        Database::Postgres => (
            format!(
                "DELETE FROM {migration} WHERE version = (SELECT max(version) FROM {migration})"
            ),
            "schema_too_old",
        ),
    };
    assert_eq!(world.execute(&statement), 1);
    let findings = findings(&world, &[], 3);
    found(&findings, "error", code);
}

fn too_few_files_for_what_may_be_under_way(on: Database) {
    let (world, _inboxes) = two(on);
    let answer = world
        .tharsis_with_files(200, ["--json", "doctor"])
        .expect(1)
        .json();
    let message = found(&bad(&answer), "warning", "few_files").to_owned();
    assert!(
        message.contains("200 files") && message.contains("256 requests"),
        "{message}"
    );
}

fn a_host_that_does_not_exist(on: Database) {
    let (world, _inboxes) = two(on);
    // Nobody is asked about names that end so (RFC 6761).
    world.execute(&format!(
        "UPDATE {} SET url = 'https://hooks.invalid/in' WHERE name = 'shop'",
        world.table("subscription")
    ));
    let findings = findings(&world, &[], 1);
    let message = found(&findings, "warning", "dns_no_such_name");
    assert!(
        message.contains("hooks.invalid (shop)") && !message.contains("app"),
        "{message}"
    );
}

fn a_key_that_is_of_another_house(on: Database) {
    let ((world, _inboxes), (other, _others)) = (two(on), two(on));
    let key = match on {
        Database::Sqlite => "outbox.db.key",
        Database::Postgres => "tharsis.key",
    };
    fs::copy(other.path(key), world.path(key)).expect("both are there");
    let wrong = findings(&world, &[], 3);
    found(&wrong, "error", "key_wrong");
    fs::remove_file(world.path(key)).expect("it is there");
    let missing = findings(&world, &[], 3);
    found(&missing, "error", "key_missing");
    if on == Database::Postgres {
        // What there is to see without it is seen.
        world.publish(&world.predictions(ALPHA, 1));
        found(&findings(&world, &[], 3), "error", "no_worker");
    }
}

fn a_secret_that_does_not_open(on: Database) {
    let (world, _inboxes) = two(on);
    let secret = world.table("secret");
    world.execute(&format!(
        "UPDATE {secret} SET sealed = (SELECT other.sealed FROM {secret} other
                                       WHERE other.subscription = (SELECT max(subscription) FROM {secret}))
         WHERE subscription = (SELECT min(subscription) FROM {secret})"
    ));
    let findings = findings(&world, &[], 3);
    let message = found(&findings, "error", "subscription_unreadable");
    assert!(
        message.contains("shop") && message.contains("(secret_unreadable)"),
        "{message}"
    );
}

fn a_range_that_holds_everything(on: Database) {
    let (world, _inboxes) = two(on);
    let findings = findings(&world, &["--egress-allow-address", "0.0.0.0/0"], 1);
    assert!(found(&findings, "warning", "egress_wide").contains("0.0.0.0/0"));
}

#[test]
fn a_clock_that_is_wrong() {
    let (world, _inboxes) = two(Database::Postgres);
    let fast = Clock { fast_by: 120 };
    let answer = world
        .tharsis_at(fast, ["--json", "doctor"])
        .expect(3)
        .json();
    let message = found(&bad(&answer), "error", "clock_skewed").to_owned();
    assert!(message.contains("ahead of"), "{message}");
}

#[test]
fn shards_that_nobody_owns_and_a_worker_of_another_version() {
    let (world, _inboxes) = two(Database::Postgres);
    let mut worker = world.spawn_run();
    wait_until("it owns everything", SOON, || {
        (world.share_of(&worker) == 64).then_some(())
    });
    worker.freeze();
    world.execute("UPDATE shard SET owner = NULL WHERE shard < 5");
    world.execute("UPDATE worker SET version = '0.0.1'");
    let findings = findings(&world, &[], 1);
    assert!(found(&findings, "warning", "shards_without_owner").starts_with("5 of 64"));
    assert!(found(&findings, "warning", "worker_of_another_version").contains("0.0.1"));
    drop(worker);
}

#[test]
fn days_that_have_no_tables() {
    let (world, _inboxes) = two(Database::Postgres);
    let days = world.select(
        "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent IN ('event'::regclass, 'attempt'::regclass) AND c.relname NOT LIKE '%default'",
    );
    for day in days {
        world.execute(&format!("DROP TABLE {day}"));
    }
    world.publish(&world.predictions(ALPHA, 1));
    let findings = findings(&world, &[], 3);
    found(&findings, "warning", "days_not_made");
    found(&findings, "warning", "in_default");
}
