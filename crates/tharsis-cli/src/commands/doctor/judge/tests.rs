use tharsis::{
    ClientId, SubscriptionId, WorkerId,
    alert::{Alert, Cause},
    health::Health,
    profile::Profiles,
    store::{FullBacklog, Shards},
    subscription::{Credentials, Draft},
};

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + seconds * 1_000)
}

fn client_id(n: u8) -> ClientId {
    ClientId::new(Timestamp::from_millis(1), [n; 10])
}

fn worker(version: &str) -> WorkerRecord {
    WorkerRecord {
        id: WorkerId::new(Timestamp::from_millis(1), [1; 10]),
        host: "box".to_owned(),
        pid: 7,
        version: version.to_owned(),
        shards: 64,
        since: at(-1_000),
        lease_age: Some(Duration::from_secs(2)),
    }
}

fn postgres_engine() -> PostgresEngine {
    PostgresEngine {
        version: 150_004,
        fsync: true,
        full_page_writes: true,
        synchronous_commit: "on".to_owned(),
        days_until: Some(at(8 * 86_400)),
        in_default: false,
    }
}

fn survey_of(facts: &mut Facts) -> &mut Survey {
    facts.survey.as_mut().unwrap().as_mut().unwrap()
}

fn subscription(n: u8, name: &str) -> Subscription {
    let draft = Draft {
        client: client_id(n).to_string(),
        name: name.to_owned(),
        url: "https://hooks.example.com/in?token=s3cret".to_owned(),
        ..Draft::default()
    };
    let settings = draft
        .settings(&Policy::default(), &Profiles::default())
        .unwrap();
    let id = SubscriptionId::new(Timestamp::from_millis(1), [n; 10]);
    Subscription::new(
        id,
        settings,
        (State::Active, Health::default()),
        &Credentials::default(),
        (at(-1_000), at(-1_000)),
    )
}

/// An installation that is well, on PostgreSQL: one worker, two subscriptions of two clients.
fn well() -> Facts {
    Facts {
        now: at(0),
        version: "0.1.0",
        database: "postgres://tharsis:***@db/shop".to_owned(),
        egress: Policy::default(),
        seen_from: None,
        is_proxied: false,
        contacts: Contacts::default(),
        max_in_flight: 256,
        files: Some(65_536),
        key_file: Some(("/etc/tharsis.key".into(), false)),
        mail: Ok(false),
        client: Ok(()),
        opened: Ok(()),
        survey: Some(Ok(Survey {
            clock: at(0),
            schema: 9,
            engine: Engine::Postgres(postgres_engine()),
            unrouted: 3,
            unrouted_since: Some(at(-1)),
            unfinished: 12,
            due_since: Some(at(-1)),
            commands: 0,
            full: Vec::new(),
            workers: vec![worker("0.1.0")],
            owned: Shards::ALL,
        })),
        alerts: Vec::new(),
        subscriptions: vec![subscription(1, "Shop"), subscription(2, "App")],
        hosts: vec![Host {
            host: "hooks.example.com".to_owned(),
            names: vec!["Shop".to_owned(), "App".to_owned()],
            outcome: None,
        }],
        unread: Vec::new(),
        unasked: 0,
    }
}

/// What is found beside what is well, once this is planted.
fn planted(plant: impl FnOnce(&mut Facts)) -> String {
    let mut facts = well();
    plant(&mut facts);
    let findings = judge(&facts);
    assert!(findings.is_sorted_by(|a, b| a.severity >= b.severity));
    let told: Vec<String> = (findings.iter())
        .filter(|finding| finding.severity > Severity::Ok)
        .map(|finding| {
            format!(
                "{} {}: {} [{}]",
                finding.severity.as_str(),
                finding.code,
                finding.message,
                finding.remedy.as_deref().unwrap_or_default()
            )
        })
        .collect();
    let told = told.join("\n");
    assert!(!told.contains("s3cret"), "{told}");
    told
}

fn with_engine(change: impl FnOnce(&mut PostgresEngine)) -> String {
    planted(|facts| {
        let mut engine = postgres_engine();
        change(&mut engine);
        survey_of(facts).engine = Engine::Postgres(engine);
    })
}

