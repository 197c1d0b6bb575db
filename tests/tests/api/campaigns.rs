//! Campaigns over HTTP: of two clients that name theirs alike.

use serde_json::{Value, json};
use tharsis_tests::{ALPHA, Api, BETA, Database, Subscribe, World, on_both_databases};

use crate::{SOON, token};

on_both_databases! { a_campaign_is_held_and_that_of_the_same_name_goes_on }

fn a_campaign_is_held_and_that_of_the_same_name_goes_on(on: Database) {
    let world = World::on(on);
    let [shop, partner] = ["shop", "partner"].map(|name| world.receiver(name).start());
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    world.subscribe(&Subscribe::new(BETA, &partner));
    let [operator, admin] =
        [("operator", Some(ALPHA)), ("admin", None)].map(|(role, of)| token(&world, role, of));
    let api = Api::start(&world, &[]);
    assert_eq!(
        api.get(&admin, "/v1/campaigns/spring").refused(404),
        "campaign_unknown"
    );
    let paused = api.post(&operator, "/v1/campaigns/spring/pause", "").ok();
    assert_eq!(
        (&paused["state"], &paused["client"]),
        (&json!("paused"), &json!(ALPHA))
    );
    for client in [ALPHA, BETA] {
        let line = world.predictions(client, 1).remove(0);
        let line = line.in_envelope(r#""campaign":"spring","recipient":"ann""#);
        api.post(&admin, "/v1/events", &line.text).ok();
    }
    partner.wait_for(1, SOON);
    let several = api.get(&admin, "/v1/campaigns/spring");
    assert_eq!(several.refused(409), "campaign_ambiguous");
    let report = api.get(&operator, "/v1/campaigns/spring").ok();
    assert_eq!(
        (&report["published"], &report["delivered"]),
        (&json!(1), &json!(0)),
        "{report}"
    );
    assert_eq!(shop.count(), 0);
    let resumed = api.post(&operator, "/v1/campaigns/spring/resume", "").ok();
    assert_eq!(resumed["state"], "running");
    shop.wait_for(1, SOON);
    let cancelled = json!({"client": BETA, "recipient": "ann"}).to_string();
    let refused = api.post(&operator, "/v1/campaigns/spring/cancel", &cancelled);
    assert_eq!(refused.refused(404), "not_found");
    let cancelled = api
        .post(&admin, "/v1/campaigns/spring/cancel", &cancelled)
        .ok();
    assert_eq!(cancelled["recipient"], "ann");
    assert_ne!(cancelled["since"], Value::Null);
}
