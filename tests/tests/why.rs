//! Of one event: to whom it went, to whom not, and what holds it.

use std::time::Duration;

use serde_json::Value;
use tharsis_tests::{ALPHA, BETA, Database, Line, Subscribe, World, on_both_databases, wait_until};

on_both_databases! {
    to_whom_it_went_and_to_whom_not_is_told,
    what_holds_a_delivery_is_told_with_the_command_that_lets_it_go,
    what_has_ended_is_told_with_its_attempts,
    a_campaign_that_is_stopped_is_told,
    what_waits_in_order_is_told_with_the_one_before_it,
    what_this_process_cannot_read_is_told,
    an_event_that_was_refused_is_told,
    it_answers_at_once_however_much_lies_there,
}

const SOON: Duration = Duration::from_secs(30);

/// The id of the event that this line became.
#[track_caller]
fn id_of(world: &World, line: &Line) -> String {
    let marks = world.marks();
    let found = marks.iter().find(|(_, mark)| **mark == line.mark);
    found.expect("it was published").0.clone()
}

#[track_caller]
fn why(world: &World, event: &str) -> Value {
    world.ask(["why", event])
}

/// Of the subscription of this name.
#[track_caller]
fn of<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let all = answer["subscriptions"].as_array().expect("a list");
    let found = all.iter().find(|one| one["name"] == name);
    found.unwrap_or_else(|| panic!("no {name}: {answer}"))
}

/// What says why, the first before all others.
fn codes(of: &Value) -> Vec<&str> {
    let findings = of["findings"].as_array().expect("a list");
    findings
        .iter()
        .filter_map(|one| one["code"].as_str())
        .collect()
}

/// Runs what is to be run next.
#[track_caller]
fn run(world: &World, of: &Value) {
    let command = of["findings"][0]["command"].as_str().expect("a command");
    let command = command.strip_prefix("tharsis ").expect("one of ours");
    world.tharsis(command.split(' ')).ok();
}

fn to_whom_it_went_and_to_whom_not_is_told(on: Database) {
    let world = World::on(on);
    let [shop, app, theirs] = ["shop", "app", "theirs"].map(|name| world.receiver(name).start());
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let wanting = |name: &str| Subscribe::new(ALPHA, &app).named(name);
    world.subscribe(&wanting("nudges").event("nudge"));
    world.subscribe(&wanting("push").flag("--filter=event.type == \"nudge\""));
    world.subscribe(&wanting("coupon").flag("--filter=event.coupon.discount > 20"));
    let other = world.subscribe(&Subscribe::new(BETA, &theirs));
    let gone = world.subscribe(&wanting("gone").event("nudge"));
    let lines = [world.predictions(ALPHA, 1), world.predictions(BETA, 1)].concat();
    world.publish(&lines);
    let event = id_of(&world, &lines[0]);

    let before = why(&world, &event);
    assert_eq!(
        (&before["routed"], codes(&before)),
        (&false.into(), vec!["no_worker"])
    );
    assert_eq!(before["findings"][0]["command"], "tharsis run");
    assert_eq!(of(&before, "shop")["status"], "not_routed");
    assert_eq!(codes(of(&before, "nudges")), ["wants_other_types"]);

    world.run_until_idle();
    world.subscribe(&wanting("late"));
    world.ask(["subscription", "remove", &gone.id, "--yes"]);
    let answer = why(&world, &event);
    assert_eq!(
        answer["answer"],
        "It went to 1 of the 6 subscriptions of its client: 1 delivered."
    );
    let delivered = of(&answer, "shop");
    assert_eq!(
        (&delivered["status"], codes(delivered)),
        (&"delivered".into(), vec!["http_200"])
    );
    assert_eq!(delivered["attempts"][0]["meaning"], "the receiver took it");
    assert_eq!(delivered["next"]["what"], "never");
    for (name, code) in [
        ("nudges", "wants_other_types"),
        ("push", "filter_false"),
        ("coupon", "filter_field_missing"),
        ("late", "added_later"),
        ("gone", "removed"),
    ] {
        let of = of(&answer, name);
        assert_eq!(
            (&of["status"], codes(of)),
            (&"not_sent".into(), vec![code]),
            "{name}"
        );
    }
    let coupon = of(&answer, "coupon")["findings"][0]["message"]
        .as_str()
        .expect("a sentence");
    assert!(
        coupon.contains("column") && coupon.contains("coupon"),
        "{coupon}"
    );

    // Of the other client nothing is told, but to whoever asks for it.
    let asked = world.ask(["why", &event, "--subscription", &other.id]);
    assert_eq!(codes(of(&asked, "theirs")), ["other_client"]);
    let of_theirs = why(&world, &id_of(&world, &lines[1]));
    assert_eq!(of_theirs["subscriptions"].as_array().map(Vec::len), Some(1));
    let told = world.tharsis(["why", &event]).ok().stdout;
    assert!(
        told.starts_with("It went to 1 of the 6 subscriptions"),
        "{told}"
    );
    assert!(
        told.contains("tharsis subscription filter-test --subscription"),
        "{told}"
    );
    let unknown = "019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11";
    assert_eq!(world.refused(["why", unknown])["code"], "not_found");
    let refused = world.refused(["why", &event, "--subscription", unknown]);
    assert_eq!(refused["code"], "not_found");
}

