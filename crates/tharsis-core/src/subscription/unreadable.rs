//! What keeps a process from delivering to a subscription of which it cannot read all.

use super::State;

/// Why a process holds a subscription of its own accord: it cannot read all of it. No table says so, and it goes on by itself
/// as soon as the process can; another process may be able to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unreadable {
    /// Its secret, or the value of a header, does not open.
    Secret,
    /// Its profile is not known.
    Profile,
    /// Its profile asks for more than it was when the subscription was added, as a declared one may.
    ChangedProfile,
    /// Its filter is not understood: a newer program wrote it.
    Filter,
}

impl Unreadable {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Secret,
        Self::Profile,
        Self::ChangedProfile,
        Self::Filter,
    ];

    /// The reason that the subscription's state tells.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret_unreadable",
            Self::Profile => "profile_unknown",
            Self::ChangedProfile => "profile_changed",
            Self::Filter => "filter_unknown",
        }
    }

    /// Reads [`Self::as_str`] back; `None` for what a subscription is suspended for otherwise.
    pub fn parse(reason: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == reason)
    }

    /// In a sentence.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Secret => {
                "its secret, or the value of a header, does not open with the keys of the process that delivers"
            }
            Self::Profile => "the process that delivers does not know its profile",
            Self::ChangedProfile => "its profile asks for more than it has",
            Self::Filter => "the process that delivers does not understand its filter",
        }
    }

    /// What to do about it.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Secret => "give the process the right keys, or rotate the secret",
            Self::Profile => "give the process the tharsis.toml that declares the profile",
            Self::ChangedProfile => {
                "give the subscription what the profile asks for: tharsis subscription set"
            }
            Self::Filter => "run the version of the program that wrote it, or a newer one",
        }
    }

    /// What the process takes the subscription for.
    pub fn state(self) -> State {
        State::Suspended {
            reason: self.as_str().to_owned(),
        }
    }
}
