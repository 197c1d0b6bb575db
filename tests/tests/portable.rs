//! Subscriptions go from one installation to another as lines of a file.

use serde_json::{Value, json};
use tharsis_tests::{ALPHA, BETA, Database, Subscribe, World, on_both_databases};

on_both_databases! { subscriptions_are_exported_and_imported }

fn results(world: &World, flags: &[&str], exit: i32) -> Vec<Value> {
    let import = ["--json", "subscription", "import", "moved.ndjson"];
    world
        .tharsis(import.iter().chain(flags))
        .expect(exit)
        .json_lines()
}

fn subscriptions_are_exported_and_imported(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let well = world.receiver("well").start();
    let id = world
        .subscribe(&Subscribe::new(ALPHA, &shop).retry("30s,5m").event("nudge"))
        .id;
    world.subscribe(&Subscribe::new(BETA, &well));
    let exported = world.tharsis(["subscription", "export"]).ok();
    assert!(!exported.stdout.contains(&shop.secret));
    let lines: Vec<Value> = exported.json_lines();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["name"], &lines[0]["url"], &lines[0]["retry"]),
        (&json!("shop"), &json!(shop.url), &json!("30s,5m"))
    );
    let of_beta = world
        .tharsis(["subscription", "export", "--client", BETA])
        .ok();
    assert_eq!(of_beta.json_lines(), lines[1..]);

    // One has changed meanwhile, one is new, one's receiver does not answer, and one line is none.
    let [mut changed, mut new, mut dead] = [0; 3].map(|_| lines[0].clone());
    changed["rate"] = json!("10/s");
    new["name"] = json!("new");
    dead["name"] = json!("dead");
    dead["url"] = json!("https://localhost:9/");
    let text = format!("{}\n{changed}\n\n{new}\n{dead}\n{{\"name\":1}}\n", lines[1]);
    world.write("moved.ndjson", text);
    let told =
        |all: &[Value]| -> Vec<Value> { all.iter().map(|line| line["result"].clone()).collect() };
    let would = results(&world, &["--dry-run"], 1);
    assert_eq!(
        told(&would),
        ["unchanged", "differs", "would_add", "refused", "refused"]
    );
    assert_eq!(
        world.ask(["subscription", "list"])["subscriptions"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );

    let done = results(&world, &[], 1);
    assert_eq!(
        told(&done),
        ["unchanged", "differs", "added", "refused", "refused"]
    );
    assert_eq!(
        (&done[1]["id"], &done[1]["fields"]),
        (&json!(id), &json!(["rate"]))
    );
    assert_eq!(done[2]["line"], 4);
    assert_eq!(done[2]["secret"].as_str().map(str::len), Some(40));
    assert_eq!(done[4]["error"]["code"], "bad_line");
    assert_eq!(shop.heads().len(), 2, "the new one was asked");

    // A second time there is nothing to do.
    let again = results(&world, &[], 1);
    assert_eq!(
        told(&again),
        ["unchanged", "differs", "unchanged", "refused", "refused"]
    );
    assert_eq!(
        world.ask(["subscription", "list"])["subscriptions"]
            .as_array()
            .map(Vec::len),
        Some(3)
    );
}
