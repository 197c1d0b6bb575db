//! What may be a secret, and that it is never shown and opens only where it was sealed.

mod corpus;

use proptest::prelude::*;
use tharsis_core::{
    Invalid,
    profile::KeyKind,
    secret::{Keyring, MAX_SECRET, MIN_SECRET, SealingKey, Secret, SecretRow},
};

const GOOD: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b";

fn code(text: &str) -> &'static str {
    Secret::new(text).map_or_else(|e| e.code, |_| "accepted")
}

fn row(id: &[u8]) -> SecretRow<'_> {
    SecretRow {
        table: "secret",
        id,
    }
}

#[test]
fn every_bad_secret_of_the_corpus_is_refused_without_being_repeated() {
    let cases: [(&str, &[&str]); 7] = [
        ("I096", &[""]),
        ("I097", &["8 bytes!"]),
        // The API answers 413 before; whoever calls the library gets the same refusal with a code of its own.
        ("I099", &[]),
        (
            "I101",
            &["\u{43f}\u{430}\u{440}\u{43e}\u{43b}\u{44c} of twenty-four"],
        ),
        ("I103", &["aaaaaaaaaaaaaaaaaaaaaaaa"]),
        ("I104", &["changeme", "secret", "your_webhook_secret_here"]),
        ("I105", &["whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]),
    ];
    let rows = corpus::rows("inputs_bad.tsv");
    for (id, secrets) in cases {
        let found = rows
            .iter()
            .find(|r| r.get("id") == id)
            .expect("a row of the corpus");
        assert!(found.get("input").starts_with("secret = "));
        for secret in secrets {
            let refused = Secret::new(secret).expect_err(id);
            assert!(
                found.get("expected").contains(refused.code),
                "{id}: {refused}"
            );
            assert_eq!(refused.field.as_deref(), Some("secret"));
            // "secret" and "changeme" may stand in our own words.
            let shown = format!("{refused} {refused:?}");
            assert!(secret.len() < 10 || !shown.contains(secret), "{id}");
        }
    }
    corpus::ran("inputs_bad.tsv, secrets", cases.len());
    assert_eq!(code(&"x7".repeat(5 << 20)), "secret_too_long");
}

#[test]
fn what_customers_hold_is_accepted() {
    for secret in [
        GOOD,
        "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6",
        "correct-horse-battery-staple-42",
        "whsec_HQVpwMPJsBxjIF/kRr1ZRP+EbA3wUicPvAXAIGVNNAM=",
        "a pass phrase with spaces, 1 digit",
        "!~\"#|`<$,{%&.}'(-)*?+;[/:]=>@^_9aZ",
    ] {
        assert_eq!(code(secret), "accepted", "{secret}");
    }
    let of = |n: usize| {
        "8c1f0a7e5d3b9264"
            .chars()
            .cycle()
            .take(n)
            .collect::<String>()
    };
    assert_eq!(code(&of(MIN_SECRET - 1)), "secret_too_short");
    assert_eq!(code(&of(MIN_SECRET)), "accepted");
    assert_eq!(
        code(&format!("{}{GOOD}", of(MAX_SECRET - GOOD.len()))),
        "accepted"
    );
    assert_eq!(
        code(&format!("{}{GOOD}", of(MAX_SECRET - GOOD.len() + 1))),
        "secret_too_long"
    );
}

#[test]
fn what_is_too_regular_is_refused() {
    for secret in [
        "abcdefghijklmnopqrstuvwxyz",
        "0123456789abcdef01234567",
        "0123456789012345678901234567890123456789",
        "hunter2!hunter2!hunter2!",
        "1111111111111111222222222222",
    ] {
        assert_eq!(code(secret), "secret_low_entropy", "{secret}");
    }
    for secret in [
        " 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b\n",
        "9f86d081884c7d65\t9a2feaa0c55ad015a3bf4f1b",
    ] {
        assert_eq!(code(secret), "bad_secret_encoding", "{secret:?}");
    }
}

#[test]
fn one_line_end_of_a_file_is_no_part_of_the_secret() {
    let good = Secret::new(GOOD).expect("a good secret");
    let read = |text: String| Secret::from_file_text(text.as_bytes()).map_err(|e| e.code);
    assert_eq!(read(GOOD.to_owned()), Ok(good.clone()));
    assert_eq!(read(format!("{GOOD}\n")), Ok(good.clone()));
    assert_eq!(read(format!("{GOOD}\r\n")), Ok(good));
    assert_eq!(read(format!("{GOOD}\n\n")), Err("bad_secret_encoding"));
    assert_eq!(
        read(format!("{GOOD}\n{GOOD}\n")),
        Err("bad_secret_encoding")
    );
    assert_eq!(
        Secret::from_file_text(b"\xff\xfe").map_err(|e| e.code),
        Err("bad_secret_encoding")
    );
    assert_eq!(
        Secret::from_file_text(b"").map_err(|e| e.code),
        Err("secret_too_short")
    );
}

#[test]
fn neither_secret_nor_key_is_ever_printed() {
    let secret = Secret::new(GOOD).expect("a good secret");
    let key = SealingKey::new([0xab; 32]);
    assert_eq!(format!("{secret:?} {key:?}"), "[REDACTED] [REDACTED]");
    assert_eq!(format!("{:#?}", Some(secret)), "Some(\n    [REDACTED],\n)");
}

/// The digests were computed by `sha256sum`.
#[test]
fn fingerprints_and_key_ids_are_digests() {
    let secret = Secret::new(GOOD).expect("a good secret");
    assert_eq!(secret.fingerprint(), "1d0569c0");
    assert_eq!(SealingKey::new([0; 32]).id(), "f063e0d656cd8140");
}

#[test]
fn a_keyring_is_keys_in_hex_in_their_order() {
    let ids = |text: &[u8]| match Keyring::parse(text) {
        Ok(keys) => Ok(keys.iter().map(SealingKey::id).collect::<Vec<_>>()),
        Err(refused) => Err((refused.code, refused.message.into_owned())),
    };
    let (first, second) = (SealingKey::new([0x5a; 32]), SealingKey::new([0xb7; 32]));
    let (one, two) = (&*first.to_hex(), &*second.to_hex());
    assert_eq!(*one, "5a".repeat(32));
    for alone in [
        one.clone(),
        format!("{one}\n"),
        format!("{one}\r\n"),
        format!("\n  {}\t# mine, of old\n\n", one.to_uppercase()),
        format!("{one},{one}\n{one}"),
    ] {
        assert_eq!(ids(alone.as_bytes()), Ok(vec![first.id()]), "{alone}");
    }
    for both in [
        format!("{one}\n{two}\n"),
        format!("{one},{two}"),
        format!("{one} {two} {one}"),
        format!("# {two}\n{one}# {two}\n{two}"),
    ] {
        let expected = Ok(vec![first.id(), second.id()]);
        assert_eq!(ids(both.as_bytes()), expected, "{both}");
    }
    for swallowed in [
        format!("{one} # the first, of old, {two}"),
        format!("{one} # old, {two} {one}"),
    ] {
        let expected = "has a key after a # and a comma in line 1".to_owned();
        assert_eq!(ids(swallowed.as_bytes()), Err(("bad_key", expected)));
    }
    for none in ["", "\n", "# a remark\n", " , ,"] {
        let expected = Err(("bad_key", "holds no key".to_owned()));
        assert_eq!(ids(none.as_bytes()), expected, "{none:?}");
    }
    for bad in [
        "5a".to_owned(),
        "5a".repeat(31),
        "5a".repeat(33),
        "zz".repeat(32),
        format!("\u{feff}{one}"),
        format!("{one};{two}"),
    ] {
        let text = format!("{one}\n{bad}");
        let refused = ids(text.as_bytes()).expect_err(&bad);
        let expected = "has no key of 64 hex digits in line 2".to_owned();
        assert_eq!(refused, ("bad_key", expected), "{bad}");
    }
}

#[test]
fn a_key_is_found_by_its_id_and_none_is_printed() {
    let keys = ["5a", "b7"].map(|byte| byte.repeat(32));
    let ring = Keyring::parse(keys.join("\n").as_bytes()).expect("two keys");
    for (key, byte) in keys.iter().zip([0x5a, 0xb7]) {
        let found = ring.find(&SealingKey::new([byte; 32]).id());
        assert_eq!(
            found.map(|found| found.to_hex().to_string()).as_ref(),
            Some(key)
        );
    }
    assert!(ring.find(&SealingKey::new([4; 32]).id()).is_none());
    assert_eq!(format!("{ring:?}"), "Keyring([[REDACTED], [REDACTED]])");
}

#[test]
fn what_was_sealed_opens_in_its_own_row_with_its_own_key_alone() {
    let key = SealingKey::new([1; 32]);
    let secret = Secret::new(GOOD).expect("a good secret");
    let sealed = key.seal([2; 24], &row(b"a"), &secret);
    assert_eq!(key.open(&row(b"a"), &sealed), Ok(secret));

    let refused = |opened: Result<Secret, Invalid>| {
        assert_eq!(opened.map_err(|e| e.code), Err("secret_unreadable"))
    };
    refused(key.open(&row(b"b"), &sealed));
    refused(key.open(
        &SecretRow {
            table: "secreta",
            id: b"",
        },
        &sealed,
    ));
    refused(SealingKey::new([3; 32]).open(&row(b"a"), &sealed));
    for length in 0..sealed.len() {
        refused(key.open(&row(b"a"), &sealed[..length]));
    }
    for bit in 0..sealed.len() * 8 {
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        refused(key.open(&row(b"a"), &flipped));
    }
}

proptest! {
    #[test]
    fn a_generated_secret_is_a_good_one(random: [u8; 20]) {
        let secret = Secret::generate(random);
        prop_assert_eq!(Secret::new(secret.expose()), Ok(secret));
    }

    #[test]
    fn no_text_makes_it_panic_and_what_is_accepted_is_kept_as_it_is(text in "[ -~]{0,80}|.{0,80}") {
        if let Ok(secret) = Secret::new(&text) {
            prop_assert_eq!(secret.expose(), &text);
            prop_assert_eq!(secret.fingerprint().len(), 8);
        }
        let _ = Secret::from_file_text(text.as_bytes());
        let _ = Keyring::parse(text.as_bytes());
    }

    #[test]
    fn sealing_and_opening_are_inverse(
        key: [u8; 32], nonce: [u8; 24], random: [u8; 20],
        id in prop::collection::vec(any::<u8>(), 0..40),
        other in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let key = SealingKey::new(key);
        let secret = Secret::generate(random);
        let sealed = key.seal(nonce, &row(&id), &secret);
        prop_assert_eq!(key.open(&row(&id), &sealed), Ok(secret.clone()));
        prop_assert_eq!(key.open(&row(&other), &sealed).is_ok(), id == other);
        prop_assert!(!sealed.windows(8).any(|w| w == &secret.expose().as_bytes()[..8]));
    }

    #[test]
    fn no_bytes_make_opening_panic(sealed in prop::collection::vec(any::<u8>(), 0..120)) {
        prop_assert!(SealingKey::new([0; 32]).open(&row(b"a"), &sealed).is_err());
    }
}

/// A customer who brings one that is weak or known can insist; on nothing, or on what is no key, nobody can.
#[test]
fn whoever_insists_may_bring_a_weak_secret() {
    let weakness = |kind, text: &str| {
        let secret = Secret::brought(kind, text).map_err(|e| e.code)?;
        assert_eq!(secret.expose(), text);
        Ok(secret.weakness(kind).map(|weakness| weakness.code))
    };
    for (text, expected) in [
        ("hunter2", Ok(Some("secret_too_short"))),
        ("changeme", Ok(Some("secret_known"))),
        ("It's a Secret to Everybody", Ok(Some("secret_known"))),
        ("aaaaaaaaaaaaaaaaaaaaaaaa", Ok(Some("secret_low_entropy"))),
        ("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b", Ok(None)),
        ("", Err("secret_too_short")),
        ("  ", Err("bad_secret_encoding")),
        ("whsk_short", Err("wrong_key_kind")),
        ("line\nbreak", Err("bad_secret_encoding")),
    ] {
        assert_eq!(weakness(KeyKind::Text, text), expected, "{text}");
    }
    let sample = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    assert_eq!(
        weakness(KeyKind::Standard, sample),
        Ok(Some("secret_known"))
    );
    assert_eq!(weakness(KeyKind::Standard, "hunter2"), Err("bad_key"));
    let file = Secret::brought_in_file(KeyKind::Text, b"hunter2\r\n");
    assert_eq!(file.map(|s| s.expose().len()), Ok(7));
}
