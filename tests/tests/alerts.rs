//! The right people are told once what becomes of a subscription.

use std::time::Duration;

use serde_json::Value;
use tharsis_receiver::Flaw;
use tharsis_tests::{
    ALPHA, BETA, Database, Inbox, MailServer, Subscribe, Tls, World, on_both_databases, pause,
    wait_until,
};

on_both_databases! {
    who_is_concerned_is_told_once_also_by_a_server_that_was_down,
    what_ends_dead_is_counted_in_one_message,
    a_suspension_is_told_under_implicit_tls,
    without_anybody_to_tell_nothing_is_left_to_be_told,
    who_listens_hears_of_the_others_of_its_client,
    who_listens_hears_once_also_when_mail_fails,
    two_who_listen_to_each_other_and_fail_are_told_no_more_for_that,
    a_certificate_that_ends_soon_is_told_while_it_is_good,
    a_secret_that_does_not_open_is_told_once_and_nothing_is_sent,
}

const SOON: Duration = Duration::from_secs(40);

const SHOP: &str = "hooks@shop.example";
const PARTNER: &str = "hooks@partner.example";
const CLIENT: &str = "it@partner.example";
const HOUSE: &str = "ops@house.example";

fn alerts(world: &World) -> Vec<Value> {
    let all = world.ask(["alert", "list"]);
    all["alerts"].as_array().expect("a list").clone()
}

/// How many of this type are in this status.
fn count(world: &World, cause: &str, status: &str) -> usize {
    let is = |alert: &&Value| alert["type"] == cause && alert["status"] == status;
    alerts(world).iter().filter(is).count()
}

