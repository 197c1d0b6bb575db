//! A subscription is edited by the form, and its filter is tried.

use serde_json::json;
use tharsis_tests::{ALPHA, Api, Database, Subscribe, World, is_signed_with, on_both_databases};

use crate::{
    Browser,
    browser::{assert_told, between},
    token,
};

on_both_databases! {
    a_subscription_is_edited_as_long_as_it_is_what_was_read,
    a_url_on_another_host_gets_a_secret_that_is_shown_once,
    a_filter_is_tried_on_the_last_events,
}

fn a_subscription_is_edited_as_long_as_it_is_what_was_read(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let gone = world.receiver("gone").answers_head(404).start();
    let subscribe = Subscribe::new(ALPHA, &shop).retry("1h");
    let id = world.subscribe(&subscribe).id;
    let [admin, viewer] = ["admin", "viewer"].map(|role| token(&world, role, Some(ALPHA)));
    let api = Api::start(&world, &["--no-worker"]);
    let browser = Browser::signed_in(&api, &admin);
    let path = format!("/subscriptions/{id}");
    let edit = format!("{path}/edit");
    let link = format!("href=\"{edit}\"");
    assert!(browser.page(&path).contains(&link));
    let onlooker = Browser::signed_in(&api, &viewer);
    assert!(!onlooker.page(&path).contains(&link));
    let version = |form: &str| between(form, "name=\"version\" value=\"", "\"").to_owned();
    let form = browser.page(&edit);
    assert!(form.contains("value=\"shop\""), "{form}");
    let first = version(&form);
    let shown = || api.get(&admin, &format!("/v1{path}")).ok();
    let before = shown();

    let changed = browser.post(
        &edit,
        &[
            ("version", &*first),
            ("name", "Shop of spring"),
            ("url", &*shop.url),
            ("events", "nudge"),
            ("filter", "event.channel == \"push\""),
            ("rate", "5/s"),
            ("alert_mail", "ops@shop.example"),
            ("alert_every", "2h"),
        ],
    );
    assert_eq!(
        (changed.status, changed.header("location")),
        (303, Some(&*path)),
        "{changed:?}"
    );
    assert!(browser.page(&path).contains("It was changed."));
    let after = shown();
    for (field, value) in [
        ("name", json!("Shop of spring")),
        ("url", before["url"].clone()),
        ("events", json!(["nudge"])),
        ("filter", json!("event.channel == \"push\"")),
        ("rate", json!("5/s")),
        ("alert_mail", json!(["ops@shop.example"])),
        ("alert_every", json!("2h")),
        // What the form does not have stays.
        ("retry", before["retry"].clone()),
        ("secret_fingerprint", before["secret_fingerprint"].clone()),
    ] {
        assert_eq!(after[field], value, "{field}");
    }
    let form = browser.page(&edit);
    let nudge = "value=\"nudge\" checked";
    assert!(
        form.contains(nudge) && form.contains("Shop of spring"),
        "{form}"
    );

    // Who has the former form before them changes nothing.
    let late = [
        ("version", &*first),
        ("name", "Shop of summer"),
        ("url", &*shop.url),
    ];
    let refused = browser.post(&edit, &late);
    assert_told(&refused, 412, "somebody has changed it since");
    assert!(
        refused.body.contains("value=\"Shop of summer\"") && refused.body.contains(&link),
        "{refused:?}"
    );
    // Nor is it by sending that again.
    let again = version(&refused.body);
    assert_eq!(again, first);
    let refused = browser.post(&edit, &late[1..]);
    assert_told(&refused, 422, "version: is missing");

    let present = version(&form);
    for (field, value, told) in [
        ("name", "", "is empty"),
        ("url", "http://shop.example/", "https"),
        ("url", &*gone.url, "HEAD was answered 404, not 200"),
        ("events", "order", "has no event of this type"),
        ("alert_mail", "nobody", "is no mail address"),
        ("filter", "event.", "column "),
        ("secret", &*world.secret(), "its URL stays on its host"),
    ] {
        let mut fields = vec![
            ("version", &*present),
            ("name", "Till"),
            ("url", &*shop.url),
        ];
        fields.retain(|(name, _)| *name != field);
        fields.push((field, value));
        let refused = browser.post(&edit, &fields);
        assert_told(&refused, 422, told);
        let problem = between(&refused.body, "<strong class=\"problem\">", "</strong>");
        assert!(problem.contains(told), "{field}: {problem}");
        assert!(field != "secret" || !refused.body.contains(value));
    }
    assert_eq!(shown(), after);
    // It was asked when it was registered, and no more.
    assert_eq!(shop.heads().len(), 1);
}

fn a_url_on_another_host_gets_a_secret_that_is_shown_once(on: Database) {
    let world = World::on(on);
    world.ask(["migrate"]);
    let shop = world.receiver("shop").start();
    let former = format!("https://hooks.elsewhere.com:{}/in", shop.port());
    let subscribe = Subscribe::to_url(ALPHA, "shop", &former).secret(&shop.secret);
    let id = world.subscribe_unchecked(&subscribe).id;
    let admin = token(&world, "admin", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let browser = Browser::signed_in(&api, &admin);
    let edit = format!("/subscriptions/{id}/edit");
    let form = browser.page(&edit);
    assert!(
        form.contains("on another host the secret is replaced"),
        "{form}"
    );
    let version = between(&form, "name=\"version\" value=\"", "\"");
    let fields = [("version", version), ("name", "shop"), ("url", &*shop.url)];
    let moved = browser.post(&edit, &fields);
    assert_told(&moved, 200, "<h1>shop was changed</h1>");
    let secret = between(&moved.body, "<code class=\"secret\">", "</code>").to_owned();
    assert_eq!(secret.len(), 40, "{secret}");
    assert_ne!(secret, shop.secret);
    for path in [&*edit, &*format!("/subscriptions/{id}"), "/settings/audit"] {
        let page = browser.page(path);
        assert!(
            !page.contains(&secret) && !page.contains(&shop.secret),
            "{path}"
        );
    }
    world.publish(&world.predictions(ALPHA, 1));
    world.run_until_idle();
    let posts = shop.posts();
    assert_eq!(posts.len(), 1);
    assert!(posts.iter().all(|post| is_signed_with(post, &secret)));
}

fn a_filter_is_tried_on_the_last_events(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    world.publish(&world.predictions(ALPHA, 2));
    world.publish(&world.nudges(ALPHA, 1));
    world.run_until_idle();
    let viewer = token(&world, "viewer", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let browser = Browser::signed_in(&api, &viewer);
    let path = format!("/subscriptions/{id}/filter");
    let form = browser.page(&path);
    assert!(!form.contains("of the last"), "{form}");
    let tried = browser.page(&format!("{path}?filter=event.channel+%3D%3D+%22push%22"));
    assert!(tried.contains("1 of the last 3 events"), "{tried}");
    assert_eq!(tried.matches("<td>match</td>").count(), 1, "{tried}");
    assert_eq!(tried.matches("<td>no match</td>").count(), 2, "{tried}");
    let odd = browser.get(&format!("{path}?filter=event."));
    assert_told(&odd, 422, "column ");
    let shown = api.get(&viewer, &format!("/v1/subscriptions/{id}")).ok();
    assert_eq!(shown["filter"], json!(null), "nothing is changed");
    assert_eq!(shop.count(), 3, "nothing is sent");
}
