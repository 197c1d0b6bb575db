use std::{borrow::Cow, time::Duration};

use super::{
    Algorithm, Batch, Check, Content, DigestText, Encoding, Fallback, Header, HeaderValue, KeyKind,
    PANEL, Profile, Profiles, Requirement, Setting, Signature, Success, preset::general,
};
use crate::{
    Invalid,
    event::{EventType, MAX_PAYLOAD},
    json::path_step,
    retry::MAX_RETRIES,
    signer,
    subscription::header,
    time::{format_duration, parse_duration},
};

/// The longest total deadline of a request that a profile may give.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The most deliveries of one request, and the longest that the first may wait for others.
const MOST_ITEMS: u32 = 1_000;
const LONGEST_LINGER: Duration = Duration::from_secs(60);

/// What an operator writes to declare a profile, not yet checked. What is left out: JSON as it is, under no signature
/// where no header is named for one; a HEAD for the check, any 2xx, 10 s, all events, one delivery a request.
///
/// # Examples
/// ```
/// use tharsis_core::profile::Declaration;
///
/// let acme = Declaration {
///     signature_header: Some("X-Acme-Signature".into()),
///     algorithm: Some("hmac-sha512".into()),
///     digest: Some("base64".into()),
///     ..Declaration::default()
/// };
/// assert_eq!(acme.profile("acme")?.signature.map(|s| s.header), Some("x-acme-signature".into()));
///
/// let odd = Declaration { algorithm: Some("md5".into()), ..acme };
/// assert_eq!(odd.profile("acme").unwrap_err().field.as_deref(), Some("profiles.acme.algorithm"));
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Declaration {
    /// The `Content-Type` of a request.
    pub content_type: Option<String>,
    /// `json`, `enveloped` or `form`.
    pub encoding: Option<String>,
    /// The field of a form; `data` if absent.
    pub form_field: Option<String>,
    /// The header of the signature.
    pub signature_header: Option<String>,
    /// `body`, `body+url`, `timestamp.body` or `id.timestamp.body`; the first if absent.
    pub signed: Option<String>,
    /// `hmac-sha1`, `hmac-sha256` or `hmac-sha512`; the second if absent.
    pub algorithm: Option<String>,
    /// `text` for a secret as typed, `standard` for one that begins with `whsec_` or `whsk_`; the first if absent.
    pub key: Option<String>,
    /// What stands before the digest.
    pub prefix: Option<String>,
    /// `hex` or `base64`; the first if absent.
    pub digest: Option<String>,
    /// What stands before the time where the signature's header begins with it.
    pub timestamp_prefix: Option<String>,
    /// The one character between several signatures.
    pub separator: Option<String>,
    /// Further headers: names, and what they say. `{id}`, `{type}` and `{timestamp}`, each alone, stand for the event's id
    /// and type and for the time of the attempt.
    pub headers: Vec<(String, String)>,
    /// `head`, `head-alone` or `test-event`.
    pub check: Option<String>,
    /// `2xx` or `200`.
    pub success: Option<String>,
    /// The total deadline of a request.
    pub timeout: Option<String>,
    /// The most retries that a subscription may ask for.
    pub most_retries: Option<usize>,
    /// The largest body, in bytes.
    pub payload_limit: Option<usize>,
    /// The types of its events.
    pub events: Vec<String>,
    /// Deliveries of one request.
    pub batch_items: Option<u32>,
    /// How long the first of them waits for others.
    pub linger: Option<String>,
}

impl Declaration {
    /// Checks all of it, and signs and verifies a sample with what it makes.
    ///
    /// # Errors
    /// The first field that is wrong, as `profiles.NAME.FIELD`; `profile_unverifiable` where a receiver could not verify
    /// what would be sent, `profile_taken` where the name is that of a profile of the program.
    pub fn profile(&self, name: &str) -> Result<Profile, Invalid> {
        let at = |e: Invalid| e.at(path_step(name)).at("profiles");
        let profile = self.checked(name).map_err(at)?;
        let known = Profiles::default().with(vec![profile.clone()])?;
        signer::try_out(&profile, &known).map_err(at)?;
        Ok(profile)
    }

