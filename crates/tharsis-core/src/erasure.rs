//! Whose data is erased, and how that is proved without keeping it.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::ClientId;

/// Whose data is erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Erasure {
    /// Events of a recipient, and what became of them.
    Recipient {
        /// As publishers name it.
        recipient: String,
        /// Of this client alone.
        client: Option<ClientId>,
    },
    /// Everything of a client: its events, its subscriptions and its tokens.
    Client(ClientId),
}

impl Erasure {
    /// What the audit names it. Of a recipient that is `sha256:` and the digest of its name, by which whoever has the name
    /// finds the entry, and nobody else learns it: `printf '%s' NAME | sha256sum`.
    pub fn subject(&self) -> String {
        match self {
            Self::Client(client) => client.to_string(),
            Self::Recipient { recipient, .. } => {
                let mut text = "sha256:".to_owned();
                for byte in Sha256::digest(recipient.as_bytes()) {
                    let _ = write!(text, "{byte:02x}");
                }
                text
            }
        }
    }

    /// The client, where it is of one alone.
    pub fn client(&self) -> Option<ClientId> {
        match self {
            Self::Recipient { client, .. } => *client,
            Self::Client(client) => Some(*client),
        }
    }

    /// The recipient, where it is of one alone.
    pub fn recipient(&self) -> Option<&str> {
        match self {
            Self::Recipient { recipient, .. } => Some(recipient),
            Self::Client(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest is what `printf '%s' ann@example.com | sha256sum` prints.
    #[test]
    fn a_recipient_is_named_by_its_digest() {
        let erasure = Erasure::Recipient {
            recipient: "ann@example.com".to_owned(),
            client: None,
        };
        assert_eq!(
            erasure.subject(),
            "sha256:71d4f55f72fa128dfb468a1a3901507c804b74316488744d769d7f4b16696476"
        );
    }
}
