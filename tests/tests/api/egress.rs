//! Where requests come from, as the API tells whoever has to let them in.

use serde_json::json;
use tharsis_tests::{ALPHA, Api, BETA, Database, World, on_both_databases};

use crate::token;

on_both_databases! { who_registers_a_receiver_is_told_whom_to_let_in }

fn who_registers_a_receiver_is_told_whom_to_let_in(on: Database) {
    let world = World::on(on);
    world.open_port(9_443);
    world.open_port(443);
    world.ask(["migrate"]);
    let [ours, theirs] = [ALPHA, BETA].map(|client| token(&world, "viewer", Some(client)));
    let told = |token: &str| {
        let api = Api::start(&world, &["--no-worker"]);
        let document = api.get(token, "/v1/egress").ok();
        let asked = api.get(token, "/v1/egress?client=any");
        assert_eq!(asked.refused(400), "unknown_parameter");
        document
    };
    assert_eq!(
        told(&ours),
        json!({"seen_from": [], "ports": [443, 9_443]}),
        "nobody knows them but the operator"
    );
    let named = "203.0.113.7,2001:db8::/48";
    world.set_environment("THARSIS_EGRESS_SEEN_FROM", named);
    for token in [&ours, &theirs] {
        let document = told(token);
        assert_eq!(
            document["seen_from"],
            json!(["203.0.113.7", "2001:db8::/48"])
        );
        let shown = world.ask(["egress", "show"]);
        assert_eq!(document["seen_from"], shown["seen_from"]);
    }
}
