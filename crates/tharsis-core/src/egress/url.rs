use std::{fmt, net::Ipv6Addr};

use ::url::Url;

use super::{Policy, host};
use crate::Invalid;

/// The longest URL, in bytes.
pub const MAX_URL: usize = 2048;

/// A payload URL that passed the rules: HTTPS, an ordinary host name, an allowed port.
///
/// It keeps the text exactly as the admin gave it (one signature scheme signs that) beside the canonical form, which
/// is what is dialled. Path and query may be what lets the sender in, so neither `Display` nor `Debug` shows them.
#[derive(Clone, PartialEq, Eq)]
pub struct PayloadUrl {
    given: String,
    canonical: Url,
}

impl PayloadUrl {
    /// Judges what an admin gave: the rules on the bytes first, then the host and port against the policy, then that
    /// the parser which makes the connection reads what the rules read.
    ///
    /// # Errors
    /// Field `url`; the codes are those of the rules (`scheme_not_https`, `userinfo_present`, `host_ip_literal`,
    /// `port_not_allowed`, …).
    pub fn parse(raw: &[u8], policy: &Policy) -> Result<Self, Invalid> {
        let checked = || {
            let parts = Parts::read(raw)?;
            host::permitted(policy, &parts.host)?;
            if !policy.allow_ports.contains(&parts.port) {
                return Err(port_not_allowed(policy, parts.port));
            }
            parts.url()
        };
        checked().map_err(|e: Invalid| e.at("url"))
    }

    /// Reads back what was accepted once, whatever the policy says today: only the rules that never change apply.
    /// Which addresses are dialled is judged anew at each connection.
    ///
    /// # Errors
    /// As [`Self::parse`], when the text breaks the structure of a URL.
    pub fn stored(given: &str) -> Result<Self, Invalid> {
        Parts::read(given.as_bytes())
            .and_then(|parts| parts.url())
            .map_err(|e| e.at("url"))
    }

    /// The text as it was registered, byte for byte.
    pub fn given(&self) -> &str {
        &self.given
    }

    /// What is dialled.
    pub fn canonical(&self) -> &Url {
        &self.canonical
    }

    /// The host name, in lower case.
    pub fn host(&self) -> &str {
        self.canonical.host_str().unwrap_or_default()
    }

    /// The port, 443 where the URL names none.
    pub fn port(&self) -> u16 {
        self.canonical.port().unwrap_or(443)
    }
}

/// `https://hooks.example.com/…`: who is told, without what may let the sender in.
impl fmt::Display for PayloadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.host())?;
        if let Some(port) = self.canonical.port() {
            write!(f, ":{port}")?;
        }
        let bare = self.canonical.path() == "/" && self.canonical.query().is_none();
        f.write_str(if bare { "/" } else { "/…" })
    }
}

impl fmt::Debug for PayloadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PayloadUrl({self})")
    }
}

/// A URL as its bytes say it, by RFC 3986 and nothing more lenient.
struct Parts<'a> {
    text: &'a str,
    host: String,
    port: u16,
    path: &'a str,
    /// With its question mark.
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn read(raw: &'a [u8]) -> Result<Self, Invalid> {
        let text = characters(raw)?;
        let rest = after_scheme(text)?;
        if rest.contains('#') {
            return Err(Invalid::new("fragment_present", "the URL has a fragment")
                .hint("leave away what begins with #: it is never sent"));
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (host, port) = host_and_port(authority)?;
        let host = host::structure(host)?;
        let port = port.map_or(Ok(443), port_number)?;
        path_and_query(target)?;
        let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
        Ok(Self {
            text,
            host,
            port,
            path,
            query,
        })
    }

    /// What the `url` crate makes of it, which must be what we make of it: it does not read every path as the WHATWG has
    /// it (`//a:/../b`).
    fn url(self) -> Result<PayloadUrl, Invalid> {
        let ours = self.canonical();
        let canonical = Url::parse(self.text)
            .ok()
            .filter(|theirs| theirs.as_str() == ours)
            .ok_or_else(|| {
                Invalid::new(
                    "url_malformed",
                    "parsers do not agree on what the URL means",
                )
                .hint("write it plainly: https://host/path")
            })?;
        Ok(PayloadUrl {
            given: self.text.to_owned(),
            canonical,
        })
    }

    fn canonical(&self) -> String {
        let port = match self.port {
            443 => String::new(),
            port => format!(":{port}"),
        };
        let path = without_dots(self.path);
        // The one character that the WHATWG escapes in a query, of those that are let through.
        let query = self.query.replace('\'', "%27");
        format!("https://{}{port}{path}{query}", self.host)
    }
}

