//! An SRE replays: one delivery, a filter's worth, and nobody else's.

use std::time::Duration;

use serde_json::Value;
use tharsis_tests::{ALPHA, BETA, Database, Inbox, Subscribe, World, on_both_databases};

on_both_databases! {
    of_one_client_leaves_the_other_alone,
    by_name_takes_that_one_and_sends_the_same_bytes,
    with_an_owner_is_done_while_one_watches_and_has_a_new_retry_budget,
    asked_for_twice_is_sent_once,
    with_a_fresh_key_is_new_to_who_has_had_it,
    asks_before_it_acts,
    what_cannot_be_sent_again_is_said_so,
}

const SOON: Duration = Duration::from_secs(20);

/// Two clients whose events all ended: those of ALPHA dead, those of BETA delivered.
fn after_an_outage(world: &World) -> (Inbox, Inbox) {
    let alpha = world.receiver("alpha").answers(500).start();
    let beta = world.receiver("beta").start();
    world.subscribe(&Subscribe::new(ALPHA, &alpha).retry("none"));
    world.subscribe(&Subscribe::new(BETA, &beta));
    world.publish(&[world.predictions(ALPHA, 12), world.nudges(BETA, 5)].concat());
    world.run_until_idle();
    assert_eq!((alpha.count(), beta.count()), (12, 5));
    alpha.now_answers(200);
    (alpha, beta)
}

fn of_one_client_leaves_the_other_alone(on: Database) {
    let world = World::on(on);
    let (alpha, beta) = after_an_outage(&world);
    let before = world.deliveries(&["--client", BETA]);

    let would = world.ask(["replay", "--client", ALPHA, "--dry-run"]);
    assert_eq!(would["count"], 12);
    assert_eq!(
        world.deliveries(&["--status", "dead"]).len(),
        12,
        "a dry run does nothing"
    );

    // Nobody delivers: it is written down and waits.
    let replay = world.ask(["replay", "--client", ALPHA, "--yes"]);
    assert_eq!(replay["state"], "waiting");
    world.run_until_idle();
    let replay = world.ask(["replay", "show", text(&replay["id"])]);
    assert_eq!(replay["state"], "done");
    assert_eq!(
        (&replay["replayed"], &replay["skipped"]),
        (&Value::from(12), &Value::from(0))
    );

    assert_eq!((alpha.count(), beta.count()), (24, 5));
    alpha.assert_all_verified();
    assert_eq!(
        world
            .deliveries(&["--client", ALPHA, "--status", "delivered"])
            .len(),
        12
    );
    assert_eq!(world.deliveries(&["--client", BETA]), before);
}

fn by_name_takes_that_one_and_sends_the_same_bytes(on: Database) {
    let world = World::on(on);
    let (alpha, beta) = after_an_outage(&world);
    let chosen = world.deliveries(&["--client", ALPHA]).remove(4);
    let first = alpha.posts();
    world.ask(["replay", text(&chosen["id"]), "--yes"]);
    world.run_until_idle();

    assert_eq!((alpha.count(), beta.count()), (13, 5));
    let again = alpha.posts().pop().expect("there are 13");
    let original = (first.iter())
        .find(|post| post.body == again.body)
        .expect("the same bytes");
    assert_eq!(
        original.headers["x-mars-signature"],
        again.headers["x-mars-signature"]
    );

    let shown = world.ask(["delivery", "show", text(&chosen["id"])]);
    assert_eq!(shown["status"], "delivered");
    let numbers: Vec<&Value> = (shown["history"].as_array().expect("a history").iter())
        .map(|attempt| &attempt["number"])
        .collect();
    assert_eq!(numbers, [1, 2], "numbers go on after a replay");
}