    fn checked(&self, name: &str) -> Result<Profile, Invalid> {
        let is_name = (1..=32).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !is_name {
            return Err(Invalid::new("bad_profile_name", "is no name of a profile")
                .hint("1 to 32 small letters, digits or hyphens"));
        }
        let encoding = self.encoding()?;
        let signature = self.signature()?;
        let headers = self.headers(signature.as_ref())?;
        let is_form = matches!(encoding, Encoding::Form { .. });
        let profile = Profile {
            name: Cow::Owned(name.to_owned()),
            content_type: self.content_type(&encoding)?,
            secret: match signature {
                Some(_) => Requirement::Required,
                None => Requirement::Useless,
            },
            settings: if is_form { panel() } else { Cow::Borrowed(&[]) },
            encoding,
            signature,
            headers: Cow::Owned(headers),
            check: choice(
                "check",
                self.check.as_deref(),
                &[
                    ("head", Check::Head),
                    ("head-alone", Check::HeadAlone),
                    ("test-event", Check::TestEvent),
                ],
            )?,
            success: choice(
                "success",
                self.success.as_deref(),
                &[("2xx", Success::Any2xx), ("200", Success::Exactly200)],
            )?,
            timeout: span(
                "timeout",
                self.timeout.as_deref(),
                general().timeout,
                Duration::from_millis(100)..=LONGEST_TIMEOUT,
            )?,
            most_retries: within(
                "most_retries",
                self.most_retries,
                MAX_RETRIES,
                0..=MAX_RETRIES,
            )?,
            payload_limit: within(
                "payload_limit",
                self.payload_limit,
                MAX_PAYLOAD,
                1_024..=MAX_PAYLOAD,
            )?,
            events: self.events()?,
            batch: self.batch(is_form)?,
        };
        if let Some(signature) = &profile.signature {
            if signature.timestamp.is_some() && !signature.content.is_timed() {
                return Err(Invalid::new(
                    "useless_field",
                    "is of no use where the time is not signed",
                )
                .at("timestamp_prefix")
                .hint("sign it too: signed = \"timestamp.body\""));
            }
            // Signatures of pairs begin with `v1a,`.
            if signature.key == KeyKind::Standard && signature.separator == Some(',') {
                return Err(Invalid::new(
                    "bad_separator",
                    "is part of what keys of Standard Webhooks sign",
                )
                .at("separator"));
            }
        }
        if profile.batch.is_some() && profile.is_of_one_event() {
            return Err(Invalid::new(
                "batch_of_one_event",
                "cannot be, where a header or the signature is of a single event",
            )
            .at("batch_items"));
        }
        Ok(profile)
    }

    fn encoding(&self) -> Result<Encoding, Invalid> {
        let field = self.form_field.clone().unwrap_or_else(|| "data".to_owned());
        if field.is_empty() || field.len() > 64 || !field.bytes().all(is_unreserved) {
            return Err(
                Invalid::new("bad_form_field", "is no name of a form's field")
                    .at("form_field")
                    .hint("1 to 64 letters, digits, hyphens, dots, underscores or tildes"),
            );
        }
        choice(
            "encoding",
            self.encoding.as_deref(),
            &[
                ("json", Encoding::Json),
                ("enveloped", Encoding::Enveloped),
                (
                    "form",
                    Encoding::Form {
                        field: Cow::Owned(field),
                    },
                ),
            ],
        )
    }

