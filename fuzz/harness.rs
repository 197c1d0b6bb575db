//! Feeds a target with bytes: the cases that were found before, then made-up ones, a few hundred in each `make test`, and
//! as many as fit into the time under `make fuzz`. A case that fails is made short and kept in `fuzz/found/`.

use std::{
    fs,
    hint::black_box,
    path::PathBuf,
    time::{Duration, Instant},
};

use proptest::{
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};

/// All targets: the time is shared among them.
const TARGETS: [&str; 12] = [
    "url",
    "json",
    "event",
    "retry",
    "filter",
    "header",
    "signature",
    "profile",
    "secret",
    "word",
    // These stand beside what they try out, in the store and in the program.
    "cursor",
    "configuration",
];

/// How many cases are made up in each `make test`, and between two looks at the clock.
const CASES: u32 = 300;

/// How many are made to grow between two looks at the clock.
const GROWN: u32 = 10;

/// One that has run its cases runs no more. So often a case that fails is made shorter.
fn runner(cases: u32, max_shrink_iters: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        max_shrink_iters,
        failure_persistence: None,
        ..Config::default()
    })
}

/// What readers stumble over.
const WORDS: &[&str] = &[
    "\0",
    "\r\n",
    "\n",
    "\t",
    " ",
    "\u{7f}",
    "\u{a0}",
    "\u{202e}",
    "\u{2028}",
    "\u{feff}",
    "\u{fc}",
    "\u{130}",
    "e\u{301}",
    "\u{1f43c}",
    "\"",
    "'",
    "\\",
    "\\u0000",
    "\\ud800",
    "\\udc00",
    "{",
    "}",
    "[",
    "]",
    "{}",
    "[]",
    ":",
    ",",
    "\"a\":",
    "null",
    "true",
    "-0",
    "0",
    "1e999",
    "-1e-999",
    "9007199254740993",
    "18446744073709551616",
    "99999999999999999999",
    "NaN",
    "https://",
    "//",
    "/",
    "?",
    "#",
    "@",
    "%",
    "%00",
    "%2e%2e/",
    "..",
    ".",
    "xn--",
    "::1",
    "[::1]",
    "0x7f.1",
    "127.0.0.1",
    "localhost",
    ":443",
    ":8443",
    ":0",
    "&&",
    "||",
    "!",
    "(",
    ")",
    "==",
    "event.",
    ".exists(x, ",
    "has(",
    "r\"",
    "=",
    ";",
    "sha1=",
    "v1,",
    "whsec_",
    "whsk_",
    "Basic ",
    "GMT",
    "1994",
    "s",
    "ms",
    "d",
    "none",
    "/s",
    "*",
    "<",
    ">",
    "-",
    "_",
    "a",
    "Z",
    "\u{0}=\n",
];

#[derive(Debug, Clone)]
enum Edit {
    Put(Index, Vec<u8>),
    Cut(Index, usize),
    Again(Index, usize, usize),
    Splice(Index, Vec<u8>, Index),
}

impl Edit {
    fn apply(self, bytes: &mut Vec<u8>) {
        let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
        match self {
            Self::Put(at, more) => {
                let at = place(&at, bytes);
                bytes.splice(at..at, more);
            }
            Self::Cut(at, length) => {
                let at = place(&at, bytes);
                bytes.drain(at..(at + length).min(bytes.len()));
            }
            Self::Again(at, length, times) => {
                let at = place(&at, bytes);
                let part = bytes[at..(at + length).min(bytes.len())].repeat(times);
                bytes.splice(at..at, part);
            }
            Self::Splice(at, other, from) => {
                let at = place(&at, bytes);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from.index(other.len() + 1)..]);
            }
        }
    }
}

/// A sample with a few edits. Fewer edits are a shorter case.
fn bytes(samples: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let word = select(WORDS).prop_map(|word| word.as_bytes().to_vec());
    let put = prop_oneof![word, prop::collection::vec(any::<u8>(), 1..4)];
    let edit = prop_oneof![
        4 => (any::<Index>(), put).prop_map(|(at, more)| Edit::Put(at, more)),
        3 => (any::<Index>(), 1..12_usize).prop_map(|(at, length)| Edit::Cut(at, length)),
        1 => (any::<Index>(), 1..12_usize, 1..200_usize).prop_map(|(at, length, times)| Edit::Again(at, length, times)),
        1 => (any::<Index>(), select(samples.clone()), any::<Index>()).prop_map(|(at, other, from)| Edit::Splice(at, other, from)),
    ];
    (select(samples), prop::collection::vec(edit, 0..8)).prop_map(|(mut bytes, edits)| {
        for edit in edits {
            edit.apply(&mut bytes);
        }
        bytes
    })
}

