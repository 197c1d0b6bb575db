//! A webhook is added by the form, from what is typed wrongly to what arrives.

use serde_json::json;
use tharsis_tests::{ALPHA, Answer, Api, BETA, Database, World, is_signed_with, on_both_databases};

use crate::{
    Browser, SOON,
    browser::{assert_told, between},
    token,
};

on_both_databases! {
    a_webhook_is_added_by_a_form_and_gets_what_is_published,
    what_is_typed_wrongly_is_told_beside_its_field_and_stays,
    the_form_is_that_of_the_chosen_profile,
}

/// The id of the subscription that a page leads to.
fn id(of: &Answer) -> &str {
    between(&of.body, "href=\"/subscriptions/0", "\"")
}

fn a_webhook_is_added_by_a_form_and_gets_what_is_published(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let till = world.receiver("till").start();
    let api = Api::start(&world, &[]);
    let admin = token(&world, "admin", Some(ALPHA));
    let browser = Browser::signed_in(&api, &admin);
    let form = browser.page("/subscriptions/new");
    for label in [
        "Name",
        "Payload URL",
        "Content type",
        "Secret",
        "Failure alerts to",
        "Filter",
    ] {
        assert!(
            form.contains(&format!(">{label}</label>")),
            "{label}: {form}"
        );
    }
    // Whose it is, the token says.
    assert!(!form.contains("name=\"client\""), "{form}");
    // What a script alone does is offered by that script.
    assert!(form.contains("data-generate=\"secret\" hidden"), "{form}");

    // A secret that was given is not shown.
    let made = browser.post(
        "/subscriptions/new",
        &[
            ("do", "save"),
            ("name", "Shop"),
            ("url", &shop.url),
            ("secret", &shop.secret),
            ("alert_mail", "ops@shop.example, eve@shop.example"),
            ("alert_every", "2h"),
        ],
    );
    assert_told(&made, 201, "Shop was added");
    assert!(!made.body.contains(&shop.secret));
    assert!(!made.body.contains("class=\"secret\""));
    assert_eq!((shop.heads().len(), till.heads().len()), (1, 0));

    // One that is generated is shown this once, with how it is verified.
    let made = browser.post(
        "/subscriptions/new",
        &[("name", "Till"), ("url", &till.url), ("events", "nudge")],
    );
    assert_told(&made, 201, "Till was added");
    let secret = between(&made.body, "<code class=\"secret\">", "</code>").to_owned();
    assert_eq!(secret.len(), 40, "{secret}");
    for language in ["Node", "Python", "Ruby", "Rust"] {
        assert!(
            made.body
                .contains(&format!("<summary>{language}</summary>"))
        );
    }
    assert!(made.body.contains("x-mars-signature") && made.body.contains("timingSafeEqual"));
    let path = format!("/subscriptions/0{}", id(&made));
    let page = browser.page(&path);
    assert!(
        page.contains("<h1>Till</h1>") && !page.contains(&secret),
        "{page}"
    );

    let lines = world.predictions(ALPHA, 2);
    let nudges = world.nudges(ALPHA, 1);
    for line in lines.iter().chain(&nudges) {
        api.post(&admin, "/v1/events", &line.text).ok();
    }
    shop.wait_for(3, SOON);
    till.wait_for(1, SOON);
    shop.assert_all_verified();
    let posts = till.posts();
    assert!(posts.iter().all(|post| is_signed_with(post, &secret)));

    let settings = world.ask(["subscription", "list"]);
    let settings = settings["subscriptions"].as_array().expect("a list");
    let of_shop = settings.iter().find(|one| one["name"] == "Shop");
    let of_shop = of_shop.expect("it was added");
    assert_eq!(
        (&of_shop["client"], &of_shop["alert_every"]),
        (&json!(ALPHA), &json!("2h")),
        "{of_shop}"
    );
    let mail = of_shop["alert_mail"].as_array().map(Vec::len);
    assert_eq!(mail, Some(2), "{of_shop}");
    let audit = world.audit();
    let added = audit
        .iter()
        .find(|entry| entry["action"] == "subscription.added");
    let actor = added.expect("it is kept")["actor"].to_string();
    assert!(actor.contains("admin of"), "{actor}");
}

