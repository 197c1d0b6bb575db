//! Node is the judge: whatever is frozen survives `JSON.stringify(JSON.parse(body))`, and the documented receiver, which
//! signs that, believes it.

use std::{fmt::Write as _, io::Write as _, process::Command};

use tharsis_core::{
    ClientId,
    event::Event,
    json, profile,
    secret::Secret,
    signer::{self, Signed},
};

const SECRET: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b";
const DOCUMENTS: usize = 4_000;

#[test]
fn node_believes_every_frozen_body() {
    let secret = Secret::new(SECRET).unwrap();
    let client: ClientId = "b4aeba4e-a4c0-4896-866a-56f8bcb372fc".parse().unwrap();
    let signature = profile::MARS.signature.as_ref().unwrap();
    let mut random = Random(20_200_124);

    let mut texts: Vec<String> = every_character(&mut random);
    texts.extend(known_traps());
    texts.extend((0..DOCUMENTS).map(|_| document(&mut random)));

    let mut cases = tempfile::NamedTempFile::new().unwrap();
    for (i, text) in texts.iter().enumerate() {
        let event = Event::freeze("judged", client, text.as_bytes())
            .unwrap_or_else(|e| panic!("{e}: {text}"));
        // Every hundredth is signed for another body, so that a judge who believes everything is found out.
        let is_sound = i % 100 != 99;
        let signed: &[u8] = if is_sound {
            event.payload()
        } else {
            b"another body"
        };
        let header = signer::sign(signature, [&secret], &Signed::body(signed)).unwrap();
        let (given, frozen) = (hex::encode(text), hex::encode(event.payload()));
        writeln!(cases, "{given} {frozen} {header} {is_sound}").unwrap();
    }
    cases.flush().unwrap();

    let judge = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node.js");
    let said = Command::new("node")
        .arg(judge)
        .arg(cases.path())
        .arg(SECRET)
        .output()
        .expect("node should be installed to judge the frozen bodies; `make test` installs it");
    let refused = texts.len() / 100;
    let believed = texts.len() - refused;
    assert_eq!(
        String::from_utf8_lossy(&said.stdout).trim(),
        format!(r#"{{"believed":{believed},"refused":{refused},"wrong":0}}"#),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
}

/// Documents with a few characters changed: what we read Node reads alike, and what is no JSON to us is none to Node.
#[test]
fn node_reads_nearly_json_as_we_do() {
    let mut random = Random(20_200_125);
    let mut cases = tempfile::NamedTempFile::new().unwrap();
    let (mut read, mut refused, mut stricter) = (0, 0, 0);
    for _ in 0..2 * DOCUMENTS {
        let text = changed(&document(&mut random), &mut random);
        let ours = match json::parse(text.as_bytes()) {
            Ok(value) => {
                read += 1;
                hex::encode(value.to_vec())
            }
            // What JavaScript takes and would not hand on as it is.
            Err(e)
                if ["number_out_of_range", "json_duplicate_key"].contains(&e.code)
                    || e.to_string().contains("half of a surrogate pair") =>
            {
                stricter += 1;
                continue;
            }
            Err(e) => {
                assert!(
                    [
                        "json_syntax",
                        "json_trailing_data",
                        "body_missing",
                        "json_not_utf8"
                    ]
                    .contains(&e.code),
                    "{e}"
                );
                refused += 1;
                "refused".to_owned()
            }
        };
        writeln!(cases, "{} {ours}", hex::encode(text)).unwrap();
    }
    cases.flush().unwrap();
    assert!(
        read > 500 && refused > 2_000 && stricter > 20,
        "{read}, {refused}, {stricter}"
    );

    let judge = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nearly.js");
    let said = Command::new("node")
        .arg(judge)
        .arg(cases.path())
        .output()
        .expect("node should be installed to judge what we read; `make test` installs it");
    assert_eq!(
        String::from_utf8_lossy(&said.stdout).trim(),
        format!(r#"{{"read":{read},"refused":{refused},"otherwise":[]}}"#),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
}

/// With one to three characters left out, put in or said twice.
fn changed(text: &str, random: &mut Random) -> String {
    const MORE: &str = "\" \\ \\u \\ud800 \\udc00 \\u00e9 \\x41 \\' ' { } [ ] , : 0 - + . e E5 00 1. .5 0x1 NaN Infinity true nul // /**/ \
        9007199254740993 1e999 \"a\":1, \u{feff} \u{a0} \u{2028} \u{b} \0 \n \t";
    let more: Vec<&str> = MORE.split(' ').collect();
    let mut characters: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(3) {
        let at = random.below(characters.len());
        match random.below(4) {
            0 => drop(characters.remove(at)),
            1 => characters.insert(at, characters[at]),
            _ => drop(characters.splice(at..at, more[random.below(more.len())].chars())),
        }
        if characters.is_empty() {
            break;
        }
    }
    characters.into_iter().collect()
}

/// Each Unicode scalar value once, as a value, five hundred a document.
fn every_character(random: &mut Random) -> Vec<String> {
    let all: Vec<char> = ('\0'..=char::MAX).collect();
    all.chunks(500)
        .map(|some| {
            let mut text = String::from("{\"all\":");
            string(random, some.iter().copied(), &mut text);
            text.push('}');
            text
        })
        .collect()
}

fn known_traps() -> Vec<String> {
    let nested = |levels: usize| format!("{}{}", "{\"a\":[".repeat(levels), "]}".repeat(levels));
    vec![
        "{}".to_owned(),
        r#"{"__proto__":{"a":1},"a":{"__proto__":[]},"constructor":1,"toJSON":"x","length":1}"#.to_owned(),
        r#"{"b":1,"4294967295":2,"4294967294":3,"10":4,"9":5,"00":6,"-0":7,"1e3":8,"9007199254740993":9}"#.to_owned(),
        r#"{"n":[-0,-0.0,0e99,1e-999,5e-324,2.2250738585072014e-308,1.7976931348623157e308,1e21,999999999999999900000,123456789012345680000,1e-6,1e-7]}"#.to_owned(),
        nested(64),
    ]
}

fn document(random: &mut Random) -> String {
    let mut text = String::new();
    object(random, 4, &mut text);
    text
}

fn value(random: &mut Random, depth: usize, text: &mut String) {
    match random.below(if depth == 0 { 8 } else { 11 }) {
        0 => text.push_str("null"),
        1 => text.push_str("true"),
        2 => text.push_str("false"),
        3..=5 => number(random, text),
        6..=7 => short_string(random, text),
        8 => array(random, depth - 1, text),
        _ => object(random, depth - 1, text),
    }
}

fn array(random: &mut Random, depth: usize, text: &mut String) {
    text.push('[');
    for i in 0..random.below(6) {
        if i > 0 {
            text.push(',');
        }
        space(random, text);
        value(random, depth, text);
    }
    space(random, text);
    text.push(']');
}

fn object(random: &mut Random, depth: usize, text: &mut String) {
    text.push('{');
    let mut keys = std::collections::HashSet::new();
    for _ in 0..random.below(12) {
        let key = key(random);
        if !keys.insert(key.clone()) {
            continue;
        }
        if keys.len() > 1 {
            text.push(',');
        }
        space(random, text);
        string(random, key.chars(), text);
        space(random, text);
        text.push(':');
        value(random, depth, text);
    }
    text.push('}');
}

fn key(random: &mut Random) -> String {
    match random.below(6) {
        0 => random.below(40).to_string(),
        // Around 2³², where JavaScript's array indices end.
        1 => (4_294_967_290 + random.below(10) as u64).to_string(),
        2 => format!("0{}", random.below(10)),
        3 => ["__proto__", "constructor", "toJSON", "length", ""][random.below(5)].to_owned(),
        _ => (0..random.below(6)).map(|_| random.character()).collect(),
    }
}

fn short_string(random: &mut Random, text: &mut String) {
    let characters: Vec<char> = (0..random.below(20)).map(|_| random.character()).collect();
    string(random, characters.into_iter(), text);
}

/// Each character as it is or as an escape, by chance, where JSON leaves the choice.
fn string(random: &mut Random, characters: impl Iterator<Item = char>, text: &mut String) {
    text.push('"');
    for c in characters {
        let must_escape = c < ' ' || matches!(c, '"' | '\\');
        let short = match c {
            '"' | '\\' | '/' => Some(c),
            '\u{8}' => Some('b'),
            '\u{c}' => Some('f'),
            '\n' => Some('n'),
            '\r' => Some('r'),
            '\t' => Some('t'),
            _ => None,
        };
        match (short, random.below(4)) {
            (Some(short), 0..=1) => text.extend(['\\', short]),
            (_, choice) if must_escape || choice == 2 => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let upper = random.below(2) == 0;
                    let _ = if upper {
                        write!(text, "\\u{unit:04X}")
                    } else {
                        write!(text, "\\u{unit:04x}")
                    };
                }
            }
            _ => text.push(c),
        }
    }
    text.push('"');
}

fn number(random: &mut Random, text: &mut String) {
    let any_double = f64::from_bits(random.next());
    let any_double = if any_double.is_finite() {
        any_double
    } else {
        0.0
    };
    let _ = match random.below(8) {
        0 => write!(text, "{}", random.below(1000)),
        1 => write!(text, "-{}", random.below(1000)),
        2 => write!(text, "{}", random.next() >> 11),
        3 => write!(text, "{any_double:e}"),
        4 => write!(text, "{any_double:E}"),
        // Seventeen digits, as C prints doubles, which is seldom the shortest form.
        5 => write!(text, "{any_double:.16e}"),
        6 => write!(text, "{}.{:03}", random.below(100_000), random.below(1000)),
        // Magnitudes about which ECMAScript changes between plain and exponential form.
        _ => write!(
            text,
            "{}e{}",
            1 + random.below(99_999),
            random.below(50) as i32 - 25
        ),
    };
}

fn space(random: &mut Random, text: &mut String) {
    if random.below(8) == 0 {
        text.push([' ', '\t', '\n', '\r'][random.below(4)]);
    }
}

/// SplitMix64: the same documents in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn character(&mut self) -> char {
        let code = match self.below(4) {
            0 => self.below(0x20),
            1 => self.below(0x80),
            2 => self.below(0x3000),
            _ => self.below(0x11_0000),
        };
        // The surrogates are the only codes that are no characters.
        char::from_u32(code as u32).unwrap_or('\u{2028}')
    }
}
