use std::{borrow::Cow, collections::HashSet};

use super::{Value, write};
use crate::Invalid;

/// Up to here comparing every pair of keys is quicker than hashing them.
const FEW: usize = 16;

/// The fields of an object: no key twice, in the order in which JavaScript enumerates them.
///
/// That is the order in which they came, except that array-index keys (`0` to `4294967294`) stand first, ascending
/// (ECMA-262, `OrdinaryOwnPropertyKeys`). `__proto__` is a key like any other, for `JSON.parse` defines it as an own property.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object<'a> {
    fields: Vec<(Cow<'a, str>, Value<'a>)>,
}

impl<'a> Object<'a> {
    /// Puts the fields in order.
    ///
    /// # Errors
    /// `json_duplicate_key` when a key is there twice.
    pub fn new(mut fields: Vec<(Cow<'a, str>, Value<'a>)>) -> Result<Self, Invalid> {
        if let Some(key) = duplicate(&fields) {
            return Err(Invalid::new("json_duplicate_key", "is there twice").at(path_step(key)));
        }
        in_order(&mut fields);
        Ok(Self { fields })
    }

    /// The value under this key.
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.fields.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// The value under this key, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value<'a>> {
        (self.fields.iter_mut())
            .find(|(k, _)| k == key)
            .map(|(_, value)| value)
    }

    /// Sets the value under this key: in its place where the key is there, else behind the others.
    pub fn set(&mut self, key: impl Into<Cow<'a, str>>, value: impl Into<Value<'a>>) {
        let key = key.into();
        match self.get_mut(&key) {
            Some(present) => *present = value.into(),
            None => {
                self.fields.push((key, value.into()));
                in_order(&mut self.fields);
            }
        }
    }

    /// Keeps the fields for which `keep` says so; it may change their values.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value<'a>) -> bool) {
        self.fields.retain_mut(|(key, value)| keep(key, value));
    }

    /// The fields in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value<'a>)> {
        self.fields.iter().map(|(k, v)| (k.as_ref(), v))
    }

    /// Appends what `JSON.stringify` would write.
    pub fn write(&self, out: &mut Vec<u8>) {
        write::object(self, out);
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

fn in_order(fields: &mut [(Cow<'_, str>, Value<'_>)]) {
    if fields.iter().any(|(key, _)| array_index(key).is_some()) {
        // The sort is stable: what is no index stays behind them in its own order.
        fields.sort_by_key(|(key, _)| array_index(key).unwrap_or(u32::MAX));
    }
}

fn duplicate<'f>(fields: &'f [(Cow<'_, str>, Value<'_>)]) -> Option<&'f str> {
    if fields.len() <= FEW {
        return fields
            .iter()
            .enumerate()
            .find(|(i, (key, _))| fields[..*i].iter().any(|(earlier, _)| earlier == key))
            .map(|(_, (key, _))| key.as_ref());
    }
    let mut seen = HashSet::with_capacity(fields.len());
    fields
        .iter()
        .map(|(key, _)| key.as_ref())
        .find(|key| !seen.insert(*key))
}

/// What ECMA-262 calls an array index: the decimal form, without leading zeros, of 0 to 2³² − 2.
fn array_index(key: &str) -> Option<u32> {
    let bytes = key.as_bytes();
    match bytes {
        [b'0'] => return Some(0),
        [b'1'..=b'9', ..] if bytes.len() <= 10 && bytes.iter().all(u8::is_ascii_digit) => {}
        _ => return None,
    }
    key.parse().ok().filter(|index| *index != u32::MAX)
}

/// A key as a step of a field's path: as it is when it reads like a name, else quoted, escaped and cut short, since
/// it came from outside and will stand in terminals and logs.
pub(crate) fn path_step(key: &str) -> String {
    const LONGEST: usize = 64;
    let plain = (1..=LONGEST).contains(&key.len())
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'$' | b'@'));
    if plain {
        return key.to_owned();
    }
    let shown: String = key
        .chars()
        .take(LONGEST)
        .flat_map(char::escape_debug)
        .collect();
    let more = if key.chars().nth(LONGEST).is_some() {
        "…"
    } else {
        ""
    };
    format!("[\"{shown}{more}\"]")
}
