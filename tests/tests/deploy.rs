//! What lies in `deploy/` speaks of what there is: metrics that a server tells, flags that the program takes, pages of the
//! book.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tharsis_tests::{
    ALPHA, Api, BETA, Database, Subscribe, World, conformance, on_both_databases, pause, wait_until,
};

on_both_databases! { a_server_tells_every_metric_that_is_named }

/// What a machine under load may need for it.
const SOON: Duration = Duration::from_secs(90);
/// A request every so often, which is less than what a token may ask.
const EACH: Duration = Duration::from_millis(250);
const MOST: u32 = 160;

/// What is told from its first time on, and does not come about in this story.
const NOT_HERE: [&str; 1] = ["tharsis_certificates_earliest_expiry_timestamp_seconds"];

const BOOK: &str = "https://github.com/tharsis-webhooks/tharsis/blob/main/docs/book/";

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

#[track_caller]
fn text(path: &str) -> String {
    fs::read_to_string(root(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A file of YAML, read by a parser of others.
#[track_caller]
fn yaml(world: &World, path: &str) -> Value {
    let mut python = Command::new(conformance("python"));
    python.args([
        "-c",
        "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)",
    ]);
    world.other_reading(python, &text(path)).ok().json()
}

#[track_caller]
fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    let list = value[key].as_array();
    list.unwrap_or_else(|| panic!("no {key}: {value}"))
}

#[track_caller]
fn said<'a>(value: &'a Value, key: &str) -> &'a str {
    let said = value[key].as_str().filter(|said| !said.is_empty());
    said.unwrap_or_else(|| panic!("no {key}: {value}"))
}

/// Every metric of ours that a text names.
fn named(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("tharsis_"))
        .map(ToOwned::to_owned)
        .collect()
}

/// The names under which a server tells its families.
fn told(exposition: &str) -> BTreeSet<String> {
    let families = exposition
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    families
        .flat_map(|(family, kind)| {
            let family = family.strip_suffix("_total").unwrap_or(family);
            let suffixes: &[&str] = match kind.trim() {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_count", "_sum"],
                "info" => &["_info"],
                _ => &[""],
            };
            suffixes
                .iter()
                .map(move |suffix| format!("{family}{suffix}"))
        })
        .collect()
}

#[test]
fn families_have_the_names_of_their_kinds() {
    let exposition = "# HELP tharsis_a A.\n# TYPE tharsis_a counter\ntharsis_a_total 1\n\
                      # TYPE tharsis_b_seconds histogram\n# TYPE tharsis_c gauge\n# EOF\n";
    let told: Vec<String> = told(exposition).into_iter().collect();
    assert_eq!(
        told,
        [
            "tharsis_a_total",
            "tharsis_b_seconds_bucket",
            "tharsis_b_seconds_count",
            "tharsis_b_seconds_sum",
            "tharsis_c"
        ]
    );
}

fn a_server_tells_every_metric_that_is_named(on: Database) {
    let mut named = named(&text("deploy/grafana/tharsis.json"));
    named.extend(self::named(&text("deploy/prometheus/alerts.yaml")));
    assert!(named.len() > 25, "{named:?}");
    let unused: Vec<&str> = (NOT_HERE.into_iter())
        .filter(|name| !named.contains(*name))
        .collect();
    assert!(unused.is_empty(), "nobody names {unused:?} any more");

    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let gone = world.receiver("gone").answers(500).start();
    let slow = world
        .receiver("slow")
        .delays(Duration::from_secs(1))
        .start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    world.subscribe(&Subscribe::new(ALPHA, &gone).retry("50ms"));
    world.subscribe(&Subscribe::new(BETA, &slow).max_in_flight(1));
    let made = world.ask(["token", "create", "--name", "metrics", "--role", "viewer"]);
    let token = said(&made, "token");
    let api = Api::start(&world, &[]);
    // Those of the slow one are due, and wait for as long as the story is told.
    world.publish(&[world.predictions(ALPHA, 3), world.predictions(BETA, 120)].concat());

    let mut asked = 0;
    let missing = wait_until("a server has told its metrics", SOON, || {
        pause(EACH);
        asked += 1;
        let answer = api.get(token, "/metrics");
        assert_eq!(answer.status, 200, "{answer:?}");
        let told = told(&answer.body);
        let missing: Vec<String> = (named.difference(&told))
            .filter(|name| !NOT_HERE.contains(&name.as_str()))
            .cloned()
            .collect();
        (missing.is_empty() || asked == MOST).then_some(missing)
    });
    assert!(missing.is_empty(), "no server tells {missing:?}");
    shop.assert_all_verified();
}

