//! Nothing is created unless the URL is one that may be reached, and somebody is there.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
    time::Duration,
};

use serde_json::Value;
use tharsis_receiver::{Fault, FaultServer, Flaw, closed_port};
use tharsis_tests::{ALPHA, BETA, Subscribe, World, is_signed_with};

/// The refusal of this subscription; nothing was created.
#[track_caller]
fn refusal(world: &World, subscribe: &Subscribe) -> Value {
    let error = world.try_subscribe(subscribe).expect(1).error();
    let list = world.ask(["subscription", "list"]);
    assert_eq!(
        list["subscriptions"],
        serde_json::json!([]),
        "after {error}"
    );
    error
}

#[test]
fn one_head_that_is_answered_200_is_all_it_takes() {
    let world = World::new();
    let shop = world.receiver("shop").start();
    let added = world
        .try_subscribe(&Subscribe::new(ALPHA, &shop).event("nudge").retry("30s,5m"))
        .ok();
    assert!(
        !added.stdout.contains(&shop.secret),
        "a secret that was given is not shown"
    );
    let added = added.json();
    assert_eq!(added["url"], shop.url);
    assert_eq!(added["state"], "active");
    assert_eq!(added["events"], serde_json::json!(["nudge"]));
    assert_eq!(added["retry"], "30s,5m");
    assert_eq!((shop.heads().len(), shop.count()), (1, 0));
    let head = shop.heads().remove(0);
    assert!(
        !head.headers.contains_key("x-mars-signature"),
        "a check carries no signature"
    );
    assert!(head.body.is_empty());
}

#[test]
fn every_other_answer_creates_nothing_and_says_what_failed() {
    for (status, code) in [
        (204, "status_not_200"),
        (301, "http_redirect"),
        (401, "status_not_200"),
        (404, "status_not_200"),
        (405, "status_not_200"),
        (429, "endpoint_busy"),
        (500, "endpoint_error"),
        (503, "endpoint_busy"),
    ] {
        let world = World::new();
        let shop = world.receiver("shop").answers_head(status).start();
        let error = refusal(&world, &Subscribe::new(ALPHA, &shop));
        assert_eq!(error["code"], code, "{status}: {error}");
        if code == "status_not_200" && status != 404 {
            let message = format!("{} {}", error["message"], error["hint"]);
            assert!(
                message.contains(&status.to_string()),
                "it names the status: {error}"
            );
            assert!(
                message.contains("--check post"),
                "and the alternative: {error}"
            );
        }
        assert_eq!(shop.heads().len(), 1, "one call only");
    }
}

#[test]
fn a_certificate_that_is_not_right_creates_nothing() {
    for (flaw, code) in [
        (Flaw::Expired, "tls_cert_expired"),
        (Flaw::NotYetValid, "tls_cert_not_yet_valid"),
        (Flaw::WrongName, "tls_cert_name_mismatch"),
        (Flaw::SelfSigned, "tls_cert_unknown_issuer"),
        (Flaw::ClientAuthOnly, "tls_cert_invalid_purpose"),
    ] {
        let world = World::new();
        let shop = world.receiver("shop").flawed(flaw).start();
        let error = refusal(&world, &Subscribe::new(ALPHA, &shop));
        assert_eq!(error["code"], code, "{error}");
        assert_eq!(shop.heads().len(), 0);
    }
}

#[test]
fn nobody_there_creates_nothing() {
    let world = World::new();
    let closed = closed_port().expect("there is a port").port();
    world.open_port(closed);
    let url = format!("https://localhost:{closed}/");
    let error = refusal(&world, &Subscribe::to_url(ALPHA, "shop", &url));
    assert_eq!(error["code"], "connect_refused");

    let silent = world
        .block_on(FaultServer::bind(world.authority(), Fault::NeverReads))
        .expect("there is a port");
    world.open_port(silent.addr().port());
    let error = refusal(
        &world,
        &Subscribe::to_url(ALPHA, "shop", &silent.url("/")).timeout("300ms"),
    );
    assert_eq!(error["code"], "endpoint_timeout");
}