fn what_holds_a_delivery_is_told_with_the_command_that_lets_it_go(on: Database) {
    let world = World::on(on);
    let [shop, dead] = ["shop", "dead"].map(|name| world.receiver(name).start());
    let ours = world.subscribe(&Subscribe::new(ALPHA, &shop));
    world.subscribe(
        &Subscribe::new(BETA, &dead)
            .flag("--breaker=3")
            .retry("1s,1s,1s"),
    );
    world.ask(["subscription", "pause", &ours.id]);
    dead.now_answers(500);
    let lines = [world.predictions(ALPHA, 1), world.predictions(BETA, 20)].concat();
    let later = Line::in_envelope(
        &world.predictions(ALPHA, 1)[0],
        r#""not_before":"2100-01-01T00:00:00Z""#,
    );
    world.publish(&lines);
    world.publish(std::slice::from_ref(&later));
    world.run_until_idle();

    let event = id_of(&world, &lines[0]);
    let answer = why(&world, &event);
    let paused = of(&answer, "shop");
    assert_eq!(
        (&paused["status"], codes(paused)),
        (&"held".into(), vec!["paused", "no_worker"])
    );
    assert_eq!(paused["next"]["what"], "release");
    let told = world.tharsis(["why", &event]).ok().stdout;
    assert!(
        told.starts_with("It is held for shop: its subscription is paused since "),
        "{told}"
    );

    let held = why(&world, &id_of(&world, &lines[20]));
    let open = of(&held, "dead");
    assert_eq!(codes(open), ["breaker_open", "no_worker"]);
    let message = open["findings"][0]["message"].as_str().expect("a sentence");
    assert!(message.contains("http_500"), "{message}");
    assert_eq!(open["next"]["what"], "probe");
    assert!(open["next"]["at"].is_string(), "{open}");

    // What it says to run lets it go.
    dead.now_answers(200);
    run(&world, paused);
    run(&world, open);
    world.run_until_idle();
    assert_eq!(of(&why(&world, &event), "shop")["status"], "delivered");
    shop.assert_received_once(&lines[..1]);
    let scheduled = why(&world, &id_of(&world, &later));
    let scheduled = of(&scheduled, "shop");
    assert_eq!(
        (&scheduled["status"], codes(scheduled)),
        (&"pending".into(), vec!["not_before", "no_worker"])
    );
    assert_eq!(scheduled["next"]["at"], "2100-01-01T00:00:00.000Z");
}

fn what_has_ended_is_told_with_its_attempts(on: Database) {
    let world = World::on(on);
    let [shop, slow] = ["shop", "slow"].map(|name| world.receiver(name).answers(503).start());
    world.subscribe(&Subscribe::new(ALPHA, &shop).retry("20ms"));
    world.subscribe(&Subscribe::new(BETA, &slow).retry("1h"));
    let lines = [world.predictions(ALPHA, 1), world.predictions(BETA, 1)].concat();
    world.publish(&lines);
    let worker = world.spawn_run();
    let event = id_of(&world, &lines[0]);
    wait_until("it is given up", SOON, || {
        (of(&why(&world, &event), "shop")["status"] == "dead").then_some(())
    });
    let answer = why(&world, &event);
    let dead = of(&answer, "shop");
    assert_eq!(codes(dead), ["http_503"]);
    let attempts = dead["attempts"].as_array().expect("a list");
    let told: Vec<_> = attempts
        .iter()
        .map(|one| (&one["number"], &one["status"], &one["end"]))
        .collect();
    assert_eq!(
        told,
        [
            (&1.into(), &503.into(), &Value::Null),
            (&2.into(), &503.into(), &"dead".into())
        ]
    );
    assert_eq!(
        dead["findings"][0]["command"],
        format!(
            "tharsis replay {event}/{}",
            dead["id"].as_str().expect("an id")
        )
    );

    let of_theirs = id_of(&world, &lines[1]);
    wait_until("it was tried", SOON, || {
        (of(&why(&world, &of_theirs), "slow")["status"] == "retrying").then_some(())
    });
    let answer = why(&world, &of_theirs);
    let waits = of(&answer, "slow");
    assert_eq!(
        (codes(waits), &waits["next"]["what"]),
        (vec!["waits_for_retry"], &"attempt".into())
    );
    let sentence = answer["answer"].as_str().expect("a sentence");
    assert!(
        sentence.starts_with("It waits to be sent to slow again: retry 1 of 1 is due "),
        "{sentence}"
    );
    drop(worker);
}

