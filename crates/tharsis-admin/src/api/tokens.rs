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
    token::{
        Grant,
        Permission::{Administer, Operate, Publish, Read},
        Role, Token,
    },
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

/// Makes one, and shows it this once. It allows nothing that the caller may not do.
pub(crate) async fn create(desk: Desk, Input(wanted): Input<Wanted>) -> Result<Response, Problem> {
    let now = desk.caller.at;
    let role: Role = (wanted.role.parse()).map_err(|e: Invalid| e.at("role"))?;
    if !is_within(role, desk.caller.role()) {
        let message = "may do what this token may not";
        return Err(Problem::new(StatusCode::FORBIDDEN, "not_allowed", message).at("role"));
    }
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

/// Whether all that a role may do, another one may too.
fn is_within(role: Role, other: Role) -> bool {
    let all = [Publish, Read, Operate, Administer];
    (all.into_iter()).all(|permission| other.may(permission) || !role.may(permission))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gives_away_more_than_they_have() {
        let given = |own: Role| {
            let roles = Role::ALL.into_iter().filter(|role| is_within(*role, own));
            roles.map(Role::as_str).collect::<Vec<_>>()
        };
        assert_eq!(given(Role::Publisher), ["publisher"]);
        assert_eq!(given(Role::Viewer), ["viewer"]);
        assert_eq!(given(Role::Operator), ["viewer", "operator"]);
        assert_eq!(given(Role::Admin), Role::ALL.map(Role::as_str));
    }
}
