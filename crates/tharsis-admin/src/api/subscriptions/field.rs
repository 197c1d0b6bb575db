use serde::{Deserialize, Deserializer, de::Error};

use crate::registering::Wanted;

/// A field of a merge patch (RFC 7396).
#[derive(Default)]
pub(super) enum Field<T> {
    /// Nothing is said of it.
    #[default]
    Absent,
    /// It is to be as if nothing had ever been said.
    Null,
    /// It is to be this.
    This(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = Option::deserialize(deserializer)?;
        Ok(given.map_or(Self::Null, Self::This))
    }
}

impl<T: Clone> Field<T> {
    /// What there is then.
    pub(super) fn over(&self, present: Option<T>) -> Option<T> {
        match self {
            Self::Absent => present,
            Self::Null => None,
            Self::This(given) => Some(given.clone()),
        }
    }
}

/// What may be secret. It cannot be printed, and an error does not repeat it.
pub(super) struct Unseen<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Unseen<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = T::deserialize(deserializer).map(Self);
        given.map_err(|_| D::Error::custom("it is of another shape, and not repeated here"))
    }
}

impl Field<Unseen<String>> {
    /// Of a secret.
    pub(super) fn wanted(&self) -> Wanted<'_> {
        match self {
            Self::Absent => Wanted::Any,
            Self::Null => Wanted::None,
            Self::This(Unseen(text)) => Wanted::This(text.as_bytes()),
        }
    }
}
