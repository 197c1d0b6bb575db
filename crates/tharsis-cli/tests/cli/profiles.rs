//! Profiles at the command line: what they ask for, what they refuse, what is declared, and what is shown.

use tharsis_receiver::{Answer, StatusCode};

use crate::{
    Desk, Said,
    subscription::{CLIENT, Local, after},
};

const BODY: &str = r#"{"drop_proba":0.95}"#;
const SECRET: &str = "de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9";

fn id(said: &Said) -> String {
    said.json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn smartech_asks_for_a_panel_and_keeps_credentials_to_itself() {
    let local = Local::new(Answer::default());
    insta::assert_snapshot!(local.add("--profile smartech").all(), @r"
    exit 1
    --- stderr
    error[missing_setting]: profile_settings.panel: is required by the profile smartech
      hint: give it with --set panel=…
    ");
    local.desk.write("password", "opensesame\n");
    let added = local.add(
        "--profile smartech --set panel=Shop --set id=17 --basic-user shop --basic-password-file password --json",
    );
    let document = added.json();
    assert_eq!(document["profile_settings"]["panel"], "Shop");
    assert_eq!(document["headers"], serde_json::json!(["authorization"]));
    assert_eq!(document["batch_items"], 100);
    let shown = local.desk.run(&format!("subscription show {}", id(&added)));
    insta::assert_snapshot!(local.steady(&shown, &id(&added)), @"
    exit 0
    --- stdout
    subscription  019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
    name          Shop
    client        36011017-0e00-4e29-a054-7a1fbb8b60a2
    url           https://localhost:PORT/hooks
    state         active
    health        healthy
    profile       smartech
    events        all of smartech: channel_activity, custom_activity
    content type  application/x-www-form-urlencoded
    timeout       3s
    retry         5s,1m,10m
    breaker       opens after 20 failures in a row; suspended after 5d
    in flight     at most 8
    batch         up to 100 after 500ms
    id            17
    panel         Shop
    headers       authorization
    secret        none: the profile signs nothing
    added         TIME
    changed       TIME
    last attempt  none of late
    ");
    for said in [&added, &shown] {
        assert!(!said.all().contains("opensesame") && !said.all().contains("c2hvcDpvcGVuc2VzYW1l"));
    }
    let [test] = local.receiver.received().try_into().unwrap();
    assert_eq!(test.headers["authorization"], "Basic c2hvcDpvcGVuc2VzYW1l");

    // What is not given stays; what is given anew replaces.
    let set = |more: &str| {
        let line = format!("subscription set {} --json {more}", id(&added));
        local.desk.run(&line).json()
    };
    let renamed = set("--set label=Purchase --batch-items 5");
    assert_eq!(renamed["profile_settings"]["panel"], "Shop");
    assert_eq!(renamed["profile_settings"]["label"], "Purchase");
    assert_eq!(renamed["headers"], serde_json::json!(["authorization"]));
    assert_eq!(renamed["batch_items"], 5);
    assert_eq!(set("--no-headers")["headers"], serde_json::json!([]));
    assert_eq!(set("--rate 300/m")["rate"], "300/m");
    assert_eq!(set("--linger 1s")["rate"], "300/m", "it stays");
    assert_eq!(set("--rate none")["rate"], serde_json::Value::Null);
    let unset = set("--unset label");
    assert_eq!(unset["profile_settings"].get("label"), None);
    let refused = |more: &str| {
        let line = format!("subscription set {} {more}", id(&added));
        local.desk.run(&line).all().replace(&id(&added), "ID")
    };
    insta::assert_snapshot!(refused("--unset label"), @r"
    exit 2
    --- stderr
    error[not_set]: unset: label is not set
      hint: tharsis subscription show ID says what is
    ");
    insta::assert_snapshot!(refused("--unset panel"), @r"
    exit 1
    --- stderr
    error[missing_setting]: profile_settings.panel: is required by the profile smartech
      hint: give it with --set panel=…
    ");

    // It is asked again when that is wanted, and nothing changes if it does not answer as it should.
    assert_eq!(local.receiver.received().len(), 1);
    set("--check post");
    assert_eq!(local.receiver.received().len(), 2);
    let forbidden = Answer {
        status: StatusCode::FORBIDDEN,
        ..Answer::default()
    };
    local.receiver.answer(forbidden, Vec::new());
    insta::assert_snapshot!(refused("--check post --batch-items 6"), @r"
    exit 1
    --- stderr
    error[status_not_success]: status: the test event was answered 403, not exactly 200
      hint: the receiver does not accept the signature or the credentials: check that both sides have the same
    ");
    assert_eq!(set("--linger 1s")["batch_items"], 5);
}

#[test]
fn what_a_profile_does_not_allow_is_refused() {
    let local = Local::new(Answer::default());
    local.desk.write("token", "t0ken");
    insta::assert_snapshot!(local.add("--profile insightarc --check post").all(), @r"
    exit 1
    --- stderr
    error[check_not_allowed]: check: cannot be: the profile insightarc checks by HEAD alone
      hint: answer HEAD with 200
    ");
    insta::assert_snapshot!(local.add("--profile insightarc --no-secret").all(), @r"
    exit 1
    --- stderr
    error[secret_required]: secret: is required by the profile insightarc
      hint: give one, or have one generated
    ");
    insta::assert_snapshot!(local.add("--profile nudge --payload-limit 5000").all(), @r"
    exit 1
    --- stderr
    error[out_of_range]: payload_limit: is not between 1024 and 4096
      hint: leave it out for 4096
    ");
    insta::assert_snapshot!(local.add("--batch-items 2").all(), @r"
    exit 1
    --- stderr
    error[no_batches]: batch_items: is of no use: the profile mars sends one event a request
    ");
    insta::assert_snapshot!(local.add("--header-file Host=token").all(), @r"
    exit 1
    --- stderr
    error[reserved_header]: headers.Host: is a header that requests live by
      hint: take a name of your own: X-Shop-Token
    ");
    insta::assert_snapshot!(local.add("--profile nudge --header-file x-nudge-signature=token").all(), @r"
    exit 1
    --- stderr
    error[reserved_header]: headers.x-nudge-signature: is a header of the profile nudge
    ");
    insta::assert_snapshot!(local.add("--filter evnt.channel==1").all(), @r"
    exit 1
    --- stderr
    error[filter_unknown_name]: filter: column 1: evnt is not known
      hint: the event is called event: event.evnt
    ");
    assert!(local.receiver.received().is_empty(), "nothing was asked");
}

#[test]
fn a_secret_of_standard_is_generated_as_it_is_written_there_and_rolled_with_an_overlap() {
    let local = Local::new(Answer::default());
    let added = local.add("--profile standard --json");
    let secret = added.json()["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"), "{secret}");
    let rotated = local
        .desk
        .run(&format!("subscription rotate {} --overlap 24h", id(&added)));
    assert!(
        rotated.stdout.contains("former secret"),
        "{}",
        rotated.all()
    );

    let mars = local.desk.run(&format!(
        "subscription add --client {CLIENT} --name Mars --url {} --json",
        local.receiver.url("/mars")
    ));
    let rotated = local
        .desk
        .run(&format!("subscription rotate {} --overlap 24h", id(&mars)));
    insta::assert_snapshot!(rotated.all(), @r"
    exit 1
    --- stderr
    error[one_signature]: overlap: cannot be: the profile mars sends one signature
      hint: let the receiver accept both secrets first, then rotate without an overlap
    ");
}

#[test]
fn a_pair_shows_its_public_key() {
    let local = Local::new(Answer::default());
    // 32 bytes of 9, and what Ed25519 makes of them.
    local
        .desk
        .write("pair", "whsk_CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=");
    let added = local.add("--profile standard --secret-file pair --json");
    let public = added.json()["public_key"].as_str().unwrap().to_owned();
    assert!(public.starts_with("whpk_"), "{public}");
    assert!(!added.all().contains("whsk_"));
}

#[test]
fn the_test_event_goes_out_before_anything_is_saved() {
    let local = Local::new(Answer::status(StatusCode::ACCEPTED));
    let said = local.desk.run(&format!(
        "subscription test --url {} --profile smartech --set panel=Shop",
        local.receiver.url("/hooks")
    ));
    let span = after(&said.stdout, "\nafter").trim();
    let told = local.steady(&said, "none").replace(span, "SPAN");
    insta::assert_snapshot!(told, @r"
    exit 1
    --- stdout
    POST https://localhost:PORT/hooks
    content-type: application/x-www-form-urlencoded
    user-agent: Tharsis/0.1.0

    data=%7B%22Shop%22%3A%5B%7B%22webhook_name%22%3A%22webhook.test%22%2C%22event_params%22%3A%7B%7D%2C%22custom_params%22%3A%7B%7D%2C%22att_params%22%3A%7B%7D%7D%5D%7D

    answer  202
    after   SPAN

    The receiver did not take it.
    ");
    assert!(!local.desk.path("tharsis.db").exists());
}

#[test]
fn what_is_added_already_is_tested_as_it_is() {
    let desk = Desk::new();
    for more in [
        "--name Other",
        "--field type",
        "--bearer-file token",
        "--no-secret",
        "--profile nudge",
    ] {
        let said = desk.run(&format!(
            "subscription test 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42 {more}"
        ));
        assert_eq!(said.code, Some(2), "{more}: {}", said.all());
    }
}

#[test]
fn a_filter_is_tried_on_events_of_a_file() {
    let desk = Desk::new();
    let event = |channel: &str| {
        format!(r#"{{"type":"ticket","client":"{CLIENT}","payload":{{"channel":"{channel}"}}}}"#)
    };
    let none = format!(r#"{{"type":"ticket","client":"{CLIENT}","payload":{{}}}}"#);
    desk.write(
        "events.ndjson",
        [event("push"), event("sms"), none].join("\n"),
    );
    let line = [
        "subscription",
        "filter-test",
        "--filter",
        r#"event.channel == "push""#,
        "events.ndjson",
    ];
    insta::assert_snapshot!(desk.exec(&line, b"").all(), @r"
    exit 0
    --- stdout
    EVENT   TYPE    WANTED  REASON
    line 1  ticket  yes
    line 2  ticket  no      the filter is false of it
    line 3  ticket  no      column 7: the event has no such field or element
    --- stderr
    1 of 3 events wanted.
    ");
    let json = [&line[..], &["--json"]].concat();
    insta::assert_snapshot!(desk.exec(&json, b"").stdout, @r#"{"filter":"event.channel == \"push\"","wanted":1,"events":[{"event":"line 1","type":"ticket","wanted":true,"reason":null},{"event":"line 2","type":"ticket","wanted":false,"reason":"the filter is false of it"},{"event":"line 3","type":"ticket","wanted":false,"reason":"column 7: the event has no such field or element"}]}"#);
}

#[test]
fn a_filter_is_tried_on_what_went_to_its_subscription() {
    let local = Local::new(Answer::default());
    let added = local.add("--profile github --filter event.price>5 --json");
    let events: Vec<String> = [1, 9]
        .iter()
        .map(|n| format!(r#"{{"type":"ticket","client":"{CLIENT}","payload":{{"price":{n}}}}}"#))
        .collect();
    local.desk.feed("publish", events.join("\n").as_bytes());
    assert_eq!(local.desk.run("run --until-idle").code, Some(0));
    assert_eq!(
        local.receiver.received().len(),
        2,
        "a HEAD, and one that passed"
    );
    let tried = |filter: &str| {
        let line = format!(
            "subscription filter-test --subscription {} --last 5 --json {filter}",
            id(&added)
        );
        local.desk.run(&line).json()
    };
    let own = tried("");
    assert_eq!(
        (&own["filter"], &own["wanted"]),
        (&"event.price>5".into(), &1.into())
    );
    assert_eq!(tried("--filter event.price>9")["wanted"], 0);
}

#[test]
fn a_declared_profile_works_or_is_refused_at_the_start_with_the_reason() {
    let desk = Desk::new();
    let declared = |lines: &str| {
        desk.write("tharsis.toml", format!("[profiles.acme]\n{lines}"));
        desk.run("subscription list").all()
    };
    insta::assert_snapshot!(declared("signature_header = 'X-Acme'\nsigned = 'id.timestamp.body'"), @r"
    exit 2
    --- stderr
    error[profile_unverifiable]: profiles.acme: no receiver could verify this: what is signed beside the body is in no header
      hint: send along in headers what is signed beside the body: {id}, {timestamp}
    ");
    insta::assert_snapshot!(declared("algoritm = 'hmac-sha1'"), @r"
    exit 2
    --- stderr
    error[unknown_key]: profiles.acme.algoritm: is no key of tharsis.toml
      hint: the keys of a profile are content_type, encoding, form_field, signature_header, signed, algorithm, key, prefix, digest, timestamp_prefix, separator, headers, check, success, timeout, most_retries, payload_limit, events, batch_items, linger
    ");
    insta::assert_snapshot!(declared("signature_header = 'X-Acme'\nalgorithm = 'md5'"), @r"
    exit 2
    --- stderr
    error[unknown_choice]: profiles.acme.algorithm: is no such choice
      hint: choose one of: hmac-sha256, hmac-sha1, hmac-sha512
    ");
    insta::assert_snapshot!(declared("timeout = 5"), @r"
    exit 2
    --- stderr
    error[bad_config]: tharsis.toml: line 2: invalid type: integer `5`, expected a string
    ");
    desk.write("tharsis.toml", "[profiles.mars]");
    insta::assert_snapshot!(desk.run("subscription list").all(), @r"
    exit 2
    --- stderr
    error[profile_taken]: profiles.mars: there is a profile mars already
      hint: give it another name
    ");

    // One that works is a profile like any other.
    desk.write(
        "tharsis.toml",
        "[profiles.acme]\nsignature_header = 'X-Acme'\nalgorithm = 'hmac-sha1'\nprefix = 'v1:'",
    );
    desk.write("secret", SECRET);
    desk.write("body", BODY);
    let verified = desk.exec(
        &[
            "verify",
            "--profile",
            "acme",
            "--secret-file",
            "secret",
            "--body",
            "body",
            "--header",
            "X-Acme: v1:00",
        ],
        b"",
    );
    insta::assert_snapshot!(verified.all(), @r"
    exit 1
    --- stderr
    error[signature_length]: the signature has 2 characters after its prefix, not 40
    ");
}

#[test]
fn verify_wants_the_url_where_it_is_signed_and_judges_a_time_as_of_then() {
    let desk = Desk::new();
    desk.write("secret", SECRET);
    desk.write("body", BODY);
    let verify = |arguments: &[&str]| {
        let all = [
            &["verify", "--secret-file", "secret", "--body", "body"],
            arguments,
        ]
        .concat();
        desk.exec(&all, b"").all()
    };
    let insightarc = [
        "--profile",
        "insightarc",
        "--header",
        "x-insightarc-signature: l3cDNOCVyxBOdHRMHegKMorOuxg=",
    ];
    insta::assert_snapshot!(verify(&insightarc), @r"
    exit 1
    --- stderr
    error[url_missing]: the URL is signed too, and is not given
      hint: give it with --url, exactly as it was registered
    ");
    // openssl dgst -sha1 -hmac, over the body and the URL.
    let whole = [&insightarc[..], &["--url", "https://Hooks.Example.com"]].concat();
    insta::assert_snapshot!(verify(&whole), @r"
    exit 0
    --- stdout
    ok
    ");

    // openssl dgst -sha256 -hmac, over 1790068913.{"drop_proba":0.95}
    let stripe = [
        "--profile",
        "stripe",
        "--header",
        "stripe-signature: t=1790068913,v1=63e5197d581a4dabed4a9a7f1d9ec733d3e322248b94cbc7c16098b240bb7255",
    ];
    insta::assert_snapshot!(verify(&[&stripe[..], &["--at", "1790068900"]].concat()), @r"
    exit 0
    --- stdout
    ok
    ");
    insta::assert_snapshot!(verify(&[&stripe[..], &["--at", "1790069914"]].concat()), @r"
    exit 1
    --- stderr
    error[timestamp_too_old]: it was signed more than 5m ago
      hint: say when the request came with --at SECONDS
    ");
}
