//! The walk that a newcomer takes with two terminals: listen, add, publish, run, list, replay, verify.

use std::{fs, time::Duration};

use serde_json::Value;
use tharsis_tests::{ALPHA, Finished, Running, World, wait_until};

const SOON: Duration = Duration::from_secs(20);

/// `tharsis listen`, and the flags that it advises for the others.
struct Listener {
    process: Running,
    url: String,
    egress: Vec<String>,
}

impl Listener {
    fn start(world: &World, flags: &[&str]) -> Self {
        let given = ["listen", "--port=0", "--ca-out=listen.pem"];
        let mut process = world.spawn(given.iter().chain(flags));
        let url = wait_until("it listens", SOON, || {
            assert!(process.is_alive(), "{}", process.stderr());
            let said = process.stderr();
            let (_, url) = said.split_once("Listening on ")?;
            Some(url.split_once('\n')?.0.to_owned())
        });
        let said = process.stderr();
        let advised = said
            .lines()
            .find_map(|line| line.trim().strip_prefix("tharsis run "))
            .expect("it says what to type next");
        Self {
            egress: advised.split(' ').map(ToOwned::to_owned).collect(),
            process,
            url,
        }
    }

    fn requests(&self) -> Vec<Value> {
        (self.process.stdout().lines())
            .map(|line| serde_json::from_str(line).expect("a request is a line of JSON"))
            .collect()
    }
}

#[test]
fn from_nothing_to_a_verified_request_with_what_listen_advises() {
    let world = World::new();
    // Nothing of the harness' own configuration, only flags.
    fs::remove_file(world.path("tharsis.toml")).expect("it was there");
    let secret = world.secret_file(&world.secret()).display().to_string();
    let listener = Listener::start(&world, &["--secret-file", &secret, "--fail-first=2"]);
    let tharsis = |arguments: &[&str]| -> Finished {
        let flags = ["--json", "--database=sqlite://hand.db"]
            .into_iter()
            .chain(listener.egress.iter().map(String::as_str));
        world.tharsis(flags.chain(arguments.iter().copied()))
    };

    tharsis(&[
        "subscription",
        "add",
        "--client",
        ALPHA,
        "--name=by hand",
        "--url",
        &listener.url,
        "--secret-file",
        &secret,
        "--retry=20ms,20ms,20ms",
    ])
    .ok();
    let line = world.nudges(ALPHA, 1).remove(0);
    world.write("events.ndjson", &line.text);
    tharsis(&["publish", "events.ndjson"]).ok();
    tharsis(&["run", "--until-idle"]).ok();
    let list = tharsis(&["delivery", "list"]).ok().json();
    assert_eq!(
        (
            &list["deliveries"][0]["status"],
            &list["deliveries"][0]["attempts"]
        ),
        (&"delivered".into(), &3.into())
    );
    tharsis(&["replay", "--client", ALPHA, "--yes"]).ok();
    tharsis(&["run", "--until-idle"]).ok();

    let requests = listener.requests();
    let methods: Vec<&str> = requests
        .iter()
        .map(|request| request["method"].as_str().expect("a method"))
        .collect();
    assert_eq!(methods, ["HEAD", "POST", "POST", "POST", "POST"]);
    for post in &requests[1..] {
        assert_eq!(
            (&post["verified"], &post["reason"]),
            (&true.into(), &Value::Null),
            "{post}"
        );
        assert_eq!(post["body"], line.text);
        assert_eq!(post["headers"]["content-type"], "application/json");
    }
    assert_eq!(
        requests[0]["verified"],
        Value::Null,
        "a check is not signed"
    );

    let header = format!(
        "X-Mars-Signature: {}",
        requests[1]["headers"]["x-mars-signature"]
            .as_str()
            .expect("it is signed")
    );
    let verify = |header: &[&str], body: &str| {
        world.write("body", body);
        let given = [
            "--json",
            "verify",
            "--profile=mars",
            "--secret-file",
            &secret,
            "--body=body",
        ];
        world.tharsis(given.iter().chain(header))
    };
    assert_eq!(
        verify(&["--header", &header], &line.text).ok().json()["verified"],
        true
    );
    let wrong = |header: &[&str], body: &str| {
        let error = verify(header, body).expect(1).error();
        let words = format!("{} {}", error["message"], error["hint"]);
        (error["code"].as_str().expect("a code").to_owned(), words)
    };
    assert_eq!(wrong(&[], &line.text).0, "signature_missing");
    assert_eq!(
        wrong(
            &["--header", &header.replace("sha1=", "sha256=")],
            &line.text
        )
        .0,
        "signature_prefix"
    );
    assert_eq!(
        wrong(&["--header", &header[..header.len() - 1]], &line.text).0,
        "signature_length"
    );
    let (code, words) = wrong(&["--header", &header], &format!("{}\n", line.text));
    assert!(
        code == "signature_mismatch" && words.contains("line break"),
        "{words}"
    );
    let (code, words) = wrong(&["--header", &header], &line.text.replace("\":", "\": "));
    assert!(
        code == "signature_mismatch" && words.contains("parse"),
        "{words}"
    );
}

#[test]
fn a_listener_keeps_its_authority_and_can_fail_on_purpose() {
    let world = World::new();
    let first = Listener::start(&world, &["--status=500", "--delay=50ms"]);
    let certificate = fs::read_to_string(world.path("listen.pem")).expect("it was made");
    let flags: Vec<&str> = first.egress.iter().map(String::as_str).collect();
    let add = [
        "subscription",
        "add",
        "--client",
        ALPHA,
        "--name=failing",
        "--url",
        &first.url,
        "--no-secret",
        "--retry=none",
    ];
    world.ask(flags.iter().copied().chain(add));
    world.publish(&world.predictions(ALPHA, 1));
    world
        .tharsis(flags.iter().copied().chain(["run", "--until-idle"]))
        .ok();
    assert_eq!(
        world.deliveries(&["--status=dead"])[0]["reason"],
        "http_500"
    );
    first.process.terminate();
    first.process.finish(SOON).ok();

    let again = Listener::start(&world, &[]);
    let kept = fs::read_to_string(world.path("listen.pem")).expect("it is there");
    assert_eq!(certificate, kept);
    drop(again);
}

#[test]
fn environment_proxies_are_ignored() {
    let world = World::new();
    let shop = world.receiver("shop").start();
    let trap = world.receiver("trap").start();
    let proxy = trap.url.replace("/trap", "");
    world.set_environment("https_proxy", &proxy);
    world.set_environment("HTTPS_PROXY", &proxy);
    world.set_environment("ALL_PROXY", &proxy);
    world.subscribe(&tharsis_tests::Subscribe::new(ALPHA, &shop));
    let lines = world.predictions(ALPHA, 2);
    world.publish(&lines);
    world.run_until_idle();
    shop.assert_received_once(&lines);
    assert_eq!(trap.connections(), 0);
}
