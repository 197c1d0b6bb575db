//! What forms say, and what stands behind the question mark of a page. Both are read by their fields; what is left empty is
//! not said.

use std::{collections::BTreeMap, convert::Infallible, fmt, str::FromStr};

use axum::{extract::FromRequestParts, http::request::Parts};
use form_urlencoded::Serializer;
use tharsis::{Invalid, Timestamp, parse_duration};

/// Names and values, in their order. It may hold a secret, so it prints no values.
#[derive(Clone)]
pub(crate) struct Form(Vec<(String, String)>);

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Form {
    type Rejection = Infallible;

    /// What was posted, which the guard has read; else what stands behind the question mark.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let posted = parts.extensions.get::<Self>().cloned();
        let asked = || Self::parse(parts.uri.query().unwrap_or_default().as_bytes());
        Ok(posted.unwrap_or_else(asked))
    }
}

impl Form {
    pub(crate) fn parse(text: &[u8]) -> Self {
        // Browsers send ends of line as those of mail.
        let pairs = form_urlencoded::parse(text)
            .map(|(name, value)| (name.into_owned(), value.replace("\r\n", "\n")));
        Self(pairs.collect())
    }

    /// What stands already, as if it had been typed.
    pub(crate) fn of(pairs: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let pairs = pairs.into_iter();
        Self(
            pairs
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    }

    /// Each value of this name.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let of_name = self.0.iter().filter(move |(known, _)| known == name);
        of_name
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// The value of this name, to the letter.
    pub(crate) fn exact(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The value of this name, without the space around it.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let text = self.exact(name).map(str::trim);
        text.filter(|text| !text.is_empty())
    }

    /// An id, or another word that reads itself.
    pub(crate) fn word<T: FromStr<Err = Invalid>>(&self, name: &str) -> Result<Option<T>, Invalid> {
        let read = |text: &str| text.parse::<T>().map_err(|e: Invalid| e.at(name));
        self.text(name).map(read).transpose()
    }

    /// An instant: how long ago it was, such as `24h`, or a time as RFC 3339 writes it.
    pub(crate) fn instant(&self, name: &str, now: Timestamp) -> Result<Option<Timestamp>, Invalid> {
        let read = |text: &str| match parse_duration(text) {
            Ok(ago) => Ok(now - ago),
            Err(_) => Timestamp::parse(text).map_err(|e| {
                e.at(name)
                    .hint("write how long ago: 90s, 15m, 24h, 7d; or when: 2026-01-31T12:30:00Z")
            }),
        };
        self.text(name).map(read).transpose()
    }

    /// What is said under names that begin so, each under the rest of its name.
    pub(crate) fn under(&self, beginning: &str) -> BTreeMap<String, String> {
        let under = self.0.iter().filter_map(|(name, value)| {
            let name = name.strip_prefix(beginning)?;
            let value = value.trim();
            (!value.is_empty()).then(|| (name.to_owned(), value.to_owned()))
        });
        under.collect()
    }

    /// The same with another value of this name.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What of it is said, as it stands behind a question mark.
    pub(crate) fn query(&self) -> String {
        let said = self.0.iter().filter(|(_, value)| !value.is_empty());
        Serializer::new(String::new()).extend_pairs(said).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_empty_is_not_said() {
        let form = Form::parse(b"name=+Shop+&url=&status=dead&status=&status=expired&secret=+a+");
        assert_eq!(form.text("name"), Some("Shop"));
        assert_eq!(form.text("url"), None);
        assert_eq!(form.text("nothing"), None);
        assert_eq!(form.all("status").collect::<Vec<_>>(), ["dead", "expired"]);
        assert_eq!(form.exact("secret"), Some(" a "));
        assert!(!format!("{form:?}").contains(" a "));
    }

    #[test]
    fn ends_of_line_are_those_of_text() {
        let form = Form::parse(b"filter=a%0D%0A%26%26+b");
        assert_eq!(form.text("filter"), Some("a\n&& b"));
    }

    #[test]
    fn settings_are_told_by_the_rest_of_their_names() {
        let form = Form::parse(b"set.panel=+Shop&set.label=&name=x");
        let panel = [("panel".to_owned(), "Shop".to_owned())];
        assert_eq!(form.under("set."), BTreeMap::from(panel));
    }

    #[test]
    fn a_word_is_refused_by_its_field() {
        let form = Form::parse(b"event=nonsense");
        let refused = form.word::<tharsis::EventId>("event").expect_err("no id");
        assert_eq!(
            (refused.code, refused.field.as_deref()),
            ("bad_uuid", Some("event"))
        );
        assert_eq!(form.word::<tharsis::EventId>("subscription"), Ok(None));
    }

    #[test]
    fn an_instant_is_told_by_how_long_ago_it_was_or_as_it_was() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let at = |text: &str| {
            let form = Form(vec![("since".to_owned(), text.to_owned())]);
            form.instant("since", now)
        };
        assert_eq!(at(""), Ok(None));
        assert_eq!(
            at("1h"),
            Ok(Some(Timestamp::from_millis(1_699_996_400_000)))
        );
        assert_eq!(at("2023-11-14T22:13:20Z"), Ok(Some(now)));
        let refused = at("yesterday").expect_err("no time");
        assert_eq!(
            (refused.code, refused.field.as_deref()),
            ("bad_time", Some("since"))
        );
    }

    #[test]
    fn a_list_goes_on_with_what_was_asked() {
        let form = Form::parse(b"status=dead&campaign=spring+sale&type=&after=1");
        assert_eq!(
            form.with("after", "a/b").query(),
            "status=dead&campaign=spring+sale&after=a%2Fb"
        );
    }
}
