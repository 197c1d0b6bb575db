//! Secrets: what signs, how it is kept, and how it is never shown.

mod keyring;

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use ed25519_dalek::{SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

pub use self::keyring::Keyring;
use crate::{Invalid, profile::KeyKind};

/// The shortest secret, in characters: 24, as Standard Webhooks has it.
pub const MIN_SECRET: usize = 24;

/// The longest secret, in characters. Standard Webhooks stops at 64 bytes of key; customers of other senders hold longer
/// texts (the hex of 64 bytes is 128, tokens reach some hundreds), and HMAC takes any length.
pub const MAX_SECRET: usize = 512;

/// A signing secret. It cannot be printed; it is compared in constant time and wiped when dropped.
///
/// # Examples
/// ```
/// use tharsis_core::secret::Secret;
///
/// let secret = Secret::generate([7; 20]);
/// assert_eq!(secret.expose().len(), 40);
/// assert_eq!(format!("{secret:?}"), "[REDACTED]");
/// assert_eq!(Secret::new("hunter2").unwrap_err().code, "secret_too_short");
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a secret as typed: 24 to 512 visible ASCII characters (spaces inside are allowed) that somebody who guesses
    /// would not try. The error never repeats it.
    ///
    /// # Errors
    /// Field `secret`: `secret_known`, `wrong_key_kind`, `secret_too_short`, `secret_too_long`, `bad_secret_encoding`,
    /// `secret_low_entropy`.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        check(text).map_err(|e| e.at("secret"))?;
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// Takes a secret that is a key of this kind. Of the kind of Standard Webhooks it is `whsec_` and 24 to 64 bytes in
    /// base64, or the private key of a pair: `whsk_` and 32 bytes, or these and the 32 of the public key. `whpk_` and a
    /// public key are taken too, and verify but do not sign.
    ///
    /// # Errors
    /// As [`Self::new`], and `bad_key` for what is no such key.
    pub fn of(kind: KeyKind, text: &str) -> Result<Self, Invalid> {
        match kind {
            KeyKind::Text => Self::new(text),
            KeyKind::Standard => {
                let secret = Self(Zeroizing::new(text.to_owned()));
                let is_known = KNOWN.contains(&text.trim());
                let known = is_known.then(secret_known).map_or(Ok(()), Err);
                known
                    .and_then(|()| match secret.key(kind)? {
                        Key::Bytes(key) if is_guessable(&key) => Err(low_entropy()),
                        _ => Ok(()),
                    })
                    .map_err(|e| e.at("secret"))?;
                Ok(secret)
            }
        }
    }

    /// Takes one that a customer brings and cannot change, however weak or well known it is: what [`Self::of`] takes, and
    /// what it refuses as `secret_known`, `secret_too_short` or `secret_low_entropy`, but for nothing at all.
    ///
    /// # Errors
    /// The others of [`Self::of`]; `secret_too_short` for nothing at all.
    ///
    /// # Examples
    /// ```
    /// use tharsis_core::{profile::KeyKind, secret::Secret};
    ///
    /// let secret = Secret::brought(KeyKind::Text, "hunter2")?;
    /// let weakness = secret.weakness(KeyKind::Text).map(|weakness| weakness.code);
    /// assert_eq!(weakness, Some("secret_too_short"));
    /// # Ok::<(), tharsis_core::Invalid>(())
    /// ```
    pub fn brought(kind: KeyKind, text: &str) -> Result<Self, Invalid> {
        match Self::of(kind, text) {
            Err(weak) if is_weakness(weak.code) && !text.trim().is_empty() => {
                if kind == KeyKind::Text {
                    is_text(text).map_err(|e| e.at("secret"))?;
                }
                let secret = Self(Zeroizing::new(text.to_owned()));
                secret.key(kind).map_err(|e| e.at("secret"))?;
                Ok(secret)
            }
            taken => taken,
        }
    }

    /// Why [`Self::of`] would refuse it, if it would.
    pub fn weakness(&self, kind: KeyKind) -> Option<Invalid> {
        Self::of(kind, &self.0)
            .err()
            .filter(|e| is_weakness(e.code))
    }

    /// Takes what a secret file holds: the secret, and perhaps one line end after it that is no part of it.
    ///
    /// # Errors
    /// As [`Self::new`]; `bad_secret_encoding` also for bytes that are not UTF-8.
    pub fn from_file_text(bytes: &[u8]) -> Result<Self, Invalid> {
        Self::of_file(KeyKind::Text, bytes)
    }

    /// Takes what a file holds that is to be a key of this kind.
    ///
    /// # Errors
    /// As [`Self::of`]; `bad_secret_encoding` also for bytes that are not UTF-8.
    pub fn of_file(kind: KeyKind, bytes: &[u8]) -> Result<Self, Invalid> {
        Self::of(kind, file_text(bytes)?)
    }

    /// The same, [however weak it is](Self::brought).
    ///
    /// # Errors
    /// As [`Self::brought`]; `bad_secret_encoding` also for bytes that are not UTF-8.
    pub fn brought_in_file(kind: KeyKind, bytes: &[u8]) -> Result<Self, Invalid> {
        Self::brought(kind, file_text(bytes)?)
    }

    /// A text that is kept like a secret, whatever it is.
    pub(crate) fn unchecked(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// A new secret of these random bytes: 40 hex digits, as the documentation's own command makes them.
    pub fn generate(mut random: [u8; 20]) -> Self {
        let secret = Self(Zeroizing::new(hex::encode(random)));
        random.zeroize();
        secret
    }

    /// A new secret of these random bytes, as Standard Webhooks writes them: `whsec_` and base64.
    pub fn generate_standard(mut random: [u8; 32]) -> Self {
        let mut text = Zeroizing::new("whsec_".to_owned());
        BASE64_STANDARD.encode_string(random, &mut text);
        random.zeroize();
        Self(text)
    }

    /// The key that this is.
    ///
    /// # Errors
    /// `bad_key` for what is no key of this kind.
    pub(crate) fn key(&self, kind: KeyKind) -> Result<Key<'_>, Invalid> {
        match kind {
            KeyKind::Text => Ok(Key::Text(self.0.as_bytes())),
            KeyKind::Standard => standard_key(&self.0).ok_or_else(Self::wrong_kind),
        }
    }

    pub(crate) fn wrong_kind() -> Invalid {
        Invalid::new("bad_key", "is no key of Standard Webhooks that signs")
            .hint("whsec_ and 24 to 64 random bytes in base64, or whsk_ and an Ed25519 key: leave it out to have one generated")
    }

    /// The text as typed, whose UTF-8 bytes are the key of the HMAC.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The first 8 hex digits of its SHA-256: enough to tell secrets apart, too little to find one.
    pub fn fingerprint(&self) -> String {
        hex::encode(&Sha256::digest(self.0.as_bytes())[..4])
    }
}

