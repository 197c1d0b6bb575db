//! Headers that an admin adds to the requests of a subscription.

use crate::{Invalid, json::path_step, secret::Secret};

/// The most headers that one subscription may add.
pub const MOST_HEADERS: usize = 16;

/// The longest name and the longest value, in bytes.
const LONGEST_NAME: usize = 64;
const LONGEST_VALUE: usize = 4_096;

/// A header of a subscription's own. Its value is kept like a secret, for it often is one.
///
/// # Examples
/// ```
/// use tharsis_core::subscription::header::OwnHeader;
///
/// let header = OwnHeader::basic("shop", "opensesame")?;
/// assert_eq!((header.name(), header.value().expose()), ("authorization", "Basic c2hvcDpvcGVuc2VzYW1l"));
/// assert_eq!(OwnHeader::new("Host", "shop.example").unwrap_err().code, "reserved_header");
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnHeader {
    name: Box<str>,
    value: Secret,
}

impl OwnHeader {
    /// Any header that is not reserved.
    ///
    /// # Errors
    /// `bad_header_name`, `reserved_header`; `bad_header_value`, which does not repeat the value.
    pub fn new(name: &str, value: &str) -> Result<Self, Invalid> {
        let at = |e: Invalid| e.at(path_step(name)).at("headers");
        is_value(value).map_err(at)?;
        let name = self::name(name).map_err(at)?;
        Ok(Self {
            name: name.into(),
            value: Secret::unchecked(value.to_owned()),
        })
    }

    /// Basic credentials (RFC 7617).
    ///
    /// # Errors
    /// `bad_credentials` for a user name with a colon, and for control characters.
    pub fn basic(user: &str, password: &str) -> Result<Self, Invalid> {
        use base64::{Engine, prelude::BASE64_STANDARD};

        let refused =
            |field, message: &'static str| Err(Invalid::new("bad_credentials", message).at(field));
        if user.contains(':') || user.chars().any(char::is_control) || user.len() > 255 {
            return refused(
                "basic_user",
                "holds a colon or a control character, or is longer than 255 bytes",
            );
        }
        if password.chars().any(char::is_control) || password.len() > 1_024 {
            return refused(
                "basic_password",
                "holds a control character, or is longer than 1,024 bytes",
            );
        }
        let credentials = BASE64_STANDARD.encode(format!("{user}:{password}"));
        Self::new("authorization", &format!("Basic {credentials}"))
    }

    /// A bearer token (RFC 6750).
    ///
    /// # Errors
    /// `bad_credentials` for anything but the characters of a token.
    pub fn bearer(token: &str) -> Result<Self, Invalid> {
        let is_token = !token.is_empty()
            && token
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b));
        if !is_token {
            return Err(Invalid::new(
                "bad_credentials",
                "is no bearer token: letters, digits and -._~+/= alone",
            )
            .at("bearer"));
        }
        Self::new("authorization", &format!("Bearer {token}"))
    }

    /// What the store kept.
    pub fn stored(name: String, value: Secret) -> Self {
        Self {
            name: name.into(),
            value,
        }
    }

    /// In lower case.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it says.
    pub fn value(&self) -> &Secret {
        &self.value
    }
}

/// A name in lower case that is not reserved: those that the connection, the client and the signature live by.
pub(crate) fn name(text: &str) -> Result<String, Invalid> {
    let is_name = (1..=LONGEST_NAME).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !is_name {
        return Err(
            Invalid::new("bad_header_name", "is no name of a header").hint(format!(
                "1 to {LONGEST_NAME} letters, digits, hyphens or underscores"
            )),
        );
    }
    let name = text.to_ascii_lowercase();
    let is_reserved = RESERVED.contains(&&*name)
        || ["proxy-", "sec-", "content-"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
    if is_reserved {
        return Err(
            Invalid::new("reserved_header", "is a header that requests live by")
                .hint("take a name of your own: X-Shop-Token"),
        );
    }
    Ok(name)
}

/// What a request cannot do without, and what would change how it is read (RFC 9110, section 7.6.1; RFC 9112).
const RESERVED: &[&str] = &[
    "accept",
    "accept-encoding",
    "connection",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
];

/// Visible ASCII, spaces inside.
pub(crate) fn is_value(text: &str) -> Result<(), Invalid> {
    let fits = (1..=LONGEST_VALUE).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
        && text.trim() == text;
    if fits {
        return Ok(());
    }
    Err(
        Invalid::new("bad_header_value", "is no value of a header").hint(format!(
            "1 to {LONGEST_VALUE} visible ASCII characters, without a space at either end"
        )),
    )
}