fn what_is_typed_wrongly_is_told_beside_its_field_and_stays(on: Database) {
    let world = World::on(on);
    world.ask(["migrate"]);
    let shop = world.receiver("shop").start();
    let gone = world.receiver("gone").answers_head(404).start();
    let [of_alpha, of_all] = [Some(ALPHA), None].map(|client| token(&world, "admin", client));
    let api = Api::start(&world, &["--no-worker"]);
    let browser = Browser::signed_in(&api, &of_alpha);
    let weak = "open sesame";
    for (field, value, told) in [
        ("name", "", "is empty"),
        ("url", "http://shop.example/", "https"),
        ("url", &*gone.url, "HEAD was answered 404, not 200"),
        (
            "content_type",
            "text/plain",
            "is no media type of what the profile sends",
        ),
        ("secret", weak, "is shorter than"),
        ("events", "order", "has no event of this type"),
        ("alert_mail", "nobody", "is no mail address"),
        ("alert_every", "soon", "is no length of time"),
        ("filter", "event.", "column "),
        ("check", "get", "is none of head and post"),
        ("profile", "pluto", "there is no such profile"),
    ] {
        let mut fields = vec![("name", "Shöp <1>"), ("url", &*shop.url)];
        fields.retain(|(name, _)| *name != field);
        fields.push((field, value));
        let refused = browser.post("/subscriptions/new", &fields);
        assert_told(&refused, 422, told);
        let problem = between(&refused.body, "<strong class=\"problem\">", "</strong>");
        assert!(problem.contains(told), "{field}: {problem}");
        assert!(!refused.body.contains(weak), "{refused:?}");
        if field != "name" {
            let kept = "value=\"Sh&#246;p &#60;1&#62;\"";
            assert!(refused.body.contains(kept), "{refused:?}");
        }
    }
    assert_eq!(shop.heads().len(), 0, "nothing was asked");
    let theirs = [("name", "Shop"), ("url", &*shop.url), ("client", BETA)];
    let refused = browser.post("/subscriptions/new", &theirs);
    assert_told(&refused, 404, "there is no such client");

    // Who sees all clients says whose it is.
    let browser = Browser::signed_in(&api, &of_all);
    let nobodys = browser.post("/subscriptions/new", &theirs[..2]);
    assert_told(&nobodys, 422, "is missing");
    let odd = browser.post(
        "/subscriptions/new",
        &[theirs[0], theirs[1], ("client", "beta")],
    );
    assert_told(&odd, 422, "is not a UUID");
    assert_told(
        &browser.post("/subscriptions/new", &theirs),
        201,
        "Shop was added",
    );
    let taken = browser.post("/subscriptions/new", &theirs);
    assert_eq!(taken.status, 409, "{taken:?}");
    let listed = world.ask(["subscription", "list"]);
    assert_eq!(listed["subscriptions"].as_array().map(Vec::len), Some(1));
}

fn the_form_is_that_of_the_chosen_profile(on: Database) {
    let world = World::on(on);
    world.ask(["migrate"]);
    let shop = world.receiver("shop").start();
    let admin = token(&world, "admin", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let browser = Browser::signed_in(&api, &admin);
    let chosen = browser.post(
        "/subscriptions/new",
        &[
            ("do", "profile"),
            ("profile", "smartech"),
            ("name", "Journeys"),
            ("secret", &shop.secret),
        ],
    );
    assert_told(&chosen, 200, "value=\"Journeys\"");
    let form = &chosen.body;
    assert!(
        form.contains("<option value=\"smartech\" selected>"),
        "{form}"
    );
    assert!(form.contains("name=\"profile_settings.panel\""), "{form}");
    assert!(form.contains("value=\"custom_activity\""), "{form}");
    // It signs nothing.
    assert!(!form.contains("name=\"secret\""), "{form}");
    assert!(!form.contains(&shop.secret), "{form}");
    let refused = browser.post(
        "/subscriptions/new",
        &[
            ("profile", "smartech"),
            ("name", "Journeys"),
            ("url", &shop.url),
        ],
    );
    assert_told(&refused, 422, "is required by the profile smartech");
    assert_eq!(shop.heads().len() + shop.count(), 0, "nothing was asked");
}
