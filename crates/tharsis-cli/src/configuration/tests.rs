//! What a process runs with, from what it was given.

use std::{fs, path::Path, time::Duration};

use tharsis::{secret::Keyring, store::Retention};
use tharsis_mail::Security;

use super::{Configuration, file::File};
use crate::{arguments::Global, output::Failure};

/// Settles flags, variables and a file, as a process would.
fn settle(flags: Global, variables: &[(&str, &str)], file: &str) -> Result<Configuration, Failure> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tharsis.toml");
    fs::write(&path, file).unwrap();
    let flags = Global {
        config: Some(path),
        ..flags
    };
    Configuration::settle(&flags, &|name| {
        Ok(variables
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).to_owned()))
    })
}

fn refused(file: &str) -> String {
    File::parse("tharsis.toml", file).unwrap_err().to_string()
}

#[test]
fn flags_go_over_variables_over_the_file_over_defaults() {
    let flags = || Global {
        database: Some("sqlite://flag.db".to_owned()),
        ..Global::default()
    };
    let variables = [("THARSIS_DATABASE_URL", "sqlite://variable.db")];
    let file = "database = 'sqlite://file.db'";
    let database = |flags, variables: &[_], file| {
        let settled = settle(flags, variables, file).unwrap();
        settled.database.expose().to_owned()
    };
    assert_eq!(database(flags(), &variables, file), "sqlite://flag.db");
    assert_eq!(
        database(Global::default(), &variables, file),
        "sqlite://variable.db"
    );
    assert_eq!(database(Global::default(), &[], file), "sqlite://file.db");
    assert_eq!(database(Global::default(), &[], ""), "sqlite://tharsis.db");
    let empty = [("THARSIS_DATABASE_URL", "")];
    assert_eq!(
        database(Global::default(), &empty, file),
        "sqlite://file.db"
    );
}

#[test]
fn what_allows_egress_adds_up() {
    let flags = Global {
        egress_allow_address: vec!["10.1.2.3".to_owned()],
        egress_allow_port: vec![9443],
        ..Global::default()
    };
    let variables = [
        ("THARSIS_EGRESS_ALLOW_HOSTS", "localhost, dev.localhost"),
        ("THARSIS_EGRESS_ALLOW_PORTS", "9000"),
    ];
    let file =
        "[egress]\nallow_addresses = ['127.0.0.0/8']\nallow_ports = [443]\nca_file = 'ca.pem'";
    let settled = settle(flags, &variables, file).unwrap();
    let ranges: Vec<_> = settled
        .egress
        .allow_addresses
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(ranges, ["127.0.0.0/8", "10.1.2.3/32"]);
    assert_eq!(settled.egress.allow_hosts, ["localhost", "dev.localhost"]);
    assert_eq!(settled.egress.allow_ports, [443, 9000, 9443]);
    let ca_file = settled.ca_file.unwrap();
    assert!(
        ca_file.is_absolute() && ca_file.ends_with("ca.pem"),
        "beside the file, not where we are"
    );
}

#[test]
fn receivers_see_the_source_addresses_or_what_stands_before_them() {
    let seen_from = |variables: &[_], file| {
        let settled = settle(Global::default(), variables, file).unwrap();
        let seen_from = settled.seen_from.iter().map(ToString::to_string);
        (
            settled.source_addresses.len(),
            seen_from.collect::<Vec<_>>(),
        )
    };
    let file = "[egress]\nsource_addresses = ['10.0.0.7', '10.0.0.8']";
    let (sources, seen) = seen_from(&[], file);
    assert_eq!(
        (sources, &*seen),
        (2, &["10.0.0.7/32".into(), "10.0.0.8/32".into()][..])
    );
    let nat = [("THARSIS_EGRESS_SEEN_FROM", "203.0.114.0/29")];
    assert_eq!(
        seen_from(&nat, file),
        (2, vec!["203.0.114.0/29".to_owned()])
    );
    assert_eq!(seen_from(&[], ""), (0, vec![]));
    let refused = |file| {
        settle(Global::default(), &[], file)
            .unwrap_err()
            .to_string()
    };
    insta::assert_snapshot!(refused("[egress]\nsource_addresses = ['eth0']"), @"bad_address: egress.source_addresses: is no IP address (write addresses of this machine, as 203.0.114.7)");
    insta::assert_snapshot!(refused("[egress]\nseen_from = ['here']"), @"bad_address_range: egress.seen_from: is no range of addresses (write it like 127.0.0.0/8, fd00::/8 or 192.168.1.7)");
}

