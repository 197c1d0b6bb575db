use std::process::Stdio;

use serde_json::{Value, json};

use crate::{Desk, command};

const OURS: &str = "36011017-0e00-4e29-a054-7a1fbb8b60a2";
const THEIRS: &str = "b4aeba4e-a4c0-4896-866a-56f8bcb372fc";

impl Desk {
    fn token(&self, arguments: &str) -> Value {
        let said = self.run(&format!("token create --json {arguments}"));
        assert_eq!(said.code, Some(0), "{}", said.all());
        said.json()
    }
}

/// The word that begins so.
fn word<'a>(text: &'a str, begin: &str) -> &'a str {
    let mut words = text.split_whitespace();
    words.find(|word| word.starts_with(begin)).unwrap()
}

#[test]
fn a_token_is_shown_once_and_revoked() {
    let desk = Desk::with_outbox();
    insta::assert_snapshot!(desk.run("token list").all(), @"
    exit 0
    --- stderr
    There is no token. Make one with `tharsis token create`.
    ");
    insta::assert_snapshot!(desk.run("token list --json").stdout, @r#"{"tokens":[]}"#);

    let made = desk.run(&format!(
        "token create --name engine --role publisher --client {OURS} --expires 90d"
    ));
    let token = word(&made.stdout, "tharsis_");
    assert_eq!(token.len(), 51);
    let id = made.stdout.split_whitespace().nth(1).unwrap();
    let until = word(&made.stdout, "20");
    let told = made.all().replace(token, "TOKEN");
    insta::assert_snapshot!(told.replace(id, "ID").replace(until, "INSTANT"), @r"
    exit 0
    --- stdout
    token    ID
    name     engine
    role     publisher
    client   36011017-0e00-4e29-a054-7a1fbb8b60a2
    expires  INSTANT (in 90d)

    The token itself, which is not shown again:

      TOKEN
    ");

    let listed = desk.run("token list");
    assert!(!listed.stdout.contains(token), "{}", listed.stdout);
    let prefix = &token[8..16];
    // Words of the same length, for the columns are as wide as what is in them.
    let told = (listed
        .stdout
        .replace(id, "019b2f70-91d2-7b35-8f06-3f1c5d0a7e42"))
    .replace(until, "2036-01-01T00:00:00Z")
    .replace(prefix, "AAECAwQF");
    insta::assert_snapshot!(told, @"
    TOKEN                                 PREFIX    NAME    ROLE       CLIENT                                STATE   EXPIRES                        USED
    019b2f70-91d2-7b35-8f06-3f1c5d0a7e42  AAECAwQF  engine  publisher  36011017-0e00-4e29-a054-7a1fbb8b60a2  usable  2036-01-01T00:00:00Z (in 89d)  -
    ");

    insta::assert_snapshot!(desk.run(&format!("token revoke {id}")).all().replace(id, "ID"), @"
    exit 0
    --- stdout
    The token ID (engine) lets nobody in any more.
    ");
    let again = desk.run(&format!("token revoke {id}"));
    assert_eq!(again.code, Some(0));
    assert!(
        again.stderr.contains("It was revoked before: 2"),
        "{}",
        again.stderr
    );
    let revoked = &desk.run("token list --json").json()["tokens"][0];
    assert_eq!(revoked["state"], "revoked");
    assert!(revoked["revoked_at"].is_string(), "{revoked}");

    let audit = desk.run("audit list --json");
    assert!(!audit.stdout.contains(token));
    let entries = audit.json();
    let told = |n: usize| {
        (
            &entries["entries"][n]["action"],
            &entries["entries"][n]["subject"],
        )
    };
    assert_eq!(told(0), (&json!("token.revoked"), &json!(id)));
    assert_eq!(told(1), (&json!("token.made"), &json!(id)));
    assert_eq!(entries["entries"][1]["detail"]["prefix"], prefix);
    // Nothing of it is in the file but its beginning.
    let file = std::fs::read(desk.path("tharsis.db")).unwrap();
    let log = std::fs::read(desk.path("tharsis.db-wal")).unwrap_or_default();
    for bytes in [file, log] {
        assert!(
            !bytes
                .windows(17)
                .any(|part| part == &token.as_bytes()[8..25])
        );
    }
}

#[test]
fn tokens_are_made_as_asked_and_listed_by_client() {
    let desk = Desk::with_outbox();
    let ours = desk.token(&format!("--name ours --role viewer --client {OURS}"));
    let theirs = desk.token(&format!(
        "--name theirs --role operator --client {THEIRS} --expires none"
    ));
    let everywhere = desk.token("--name ops --role admin");
    let keys: Vec<_> = ours.as_object().unwrap().keys().collect();
    let expected = [
        "client",
        "created_at",
        "expires_at",
        "id",
        "name",
        "prefix",
        "revoked_at",
        "role",
        "state",
        "token",
        "used_at",
    ];
    assert_eq!(keys, expected);
    assert_eq!(
        (&ours["role"], &ours["client"]),
        (&json!("viewer"), &json!(OURS))
    );
    assert_eq!(theirs["expires_at"], Value::Null);
    assert_eq!(everywhere["client"], Value::Null);
    // A year, unless it is said.
    let year = |at: &Value| at.as_str().unwrap()[..4].parse::<u32>().unwrap();
    assert!(year(&ours["expires_at"]) >= year(&ours["created_at"]));
    assert!(desk.run("token list").stdout.contains("(in 364d)"));

    let names = |line: &str| {
        let tokens = desk.run(&format!("token list --json {line}")).json();
        let tokens = tokens["tokens"].as_array().unwrap().clone();
        assert!(tokens.iter().all(|token| token.get("token").is_none()));
        let names = tokens
            .iter()
            .map(|token| token["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(""), ["ops", "theirs", "ours"]);
    assert_eq!(names(&format!("--client {OURS}")), ["ours"]);
    assert_eq!(names(&format!("--client {THEIRS}")), ["theirs"]);
    let nobodys = desk.run("token list --client 019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11");
    insta::assert_snapshot!(nobodys.all(), @"
    exit 0
    --- stderr
    There is no token for this client alone.
    ");
}

#[test]
fn what_is_no_token_is_not_made() {
    let desk = Desk::with_outbox();
    insta::assert_snapshot!(desk.run("--json token create --name a --role owner").all(), @r#"
    exit 2
    --- stdout
    {"error":{"code":"usage","field":"--role","message":"'owner' is no role","hint":"choose one of: publisher, viewer, operator, admin"}}
    "#);
    insta::assert_snapshot!(desk.run("--json token create --name a --role viewer --expires soon").all(), @r#"
    exit 2
    --- stdout
    {"error":{"code":"usage","field":"--expires","message":"'soon' is no length of time","hint":"write a number and its unit: 500ms, 3s, 1m30s, 24h"}}
    "#);
    insta::assert_snapshot!(desk.run("token create --name a --role viewer --expires 0s").all(), @"
    exit 1
    --- stderr
    error[already_expired]: expires_at: does not lie ahead
      hint: give an instant that lies ahead, or none
    ");
    let unnamed = desk.exec(&["token", "create", "--role=viewer", "--name="], b"");
    insta::assert_snapshot!(unnamed.all(), @"
    exit 1
    --- stderr
    error[empty]: name: is empty
    ");
    insta::assert_snapshot!(desk.run("token revoke 019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11").all(), @"
    exit 1
    --- stderr
    error[not_found]: no token 019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11
    ");
    assert_eq!(desk.run("token list").stdout, "");
}

/// Nobody holds what could not be printed.
#[test]
fn a_token_that_nobody_read_is_told_of() {
    let desk = Desk::with_outbox();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let made = command(desk.0.path())
        .args(["token", "create", "--name=a", "--role=viewer"])
        .stdout(Stdio::from(full.unwrap()))
        .output()
        .unwrap();
    assert_eq!(made.status.code(), Some(1));
    let said = String::from_utf8(made.stderr).unwrap();
    let id = &desk.run("token list --json").json()["tokens"][0]["id"];
    let hint = format!("tharsis token revoke {}", id.as_str().unwrap());
    assert!(
        said.contains("token_not_shown") && said.contains(&hint),
        "{said}"
    );
}
