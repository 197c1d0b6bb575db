//! Tokens, the audit, what is of no client alone, and events that are looked for.

use serde_json::json;
use tharsis_tests::{ALPHA, Api, BETA, Database, Subscribe, World, on_both_databases};

use crate::{
    Browser,
    browser::{assert_told, between},
    token,
};

on_both_databases! {
    a_token_that_is_made_on_the_page_works_until_it_is_revoked_there,
    settings_are_those_of_whoever_looks,
    events_are_found_by_campaign_and_recipient,
}

fn a_token_that_is_made_on_the_page_works_until_it_is_revoked_there(on: Database) {
    let world = World::on(on);
    world.ask(["migrate"]);
    let [one, all] = [Some(ALPHA), None].map(|client| token(&world, "admin", client));
    let api = Api::start(&world, &["--no-worker"]);
    let browser = Browser::signed_in(&api, &one);
    let form = browser.page("/settings/tokens");
    // Whose it is, the token says.
    assert!(!form.contains("name=\"client\""), "{form}");
    for (field, value, told) in [
        ("name", "", "is empty"),
        ("role", "king", "is no role"),
        ("expires", "soon", "is no length of time"),
    ] {
        let mut fields = vec![("name", "till"), ("role", "viewer")];
        fields.retain(|(name, _)| *name != field);
        fields.push((field, value));
        let refused = browser.post("/settings/tokens", &fields);
        assert_told(&refused, 422, told);
        let problem = between(&refused.body, "<strong class=\"problem\">", "</strong>");
        assert!(problem.contains(told), "{field}: {problem}");
    }

    let made = browser.post(
        "/settings/tokens",
        &[("name", "till"), ("role", "viewer"), ("expires", "90d")],
    );
    assert_told(&made, 201, "The token till was made");
    let secret = between(&made.body, "<code class=\"secret\">", "</code>").to_owned();
    api.get(&secret, "/v1/subscriptions").ok();
    let prefix = secret.strip_prefix("tharsis_").expect("it is a token");
    let prefix = prefix.get(..8).expect("it is long");
    let list = browser.page("/settings/tokens");
    assert!(list.contains(prefix) && !list.contains(&secret), "{list}");
    let audit = browser.page("/settings/audit");
    assert!(
        audit.contains("<td>token.made</td>") && audit.contains("admin of"),
        "{audit}"
    );
    assert!(audit.contains(prefix) && !audit.contains(&secret));

    // The newest comes first.
    let revoke = between(&list, "action=\"/settings/tokens/", "\"");
    let revoked = browser.post(&format!("/settings/tokens/{revoke}"), &[]);
    assert_eq!(
        (revoked.status, revoked.header("location")),
        (303, Some("/settings/tokens"))
    );
    let list = browser.page("/settings/tokens");
    assert!(
        list.contains(&format!("{prefix} till was revoked")),
        "{list}"
    );
    let late = api.get(&secret, "/v1/subscriptions");
    assert_eq!(late.refused(401), "token_unknown");
    let audit = world.audit();
    assert_eq!(audit[0]["action"], json!("token.revoked"));
    let actor = audit[0]["actor"].to_string();
    assert!(actor.contains("admin of"), "{actor}");

    // Who sees all clients says whose it is, and may look at one alone.
    let browser = Browser::signed_in(&api, &all);
    let form = browser.page("/settings/tokens");
    assert!(form.contains("name=\"client\""), "{form}");
    let own = browser.page(&format!("/settings/audit?client={ALPHA}"));
    assert!(own.contains("<td>token.revoked</td>"), "{own}");
    let theirs = browser.page(&format!("/settings/audit?client={BETA}"));
    assert!(theirs.contains("There is nothing in it."), "{theirs}");
}