#[test]
fn a_proxy_is_named_and_its_password_never_printed() {
    let file = "[egress]\nproxy = 'http://egress:s3cret@proxy.internal:3128'";
    let settled = settle(Global::default(), &[], file).unwrap();
    let printed = format!("{settled:?}");
    assert!(
        printed.contains("http://proxy.internal:3128") && !printed.contains("s3cret"),
        "{printed}"
    );
    let refused = |variables: &[_]| {
        settle(Global::default(), variables, file)
            .unwrap_err()
            .to_string()
    };
    insta::assert_snapshot!(refused(&[("THARSIS_EGRESS_PROXY", "proxy.internal:3128")]), @"bad_proxy: THARSIS_EGRESS_PROXY: does not begin with http:// (write http://HOST:PORT, with USER:PASSWORD@ before the host where it asks for them)");
}

#[test]
fn the_key_file_lies_beside_the_file_that_names_it() {
    let key_file = |flags, variables: &[_], file| settle(flags, variables, file).unwrap().key_file;
    let flags = || Global {
        key_file: Some("flag.key".into()),
        ..Global::default()
    };
    let variables = [("THARSIS_KEY_FILE", "variable.key")];
    let file = "key_file = 'file.key'";
    assert_eq!(key_file(flags(), &variables, file), Path::new("flag.key"));
    assert_eq!(
        key_file(Global::default(), &variables, file),
        Path::new("variable.key")
    );
    let beside = key_file(Global::default(), &[], file);
    assert!(beside.is_absolute() && beside.ends_with("file.key"));
    assert_eq!(
        key_file(Global::default(), &[], ""),
        Path::new("tharsis.key")
    );
}

#[test]
fn keys_stand_in_the_place_of_a_file_and_are_never_printed() {
    let key = "5a".repeat(32);
    let variables = [("THARSIS_KEYS", key.as_str())];
    let file = "key_file = 'file.key'";
    let settled = settle(Global::default(), &variables, file).unwrap();
    assert_eq!(settled.keys.iter().flat_map(Keyring::iter).count(), 1);
    assert!(!format!("{settled:?}").contains(&key));

    let refused = |variables: &[_]| {
        let failure = settle(Global::default(), variables, "").unwrap_err();
        format!("{failure:?}")
    };
    let twice = refused(&[variables[0], ("THARSIS_KEY_FILE", "variable.key")]);
    assert!(twice.contains("keys_given_twice"), "{twice}");
    let bad = format!("{key},{}", "5a".repeat(31));
    let bad = refused(&[("THARSIS_KEYS", &bad)]);
    assert!(bad.contains("bad_key") && !bad.contains("5a5a"), "{bad}");
}

#[test]
fn a_password_in_the_url_is_never_printed() {
    let file = "database = 'postgres://engine:s3cret@db/shop'";
    let settled = settle(Global::default(), &[], file).unwrap();
    assert!(settled.database.expose().contains("s3cret"));
    let printed = format!("{} {settled:?}", settled.database);
    assert!(
        printed.contains("postgres://engine:***@db/shop") && !printed.contains("s3cret"),
        "{printed}"
    );
}

#[test]
fn a_lease_is_a_span() {
    let lease = |file| settle(Global::default(), &[], file).map(|settled| settled.lease);
    assert_eq!(
        lease("[engine]\nlease = '1s'").unwrap(),
        Some(Duration::from_secs(1))
    );
    assert_eq!(lease("").unwrap(), None);
    insta::assert_snapshot!(lease("[engine]\nlease = 'soon'").unwrap_err(), @"bad_duration: engine.lease: is no length of time (write a number and its unit: 500ms, 3s, 1m30s, 24h)");
}

#[test]
fn contacts_are_of_all_and_of_clients() {
    let contacts = |file| settle(Global::default(), &[], file).map(|settled| settled.contacts);
    let file = "[alerts]\nmail = ['ops@house.example']\nevery = '2h'
        [alerts.clients.36011017-0e00-4e29-a054-7a1fbb8b60a2]\nmail = ['shop@shop.example']";
    let settled = contacts(file).unwrap();
    let client = "36011017-0e00-4e29-a054-7a1fbb8b60a2".parse().unwrap();
    let told = |client| settled.of(client, &tharsis::alert::Alerts::default());
    let names = |client| {
        told(client)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(client), ["shop@shop.example", "ops@house.example"]);
    assert_eq!(settled.every, Duration::from_secs(2 * 60 * 60));
    let refused = |file| contacts(file).unwrap_err().to_string();
    insta::assert_snapshot!(refused("[alerts]\nmail = ['ops']"), @"bad_address: alerts.mail: is no mail address (write it like ops@shop.example)");
    insta::assert_snapshot!(refused("[alerts]\nevery = '1s'"), @"out_of_range: alerts.every: is shorter than 1m");
    insta::assert_snapshot!(refused("[alerts.clients.shop]\nmail = []"), @"bad_uuid: alerts.clients.shop: is not a UUID (write it like 36011017-0e00-4e29-a054-7a1fbb8b60a2)");
    insta::assert_snapshot!(self::refused("[alerts.clients.36011017-0e00-4e29-a054-7a1fbb8b60a2]\nmial = []"), @"unknown_key: alerts.clients.36011017-0e00-4e29-a054-7a1fbb8b60a2.mial: is no key of tharsis.toml (the key of a client is mail)");
}

