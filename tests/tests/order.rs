//! Deliveries that go one after the other.

use std::time::Duration;

use tharsis_tests::{
    ALPHA, BETA, Database, Inbox, Line, Subscribe, World, mark_of, on_both_databases, wait_until,
};

on_both_databases! {
    what_fails_for_one_recipient_delays_nobody_else_and_goes_in_order,
    a_strict_order_holds_also_when_every_worker_is_killed,
    one_that_is_dead_lets_the_next_go_or_holds_them_as_was_chosen,
    a_key_of_the_payload_keeps_its_own_order_and_a_change_lets_all_go,
}

const SOON: Duration = Duration::from_secs(30);

const ANN: &str = "11111111-1111-4111-8111-111111111111";
const BOB: &str = "22222222-2222-4222-8222-222222222222";

/// So many events about each of these, in turn.
fn about(world: &World, client: &str, count: usize, recipients: &[&str]) -> Vec<Line> {
    let lines = world
        .predictions(client, count * recipients.len())
        .into_iter();
    let turns = recipients.iter().cycle();
    lines
        .zip(turns)
        .map(|(line, who)| line.about(who))
        .collect()
}

fn of<'l>(lines: &'l [Line], part: &str) -> Vec<&'l str> {
    let of = lines.iter().filter(|line| line.text.contains(part));
    of.map(|line| &*line.mark).collect()
}

/// The marks of what it got that has this in it, each as often as it came.
fn come(inbox: &Inbox, part: &str) -> Vec<String> {
    let posts = inbox.posts().into_iter();
    let of = posts.filter(|post| String::from_utf8_lossy(&post.body).contains(part));
    of.map(|post| mark_of(&post.body)).collect()
}

/// It came in this order, each perhaps several times in a row.
#[track_caller]
fn assert_in_order(come: &[String], lines: &[&str]) {
    let mut first_seen: Vec<&str> = Vec::new();
    for (n, mark) in come.iter().enumerate() {
        if n == 0 || come[n - 1] != *mark {
            first_seen.push(mark);
        }
    }
    assert_eq!(first_seen, lines);
}

fn what_fails_for_one_recipient_delays_nobody_else_and_goes_in_order(on: Database) {
    let world = World::on(on);
    let lines = about(&world, ALPHA, 40, &[ANN, BOB]);
    let others = about(&world, BETA, 20, &[ANN]);
    let anns = of(&lines, ANN);
    let shop = world
        .receiver("shop")
        .refuses(anns[0], 3)
        .refuses(anns[7], 2)
        .refuses(anns[8], 1)
        .start();
    let theirs = world.receiver("theirs").start();
    let wanted = |client, inbox| Subscribe::new(client, inbox).flag("--order=recipient");
    world.subscribe(&wanted(ALPHA, &shop).retry("6x400ms..1s"));
    world.subscribe(&wanted(BETA, &theirs));
    world.publish(&lines);
    world.publish(&others);
    let run = world.spawn_run();
    wait_until("all about Bob has come", SOON, || {
        (come(&shop, BOB).len() == 40).then_some(())
    });
    assert!(come(&shop, ANN).len() < 6, "the first about Ann is tried");
    wait_until("all is delivered", SOON, || {
        (world.statuses().get("delivered") == Some(&100)).then_some(())
    });
    drop(run);
    assert_in_order(&come(&shop, ANN), &anns);
    assert_in_order(&come(&shop, BOB), &of(&lines, BOB));
    assert_in_order(&come(&theirs, ANN), &of(&others, ANN));
    shop.assert_received(&lines);
    theirs.assert_received_once(&others);
    assert_eq!(shop.count(), lines.len() + 6);
}