/// A key, read out of the text that it is kept as.
pub(crate) enum Key<'s> {
    /// Of an HMAC: the text itself,
    Text(&'s [u8]),
    /// or bytes that were written in base64.
    Bytes(Zeroizing<Vec<u8>>),
    /// Of Ed25519: signs, and verifies.
    Private(SigningKey),
    /// Of Ed25519: verifies.
    Public(VerifyingKey),
}

fn standard_key(text: &str) -> Option<Key<'static>> {
    let decode = |text: &str| BASE64_STANDARD.decode(text).ok().map(Zeroizing::new);
    if let Some(text) = text.strip_prefix("whsec_") {
        let key = decode(text)?;
        (24..=64).contains(&key.len()).then_some(Key::Bytes(key))
    } else if let Some(text) = text.strip_prefix("whsk_") {
        let key = decode(text)?;
        let (private, public) = key.split_first_chunk::<32>()?;
        let private = SigningKey::from_bytes(private);
        let fits = public.is_empty() || public == private.verifying_key().as_bytes();
        fits.then_some(Key::Private(private))
    } else {
        let key = decode(text.strip_prefix("whpk_")?)?;
        let key = VerifyingKey::from_bytes(key.first_chunk().filter(|_| key.len() == 32)?);
        key.ok().map(Key::Public)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

const GENERATE: &str = "leave it out to have one generated, or make one with: openssl rand -hex 20";

fn file_text(bytes: &[u8]) -> Result<&str, Invalid> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|_| bad_encoding().at("secret"))
}

/// What whoever brings a secret may insist on.
fn is_weakness(code: &str) -> bool {
    matches!(
        code,
        "secret_known" | "secret_too_short" | "secret_low_entropy"
    )
}

fn secret_known() -> Invalid {
    Invalid::new("secret_known", "is a secret that everybody knows").hint(GENERATE)
}

fn check(text: &str) -> Result<(), Invalid> {
    if KNOWN
        .iter()
        .any(|known| known.eq_ignore_ascii_case(text.trim()))
    {
        return Err(secret_known());
    }
    is_text(text)?;
    if text.len() < MIN_SECRET {
        return Err(Invalid::new(
            "secret_too_short",
            format!("is shorter than {MIN_SECRET} characters"),
        )
        .hint(GENERATE));
    }
    if is_guessable(text.as_bytes()) {
        return Err(low_entropy());
    }
    Ok(())
}

/// Whether it can be a secret at all, however weak.
fn is_text(text: &str) -> Result<(), Invalid> {
    if text.starts_with("whsk_") || text.starts_with("whpk_") || text.contains("-----BEGIN ") {
        return Err(Invalid::new(
            "wrong_key_kind",
            "is a key of a pair, where a shared secret is due",
        )
        .hint(GENERATE));
    }
    let ends_in_space = text.starts_with(' ') || text.ends_with(' ');
    if ends_in_space || !text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        return Err(bad_encoding());
    }
    if text.len() > MAX_SECRET {
        return Err(Invalid::new(
            "secret_too_long",
            format!("is longer than {MAX_SECRET} characters"),
        ));
    }
    Ok(())
}

fn low_entropy() -> Invalid {
    Invalid::new(
        "secret_low_entropy",
        "is too regular: it repeats itself or counts up",
    )
    .hint(GENERATE)
}

