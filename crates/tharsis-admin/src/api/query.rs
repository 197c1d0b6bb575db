//! What stands behind the question mark of a URL.

use std::{collections::BTreeMap, str::FromStr};

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};
use serde::Deserialize;
use tharsis::{Invalid, Timestamp};
use utoipa::{
    IntoParams,
    openapi::{
        Required,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::{ObjectBuilder, SchemaFormat, Type},
    },
};

use crate::Problem;

/// The pages of lists hold so many unless it is said.
const LIMIT: u32 = 50;

/// The most values of one name.
const MOST: usize = 1_000;

/// The longest value, in bytes: four for each character of a name.
const LONGEST: usize = 1_020;

/// The parameter that all lists take which are of somebody, as it is described.
pub(crate) struct OfClient;

impl IntoParams for OfClient {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let id = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::Custom("uuid".to_owned())));
        let client = ParameterBuilder::new()
            .name("client")
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(
                "Of this client alone; a token that is for one client sees no other.",
            ))
            .schema(Some(id));
        vec![client.build()]
    }
}

/// Names and values, in order. Whoever reads them takes out what it knows; the rest is refused.
///
/// They may stand in a body too, as an object whose values are texts or lists of texts.
#[derive(Debug, Deserialize)]
#[serde(from = "BTreeMap<String, Option<Values>>")]
pub(crate) struct Parameters(Vec<(String, String)>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "neither text nor a list of texts")]
enum Values {
    One(String),
    Many(Vec<String>),
}

impl From<BTreeMap<String, Option<Values>>> for Parameters {
    fn from(object: BTreeMap<String, Option<Values>>) -> Self {
        let mut pairs = Vec::new();
        for (name, values) in object {
            match values {
                None => {}
                Some(Values::One(value)) => pairs.push((name, value)),
                Some(Values::Many(values)) => {
                    pairs.extend(values.into_iter().map(|value| (name.clone(), value)));
                }
            }
        }
        Self(pairs)
    }
}

impl From<Vec<(String, String)>> for Parameters {
    fn from(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes());
        Ok(Self(pairs.into_owned().collect()))
    }
}

impl Parameters {
    /// Each value of this name.
    pub(crate) fn all<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, Invalid>,
    ) -> Result<Vec<T>, Problem> {
        let (found, rest) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(key, _)| key == name);
        self.0 = rest;
        let found: Vec<(String, String)> = found;
        let is_long = |(_, text): &(String, String)| text.len() > LONGEST;
        if found.len() > MOST || found.iter().any(is_long) {
            let message =
                format!("is more than {MOST} values, or one of more than {LONGEST} bytes");
            return Err(Invalid::new("too_long", message).at(name).into());
        }
        let values = found
            .iter()
            .map(|(_, text)| parse(text).map_err(|e| e.at(name)));
        Ok(values.collect::<Result<_, Invalid>>()?)
    }

    /// The value of this name, which comes once at most.
    pub(crate) fn one<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, Invalid>,
    ) -> Result<Option<T>, Problem> {
        let mut values = self.all(name, parse)?;
        if values.len() > 1 {
            let problem = Problem::new(StatusCode::BAD_REQUEST, "given_twice", "is given twice");
            return Err(problem.at(name));
        }
        Ok(values.pop())
    }

    /// An id or another word that reads itself.
    pub(crate) fn word<T: FromStr<Err = Invalid>>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, Problem> {
        self.one(name, str::parse)
    }

    /// Text as it is.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        self.one(name, |text| Ok(text.to_owned()))
    }

    /// An instant, in RFC 3339.
    pub(crate) fn instant(&mut self, name: &str) -> Result<Option<Timestamp>, Problem> {
        self.one(name, Timestamp::parse)
    }

    /// How many, from 1 to this.
    pub(crate) fn limit(&mut self, most: u32) -> Result<u32, Problem> {
        let limit = self.one("limit", |text| {
            let number = text.parse().ok().filter(|limit| (1..=most).contains(limit));
            number.ok_or_else(|| {
                Invalid::new("out_of_range", format!("is no number from 1 to {most}"))
            })
        })?;
        Ok(limit.unwrap_or(LIMIT))
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<(), Problem> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "unknown_parameter",
                "is no parameter here",
            )
            .at(&name)),
        }
    }
}