fn a_strict_order_holds_also_when_every_worker_is_killed(on: Database) {
    let world = World::on(on);
    let lines = about(&world, ALPHA, 60, &[ANN, BOB]);
    let mut shop = world.receiver("shop").delays(Duration::from_millis(3));
    for line in lines.iter().step_by(9) {
        shop = shop.refuses(&line.mark, 2);
    }
    let shop = shop.start();
    world.lease("1s");
    world.subscribe(
        &Subscribe::new(ALPHA, &shop)
            .flag("--order=strict")
            .retry("9x100ms..1s"),
    );
    world.publish(&lines);
    let mut sent = 0;
    while sent < 90 {
        let run = world.spawn_run();
        let before = shop.count();
        shop.wait_for(before + 15, SOON);
        run.kill9();
        sent = shop.count();
    }
    world.run_until_idle();
    shop.assert_received(&lines);
    // A kill may have one come once more, right after itself: nothing had come after it.
    let all: Vec<&str> = lines.iter().map(|line| &*line.mark).collect();
    let (mut latest, come) = (0, shop.marks());
    for mark in &come {
        let at = all.iter().position(|of| of == mark).expect("its own");
        assert!(
            at <= latest + 1,
            "{at} came after {latest}, and some between never had"
        );
        latest = latest.max(at);
    }
}

fn one_that_is_dead_lets_the_next_go_or_holds_them_as_was_chosen(on: Database) {
    let world = World::on(on);
    let lines = about(&world, ALPHA, 10, &[ANN, BOB]);
    let anns = of(&lines, ANN);
    let inbox = |name| world.receiver(name).refuses(anns[2], 4).start();
    let (goes_on, holds) = (inbox("goes-on"), inbox("holds"));
    let wanted = |inbox: &Inbox| {
        Subscribe::new(ALPHA, inbox)
            .flag("--order=recipient")
            .flag("--breaker=none")
            .retry("2x5ms..10ms")
    };
    world.subscribe(&wanted(&goes_on));
    let id = world.subscribe(&wanted(&holds).flag("--on-dead=hold")).id;
    world.publish(&lines);
    let summary = world.run_until_idle().json();
    assert_eq!(summary["remaining"]["held"], 8, "{summary}");
    assert_in_order(&come(&goes_on, ANN), &anns);
    assert_in_order(&come(&holds, ANN), &anns[..3]);
    assert_in_order(&come(&holds, BOB), &of(&lines, BOB));
    let dead = world.deliveries(&["--status", "dead"]);
    assert_eq!(dead.len(), 1);
    let mut held = world.deliveries(&["--status", "held"]);
    assert_eq!(held.len(), 8, "it, and those that wait for it");
    held.retain(|delivery| delivery["reason"].is_string());
    assert_eq!(
        (&held[0]["subscription"], &held[0]["reason"]),
        (&id.into(), &"http_500".into())
    );

    // Once more it fails, and then it does not.
    let name = held[0]["id"].as_str().expect("an id");
    world.ask(["delivery", "retry", name]);
    world.run_until_idle();
    assert_eq!(come(&holds, ANN).len(), 6);
    world.ask(["delivery", "retry", name]);
    world.run_until_idle();
    assert_in_order(&come(&holds, ANN), &anns);
    assert_eq!(world.statuses()["delivered"], 39);
}

fn a_key_of_the_payload_keeps_its_own_order_and_a_change_lets_all_go(on: Database) {
    let world = World::on(on);
    let lines = about(&world, ALPHA, 30, &[ANN, BOB]);
    let anns = of(&lines, ANN);
    let shop = world.receiver("shop").refuses(anns[0], 1).start();
    let subscribe = Subscribe::new(ALPHA, &shop)
        .flag("--order=key:maraxId")
        .retry("1h");
    let id = world.subscribe(&subscribe).id;
    world.publish(&lines);
    let run = world.spawn_run();
    wait_until("all about Bob has come", SOON, || {
        (come(&shop, BOB).len() == 30).then_some(())
    });
    wait_until("all about Ann waits", SOON, || {
        let lanes = world.select(&format!(
            "SELECT CAST(lane AS text) FROM {}",
            world.table("delivery")
        ));
        (lanes.iter().filter(|lane| *lane == "3").count() == 29).then_some(())
    });
    assert_eq!(come(&shop, ANN).len(), 1);
    assert_eq!(world.statuses()["pending"], 29);
    world.ask(["subscription", "set", &id, "--order=none", "--check=head"]);
    // One is to be tried in an hour, and nobody waits for it any more.
    wait_until("all but one about Ann has come", SOON, || {
        (come(&shop, ANN).len() == 30).then_some(())
    });
    drop(run);
    shop.assert_received(&lines);
    assert_eq!(world.statuses()["retrying"], 1);
}
