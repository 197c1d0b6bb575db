//! For how long a receiver's certificate is good, read out of one that was verified.

use rustls_pki_types::CertificateDer;
use tharsis_core::{Timestamp, delivery::Validity};

/// `None` for what is no certificate of X.509 (RFC 5280, section 4.1).
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let (whole, _) = value(certificate, SEQUENCE)?;
    let (signed, _) = value(whole, SEQUENCE)?;
    // The version is left out of the oldest kind.
    let rest = value(signed, VERSION).map_or(signed, |(_, rest)| rest);
    let (_serial, rest) = value(rest, INTEGER)?;
    let (_algorithm, rest) = value(rest, SEQUENCE)?;
    let (_issuer, rest) = value(rest, SEQUENCE)?;
    let (validity, _) = value(rest, SEQUENCE)?;
    let (from, rest) = instant(validity)?;
    let (until, _) = instant(rest)?;
    Some(Validity { from, until })
}

fn instant(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (tag, text, rest) = tagged(der)?;
    Some((time(tag, std::str::from_utf8(text).ok()?)?, rest))
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// `YYMMDDHHMMSSZ` up to 2049, `YYYYMMDDHHMMSSZ` after it (RFC 5280, section 4.1.2.5).
fn time(tag: u8, text: &str) -> Option<Timestamp> {
    let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let text = text.strip_suffix('Z').filter(|text| is_digits(text))?;
    let text = match (tag, text.len()) {
        (UTC_TIME, 12) if text < "50" => format!("20{text}"),
        (UTC_TIME, 12) => format!("19{text}"),
        (GENERALIZED_TIME, 14) => text.to_owned(),
        _ => return None,
    };
    let part = |from: usize| &text[from..from + 2];
    Timestamp::parse(&format!(
        "{}-{}-{}T{}:{}:{}Z",
        &text[..4],
        part(4),
        part(6),
        part(8),
        part(10),
        part(12)
    ))
    .ok()
}

/// What has this tag at the beginning, and what follows it.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, value, rest) = tagged(der)?;
    (found == tag).then_some((value, rest))
}

/// Tag, length in one or several bytes, value (X.690, section 8.1).
fn tagged(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let length = (bytes.len() <= 4).then_some(bytes)?;
        let length = (length.iter()).fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
        (length, rest)
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tharsis_receiver::Authority;

    use super::*;

    #[test]
    fn the_validity_of_a_certificate_is_read() {
        let authority = Authority::generate().unwrap();
        let leaf = authority.issue(&[], None).unwrap();
        let Validity { from, until } = validity(&leaf.chain[0]).unwrap();
        let days = until.since(crate::system_now()).as_secs() / 86_400;
        assert!((395..=397).contains(&days), "{days}");
        assert_eq!(until.since(from).as_secs() / 86_400, 397);
    }

    #[test]
    fn times_are_read_as_their_kind_has_them() {
        for (tag, text, expected) in [
            (UTC_TIME, "491231235959Z", Some("2049-12-31T23:59:59Z")),
            (UTC_TIME, "500101000000Z", Some("1950-01-01T00:00:00Z")),
            (
                GENERALIZED_TIME,
                "20500101000000Z",
                Some("2050-01-01T00:00:00Z"),
            ),
            (UTC_TIME, "20500101000000Z", None),
            (UTC_TIME, "491331235959Z", None),
            (UTC_TIME, "4912312359Z", None),
            (UTC_TIME, "49123123595\u{661}Z", None),
            (GENERALIZED_TIME, "20500101000000+0100", None),
            (INTEGER, "491231235959Z", None),
        ] {
            let expected = expected.map(|time| Timestamp::parse(time).unwrap());
            assert_eq!(time(tag, text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_no_certificate_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = validity(&bytes.into());
        }

        /// A length that lies, in a certificate that is one else.
        #[test]
        fn nor_one_that_was_damaged(at: prop::sample::Index, byte: u8) {
            let leaf = Authority::generate().unwrap().issue(&[], None).unwrap();
            let mut bytes = leaf.chain[0].to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = validity(&bytes.into());
        }
    }
}
