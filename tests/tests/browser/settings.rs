//! Settings, page by page: a token is made and revoked, and what was done is read.

use tharsis_tests::{ALPHA, Api, Subscribe, World};

use crate::{signed_in, token};

#[test]
fn a_token_is_made_shown_once_and_revoked() {
    let world = World::new();
    world.ask(["migrate"]);
    let admin = token(&world, "admin", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let chromium = signed_in(&world, &api, &admin);

    chromium.follow("Settings");
    chromium.follow("Access tokens");
    chromium.judge("tokens");
    chromium.fill("Name", "till");
    chromium.fill("Expires after", "soon");
    chromium.press("Make it");
    chromium.says("is no length of time");
    chromium.judge("tokens-refused");
    // What was typed stays, but for what is typed anew.
    chromium.fill("Expires after", "90d");
    chromium.choose(
        "Role",
        "operator: also pauses, resumes, replays, cancels and sends tests",
    );
    chromium.press("Make it");
    chromium.says("The token till was made");
    let till = chromium.text_of("code.secret");
    api.get(&till, "/v1/subscriptions").ok();
    chromium.judge("token-made");

    chromium.follow("To the tokens");
    chromium.says("till");
    assert!(!chromium.text().contains(&till));
    // The newest comes first.
    chromium.press("Revoke");
    chromium.says("till was revoked: it lets nobody in any more.");
    let late = api.get(&till, "/v1/subscriptions");
    assert_eq!(late.refused(401), "token_unknown");
    chromium.judge("tokens-revoked");
    chromium.follow("Settings");
    chromium.follow("Audit");
    chromium.says("token.revoked");
    chromium.judge("audit");
    assert!(!chromium.text().contains(&till));
}

#[test]
fn settings_of_all_clients_are_read() {
    let world = World::new();
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let admin = token(&world, "admin", None);
    let api = Api::start(&world, &[]);
    let chromium = signed_in(&world, &api, &admin);

    for (link, told, name) in [
        ("Access tokens", "Make a token", "tokens-of-all"),
        ("Audit", "subscription.added", "audit-of-all"),
        ("Alerts", "There was nothing to tell", "alerts"),
        ("Workers", "Who delivers, oldest first", "workers"),
        ("Keys", "sealing", "keys"),
    ] {
        chromium.follow("Settings");
        chromium.says("Where requests come from");
        chromium.follow(link);
        // The worker may still be about to begin.
        chromium.comes_to_say(told);
        chromium.judge(name);
    }
    chromium.follow("Settings");
    chromium.judge("settings");
}
