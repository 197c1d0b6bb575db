//! Access tokens: what a program proves itself with, and what it may do then.

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::{ClientId, Invalid, bounds};

/// What every token begins with, so that whoever searches code and logs for secrets finds it.
const SCHEME: &str = "tharsis_";

/// Of 32 bytes, in base64 without padding.
const CHARACTERS: usize = 43;

/// The longest name of a token, in characters.
pub const MAX_NAME: usize = 128;

/// An access token: `tharsis_` and 256 random bits. It cannot be printed; it is compared in constant time and wiped when
/// dropped.
///
/// # Examples
/// ```
/// use tharsis_core::token::Token;
///
/// let token = Token::generate([7; 32]);
/// assert_eq!(token.expose(), "tharsis_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc");
/// assert_eq!(token.prefix(), "BwcHBwcH");
/// assert_eq!(format!("{token:?}"), "[REDACTED]");
/// assert_eq!(Token::parse(token.expose())?, token);
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// A new token of these random bytes.
    ///
    /// # Examples
    /// ```
    /// use tharsis_core::token::Token;
    ///
    /// assert_eq!(Token::generate([0; 32]).expose().len(), 51);
    /// ```
    pub fn generate(mut random: [u8; 32]) -> Self {
        // As long as it gets, so that it is not moved as it grows and leaves a copy behind.
        let mut text = Zeroizing::new(String::with_capacity(SCHEME.len() + CHARACTERS));
        text.push_str(SCHEME);
        BASE64_URL_SAFE_NO_PAD.encode_string(random, &mut text);
        random.zeroize();
        Self(text)
    }

    /// Reads a token as it was shown: to the letter, without spaces around it. The error never repeats what was given.
    ///
    /// # Errors
    /// `bad_token`.
    ///
    /// # Examples
    /// ```
    /// use tharsis_core::token::Token;
    ///
    /// assert_eq!(Token::parse("hunter2").unwrap_err().code, "bad_token");
    /// ```
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        // What is too long is not decoded. Each token has one spelling: bits that are left over must be zero.
        let is_token = text
            .strip_prefix(SCHEME)
            .filter(|encoded| encoded.len() == CHARACTERS)
            .and_then(|encoded| BASE64_URL_SAFE_NO_PAD.decode(encoded).ok())
            .map(Zeroizing::new)
            .is_some();
        if is_token {
            return Ok(Self(Zeroizing::new(text.to_owned())));
        }
        Err(
            Invalid::new("bad_token", "is no access token").hint(format!(
                "it is `{SCHEME}` and {CHARACTERS} characters, as `tharsis token create` shows it"
            )),
        )
    }

    /// The whole of it, for whoever is to have it.
    ///
    /// # Examples
    /// ```
    /// use tharsis_core::token::Token;
    ///
    /// assert!(Token::generate([7; 32]).expose().starts_with("tharsis_"));
    /// ```
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The first 8 characters after `tharsis_`, by which people tell tokens apart. They may be shown: 208 random bits are
    /// left.
    ///
    /// # Examples
    /// ```
    /// use tharsis_core::token::Token;
    ///
    /// assert_eq!(Token::generate([7; 32]).prefix(), "BwcHBwcH");
    /// ```
    pub fn prefix(&self) -> &str {
        &self.0[SCHEME.len()..SCHEME.len() + 8]
    }

    /// What is kept of it: the SHA-256 of its text.
    ///
    /// # Examples
    /// ```
    /// use tharsis_core::token::Token;
    ///
    /// let token = Token::generate([7; 32]);
    /// assert_eq!(Token::parse(token.expose())?.hash(), token.hash());
    /// # Ok::<(), tharsis_core::Invalid>(())
    /// ```
    pub fn hash(&self) -> [u8; 32] {
        // Slow hashes with salt are for what people choose and others can guess. Nobody goes through 256 random bits, however
        // fast it is; and a hash without salt is found by an index, at the cost of a microsecond for each request.
        Sha256::digest(self.0.as_bytes()).into()
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// That a token may have this name: 1 to [`MAX_NAME`] characters, none of them a control.
///
/// # Errors
/// `empty`, `too_long`, `control_character`.
///
/// # Examples
/// ```
/// use tharsis_core::token::check_name;
///
/// check_name("campaign engine")?;
/// assert_eq!(check_name(" ").unwrap_err().code, "empty");
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
pub fn check_name(name: &str) -> Result<(), Invalid> {
    bounds::text(name, MAX_NAME)
}

/// What whoever holds a token is there for.
///
/// # Examples
/// ```
/// use tharsis_core::token::{Permission, Role};
///
/// let role: Role = "operator".parse()?;
/// assert!(role.may(Permission::Operate) && role.may(Permission::Read));
/// assert!(!role.may(Permission::Administer));
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Publishes events, and nothing else.
    Publisher,
    /// Reads everything but secrets.
    Viewer,
    /// What a viewer may, and replays, retries and cancels; pauses and resumes subscriptions and campaigns; sends tests.
    Operator,
    /// Everything: subscriptions and tokens too, and publishing.
    Admin,
}

