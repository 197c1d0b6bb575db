//! Columns as Rust values, and rows of values as the one JSON argument of a statement.

use serde::Serialize;
use sqlx::{
    Decode, Sqlite, Type,
    error::BoxDynError,
    sqlite::{SqliteTypeInfo, SqliteValueRef},
};
use tharsis_core::Timestamp;
use uuid::Uuid;

use crate::StoreError;
pub(super) use crate::error::{corrupt, expect_changed};

/// A column of 16 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Id(pub(super) Uuid);

impl Type<Sqlite> for Id {
    fn type_info() -> SqliteTypeInfo {
        <[u8] as Type<Sqlite>>::type_info()
    }

    fn compatible(ty: &SqliteTypeInfo) -> bool {
        <[u8] as Type<Sqlite>>::compatible(ty)
    }
}

impl<'r> Decode<'r, Sqlite> for Id {
    fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
        let bytes = <&[u8] as Decode<Sqlite>>::decode(value)?;
        Ok(Self(Uuid::from_slice(bytes)?))
    }
}

/// A column of milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Millis(pub(super) Timestamp);

impl Type<Sqlite> for Millis {
    fn type_info() -> SqliteTypeInfo {
        <i64 as Type<Sqlite>>::type_info()
    }

    fn compatible(ty: &SqliteTypeInfo) -> bool {
        <i64 as Type<Sqlite>>::compatible(ty)
    }
}

impl<'r> Decode<'r, Sqlite> for Millis {
    fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
        <i64 as Decode<Sqlite>>::decode(value).map(|ms| Self(Timestamp::from_millis(ms)))
    }
}

/// A UUID as a bound value.
pub(super) fn blob(id: &Uuid) -> Vec<u8> {
    id.as_bytes().to_vec()
}

/// Rows as one JSON argument, which a statement takes apart with `jsonb_each`.
pub(super) fn json(rows: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(rows).map_err(StoreError::database)
}

/// 16 bytes as a statement's `unhex` reads them.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Reads bytes that SQLite's `hex` wrote.
pub(super) fn unhex(text: &str) -> Result<Vec<u8>, StoreError> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16);
    let bytes = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
        _ => None,
    });
    bytes
        .collect::<Option<_>>()
        .ok_or_else(|| corrupt("a column of hexadecimal digits"))
}

/// Reads 16 bytes that SQLite's `hex` wrote.
pub(super) fn uuid(text: &str) -> Result<Uuid, StoreError> {
    Uuid::try_parse(text).map_err(corrupt)
}

/// A number of things as SQLite counts.
pub(super) fn count(things: impl Iterator) -> u64 {
    things.map(|_| 1).sum()
}
