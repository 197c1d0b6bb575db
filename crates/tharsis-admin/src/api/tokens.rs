//! `/v1/tokens`: who may use the API.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use tharsis::Registry;
use utoipa::ToSchema;

use super::{
    input::{Input, Path, word},
    query::{OfClient, Parameters},
};
use crate::{
    Problem,
    desk::Desk,
    documents::{MadeTokenDocument, TokenDocument, words},
};

#[derive(Serialize, ToSchema)]
#[schema(as = TokenList)]
struct ListDocument<'a> {
    tokens: Vec<TokenDocument<'a>>,
}

/// Tokens, newest first, also those that are expired or revoked.
///
/// Of one client those that are for it alone.
#[utoipa::path(
    get,
    path = "/v1/tokens",
    operation_id = "listTokens",
    tag = "tokens",
    params(OfClient),
    responses((status = 200, description = "The tokens.", body = ListDocument<'_>)),
)]
pub(crate) async fn list(desk: Desk, mut asked: Parameters) -> Result<Response, Problem> {
    let client = desk.client(asked.word("client")?)?;
    asked.end()?;
    let tokens = desk.registry().tokens(client).await?;
    let now = desk.caller.at;
    let tokens = tokens.iter().map(|token| TokenDocument::of(token, now));
    let document = ListDocument {
        tokens: tokens.collect(),
    };
    Ok(Json(document).into_response())
}

/// A token that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenRequest)]
pub(crate) struct Wanted {
    /// What people call it.
    #[schema(min_length = 1, max_length = 128)]
    name: String,
    #[schema(value_type = words::TokenRole)]
    role: String,
    /// For this one alone; null: for that of the caller's token, or for all.
    #[schema(format = "uuid")]
    client: Option<String>,
    /// From now on: a span such as `90d`, or `none`; null: a year.
    #[schema(pattern = "^(none|([0-9]+(d|h|m|s|ms))+)$")]
    expires: Option<String>,
}

/// Makes a token, and shows it this once.
///
/// An admin of one client makes tokens of that client.
#[utoipa::path(
    post,
    path = "/v1/tokens",
    operation_id = "createToken",
    tag = "tokens",
    request_body = Wanted,
    responses((status = 201, description = "The token.", body = MadeTokenDocument<'_>)),
)]
pub(crate) async fn create(desk: Desk, Input(wanted): Input<Wanted>) -> Result<Response, Problem> {
    let client = word("client", wanted.client.as_deref())?;
    let lifetime = word("expires", wanted.expires.as_deref())?;
    let (record, token) = desk
        .make_token(wanted.name, &wanted.role, client, lifetime)
        .await?;
    let document = MadeTokenDocument::of(&record, &token, desk.caller.at);
    Ok((StatusCode::CREATED, Json(document)).into_response())
}

/// Has a token let nobody in any more.
#[utoipa::path(
    delete,
    path = "/v1/tokens/{id}",
    operation_id = "revokeToken",
    tag = "tokens",
    params(("id" = String, Path, format = "uuid", description = "Its id.")),
    responses((status = 200, description = "It is revoked.", body = TokenDocument<'_>)),
)]
pub(crate) async fn revoke(desk: Desk, Path(id): Path<String>) -> Result<Response, Problem> {
    let revoked = desk.revoke_token(&id).await?;
    Ok(Json(TokenDocument::of(&revoked, desk.caller.at)).into_response())
}