impl Role {
    /// Every one, the one that may least first.
    pub const ALL: [Self; 4] = [Self::Publisher, Self::Viewer, Self::Operator, Self::Admin];

    /// The word for it in SQL, JSON and the CLI.
    ///
    /// # Examples
    /// ```
    /// use tharsis_core::token::Role;
    ///
    /// assert_eq!(Role::ALL.map(Role::as_str), ["publisher", "viewer", "operator", "admin"]);
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Whether it may do this.
    ///
    /// # Examples
    /// ```
    /// use tharsis_core::token::{Permission, Role};
    ///
    /// assert!(Role::Publisher.may(Permission::Publish));
    /// assert!(!Role::Publisher.may(Permission::Read));
    /// ```
    pub const fn may(self, permission: Permission) -> bool {
        use Permission::{Administer, Operate, Publish, Read};
        // Whole, so that neither a new role nor a new permission is given anything unasked.
        match (self, permission) {
            (Self::Publisher, Publish) => true,
            (Self::Publisher, Read | Operate | Administer) => false,
            (Self::Viewer, Read) => true,
            (Self::Viewer, Publish | Operate | Administer) => false,
            (Self::Operator, Read | Operate) => true,
            (Self::Operator, Publish | Administer) => false,
            (Self::Admin, Publish | Read | Operate | Administer) => true,
        }
    }
}

impl FromStr for Role {
    type Err = Invalid;

    /// # Errors
    /// `bad_role`.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let known = Self::ALL.into_iter().find(|role| role.as_str() == text);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            Invalid::new("bad_role", "is no role").hint(format!("choose one of: {names}"))
        })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What may be allowed to somebody.
///
/// # Examples
/// ```
/// use tharsis_core::token::{Permission, Role};
///
/// let who: Vec<Role> = Role::ALL.into_iter().filter(|role| role.may(Permission::Read)).collect();
/// assert_eq!(who, [Role::Viewer, Role::Operator, Role::Admin]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// To publish events.
    Publish,
    /// To read everything but secrets.
    Read,
    /// To replay, retry and cancel, to pause and resume subscriptions and campaigns, to send tests.
    Operate,
    /// To add, change and remove subscriptions, to make and revoke tokens, to erase.
    Administer,
}

/// What a token allows: a role, at one client or at all of them.
///
/// # Examples
/// ```
/// use tharsis_core::{ClientId, token::{Grant, Role}};
///
/// let shop: ClientId = "36011017-0e00-4e29-a054-7a1fbb8b60a2".parse()?;
/// let other: ClientId = "b4aeba4e-a4c0-4896-866a-56f8bcb372fc".parse()?;
/// let grant = Grant { role: Role::Viewer, client: Some(shop) };
/// assert!(grant.covers(shop) && !grant.covers(other));
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// What it may do.
    pub role: Role,
    /// At this client alone; `None`: at every one, and what is of none.
    pub client: Option<ClientId>,
}

