//! Whether the deliveries of a subscription go one after the other, and what one that cannot be delivered does to those
//! after it.

use std::{borrow::Cow, fmt, str::FromStr};

use sha2::{Digest, Sha256};

use crate::{Invalid, bounds, json, json::Value};

/// The longest path, in characters.
const LONGEST_PATH: usize = 255;

/// Deliveries with the same key go in order: the next is not attempted before the one before it is delivered or given up.
/// Those without a key, and those with different keys, do not wait for each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What the key is.
    pub by: By,
    /// What becomes of the first of a key when its retries are used up.
    pub on_dead: OnDead,
}

/// What deliveries have in common that go in order.
///
/// # Examples
/// ```
/// use tharsis_core::order::By;
///
/// let by: By = "key:order.id".parse()?;
/// assert_eq!(by.to_string(), "key:order.id");
/// let [a, b] = [br#"{"order":{"id":7}}"#, br#"{"order":{"id":8}}"#].map(|payload| by.key(None, payload));
/// assert!(a.is_some() && b.is_some() && a != b);
/// assert_eq!(by.key(None, br#"{"order":{}}"#), None);
/// assert_eq!("fifo".parse::<By>().unwrap_err().code, "bad_order");
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// All of a subscription go in order.
    Strict,
    /// Those of one recipient (`maraxId`).
    Recipient,
    /// Those whose payload has the same text, number or boolean at the end of this path: names with dots between them.
    Field(Box<str>),
}

/// What becomes of a delivery whose retries are used up while others wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDead {
    /// It ends dead, and the next goes.
    #[default]
    GiveUp,
    /// It is held, and so are those after it, until somebody retries or cancels it.
    Hold,
}

/// What a key is known by: a number that is the same wherever and whenever it is made. Two keys may share one; then they
/// wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderKey(pub i64);

impl OrderKey {
    /// That of all deliveries of a subscription whose order is strict.
    pub const STRICT: Self = Self(0);

    /// The rows of the store hold what this gives: it must never change.
    fn of(text: &[u8]) -> Self {
        let digest = Sha256::digest(text);
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Self(i64::from_be_bytes(first))
    }
}

impl By {
    /// The key of a delivery, from the recipient of its event and its payload.
    pub fn key(&self, recipient: Option<&str>, payload: &[u8]) -> Option<OrderKey> {
        match self {
            Self::Strict => Some(OrderKey::STRICT),
            Self::Recipient => recipient.map(|text| OrderKey::of(text.as_bytes())),
            Self::Field(path) => {
                let payload = json::parse(payload).ok()?;
                let found = path
                    .split('.')
                    .try_fold(&payload, |value, name| value.get(name))?;
                let text: Cow<'_, [u8]> = match found {
                    Value::String(text) => Cow::Borrowed(text.as_bytes()),
                    Value::Number(_) | Value::Bool(_) => Cow::Owned(found.to_vec()),
                    Value::Null | Value::Array(_) | Value::Object(_) => return None,
                };
                Some(OrderKey::of(&text))
            }
        }
    }

    /// Reads it, or `none`.
    ///
    /// # Errors
    /// `bad_order`, or what is wrong with the path.
    pub fn parse(text: &str) -> Result<Option<Self>, Invalid> {
        match text.trim() {
            "none" => Ok(None),
            other => other.parse().map(Some),
        }
    }
}

impl FromStr for By {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bad = || {
            Invalid::new("bad_order", "is no order of deliveries")
                .hint("write none, strict, recipient or key:PATH, such as key:order.id")
        };
        match text {
            "strict" => Ok(Self::Strict),
            "recipient" => Ok(Self::Recipient),
            _ => {
                let path = text.strip_prefix("key:").ok_or_else(bad)?;
                if path.split('.').any(str::is_empty) {
                    return Err(bad());
                }
                bounds::text(path, LONGEST_PATH)?;
                Ok(Self::Field(path.into()))
            }
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strict => f.write_str("strict"),
            Self::Recipient => f.write_str("recipient"),
            Self::Field(path) => write!(f, "key:{path}"),
        }
    }
}

impl OnDead {
    /// The word for it in SQL, JSON and the CLI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GiveUp => "give_up",
            Self::Hold => "hold",
        }
    }
}

impl FromStr for OnDead {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.trim() {
            "give_up" => Ok(Self::GiveUp),
            "hold" => Ok(Self::Hold),
            _ => Err(Invalid::new("bad_on_dead", "is neither give_up nor hold")
                .hint("give_up lets the next go when the retries are used up; hold keeps all of them until it is retried or cancelled")),
        }
    }
}
