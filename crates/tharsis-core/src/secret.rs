//! Secrets: what signs, how it is kept, and how it is never shown.

use std::fmt;

use zeroize::Zeroizing;

/// A signing secret. It cannot be printed; it is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The text as typed, whose UTF-8 bytes are the key of the HMAC.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}
