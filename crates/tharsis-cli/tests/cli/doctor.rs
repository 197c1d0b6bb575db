use crate::Desk;

#[test]
fn a_new_installation_is_well() {
    let desk = Desk::with_outbox();
    let said = desk.run("doctor");
    assert_eq!(
        (said.code, said.stderr.as_str()),
        (Some(0), ""),
        "{}",
        said.stdout
    );
    assert!(said.stdout.starts_with("1 note; "), "{}", said.stdout);
    let answer = desk.run("doctor --json").json();
    assert_eq!(answer["worst"], "note", "{answer}");
    let first = &answer["findings"][0];
    assert_eq!(
        (&first["code"], &first["remedy"]),
        (&"no_worker".into(), &"tharsis run".into())
    );
}

#[test]
fn what_is_not_there_is_an_error_with_what_to_do() {
    let desk = Desk::new();
    let said = desk.run("doctor");
    assert_eq!(said.code, Some(3), "{}", said.stdout);
    let first: Vec<&str> = said.stdout.lines().skip(2).take(2).collect();
    assert_eq!(
        first,
        [
            "error    There is no database tharsis.db.",
            "         check the path; `tharsis migrate`, `subscription add`, `publish`, `run` and `serve` create a new one",
        ]
    );
    assert_eq!(
        desk.0.path().read_dir().unwrap().count(),
        0,
        "nothing was made"
    );
    assert_eq!(
        desk.run("doctor --log-format maybe").code,
        Some(2),
        "wrong usage, as everywhere"
    );
}

#[cfg(unix)]
#[test]
fn a_key_file_that_others_may_read_is_told() {
    use std::os::unix::fs::PermissionsExt as _;

    let desk = Desk::with_outbox();
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(desk.path("tharsis.db.key"), open).unwrap();
    let said = desk.run("doctor");
    assert_eq!(said.code, Some(1), "{}", said.stdout);
    assert!(
        said.stdout.contains("chmod 600 /") && said.stdout.contains("/tharsis.db.key"),
        "{}",
        said.stdout
    );
}
