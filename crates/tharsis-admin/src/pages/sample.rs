//! How a receiver verifies what a subscription sends: code to copy, in four languages, for what its profile signs.

use askama::Template;
use tharsis::{
    profile::{Algorithm, Content, DigestText, HeaderValue, KeyKind, Profile, Signature},
    subscription::Subscription,
};

/// Code in one language.
pub(crate) struct Sample {
    pub(crate) language: &'static str,
    pub(crate) code: String,
}

/// For each language; none where nothing is signed, or with the private key of a pair, which the book tells of.
pub(crate) fn all(subscription: &Subscription) -> Vec<Sample> {
    let profile = &subscription.settings.profile;
    let is_signed = subscription.secret_fingerprint.is_some() && subscription.public_key.is_none();
    match &profile.signature {
        Some(signature) if is_signed => of(profile, signature),
        _ => Vec::new(),
    }
}

fn of(profile: &Profile, signature: &Signature) -> Vec<Sample> {
    let Some(scheme) = Scheme::of(profile, signature) else {
        return Vec::new();
    };
    let written = [
        ("Node", Node { scheme: &scheme }.render()),
        ("Python", Python { scheme: &scheme }.render()),
        ("Ruby", Ruby { scheme: &scheme }.render()),
        ("Rust", Rust { scheme: &scheme }.render()),
    ];
    let samples = written
        .into_iter()
        .filter_map(|(language, code)| code.ok().map(|code| Sample { language, code }));
    samples.collect()
}

/// What is signed and how, in the words of those languages.
struct Scheme {
    /// The header of the signature.
    header: String,
    /// `sha1`, `sha256`, `sha512`.
    hash: &'static str,
    /// `Sha1`, …
    rust_hash: &'static str,
    /// `sha1`, `sha2`.
    rust_crate: &'static str,
    is_hex: bool,
    /// What stands before the digest.
    prefix: String,
    /// The secret is `whsec_` and the key in base64.
    is_standard: bool,
    /// The header of the event's id, where that is signed.
    id: Option<String>,
    /// The header of the time, where that is signed and has one.
    time: Option<String>,
    /// What stands before the time, where the signature's header begins with it.
    time_prefix: Option<String>,
    /// What stands between several signatures.
    separator: Option<char>,
    /// The URL is signed after the body.
    is_of_url: bool,
    is_timed: bool,
}

impl Scheme {
    /// `None` where a receiver could not tell all that is signed, or where it cannot be written as plain text of a language.
    fn of(profile: &Profile, signature: &Signature) -> Option<Self> {
        let header = |wanted: &HeaderValue| {
            let mut headers = profile.headers.iter();
            let found = headers.find(|header| header.value == *wanted);
            found.map(|header| header.name.to_string())
        };
        let (hash, rust_hash, rust_crate) = match signature.algorithm {
            Algorithm::HmacSha1 => ("sha1", "Sha1", "sha1"),
            Algorithm::HmacSha256 => ("sha256", "Sha256", "sha2"),
            Algorithm::HmacSha512 => ("sha512", "Sha512", "sha2"),
            _ => return None,
        };
        let is_timed = signature.content.is_timed();
        let has_id = signature.content == Content::IdTimestampBody;
        let time_prefix = signature.timestamp.as_deref().map(str::to_owned);
        let scheme = Self {
            header: signature.header.to_string(),
            hash,
            rust_hash,
            rust_crate,
            is_hex: signature.text == DigestText::Hex,
            prefix: signature.prefix.to_string(),
            is_standard: signature.key == KeyKind::Standard,
            id: header(&HeaderValue::EventId).filter(|_| has_id),
            time: header(&HeaderValue::Timestamp).filter(|_| is_timed && time_prefix.is_none()),
            time_prefix: time_prefix.filter(|_| is_timed),
            separator: signature.separator,
            is_of_url: signature.content == Content::BodyUrl,
            is_timed,
        };
        let has_time = scheme.time.is_some() || scheme.time_prefix.is_some();
        let is_told = (!is_timed || has_time) && (!has_id || scheme.id.is_some());
        (is_told && scheme.is_plain()).then_some(scheme)
    }

    /// Whether all of it can stand between quotes in each language.
    fn is_plain(&self) -> bool {
        let separator = self.separator.map(String::from);
        let texts = [
            Some(&self.header),
            Some(&self.prefix),
            self.id.as_ref(),
            self.time.as_ref(),
            self.time_prefix.as_ref(),
            separator.as_ref(),
        ];
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=,.;:/+ ".contains(c);
        (texts.into_iter().flatten()).all(|text| text.chars().all(is_plain))
    }
}

#[derive(Template)]
#[template(path = "verify/node.txt")]
struct Node<'a> {
    scheme: &'a Scheme,
}

#[derive(Template)]
#[template(path = "verify/python.txt")]
struct Python<'a> {
    scheme: &'a Scheme,
}

#[derive(Template)]
#[template(path = "verify/ruby.txt")]
struct Ruby<'a> {
    scheme: &'a Scheme,
}

#[derive(Template)]
#[template(path = "verify/rust.txt")]
struct Rust<'a> {
    scheme: &'a Scheme,
}

#[cfg(test)]
mod tests {
    use tharsis::profile::Profiles;

    use super::*;

    fn code(profile: &str, language: &str) -> String {
        let profile = Profiles::default().named(profile).expect("it is known");
        let signature = profile.signature.as_ref().expect("it signs");
        let mut samples = of(&profile, signature).into_iter();
        let sample = samples.find(|sample| sample.language == language);
        sample.expect("there is one").code
    }

    #[test]
    fn each_profile_that_signs_has_code_in_each_language() {
        for profile in Profiles::default().iter() {
            let Some(signature) = &profile.signature else {
                continue;
            };
            let samples = of(profile, signature);
            let languages: Vec<_> = samples.iter().map(|sample| sample.language).collect();
            assert_eq!(languages, ["Node", "Python", "Ruby", "Rust"]);
            for Sample { language, code } in samples {
                let told = format!("{} {language}:\n{code}", profile.name);
                assert!(code.contains(&*signature.header), "{told}");
                assert!(!code.contains('\t') && !code.contains("\n\n\n\n"), "{told}");
            }
        }
    }

    #[test]
    fn each_language_compares_in_constant_time() {
        for (language, compares) in [
            ("Node", "timingSafeEqual("),
            ("Python", "hmac.compare_digest("),
            ("Ruby", "OpenSSL.secure_compare("),
            ("Rust", ".verify_slice("),
        ] {
            for profile in ["mars", "insightarc", "nudge", "standard", "stripe"] {
                assert!(code(profile, language).contains(compares));
            }
        }
    }

    #[test]
    fn what_is_signed_is_what_the_profile_signs() {
        assert!(code("mars", "Node").contains("'sha1=' + "));
        assert!(code("insightarc", "Python").contains("body + url.encode()"));
        assert!(code("standard", "Ruby").contains("webhook-timestamp"));
        assert!(code("stripe", "Rust").contains("\"t=\""));
    }

    #[test]
    fn what_cannot_stand_between_quotes_has_no_code() {
        let profile = Profiles::default().named("mars").expect("it is known");
        let mut signature = profile.signature.clone().expect("it signs");
        signature.prefix = "'\"${".into();
        assert!(of(&profile, &signature).is_empty());
    }
}