#[test]
fn what_is_over_is_kept_for_as_long_as_is_said() {
    let kept = |file| settle(Global::default(), &[], file).map(|settled| settled.engine.retention);
    assert_eq!(kept("").unwrap(), Retention::default());
    let day = Duration::from_secs(24 * 60 * 60);
    assert_eq!(
        kept("[retention]\nhistory = '14d'\nexcerpts = 'none'").unwrap(),
        Retention {
            history: Some(day * 14),
            excerpts: None,
            ..Retention::default()
        }
    );
    let refused = |file| kept(file).unwrap_err().to_string();
    insta::assert_snapshot!(refused("[retention]\nhistory = '23h'"), @"out_of_range: retention.history: is shorter than 1d");
    insta::assert_snapshot!(refused("[retention]\naudit = 'ever'"), @"bad_duration: retention.audit: is no length of time (write a number and its unit: 500ms, 3s, 1m30s, 24h)");
}

#[test]
fn a_process_is_looked_at_where_it_is_said() {
    let observe = |variables: &[_], file| {
        settle(Global::default(), variables, file).map(|settled| settled.observe)
    };
    let nowhere = observe(&[], "").unwrap();
    assert_eq!(nowhere.listen, None);
    assert_eq!(nowhere.overdue, Duration::from_secs(5 * 60));
    let file = "[observe]\nlisten = '127.0.0.1:9464'\noverdue = '1h'";
    let settled = observe(&[("THARSIS_OBSERVE_OVERDUE", "2m")], file).unwrap();
    assert_eq!(settled.listen, Some("127.0.0.1:9464".parse().unwrap()));
    assert_eq!(settled.overdue, Duration::from_secs(2 * 60));
    let refused = |variables: &[_], file| observe(variables, file).unwrap_err().to_string();
    insta::assert_snapshot!(refused(&[], "[observe]\nlisten = 'localhost'"), @"bad_address: observe.listen: is no address with a port (write it like 127.0.0.1:9464)");
    insta::assert_snapshot!(refused(&[("THARSIS_OBSERVE_LISTEN", "9464")], ""), @"bad_address: THARSIS_OBSERVE_LISTEN: is no address with a port (write it like 127.0.0.1:9464)");
}

#[test]
fn a_mail_server_has_a_name_and_a_sender() {
    let smtp = |file| settle(Global::default(), &[], file).map(|settled| settled.smtp);
    let file = "[smtp]\nhost = 'mail.house.example'\nfrom = 'tharsis@house.example'\nuser = 'tharsis'\npassword_file = 'smtp.password'";
    let settled = smtp(file).unwrap().unwrap();
    assert_eq!((settled.security, settled.port), (Security::Required, None));
    let password_file = settled.password_file.unwrap();
    assert!(password_file.is_absolute(), "beside the file");
    let refused = |file| smtp(file).unwrap_err().to_string();
    insta::assert_snapshot!(refused("[smtp]\nfrom = 'a@b.example'"), @"missing_key: smtp.host: is missing");
    insta::assert_snapshot!(refused("[smtp]\nhost = 'x'"), @"missing_key: smtp.from: is missing");
    insta::assert_snapshot!(refused("[smtp]\nhost = 'x'\nfrom = 'a@b.example'\nuser = 'me'"), @"missing_key: smtp.password_file: is missing");
    insta::assert_snapshot!(refused("[smtp]\nhost = 'x'\nfrom = 'a@b.example'\ntls = 'maybe'"), @"bad_tls: smtp.tls: is no way to a mail server (choose one of: required, starttls, none)");
}