impl Grant {
    /// Whether it is for what is of this client.
    ///
    /// # Examples
    /// ```
    /// use tharsis_core::token::{Grant, Role};
    ///
    /// let everywhere = Grant { role: Role::Admin, client: None };
    /// assert!(everywhere.covers("36011017-0e00-4e29-a054-7a1fbb8b60a2".parse()?));
    /// # Ok::<(), tharsis_core::Invalid>(())
    /// ```
    pub fn covers(&self, client: ClientId) -> bool {
        self.client.is_none_or(|own| own == client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "tharsis_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    fn token() -> Token {
        Token::generate(std::array::from_fn(|at| u8::try_from(at).unwrap_or(0)))
    }

    #[test]
    fn a_token_is_read_as_it_was_shown() {
        let token = token();
        assert_eq!(token.expose(), TEXT);
        assert_eq!(token.prefix(), "AAECAwQF");
        assert_eq!(Token::parse(TEXT), Ok(token.clone()));
        assert_ne!(Token::generate([9; 32]), token);
        assert_eq!(format!("{token:?} {token:#?}"), "[REDACTED] [REDACTED]");
        // It can stand in a URL, a header and a shell as it is.
        let highest = Token::generate([0xfb; 32]);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!(highest.expose().chars().all(is_plain));
        assert_eq!(Token::parse(highest.expose()), Ok(highest));
    }

    /// The digest is what `printf '%s' TOKEN | sha256sum` prints.
    #[test]
    fn what_is_kept_is_the_digest_of_its_text() {
        assert_eq!(
            hex::encode(token().hash()),
            "53f512c74e84d9e149976dbeecc11e07852ff04fb40c22750f00a8e9252a954d"
        );
        assert_ne!(token().hash(), Token::generate([9; 32]).hash());
    }

    #[test]
    fn what_is_no_token_is_refused_and_not_repeated() {
        let code = &TEXT[SCHEME.len()..];
        for wrong in [
            "",
            "tharsis_",
            code,
            &TEXT[..TEXT.len() - 1],
            &format!("{TEXT}A"),
            &format!("{TEXT}="),
            &format!(" {TEXT}"),
            &format!("{TEXT}\n"),
            &format!("Bearer {TEXT}"),
            &format!("Tharsis_{code}"),
            &TEXT.replace("AAEC", "AA+C"),
            &TEXT.replace("AAEC", "AA/C"),
            &TEXT.replace("AAEC", "AAé"),
            // Another spelling of the same bytes.
            &TEXT.replace("Hh8", "Hh9"),
            &"tharsis_".repeat(100_000),
        ] {
            let refused = Token::parse(wrong).expect_err("no token");
            assert_eq!(
                (refused.code, refused.field.as_deref()),
                ("bad_token", None)
            );
            let told = format!("{refused} {refused:?}");
            assert!(!told.contains("AAEC") && !told.contains("AwQF"), "{told}");
        }
    }

    /// Every role and every permission.
    #[test]
    fn who_may_do_what() {
        use Permission::{Administer, Operate, Publish, Read};
        let table = Role::ALL.map(|role| {
            let may = [Publish, Read, Operate, Administer].map(|permission| role.may(permission));
            (role.as_str(), may)
        });
        assert_eq!(
            table,
            [
                ("publisher", [true, false, false, false]),
                ("viewer", [false, true, false, false]),
                ("operator", [false, true, true, false]),
                ("admin", [true, true, true, true]),
            ]
        );
    }

    #[test]
    fn a_role_is_read_from_its_word_alone() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
            assert_eq!(role.to_string(), role.as_str());
        }
        for wrong in ["", "Admin", " admin", "root", "publisher,admin"] {
            let refused = wrong.parse::<Role>().expect_err("no role");
            assert_eq!(refused.code, "bad_role");
            let hint = refused.hint.unwrap_or_default();
            assert_eq!(hint, "choose one of: publisher, viewer, operator, admin");
        }
    }

    #[test]
    fn a_grant_covers_its_client_or_all_of_them() {
        let client = |n: u8| format!("b4aeba4e-a4c0-4896-866a-0000000000{n:02x}").parse();
        let (ours, theirs): (ClientId, ClientId) =
            (client(1).expect("a UUID"), client(2).expect("a UUID"));
        for role in Role::ALL {
            let of_ours = Grant {
                role,
                client: Some(ours),
            };
            assert!(of_ours.covers(ours) && !of_ours.covers(theirs));
            let everywhere = Grant { role, client: None };
            assert!(everywhere.covers(ours) && everywhere.covers(theirs));
        }
    }

    #[test]
    fn names_are_bounded() {
        let code = |name: &str| check_name(name).map_err(|refused| refused.code);
        assert_eq!(code("a"), Ok(()));
        assert_eq!(code(&"ü".repeat(MAX_NAME)), Ok(()));
        assert_eq!(code(&"ü".repeat(MAX_NAME + 1)), Err("too_long"));
        assert_eq!(code(""), Err("empty"));
        assert_eq!(code("a\u{1b}[2J"), Err("control_character"));
        assert_eq!(code("a\nb"), Err("control_character"));
    }
}
