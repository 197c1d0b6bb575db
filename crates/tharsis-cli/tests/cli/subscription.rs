use tharsis_receiver::{Answer, Authority, Options, Receiver, StatusCode};

use crate::{Desk, Said};

const CLIENT: &str = "36011017-0e00-4e29-a054-7a1fbb8b60a2";

/// A receiver and a desk whose configuration allows it.
struct Local {
    desk: Desk,
    receiver: Receiver,
    // Where the receiver runs.
    _runtime: tokio::runtime::Runtime,
}

impl Local {
    fn new(answer: Answer) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .worker_threads(1)
            .build()
            .unwrap();
        let authority = Authority::generate().unwrap();
        let receiver = runtime
            .block_on(Receiver::bind(Options {
                answer,
                ..Options::new(&authority)
            }))
            .unwrap();
        let desk = Desk::new();
        desk.write("ca.pem", authority.pem());
        desk.write(
            "tharsis.toml",
            format!(
                "[egress]\nallow_addresses = ['127.0.0.0/8']\nallow_hosts = ['localhost']\nallow_ports = [{}]\nca_file = 'ca.pem'\n",
                receiver.addr().port()
            ),
        );
        Self {
            desk,
            receiver,
            _runtime: runtime,
        }
    }

    fn add(&self, more: &str) -> Said {
        self.desk.run(&format!(
            "subscription add --client {CLIENT} --name Shop --url {} {more}",
            self.receiver.url("/hooks")
        ))
    }

    /// What was said, with what differs from run to run in words.
    fn steady(&self, said: &Said, id: &str) -> String {
        steady(&said.all())
            .replace(id, "ID")
            .replace(&self.receiver.addr().port().to_string(), "PORT")
    }
}

/// Replaces instants, and how long ago they were.
fn steady(text: &str) -> String {
    let mut told = String::new();
    for line in text.lines() {
        match line.split_once("  2") {
            Some((name, time)) if time.contains("Z (") => told.push_str(&format!("{name}  TIME")),
            _ => told.push_str(line),
        }
        told.push('\n');
    }
    told
}

fn refused(line: &str) -> String {
    let desk = Desk::new();
    let said = desk.run(&format!(
        "subscription add --client {CLIENT} --name Shop {line}"
    ));
    assert_eq!(
        desk.run("subscription list").stdout,
        "",
        "nothing is created"
    );
    said.all()
}

#[test]
fn what_is_wrong_with_a_subscription_is_said_before_anything_is_sent() {
    insta::assert_snapshot!(refused("--url http://shop.example/hooks"), @"");
    insta::assert_snapshot!(refused("--url https://localhost/hooks"), @"");
    insta::assert_snapshot!(refused("--url https://shop.example:9443/hooks"), @"");
    insta::assert_snapshot!(refused("--url https://shop.example/hooks --timeout 1m"), @"");
    insta::assert_snapshot!(refused("--url https://shop.example/hooks --retry 5s,soon"), @"");
    insta::assert_snapshot!(refused("--url https://shop.example/hooks --event sale"), @"");
    insta::assert_snapshot!(refused("--url https://shop.example/hooks --profile venus"), @"");
    insta::assert_snapshot!(refused("--url https://shop.example/hooks --secret-file none"), @"");
    insta::assert_snapshot!(refused("--url https://shop.example/hooks --no-secret --secret-stdin"), @"");
    insta::assert_snapshot!(refused("--url https://shop.example/hooks --json --secret-stdin"), @"");
}

#[test]
fn a_subscription_is_added_looked_at_changed_and_removed() {
    let local = Local::new(Answer::default());
    let desk = &local.desk;

    let added = local.add("");
    let id = added.stdout.split_whitespace().nth(1).unwrap().to_owned();
    let secret = added
        .stdout
        .lines()
        .map(str::trim)
        .find(|line| line.len() == 40)
        .unwrap();
    let fingerprint = added
        .stdout
        .split("fingerprint ")
        .nth(1)
        .unwrap()
        .split('\n')
        .next()
        .unwrap();
    let told = local
        .steady(&added, &id)
        .replace(secret, "SECRET")
        .replace(fingerprint, "FINGERPRINT");
    insta::assert_snapshot!(told, @"");

    insta::assert_snapshot!(local.steady(&local.add(""), &id), @"");
    insta::assert_snapshot!(local.steady(&desk.run("subscription list"), &id), @"");
    let show = |line: &str| {
        let said = desk.run(&format!("subscription {line}"));
        assert!(!said.stdout.contains(secret), "{line}");
        local.steady(&said, &id).replace(fingerprint, "FINGERPRINT")
    };
    insta::assert_snapshot!(show(&format!("pause {id}")), @"");
    insta::assert_snapshot!(show(&format!("set {id} --name Store --event nudge --timeout 1s --retry none")), @"");
    insta::assert_snapshot!(show(&format!("resume {id} --json")), @"");
    insta::assert_snapshot!(show(&format!("remove {id}")), @"");
    insta::assert_snapshot!(show(&format!("remove {id} --yes")), @"");
    insta::assert_snapshot!(show("list"), @"");
}

#[test]
fn a_secret_is_shown_only_when_it_was_generated() {
    let local = Local::new(Answer::default());
    let given = "de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9";
    local.desk.write("secret", format!("{given}\n"));
    let added = local.add("--secret-file secret --json").json();
    assert_eq!(added.get("secret"), None);
    let rotated = local
        .desk
        .run(&format!(
            "subscription rotate {} --json",
            added["id"].as_str().unwrap()
        ))
        .json();
    assert_eq!(rotated["secret"].as_str().map(str::len), Some(40));
    assert_ne!(rotated["secret_fingerprint"], added["secret_fingerprint"]);
    let again = local.desk.feed(
        &format!(
            "subscription rotate {} --json --secret-stdin",
            added["id"].as_str().unwrap()
        ),
        rotated["secret"].as_str().unwrap().as_bytes(),
    );
    insta::assert_snapshot!(again.all(), @"");
}

#[test]
fn a_url_that_does_not_answer_creates_nothing() {
    let local = Local::new(Answer {
        head: StatusCode::METHOD_NOT_ALLOWED,
        ..Answer::default()
    });
    insta::assert_snapshot!(local.steady(&local.add(""), "-"), @"");
    assert_eq!(local.desk.run("subscription list").stdout, "");
    let posted = local.add("--check post --no-secret --json");
    assert_eq!(
        posted.json()["secret_fingerprint"],
        serde_json::Value::Null,
        "{}",
        posted.stderr
    );
    assert_eq!(local.receiver.received().len(), 2);
}

#[test]
fn a_test_shows_request_and_answer() {
    let local = Local::new(Answer {
        body: "\x1b[2Jno\n".into(),
        ..Answer::status(StatusCode::FORBIDDEN)
    });
    let added = local.add("--json").json();
    let said = local.desk.run(&format!(
        "subscription test {}",
        added["id"].as_str().unwrap()
    ));
    let signature = said
        .stdout
        .split("sha1=")
        .nth(1)
        .unwrap()
        .split('\n')
        .next()
        .unwrap();
    let sent_at = said
        .stdout
        .split("\"sentAt\":\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let after = said
        .stdout
        .split("after ")
        .nth(1)
        .unwrap()
        .trim_start()
        .split('\n')
        .next()
        .unwrap();
    let told = local
        .steady(&said, "-")
        .replace(signature, "DIGEST")
        .replace(sent_at, "TIME")
        .replace(after, "SPAN");
    insta::assert_snapshot!(told, @"");
}