#[test]
fn an_address_that_was_not_allowed_by_name_is_not_dialled() {
    let world = World::new();
    let shop = world.receiver("shop").start();
    let port = shop
        .url
        .rsplit(':')
        .next()
        .and_then(|rest| rest.split('/').next())
        .expect("a port");
    let configuration = world.write(
        "closed.toml",
        format!("[egress]\nallow_hosts = [\"localhost\"]\nallow_ports = [{port}]\nca_file = \"ca.pem\"\n"),
    );
    let (config, database, url) = (
        configuration.display().to_string(),
        world.database_url(),
        format!("--url={}", shop.url),
    );
    let add = [
        "--config",
        &config,
        "--database",
        &database,
        "subscription",
        "add",
        "--client",
        ALPHA,
        "--name=shop",
        "--no-secret",
        &url,
    ];
    let error = world.refused(add);
    assert_eq!(error["code"], "endpoint_not_allowed", "{error}");
    let audit = world.ask(["audit", "list"]);
    let entry = &audit["entries"][0];
    assert_eq!(entry["action"], "subscription.refused", "{audit}");
    let told = entry["detail"]["why"].as_str().expect("it is told");
    assert!(told.contains("127.0.0.1") || told.contains("::1"), "{told}");
    assert_eq!(shop.heads().len(), 0);

    // The same with the range allowed by a flag.
    let add = add
        .into_iter()
        .chain(["--egress-allow-address", "127.0.0.0/8"]);
    assert_eq!(world.ask(add)["state"], "active");
}

#[test]
fn a_receiver_that_only_takes_post_is_checked_with_the_signed_test_event() {
    let world = World::new();
    let shop = world.receiver("shop").answers_head(405).start();
    world.subscribe(&Subscribe::new(ALPHA, &shop).check("post"));
    assert_eq!((shop.heads().len(), shop.count()), (0, 1));
    shop.assert_all_verified();
    let body: Value = serde_json::from_slice(&shop.posts()[0].body).expect("a body is JSON");
    assert_eq!(body["type"], "webhook.test");

    let picky = world.receiver("picky").answers(403).start();
    let error = world
        .try_subscribe(&Subscribe::new(ALPHA, &picky).check("post"))
        .expect(1)
        .error();
    assert_eq!(error["code"], "status_not_success", "{error}");
}

#[test]
fn names_are_taken_once_for_a_client() {
    let world = World::new();
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop).named("Straße"));
    let again = world.try_subscribe(&Subscribe::new(ALPHA, &shop).named("STRASSE"));
    assert_eq!(again.error_code(), "name_taken");
    world.subscribe(&Subscribe::new(BETA, &shop).named("Straße"));

    for (name, code) in [
        ("", "empty"),
        ("a\nb", "control_character"),
        ("\u{202e}x", "control_character"),
        (&"x".repeat(129), "too_long"),
    ] {
        let refused = world.try_subscribe(&Subscribe::new(ALPHA, &shop).named(name));
        assert_eq!(refused.error()["code"], code, "{name:?}");
        assert_eq!(refused.error()["field"], "name");
    }
}

#[test]
fn weak_secrets_are_refused_and_never_repeated() {
    let world = World::new();
    let shop = world.receiver("shop").start();
    for (secret, code) in [
        ("hunter2", "secret_too_short"),
        ("aaaaaaaaaaaaaaaaaaaaaaaa", "secret_low_entropy"),
        ("changeme", "secret_known"),
    ] {
        let refused = world.try_subscribe(&Subscribe::new(ALPHA, &shop).secret(secret));
        assert_eq!(refused.error_code(), code);
        assert!(!refused.stdout.contains(secret), "{}", refused.stdout);
        assert!(!refused.stderr.contains(secret), "{}", refused.stderr);
    }
}

