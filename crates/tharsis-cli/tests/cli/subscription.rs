use tharsis_receiver::{Answer, Authority, Options, Receiver, StatusCode};

use crate::{Desk, Said};

pub(crate) const CLIENT: &str = "36011017-0e00-4e29-a054-7a1fbb8b60a2";

/// In place of the id of a subscription.
const ID: &str = "019b2f70-91d2-7b35-8f06-3f1c5d0a7e42";

/// A receiver and a desk whose configuration allows it.
pub(crate) struct Local {
    pub(crate) desk: Desk,
    pub(crate) receiver: Receiver,
    // Where the receiver runs.
    _runtime: tokio::runtime::Runtime,
}

impl Local {
    pub(crate) fn new(answer: Answer) -> Self {
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

    pub(crate) fn add(&self, more: &str) -> Said {
        self.desk.run(&format!(
            "subscription add --client {CLIENT} --name Shop --url {} {more}",
            self.receiver.url("/hooks")
        ))
    }

    /// What was said, with what differs from run to run in words.
    pub(crate) fn steady(&self, said: &Said, id: &str) -> String {
        steady(&said.all())
            .replace(id, ID)
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

/// The rest of the line after this mark.
pub(crate) fn after<'a>(text: &'a str, mark: &str) -> &'a str {
    text.split_once(mark).unwrap().1.lines().next().unwrap()
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
    insta::assert_snapshot!(refused("--url http://shop.example/hooks"), @"
    exit 1
    --- stderr
    error[scheme_not_https]: url: the URL is not an https:// URL
      hint: serve the receiver over HTTPS and give the whole URL: https://host/path
    ");
    insta::assert_snapshot!(refused("--url https://localhost/hooks"), @"
    exit 1
    --- stderr
    error[host_special_use]: url: names under .localhost are not public
      hint: use a full public name; for local work allow it by name: --egress-allow-host localhost, and its address: --egress-allow-address
    ");
    insta::assert_snapshot!(refused("--url https://hooks.shop.com:9443/hooks"), @"
    exit 1
    --- stderr
    error[port_not_allowed]: url: port 9443 is not allowed
      hint: use one of 443, 8443, or let the operator allow it: --egress-allow-port 9443
    ");
    insta::assert_snapshot!(refused("--url https://hooks.shop.com/hooks --timeout 1m"), @"
    exit 1
    --- stderr
    error[timeout_out_of_range]: timeout: is not between 100ms and 3s, the profile's
      hint: a receiver that needs longer should answer first and work afterwards
    ");
    insta::assert_snapshot!(refused("--url https://hooks.shop.com/hooks --retry 5s,soon"), @"
    exit 1
    --- stderr
    error[bad_duration]: retry[1]: is no length of time
      hint: write a number and its unit: 500ms, 3s, 1m30s, 24h
    ");
    insta::assert_snapshot!(refused("--url https://hooks.shop.com/hooks --rate 10"), @"
    exit 1
    --- stderr
    error[bad_rate]: rate: is no rate
      hint: write how many requests a second, minute or hour, 1 to 10000: 10/s, 300/m, 5/h
    ");
    insta::assert_snapshot!(refused("--url https://hooks.shop.com/hooks --event sale"), @"
    exit 1
    --- stderr
    error[unknown_event_type]: events[0]: the profile mars has no event of this type
      hint: choose among: product_discount_recommendation, nudge
    ");
    insta::assert_snapshot!(refused("--url https://hooks.shop.com/hooks --profile venus"), @r"
    exit 2
    --- stderr
    error[unknown_profile]: --profile: there is no such profile
      hint: choose one of: mars, insightarc, smartech, nudge, standard, github, shopify, stripe
    ");
    insta::assert_snapshot!(refused("--url https://hooks.shop.com/hooks --secret-file none"), @"
    exit 1
    --- stderr
    error[secret_unreadable]: none: cannot be read: No such file or directory (os error 2)
    ");
    insta::assert_snapshot!(refused("--url https://hooks.shop.com/hooks --no-secret --secret-stdin"), @"
    exit 2
    --- stderr
    error: the argument '--no-secret' cannot be used with '--secret-stdin'

    Usage: tharsis subscription add --client <UUID> --name <TEXT> --url <URL> --no-secret

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(refused("--url https://hooks.shop.com/hooks --json --secret-stdin"), @r#"
    exit 1
    --- stdout
    {"error":{"code":"secret_too_short","field":"secret","message":"is shorter than 24 characters","hint":"leave it out to have one generated, or make one with: openssl rand -hex 20"}}
    "#);
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
        .find(|line| line.len() == 40 && line.chars().all(|c| c.is_ascii_hexdigit()))
        .unwrap();
    let fingerprint = after(&added.stdout, "fingerprint ");
    let told = local
        .steady(&added, &id)
        .replace(secret, "SECRET")
        .replace(fingerprint, "FINGERPRINT");
    insta::assert_snapshot!(told, @"
    exit 0
    --- stdout
    subscription  019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
    name          Shop
    client        36011017-0e00-4e29-a054-7a1fbb8b60a2
    url           https://localhost:PORT/hooks
    state         active
    health        healthy
    profile       mars
    events        all of mars: product_discount_recommendation, nudge
    content type  application/json
    timeout       3s
    retry         5s,1m,10m
    breaker       opens after 20 failures in a row; suspended after 5d
    in flight     at most 8
    secret        fingerprint FINGERPRINT
    added         TIME
    changed       TIME

    Its secret, which is not shown again. Give it to the receiver:

      SECRET
    --- stderr
    Next:
      tharsis subscription test 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
      tharsis publish events.ndjson
      tharsis run
    ");

    insta::assert_snapshot!(local.steady(&local.add(""), &id), @"
    exit 1
    --- stderr
    error[name_taken]: name: is the name of another subscription of this client
      hint: names are compared without case
    ");
    insta::assert_snapshot!(local.steady(&desk.run("subscription list"), &id), @"
    exit 0
    --- stdout
    SUBSCRIPTION                          NAME  STATE   HEALTH   CLIENT                                URL
    019b2f70-91d2-7b35-8f06-3f1c5d0a7e42  Shop  active  healthy  36011017-0e00-4e29-a054-7a1fbb8b60a2  https://localhost:PORT/hooks
    ");
    let show = |line: &str| {
        let said = desk.run(&format!("subscription {line}"));
        assert!(!said.stdout.contains(secret), "{line}");
        local.steady(&said, &id).replace(fingerprint, "FINGERPRINT")
    };
    insta::assert_snapshot!(show(&format!("pause {id}")), @"
    exit 0
    --- stdout
    subscription  019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
    name          Shop
    client        36011017-0e00-4e29-a054-7a1fbb8b60a2
    url           https://localhost:PORT/hooks
    state         paused
    health        healthy
    profile       mars
    events        all of mars: product_discount_recommendation, nudge
    content type  application/json
    timeout       3s
    retry         5s,1m,10m
    breaker       opens after 20 failures in a row; suspended after 5d
    in flight     at most 8
    secret        fingerprint FINGERPRINT
    added         TIME
    changed       TIME
    ");
    insta::assert_snapshot!(show(&format!("set {id} --name Store --event nudge --timeout 1s --retry none")), @"
    exit 0
    --- stdout
    subscription  019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
    name          Store
    client        36011017-0e00-4e29-a054-7a1fbb8b60a2
    url           https://localhost:PORT/hooks
    state         paused
    health        healthy
    profile       mars
    events        nudge
    content type  application/json
    timeout       1s
    retry         none
    breaker       opens after 20 failures in a row; suspended after 5d
    in flight     at most 8
    secret        fingerprint FINGERPRINT
    added         TIME
    changed       TIME
    ");
    let resumed = desk.run(&format!("subscription resume {id} --json")).json();
    assert_eq!(
        (&resumed["id"], &resumed["state"]),
        (&id.as_str().into(), &"active".into())
    );
    let keys: Vec<_> = resumed
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    insta::assert_snapshot!(keys.join(" "), @"alert_every alert_mail batch_items breaker client content_type created_at events fields filter headers health id linger max_in_flight name on_dead order overlap_until payload_limit profile profile_settings public_key rate reason resuming retry retry_window secret_fingerprint secret_set_at state suspend_after timeout traceparent updated_at url version");
    insta::assert_snapshot!(show(&format!("remove {id}")), @"
    exit 2
    --- stderr
    error[not_confirmed]: this asks first, and here nobody can answer
      hint: add --yes
    ");
    insta::assert_snapshot!(show(&format!("remove {id} --yes")), @"
    exit 0
    --- stdout
    Removed `Store`; 0 unfinished deliveries will end cancelled.
    ");
    insta::assert_snapshot!(show("list"), @"
    exit 0
    --- stderr
    There is no subscription. Add one with `tharsis subscription add`.
    ");
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
    insta::assert_snapshot!(again.all(), @r#"
    exit 1
    --- stdout
    {"error":{"code":"secret_reused","field":"secret","message":"is the present one","hint":"give another one, or leave it out to have one generated"}}
    "#);
}

#[test]
fn a_url_that_does_not_answer_creates_nothing() {
    let local = Local::new(Answer {
        head: StatusCode::METHOD_NOT_ALLOWED,
        ..Answer::default()
    });
    insta::assert_snapshot!(local.steady(&local.add(""), "(none)"), @r"
    exit 1
    --- stderr
    error[status_not_200]: status: HEAD was answered 405, not 200
      hint: answer HEAD with 200, or check with the test event (--check post)
    ");
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
    let signature = after(&said.stdout, "sha1=");
    let sent_at = after(&said.stdout, "\"sentAt\":\"");
    let span = after(&said.stdout, "after   ");
    let told = local
        .steady(&said, "(none)")
        .replace(signature, "DIGEST")
        .replace(sent_at, "TIME\"}")
        .replace(span, "SPAN");
    insta::assert_snapshot!(told, @r#"
    exit 1
    --- stdout
    POST https://localhost:PORT/hooks
    content-type: application/json
    user-agent: Tharsis/0.1.0
    x-mars-signature: sha1=DIGEST

    {"type":"webhook.test","clientId":"36011017-0e00-4e29-a054-7a1fbb8b60a2","sentAt":"TIME"}

    answer  403
    after   SPAN
    reason  http_403
    body    \u{1b}[2Jno\n
    hint    the receiver may hold another secret or other credentials: compare the fingerprint in `tharsis subscription show`

    The receiver did not take it.
    "#);
}

#[test]
fn a_test_does_not_say_which_address_is_not_allowed() {
    let local = Local::new(Answer::default());
    let added = local.add("--json").json();
    local.desk.write(
        "narrow.toml",
        format!(
            "[egress]\nallow_hosts = ['localhost']\nallow_ports = [{}]\nca_file = 'ca.pem'\n",
            local.receiver.addr().port()
        ),
    );
    let test = |more: &str| {
        local.desk.run(&format!(
            "--config narrow.toml --log error subscription test {} {more}",
            added["id"].as_str().unwrap()
        ))
    };
    let said = test("");
    assert!(
        !said.all().contains("127.0.0.1") && !said.all().contains("::1"),
        "{}",
        said.all()
    );
    insta::assert_snapshot!(after(&said.stdout, "detail  "), @"the host name leads to an address that is not public; nothing was sent");
    insta::assert_snapshot!(test("--json").json()["answer"]["detail"], @r#""the host name leads to an address that is not public; nothing was sent""#);
}

#[test]
fn the_test_event_is_not_signed_with_a_secret_that_nobody_holds() {
    insta::assert_snapshot!(refused("--url https://hooks.shop.com/ --check post"), @"
    exit 2
    --- stderr
    error[secret_unknown]: --check post: the test event would be signed with a secret that is generated now, which the receiver cannot know yet
      hint: give the secret that the receiver holds with --secret-file or --secret-stdin, or add --no-secret
    ");
}

#[cfg(unix)]
#[test]
fn a_generated_secret_that_nobody_saw_is_a_failure() {
    let local = Local::new(Answer::default());
    let unread = |line: &str| -> Said {
        let mut child = crate::command(local.desk.0.path())
            .args(line.split_whitespace())
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        child.wait_with_output().unwrap().into()
    };
    let url = local.receiver.url("/hooks");
    let added = unread(&format!(
        "subscription add --client {CLIENT} --name Shop --url {url}"
    ));
    let list = local.desk.run("subscription list --json").json();
    let id = list["subscriptions"][0]["id"].as_str().unwrap();
    insta::assert_snapshot!(local.steady(&added, id), @"
    exit 1
    --- stderr
    error[secret_not_shown]: the subscription 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42 was added, but its generated secret could not be printed: Broken pipe (os error 32)
      hint: have another one made, and keep it: tharsis subscription rotate 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
    ");
    let rotated = unread(&format!("subscription rotate {id} --json"));
    insta::assert_snapshot!(local.steady(&rotated, id), @"
    exit 1
    --- stderr
    error[secret_not_shown]: the subscription 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42 was changed, but its generated secret could not be printed: Broken pipe (os error 32)
      hint: have another one made, and keep it: tharsis subscription rotate 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
    ");
    // A secret that was given is not lost.
    local
        .desk
        .write("secret", "de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9");
    let given = unread(&format!("subscription rotate {id} --secret-file secret"));
    assert_eq!(given.all(), "exit 0");
}