#[test]
fn each_alert_says_what_it_means_and_what_to_do() {
    let world = World::new();
    let alerts = yaml(&world, "deploy/prometheus/alerts.yaml");
    let rules: Vec<&Value> = (list(&alerts, "groups").iter())
        .flat_map(|group| list(group, "rules"))
        .collect();
    assert!(rules.len() >= 12);
    let mut names = BTreeSet::new();
    for rule in &rules {
        let name = said(rule, "alert");
        assert!(names.insert(name.to_owned()), "{name} is there twice");
        assert!(!named(said(rule, "expr")).is_empty(), "{name}");
        said(rule, "for");
        let severity = said(&rule["labels"], "severity");
        assert!(["warning", "critical"].contains(&severity), "{name}");
        let annotations = &rule["annotations"];
        said(annotations, "summary");
        said(annotations, "description");
        let runbook = said(annotations, "runbook_url");
        let page = (runbook.strip_prefix(BOOK)).and_then(|page| page.split_once('#'));
        let (file, place) = page.unwrap_or_else(|| panic!("{name} leads to {runbook}"));
        let heading = format!("## {name}");
        let text = text(&format!("docs/book/{file}"));
        assert!(
            text.lines().any(|line| line == heading),
            "{file}: {heading}"
        );
        assert_eq!(place, name.to_lowercase());
    }
    let runbook = text("docs/book/runbook.md");
    let told: BTreeSet<String> = (runbook.lines())
        .filter_map(|line| line.strip_prefix("## "))
        .map(ToOwned::to_owned)
        .collect();
    assert_eq!(
        told, names,
        "what the runbook tells of, and what is alerted"
    );

    let scraped = yaml(&world, "deploy/prometheus/prometheus.yaml");
    for file in list(&scraped, "rule_files") {
        let file = file.as_str().expect("a name");
        assert!(root("deploy/prometheus").join(file).is_file(), "{file}");
    }
    assert_eq!(list(&scraped, "scrape_configs")[0]["job_name"], "tharsis");
}

#[test]
fn a_dashboard_asks_the_source_that_is_chosen() {
    let dashboard: Value =
        serde_json::from_str(&text("deploy/grafana/tharsis.json")).expect("it is JSON");
    assert!(dashboard["schemaVersion"].as_u64() >= Some(39));
    let variables = list(&dashboard["templating"], "list");
    assert_eq!(variables[0]["type"], "datasource");
    assert_eq!(variables[0]["name"], "datasource");
    let (rows, panels): (Vec<&Value>, Vec<&Value>) =
        (list(&dashboard, "panels").iter()).partition(|panel| panel["type"] == "row");
    let rows: Vec<&str> = rows.into_iter().map(|row| said(row, "title")).collect();
    let wanted = [
        "Traffic",
        "Latency",
        "Backlog",
        "Receivers",
        "Store",
        "Workers",
    ];
    assert_eq!(rows, wanted);
    let mut titles = BTreeSet::new();
    for panel in panels {
        let title = said(panel, "title");
        assert!(titles.insert(title), "{title} is there twice");
        said(&panel["fieldConfig"]["defaults"], "unit");
        let targets = list(panel, "targets");
        assert!(!targets.is_empty(), "{title} shows nothing");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            assert!(!named(said(target, "expr")).is_empty(), "{title}");
        }
    }
    let ids: BTreeSet<Option<u64>> = (list(&dashboard, "panels").iter())
        .map(|panel| panel["id"].as_u64())
        .collect();
    assert_eq!(ids.len(), list(&dashboard, "panels").len());
}

