//! Two foreign parsers judge the rules of URLs: whatever is accepted reads to Node (WHATWG) and to Python (RFC 3986) as it
//! reads to us, so that nobody on the way takes another host for the receiver.

mod corpus;
mod escaped;

use std::{
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tharsis_core::egress::{PayloadUrl, Policy};

const MADE_UP: usize = 20_000;

#[test]
fn node_and_python_read_what_is_accepted_as_we_do() {
    let (mut cases, mut refused) = (String::new(), 0);
    let mut count = 0;
    for text in from_the_corpus().into_iter().chain(made_up()) {
        let Ok(url) = PayloadUrl::parse(&text, &Policy::default()) else {
            refused += 1;
            continue;
        };
        let canonical = url.canonical();
        let target = match canonical.query() {
            Some(query) => format!("{}?{query}", canonical.path()),
            None => canonical.path().to_owned(),
        };
        let case = json!({
            "given": url.given(),
            "canonical": canonical.as_str(),
            "host": url.host(),
            "port": url.port(),
            "target": target,
        });
        writeln!(cases, "{case}").expect("a string takes it");
        count += 1;
    }
    assert!(count > 2_000 && refused > 2_000, "{count} and {refused}");
    for (judge, script) in [("node", "parsers.js"), ("python3", "parsers.py")] {
        let said = ask(judge, script, &cases);
        assert_eq!(said, json!({"read": count, "otherwise": []}), "{judge}");
    }
}

/// What a judge says to all of them, in one process.
fn ask(judge: &str, script: &str, cases: &str) -> Value {
    let mut child = Command::new(judge)
        .arg(format!("{}/tests/{script}", env!("CARGO_MANIFEST_DIR")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{judge}: {e}; `make install` installs it"));
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(cases.as_bytes()).expect("it is read");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{judge} failed");
    serde_json::from_slice(&output.stdout).expect("a line of JSON")
}

fn from_the_corpus() -> Vec<Vec<u8>> {
    let rows: Vec<_> = ["urls_accept.tsv", "urls_reject.tsv"]
        .into_iter()
        .flat_map(corpus::rows)
        .map(|row| escaped::bytes(row.get("url")))
        .collect();
    corpus::ran("urls_*.tsv, before two foreign parsers", rows.len());
    rows
}

/// Texts that are nearly URLs, the same in each run; one in some is right.
fn made_up() -> Vec<Vec<u8>> {
    const SCHEMES: &[&str] = &[
        "https://",
        "HTTPS://",
        "https:/",
        "https:",
        "http://",
        "//",
        "https:///",
        "hTTps://",
    ];
    const HOSTS: &[&str] = &[
        "hooks.example.com",
        "Hooks.EXAMPLE.com",
        "a-b.xn--p1ai",
        "hooks.example.com.",
        "127.1",
        "0x7f.1",
        "1.2.3.4",
        "[::1]",
        "localhost",
        "hooks_x.example.com",
        "u@hooks.example.com",
        "hooks.example.com@evil.example.net",
        "hooks.example.com%2f.evil.net",
        "xn--a.com",
        "hooks.example.com\\.evil.net",
        "-a.com",
        "a.b.c.d.e.com",
        "hooks.example.1",
        "hooks\u{3002}com",
        "",
    ];
    const PORTS: &[&str] = &[
        "", "", "", ":443", ":8443", ":0443", ":80", ":", ":99999", ":443:443", ":+443",
    ];
    const PIECES: &[&str] = &[
        "/",
        "/",
        "/a",
        "..",
        ".",
        "%2e",
        "%2E%2e",
        "/./",
        "/../",
        "//",
        "?",
        "?a=b",
        "&",
        "=",
        "'",
        "(",
        "*",
        "!",
        "$",
        ";",
        ",",
        ":",
        "@",
        "+",
        "~",
        "%41",
        "%20",
        "%25",
        "%00",
        "%zz",
        "%",
        "#",
        "\\",
        "\t",
        "\n",
        " ",
        "[",
        "|",
        "<",
        "\u{fc}",
        "https://x",
        "a",
        "Z",
        "-",
        "_",
        "0",
    ];
    let mut random = Random(20_200_124);
    let mut pick = |from: &'static [&'static str], likely: usize| match random.below(4) {
        // The first few are good ones.
        0 => from[random.below(from.len())],
        _ => from[random.below(likely)],
    };
    (0..MADE_UP)
        .map(|n| {
            let mut text = [pick(SCHEMES, 2), pick(HOSTS, 3), pick(PORTS, 5)].concat();
            text.push_str(["/", "?", ""][n % 3]);
            for _ in 0..n % 7 {
                text.push_str(pick(PIECES, 28));
            }
            text.into_bytes()
        })
        .collect()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}
