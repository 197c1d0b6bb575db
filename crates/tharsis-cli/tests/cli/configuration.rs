use crate::{Desk, command};

#[test]
fn the_file_beside_us_is_read_unless_another_is_named() {
    let desk = Desk::new();
    desk.write("tharsis.toml", "databse = 'sqlite://engine.db'");
    insta::assert_snapshot!(desk.run("subscription list").all(), @"
    exit 2
    --- stderr
    error[unknown_key]: databse: is no key of tharsis.toml
      hint: did you mean `database`?
    ");
    desk.write("other.toml", "database = 'sqlite://other.db'");
    assert_eq!(desk.run("--config other.toml migrate").code, Some(0));
    assert!(desk.path("other.db").exists());
    insta::assert_snapshot!(desk.run("--config none.toml subscription list --json").all(), @r#"
    exit 2
    --- stdout
    {"error":{"code":"config_unreadable","field":"none.toml","message":"cannot be read: No such file or directory (os error 2)","hint":null}}
    "#);
}

#[test]
fn a_variable_goes_over_the_file() {
    let desk = Desk::new();
    desk.write("tharsis.toml", "database = 'sqlite://file.db'");
    let output = command(desk.0.path())
        .env("THARSIS_DATABASE_URL", "sqlite://variable.db")
        .arg("migrate")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(desk.path("variable.db").exists() && !desk.path("file.db").exists());
}

#[test]
fn a_wrong_filter_of_the_log_is_wrong_usage() {
    insta::assert_snapshot!(Desk::new().run("--log tharsis=loud subscription list").all(), @r#"
    exit 2
    --- stderr
    error[bad_log_filter]: --log: error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5
      hint: try `info`, or `warn,tharsis_dispatch=debug`
    "#);
}