    fn content_type(&self, encoding: &Encoding) -> Result<Cow<'static, str>, Invalid> {
        let usual = match encoding {
            Encoding::Form { .. } => "application/x-www-form-urlencoded",
            Encoding::Json | Encoding::Enveloped => "application/json",
        };
        let Some(given) = &self.content_type else {
            return Ok(Cow::Borrowed(usual));
        };
        header::is_value(given).map_err(|e| e.at("content_type"))?;
        Ok(Cow::Owned(given.clone()))
    }

    fn signature(&self) -> Result<Option<Signature>, Invalid> {
        let Some(name) = &self.signature_header else {
            let alone = [
                ("signed", self.signed.is_some()),
                ("algorithm", self.algorithm.is_some()),
                ("key", self.key.is_some()),
                ("prefix", self.prefix.is_some()),
                ("digest", self.digest.is_some()),
                ("timestamp_prefix", self.timestamp_prefix.is_some()),
                ("separator", self.separator.is_some()),
            ];
            return match alone.iter().find(|(_, given)| *given) {
                None => Ok(None),
                Some((field, _)) => Err(Invalid::new(
                    "useless_field",
                    "is of no use without a signature_header",
                )
                .at(field)),
            };
        };
        Ok(Some(Signature {
            header: Cow::Owned(header::name(name).map_err(|e| e.at("signature_header"))?),
            content: choice(
                "signed",
                self.signed.as_deref(),
                &[
                    ("body", Content::Body),
                    ("body+url", Content::BodyUrl),
                    ("timestamp.body", Content::TimestampBody),
                    ("id.timestamp.body", Content::IdTimestampBody),
                ],
            )?,
            algorithm: choice(
                "algorithm",
                self.algorithm.as_deref(),
                &[
                    ("hmac-sha256", Algorithm::HmacSha256),
                    ("hmac-sha1", Algorithm::HmacSha1),
                    ("hmac-sha512", Algorithm::HmacSha512),
                ],
            )?,
            key: choice(
                "key",
                self.key.as_deref(),
                &[("text", KeyKind::Text), ("standard", KeyKind::Standard)],
            )?,
            prefix: visible("prefix", self.prefix.as_deref())?.unwrap_or_default(),
            text: choice(
                "digest",
                self.digest.as_deref(),
                &[("hex", DigestText::Hex), ("base64", DigestText::Base64)],
            )?,
            timestamp: visible("timestamp_prefix", self.timestamp_prefix.as_deref())?,
            separator: self.separator()?,
        }))
    }

    fn separator(&self) -> Result<Option<char>, Invalid> {
        let Some(text) = &self.separator else {
            return match &self.timestamp_prefix {
                None => Ok(None),
                Some(_) => Err(Invalid::new(
                    "missing_field",
                    "is needed between the time and the signature",
                )
                .at("separator")),
            };
        };
        // What digests and prefixes are made of would run together with it.
        match text.as_bytes() {
            [byte] if matches!(byte, b' ' | b',' | b';' | b'|') => Ok(Some(char::from(*byte))),
            _ => Err(
                Invalid::new("bad_separator", "is none of: space, comma, semicolon, bar")
                    .at("separator"),
            ),
        }
    }

    fn headers(&self, signature: Option<&Signature>) -> Result<Vec<Header>, Invalid> {
        let mut headers: Vec<Header> = Vec::with_capacity(self.headers.len());
        for (name, text) in &self.headers {
            let at = |e: Invalid| e.at(path_step(name)).at("headers");
            let name = header::name(name).map_err(at)?;
            if matches!(&*name, "authorization" | "traceparent") {
                return Err(at(Invalid::new(
                    "reserved_header",
                    "is a header that subscriptions have of their own",
                )
                .hint(
                    "give credentials to the subscription: --basic-user, --bearer-file",
                )));
            }
            let is_taken = headers.iter().any(|taken| taken.name == name)
                || signature.is_some_and(|signature| signature.header == name);
            if is_taken {
                return Err(at(Invalid::new("header_twice", "is there twice")));
            }
            let value = match text.as_str() {
                "{id}" => HeaderValue::EventId,
                "{type}" => HeaderValue::EventType,
                "{timestamp}" => HeaderValue::Timestamp,
                text => {
                    header::is_value(text).map_err(at)?;
                    HeaderValue::Text(Cow::Owned(text.to_owned()))
                }
            };
            headers.push(Header {
                name: Cow::Owned(name),
                value,
            });
        }
        Ok(headers)
    }

    fn events(&self) -> Result<Cow<'static, [Cow<'static, str>]>, Invalid> {
        let types = self.events.iter().enumerate().map(|(i, text)| {
            let known = EventType::new(text).map_err(|e| e.at(format!("events[{i}]")))?;
            Ok(Cow::Owned(known.as_str().to_owned()))
        });
        Ok(Cow::Owned(types.collect::<Result<_, Invalid>>()?))
    }

    fn batch(&self, is_form: bool) -> Result<Option<Batch>, Invalid> {
        let Some(items) = self.batch_items else {
            return match &self.linger {
                None => Ok(None),
                Some(_) => Err(
                    Invalid::new("useless_field", "is of no use without batch_items").at("linger"),
                ),
            };
        };
        if !is_form {
            return Err(Invalid::new(
                "batch_without_list",
                "is for forms: their panel holds a list, the other encodings hold one payload",
            )
            .at("batch_items"));
        }
        Ok(Some(Batch {
            items: within("batch_items", Some(items), 1, 1..=MOST_ITEMS)?,
            linger: span(
                "linger",
                self.linger.as_deref(),
                Duration::ZERO,
                Duration::ZERO..=LONGEST_LINGER,
            )?,
        }))
    }
}

