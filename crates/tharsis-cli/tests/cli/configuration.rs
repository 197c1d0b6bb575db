use crate::{Desk, command};

#[test]
fn the_file_beside_us_is_read_unless_another_is_named() {
    let desk = Desk::new();
    desk.write("tharsis.toml", "databse = 'sqlite://engine.db'");
    insta::assert_snapshot!(desk.run("subscription list").all(), @"");
    desk.write("other.toml", "database = 'sqlite://other.db'");
    assert_eq!(
        desk.run("--config other.toml subscription list").code,
        Some(0)
    );
    assert!(desk.path("other.db").exists());
    insta::assert_snapshot!(desk.run("--config none.toml subscription list --json").all(), @"");
}

#[test]
fn a_variable_goes_over_the_file() {
    let desk = Desk::new();
    desk.write("tharsis.toml", "database = 'sqlite://file.db'");
    let output = command(desk.0.path())
        .env("THARSIS_DATABASE_URL", "sqlite://variable.db")
        .args(["subscription", "list"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(desk.path("variable.db").exists() && !desk.path("file.db").exists());
}

#[test]
fn a_wrong_filter_of_the_log_is_wrong_usage() {
    insta::assert_snapshot!(Desk::new().run("--log tharsis=loud subscription list").all(), @"");
}