fn bad_encoding() -> Invalid {
    Invalid::new(
        "bad_secret_encoding",
        "holds something else than visible ASCII characters, or a space at an end",
    )
    .hint("give it as text, without quotes or line breaks; binary keys as hex or base64")
}

/// What people type before they have a secret, and the examples of documentations.
const KNOWN: &[&str] = &[
    "secret",
    "changeme",
    "change-me",
    "password",
    "test",
    "webhook-secret",
    "mysecret",
    "my-secret",
    "mysecretkey",
    "your-secret",
    "your_secret",
    "your-secret-here",
    "your_secret_here",
    "your-webhook-secret",
    "your_webhook_secret",
    "your-webhook-secret-here",
    "your_webhook_secret_here",
    "<your-webhook-secret-here>",
    "replace-me-with-a-real-secret",
    "this-is-a-very-secret-string",
    "It's a Secret to Everybody",             // the example of GitHub
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", // the example of Standard Webhooks
];

/// Fewer than 6 different characters, one part repeated, or mostly steps to a neighbour (`abcdef…`). A random text of 24
/// hex digits is taken for guessable less than once in a million.
fn is_guessable(text: &[u8]) -> bool {
    let mut seen = [false; 256];
    text.iter().for_each(|&b| seen[usize::from(b)] = true);
    let different = seen.iter().filter(|&&s| s).count();
    let repeats =
        (1..=text.len() / 2).any(|part| text.iter().zip(&text[part..]).all(|(a, b)| a == b));
    let steps = text
        .windows(2)
        .filter(|pair| pair[0].abs_diff(pair[1]) <= 1)
        .count();
    different < 6 || repeats || steps * 4 >= text.len() * 3
}

/// What a sealed secret belongs to: it opens only in its own row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretRow<'a> {
    /// The table it is kept in.
    pub table: &'a str,
    /// The row's key, whole.
    pub id: &'a [u8],
}

/// The key that secrets are sealed with (XChaCha20-Poly1305). It cannot be printed; it is wiped when dropped.
///
/// # Examples
/// ```
/// use tharsis_core::secret::{SealingKey, Secret, SecretRow};
///
/// let key = SealingKey::new([1; 32]);
/// let row = SecretRow { table: "secret", id: b"row 1" };
/// let secret = Secret::generate([2; 20]);
///
/// let sealed = key.seal([3; 24], &row, &secret);
/// assert_eq!(key.open(&row, &sealed)?, secret);
///
/// let other = SecretRow { table: "secret", id: b"row 2" };
/// assert_eq!(key.open(&other, &sealed).unwrap_err().code, "secret_unreadable");
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
#[derive(Clone)]
pub struct SealingKey(Zeroizing<[u8; 32]>);

impl SealingKey {
    /// A key of these bytes, which are random.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// As [`Keyring::parse`] reads it: 64 hex digits.
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(*self.0))
    }

    /// Names the key without giving it away: the first 8 bytes, in hex, of a SHA-256 that is used for nothing else.
    pub fn id(&self) -> String {
        let digest = Sha256::new()
            .chain_update(b"tharsis sealing key id\0")
            .chain_update(*self.0)
            .finalize();
        hex::encode(&digest[..8])
    }

    /// Seals a secret for its row. `nonce` is random and used once; it stands before the ciphertext.
    pub fn seal(&self, nonce: [u8; 24], row: &SecretRow<'_>, secret: &Secret) -> Vec<u8> {
        let payload = Payload {
            msg: secret.expose().as_bytes(),
            aad: &self.associated(row),
        };
        let ciphertext = self
            .cipher()
            .encrypt(&XNonce::from(nonce), payload)
            .expect("a secret of some thousand bytes is far below the cipher's limit of 256 GiB");
        [nonce.as_slice(), &ciphertext].concat()
    }

    /// Opens what was sealed for this row with this key.
    ///
    /// # Errors
    /// `secret_unreadable` when a bit was changed, or it was sealed for another row or with another key.
    pub fn open(&self, row: &SecretRow<'_>, sealed: &[u8]) -> Result<Secret, Invalid> {
        let unreadable = || {
            Invalid::new("secret_unreadable", "the sealed secret does not open")
                .hint("give the process the key that it was sealed with, or rotate the secret")
        };
        let (nonce, ciphertext) = sealed.split_first_chunk::<24>().ok_or_else(unreadable)?;
        let payload = Payload {
            msg: ciphertext,
            aad: &self.associated(row),
        };
        let opened = self
            .cipher()
            .decrypt(&XNonce::from(*nonce), payload)
            .map_err(|_| unreadable())?;
        match String::from_utf8(opened) {
            Ok(text) => Ok(Secret(Zeroizing::new(text))),
            Err(error) => {
                error.into_bytes().zeroize();
                Err(unreadable())
            }
        }
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.0).into())
    }

    /// Table, row and key, each behind its length, so that no two of them run together.
    fn associated(&self, row: &SecretRow<'_>) -> Vec<u8> {
        let mut bytes = b"tharsis secret 1".to_vec();
        for part in [row.table.as_bytes(), row.id, self.id().as_bytes()] {
            bytes.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}