fn a_campaign_that_is_stopped_is_told(on: Database) {
    let world = World::on(on);
    let [shop, theirs] = ["shop", "theirs"].map(|name| world.receiver(name).start());
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    world.subscribe(&Subscribe::new(BETA, &theirs));
    let of_spring = |client| {
        let line = world.predictions(client, 1).remove(0);
        line.in_envelope(r#""campaign":"spring","recipient":"ann""#)
    };
    let lines = [of_spring(ALPHA), of_spring(BETA)];
    world.ask([
        "campaign",
        "pause",
        "spring",
        "--client",
        ALPHA,
        "--recipient=ann",
    ]);
    world.publish(&lines);
    world.run_until_idle();
    let event = id_of(&world, &lines[0]);
    let answer = why(&world, &event);
    let paused = of(&answer, "shop");
    assert_eq!(
        (codes(paused)[0], &paused["next"]["what"]),
        ("campaign_paused", &"release".into())
    );
    run(&world, paused);
    world.run_until_idle();
    assert_eq!(of(&why(&world, &event), "shop")["status"], "delivered");
    assert_eq!(
        of(&why(&world, &id_of(&world, &lines[1])), "theirs")["status"],
        "delivered"
    );

    world.ask(["campaign", "cancel", "spring", "--client", ALPHA]);
    let late = of_spring(ALPHA);
    world.publish(std::slice::from_ref(&late));
    world.run_until_idle();
    let answer = why(&world, &id_of(&world, &late));
    assert_eq!(
        (&of(&answer, "shop")["status"], codes(of(&answer, "shop"))),
        (&"cancelled".into(), vec!["campaign_cancelled"])
    );
}

fn what_waits_in_order_is_told_with_the_one_before_it(on: Database) {
    let world = World::on(on);
    let lines: Vec<Line> = (world.predictions(ALPHA, 3).into_iter())
        .map(|line| line.about(BETA))
        .collect();
    let shop = world.receiver("shop").refuses(&lines[0].mark, 9).start();
    let theirs = world.receiver("theirs").start();
    let wanted = Subscribe::new(ALPHA, &shop)
        .flag("--order=recipient")
        .flag("--on-dead=hold");
    world.subscribe(&wanted.retry("1h"));
    world.subscribe(&Subscribe::new(BETA, &theirs));
    world.publish(&lines);
    let worker = world.spawn_run();
    shop.wait_for(1, SOON);
    wait_until("those after it wait", SOON, || {
        let lanes = world.select(&format!(
            "SELECT CAST(lane AS text) FROM {}",
            world.table("delivery")
        ));
        (lanes.iter().filter(|lane| *lane == "3").count() == 2).then_some(())
    });
    worker.terminate();
    worker.finish(SOON).ok();
    let [first, second] = [0, 1].map(|n| id_of(&world, &lines[n]));
    let answer = why(&world, &second);
    let waits = of(&answer, "shop");
    assert_eq!(codes(waits)[0], "in_order");
    assert_eq!(
        (&waits["next"]["what"], &waits["next"]["after"]),
        (&"predecessor".into(), &first.clone().into())
    );
    assert_eq!(
        codes(of(&why(&world, &first), "shop")),
        ["no_worker", "waits_for_retry"]
    );

    // Its only retry is used up, and it is kept.
    let name = format!("{first}/{}", waits["id"].as_str().expect("an id"));
    world.ask(["delivery", "retry", &name]);
    world.run_until_idle();
    let answer = why(&world, &first);
    assert_eq!(codes(of(&answer, "shop"))[0], "kept");
    assert_eq!(
        of(&answer, "shop")["findings"][0]["command"],
        format!("tharsis delivery retry {name}")
    );
    assert_eq!(codes(of(&why(&world, &second), "shop"))[0], "in_order");
}

fn what_this_process_cannot_read_is_told(on: Database) {
    let world = World::on(on);
    let [shop, theirs] = ["shop", "theirs"].map(|name| world.receiver(name).start());
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    world.subscribe(&Subscribe::new(BETA, &theirs));
    let lines = [world.predictions(ALPHA, 1), world.predictions(BETA, 1)].concat();
    world.publish(&lines);
    let secret = world.table("secret");
    world.execute(&format!(
        "UPDATE {secret} SET sealed = (SELECT other.sealed FROM {secret} other
                                       WHERE other.subscription = (SELECT max(subscription) FROM {secret}))
         WHERE subscription = (SELECT min(subscription) FROM {secret})"
    ));
    world.execute(&format!(
        "UPDATE {} SET profile = 'of_another_house' WHERE name = 'theirs'",
        world.table("subscription")
    ));
    world.run_until_idle();
    for (line, name, reason) in [
        (&lines[0], "shop", "secret_unreadable"),
        (&lines[1], "theirs", "profile_unknown"),
    ] {
        let answer = why(&world, &id_of(&world, line));
        assert_eq!(codes(of(&answer, name))[0], "suspended", "{answer}");
        let sentence = answer["answer"].as_str().expect("a sentence");
        assert!(sentence.contains(&format!("({reason})")), "{sentence}");
    }
}