/// The program reads them up to `--help`, and tells of the first that it does not know.
#[track_caller]
fn takes(world: &World, arguments: &[&str]) {
    world.tharsis(arguments.iter().chain(&["--help"])).ok();
}

#[test]
fn units_run_what_the_program_takes() {
    let world = World::new();
    for unit in ["tharsis.service", "tharsis-worker@.service"] {
        let text = text(&format!("deploy/systemd/{unit}")).replace("%i", "9465");
        let run = (text.lines())
            .find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/tharsis "))
            .unwrap_or_else(|| panic!("{unit} runs something else"));
        takes(&world, &run.split(' ').collect::<Vec<_>>());
        for line in [
            "NoNewPrivileges=true",
            "ProtectSystem=strict",
            "Restart=always",
        ] {
            assert!(text.lines().any(|other| other == line), "{unit}: {line}");
        }
    }
}

#[test]
fn containers_run_what_the_program_takes_and_keep_the_database_to_themselves() {
    let world = World::new();
    let compose = yaml(&world, "deploy/docker/compose.yaml");
    let services = compose["services"].as_object().expect("services");
    let names: Vec<&str> = services.keys().map(String::as_str).collect();
    assert_eq!(names, ["database", "migrate", "serve", "worker"]);
    for (name, service) in services {
        for secret in list(service, "secrets") {
            let secret = secret.as_str().expect("a name");
            let file = said(&compose["secrets"][secret], "file");
            assert!(file.starts_with("secrets/"), "{file}");
        }
        if name == "database" {
            let health = &service["healthcheck"];
            assert!(service["ports"].is_null() && !health.is_null());
            assert_eq!(service["networks"], serde_json::json!(["inside"]));
            continue;
        }
        let command: Vec<String> = (list(service, "command").iter())
            .map(|argument| argument.as_str().expect("a text"))
            .map(|argument| match argument.split_once(":-") {
                Some((_, default)) => default.trim_end_matches('}').to_owned(),
                None => argument.to_owned(),
            })
            .collect();
        takes(
            &world,
            &command.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        assert_eq!(service["read_only"], true, "{name}");
        for port in service["ports"].as_array().into_iter().flatten() {
            let port = port.as_str().expect("a text");
            assert!(port.starts_with("127.0.0.1:"), "{name} publishes {port}");
        }
    }

    let toolchain = text("rust-toolchain.toml");
    let version = (toolchain.lines())
        .find_map(|line| line.strip_prefix("channel = \"")?.strip_suffix('"'))
        .expect("it names a version");
    let image = text("deploy/docker/Dockerfile");
    assert!(
        image.contains(&format!("FROM rust:{version}-slim-")),
        "{version}"
    );
    assert!(image.contains("cargo build --release --locked"));
    assert!(image.contains("\nUSER 10001:10001\n"));
    let ignored = text(".dockerignore");
    let health = "deploy/docker/healthy";
    assert!(image.contains(&format!("COPY {health} ")) && ignored.contains(&format!("!{health}")));
    assert!(root(health).is_file());
    let run = (image.lines())
        .find_map(|line| line.strip_prefix("CMD "))
        .expect("it runs something");
    let run: Vec<String> = serde_json::from_str(run).expect("it is a list");
    takes(&world, &run.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Whatever is set in these files is read by somebody.
#[test]
fn variables_are_those_that_the_program_reads() {
    let known = text("crates/tharsis-cli/src/configuration.rs");
    let variables = |text: &str| -> BTreeSet<String> {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("THARSIS_"))
            .map(ToOwned::to_owned)
            .collect()
    };
    let known = variables(&known);
    for file in [
        "deploy/systemd/tharsis.service",
        "deploy/systemd/tharsis-worker@.service",
        "deploy/systemd/environment.example",
        "deploy/docker/Dockerfile",
        "deploy/docker/compose.yaml",
    ] {
        let mut unknown = variables(&text(file));
        // That one is read by compose.
        unknown.remove("THARSIS_HOST");
        unknown.retain(|name| !known.contains(name));
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}
