//! `tharsis demo` shows the whole job on one machine.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::Value;
use tharsis_tests::World;

#[test]
fn it_delivers_everything_verified_and_its_figures_add_up() {
    let world = World::alone();
    let begin = Instant::now();
    let answer = world.tharsis(["--json", "demo"]).ok().json();
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");

    assert_eq!(answer["complete"], true);
    assert_eq!(answer["published"], 2_000);
    let parts = answer["subscriptions"].as_array().expect("a list");
    assert_eq!(parts.len(), 3);
    let mut clients: Vec<&Value> = parts.iter().map(|part| &part["client"]).collect();
    clients.dedup();
    assert_eq!(clients.len(), 2);
    for figure in ["expected", "verified", "retried", "strangers"] {
        let sum: u64 = parts.iter().map(|part| number(part, figure)).sum();
        assert_eq!(sum, number(&answer, figure), "{figure}: {answer}");
    }
    for part in parts {
        assert_eq!(number(part, "expected"), number(part, "verified"), "{part}");
        assert_eq!(number(part, "strangers"), 0);
        assert!(part["p50_ms"].as_f64() <= part["p99_ms"].as_f64(), "{part}");
    }
    assert!(
        number(&answer, "expected") >= 2_000,
        "each event is somebody's: {answer}"
    );
    assert!(
        number(&answer, "retried") > 0,
        "one receiver fails at first: {answer}"
    );

    let left: Vec<_> = fs::read_dir(world.path("."))
        .expect("the folder can be read")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert!(
        left.iter().all(|name| ["ca.pem", "logs", "tharsis.toml"]
            .iter()
            .any(|own| name == own)),
        "it works in a folder of its own: {left:?}"
    );
}

#[test]
fn for_people_it_ends_with_a_table() {
    let world = World::alone();
    let told = world.tharsis(["demo"]).ok().stdout;
    assert!(told.contains("PUBLISHED") && told.contains("P99"), "{told}");
}

fn number(document: &Value, key: &str) -> u64 {
    document[key]
        .as_u64()
        .unwrap_or_else(|| panic!("no {key}: {document}"))
}
