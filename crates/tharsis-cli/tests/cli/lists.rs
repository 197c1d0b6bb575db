use crate::Desk;

#[test]
fn an_empty_outbox_lists_nothing() {
    let desk = Desk::new();
    for list in ["subscription list", "delivery list", "replay list"] {
        let said = desk.run(list);
        assert_eq!(
            (said.code, said.stdout.as_str()),
            (Some(0), ""),
            "{list}: {}",
            said.stderr
        );
    }
    insta::assert_snapshot!(desk.run("subscription list --json").stdout, @"");
    insta::assert_snapshot!(desk.run("delivery list --json").stdout, @"");
    insta::assert_snapshot!(desk.run("replay list --json").stdout, @"");
}

#[test]
fn what_is_not_there_is_said() {
    let desk = Desk::new();
    let id = "019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11";
    insta::assert_snapshot!(desk.run(&format!("subscription show {id}")).all(), @"");
    insta::assert_snapshot!(desk.run(&format!("event show {id}")).all(), @"");
    insta::assert_snapshot!(desk.run(&format!("delivery show {id}/{id}")).all(), @"");
    insta::assert_snapshot!(desk.run(&format!("delivery retry {id}/{id}")).all(), @"");
    insta::assert_snapshot!(desk.run(&format!("replay show {id}")).all(), @"");
    insta::assert_snapshot!(desk.run(&format!("subscription remove {id} --yes --json")).all(), @"");
}

#[test]
fn a_replay_wants_to_know_what_and_whether() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.run("replay").all(), @"");
    insta::assert_snapshot!(desk.run("replay --status dead --dry-run").all(), @"");
    insta::assert_snapshot!(desk.run("replay --status dead --dry-run --json").all(), @"");
    insta::assert_snapshot!(desk.run("replay --status dead").all(), @"");
}

#[test]
fn a_replay_without_an_owner_waits_and_says_so() {
    let desk = Desk::new();
    let said = desk.run("replay --status dead --yes");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(
        said.stdout
            .contains("waits: nothing delivers at present. Start `tharsis run`"),
        "{}",
        said.stdout
    );
    let waiting = desk.run("replay --status dead --yes --json").json();
    assert_eq!(waiting["state"], "waiting");
    let listed = desk.run("replay list --json").json();
    assert_eq!(listed["replays"][0]["id"], waiting["id"]);
}
