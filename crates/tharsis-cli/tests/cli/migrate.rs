use crate::Desk;

#[test]
fn a_file_is_migrated_once() {
    let desk = Desk::new();
    let folder = desk.0.path().canonicalize().unwrap();
    let here = |told: String| told.replace(folder.to_str().unwrap(), "HERE");
    insta::assert_snapshot!(here(desk.run("migrate").all()), @r"
    exit 0
    --- stdout
    Applied the migration `outbox` to sqlite://tharsis.db.
    Applied the migration `profiles` to sqlite://tharsis.db.
    Applied the migration `rate` to sqlite://tharsis.db.
    Applied the migration `health` to sqlite://tharsis.db.
    Applied the migration `release` to sqlite://tharsis.db.
    Applied the migration `campaign` to sqlite://tharsis.db.
    Applied the migration `alert` to sqlite://tharsis.db.
    Applied the migration `own_events` to sqlite://tharsis.db.
    Applied the migration `order` to sqlite://tharsis.db.
    Applied the migration `replay` to sqlite://tharsis.db.
    Applied the migration `retention` to sqlite://tharsis.db.
    Applied the migration `token` to sqlite://tharsis.db.
    Applied the migration `minute` to sqlite://tharsis.db.
    Applied the migration `settled` to sqlite://tharsis.db.
    Made the key file HERE/tharsis.db.key: keep a copy of it, apart from the database's.
    ");
    insta::assert_snapshot!(here(desk.run("migrate").all()), @"
    exit 0
    --- stdout
    sqlite://tharsis.db is up to date.
    The key file is HERE/tharsis.db.key.
    ");
    insta::assert_snapshot!(here(desk.run("migrate --json").stdout), @r#"{"applied":[],"key_file":{"path":"HERE/tharsis.db.key","state":"there"}}"#);
    insta::assert_snapshot!(here(desk.run("--database sqlite://other.db migrate --json").stdout), @r#"{"applied":["outbox","profiles","rate","health","release","campaign","alert","own_events","order","replay","retention","token","minute","settled"],"key_file":{"path":"HERE/other.db.key","state":"made"}}"#);
}

/// A mistyped path must not look like an empty outbox.
#[test]
fn what_only_looks_or_changes_makes_no_database() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.run("delivery list").all(), @"
    exit 1
    --- stderr
    error[database_not_found]: there is no database tharsis.db
      hint: check the path; `tharsis migrate`, `subscription add`, `publish`, `run` and `serve` create a new one
    ");
    let id = "019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11";
    for line in [
        "subscription list".to_owned(),
        format!("subscription show {id}"),
        format!("subscription set {id} --name Shop"),
        format!("subscription pause {id}"),
        format!("subscription resume {id}"),
        format!("subscription rotate {id}"),
        format!("subscription test {id}"),
        format!("subscription remove {id} --yes"),
        "worker list".to_owned(),
        format!("event show {id}"),
        format!("why {id}"),
        format!("delivery show {id}/{id}"),
        format!("delivery retry {id}/{id}"),
        format!("delivery cancel {id}/{id}"),
        "replay --status dead --yes".to_owned(),
        "replay list".to_owned(),
        format!("replay show {id}"),
        "token create --name ops --role viewer".to_owned(),
        "token list".to_owned(),
        format!("token revoke {id}"),
    ] {
        let said = desk.run(&format!("{line} --json"));
        assert_eq!(said.code, Some(1), "{line}");
        assert_eq!(said.json()["error"]["code"], "database_not_found", "{line}");
    }
    let left = desk.0.path().read_dir().unwrap().count();
    assert_eq!(left, 0, "nothing was made");
    assert_eq!(desk.feed("publish", b"").code, Some(0));
    assert_eq!(desk.run("delivery list").code, Some(0));
}

#[test]
fn a_url_that_no_store_has_is_wrong_usage_told_without_its_password() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.run("--database mysql://engine:s3cret@db/shop migrate").all(), @"
    exit 2
    --- stderr
    error[bad_database_url]: database: is no URL of SQLite or PostgreSQL
      hint: write sqlite://PATH, as in sqlite://tharsis.db, or postgres://USER@HOST/DATABASE?schema=tharsis
    ");
}

/// What a driver does not know it would log, with its value.
#[test]
fn a_parameter_that_is_not_known_is_told_without_its_value() {
    let desk = Desk::new();
    for parameter in ["sslpassword", "PassWord", "connect_timeout"] {
        for command in ["migrate", "run", "publish", "delivery list"] {
            let url = format!("postgres://127.0.0.1:9/shop?{parameter}=s3cret");
            let said = desk.run(&format!("--log trace --json --database {url} {command}"));
            assert_eq!(said.code, Some(2), "{}", said.all());
            assert!(!said.all().contains("s3cret"), "{}", said.all());
            let error = &said.json()["error"];
            assert_eq!(error["code"], "bad_database_url");
            let message = error["message"].as_str().unwrap();
            assert!(message.contains(parameter), "{message}");
        }
    }
}

/// Nobody listens on the discard port of loopback.
#[test]
fn a_server_that_is_not_there_is_told_without_the_password() {
    let desk = Desk::new();
    for command in ["migrate", "run", "delivery list"] {
        let url = "postgres://engine:s3cret@127.0.0.1:9/shop?password=s3cret";
        let said = desk.run(&format!("--log trace --database {url} {command}"));
        assert_eq!(said.code, Some(1), "{command}");
        assert!(!said.all().contains("s3cret"), "{}", said.all());
    }
}

#[test]
fn a_lease_that_is_too_short_is_wrong_usage() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.run("--database postgres://127.0.0.1:9/shop run --lease 500ms").all(), @"
    exit 2
    --- stderr
    error[lease_too_short]: lease: is shorter than 1s
      hint: take some seconds: a worker that is killed is replaced after so long
    ");
}
