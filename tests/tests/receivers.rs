//! Receivers in other languages, as their engineers would write them after the documentation, judge what goes out.

use std::{process::Command, time::Duration};

use serde_json::Value;
use tharsis_tests::{
    ALPHA, Line, Running, Subscribe, World, node, node_example, python_example, wait_until,
};

const BOUND: Duration = Duration::from_secs(120);
const EVENTS: usize = 3_000;

/// A receiver of `examples/`, running.
struct Foreign {
    process: Running,
    url: String,
    secret: String,
}

impl Foreign {
    fn start(world: &World, mut command: Command) -> Self {
        let (certificate, key) = world.certificate();
        let secret = world.secret();
        command
            .env("PORT", "0")
            .env("TLS_CERT", certificate)
            .env("TLS_KEY", key)
            .env("WEBHOOK_SECRET", &secret);
        let mut process = world.spawn_other(command);
        let port: u16 = wait_until("the receiver listens", BOUND, || {
            assert!(process.is_alive(), "it ended: {}", process.stderr());
            let said = process.stderr();
            let (_, address) = said.split_once("listening on https://127.0.0.1:")?;
            address.split_once('\n')?.0.trim().parse().ok()
        });
        world.open_port(port);
        Self {
            process,
            url: format!("https://localhost:{port}/hooks"),
            secret,
        }
    }

    fn subscribe(&self, world: &World, name: &str) {
        world.subscribe(&Subscribe::to_url(ALPHA, name, &self.url).secret(&self.secret));
    }

    /// What it accepted, a line each. It accepts what its own verification says is genuine.
    fn accepted(&self, count: usize) -> Vec<String> {
        let lines = wait_until("the receiver has written everything down", BOUND, || {
            let lines: Vec<String> = self
                .process
                .stdout()
                .lines()
                .map(ToOwned::to_owned)
                .collect();
            (lines.len() >= count).then_some(lines)
        });
        assert_eq!(lines.len(), count);
        lines
    }
}

#[test]
fn express_flask_and_axum_accept_all_of_unicode_and_numbers_of_every_size() {
    let world = World::alone();
    let receivers = [
        node_example("receiver.js"),
        python_example("receiver.py"),
        world.example("receiver_axum"),
    ]
    .map(|command| Foreign::start(&world, command));
    for (foreign, name) in receivers.iter().zip(["node", "python", "axum"]) {
        foreign.subscribe(&world, name);
    }

    let mut random = world.random();
    let lines: Vec<Line> = (0..EVENTS).map(|_| wild(&mut random)).collect();
    let report = world.publish(&lines);
    assert_eq!(report.published, EVENTS as u64);
    let summary = world.run_until_idle().json();
    assert_eq!(summary["delivered"], 3 * EVENTS, "each was accepted by all");
    assert_eq!(summary["retried"], 0);

    // Node's receiver writes what JSON.stringify made of the body, the others the body as it came. All are what Node makes
    // of what was published.
    let mut wanted = judged_by_node(&world, &lines);
    wanted.sort_unstable();
    for foreign in &receivers {
        let mut accepted = foreign.accepted(EVENTS);
        accepted.sort_unstable();
        for (accepted, wanted) in accepted.iter().zip(&wanted) {
            assert_eq!(accepted, wanted);
        }
    }
}

#[test]
fn with_the_wrong_secret_they_refuse_and_it_is_shown() {
    let world = World::new();
    let receivers = [
        node_example("receiver.js"),
        python_example("receiver.py"),
        world.example("receiver_axum"),
    ]
    .map(|command| Foreign::start(&world, command));
    for (foreign, name) in receivers.iter().zip(["node", "python", "axum"]) {
        let other = world.secret();
        world.subscribe(
            &Subscribe::to_url(ALPHA, name, &foreign.url)
                .secret(&other)
                .retry("none"),
        );
    }
    world.publish(&world.predictions(ALPHA, 1));
    world.run_until_idle();
    let dead = world.deliveries(&["--status", "dead"]);
    let reasons: Vec<&Value> = dead.iter().map(|delivery| &delivery["reason"]).collect();
    assert_eq!(reasons, ["http_401", "http_401", "http_401"]);
    for foreign in &receivers {
        assert_eq!(foreign.process.stdout(), "");
    }
}

/// What `JSON.stringify(JSON.parse(line))` gives for each.
fn judged_by_node(world: &World, lines: &[Line]) -> Vec<String> {
    let text: Vec<&str> = lines.iter().map(|line| &*line.text).collect();
    let file = world.write("wild.ndjson", text.join("\n"));
    let mut command = node();
    command.args([
        "-e",
        "for (const line of require('fs').readFileSync(process.argv[1], 'utf8').split('\\n')) \
         console.log(JSON.stringify(JSON.parse(line)))",
    ]);
    command.arg(file);
    let judged = world.spawn_other(command).finish(BOUND).ok();
    judged.stdout.lines().map(ToOwned::to_owned).collect()
}

