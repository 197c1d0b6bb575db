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

/// A `timestamptz`. PostgreSQL counts microseconds since the year 2000, we count milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instant(pub(super) Timestamp);

const TIMESTAMPTZ: Oid = Oid(1184);
const TIMESTAMPTZ_ARRAY: Oid = Oid(1185);

/// 2000-01-01 in our milliseconds.
const EPOCH: i64 = 946_684_800_000;

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
        let micros = self
            .0
            .as_millis()
            .checked_sub(EPOCH)
            .and_then(|millis| millis.checked_mul(1_000))
            .ok_or("an instant beyond PostgreSQL's")?;
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
        Ok(Self(Timestamp::from_millis(
            micros.div_euclid(1_000) + EPOCH,
        )))
    }
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

    fn there_and_back(millis: i64) -> Option<i64> {
        let mut buf = PgArgumentBuffer::default();
        let _ = Instant(Timestamp::from_millis(millis))
            .encode_by_ref(&mut buf)
            .ok()?;
        let micros = i64::from_be_bytes(buf[..].try_into().ok()?);
        Some(micros.div_euclid(1_000) + EPOCH)
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
        ] {
            assert_eq!(there_and_back(millis), Some(millis));
        }
        assert_eq!(there_and_back(i64::MAX), None, "refused, not wrapped");
        assert_eq!(there_and_back(i64::MIN), None);
    }
}
