//! Figures and readiness, as programs ask for them every few seconds.

use std::{collections::BTreeMap, fs, net::SocketAddr, time::Duration};

use sqlx::Executor as _;
use tharsis::{
    Registry as _,
    profile::Profiles,
    subscription::{Credentials, Draft},
    system_now,
};
use tharsis_tests::{
    ALPHA, Answer, Api, BETA, Database, Running, Subscribe, World, ask, on_both_databases,
    wait_until,
};

on_both_databases! {
    what_happens_is_told_in_figures,
    it_is_ready_but_where_the_database_fails,
    it_is_not_ready_while_something_is_overdue,
    there_are_no_more_lines_for_more_subscriptions,
}

const SOON: Duration = Duration::from_secs(30);

const ANYWHERE: [&str; 2] = ["--observe", "127.0.0.1:0"];

/// What was scraped, by its name with its labels.
#[derive(Debug)]
struct Scraped(BTreeMap<String, f64>);

impl Scraped {
    /// Reads it, and sees to it that each line is one of OpenMetrics.
    #[track_caller]
    fn read(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
        );
        let text = answer.body.strip_suffix("# EOF\n").expect("it has an end");
        let mut family = "";
        let mut all = BTreeMap::new();
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let (word, rest) = comment.split_once(' ').expect("a word and a name");
                let (name, said) = rest.split_once(' ').expect("a name and what is said");
                match word {
                    "HELP" => family = name,
                    "TYPE" => assert!(
                        ["counter", "gauge", "histogram", "info"].contains(&said),
                        "{line}"
                    ),
                    "UNIT" => assert!(name.ends_with(said), "{line}"),
                    _ => panic!("{line}"),
                }
                assert!(name.starts_with("tharsis_") && name == family, "{line}");
                continue;
            }
            let (series, value) = line.rsplit_once(' ').expect("a name and a value");
            assert!(series.starts_with(family), "{line} is not of {family}");
            let is_closed = !series.contains('{') || series.ends_with('}');
            assert!(is_closed, "{line}");
            let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert_eq!(all.insert(series.to_owned(), value), None, "{line}");
        }
        Self(all)
    }

    /// All of this name that have this in their labels, together.
    fn sum(&self, name: &str, label: &str) -> f64 {
        let is_it = |series: &str| match series.split_once('{') {
            Some((own, labels)) => own == name && labels.contains(label),
            None => series == name && label.is_empty(),
        };
        let all = self.0.iter().filter(|(series, _)| is_it(series));
        all.map(|(_, value)| value).sum()
    }

    #[track_caller]
    fn assert(&self, name: &str, label: &str, expected: f64) {
        assert_eq!(
            self.sum(name, label),
            expected,
            "{name}{{{label}}}: {self:#?}"
        );
    }
}

fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path, &[], b"")
}

fn scrape(address: SocketAddr) -> Scraped {
    Scraped::read(&get(address, "/metrics"))
}

/// A token for this role, of one client or of all.
fn token(world: &World, role: &str, client: Option<&str>) -> String {
    let mut create = vec!["token", "create", "--name", role, "--role", role];
    create.extend(client.into_iter().flat_map(|client| ["--client", client]));
    let made = world.ask(create);
    made["token"].as_str().expect("it is shown once").to_owned()
}

/// `serve` with these flags, and where it is looked at.
fn serve(world: &World, flags: &[&str]) -> (Api, SocketAddr) {
    let api = Api::start(world, &[&ANYWHERE[..], flags].concat());
    let told = api.process.stdout();
    let line = told.lines().next().expect("it said where it listens");
    let line: serde_json::Value = serde_json::from_str(line).expect("it is JSON");
    let address = line["observed"].as_str().expect("it said so");
    let address = address.parse().expect("an address");
    (api, address)
}

/// `run` with these flags, and where it is looked at.
fn run(world: &World, flags: &[&str]) -> (Running, SocketAddr) {
    let worker = world.spawn(["run"].iter().chain(&ANYWHERE).chain(flags));
    let address = wait_until("it says where it is looked at", SOON, || {
        let said = worker.stderr();
        let (_, rest) = said.split_once("Tells how it does at http://")?;
        let (address, _) = rest.split_once("/metrics")?;
        address.parse().ok()
    });
    (worker, address)
}