fn panel() -> Cow<'static, [Setting]> {
    Cow::Borrowed(&[Setting {
        name: Cow::Borrowed(PANEL),
        fallback: Fallback::Required,
        places: Cow::Borrowed(&[]),
    }])
}

/// What percent-encoding leaves as it is (RFC 3986, section 2.3).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// One of these words; the first where none is given.
fn choice<T: Clone>(
    field: &'static str,
    given: Option<&str>,
    words: &[(&'static str, T)],
) -> Result<T, Invalid> {
    let found = match given {
        None => words.first(),
        Some(given) => words.iter().find(|(word, _)| *word == given),
    };
    found.map(|(_, value)| value.clone()).ok_or_else(|| {
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        Invalid::new("unknown_choice", "is no such choice")
            .at(field)
            .hint(format!("choose one of: {}", known.join(", ")))
    })
}

fn within<T: PartialOrd + std::fmt::Display + Copy>(
    field: &'static str,
    given: Option<T>,
    usual: T,
    range: std::ops::RangeInclusive<T>,
) -> Result<T, Invalid> {
    let number = given.unwrap_or(usual);
    if range.contains(&number) {
        return Ok(number);
    }
    let (least, most) = range.into_inner();
    Err(Invalid::new("out_of_range", format!("is not between {least} and {most}")).at(field))
}

fn span(
    field: &'static str,
    given: Option<&str>,
    usual: Duration,
    range: std::ops::RangeInclusive<Duration>,
) -> Result<Duration, Invalid> {
    let Some(text) = given else { return Ok(usual) };
    let length = parse_duration(text).map_err(|e| e.at(field))?;
    if range.contains(&length) {
        return Ok(length);
    }
    let (least, most) = range.into_inner();
    Err(Invalid::new(
        "out_of_range",
        format!(
            "is not between {} and {}",
            format_duration(least),
            format_duration(most)
        ),
    )
    .at(field))
}

/// Visible ASCII, as far as there is any.
fn visible(field: &'static str, given: Option<&str>) -> Result<Option<Cow<'static, str>>, Invalid> {
    let Some(text) = given else { return Ok(None) };
    if text.len() > 64 || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(
            Invalid::new("bad_prefix", "is not at most 64 visible ASCII characters").at(field),
        );
    }
    Ok(Some(Cow::Owned(text.to_owned())))
}
