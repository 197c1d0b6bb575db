//! What comes with a request: the parts of its path, and its body.

use std::str::FromStr;

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    http::{StatusCode, header, request::Parts},
};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use tharsis::Invalid;

use crate::Problem;

/// The parts of the path that stand in braces in the table of routes.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // What is no text names nothing.
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        let axum::extract::Path(path) = path.map_err(|_| Problem::not_found("path"))?;
        Ok(Self(path))
    }
}

/// A body in JSON. Where none is sent it is that of an empty object.
#[derive(Debug)]
pub(crate) struct Input<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Input<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).cloned();
        let body = body(request, state).await?;
        let text = body.trim_ascii();
        if text.is_empty() {
            return Ok(Self(parse(b"{}")?));
        }
        let kind = kind.as_ref().map(|kind| kind.to_str().unwrap_or("?"));
        if !kind.is_none_or(is_json) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "content_type",
                "is not application/json",
            )
            .at("content-type"));
        }
        Ok(Self(parse(text)?))
    }
}

/// A word of a body that reads itself: an id, a rate.
pub(crate) fn word<T: FromStr<Err = Invalid>>(
    field: &str,
    text: Option<&str>,
) -> Result<Option<T>, Invalid> {
    let word = text.map(|text| text.parse::<T>().map_err(|e: Invalid| e.at(field)));
    word.transpose()
}

/// A body as it is.
#[derive(Debug)]
pub(crate) struct Body(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        body(request, state).await.map(Self)
    }
}

async fn body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state)
        .await
        .map_err(|error| match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "is larger than what is taken here",
            ),
            _ => Problem::new(
                StatusCode::BAD_REQUEST,
                "body_cut_short",
                "did not come whole",
            ),
        })
}

/// Whether a content type says JSON, be it a merge patch or what it may.
fn is_json(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// A document whose fault is told by where it lies.
fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Invalid> {
    // A list of the fields in their order would be read too, and nobody means that.
    if text.first() != Some(&b'{') {
        return Err(Invalid::new("bad_json", "is no object"));
    }
    let mut reader = serde_json::Deserializer::from_slice(text);
    let document = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let fault = error.into_inner();
        let invalid = Invalid::new("bad_json", format!("is not what is taken here: {fault}"));
        match &*path {
            "." => invalid,
            field => invalid.at(field),
        }
    })?;
    reader.end().map_err(|error| {
        Invalid::new("bad_json", format!("goes on where it should end: {error}"))
    })?;
    Ok(document)
}
