//! Several sealing keys beside each other, so that one can take the place of another while deliveries go on.

use zeroize::Zeroizing;

use super::SealingKey;
use crate::Invalid;

/// The sealing keys that a process has, in the order in which they were written down: the newest is the last. None of them
/// can be printed; each is wiped when dropped.
///
/// # Examples
/// ```
/// use tharsis_core::secret::Keyring;
///
/// let text = format!("{} # the first\n{}\n", "5a".repeat(32), "b7".repeat(32));
/// let keys = Keyring::parse(text.as_bytes())?;
/// assert_eq!(keys.iter().count(), 2);
/// assert_eq!(format!("{keys:?}"), "Keyring([[REDACTED], [REDACTED]])");
///
/// let refused = Keyring::parse(b"hunter2").unwrap_err();
/// assert_eq!((refused.code, &*refused.message), ("bad_key", "has no key of 64 hex digits in line 1"));
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
#[derive(Debug, Clone)]
pub struct Keyring(Vec<SealingKey>);

impl Keyring {
    /// Reads keys of 64 hex digits each, with white space or commas between them. What follows a `#` in its line is a
    /// remark, in which no key may stand after a comma: whoever wrote all of them in one line meant it to count.
    ///
    /// # Errors
    /// `bad_key` for anything else, and where there is no key; it does not repeat what was there.
    pub fn parse(text: &[u8]) -> Result<Self, Invalid> {
        let bad = |message: String| {
            Invalid::new("bad_key", message)
                .hint("keys are 64 hex digits each: restore them from where they are kept safe")
        };
        let mut keys: Vec<SealingKey> = Vec::new();
        for (number, line) in (1..).zip(text.split(|&byte| byte == b'\n')) {
            let mut parts = line.splitn(2, |&byte| byte == b'#');
            let line = parts.next().unwrap_or_default();
            let remark = parts.next().unwrap_or_default();
            let comma = remark.iter().position(|&byte| byte == b',');
            let after = comma.map_or(&[][..], |comma| &remark[comma..]);
            let mut words = after.split(|&byte| byte == b',' || byte.is_ascii_whitespace());
            if words.any(is_key) {
                return Err(
                    bad(format!("has a key after a # and a comma in line {number}"))
                        .hint("leave out the remark, or begin another line for the key"),
                );
            }
            let words = line.split(|&byte| byte.is_ascii_whitespace() || byte == b',');
            for word in words.filter(|word| !word.is_empty()) {
                let mut bytes = Zeroizing::new([0; 32]);
                hex::decode_to_slice(word, &mut *bytes)
                    .map_err(|_| bad(format!("has no key of 64 hex digits in line {number}")))?;
                let key = SealingKey(bytes);
                if !keys.iter().any(|other| other.id() == key.id()) {
                    keys.push(key);
                }
            }
        }
        if keys.is_empty() {
            return Err(bad("holds no key".to_owned()));
        }
        Ok(Self(keys))
    }

    /// The key of this id.
    pub fn find(&self, id: &str) -> Option<&SealingKey> {
        self.0.iter().find(|key| key.id() == id)
    }

    /// Each of them, the newest last.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &SealingKey> {
        self.0.iter()
    }
}

fn is_key(word: &[u8]) -> bool {
    word.len() == 64 && word.iter().all(u8::is_ascii_hexdigit)
}
