//! Which version an answer shows, and which one is to be changed (RFC 9110, sections 8.8.3 and 13.1.1).
//!
//! The version counts changes. How a receiver does is shown beside it and changes by itself, so nothing is answered 304.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, StatusCode, header, request::Parts},
};
use tharsis::Invalid;
use utoipa::{
    IntoParams,
    openapi::{
        Required,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::{ObjectBuilder, Type},
    },
};

use crate::Problem;

/// A version as the header `ETag` says it.
pub(crate) fn tag(version: u64) -> String {
    format!("\"{version}\"")
}

/// Which version is to be changed: `If-Match`.
#[derive(Debug)]
pub(crate) struct IfMatch(Option<Tags>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let told = match lines(&parts.headers, header::IF_MATCH) {
            None => None,
            Some(text) => Some(Tags::parse(&text).ok_or_else(malformed)?),
        };
        Ok(Self(told))
    }
}

impl IntoParams for IfMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let tag = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(r#"^(\*|"[0-9]{1,18}")$"#));
        let header = ParameterBuilder::new()
            .name("If-Match")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "Which version is to be changed: the `ETag` that was answered, or `*` for whatever there is.",
            ))
            .schema(Some(tag));
        vec![header.build()]
    }
}

impl IfMatch {
    /// Lets this version be changed, where nothing is said or it is among what is.
    pub(crate) fn allow(&self, version: u64) -> Result<(), Problem> {
        match &self.0 {
            None | Some(Tags::Any) => Ok(()),
            Some(Tags::These(tags)) if tags.iter().any(|tag| tag.is_the(version)) => Ok(()),
            Some(Tags::These(_)) => Err(changed_meanwhile()),
        }
    }

    /// The same, and something has to be said.
    pub(crate) fn demand(&self, version: u64) -> Result<(), Problem> {
        if self.0.is_none() {
            return Err(Problem::new(
                StatusCode::PRECONDITION_REQUIRED,
                "if_match_missing",
                "does not say which version is to be changed",
            )
            .at("if-match")
            .hint("send the ETag that GET answers with; * changes whatever there is"));
        }
        self.allow(version)
    }
}

/// What such a header names.
#[derive(Debug, PartialEq, Eq)]
enum Tags {
    /// Whatever there is.
    Any,
    /// One of these.
    These(Vec<Tag>),
}

#[derive(Debug, PartialEq, Eq)]
struct Tag {
    /// It promises no more than that the meaning is the same.
    is_weak: bool,
    text: String,
}

impl Tag {
    /// Whether it names this version for sure. A weak one never does.
    fn is_the(&self, version: u64) -> bool {
        !self.is_weak && self.text == version.to_string()
    }
}

impl Tags {
    /// Reads `*`, or tags with commas between them; `None` for anything else.
    fn parse(text: &str) -> Option<Self> {
        const BETWEEN: [char; 3] = [' ', '\t', ','];

        if text.trim() == "*" {
            return Some(Self::Any);
        }
        let mut tags = Vec::new();
        let mut rest = text.trim_matches(BETWEEN);
        while !rest.is_empty() {
            let (is_weak, quoted) = match rest.strip_prefix("W/") {
                Some(quoted) => (true, quoted),
                None => (false, rest),
            };
            let (text, after) = quoted.strip_prefix('"')?.split_once('"')?;
            if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                return None;
            }
            tags.push(Tag {
                is_weak,
                text: text.to_owned(),
            });
            rest = after.trim_start_matches(BETWEEN);
            let between = &after[..after.len() - rest.len()];
            if !rest.is_empty() && !between.contains(',') {
                return None;
            }
        }
        (!tags.is_empty()).then_some(Self::These(tags))
    }
}

/// All that is said under this name, as one list. What is no text is no tag.
fn lines(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let lines: Vec<&str> = (headers.get_all(name).iter())
        .map(|line| line.to_str().unwrap_or("?"))
        .collect();
    (!lines.is_empty()).then(|| lines.join(","))
}

fn malformed() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "bad_if_match",
        "is neither * nor a list of tags",
    )
    .at("if-match")
    .hint("send the ETag as GET answers with it, in its quotes")
}

fn changed_meanwhile() -> Problem {
    Invalid::new(
        "changed_meanwhile",
        "it is not what was read: somebody has changed it since",
    )
    .at("if-match")
    .hint("read it again, and make the change to what it is now")
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn if_match(text: &str) -> IfMatch {
        IfMatch(Some(Tags::parse(text).expect("tags")))
    }

    #[test]
    fn a_list_names_each_of_its_tags() {
        for text in [
            r#""7""#,
            r#" "7" "#,
            r#""6", "7""#,
            r#""6","7""#,
            r#",, "7" , ,"a,b""#,
            r#"W/"7", "7""#,
        ] {
            let told = if_match(text);
            assert_eq!(told.allow(7), Ok(()), "{text}");
            assert_eq!(told.demand(7), Ok(()), "{text}");
            assert_eq!(told.allow(8), Err(changed_meanwhile()), "{text}");
        }
    }

    #[test]
    fn a_weak_tag_never_matches_what_is_to_be_changed() {
        let told = if_match(r#"W/"7""#);
        assert_eq!(told.allow(7), Err(changed_meanwhile()));
    }

    #[test]
    fn a_star_is_whatever_there_is() {
        assert_eq!(if_match("*").demand(7), Ok(()));
        assert_eq!(if_match(" * ").allow(7), Ok(()));
    }

    #[test]
    fn what_is_not_said_is_missed_only_where_it_has_to_be() {
        assert_eq!(IfMatch(None).allow(7), Ok(()));
        assert!(IfMatch(None).demand(7).is_err());
    }

    #[test]
    fn what_is_malformed_is_no_list() {
        for text in [
            "",
            ",",
            "7",
            r#""7"#,
            r#"7""#,
            r#""7" "8""#,
            r#""7" *"#,
            r#"*, "7""#,
            r#"w/"7""#,
            "W/7",
            r#""a b""#,
            "?",
        ] {
            assert_eq!(Tags::parse(text), None, "{text}");
        }
    }

    #[test]
    fn several_lines_are_one_list() {
        let mut headers = HeaderMap::new();
        assert_eq!(lines(&headers, header::IF_MATCH), None);
        for line in [r#""6""#, r#""7""#] {
            headers.append(header::IF_MATCH, line.parse().expect("a value"));
        }
        let told = lines(&headers, header::IF_MATCH);
        assert_eq!(told.as_deref(), Some(r#""6","7""#));
    }
}