fn settings_are_those_of_whoever_looks(on: Database) {
    let world = World::on(on);
    world.ask(["migrate"]);
    let viewer = token(&world, "viewer", Some(ALPHA));
    let [one, all] = [Some(ALPHA), None].map(|client| token(&world, "admin", client));
    let api = Api::start(&world, &["--no-worker"]);
    let [viewer, one, all] = [&viewer, &one, &all].map(|token| Browser::signed_in(&api, token));
    for (browser, seen) in [
        (&viewer, &["alerts"][..]),
        (&one, &["tokens", "audit", "alerts"][..]),
        (&all, &["tokens", "audit", "alerts", "workers", "keys"][..]),
    ] {
        let page = browser.page("/settings");
        for name in ["tokens", "audit", "alerts", "workers", "keys"] {
            let is_there = page.contains(&format!("href=\"/settings/{name}\""));
            assert_eq!(is_there, seen.contains(&name), "{name}: {page}");
        }
    }
    let workers = all.page("/settings/workers");
    assert!(workers.contains("None delivers at present"), "{workers}");
    let keys = all.page("/settings/keys");
    let known = world.ask(["key", "list"]);
    let id = known["keys"][0]["id"].as_str().expect("an id");
    assert!(
        keys.contains(id) && keys.contains("</span> sealing</span>"),
        "{keys}"
    );
    assert!(keys.contains("tharsis key rotate"), "{keys}");
    for path in ["/settings/workers", "/settings/keys"] {
        assert_told(&one.get(path), 404, "there is no such page");
    }
}

fn events_are_found_by_campaign_and_recipient(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let partner = world.receiver("partner").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    world.subscribe(&Subscribe::new(BETA, &partner));
    for (client, campaign, recipient) in [
        (ALPHA, "spring", "ada"),
        (ALPHA, "spring", "bob"),
        (ALPHA, "autumn", "ada"),
        (BETA, "spring", "ada"),
    ] {
        let fields = format!(r#""campaign":"{campaign}","recipient":"{recipient}""#);
        let lines = world.predictions(client, 1);
        let lines: Vec<_> = (lines.iter())
            .map(|line| line.in_envelope(&fields))
            .collect();
        world.publish(&lines);
    }
    world.run_until_idle();
    let [one, all] = [Some(ALPHA), None].map(|client| token(&world, "viewer", client));
    let api = Api::start(&world, &["--no-worker"]);
    let [browser, everybodys] = [&one, &all].map(|token| Browser::signed_in(&api, token));
    let hits = |browser: &Browser<'_>, query: &str| {
        let page = browser.page(&format!("/events{query}"));
        page.matches("<th scope=\"row\"><a href=\"/events/").count()
    };
    for (query, own, everybodys_own) in [
        ("", 3, 4),
        ("?campaign=spring", 2, 3),
        ("?recipient=ada", 2, 3),
        ("?campaign=spring&recipient=ada", 1, 2),
        ("?recipient=eve", 0, 0),
    ] {
        let found = (hits(&browser, query), hits(&everybodys, query));
        assert_eq!(found, (own, everybodys_own), "{query}");
    }
    let of_beta = format!("?recipient=ada&client={BETA}");
    assert_eq!(hits(&everybodys, &of_beta), 1);

    let page = browser.page("/events?campaign=autumn");
    assert!(page.contains("<td>ada</td>"), "{page}");
    let id = between(&page, "<a href=\"/events/", "\"");
    let event = browser.page(&format!("/events/{id}"));
    assert!(event.contains(">autumn</a></dd>"), "{event}");
    let led = browser.get(&format!("/events?id={id}"));
    let path = format!("/events/{id}");
    assert_eq!((led.status, led.header("location")), (303, Some(&*path)));
    let odd = browser.get("/events?id=7&campaign=spring");
    assert_told(&odd, 422, "is not a UUID");
    assert!(odd.body.contains("value=\"spring\""), "{odd:?}");
    let theirs = world.deliveries(&["--client", BETA]);
    let theirs = theirs[0]["event"].as_str().expect("an id");
    let refused = browser.get(&format!("/events?id={theirs}"));
    assert_told(&refused, 404, "there is no such event");
}
