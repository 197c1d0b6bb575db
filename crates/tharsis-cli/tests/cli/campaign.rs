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
    insta::assert_snapshot!(desk.run("campaign pause spring").all(), @r#"
    exit 1
    --- stderr
    error[campaign_unknown]: no event of a campaign spring was published
      hint: check the name, or say whose it is with --client if it is still to come
    "#);
    insta::assert_snapshot!(desk.run("campaign pause spring --recipient=").code.unwrap(), @"2");
    let said = desk.run(&format!("campaign show spring --client {ALPHA}"));
    insta::assert_snapshot!(said.all(), @r#"
    exit 0
    --- stdout
    campaign   spring
    client     36011017-0e00-4e29-a054-7a1fbb8b60a2
    state      running
    published  0 events
    delivered  0
    pending    0
    held       0
    expired    0
    cancelled  0
    refused    0
    dead       0
    rate       0 in the last minute, 0.0/s
    "#);
}

#[test]
fn two_clients_with_one_name_are_told_apart() {
    let desk = Desk::with_outbox();
    publish(&desk, ALPHA, 1);
    assert_eq!(desk.run("campaign show spring").code, Some(0));
    publish(&desk, BETA, 1);
    insta::assert_snapshot!(desk.run("campaign cancel spring --json").all(), @r#"
    exit 1
    --- stdout
    {"error":{"code":"campaign_ambiguous","field":"--client","message":"2 clients have a campaign spring: 36011017-0e00-4e29-a054-7a1fbb8b60a2, 5a3ee2d8-91c4-4c0c-8a6e-2f6de1a0c7b1","hint":"say whose it is with --client"}}
    "#);
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
    insta::assert_snapshot!(run("pause spring"), @r#"{"campaign":"spring","client":"36011017-0e00-4e29-a054-7a1fbb8b60a2","owned":false,"recipient":null,"since":"then","state":"paused"}"#);
    insta::assert_snapshot!(run("pause spring"), @r#"{"campaign":"spring","client":"36011017-0e00-4e29-a054-7a1fbb8b60a2","owned":false,"recipient":null,"since":"then","state":"paused"}"#);
    insta::assert_snapshot!(run("cancel spring"), @r#"{"campaign":"spring","client":"36011017-0e00-4e29-a054-7a1fbb8b60a2","owned":false,"recipient":null,"since":"then","state":"cancelled"}"#);
    insta::assert_snapshot!(desk.run("campaign pause spring").all(), @r#"
    exit 1
    --- stderr
    error[campaign_cancelled]: campaign: is cancelled
      hint: resume it first: what was cancelled stays cancelled, and what comes is sent
    "#);
    insta::assert_snapshot!(run("resume spring"), @r#"{"campaign":"spring","client":"36011017-0e00-4e29-a054-7a1fbb8b60a2","owned":false,"recipient":null,"since":null,"state":"running"}"#);
    insta::assert_snapshot!(run("resume spring"), @r#"{"campaign":"spring","client":"36011017-0e00-4e29-a054-7a1fbb8b60a2","owned":false,"recipient":null,"since":null,"state":"running"}"#);
    insta::assert_snapshot!(run("pause spring --recipient ann"), @r#"{"campaign":"spring","client":"36011017-0e00-4e29-a054-7a1fbb8b60a2","owned":false,"recipient":"ann","since":"then","state":"paused"}"#);
    insta::assert_snapshot!(desk.run("campaign resume spring --recipient ann").all(), @r#"
    exit 0
    --- stdout
    Campaign spring for ann goes on.
    --- stderr
    Nothing delivers at present. What is queued follows as soon as `tharsis run` does.
    "#);
    insta::assert_snapshot!(desk.run("campaign show spring --json").stdout, @r#"{"client":"36011017-0e00-4e29-a054-7a1fbb8b60a2","campaign":"spring","recipient":null,"state":"running","since":null,"published":1,"delivered":0,"pending":0,"held":0,"expired":0,"cancelled":0,"refused":0,"dead":{},"delivered_last_minute":0,"delivered_per_second":0.0,"slowest":[],"recipients":[]}"#);
}
