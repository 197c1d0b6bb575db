//! How deliveries end, and what an SRE reads about it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tharsis::system_now;
use tharsis_receiver::{Fault, FaultServer, Flaw, Then, closed_port};
use tharsis_tests::{
    ALPHA, BETA, Database, Line, Subscribe, Subscription, World, on_both_databases,
};

on_both_databases! {
    four_attempts_and_dead_with_the_reason,
    retries_wait_as_long_as_they_were_asked_to,
    retry_after_is_heeded_when_it_asks_for_more,
    a_nudge_whose_expiry_has_passed_is_never_sent,
    a_nudge_that_would_be_retried_after_its_expiry_ends_expired,
    gone_ends_the_delivery_and_holds_the_rest,
    what_is_scheduled_waits_and_idle_does_not_wait_for_it,
    one_delivery_can_be_hurried_or_cancelled,
    a_receiver_that_wants_few_at_a_time_gets_few_and_the_others_do_not_wait,
}

const SOON: Duration = Duration::from_secs(20);

/// The one delivery there is, with its history as `[number, reason, end]`.
fn only_delivery(world: &World) -> (Value, Vec<Value>) {
    let mut deliveries = world.deliveries(&[]);
    assert_eq!(deliveries.len(), 1, "{deliveries:?}");
    let delivery = deliveries.remove(0);
    let shown = world.ask(["delivery", "show", text(&delivery["id"])]);
    let history = (shown["history"].as_array().expect("a history").iter())
        .map(|attempt| json!([attempt["number"], attempt["reason"], attempt["end"]]))
        .collect();
    (shown, history)
}

fn a_receiver_that_wants_few_at_a_time_gets_few_and_the_others_do_not_wait(on: Database) {
    let world = World::on(on);
    let [slow, quick] = ["slow", "quick"].map(|name| world.receiver(name).start());
    world.subscribe(&Subscribe::new(ALPHA, &slow).flag("--rate=20/s"));
    world.subscribe(&Subscribe::new(BETA, &quick));
    let lines = world.predictions(ALPHA, 40);
    world.publish(&[lines.clone(), world.nudges(BETA, 40)].concat());
    world.run_until_idle();

    slow.assert_received_once(&lines);
    let at: Vec<_> = slow.posts().iter().map(|post| post.at).collect();
    // 40 begin in 1.85 s at the least: one at once, two for the tenth of a second that may be caught up, 37 of 50 ms. What
    // the first took longer than the last, to connect, is between them here.
    let took = at[39].since(at[0]);
    assert!(took > Duration::from_millis(1_500), "{took:?}");
    let last = quick.posts().iter().map(|post| post.at).max();
    assert!(last < at.last().copied(), "{last:?} {at:?}");
}

fn four_attempts_and_dead_with_the_reason(on: Database) {
    let world = World::on(on);
    let shop = world
        .receiver("shop")
        .answers(500)
        .says("out of stock\u{1b}[2J")
        .start();
    world.subscribe(&Subscribe::new(ALPHA, &shop).retry("50ms,50ms,50ms"));
    let lines = world.predictions(ALPHA, 1);
    world.publish(&lines);
    let summary = world.run_until_idle().json();
    assert_eq!(
        (
            &summary["delivered"],
            &summary["retried"],
            &summary["ended"]
        ),
        (&json!(0), &json!(3), &json!(1))
    );

    assert_eq!(shop.count(), 4);
    shop.assert_received(&lines);
    let (delivery, history) = only_delivery(&world);
    assert_eq!(delivery["status"], "dead");
    assert_eq!(delivery["attempts"], 4);
    assert_eq!(delivery["reason"], "http_500");
    assert_eq!(
        history,
        [
            json!([1, "http_500", null]),
            json!([2, "http_500", null]),
            json!([3, "http_500", null]),
            json!([4, "http_500", "dead"]),
        ]
    );
    // What a receiver says is shown, but cannot steer the terminal.
    let told = world
        .tharsis(["delivery", "show", text(&delivery["id"])])
        .ok()
        .stdout;
    assert!(told.contains("out of stock"), "{told}");
    assert!(!told.contains('\u{1b}'), "{told:?}");
}

fn retries_wait_as_long_as_they_were_asked_to(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").answers(503).after(2, 200).start();
    world.subscribe(&Subscribe::new(ALPHA, &shop).retry("500ms,1s"));
    world.publish(&world.predictions(ALPHA, 1));
    world.run_until_idle();
    let at: Vec<_> = shop.posts().iter().map(|post| post.at).collect();
    let (first, second) = (at[1].since(at[0]), at[2].since(at[1]));
    // ±20 %, and what a machine under load adds.
    assert!(
        (Duration::from_millis(395)..Duration::from_millis(2_000)).contains(&first),
        "{first:?}"
    );
    assert!(
        (Duration::from_millis(795)..Duration::from_millis(3_000)).contains(&second),
        "{second:?}"
    );
}