fn with_an_owner_is_done_while_one_watches_and_has_a_new_retry_budget(on: Database) {
    let world = World::on(on);
    let alpha = world.receiver("alpha").answers(500).start();
    let subscription = world.subscribe(&Subscribe::new(ALPHA, &alpha).retry("20ms,20ms"));
    world.publish(&world.predictions(ALPHA, 2));
    world.run_until_idle();
    assert_eq!(alpha.count(), 6);

    let run = world.spawn_run();
    let replay = world.ask([
        "replay",
        "--status",
        "dead",
        "--subscription",
        &subscription.id,
        "--yes",
        "--wait",
    ]);
    assert_eq!(replay["state"], "done");
    assert_eq!(replay["replayed"], 2);
    alpha.wait_for(12, SOON);
    run.terminate();
    run.finish(SOON).ok();
    assert_eq!(alpha.count(), 12, "1 + 2 attempts again, and no more");
    for delivery in world.deliveries(&[]) {
        assert_eq!(
            (&delivery["status"], &delivery["attempts"]),
            (&Value::from("dead"), &Value::from(6))
        );
    }
}

fn asked_for_twice_is_sent_once(on: Database) {
    let world = World::on(on);
    let (alpha, _) = after_an_outage(&world);
    let chosen = world.deliveries(&["--client", ALPHA]).remove(0);
    world.ask(["replay", text(&chosen["id"]), "--yes"]);
    let second = world.ask(["replay", text(&chosen["id"]), "--yes"]);
    world.run_until_idle();
    assert_eq!(alpha.count(), 13);
    let second = world.ask(["replay", "show", text(&second["id"])]);
    assert_eq!(
        (&second["replayed"], &second["skipped"]),
        (&Value::from(0), &Value::from(1))
    );
}

fn with_a_fresh_key_is_new_to_who_has_had_it(on: Database) {
    let world = World::on(on);
    let alpha = world.receiver("alpha").start();
    let beta = world.receiver("beta").start();
    for (client, inbox) in [(ALPHA, &alpha), (BETA, &beta)] {
        world.subscribe(
            &Subscribe::new(client, inbox)
                .profile("github")
                .retry("20ms"),
        );
    }
    world.publish(&[world.nudges(ALPHA, 1), world.nudges(BETA, 1)].concat());
    world.run_until_idle();

    // The first replay fails, and its retry too.
    for (flags, key, answer) in [
        (vec!["--fresh-key"], "fresh", 500),
        (vec![], "same", 200),
        (vec!["--fresh-key"], "fresh", 200),
    ] {
        alpha.now_answers(answer);
        let replay = world.ask([vec!["replay", "--client", ALPHA, "--yes"], flags].concat());
        assert_eq!(replay["key"], key);
        world.run_until_idle();
    }

    let keys: Vec<String> = (alpha.posts().iter())
        .map(|post| {
            post.headers["x-github-delivery"]
                .to_str()
                .expect("text")
                .to_owned()
        })
        .collect();
    let [first, fresh, retried, same, other] = &keys[..] else {
        panic!("five requests: {keys:?}");
    };
    assert_eq!(first, same);
    assert_eq!(fresh, retried);
    assert!(
        fresh != first && other != first && other != fresh,
        "{keys:?}"
    );
    assert_eq!(beta.count(), 1);
}

fn asks_before_it_acts(on: Database) {
    let world = World::on(on);
    let (alpha, _) = after_an_outage(&world);
    assert_eq!(
        world.refused(["replay", "--status", "dead"])["code"],
        "not_confirmed"
    );
    let all = world.tharsis(["--json", "replay", "--yes"]);
    assert_eq!(
        all.error_code(),
        "nothing_chosen",
        "everything is never meant by silence"
    );
    world.run_until_idle();
    assert_eq!(alpha.count(), 12);
}

fn what_cannot_be_sent_again_is_said_so(on: Database) {
    let world = World::on(on);
    let gone = world.receiver("gone").answers(410).start();
    world.subscribe(&Subscribe::new(ALPHA, &gone));
    world.publish(&world.predictions(ALPHA, 1));
    world.run_until_idle();
    let delivery = world.deliveries(&[]).remove(0);
    let refused = world.refused(["replay", text(&delivery["id"]), "--yes"]);
    assert_eq!(refused["code"], "subscription_suspended");

    let nobody = world
        .tharsis(["--json", "replay", "--event", "not-a-uuid"])
        .expect(2);
    assert!(nobody.stdout.is_empty() || nobody.json()["error"]["code"].is_string());
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}