/// Waits until it says so of its readiness.
#[track_caller]
fn wait_for(address: SocketAddr, status: u16, begins: &str) {
    wait_until(&format!("it says {begins}"), SOON, || {
        let answer = get(address, "/readyz");
        let is_so = answer.status == status && answer.body.starts_with(begins);
        is_so.then_some(())
    });
}

fn what_happens_is_told_in_figures(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let dead = world.receiver("dead").answers(500).start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let failing = world
        .subscribe(&Subscribe::new(BETA, &dead).retry("50ms"))
        .id;
    let admin = token(&world, "admin", None);
    let (api, address) = serve(&world, &[]);
    let publish = |client, count| {
        for line in world.predictions(client, count) {
            assert_eq!(api.post(&admin, "/v1/events", &line.text).status, 201);
        }
    };
    publish(ALPHA, 3);
    publish(BETA, 2);
    let scraped = wait_until("all have ended", SOON, || {
        let scraped = scrape(address);
        let ended = |end| scraped.sum("tharsis_deliveries_ended_total", end);
        let all = (ended(r#"end="delivered""#), ended(r#"end="dead""#)) == (3.0, 2.0);
        // What the database told is a moment old.
        let waiting = ["tharsis_backlog_deliveries", "tharsis_events_unrouted"];
        let is_so = all && waiting.iter().all(|name| scraped.sum(name, "") == 0.0);
        is_so.then_some(scraped)
    });
    for (name, label, expected) in [
        ("tharsis_events_published_total", "", 5.0),
        ("tharsis_attempts_total", r#"outcome="http_2"#, 3.0),
        ("tharsis_attempts_total", r#"outcome="http_5"#, 4.0),
        ("tharsis_attempts_total", r#"profile="mars""#, 7.0),
        ("tharsis_retries_total", "", 2.0),
        ("tharsis_database_up", "", 1.0),
        ("tharsis_workers", "", 1.0),
        ("tharsis_shards_owned", "", 64.0),
        ("tharsis_backlog_deliveries", "", 0.0),
        ("tharsis_events_unrouted", "", 0.0),
        ("tharsis_subscriptions", r#"state="active""#, 2.0),
        ("tharsis_build_info", "version=", 1.0),
    ] {
        scraped.assert(name, label, expected);
    }

    // What is held is a backlog, and not overdue.
    api.post(&admin, &format!("/v1/subscriptions/{failing}/pause"), "")
        .ok();
    publish(BETA, 1);
    let held = wait_until("it is held", SOON, || {
        let scraped = scrape(address);
        (scraped.sum("tharsis_deliveries_held", "") > 0.0).then_some(scraped)
    });
    held.assert("tharsis_backlog_deliveries", "shard=", 1.0);
    held.assert("tharsis_deliveries_held", "", 1.0);
    held.assert("tharsis_oldest_due_age_seconds", "shard=", 0.0);
    held.assert("tharsis_subscriptions", r#"state="paused""#, 1.0);

    // The API tells the same to whoever may see all clients, and to nobody else.
    let viewer = token(&world, "viewer", None);
    Scraped::read(&api.get(&viewer, "/metrics")).assert("tharsis_events_published_total", "", 6.0);
    let of_one = token(&world, "viewer", Some(ALPHA));
    assert_eq!(api.get(&of_one, "/metrics").refused(403), "not_allowed");
    let bare = api.ask("GET", "/metrics", &[], b"");
    assert_eq!(bare.refused(401), "token_missing");
    // Whether it is ready it tells under any name.
    let ready = api.ask("GET", "/readyz", &[("host", "evil.example")], b"");
    assert_eq!((ready.status, &*ready.body), (200, "ready\n"));
    assert_eq!(get(address, "/v1/subscriptions").status, 404);
    api.process.terminate();
    api.process.finish(SOON).ok();
}

fn it_is_ready_but_where_the_database_fails(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let (worker, address) = run(&world, &[]);
    wait_for(address, 200, "ready\n");
    let rename = |from: &str, to: &str| {
        let to = world.table(to);
        let to = to.rsplit('.').next().expect("a name");
        world.execute(&format!("ALTER TABLE {} RENAME TO {to}", world.table(from)));
    };
    rename("alert", "away");
    wait_for(address, 503, "database_failed: ");
    let asks = [("accept", "application/json")];
    let answer = ask(address, "GET", "/readyz", &asks, b"");
    assert_eq!(answer.status, 503, "{answer:?}");
    let told = answer.json();
    assert_eq!(told["ready"], false, "{told}");
    assert_eq!(told["reasons"][0]["code"], "database_failed", "{told}");
    // It lives, and tells what it knows by itself.
    assert_eq!(&*get(address, "/healthz").body, "ok\n");
    let scraped = scrape(address);
    scraped.assert("tharsis_database_up", "", 0.0);
    scraped.assert("tharsis_shards_owned", "", 64.0);
    assert!(!scraped.0.contains_key("tharsis_workers"), "{scraped:#?}");
    rename("away", "alert");
    wait_for(address, 200, "ready\n");
    scrape(address).assert("tharsis_database_up", "", 1.0);

    // It goes on with the key that it has read, and would not start again.
    let key = world.path(match on {
        Database::Sqlite => "outbox.db.key",
        Database::Postgres => "tharsis.key",
    });
    let lost = world.path("lost.key");
    fs::rename(&key, &lost).expect("both lie in the folder");
    wait_for(address, 503, "key_missing: ");
    fs::rename(&lost, &key).expect("both lie in the folder");
    wait_for(address, 200, "ready\n");
    worker.terminate();
    worker.finish(SOON).ok();
}

fn it_is_not_ready_while_something_is_overdue(on: Database) {
    let world = World::on(on);
    let slow = world
        .receiver("slow")
        .delays(Duration::from_millis(1_500))
        .start();
    world.subscribe(&Subscribe::new(ALPHA, &slow).max_in_flight(1));
    let (worker, address) = run(&world, &["--overdue", "1s"]);
    wait_for(address, 200, "ready\n");
    world.publish(&world.predictions(ALPHA, 4));
    wait_for(address, 503, "overdue: ");
    slow.wait_for(4, SOON);
    wait_for(address, 200, "ready\n");
    worker.terminate();
    worker.finish(SOON).ok();
}

fn there_are_no_more_lines_for_more_subscriptions(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    world.subscribe(&Subscribe::new(BETA, &shop));
    let (_api, address) = serve(&world, &["--no-worker"]);
    let few = scrape(address);
    let emitter = world.emitter();
    let egress = world.options().egress;
    for n in 0..300 {
        let draft = Draft {
            client: world.client(),
            name: format!("shop {n}"),
            url: shop.url.clone(),
            ..Draft::default()
        };
        let settings = draft.settings(&egress, &Profiles::default());
        let settings = settings.expect("they are good");
        let credentials = Credentials::default();
        let added = emitter
            .registry()
            .add(&settings, &credentials, system_now());
        world.block_on(added).expect("it can be added");
    }
    let many = wait_until("all of them are counted", SOON, || {
        let scraped = scrape(address);
        (scraped.sum("tharsis_subscriptions", "") == 302.0).then_some(scraped)
    });
    let series = |scraped: &Scraped| scraped.0.keys().cloned().collect::<Vec<_>>();
    assert_eq!(series(&few), series(&many));
}

#[test]
fn it_is_not_ready_where_the_server_says_nothing_or_the_lease_is_over() {
    let world = World::on(Database::Postgres);
    world.lease("1s");
    let (worker, address) = run(&world, &[]);
    wait_for(address, 200, "ready\n");
    let mut holder = world.connect();
    for (table, said) in [("token", "database_silent: "), ("worker", "lease_over: ")] {
        let lock = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
        world
            .block_on(holder.execute(sqlx::AssertSqlSafe(lock)))
            .expect("nobody has it for long");
        wait_for(address, 503, said);
        assert_eq!(&*get(address, "/healthz").body, "ok\n");
        world
            .block_on(holder.execute("ROLLBACK"))
            .expect("it is let go");
        wait_for(address, 200, "ready\n");
    }
    worker.terminate();
    worker.finish(SOON).ok();
}
