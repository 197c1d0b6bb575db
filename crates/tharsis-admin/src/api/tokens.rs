//! `/v1/tokens`: who may use the API.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use tharsis::{
    Invalid, Registry, TokenId, random,
    store::TokenDraft,
    token::{Grant, Role, Token},
};

use super::{
    input::{Input, Path, word},
    query::Parameters,
};
use crate::{
    Lifetime, Problem,
    desk::{Desk, known},
    documents::{MadeTokenDocument, TokenDocument},
};

/// Newest first, also those that are expired or revoked; of one client those that are for it alone.
pub(crate) async fn list(desk: Desk, mut asked: Parameters) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Document<'a> {
        tokens: Vec<TokenDocument<'a>>,
    }
    let client = desk.client(asked.word("client")?)?;
    asked.end()?;
    let tokens = desk.registry().tokens(client).await?;
    let now = desk.caller.at;
    let tokens = tokens.iter().map(|token| TokenDocument::of(token, now));
    let document = Document {
        tokens: tokens.collect(),
    };
    Ok(Json(document).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    name: String,
    role: String,
    client: Option<String>,
    /// Such as `90d`, or `none`.
    expires: Option<String>,
}

/// Makes one, and shows it this once. An admin of one client makes tokens of that client.
pub(crate) async fn create(desk: Desk, Input(wanted): Input<Wanted>) -> Result<Response, Problem> {
    let now = desk.caller.at;
    let role: Role = (wanted.role.parse()).map_err(|e: Invalid| e.at("role"))?;
    let client = word("client", wanted.client.as_deref())?;
    let lifetime: Option<Lifetime> = word("expires", wanted.expires.as_deref())?;
    let draft = TokenDraft {
        name: wanted.name,
        grant: Grant {
            role,
            client: desk.client(client)?,
        },
        expires_at: lifetime.unwrap_or_default().end(now),
    };
    let token = Token::generate(random()?);
    let record = (desk.registry())
        .add_token(&token, &draft, desk.by())
        .await?;
    let document = MadeTokenDocument::of(&record, &token, now);
    Ok((StatusCode::CREATED, Json(document)).into_response())
}

/// Has it let nobody in any more.
pub(crate) async fn revoke(desk: Desk, Path(id): Path<String>) -> Result<Response, Problem> {
    let id: TokenId = known("token", &id)?;
    let revoked = (desk.registry())
        .revoke_token(desk.client(None)?, id, desk.by())
        .await?;
    Ok(Json(TokenDocument::of(&revoked, desk.caller.at)).into_response())
}