fn with_sqlite(change: impl FnOnce(&mut SqliteEngine)) -> String {
    planted(|facts| {
        let mut engine = SqliteEngine {
            version: "3.51.3".to_owned(),
            journal_mode: "wal".to_owned(),
            synchronous: 2,
            wal_bytes: 4_000_000,
        };
        change(&mut engine);
        survey_of(facts).engine = Engine::Sqlite(engine);
    })
}

#[test]
fn what_is_well_is_said_too() {
    let findings = judge(&well());
    assert!(
        findings
            .iter()
            .all(|finding| finding.severity == Severity::Ok)
    );
    let told: Vec<String> = (findings.iter())
        .map(|finding| format!("{}: {}", finding.code, finding.message))
        .collect();
    insta::assert_snapshot!(told.join("\n"), @"
    database: The database postgres://tharsis:***@db/shop opens, with its key.
    key_file: Nobody but its owner may read the key file.
    engine: The database is PostgreSQL 15.4, set as it should be, with the schema 9.
    clock: The clocks of this machine and of the database agree.
    workers: 1 worker delivers, and every shard has its owner.
    backlog: 12 deliveries are unfinished, and 3 events are not routed yet.
    subscriptions: 2 subscriptions are delivered to.
    urls: The URL of every subscription is allowed.
    hosts: 1 host leads to where something may be sent.
    egress: No range of addresses is opened wide.
    seen_from: Which addresses receivers see is not named.
    trust: The trusted roots are read, and so is how names are looked up.
    files: Enough files may be open for all requests under way.
    mail: Whoever is to be told by mail can be.
    alerts: No alert waits to be told.
    ");
    assert_eq!(with_sqlite(|_| {}), "");
}

#[test]
fn a_database_that_does_not_open() {
    insta::assert_snapshot!(planted(|facts| {
        let failure = Failure::new("key_wrong", "the key file tharsis.key holds another key than the one the database was sealed with");
        facts.opened = Err(failure.hint("restore the file that belongs to this database"));
        facts.subscriptions.clear();
    }), @"error key_wrong: The key file tharsis.key holds another key than the one the database was sealed with. [restore the file that belongs to this database]");
    insta::assert_snapshot!(planted(|facts| {
        let failure = Failure::new("schema_too_old", "the schema tharsis is at 8, and this program wants 9");
        facts.opened = Err(failure.hint("bring it up with `tharsis migrate`"));
        facts.survey = None;
        facts.subscriptions.clear();
    }), @"error schema_too_old: The schema tharsis is at 8, and this program wants 9. [bring it up with `tharsis migrate`]");
    insta::assert_snapshot!(planted(|facts| {
        let failure = Failure::new("not_permitted", "permission denied for table shard");
        facts.survey = Some(Err(failure));
    }), @"error not_permitted: Permission denied for table shard. []");
}

#[test]
fn what_could_not_be_read_is_not_said_to_be_well() {
    let mut facts = well();
    let failure = Failure::new(
        "database_failed",
        "the database failed: a row cannot be read",
    );
    (facts.unread, facts.subscriptions) = (vec![failure], Vec::new());
    let findings = judge(&facts);
    assert_eq!(
        (&*findings[0].code, findings[0].severity),
        ("database_failed", Severity::Error)
    );
    let said = |code| findings.iter().any(|finding| finding.code == code);
    assert!(!said("subscriptions") && !said("alerts") && !said("hosts") && said("engine"));
}

#[test]
fn a_key_file_that_others_may_read() {
    insta::assert_snapshot!(planted(|facts| facts.key_file = Some(("/etc/my tharsis.key".into(), true))), @"warning key_file_open: Others than its owner may read the key file /etc/my tharsis.key. [chmod 600 '/etc/my tharsis.key']");
}

#[test]
fn a_database_that_may_lose_what_it_was_told() {
    insta::assert_snapshot!(with_engine(|engine| {
        engine.fsync = false;
        engine.full_page_writes = false;
        engine.synchronous_commit = "off".to_owned();
    }), @"
    error fsync_off: The server does not flush to the disk: a crash may cost the whole database. [fsync = on]
    error full_page_writes_off: A page that is torn in a crash of the server cannot be mended. [full_page_writes = on]
    error synchronous_commit_off: What was just published is lost when the server crashes. [synchronous_commit = on, for the database and for the roles that publish]
    ");
    insta::assert_snapshot!(with_engine(|engine| engine.version = 140_009), @"error postgres_too_old: The server is PostgreSQL 14, older than 15. [take PostgreSQL 15 or newer]");
    insta::assert_snapshot!(with_sqlite(|engine| {
        engine.journal_mode = "delete".to_owned();
        engine.synchronous = 1;
        engine.wal_bytes = 3 * 1024 * 1024 * 1024;
    }), @"
    error journal_mode: The journal mode of the database is delete, not wal. [keep it on a local disk, and let nobody else change PRAGMA journal_mode]
    error synchronous_off: A commit does not wait for the disk, and may be lost with the power. [PRAGMA synchronous = FULL]
    warning wal_large: The write-ahead log has 3,072 MB: somebody reads, and does not end. [end whoever has a transaction open on the file, then: PRAGMA wal_checkpoint(TRUNCATE)]
    ");
}

#[test]
fn days_without_tables() {
    insta::assert_snapshot!(with_engine(|engine| {
        engine.days_until = Some(at(3_600));
        engine.in_default = true;
    }), @"
    warning days_not_made: There are tables for events and attempts until 2023-11-14T23:13:20.000Z alone. [tharsis run: a worker makes them ahead, once an hour]
    warning in_default: Events or attempts lie in a default table, because their day had none. [tharsis run: a worker makes their day and moves them, within an hour]
    ");
    assert!(with_engine(|engine| engine.days_until = None).contains("days_not_made"));
}

#[test]
fn clocks_that_do_not_agree() {
    insta::assert_snapshot!(planted(|facts| facts.now = at(7)), @"warning clock_skewed: The clock of this machine is 7s ahead of that of the database. [set both by NTP: timedatectl set-ntp true]");
    insta::assert_snapshot!(planted(|facts| facts.now = at(-300)), @"error clock_skewed: The clock of this machine is 5m behind that of the database. [set both by NTP: timedatectl set-ntp true]");
    assert_eq!(planted(|facts| facts.now = at(2)), "");
}

#[test]
fn nobody_delivers() {
    insta::assert_snapshot!(planted(|facts| {
        let survey = survey_of(facts);
        survey.workers.clear();
        survey.owned = Shards::default();
        survey.due_since = Some(at(-7_200));
        survey.unrouted = MOST_COUNTED;
        survey.commands = 1;
    }), @"error no_worker: Nothing delivers at present, and there is something to do: at least 1,000,000 events to be routed, a delivery that was due 2h ago, 1 command. [tharsis run]");
    insta::assert_snapshot!(planted(|facts| {
        let survey = survey_of(facts);
        survey.workers.clear();
        survey.owned = Shards::default();
        (survey.unrouted, survey.unrouted_since, survey.due_since) = (0, None, None);
    }), @"note no_worker: Nothing delivers at present, and nothing has to be. [tharsis run]");
}

#[test]
fn shards_without_an_owner_and_workers_of_another_version() {
    insta::assert_snapshot!(planted(|facts| {
        let survey = survey_of(facts);
        survey.owned = Shards(u64::MAX >> 20);
        survey.workers.push(worker("0.0.9"));
    }), @"
    warning shards_without_owner: 20 of 64 shards have no owner: what lies there waits. [wait for the length of a lease (15s), then look again: tharsis worker list]
    warning worker_of_another_version: Workers are of another version than this program (0.1.0): box (pid 7) of 0.0.9. [restart them with this version, one after the other]
    ");
}

#[test]
fn a_backlog_that_is_not_worked_off() {
    insta::assert_snapshot!(planted(|facts| {
        let survey = survey_of(facts);
        survey.unrouted_since = Some(at(-61));
        survey.due_since = Some(at(-301));
        survey.full = vec![FullBacklog {
            client: "36011017-0e00-4e29-a054-7a1fbb8b60a2".parse().expect("a client"),
            since: at(-60),
        }];
    }), @"
    error backlog_full: The backlog of client 36011017-0e00-4e29-a054-7a1fbb8b60a2 is full: what it publishes is refused for 1m by now. [tharsis delivery list --client 36011017-0e00-4e29-a054-7a1fbb8b60a2 --status held --status retrying --status pending; mend what is in the way, or raise engine.backlog_limit]
    warning routing_behind: 3 events wait to be routed, the first for 1m. [look at the log of the workers, and at tharsis worker list]
    warning delivery_overdue: A delivery has been due for 5m that nothing holds. [tharsis delivery list --status pending, then tharsis why EVENT; a low --rate or --max-in-flight may be the reason]
    ");
}

#[test]
fn subscriptions_to_which_nothing_goes() {
    insta::assert_snapshot!(planted(|facts| {
        let suspend = |subscription: &mut Subscription, reason: &str| {
            subscription.state = State::Suspended { reason: reason.to_owned() };
        };
        suspend(&mut facts.subscriptions[0], "http_410");
        suspend(&mut facts.subscriptions[1], "secret_unreadable");
        let mut open = subscription(3, "Blog");
        open.health.condition = Condition::Open;
        open.health.cause = Some("connect_refused".to_owned());
        facts.subscriptions.push(open);
        for n in 4..11 {
            let mut paused = subscription(n, &format!("Paused {n}"));
            paused.state = State::Paused;
            facts.subscriptions.push(paused);
        }
    }), @"
    error subscription_unreadable: Nothing is sent to what this process cannot read: App 00000000-0001-7202-8202-020202020202 (secret_unreadable). [secret_unreadable: the right key file, or tharsis subscription rotate; else the tharsis.toml or the program that the workers have]
    warning suspended: Nothing is sent to what is suspended: Shop 00000000-0001-7101-8101-010101010101 (http_410). [mend the receiver, then: tharsis subscription resume 00000000-0001-7101-8101-010101010101]
    warning breaker_open: Receivers fail, and are probed alone: Blog 00000000-0001-7303-8303-030303030303 (connect_refused). [tharsis subscription health 00000000-0001-7303-8303-030303030303]
    note paused: What is paused keeps what it would get: Paused 4 00000000-0001-7404-8404-040404040404, Paused 5 00000000-0001-7505-8505-050505050505, Paused 6 00000000-0001-7606-8606-060606060606, Paused 7 00000000-0001-7707-8707-070707070707, Paused 8 00000000-0001-7808-8808-080808080808 and 2 more. [tharsis subscription resume SUBSCRIPTION]
    ");
}

#[test]
fn what_may_be_reached() {
    insta::assert_snapshot!(planted(|facts| {
        facts.egress.allow_ports = vec![8443];
        for range in ["0.0.0.0/0", "10.0.0.0/7", "169.254.0.0/16", "::/0", "10.0.0.0/8"] {
            facts.egress.allow_addresses.push(Policy::range(range).unwrap());
        }
    }), @"
    warning url_not_allowed: URLs would not be registered any more: Shop 00000000-0001-7101-8101-010101010101 (port_not_allowed: port 443 is not allowed), App 00000000-0001-7202-8202-020202020202 (port_not_allowed: port 443 is not allowed). [allow them by name ([egress] allow_hosts, allow_ports), or correct them: tharsis subscription set]
    warning egress_wide: Whoever registers a URL may have these reached: 0.0.0.0/0 (with the metadata service of a cloud), 10.0.0.0/7, 169.254.0.0/16 (with the metadata service of a cloud), ::/0 (with the metadata service of a cloud). [name the receivers' own ranges: [egress] allow_addresses, --egress-allow-address]
    ");
}

#[test]
fn hosts_that_lead_nowhere() {
    let outcome = |code: &'static str, fault| Outcome {
        code: code.into(),
        fault,
        status: None,
        retry_after: None,
        excerpt: Vec::new(),
        detail: Some("10.1.2.3 is an address of the inside".to_owned()),
        duration: Duration::ZERO,
        certificate: None,
    };
    let told = planted(|facts| {
        facts.hosts = [
            (
                "gone.example.com",
                Some(outcome(codes::DNS_NO_SUCH_NAME, Fault::Theirs)),
            ),
            (
                "lost.example.com",
                Some(outcome(codes::DNS_NO_SUCH_NAME, Fault::Theirs)),
            ),
            (
                "inside.example.com",
                Some(outcome(codes::ADDRESS_NOT_GLOBAL, Fault::Theirs)),
            ),
            (
                "busy.example.com",
                Some(outcome(codes::LOCAL_RESOURCE, Fault::Ours)),
            ),
            ("well.example.com", None),
        ]
        .map(|(host, outcome)| Host {
            host: host.to_owned(),
            names: vec!["Shop".to_owned()],
            outcome,
        })
        .into();
        facts.unasked = 3;
    });
    assert!(!told.contains("10.1.2.3"));
    insta::assert_snapshot!(told, @"
    error local_resource: This process ran out of descriptors, ports or memory; the attempt does not count: busy.example.com (Shop). [raise the limits of this process]
    warning dns_no_such_name: The host name does not exist: gone.example.com (Shop), lost.example.com (Shop). [check the spelling of the URL and whether the domain is still registered]
    warning address_not_global: The host name leads to an address that is not public; nothing was sent: inside.example.com (Shop). [point the name at public addresses, or let the operator allow the range by name]
    note hosts_not_asked: There was no time to look up 3 hosts more. []
    ");
}

#[test]
fn a_client_that_cannot_be_made() {
    insta::assert_snapshot!(planted(|facts| {
        let failure = Failure::new("ca_file_unreadable", "the CA file ca.pem cannot be read: No such file or directory");
        facts.client = Err(failure.hint("give the path of a file with certificates in PEM"));
        facts.hosts.clear();
    }), @"error ca_file_unreadable: The CA file ca.pem cannot be read: No such file or directory. [give the path of a file with certificates in PEM]");
}

#[test]
fn too_few_files() {
    insta::assert_snapshot!(planted(|facts| facts.files = Some(256)), @"warning few_files: Here 256 files may be open, too few for 256 requests under way at once. [LimitNOFILE=65536 in the unit of the worker, or ulimit -n 65536; or a smaller engine.max_in_flight]");
    assert_eq!(planted(|facts| facts.files = None), "");
}

#[test]
fn people_who_are_not_told() {
    let alert = |tries, due, outcome: Option<&str>| AlertRecord {
        subscription: SubscriptionId::new(Timestamp::from_millis(1), [1; 10]),
        subscription_name: "Shop".to_owned(),
        client: client_id(1),
        alert: Alert {
            id: 1,
            cause: Cause::Suspended,
            raised_at: at(-5_000),
            since: at(-5_000),
            stage: 0,
            count: 0,
            code: None,
            due_at: at(due),
            tries,
            accepted: Vec::new(),
            event: None,
            event_count: 0,
        },
        outcome: outcome.map(str::to_owned),
        ended_at: outcome.map(|_| at(-10)),
    };
    insta::assert_snapshot!(planted(|facts| {
        facts.alerts = vec![
            alert(3, 60, None),
            alert(0, -601, None),
            alert(0, 60, None),
            alert(0, -10, Some("nobody")),
            alert(0, -10, Some("told")),
        ];
        facts.contacts.all = vec!["ops@house.example".parse().unwrap()];
    }), @"
    warning no_smtp: People are to be told when receivers fail, and no mail server is named. [[smtp] host and from in tharsis.toml, then: tharsis alert test ADDRESS]
    warning alerts_untold: Alerts could not be told yet: subscription.suspended of Shop, subscription.suspended of Shop. [tharsis alert list, and tharsis alert test ADDRESS says what the mail server answers]
    note alerts_to_nobody: 1 alert had nobody to be told to. [[smtp], and [alerts] mail, in tharsis.toml]
    ");
    insta::assert_snapshot!(planted(|facts| facts.mail = Ok(true)), @"note no_contacts: A mail server is named, and nobody to be told when receivers fail. [[alerts] mail in tharsis.toml, or --alert-mail of a subscription]");
    insta::assert_snapshot!(planted(|facts| {
        facts.mail = Err(Failure::usage("unreadable", "cannot be read").at("smtp.password_file"));
    }), @"error unreadable: smtp.password_file: cannot be read. []");
}