fn an_event_that_was_refused_is_told(on: Database) {
    let world = World::on(on);
    let [shop, theirs] = ["shop", "theirs"].map(|name| world.receiver(name).start());
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    world.subscribe(&Subscribe::new(BETA, &theirs));
    let payload = r#"{"a":1,"a":2}"#;
    match on {
        Database::Sqlite => {
            let client = ALPHA.replace('-', "");
            world.execute(&format!("INSERT INTO tharsis_event (type, client, payload) VALUES ('nudge', unhex('{client}'), '{payload}')"));
            world.execute("INSERT INTO tharsis_outbox (event) SELECT max(seq) FROM tharsis_event");
        }
        Database::Postgres => {
            world.execute(&format!("SELECT publish('nudge', '{ALPHA}', '{payload}')"));
        }
    }
    world.run_until_idle();
    let id = match on {
        Database::Sqlite => "lower(hex(id))",
        Database::Postgres => "replace(id::text, '-', '')",
    };
    let id = world
        .select(&format!("SELECT {id} FROM {}", world.table("event")))
        .remove(0);
    let event = [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]].join("-");
    let answer = why(&world, &event);
    assert!(answer["refused"]["code"].is_string(), "{answer}");
    assert_eq!(
        codes(&answer),
        [answer["refused"]["code"].as_str().expect("a code")]
    );
    let sentence = answer["answer"].as_str().expect("a sentence");
    assert!(
        sentence.starts_with("It was refused, and goes to nobody: "),
        "{sentence}"
    );
    assert_eq!(codes(of(&answer, "shop")), ["refused"]);
}

/// A long history is beside what is asked for, not in its way.
fn it_answers_at_once_however_much_lies_there(on: Database) {
    let world = World::on(on);
    let [shop, theirs] = ["shop", "theirs"].map(|name| world.receiver(name).start());
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    world.subscribe(&Subscribe::new(BETA, &theirs));
    let line = world.predictions(ALPHA, 1);
    world.publish(&line);
    world.run_until_idle();
    let event = id_of(&world, &line[0]);
    let (attempt, delivery) = (world.table("attempt"), world.table("delivery"));
    // Of events that are not there, some of them before it and some after.
    let copies = match on {
        Database::Sqlite => [
            format!(
                "INSERT INTO {attempt} (event, subscription, number, at, duration_us, code, status, ended)
                 WITH RECURSIVE n(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM n WHERE n < 300000)
                 SELECT n, 1, 1, 0, 1, 'http_200', 200, 'delivered' FROM n"
            ),
            format!(
                "INSERT INTO {delivery} (subscription, lane, due_at, event, attempts, tries)
                 WITH RECURSIVE n(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM n WHERE n < 300000)
                 SELECT 1, 0, 0, n, 0, 0 FROM n"
            ),
        ],
        Database::Postgres => [
            format!(
                "INSERT INTO {attempt} (event, subscription, number, at, duration_us, code, status, ended)
                 SELECT gen_random_uuid(), 1, 1, clock_timestamp(), 1, 'http_200', 200, 'delivered'
                 FROM generate_series(1, 300000)"
            ),
            format!(
                "INSERT INTO {delivery} (subscription, lane, due_at, seq, event)
                 SELECT 1, 0, clock_timestamp(), n, gen_random_uuid() FROM generate_series(1000, 301000) n"
            ),
        ],
    };
    for copy in copies {
        world.execute(&copy);
    }
    let began = std::time::Instant::now();
    assert_eq!(of(&why(&world, &event), "shop")["status"], "delivered");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}