/// The path with its dot segments resolved (RFC 3986, 5.2.4), also those that are written with an escape.
fn without_dots(path: &str) -> String {
    let mut kept = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        match plain.as_str() {
            "." => {}
            ".." => drop(kept.pop()),
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if segments.peek().is_none() {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

/// Which characters the text is made of. Parsers delete, map or repair the refused ones, each in its own way.
fn characters(raw: &[u8]) -> Result<&str, Invalid> {
    if raw.is_empty() {
        return Err(
            Invalid::new("url_empty", "there is no URL").hint("give one: https://host/path")
        );
    }
    if raw.len() > MAX_URL {
        return Err(Invalid::new(
            "url_too_long",
            format!("the URL is longer than {MAX_URL} bytes"),
        ));
    }
    let text = std::str::from_utf8(raw)
        .map_err(|_| Invalid::new("url_not_utf8", "the URL is not UTF-8"))?;
    if text.bytes().any(|b| b.is_ascii_control()) {
        return Err(Invalid::new(
            "url_control_char",
            "the URL holds a control character, such as a line break",
        )
        .hint("copy it again, without line breaks"));
    }
    if !text.is_ascii() {
        return Err(
            Invalid::new("url_not_ascii", "the URL holds a character outside ASCII")
                .hint("write the host as its A-label (xn--…) and percent-encode the rest"),
        );
    }
    if text.contains(' ') {
        return Err(Invalid::new("url_whitespace", "the URL holds a space")
            .hint("leave it away, or write %20 where it belongs to the path"));
    }
    if text.contains('\\') {
        return Err(Invalid::new("url_backslash", "the URL holds a backslash")
            .hint("write slashes; a backslash in the path is %5C"));
    }
    Ok(text)
}

/// What follows `https://`.
fn after_scheme(text: &str) -> Result<&str, Invalid> {
    let missing = || {
        Invalid::new("scheme_missing", "the URL does not begin with https://")
            .hint("give the whole URL: https://host/path")
    };
    let (scheme, rest) = text.split_once(':').ok_or_else(missing)?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if !is_scheme {
        return Err(missing());
    }
    if !scheme.eq_ignore_ascii_case("https") {
        return Err(
            Invalid::new("scheme_not_https", "the URL is not an https:// URL")
                .hint("serve the receiver over HTTPS and give the whole URL: https://host/path"),
        );
    }
    rest.strip_prefix("//").ok_or_else(|| {
        Invalid::new("url_malformed", "two slashes must follow https:")
            .hint("write it plainly: https://host/path")
    })
}

/// The host as written, and the port where there is a colon.
fn host_and_port(authority: &str) -> Result<(&str, Option<&str>), Invalid> {
    if authority.contains('@') {
        return Err(Invalid::new(
            "userinfo_present",
            "the URL holds a user or password before an @",
        )
        .hint("leave it away: receivers know us by the signature"));
    }
    if authority.contains('%') {
        return Err(Invalid::new(
            "host_percent_encoded",
            "the host or port is percent-encoded",
        )
        .hint("write the host plainly"));
    }
    if let Some(inner) = authority.strip_prefix('[') {
        let closed = inner.split_once(']').filter(|(address, after)| {
            address.parse::<Ipv6Addr>().is_ok() && (after.is_empty() || after.starts_with(':'))
        });
        return Err(closed.map_or_else(host::invalid, |_| host::ip_literal()));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    if host.is_empty() {
        return Err(Invalid::new("host_empty", "the URL has no host")
            .hint("write it plainly: https://host/path"));
    }
    Ok((host, port))
}

/// 1 to 65535 in plain digits, without a leading zero.
fn port_number(text: &str) -> Result<u16, Invalid> {
    let plain = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|_| plain)
        .ok_or_else(|| Invalid::new("port_malformed", "the port is no number from 1 to 65535"))
}

fn port_not_allowed(policy: &Policy, port: u16) -> Invalid {
    let allowed: Vec<String> = policy.allow_ports.iter().map(u16::to_string).collect();
    Invalid::new("port_not_allowed", format!("port {port} is not allowed")).hint(format!(
        "use one of {}, or let the operator allow it: --egress-allow-port {port}",
        allowed.join(", ")
    ))
}

/// Only what RFC 3986 allows in a path and a query, with whole escapes that hide no control character.
fn path_and_query(target: &str) -> Result<(), Invalid> {
    let mut bytes = target.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => escape(bytes.next(), bytes.next())?,
            b if b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?".contains(&b) => {}
            b => {
                return Err(Invalid::new(
                    "url_illegal_char",
                    format!("the URL holds {:?}, which must be encoded", char::from(b)),
                )
                .hint(format!("write it as %{b:02X}")));
            }
        }
    }
    Ok(())
}

fn escape(high: Option<u8>, low: Option<u8>) -> Result<(), Invalid> {
    let digit = |b: Option<u8>| char::from(b?).to_digit(16);
    let (Some(high), Some(low)) = (digit(high), digit(low)) else {
        return Err(Invalid::new(
            "url_bad_escape",
            "a percent sign is not followed by two hexadecimal digits",
        )
        .hint("a percent sign itself is %25"));
    };
    let value = high * 16 + low;
    if value < 0x20 || value == 0x7f {
        return Err(Invalid::new(
            "url_encoded_control",
            "the URL holds an encoded control character",
        )
        .hint("leave it away: some servers decode it into a line break"));
    }
    Ok(())
}