/// Runs one target.
#[expect(
    clippy::print_stdout,
    reason = "whoever fuzzes wants to see what was tried"
)]
pub(crate) fn run(target: &str, samples: &[&[u8]], test: fn(&[u8])) {
    assert!(
        TARGETS.contains(&target),
        "the time is not shared with {target}"
    );
    let found = found(target);
    for (path, case) in &found {
        println!("{target}: {}", path.display());
        test(case);
    }
    let seconds = std::env::var("THARSIS_FUZZ_SECONDS").ok();
    let seconds = seconds.map(|text| {
        text.parse::<f64>()
            .expect("THARSIS_FUZZ_SECONDS is a number")
    });
    let share = seconds.map(|seconds| Duration::from_secs_f64(seconds / TARGETS.len() as f64));
    let began = Instant::now();
    let samples: Vec<Vec<u8>> = samples
        .iter()
        .map(|sample| sample.to_vec())
        .chain(found.into_iter().map(|(_, case)| case))
        .collect();
    let (strategy, mut ran, mut timed) = (bytes(samples), 0, 0);
    loop {
        let outcome = runner(CASES, 10_000).run(&strategy, |case| {
            test(&case);
            Ok(())
        });
        if let Err(TestError::Fail(why, case)) = outcome {
            let path = keep(target, &case);
            panic!(
                "{target}: {why}\nthe case is kept in {}, {case:?}",
                path.display()
            );
        }
        ran += CASES;
        match share {
            Some(share) if began.elapsed() < share => {
                let outcome = runner(GROWN, 0).run(
                    &(&strategy, any::<Index>(), 1..40_usize),
                    |(case, at, length)| is_linear(&case, &at, length, test),
                );
                if let Err(error) = outcome {
                    panic!("{target}: {error}");
                }
                timed += GROWN;
            }
            _ => break,
        }
    }
    println!("{target}: {ran} cases ran, {timed} were timed as they grow");
}

/// A part of the case, again and again: eight times as much may take eight times as long, and not 64 times.
fn is_linear(case: &[u8], at: &Index, length: usize, test: fn(&[u8])) -> Result<(), TestCaseError> {
    const SMALL: usize = 8 << 10;
    let at = at.index(case.len() + 1);
    let part = &case[at..(at + length).min(case.len())];
    if part.is_empty() {
        return Ok(());
    }
    let grown = |size: usize| {
        [
            &case[..at],
            &part.repeat(size / part.len() + 1),
            &case[at..],
        ]
        .concat()
    };
    let (small, large) = (grown(SMALL), grown(8 * SMALL));
    let took = |bytes: &[u8]| {
        let began = Instant::now();
        test(black_box(bytes));
        began.elapsed()
    };
    let shortest = |bytes: &[u8]| (0..3).map(|_| took(bytes)).min().unwrap_or_default();
    // Other programs run beside this one: what looks slow once is looked at again.
    let slow = (0..3).all(|_| shortest(&large) > shortest(&small) * 32 + Duration::from_millis(10));
    if slow {
        let told = String::from_utf8_lossy(case);
        return Err(TestCaseError::fail(format!(
            "{:?} and {:?} for eight times as much of byte {at} to {} of {told:?}",
            took(&small),
            took(&large),
            at + part.len()
        )));
    }
    Ok(())
}

fn folder(target: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/found")).join(target)
}

fn found(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(files) = fs::read_dir(folder(target)) else {
        return Vec::new();
    };
    let mut found: Vec<_> = files
        .map(|file| file.expect("a file").path())
        .map(|path| (path.clone(), fs::read(&path).expect("it can be read")))
        .collect();
    found.sort();
    found
}

/// Named by what it holds, so that the same case is kept once.
fn keep(target: &str, case: &[u8]) -> PathBuf {
    let hash = case.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let path = folder(target).join(format!("{hash:016x}"));
    fs::create_dir_all(folder(target)).expect("the folder can be made");
    fs::write(&path, case).expect("the case can be written");
    path
}
