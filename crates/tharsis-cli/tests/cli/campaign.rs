use crate::Desk;

const ALPHA: &str = "36011017-0e00-4e29-a054-7a1fbb8b60a2";
const BETA: &str = "5a3ee2d8-91c4-4c0c-8a6e-2f6de1a0c7b1";

fn publish(desk: &Desk, client: &str, n: u32) {
    let line = format!(
        r#"{{"type":"ticket","client":"{client}","campaign":"spring","recipient":"ann","payload":{{"n":{n}}}}}"#
    );
    assert_eq!(desk.feed("publish -", line.as_bytes()).code, Some(0));
}

#[test]
fn a_campaign_that_nobody_knows_wants_its_client() {
    let desk = Desk::with_outbox();
    insta::assert_snapshot!(desk.run("campaign pause spring").all(), @"");
    insta::assert_snapshot!(desk.run("campaign pause spring --recipient=").code.unwrap(), @"2");
    let said = desk.run(&format!("campaign show spring --client {ALPHA}"));
    insta::assert_snapshot!(said.all(), @"");
}

#[test]
fn two_clients_with_one_name_are_told_apart() {
    let desk = Desk::with_outbox();
    publish(&desk, ALPHA, 1);
    assert_eq!(desk.run("campaign show spring").code, Some(0));
    publish(&desk, BETA, 1);
    insta::assert_snapshot!(desk.run("campaign cancel spring --json").all(), @"");
}

#[test]
fn a_campaign_is_stopped_and_let_go() {
    let desk = Desk::with_outbox();
    publish(&desk, ALPHA, 1);
    let run = |line: &str| {
        let said = desk.run(&format!("campaign {line} --json")).stdout;
        let mut answer: serde_json::Value = serde_json::from_str(&said).unwrap();
        if let Some(since) = answer.get_mut("since").filter(|since| !since.is_null()) {
            *since = "then".into();
        }
        answer.to_string()
    };
    insta::assert_snapshot!(run("pause spring"), @"");
    insta::assert_snapshot!(run("pause spring"), @"");
    insta::assert_snapshot!(run("cancel spring"), @"");
    insta::assert_snapshot!(desk.run("campaign pause spring").all(), @"");
    insta::assert_snapshot!(run("resume spring"), @"");
    insta::assert_snapshot!(run("resume spring"), @"");
    insta::assert_snapshot!(run("pause spring --recipient ann"), @"");
    insta::assert_snapshot!(desk.run("campaign resume spring --recipient ann").all(), @"");
    insta::assert_snapshot!(desk.run("campaign show spring --json").stdout, @"");
}
