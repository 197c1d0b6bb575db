use std::{fmt, str::FromStr};

use crate::Invalid;

/// Where mail goes: `ops@shop.example`.
///
/// # Examples
/// ```
/// use tharsis_core::alert::MailAddress;
///
/// let address: MailAddress = "ops@shop.example".parse()?;
/// assert_eq!(address.as_str(), "ops@shop.example");
/// for wrong in ["ops", "ops@", "a b@shop.example", "ops@shop..example", "ops@shop.example\r\nBcc: x@y.example"] {
///     assert_eq!(wrong.parse::<MailAddress>().unwrap_err().code, "bad_address");
/// }
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailAddress(String);

impl MailAddress {
    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A dot-atom, `@`, a host name (RFC 5321, without quotes, comments and literals, which no address of a person has).
impl FromStr for MailAddress {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_good = text.len() <= 254
            && text.rsplit_once('@').is_some_and(|(local, domain)| {
                local.len() <= 64
                    && local.split('.').all(is_atom)
                    && domain.split('.').all(is_label)
            });
        if is_good {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new("bad_address", "is no mail address")
                .hint("write it like ops@shop.example"))
        }
    }
}

impl fmt::Display for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_atom(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
    !text.is_empty() && text.bytes().all(fits)
}

fn is_label(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(fits)
        && !text.starts_with('-')
        && !text.ends_with('-')
}
