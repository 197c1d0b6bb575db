//! Campaigns that are paused, resumed and cancelled while their deliveries are on their way.

use std::time::Duration;

use serde_json::{Value, json};
use tharsis_tests::{
    ALPHA, BETA, Database, Line, Subscribe, World, on_both_databases, pause, wait_until,
};

on_both_databases! {
    a_pause_holds_what_is_queued_and_what_comes_until_it_is_resumed,
    a_campaign_that_is_cancelled_half_way_ends_there,
    one_recipient_is_stopped_and_the_others_are_not,
    a_worker_that_is_killed_while_a_campaign_is_let_go_loses_nothing,
    a_campaign_of_two_clients_must_be_told_apart,
}

const SOON: Duration = Duration::from_secs(30);

/// Every worker knows of a stop by then.
const KNOWN: Duration = Duration::from_secs(1);

/// Publishes so many events of spring for this recipient.
fn spring(world: &World, client: &str, recipient: &str, count: usize) -> Vec<Line> {
    let fields = format!(r#""campaign":"spring","recipient":"{recipient}""#);
    let lines = world.predictions(client, count);
    let enveloped: Vec<Line> = lines.iter().map(|line| line.in_envelope(&fields)).collect();
    world.publish(&enveloped);
    lines
}

fn campaign(world: &World, what: &str, flags: &[&str]) -> Value {
    let arguments = ["campaign", what, "spring", "--client", ALPHA];
    world.ask(arguments.iter().chain(flags))
}

fn number(of: &Value, key: &str) -> usize {
    let number = of[key].as_u64().and_then(|n| usize::try_from(n).ok());
    number.unwrap_or_else(|| panic!("no {key}: {of}"))
}

fn a_pause_holds_what_is_queued_and_what_comes_until_it_is_resumed(on: Database) {
    let world = World::on(on);
    let ours = world.receiver("ours").start();
    let theirs = world.receiver("theirs").start();
    world.subscribe(&Subscribe::new(ALPHA, &ours).flag("--rate=200/s"));
    world.subscribe(&Subscribe::new(BETA, &theirs).flag("--rate=200/s"));
    let mut lines = spring(&world, ALPHA, "ann", 1_500);
    let others = spring(&world, BETA, "ann", 600);
    let run = world.spawn_run();
    wait_until("some have come", SOON, || (ours.count() > 50).then_some(()));

    let paused = campaign(&world, "pause", &[]);
    assert_eq!(
        (&paused["state"], &paused["owned"]),
        (&json!("paused"), &json!(true))
    );
    pause(KNOWN);
    let come = ours.count();
    assert!(come < 1_000, "{come}");
    // What comes.
    let more = spring(&world, ALPHA, "bob", 20);
    lines.extend(more);
    wait_until("all is held", SOON, || {
        let held = world.statuses().get("held").copied().unwrap_or(0);
        (held + come == lines.len()).then_some(())
    });
    assert_eq!(
        ours.count(),
        come,
        "nothing began after the pause was known"
    );
    wait_until("theirs have come", SOON, || {
        (theirs.count() == 600).then_some(())
    });
    let told = campaign(&world, "show", &[]);
    assert_eq!(told["state"], "paused");
    assert_eq!(number(&told, "published"), lines.len());
    assert_eq!(number(&told, "held"), lines.len() - come);
    assert_eq!(number(&told, "delivered"), come);
    assert_eq!(told["slowest"].as_array().map(Vec::len), Some(1));
    drop(run);

    // Nobody waits for it.
    let summary = world.run_until_idle().json();
    assert_eq!(number(&summary["remaining"], "held"), lines.len() - come);
    let again = campaign(&world, "pause", &[]);
    assert_eq!(again["since"], paused["since"]);

    assert_eq!(campaign(&world, "resume", &[])["state"], "running");
    assert_eq!(campaign(&world, "resume", &[])["state"], "running");
    world.run_until_idle();
    ours.assert_received_once(&lines);
    theirs.assert_received_once(&others);
    assert_eq!(world.statuses()["delivered"], lines.len() + others.len());
}

fn a_campaign_that_is_cancelled_half_way_ends_there(on: Database) {
    let world = World::on(on);
    let ours = world.receiver("ours").start();
    world.subscribe(&Subscribe::new(ALPHA, &ours).flag("--rate=200/s"));
    let lines = spring(&world, ALPHA, "ann", 1_500);
    let plain = world.predictions(ALPHA, 10);
    world.publish(&plain);
    let run = world.spawn_run();
    wait_until("some have come", SOON, || (ours.count() > 50).then_some(()));

    assert_eq!(campaign(&world, "cancel", &[])["state"], "cancelled");
    pause(KNOWN);
    let late = spring(&world, ALPHA, "bob", 5);
    wait_until("all has ended", SOON, || {
        let told = campaign(&world, "show", &[]);
        (number(&told, "cancelled") + number(&told, "delivered") == 1_505).then_some(())
    });
    wait_until("what is of no campaign has come", SOON, || {
        (world.statuses()["delivered"] == ours.count()).then_some(())
    });
    drop(run);
    let cancelled = world.deliveries(&["--status=cancelled", "--limit=10"]);
    for delivery in &cancelled {
        assert_eq!(delivery["reason"], "campaign_cancelled");
        assert_eq!(delivery["attempts"], 0);
    }
    let refused = world.refused(["campaign", "pause", "spring", "--client", ALPHA]);
    assert_eq!(refused["code"], "campaign_cancelled");

    // What comes after it was resumed is sent; the rest stays where it is until it is replayed.
    let come = ours.count();
    campaign(&world, "resume", &[]);
    let fresh = spring(&world, ALPHA, "cid", 5);
    world.run_until_idle();
    assert_eq!(ours.count(), come + 5);
    world.ask(["replay", "--status=cancelled", "--campaign=spring", "--yes"]);
    world.run_until_idle();
    ours.assert_received_once(&[lines, plain, late, fresh].concat());
}

fn one_recipient_is_stopped_and_the_others_are_not(on: Database) {
    let world = World::on(on);
    let ours = world.receiver("ours").start();
    world.subscribe(&Subscribe::new(ALPHA, &ours));
    let ann = spring(&world, ALPHA, "ann", 30);
    let bob = spring(&world, ALPHA, "bob", 30);
    let stopped = campaign(&world, "pause", &["--recipient=ann"]);
    assert_eq!(
        (&stopped["recipient"], &stopped["state"]),
        (&json!("ann"), &json!("paused"))
    );
    let summary = world.run_until_idle().json();
    assert_eq!(number(&summary["remaining"], "held"), 30);
    ours.assert_received_once(&bob);
    let told = campaign(&world, "show", &[]);
    assert_eq!(told["state"], "running");
    assert_eq!(told["recipients"][0]["recipient"], "ann");
    assert_eq!(
        number(&campaign(&world, "show", &["--recipient=ann"]), "held"),
        30
    );

    campaign(&world, "resume", &["--recipient=ann"]);
    campaign(&world, "cancel", &["--recipient=bob"]);
    spring(&world, ALPHA, "bob", 3);
    world.run_until_idle();
    ours.assert_received_once(&[ann, bob].concat());
    assert_eq!(world.statuses()["cancelled"], 3);
}

fn a_worker_that_is_killed_while_a_campaign_is_let_go_loses_nothing(on: Database) {
    let world = World::on(on);
    world.lease("1s");
    let ours = world.receiver("ours").start();
    world.subscribe(&Subscribe::new(ALPHA, &ours));
    let lines = spring(&world, ALPHA, "ann", 1_800);
    campaign(&world, "pause", &[]);
    // It dies while it sets them aside.
    let died = world.spawn_armed("settle.committed:2", ["run"]);
    died.finish(SOON);
    assert_eq!(ours.count(), 0);
    let summary = world.run_until_idle().json();
    assert_eq!(number(&summary["remaining"], "held"), 1_800);

    campaign(&world, "resume", &[]);
    let died = world.spawn_armed("command.committed:2", ["run"]);
    died.finish(SOON);
    world.run_until_idle();
    ours.assert_received(&lines);
    let told = campaign(&world, "show", &[]);
    assert_eq!(number(&told, "delivered"), 1_800);
    assert_eq!((number(&told, "held"), number(&told, "pending")), (0, 0));
}

fn a_campaign_of_two_clients_must_be_told_apart(on: Database) {
    let world = World::on(on);
    world.publish(&world.predictions(ALPHA, 1));
    let refused = world.refused(["campaign", "show", "spring"]);
    assert_eq!(refused["code"], "campaign_unknown");
    spring(&world, ALPHA, "ann", 2);
    let told = world.ask(["campaign", "show", "spring"]);
    assert_eq!(
        (&told["client"], &told["published"]),
        (&json!(ALPHA), &json!(2))
    );
    spring(&world, BETA, "ann", 1);
    for what in ["show", "pause", "resume", "cancel"] {
        let refused = world.refused(["campaign", what, "spring"]);
        assert_eq!(
            (&refused["code"], &refused["field"]),
            (&json!("campaign_ambiguous"), &json!("--client"))
        );
        let message = refused["message"].as_str().expect("a sentence");
        assert!(
            message.contains(ALPHA) && message.contains(BETA),
            "{message}"
        );
    }
}