#[test]
fn a_generated_secret_is_shown_once_and_signs() {
    let world = World::new();
    let shop = world.receiver("shop").start();
    let added = world.ask([
        "subscription",
        "add",
        "--client",
        ALPHA,
        "--name=shop",
        "--url",
        &shop.url,
    ]);
    let secret = added["secret"].as_str().expect("it is shown").to_owned();
    assert_eq!(secret.len(), 40);
    let shown = world
        .tharsis([
            "--json",
            "subscription",
            "show",
            added["id"].as_str().expect("an id"),
        ])
        .ok();
    assert!(!shown.stdout.contains(&secret), "and never again");

    let tested = world.ask(["subscription", "test", added["id"].as_str().expect("an id")]);
    assert_eq!(tested["answer"]["reason"], "http_200", "{tested}");
    let post = shop.posts().remove(0);
    assert!(is_signed_with(&post, &secret));
}

/// Every URL of the corpus that must not be registered is refused with its code, and every other one is taken by the
/// rules (and then not found, for these names do not exist).
#[test]
fn the_corpus_of_urls_is_judged_through_the_command_line() {
    let world = World::new();
    let configuration = world.write("public.toml", "");
    let mut judged = 0;
    for row in corpus("urls_reject.tsv") {
        if row["stage"] != *"registration" {
            continue;
        }
        let mut url = OsString::from("--url=");
        url.push(OsString::from_vec(unescape(&row["url"])));
        // No process can be handed a zero byte.
        if url.as_bytes().contains(&0) {
            continue;
        }
        let refused = add(&world, &configuration, &url);
        let code = match refused.code {
            // What is not UTF-8 never comes as far as the rules.
            Some(2) if row["reason"] == "url_not_utf8" => "url_not_utf8".to_owned(),
            _ => refused.error_code(),
        };
        assert_eq!(code, row["reason"], "{}: {}", row["id"], row["url"]);
        judged += 1;
    }
    assert!(judged > 200, "the corpus has rows: {judged}");
    let nothing = world.refused(["subscription", "list"]);
    assert_eq!(
        nothing["code"], "database_not_found",
        "nothing was created, not even a database"
    );
}

#[track_caller]
fn add(world: &World, configuration: &Path, url: &OsStr) -> tharsis_tests::Finished {
    let database = world.database_url();
    let flags = [
        "--json",
        "--database",
        &database,
        "subscription",
        "add",
        "--client",
        ALPHA,
        "--name=shop",
        "--no-secret",
    ];
    let config = [OsStr::new("--config"), configuration.as_os_str()];
    world.tharsis(flags.map(OsStr::new).into_iter().chain(config).chain([url]))
}

/// The rows of a table of the corpus, by their headings.
fn corpus(name: &str) -> Vec<std::collections::HashMap<String, String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut lines = text
        .lines()
        .map(|line| line.split('\t').map(ToOwned::to_owned));
    let headings: Vec<String> = lines.next().expect("a table has headings").collect();
    lines
        .map(|cells| headings.iter().cloned().zip(cells).collect())
        .collect()
}

/// Undoes the corpus' escapes: `\\ \n \r \t \0 \xHH \u{H…}`.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    let hex = |digits: &str| u32::from_str_radix(digits, 16).expect("hexadecimal digits");
    while let Some(c) = rest.next() {
        let mut push = |c: char| bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
        match (c, if c == '\\' { rest.next() } else { None }) {
            ('\\', Some('\\')) => push('\\'),
            ('\\', Some('n')) => push('\n'),
            ('\\', Some('r')) => push('\r'),
            ('\\', Some('t')) => push('\t'),
            ('\\', Some('0')) => push('\0'),
            ('\\', Some('x')) => {
                let digits: String = rest.by_ref().take(2).collect();
                bytes.push(u8::try_from(hex(&digits)).expect("two digits"));
            }
            ('\\', Some('u')) => {
                let digits: String = rest.by_ref().skip(1).take_while(|c| *c != '}').collect();
                push(char::from_u32(hex(&digits)).expect("a character"));
            }
            ('\\', other) => panic!("no escape: {other:?}"),
            (c, _) => push(c),
        }
    }
    bytes
}

#[test]
fn a_check_does_not_take_for_ever() {
    let world = World::new();
    let slow = world
        .receiver("slow")
        .delays(Duration::from_secs(3600))
        .start();
    let error = refusal(&world, &Subscribe::new(ALPHA, &slow).timeout("500ms"));
    assert_eq!(error["code"], "endpoint_timeout");
}