#[test]
fn an_unknown_key_is_refused_with_the_likely_one() {
    insta::assert_snapshot!(refused("databse = 'x'"), @"unknown_key: databse: is no key of tharsis.toml (did you mean `database`?)");
    insta::assert_snapshot!(refused("[egres]\nallow_hosts = []"), @"unknown_key: egres: is no key of tharsis.toml (did you mean `egress`?)");
    insta::assert_snapshot!(refused("allow_hosts = []"), @"unknown_key: allow_hosts: is no key of tharsis.toml (did you mean `egress.allow_hosts`?)");
    insta::assert_snapshot!(refused("[egress]\nwhatever = false"), @"unknown_key: egress.whatever: is no key of tharsis.toml (the keys are database, key_file, log, log_format, egress.allow_addresses, egress.allow_hosts, egress.allow_ports, egress.ca_file, egress.source_addresses, egress.seen_from, egress.proxy, engine.max_in_flight, engine.cache_bytes, engine.grace, engine.lease, engine.backlog_limit, alerts.mail, alerts.every, retention.history, retention.excerpts, retention.audit, observe.listen, observe.overdue, smtp.host, smtp.port, smtp.tls, smtp.user, smtp.password_file, smtp.from, smtp.ca_file)");
    insta::assert_snapshot!(refused("'egress.ca_file' = 'x'"), @"bad_config: tharsis.toml: line 1: unknown field `egress.ca_file`, expected one of `database`, `key_file`, `log`, `log_format`, `egress`, `engine`, `alerts`, `retention`, `observe`, `smtp`, `profiles`");
}

#[test]
fn a_wrong_value_is_told_with_its_line() {
    insta::assert_snapshot!(refused("log = 'info'\n[egress]\nallow_ports = ['x']"), @r#"bad_config: tharsis.toml: line 3: invalid type: string "x", expected u16"#);
    insta::assert_snapshot!(refused("log = \n"), @"bad_config: tharsis.toml: line 1: string values must be quoted, expected literal string");
    insta::assert_snapshot!(refused("egress = 3"), @"bad_config: tharsis.toml: line 1: invalid type: integer `3`, expected a table");
    let file = "[egress]\nallow_addresses = ['localhost']";
    let refused = settle(Global::default(), &[], file).unwrap_err();
    insta::assert_snapshot!(refused, @"bad_address_range: egress.allow_addresses: is no range of addresses (write it like 127.0.0.0/8, fd00::/8 or 192.168.1.7)");
}

/// The text of a file: it settles, or is refused as wrong usage that names no line which is not there.
fn configuration(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let settled = File::parse("tharsis.toml", &text)
        .and_then(|file| Configuration::over(file, &Global::default(), &|_| Ok(None)));
    match settled {
        Ok(settled) => {
            let database = settled.database.expose();
            if database.starts_with("postgres://engine:opensesame@") {
                assert!(!settled.database.to_string().contains("opensesame"));
            }
        }
        Err(refused) => {
            assert!(!refused.to_string().is_empty());
            let line = refused.fault().message.strip_prefix("line ");
            if let Some((line, _)) = line.and_then(|rest| rest.split_once(':')) {
                let line: usize = line.parse().unwrap();
                assert!((1..=text.lines().count() + 1).contains(&line), "{refused}");
            }
        }
    }
}

#[test]
fn fuzz_configuration() {
    crate::fuzz::run(
        "configuration",
        &[
            b"database = 'postgres://engine:opensesame@db/shop'\nkey_file = 'k'\nlog = 'info'\nlog_format = 'json'\n[egress]\nallow_addresses = ['127.0.0.0/8']\nallow_hosts = [\"localhost\"]\nallow_ports = [443, 0x1]\nca_file = 'ca.pem'\n",
            b"[engine]\nmax_in_flight = 8\ncache_bytes = 1_000\ngrace = '10s'\nlease = '15s'\nbacklog_limit = 9\n[retention]\nhistory = '14d'\nexcerpts = 'none'\naudit = '2d'\n[observe]\nlisten = '[::1]:9464'\noverdue = '1h'\n",
            b"[alerts]\nmail = ['ops@house.example']\nevery = '2h'\n[alerts.clients.36011017-0e00-4e29-a054-7a1fbb8b60a2]\nmail = ['shop@shop.example']\n[smtp]\nhost = 'mail.house.example'\nport = 25\ntls = 'starttls'\nuser = 'u'\npassword_file = 'p'\nfrom = 'tharsis@house.example'\n",
            b"[profiles.acme]\nsignature_header = 'X-Acme'\nsigned = 'timestamp.body'\nalgorithm = 'hmac-sha512'\ndigest = 'base64'\nseparator = ','\nheaders = { X-Id = '{id}' }\ntimeout = '10s'\nevents = ['order']\n[profiles.form]\nencoding = 'form'\nbatch_items = 100\nlinger = '1s'\n",
        ],
        configuration,
    );
}