fn retry_after_is_heeded_when_it_asks_for_more(on: Database) {
    let world = World::on(on);
    let shop = world
        .receiver("shop")
        .answers(429)
        .then(200)
        .with_header("retry-after", "2")
        .start();
    world.subscribe(&Subscribe::new(ALPHA, &shop).retry("10ms"));
    world.publish(&world.predictions(ALPHA, 1));
    world.run_until_idle();
    let at: Vec<_> = shop.posts().iter().map(|post| post.at).collect();
    assert_eq!(at.len(), 2);
    assert!(
        at[1].since(at[0]) >= Duration::from_millis(1_990),
        "{:?}",
        at[1].since(at[0])
    );
}

fn a_nudge_whose_expiry_has_passed_is_never_sent(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let mut random = world.random();
    let stale = Line::nudge_until(&mut random, ALPHA, "2020-01-24T13:59:59.546+00:00");
    world.publish(&[stale]);
    let summary = world.run_until_idle().json();
    assert_eq!(summary["ended"], 1);
    assert_eq!(shop.count(), 0);
    let (delivery, history) = only_delivery(&world);
    assert_eq!(
        (&delivery["status"], &delivery["reason"]),
        (&json!("expired"), &json!("expired"))
    );
    assert_eq!(history, [json!([0, "expired", "expired"])]);

    let again = world.refused(["replay", text(&delivery["id"]), "--yes"]);
    assert_eq!(again["code"], "expired", "nor by a replay");
}

fn a_nudge_that_would_be_retried_after_its_expiry_ends_expired(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").answers(503).start();
    world.subscribe(&Subscribe::new(ALPHA, &shop).retry("1h"));
    let expiry = (system_now() + Duration::from_secs(30)).to_offset_string();
    world.publish(&[Line::nudge_until(&mut world.random(), ALPHA, &expiry)]);
    world.run_until_idle();
    let (delivery, history) = only_delivery(&world);
    assert_eq!(delivery["status"], "expired");
    assert_eq!(history[0], json!([1, "http_503", "expired"]));
}

fn gone_ends_the_delivery_and_holds_the_rest(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").answers(410).start();
    let subscription = world.subscribe(&Subscribe::new(ALPHA, &shop));
    let first = world.predictions(ALPHA, 1);
    world.publish(&first);
    world.run_until_idle();
    let (delivery, history) = only_delivery(&world);
    assert_eq!(delivery["status"], "dead");
    assert_eq!(history, [json!([1, "http_410", "dead"])]);
    let shown = world.ask(["subscription", "show", &subscription.id]);
    assert_eq!(
        (&shown["state"], &shown["reason"]),
        (&json!("suspended"), &json!("http_410"))
    );

    let rest = world.predictions(ALPHA, 5);
    world.publish(&rest);
    let summary = world.run_until_idle().json();
    assert_eq!(summary["remaining"]["held"], 5);
    assert_eq!(shop.count(), 1, "nothing more is sent to one that is gone");

    shop.now_answers(200);
    world.ask(["subscription", "resume", &subscription.id]);
    world.run_until_idle();
    shop.assert_received_once(&[first, rest].concat());
}

