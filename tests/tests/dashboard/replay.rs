//! What was not delivered is chosen, looked at, and sent again.

use tharsis_tests::{
    ALPHA, Api, BETA, Database, Inbox, Subscribe, World, on_both_databases, wait_until,
};

use crate::{
    Browser, SOON,
    browser::{assert_told, between},
    token,
};

on_both_databases! {
    what_is_dead_is_looked_at_confirmed_and_delivered,
    a_replay_is_paused_goes_on_and_is_called_off,
    what_a_subscription_was_never_sent_is_sent_to_it,
    what_is_chosen_wrongly_is_told_and_stays,
}

/// Receivers of two clients that took nothing, with so many events each, and take it from now on.
fn after_an_outage(world: &World) -> [(Inbox, String); 2] {
    let [ours, theirs] = [(ALPHA, "shop"), (BETA, "partner")].map(|(client, name)| {
        let inbox = world.receiver(name).answers(400).start();
        let id = world
            .subscribe(&Subscribe::new(client, &inbox).retry("none"))
            .id;
        world.publish(&world.predictions(client, 3));
        (inbox, id)
    });
    world.run_until_idle();
    for (inbox, _) in [&ours, &theirs] {
        inbox.now_answers(200);
    }
    [ours, theirs]
}

/// What the page sends when it is confirmed, but for what shows whose form it is.
fn hidden(page: &str) -> Vec<(String, String)> {
    let form = between(
        page,
        "<form method=\"post\" action=\"/replays/new\">",
        "</form>",
    );
    let fields = form.split("<input type=\"hidden\" name=\"").skip(1);
    let pairs = fields.map(|field| {
        let (name, rest) = field.split_once('"').expect("a name");
        (name.to_owned(), between(rest, "value=\"", "\"").to_owned())
    });
    pairs.filter(|(name, _)| name != "csrf").collect()
}

fn what_is_dead_is_looked_at_confirmed_and_delivered(on: Database) {
    let world = World::on(on);
    let [(shop, id), (partner, _)] = after_an_outage(&world);
    let [operator, viewer] = ["operator", "viewer"].map(|role| token(&world, role, Some(ALPHA)));
    let other = token(&world, "operator", Some(BETA));
    let api = Api::start(&world, &[]);
    let browser = Browser::signed_in(&api, &operator);

    // What is listed is chosen.
    let list = browser.page("/deliveries?status=dead&status=expired&type=&since=24h");
    let href = "/replays/new?status=dead&#38;status=expired&#38;since=24h";
    assert!(list.contains(&format!("href=\"{href}\"")), "{list}");
    let form = browser.page("/replays/new?status=dead&status=expired&since=24h");
    for kept in [
        "value=\"dead\" checked",
        "value=\"expired\" checked",
        "value=\"24h\"",
    ] {
        assert!(form.contains(kept), "{kept}: {form}");
    }
    assert!(!form.contains("Send them"), "{form}");
    let onlooker = Browser::signed_in(&api, &viewer);
    assert!(!onlooker.page("/deliveries").contains("/replays/new"));
    assert!(!onlooker.page("/replays").contains("/replays/new"));

    // It is told what it would take, and nothing is sent.
    let looked = browser.page(&format!(
        "/replays/new?status=dead&subscription={id}&since=24h&rate=1000%2Fs&look=1"
    ));
    assert!(
        looked.contains("Up to 3 deliveries (3 dead) would be sent again"),
        "{looked}"
    );
    let sample = looked.matches(&format!("/{id}\"><code>")).count();
    assert_eq!(sample, 3, "{looked}");
    assert!(browser.page("/replays").contains("There is no replay"));
    assert_eq!(shop.count(), 3);

    // What is confirmed is what was looked at.
    let hidden = hidden(&looked);
    let of = |name: &str| {
        let found = hidden.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| &**value)
    };
    assert_eq!((of("status"), of("expected")), (Some("dead"), Some("3")));
    let since = of("since").expect("it is there");
    assert!(since.contains('T') && since.ends_with('Z'), "{since}");
    let fields: Vec<(&str, &str)> = (hidden.iter())
        .map(|(name, value)| (&**name, &**value))
        .collect();
    let made = browser.post("/replays/new", &fields);
    assert_eq!(made.status, 303, "{made:?}");
    let path = made.header("location").expect("where it is").to_owned();
    assert!(path.starts_with("/replays/"), "{path}");
    shop.wait_for(6, SOON);
    let page = wait_until("the replay is through", SOON, || {
        let page = browser.get(&path).body;
        (page.contains("</span> done</span>") && page.contains(" 0 on their way.")).then_some(page)
    });
    for told in [
        "3 deliveries of at most 3 looked at: 3 due again, 0 skipped, 0 on their way.",
        "max=\"3\" value=\"3\"",
        "<dd>1000/s</dd>",
    ] {
        assert!(page.contains(told), "{told}: {page}");
    }
    assert!(!page.contains("/pause\""), "{page}");
    let list = browser.page("/replays");
    assert!(list.contains(&format!("href=\"{path}\"")), "{list}");
    let delivered = browser.page("/deliveries?status=delivered");
    assert_eq!(
        delivered.matches("</span> delivered</span>").count(),
        3,
        "{delivered}"
    );
    assert_eq!(partner.count(), 3);

    // What is another client's is not there.
    let foreign = Browser::signed_in(&api, &other);
    assert_told(&foreign.get(&path), 404, "there is no such replay");
    let refused = foreign.post(&format!("{path}/cancel"), &[]);
    assert_told(&refused, 404, "there is no such replay");
    assert!(foreign.page("/replays").contains("There is no replay"));
    let path = format!("/replays/new?status=delivered&to={id}&look=1");
    assert_told(&foreign.get(&path), 404, "there is no such subscription");
}