/// A good event with a field that the documentation does not know, full of whatever JSON can hold, written in any of
/// the ways in which JSON can be written.
fn wild(random: &mut fastrand::Rng) -> Line {
    let line = if random.bool() {
        Line::prediction(random, ALPHA)
    } else {
        Line::nudge(random, ALPHA)
    };
    let value = value(random, 3);
    // Before the last brace.
    let text = format!(
        "{},{}\"wild\"{}:{value}}}",
        &line.text[..line.text.len() - 1],
        space(random),
        space(random)
    );
    Line { text, ..line }
}

fn value(random: &mut fastrand::Rng, depth: u8) -> String {
    match random.u8(0..if depth == 0 { 6 } else { 8 }) {
        0 => ["null", "true", "false"][random.usize(0..3)].to_owned(),
        1 | 2 => number(random),
        3..=5 => string(random),
        6 => {
            let items: Vec<String> = (0..random.usize(0..4))
                .map(|_| value(random, depth - 1))
                .collect();
            format!(
                "[{}{}]",
                items.join(&format!("{},", space(random))),
                space(random)
            )
        }
        _ => {
            let mut keys: Vec<String> = (0..random.usize(0..5)).map(|n| key(random, n)).collect();
            // The same key may be written in two ways, and duplicate keys are refused: these differ in their ends.
            keys.dedup();
            let members: Vec<String> = keys
                .iter()
                .map(|key| format!("{key}{}:{}", space(random), value(random, depth - 1)))
                .collect();
            format!("{{{}{}}}", space(random), members.join(","))
        }
    }
}

/// Keys that JavaScript moves to the front, and others. Each holds `n`, so that no two are the same.
fn key(random: &mut fastrand::Rng, n: usize) -> String {
    match random.u8(0..5) {
        0 => format!("\"{}{n}\"", random.u32(1..400_000_000)),
        1 => format!("\"0{n}\""),
        2 => format!("\"429496729{n}\""),
        3 if n == 0 => "\"__proto__\"".to_owned(),
        _ => {
            let text = string(random);
            format!("{}{n}\"", &text[..text.len() - 1])
        }
    }
}

/// A number of any size that stays the number that it is.
fn number(random: &mut fastrand::Rng) -> String {
    let sign = if random.bool() { "-" } else { "" };
    match random.u8(0..8) {
        0 => format!("{sign}{}", random.u64(..=1 << 53)),
        1 => format!("{sign}{}.{:03}", random.u32(..), random.u16(..1000)),
        2 => format!(
            "{sign}{}E{}{}",
            random.u8(..),
            ["", "+", "-"][random.usize(0..3)],
            random.u16(..300)
        ),
        3 => format!(
            "{sign}0.{:0width$}{}",
            0,
            random.u32(1..),
            width = random.usize(1..12)
        ),
        4 => [
            "0",
            "-0",
            "-0.0",
            "0e0",
            "5e-324",
            "1.7976931348623157e308",
            "1e21",
            "1e-7",
            "30.0",
            "9007199254740991",
        ][random.usize(0..10)]
        .to_owned(),
        5 => format!("{sign}{}", 10_u64.pow(random.u32(0..20))),
        _ => loop {
            let number = f64::from_bits(random.u64(..));
            if number.is_finite() {
                break format!("{number:e}");
            }
        },
    }
}

/// Text from all of Unicode, its characters written as they are or escaped.
fn string(random: &mut fastrand::Rng) -> String {
    let mut text = String::from("\"");
    for _ in 0..random.usize(0..24) {
        let c = match random.u8(0..8) {
            0 => random.char('\0'..='\u{1f}'),
            1 => [
                '"',
                '\\',
                '/',
                '\u{7f}',
                '\u{2028}',
                '\u{2029}',
                '\u{feff}',
                '\u{fffd}',
                '\u{ffff}',
                '\u{10ffff}',
            ][random.usize(0..10)],
            2..=4 => random.char(' '..='~'),
            5 => random.char('\u{80}'..='\u{ffff}'),
            _ => random.char('\0'..='\u{10ffff}'),
        };
        let must_escape = c < ' ' || matches!(c, '"' | '\\');
        if must_escape || random.u8(0..5) == 0 {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text += &if random.bool() {
                    format!("\\u{unit:04x}")
                } else {
                    format!("\\u{unit:04X}")
                };
            }
        } else if c == '/' && random.bool() {
            text += "\\/";
        } else {
            text.push(c);
        }
    }
    text.push('"');
    text
}

fn space(random: &mut fastrand::Rng) -> &'static str {
    ["", "", "", " ", "\t", "  "][random.usize(0..6)]
}
