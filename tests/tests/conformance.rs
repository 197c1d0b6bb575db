//! The API is what its document says it is: asked by a program that reads the document and tries what it can think of, and by
//! a client that is generated from it.

use std::process::Command;

use tharsis_tests::{
    ALPHA, Api, BETA, Database, Inbox, Subscribe, World, conformance, on_both_databases,
};

on_both_databases! {
    what_is_asked_at_random_is_answered_as_documented,
    a_client_is_generated_and_publishes,
}

/// Two clients of whom each has something of everything.
fn settled(on: Database) -> (World, [Inbox; 2]) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let partner = world.receiver("partner").answers(400).start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    world.subscribe(&Subscribe::new(BETA, &partner).retry("none"));
    world.publish(&[world.predictions(ALPHA, 3), world.nudges(BETA, 3)].concat());
    world.run_until_idle();
    (world, [shop, partner])
}

fn token(world: &World) -> String {
    let made = world.ask(["token", "create", "--name", "stranger", "--role", "admin"]);
    made["token"].as_str().expect("it is shown once").to_owned()
}

#[track_caller]
fn succeed(mut command: Command) -> String {
    let output = command.output().expect("it can be started");
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    let said = said.concat();
    assert!(output.status.success(), "{command:?} said\n{said}");
    said
}

fn what_is_asked_at_random_is_answered_as_documented(on: Database) {
    let (world, [shop, _partner]) = settled(on);
    let token = token(&world);
    let listed = world.ask(["delivery", "list", "--client", ALPHA]);
    let delivery = |key: &str| listed["deliveries"][0][key].as_str().expect("an id");
    let (event, subscription) = (delivery("event"), delivery("subscription"));
    let api = Api::start(&world, &["--no-worker"]);
    let mut schemathesis = Command::new(conformance("schemathesis"));
    schemathesis
        .current_dir(world.path("."))
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env(
            "PYTHONPATH",
            concat!(env!("CARGO_MANIFEST_DIR"), "/conformance"),
        )
        .env("RECEIVER", &shop.url)
        .env("EVENT", event)
        .env("SUBSCRIPTION", subscription)
        .args([
            "--config-file",
            concat!(env!("CARGO_MANIFEST_DIR"), "/conformance/schemathesis.toml"),
        ])
        .args(["run", &format!("{}/openapi.json", api.url())])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .arg("--no-color");
    let said = succeed(schemathesis);
    // Nothing of it was left out.
    assert!(said.contains("Tested: 38"), "{said}");
    api.process.terminate();
    api.process.finish(std::time::Duration::from_secs(30)).ok();
}

fn a_client_is_generated_and_publishes(on: Database) {
    let (world, [shop, _partner]) = settled(on);
    let token = token(&world);
    let api = Api::start(&world, &[]);
    let lines = world.predictions(ALPHA, 1);
    let before = shop.count();
    let client = world.path("client");
    let mut generate = Command::new(conformance("openapi-python-client"));
    generate
        .args(["generate", "--meta", "none", "--fail-on-warning"])
        .args([
            "--config",
            concat!(env!("CARGO_MANIFEST_DIR"), "/conformance/client.yaml"),
        ])
        // What it makes is formatted by a program that stands beside it.
        .env("PATH", conformance("python").parent().expect("a folder"))
        .args(["--url", &format!("{}/openapi.json", api.url())])
        .arg("--output-path")
        .arg(client.join("tharsis_client"));
    succeed(generate);
    let mut publish = Command::new(conformance("python"));
    publish
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/conformance/client.py"
        ))
        .env("PYTHONPATH", &client)
        .env("TOKEN", &token)
        .env("URL", api.url())
        .env("EVENT", &lines[0].text);
    let said = succeed(publish);
    shop.wait_for(before + 1, std::time::Duration::from_secs(30));
    shop.assert_all_verified();
    assert!(said.contains("published"), "{said}");
}