fn a_replay_is_paused_goes_on_and_is_called_off(on: Database) {
    let world = World::on(on);
    let [(shop, _), (partner, _)] = after_an_outage(&world);
    let operator = token(&world, "operator", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let browser = Browser::signed_in(&api, &operator);

    let made = browser.post("/replays/new", &[("status", "dead")]);
    let path = made.header("location").expect("where it is").to_owned();
    let page = browser.page(&path);
    assert!(page.contains("</span> waiting</span>"), "{page}");
    assert!(page.contains("Nothing delivers at present"), "{page}");
    // What was not counted has no bar.
    assert!(!page.contains("<progress"), "{page}");
    let paused = browser.post(&format!("{path}/pause"), &[]);
    assert_eq!(
        (paused.status, paused.header("location")),
        (303, Some(&*path))
    );
    let page = browser.page(&path);
    assert!(
        page.contains("It is paused") && page.contains("</span> paused</span>"),
        "{page}"
    );
    world.run_until_idle();
    assert_eq!(shop.count(), 3);
    let resumed = browser.post(&format!("{path}/resume"), &[]);
    assert_eq!(resumed.status, 303, "{resumed:?}");
    world.run_until_idle();
    assert_eq!((shop.count(), partner.count()), (6, 3));
    assert!(browser.page(&path).contains("</span> done</span>"));
    let late = browser.post(&format!("{path}/pause"), &[]);
    assert_eq!(late.status, 409, "{late:?}");

    let made = browser.post("/replays/new", &[("status", "delivered"), ("key", "fresh")]);
    let path = made.header("location").expect("where it is").to_owned();
    assert!(browser.page(&path).contains("<dd>fresh</dd>"));
    let cancelled = browser.post(&format!("{path}/cancel"), &[]);
    assert_eq!(cancelled.status, 303, "{cancelled:?}");
    world.run_until_idle();
    let page = browser.page(&path);
    assert!(page.contains("</span> cancelled</span>"), "{page}");
    assert_eq!(shop.count(), 6);
    let audit = world.audit();
    let is_told = audit
        .iter()
        .any(|entry| entry["action"] == "replay.cancelled" && entry["address"] == "127.0.0.1");
    assert!(is_told, "{audit:?}");
}

fn what_a_subscription_was_never_sent_is_sent_to_it(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let lines = world.predictions(ALPHA, 2);
    world.publish(&lines);
    world.run_until_idle();
    let till = world.receiver("till").start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &till)).id;
    let operator = token(&world, "operator", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let browser = Browser::signed_in(&api, &operator);

    let looked = browser.page(&format!(
        "/replays/new?what=missing&subscription={id}&look=1"
    ));
    assert!(
        looked.contains("Up to 2 deliveries would be sent again"),
        "{looked}"
    );
    let hidden = hidden(&looked);
    let fields: Vec<(&str, &str)> = (hidden.iter())
        .map(|(name, value)| (&**name, &**value))
        .collect();
    let made = browser.post("/replays/new", &fields);
    assert_eq!(made.status, 303, "{made:?}");
    world.run_until_idle();
    till.assert_received_once(&lines);
    assert_eq!(shop.count(), 2);
}

fn what_is_chosen_wrongly_is_told_and_stays(on: Database) {
    let world = World::on(on);
    let [(shop, id), (_, theirs)] = after_an_outage(&world);
    let operator = token(&world, "operator", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let browser = Browser::signed_in(&api, &operator);
    for (query, told) in [
        ("", "nothing says which deliveries"),
        ("status=lost", "is no status of a delivery"),
        ("status=dead&rate=fast", "<strong class=\"problem\">"),
        ("since=yesterday", "is not a time as RFC 3339 writes it"),
        ("status=dead&key=new", "is neither same nor fresh"),
        ("what=missing", "is missing"),
        ("what=all", "is neither empty nor missing"),
        (
            &*format!("what=missing&subscription={id}&status=dead"),
            "has no state and no other subscription",
        ),
        (
            &*format!("what=missing&subscription={id}&to={id}"),
            "is not for what was never delivered",
        ),
    ] {
        let path = format!("/replays/new?{query}&campaign=&look=1");
        assert_told(&browser.get(&path), 422, told);
    }
    let kept = browser.get("/replays/new?status=dead&rate=fast&campaign=spring+sale&look=1");
    assert!(kept.body.contains("value=\"spring sale\""), "{kept:?}");
    assert!(kept.body.contains("value=\"dead\" checked"), "{kept:?}");
    let foreign = browser.get(&format!(
        "/replays/new?what=missing&subscription={theirs}&look=1"
    ));
    assert_told(&foreign, 404, "there is no such subscription");
    let refused = browser.post("/replays/new", &[]);
    assert_told(&refused, 422, "choose a status");

    // Where nothing matches there is nothing to confirm.
    let nothing = browser.page("/replays/new?status=delivered&look=1");
    assert!(
        nothing.contains("0 deliveries would be sent again."),
        "{nothing}"
    );
    assert!(!nothing.contains("Send them"), "{nothing}");
    assert!(browser.page("/replays").contains("There is no replay"));
    assert_eq!(shop.count(), 3);
}