fn who_is_concerned_is_told_once_also_by_a_server_that_was_down(on: Database) {
    let world = World::on(on);
    let server = MailServer::down(&world, Tls::StartTls);
    world.configure(&format!(
        "[alerts]\nmail = [\"{HOUSE}\"]\n[alerts.clients.{BETA}]\nmail = [\"{CLIENT}\"]\n"
    ));
    let shop = world.receiver("shop").answers(500).start();
    let partner = world.receiver("partner").answers(404).start();
    let well = world.receiver("well").start();
    let mail = |to| format!("--alert-mail={to}");
    let id = world
        .subscribe(&Subscribe::new(ALPHA, &shop).flag(mail(SHOP)))
        .id;
    world.subscribe(&Subscribe::new(BETA, &partner).flag(mail(PARTNER)));
    world.subscribe(&Subscribe::new(ALPHA, &well));
    let lines = world.predictions(ALPHA, 40);
    world.publish(&lines);
    world.publish(&world.predictions(BETA, 40));
    let run = world.spawn_run();

    // Nobody can be told yet, and nobody else waits for that.
    wait_until("it was tried to tell both", SOON, || {
        let tried = |alert: &&Value| alert["tries"].as_u64() > Some(0);
        (alerts(&world).iter().filter(tried).count() == 2).then_some(())
    });
    well.assert_received_once(&lines);
    server.start(&world);
    let told = |n| {
        wait_until("all are told", SOON, || {
            (server.letters().len() >= n).then_some(())
        });
    };
    told(5);
    let (shop_fails, partner_fails) = ("[Tharsis] shop is failing", "[Tharsis] partner is failing");
    assert_eq!(server.subjects(SHOP), [shop_fails]);
    assert_eq!(server.subjects(PARTNER), [partner_fails]);
    assert_eq!(server.subjects(CLIENT), [partner_fails]);
    let mut house = server.subjects(HOUSE);
    house.sort();
    assert_eq!(house, [partner_fails, shop_fails]);
    let letters = server.letters();
    let letter = letters.iter().find(|letter| letter.to == SHOP);
    let text = &letter.expect("it was told").text;
    for part in [
        "40 deliveries are held.",
        "http_500",
        "subscription.failing",
        &id,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    // It is written down after the mail server has taken the last.
    wait_until("both are told", SOON, || {
        (count(&world, "subscription.failing", "told") == 2).then_some(())
    });

    // A recovery is told, for the failure was.
    shop.now_answers(200);
    world.ask(["subscription", "resume", &id]);
    told(7);
    let recovered = "[Tharsis] shop has recovered";
    assert_eq!(server.subjects(SHOP), [shop_fails, recovered]);

    // Within the hour neither another failure nor its end is.
    shop.now_answers(500);
    world.publish(&world.predictions(ALPHA, 40));
    wait_until("it fails again", SOON, || {
        (count(&world, "subscription.failing", "untold") == 1).then_some(())
    });
    pause(Duration::from_secs(5));
    assert_eq!(server.letters().len(), 7, "its turn is in an hour");
    shop.now_answers(200);
    world.ask(["subscription", "resume", &id]);
    wait_until("both are overtaken", SOON, || {
        let moot = |cause| count(&world, cause, "moot") == 1;
        (moot("subscription.failing") && moot("subscription.recovered")).then_some(())
    });
    assert_eq!(server.letters().len(), 7);
    drop(run);
}

fn what_ends_dead_is_counted_in_one_message(on: Database) {
    let world = World::on(on);
    let server = MailServer::up(&world, Tls::None);
    let shop = world.receiver("shop").answers(400).start();
    let wanted = Subscribe::new(ALPHA, &shop)
        .retry("none")
        .flag("--breaker=none")
        .flag(format!("--alert-mail={SHOP}"))
        .flag("--alert-mail=nobody@shop.example");
    let id = world.subscribe(&wanted).id;
    world.publish(&world.predictions(ALPHA, 7));
    world.run_until_idle();
    assert_eq!(count(&world, "delivery.dead", "untold"), 1);
    assert_eq!(alerts(&world)[0]["tries"], 0, "it was idle before");

    let run = world.spawn_run();
    wait_until("it is told", SOON, || {
        (count(&world, "delivery.dead", "told") == 1).then_some(())
    });
    assert_eq!(server.subjects(SHOP), ["[Tharsis] shop is failing"]);
    let text = &server.letters()[0].text;
    let advice = format!("tharsis replay --status dead --subscription {id}");
    for part in ["7 deliveries ended dead", "http_400", &advice] {
        assert!(text.contains(part), "{part} in {text}");
    }

    // What follows within the hour is counted for the next message.
    world.publish(&world.predictions(ALPHA, 5));
    wait_until("they are counted", SOON, || {
        let is = |alert: &&Value| alert["type"] == "delivery.dead" && alert["status"] == "untold";
        let all = alerts(&world);
        let next = all.iter().find(is)?;
        (next["count"] == 5).then_some(())
    });
    pause(Duration::from_secs(3));
    assert_eq!(server.letters().len(), 1);
    drop(run);
}

fn a_suspension_is_told_under_implicit_tls(on: Database) {
    let world = World::on(on);
    let server = MailServer::up(&world, Tls::Required);
    let said = world.ask(["alert", "test", HOUSE]);
    assert_eq!(said["answer"], "250 2.0.0 kept as number 7");
    assert_eq!(server.subjects(HOUSE), ["[Tharsis] A test"]);
    let refused = world.refused(["alert", "test", "nobody@house.example"]);
    assert_eq!(refused["code"], "not_taken");
    let message = refused["message"].as_str().expect("text");
    assert!(message.contains("no such person here"), "{message}");

    let gone = world.receiver("gone").answers(410).start();
    let wanted = Subscribe::new(ALPHA, &gone).flag(format!("--alert-mail={SHOP}"));
    world.subscribe(&wanted);
    world.publish(&world.predictions(ALPHA, 1));
    let run = world.spawn_run();
    wait_until("it is told", SOON, || {
        (!server.subjects(SHOP).is_empty()).then_some(())
    });
    assert_eq!(server.subjects(SHOP), ["[Tharsis] gone is suspended"]);
    let letters = server.letters();
    let text = &letters.last().expect("a letter").text;
    assert!(text.contains("tharsis subscription resume"), "{text}");
    drop(run);
}

fn without_anybody_to_tell_nothing_is_left_to_be_told(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").answers(410).start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    world.publish(&world.predictions(ALPHA, 1));
    let run = world.spawn_run();
    wait_until("it is over", SOON, || {
        (count(&world, "subscription.suspended", "nobody") == 1).then_some(())
    });
    drop(run);
    let refused = world.refused(["alert", "test", HOUSE]);
    assert_eq!(refused["code"], "no_smtp");
}

const FAILING: &str = "subscription.failing";
const RECOVERED: &str = "subscription.recovered";
const DEAD: &str = "delivery.dead";

/// The bodies that it got, which are events of ours.
fn heard(inbox: &Inbox) -> Vec<Value> {
    let posts = inbox.posts();
    let bodies = posts.iter().map(|post| serde_json::from_slice(&post.body));
    bodies.map(|body| body.expect("a body is JSON")).collect()
}

fn who_listens_hears_of_the_others_of_its_client(on: Database) {
    let world = World::on(on);
    // It wants to hear of failures too, and yet not of its own.
    let shop = world.receiver("shop").answers(500).start();
    let wanted = Subscribe::new(ALPHA, &shop)
        .event("product_discount_recommendation")
        .event(FAILING);
    let shop_id = world.subscribe(&wanted).id;
    let partner = world.receiver("partner").answers(500).start();
    let partner_id = world.subscribe(&Subscribe::new(BETA, &partner)).id;
    let listeners = [ALPHA, BETA].map(|client| {
        let ear = world.receiver("ear").start();
        let listens = Subscribe::new(client, &ear).event(FAILING).event(RECOVERED);
        (ear, world.subscribe(&listens).id)
    });
    world.publish(&world.predictions(ALPHA, 40));
    world.publish(&world.predictions(BETA, 30));
    let run = world.spawn_run();

    let expected = [(ALPHA, &shop_id, 40), (BETA, &partner_id, 30)];
    for ((ear, id), (client, about, held)) in listeners.iter().zip(expected) {
        ear.wait_for(1, SOON);
        ear.assert_all_verified();
        let told = &heard(ear)[0];
        assert_eq!(told["type"], FAILING);
        assert_eq!(told["clientId"], client);
        assert_eq!(told["subscriptionId"], **about);
        assert_eq!(told["host"], "localhost");
        assert_eq!(told["condition"], "open");
        assert_eq!(told["waiting"]["count"], held);
        assert_eq!(told["waiting"]["isHeld"], true);
        assert_eq!(told["answers"][0]["code"], "http_500");
        let health = format!("tharsis subscription health {about}");
        assert_eq!(told["commands"][0], *health);
        let text = told.to_string();
        for secret in [
            "/shop",
            "/partner",
            &shop.secret,
            &partner.secret,
            "predictions",
        ] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        // The list of alerts says which event it was, and that is found like any other.
        let is = |alert: &&Value| alert["subscription"] == **about;
        let alerts = alerts(&world);
        let alert = alerts.iter().find(is).expect("it was raised");
        assert_eq!(alert["status"], "told");
        let delivery = format!("{}/{id}", alert["event"].as_str().expect("an id"));
        let shown = world.ask(["delivery", "show", &delivery]);
        assert_eq!(shown["event_type"], FAILING);
    }

    shop.now_answers(200);
    world.ask(["subscription", "resume", &shop_id]);
    let [(ear, _), (other, _)] = &listeners;
    ear.wait_for(2, SOON);
    assert_eq!(heard(ear)[1]["type"], RECOVERED);
    assert_eq!((ear.count(), other.count()), (2, 1));
    let of_shop = heard(&shop);
    assert!(of_shop.iter().all(|body| body["type"] != FAILING));
    drop(run);
    let lines = format!(r#"{{"type":"{FAILING}","client":"{ALPHA}","payload":{{}}}}"#);
    let refused = world.publish_text(lines).json();
    let error = &refused["refused"][0]["error"];
    assert_eq!(error["code"], "reserved_event_type");
    assert_eq!(error["field"], "type");
}

fn who_listens_hears_once_also_when_mail_fails(on: Database) {
    let world = World::on(on);
    let server = MailServer::down(&world, Tls::None);
    world.configure(&format!("[alerts]\nmail = [\"{HOUSE}\"]\n"));
    let shops = ["one", "two"].map(|name| {
        let shop = world.receiver(name).answers(410).start();
        world.subscribe(&Subscribe::new(ALPHA, &shop));
        shop
    });
    let ear = world.receiver("ear").start();
    world.subscribe(&Subscribe::new(ALPHA, &ear).event("subscription.suspended"));
    world.publish(&world.predictions(ALPHA, 1));
    let run = world.spawn_run();
    ear.wait_for(2, SOON);
    wait_until("mail has failed again", SOON, || {
        let is = |alert: &Value| alert["tries"].as_u64() > Some(1);
        alerts(&world).iter().any(is).then_some(())
    });
    server.start(&world);
    wait_until("both are told", SOON, || {
        (count(&world, "subscription.suspended", "told") == 2).then_some(())
    });
    let mut subjects = server.subjects(HOUSE);
    subjects.sort();
    let expected = shops.map(|shop| format!("[Tharsis] {} is suspended", shop.name));
    assert_eq!(subjects, expected);
    drop(run);
    world.run_until_idle();
    ear.assert_all_verified();
    let mut about: Vec<String> = (heard(&ear).iter())
        .map(|told| told["subscriptionName"].to_string())
        .collect();
    about.sort();
    assert_eq!(about, [r#""one""#, r#""two""#]);
}

fn two_who_listen_to_each_other_and_fail_are_told_no_more_for_that(on: Database) {
    let world = World::on(on);
    let receivers = ["one", "two"].map(|name| world.receiver(name).answers(400).start());
    for receiver in &receivers {
        let wanted = Subscribe::new(ALPHA, receiver)
            .event("product_discount_recommendation")
            .event(FAILING)
            .event(DEAD)
            .retry("none")
            .flag("--breaker=none");
        world.subscribe(&wanted);
    }
    world.publish(&world.predictions(ALPHA, 1));
    let run = world.spawn_run();
    let own = || -> usize {
        let bodies = receivers.iter().flat_map(heard);
        bodies.filter(|body| body["raisedAt"].is_string()).count()
    };
    wait_until("each has heard of the other", SOON, || {
        (own() == 4).then_some(())
    });
    // That this died in turn is counted, and told in an hour.
    wait_until("that is counted", SOON, || {
        let is = |alert: &&Value| {
            alert["type"] == DEAD && alert["status"] == "untold" && alert["count"] == 2
        };
        (alerts(&world).iter().filter(is).count() == 2).then_some(())
    });
    pause(Duration::from_secs(6));
    assert_eq!(own(), 4);
    drop(run);
}

/// Nothing has failed yet; a receiver whose certificate is good for long is not told of.
fn a_certificate_that_ends_soon_is_told_while_it_is_good(on: Database) {
    let world = World::on(on);
    let server = MailServer::up(&world, Tls::Required);
    world.configure(&format!("[alerts]\nmail = [\"{HOUSE}\"]\n"));
    let shop = world.receiver("shop").flawed(Flaw::EndsSoon).start();
    let partner = world.receiver("partner").start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    world.subscribe(&Subscribe::new(BETA, &partner));
    let lines = world.predictions(ALPHA, 20);
    world.publish(&[lines.clone(), world.predictions(BETA, 20)].concat());
    let run = world.spawn_run();
    wait_until("it is told", SOON, || {
        (count(&world, "certificate.expiring", "told") == 1).then_some(())
    });
    shop.assert_received_once(&lines);
    partner.wait_for(20, SOON);
    assert_eq!(
        server.subjects(HOUSE),
        ["[Tharsis] shop has a certificate that ends soon"]
    );
    let text = &server.letters()[0].text;
    for part in [
        "Its certificate ends at ",
        "Renew the receiver's certificate",
        &id,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let all = alerts(&world);
    assert!(
        all.iter()
            .all(|alert| alert["type"] == "certificate.expiring"),
        "{all:?}"
    );
    drop(run);
}

/// Somebody has written to the database what only we write there.
fn a_secret_that_does_not_open_is_told_once_and_nothing_is_sent(on: Database) {
    let world = World::on(on);
    let server = MailServer::up(&world, Tls::None);
    let (shop, partner) = (
        world.receiver("shop").start(),
        world.receiver("partner").start(),
    );
    let wanted = Subscribe::new(ALPHA, &shop).flag(format!("--alert-mail={SHOP}"));
    let id = world.subscribe(&wanted).id;
    world.subscribe(&Subscribe::new(BETA, &partner));
    // Held before it is tampered with, so that the message counts them.
    world.ask(["subscription", "pause", &id]);
    world.publish(&[world.predictions(ALPHA, 2), world.predictions(BETA, 2)].concat());
    world.run_until_idle();
    world.ask(["subscription", "resume", &id]);
    let secret = world.table("secret");
    world.execute(&format!(
        "UPDATE {secret} SET sealed = (SELECT other.sealed FROM {secret} other
                                       WHERE other.subscription = (SELECT max(subscription) FROM {secret}))
         WHERE subscription = (SELECT min(subscription) FROM {secret})"
    ));
    let run = world.spawn_run();
    wait_until("it is told", SOON, || {
        (count(&world, "subscription.suspended", "told") == 1).then_some(())
    });
    assert_eq!(server.subjects(SHOP), ["[Tharsis] shop cannot be sent to"]);
    let text = &server.letters()[0].text;
    for part in [
        "2 deliveries are held.",
        "secret_unreadable",
        "tharsis doctor",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("subscription resume"), "{text}");
    partner.wait_for(2, SOON);
    assert_eq!((shop.count(), partner.count()), (0, 2));
    let audit = world.ask(["audit", "list"]);
    let entry = &audit["entries"][0];
    assert_eq!(
        (&entry["action"], &entry["subject"], &entry["actor"]),
        (
            &"subscription.suspended".into(),
            &id.into(),
            &"worker".into()
        )
    );

    // Another worker finds it so too, and nobody is told again.
    drop(run);
    world.run_until_idle();
    assert_eq!(alerts(&world).len(), 1);
}
