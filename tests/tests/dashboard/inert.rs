//! Text of strangers: names, answers, payloads. On no page does it do anything, or hide anything.

use tharsis_tests::{ALPHA, Api, Database, Subscribe, World, on_both_databases};

use crate::{
    Browser,
    browser::{SCRIPT, assert_told},
    token,
};

on_both_databases! { text_of_strangers_is_inert_on_every_page }

/// An answer that would be markup, and would turn what comes after it.
const ANSWER: &str =
    "</code><script>alert(1)</script><img src=x onerror=alert(1)>\u{202e}&lt;\u{7}";

#[track_caller]
fn assert_inert(page: &str) {
    // One script is ours, and has nothing in it.
    let (before, after) = page.split_once(SCRIPT).expect("it is there");
    for part in [before, after] {
        assert!(
            !part.contains("<script") && !part.contains("<img"),
            "{page}"
        );
    }
    let steers = |c: char| {
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
            || c.is_control() && c != '\n'
    };
    assert!(!page.contains(steers), "{page}");
    assert!(page.len() < 100_000, "{}", page.len());
}

fn text_of_strangers_is_inert_on_every_page(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").answers(500).says(ANSWER).start();
    let name = "\"><script>alert(1)</script>\u{200b}";
    let subscribe = Subscribe::new(ALPHA, &shop).named(name).retry("none");
    let id = world.subscribe(&subscribe).id;
    let admin = token(&world, "admin", Some(ALPHA));
    world.publish(&world.predictions(ALPHA, 1));
    world.run_until_idle();
    let listed = world.ask(["delivery", "list"]);
    let event = listed["deliveries"][0]["event"]
        .as_str()
        .expect("an id")
        .to_owned();

    let api = Api::start(&world, &["--no-worker"]);
    let browser = Browser::signed_in(&api, &admin);
    let escaped = "&#34;&#62;&#60;script&#62;alert(1)&#60;/script&#62;\\u{200b}";
    for path in [
        "/subscriptions".to_owned(),
        format!("/subscriptions/{id}"),
        format!("/subscriptions/{id}/remove"),
        format!("/subscriptions/{id}/rotate"),
        format!("/subscriptions/{id}/edit"),
        format!("/subscriptions/{id}/filter"),
        "/deliveries".to_owned(),
        "/replays/new".to_owned(),
        "/replays/new?status=dead&look=1".to_owned(),
        format!("/deliveries/{event}/{id}"),
        format!("/events/{event}"),
    ] {
        let page = browser.page(&path);
        assert_inert(&page);
        assert!(page.contains(escaped), "{path}: {page}");
    }
    let delivery = browser.page(&format!("/deliveries/{event}/{id}"));
    let answer = "&#60;/code&#62;&#60;script&#62;alert(1)&#60;/script&#62;";
    assert!(delivery.contains(answer), "{delivery}");
    assert!(delivery.contains("\\u{202e}&#38;lt;\\u{7}"), "{delivery}");
    let tested = browser.post(&format!("/subscriptions/{id}/test"), &[]);
    assert_told(&tested, 200, answer);
    assert_inert(&tested.body);

    // What is typed comes back as it was typed, and does nothing either.
    let typed = "<script>\u{202e}evil";
    let refused = browser.post("/subscriptions/new", &[("name", typed), ("url", "")]);
    assert_told(&refused, 422, "value=\"&#60;script&#62;&#8238;evil\"");
    assert_inert(&refused.body);
    let query = "/deliveries?campaign=%3Cscript%3E%E2%80%AE&since=%3Cb%3E";
    let refused = browser.get(query);
    assert_told(&refused, 422, "value=\"&#60;script&#62;&#8238;\"");
    assert_inert(&refused.body);
    let unknown = browser.get("/subscriptions/%3Cscript%3E%E2%80%AE");
    assert_told(&unknown, 404, "there is no such subscription");
    assert_inert(&unknown.body);
    let removed = browser.post(&format!("/subscriptions/{id}/remove"), &[]);
    assert_eq!(removed.status, 303, "{removed:?}");
    let page = browser.page("/subscriptions");
    assert!(page.contains(&format!("{escaped} was removed")), "{page}");
    assert_inert(&page);
}