fn what_is_scheduled_waits_and_idle_does_not_wait_for_it(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let [later, soon] = &world.predictions(ALPHA, 2)[..] else {
        panic!("there are two");
    };
    let in_an_hour = system_now() + Duration::from_secs(3600);
    world.publish(&[later.in_envelope(&format!(r#""not_before":"{in_an_hour}""#))]);
    let begin = Instant::now();
    let summary = world.run_until_idle().json();
    assert!(begin.elapsed() < SOON);
    assert_eq!(
        (&summary["delivered"], &summary["remaining"]["scheduled"]),
        (&json!(0), &json!(1))
    );
    let (delivery, _) = only_delivery(&world);
    assert_eq!(
        (&delivery["status"], &delivery["due_at"]),
        (&json!("pending"), &json!(in_an_hour.to_string()))
    );

    let at = system_now() + Duration::from_secs(2);
    let run = world.spawn_run();
    world.publish(&[soon.in_envelope(&format!(r#""not_before":"{at}""#))]);
    shop.wait_for(1, SOON);
    run.kill9();
    let post = shop.posts().remove(0);
    assert_eq!(post.body, soon.text, "the envelope never goes out");
    assert!(post.at >= at, "it came at {} and not before {at}", post.at);
}

/// What becomes of a delivery to somewhere that was good when it was registered: retried, and shown with this code.
#[track_caller]
fn assert_retried(world: &World, subscription: &Subscription, code: &str) {
    world.publish(&world.predictions(ALPHA, 1));
    let summary = world.run_until_idle().json();
    assert_eq!(
        (&summary["retried"], &summary["ended"]),
        (&json!(1), &json!(1)),
        "{code}"
    );
    let (delivery, history) = only_delivery(world);
    assert_eq!(delivery["subscription"], subscription.id);
    assert_eq!(delivery["status"], "dead");
    assert_eq!(history, [json!([1, code, null]), json!([2, code, "dead"])]);
}

#[test]
fn a_certificate_that_is_not_right_is_retried_and_named() {
    for (flaw, code) in [
        (Flaw::Expired, "tls_cert_expired"),
        (Flaw::WrongName, "tls_cert_name_mismatch"),
        (Flaw::SelfSigned, "tls_cert_unknown_issuer"),
        (Flaw::UnknownIssuer, "tls_cert_unknown_issuer"),
    ] {
        let world = World::new();
        let shop = world.receiver("shop").flawed(flaw).start();
        let subscription = world.subscribe_unchecked(&Subscribe::new(ALPHA, &shop).retry("20ms"));
        assert_retried(&world, &subscription, code);
        assert_eq!(shop.count(), 0, "no byte of a request leaves for {code}");
    }
}

#[test]
fn a_port_where_nobody_listens_is_retried() {
    let world = World::new();
    let address = closed_port().expect("there is a port");
    world.open_port(address.port());
    let url = format!("https://localhost:{}/", address.port());
    let subscription =
        world.subscribe_unchecked(&Subscribe::to_url(ALPHA, "shop", &url).retry("20ms"));
    assert_retried(&world, &subscription, "connect_refused");
}

#[test]
fn a_redirect_is_retried_and_never_followed() {
    let world = World::new();
    let trap = world.receiver("trap").start();
    let shop = world
        .receiver("shop")
        .answers(302)
        .with_header("location", &trap.url)
        .start();
    let subscription = world.subscribe(&Subscribe::new(ALPHA, &shop).retry("20ms"));
    assert_retried(&world, &subscription, "http_redirect");
    assert_eq!((trap.posts(), trap.heads()), (vec![], vec![]));
}

#[test]
fn one_that_never_answers_is_retried_after_its_deadline() {
    let world = World::new();
    let shop = world
        .receiver("shop")
        .delays(Duration::from_secs(3600))
        .start();
    let subscription =
        world.subscribe_unchecked(&Subscribe::new(ALPHA, &shop).retry("20ms").timeout("300ms"));
    assert_retried(&world, &subscription, "timeout_response_headers");
}

#[test]
fn one_that_breaks_the_connection_off_is_retried() {
    for (fault, code) in [
        (Fault::CloseOnAccept, "tls_eof"),
        (Fault::Answer(Vec::new(), Then::Close), "connection_closed"),
        (
            Fault::Answer(b"SSH-2.0-x\r\n\r\n".to_vec(), Then::Close),
            "http_protocol",
        ),
    ] {
        let world = World::new();
        let server = world
            .block_on(FaultServer::bind(world.authority(), fault))
            .expect("there is a port");
        world.open_port(server.addr().port());
        let url = server.url("/");
        let subscription =
            world.subscribe_unchecked(&Subscribe::to_url(ALPHA, "shop", &url).retry("20ms"));
        assert_retried(&world, &subscription, code);
    }
}

fn one_delivery_can_be_hurried_or_cancelled(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").answers(503).after(2, 200).start();
    world.subscribe(&Subscribe::new(ALPHA, &shop).retry("1h"));
    world.publish(&world.predictions(ALPHA, 2));
    let run = world.spawn_run();
    shop.wait_for(2, SOON);
    let waiting = tharsis_tests::wait_until("both wait for their retry", SOON, || {
        let waiting = world.deliveries(&["--status", "retrying"]);
        (waiting.len() == 2).then_some(waiting)
    });
    let hurried = world.ask(["delivery", "retry", text(&waiting[0]["id"])]);
    assert_eq!(hurried["owned"], true);
    world.ask(["delivery", "cancel", text(&waiting[1]["id"])]);
    shop.wait_for(3, SOON);
    tharsis_tests::wait_until("both have ended", SOON, || {
        let status = world.statuses();
        (status.get("delivered") == Some(&1) && status.get("cancelled") == Some(&1)).then_some(())
    });
    run.terminate();
    run.finish(SOON).ok();
    assert_eq!(shop.count(), 3);
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}
