//! Columns as Rust values.

use sqlx::{
    Decode, Encode, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{
        PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef, types::Oid,
    },
};
use tharsis_core::Timestamp;

pub(super) use crate::error::{corrupt, expect_changed};

/// A `timestamptz`. PostgreSQL counts microseconds since the year 2000, we count milliseconds since 1970. What the
/// other side cannot say, such as an infinite instant, becomes its first or its last one: no row is in the others' way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instant(pub(super) Timestamp);

const TIMESTAMPTZ: Oid = Oid(1184);
const TIMESTAMPTZ_ARRAY: Oid = Oid(1185);

/// 2000-01-01 in our milliseconds.
const EPOCH: i64 = 946_684_800_000;

/// The first and the last instant that PostgreSQL takes, in the years 4714 before Christ and 294276.
const FIRST: i64 = -210_866_803_200_000;
const LAST: i64 = 9_224_318_015_999_999;

impl Type<Postgres> for Instant {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ)
    }
}

impl PgHasArrayType for Instant {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ_ARRAY)
    }
}

impl Encode<'_, Postgres> for Instant {
    fn encode_by_ref(&self, buf: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let micros = (self.0.as_millis().clamp(FIRST, LAST) - EPOCH) * 1_000;
        Encode::<Postgres>::encode(micros, buf)
    }

    fn size_hint(&self) -> usize {
        size_of::<i64>()
    }
}

impl Decode<'_, Postgres> for Instant {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        if value.format() == PgValueFormat::Text {
            return Err("an instant as text".into());
        }
        let micros = i64::from_be_bytes(value.as_bytes()?.try_into()?);
        Ok(Self(of_micros(micros)))
    }
}

/// PostgreSQL says infinite ones by the least and the largest number.
fn of_micros(micros: i64) -> Timestamp {
    Timestamp::from_millis((micros.div_euclid(1_000) + EPOCH).clamp(FIRST, LAST))
}

impl From<Timestamp> for Instant {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

/// Text as PostgreSQL takes it: a NUL, which no text of it can hold, becomes a mark that something was there.
pub(super) fn text(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\0') {
        return text.replace('\0', "\u{fffd}").into();
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(millis: i64) -> i64 {
        let mut buf = PgArgumentBuffer::default();
        let _ = Instant(Timestamp::from_millis(millis))
            .encode_by_ref(&mut buf)
            .expect("never fails");
        of_micros(i64::from_be_bytes(buf[..].try_into().expect("8 bytes"))).as_millis()
    }

    #[test]
    fn instants_are_the_same_on_both_sides() {
        for millis in [
            0,
            -1,
            1,
            EPOCH,
            EPOCH - 1,
            1_700_000_000_123,
            253_402_300_799_999,
            FIRST,
            LAST,
        ] {
            assert_eq!(there_and_back(millis), millis);
        }
    }

    #[test]
    fn what_one_side_cannot_say_is_its_first_or_last_instant() {
        assert_eq!(there_and_back(i64::MIN), FIRST);
        assert_eq!(there_and_back(i64::MAX), LAST);
        assert_eq!(of_micros(i64::MIN).as_millis(), FIRST, "-infinity");
        assert_eq!(of_micros(i64::MAX).as_millis(), LAST, "infinity");
    }
}
