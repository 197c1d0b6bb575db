use crate::Desk;

/// Every command, as its page of help lists them.
fn commands(desk: &Desk, above: &str) -> Vec<String> {
    let page = desk.run(&format!("{above} --help")).stdout;
    let listed = page.lines().skip_while(|line| *line != "Commands:").skip(1);
    let mut all = Vec::new();
    for line in listed.take_while(|line| !line.is_empty()) {
        // A description that is long goes on in the next line, further to the right.
        let Some(name) = line
            .strip_prefix("  ")
            .and_then(|line| line.split(' ').next())
        else {
            continue;
        };
        if !name.is_empty() && name != "help" {
            let command = format!("{above} {name}").trim().to_owned();
            all.push(command.clone());
            all.extend(commands(desk, &command));
        }
    }
    all
}

#[test]
fn these_are_the_commands() {
    insta::assert_snapshot!(commands(&Desk::new(), "").join("\n"), @"
    demo
    subscription
    subscription add
    subscription list
    subscription show
    subscription health
    subscription set
    subscription pause
    subscription resume
    subscription recover
    subscription rotate
    subscription test
    subscription filter-test
    subscription remove
    subscription export
    subscription import
    publish
    run
    serve
    worker
    worker list
    event
    event show
    why
    event-type
    event-type list
    event-type show
    delivery
    delivery list
    delivery show
    delivery retry
    delivery cancel
    tail
    campaign
    campaign show
    campaign pause
    campaign resume
    campaign cancel
    outcome
    outcome list
    outcome show
    alert
    alert list
    alert test
    audit
    audit list
    replay
    replay list
    replay show
    replay pause
    replay resume
    replay cancel
    prune
    erase
    egress
    egress show
    migrate
    key
    key list
    key init
    key rotate
    token
    token create
    token list
    token revoke
    doctor
    listen
    verify
    ");
}

#[test]
fn every_page_of_help_ends_with_examples_that_name_the_command() {
    let desk = Desk::new();
    for command in commands(&desk, "") {
        let said = desk.run(&format!("{command} --help"));
        assert_eq!(said.code, Some(0), "{command}");
        let (_, examples) = said
            .stdout
            .split_once("\nExample")
            .unwrap_or_else(|| panic!("`{command}` has no example"));
        assert!(
            examples.contains(&format!("tharsis {command}")),
            "{command}: {examples}"
        );
        assert_eq!(
            said.stdout,
            desk.run(&format!("{command} -h")).stdout,
            "{command}"
        );
        for line in said.stdout.lines() {
            assert!(line.chars().count() <= 100, "{command}: {line}");
        }
    }
}

#[test]
fn a_page_of_help() {
    insta::assert_snapshot!(Desk::new().run("run --help").stdout, @r"
    Deliver what is in the outbox, until Ctrl-C

    From an SQLite file one process delivers at a time, from a PostgreSQL database any number on any
    machines: they share the work, and take over what one that dies has left. Others may publish
    meanwhile. The first SIGINT or SIGTERM lets the requests in flight finish, a second one ends the
    process at once. Either way nothing is lost: what was not settled is sent again by whoever runs
    next.

    Usage: tharsis run [OPTIONS]

    Options:
          --until-idle         End when nothing is left to do; retries are waited for, what is held or
                               scheduled is not
          --max-in-flight <N>  Requests under way at once, over all subscriptions [default: 256]
          --grace <SPAN>       How long requests in flight may take to end after the first signal
                               [default: 10s]
          --lease <SPAN>       How long after its last word this process counts as gone, at least 1s; of
                               no effect on SQLite [default: 15s]
          --observe <ADDRESS>  Tell figures here, at /metrics, /readyz and /healthz, without a token, to
                               whoever reaches it; with port 0 a free one is taken [env:
                               THARSIS_OBSERVE_LISTEN]
          --overdue <SPAN>     Say that it is not ready while something has been due for longer, and
                               nothing holds it [env: THARSIS_OBSERVE_OVERDUE] [default: 5m]

    Global options:
          --database <URL>                The database: sqlite://PATH, or
                                          postgres://USER@HOST/DATABASE?schema=SCHEMA [env:
                                          THARSIS_DATABASE_URL] [default: sqlite://tharsis.db]
          --key-file <FILE>               The file of the keys that secrets are sealed with; of an
                                          SQLite database it is always PATH.key [env: THARSIS_KEY_FILE,
                                          or the keys themselves in THARSIS_KEYS] [default: tharsis.key]
          --config <FILE>                 The configuration file [env: THARSIS_CONFIG] [default:
                                          tharsis.toml, if it is there]
          --json                          Answer in JSON, errors too
          --log <FILTER>                  What to log to standard error: error, warn, info, debug,
                                          trace, or a filter such as tharsis_dispatch=debug [env:
                                          THARSIS_LOG] [default: warn]
          --log-format <FORMAT>           How to log [env: THARSIS_LOG_FORMAT] [default: human]
                                          [possible values: human, json]
          --egress-allow-address <RANGE>  Allow addresses that are not public, such as 127.0.0.0/8; may
                                          be given several times [env: THARSIS_EGRESS_ALLOW_ADDRESSES]
          --egress-allow-host <HOST>      Allow a special host name, such as localhost; may be given
                                          several times [env: THARSIS_EGRESS_ALLOW_HOSTS]
          --egress-allow-port <PORT>      Allow a port beside 443 and 8443; may be given several times
                                          [env: THARSIS_EGRESS_ALLOW_PORTS]
          --egress-ca-file <FILE>         Trust the certificates in this PEM file beside the system's
                                          roots [env: THARSIS_EGRESS_CA_FILE]
      -h, --help                          Print this page

    Examples:
      tharsis run
      tharsis run --until-idle
      tharsis run --database 'postgres://tharsis@db.internal/shop' --key-file /etc/tharsis/tharsis.key
      tharsis run --egress-allow-host localhost --egress-allow-address 127.0.0.0/8 \
          --egress-allow-port 9443 --egress-ca-file ca.pem
      tharsis run --observe 127.0.0.1:9464
      tharsis run --log info --log-format json
    ");
}

#[test]
fn wrong_usage_exits_2() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.run("publis").all(), @"
    exit 2
    --- stderr
    error: unrecognized subcommand 'publis'

      tip: a similar subcommand exists: 'publish'

    Usage: tharsis [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(desk.run("run --until-idel").all(), @"
    exit 2
    --- stderr
    error: unexpected argument '--until-idel' found

      tip: a similar argument exists: '--until-idle'

    Usage: tharsis run --until-idle

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(desk.run("replay --event not-a-uuid").all(), @"
    exit 2
    --- stderr
    error: invalid value 'not-a-uuid' for '--event <UUID>': is not a UUID (write it like 36011017-0e00-4e29-a054-7a1fbb8b60a2)

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(desk.run("replay --event not-a-uuid --json").all(), @r#"
    exit 2
    --- stdout
    {"error":{"code":"usage","field":"--event","message":"'not-a-uuid' is not a UUID","hint":"write it like 36011017-0e00-4e29-a054-7a1fbb8b60a2"}}
    "#);
    insta::assert_snapshot!(desk.run("delivery list --since yesterday").all(), @"
    exit 2
    --- stderr
    error: invalid value 'yesterday' for '--since <WHEN>': is neither a span nor a time (write it like 15m, 1h, 7d or 2026-01-31T12:30:00Z)

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(desk.run("delivery show 36011017-0e00-4e29-a054-7a1fbb8b60a2").all(), @"
    exit 2
    --- stderr
    error: invalid value '36011017-0e00-4e29-a054-7a1fbb8b60a2' for '<DELIVERY>': is not EVENT/SUBSCRIPTION (take it from the first column of `tharsis delivery list`)

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(desk.run("").code.unwrap(), @"2");
}

#[test]
fn programs_are_told_what_is_wrong_with_the_usage() {
    let desk = Desk::new();
    let told = |line: &str| {
        let said = desk.run(&format!("{line} --json"));
        assert_eq!((said.code, said.stderr.as_str()), (Some(2), ""), "{line}");
        said.stdout
    };
    insta::assert_snapshot!(told("subscription add"), @r#"{"error":{"code":"usage","field":null,"message":"the following required arguments were not provided: --client <UUID>, --name <TEXT>, --url <URL>","hint":null}}"#);
    insta::assert_snapshot!(told("subscription add --name Shop --url https://shop.example/"), @r#"{"error":{"code":"usage","field":"--client","message":"the following required arguments were not provided: --client <UUID>","hint":null}}"#);
    insta::assert_snapshot!(told("delivery list --status deed"), @r#"{"error":{"code":"usage","field":"--status","message":"'deed' is none of the possible values","hint":"did you mean `dead`? choose one of: pending, retrying, held, delivered, dead, expired, refused, cancelled"}}"#);
    insta::assert_snapshot!(told("delivery list --since yesterday"), @r#"{"error":{"code":"usage","field":"--since","message":"'yesterday' is neither a span nor a time","hint":"write it like 15m, 1h, 7d or 2026-01-31T12:30:00Z"}}"#);
    insta::assert_snapshot!(told("delivery list --limit many"), @r#"{"error":{"code":"usage","field":"--limit","message":"invalid value 'many' for '--limit <N>': invalid digit found in string","hint":null}}"#);
    insta::assert_snapshot!(told("delivery list --status="), @r#"{"error":{"code":"usage","field":"--status","message":"a value is required for '--status <STATUS>' but none was supplied","hint":"choose one of: pending, retrying, held, delivered, dead, expired, refused, cancelled"}}"#);
    insta::assert_snapshot!(told("run --until-idel"), @r#"{"error":{"code":"usage","field":"--until-idel","message":"unexpected argument '--until-idel' found","hint":"did you mean `--until-idle`?"}}"#);
    insta::assert_snapshot!(told("publis"), @r#"{"error":{"code":"usage","field":null,"message":"unrecognized subcommand 'publis'","hint":"did you mean `publish`?"}}"#);
    insta::assert_snapshot!(told("subscription"), @r#"{"error":{"code":"usage","field":null,"message":"'tharsis subscription' requires a subcommand but one was not provided","hint":"choose one of: add, list, show, health, set, pause, resume, recover, rotate, test, filter-test, remove, export, import, help"}}"#);
    insta::assert_snapshot!(told(""), @r#"{"error":{"code":"usage","field":null,"message":"'tharsis' requires a subcommand but one was not provided","hint":"choose one of: demo, subscription, publish, run, serve, worker, event, why, event-type, delivery, tail, campaign, outcome, alert, audit, replay, prune, erase, egress, migrate, key, token, doctor, listen, verify, help"}}"#);
    insta::assert_snapshot!(told("subscription rotate 36011017-0e00-4e29-a054-7a1fbb8b60a2 --no-secret --secret-stdin"), @r#"{"error":{"code":"usage","field":"--no-secret","message":"the argument '--no-secret' cannot be used with '--secret-stdin'","hint":null}}"#);
}

#[cfg(unix)]
#[test]
fn an_argument_that_is_no_text_is_wrong_usage() {
    use std::os::unix::ffi::OsStrExt;
    let desk = Desk::new();
    let output = crate::command(desk.0.path())
        .arg(std::ffi::OsStr::from_bytes(b"\xff\xfe"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn secrets_never_travel_in_arguments() {
    let desk = Desk::new();
    for command in commands(&desk, "") {
        let page = desk.run(&format!("{command} --help")).stdout;
        assert!(
            !page.contains("--secret <") && !page.contains("--secret="),
            "{command}"
        );
    }
    assert_eq!(
        desk.run("subscription rotate --secret 0123456789abcdef0123456789abcdef x")
            .code,
        Some(2)
    );
}
