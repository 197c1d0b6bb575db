use std::borrow::Cow;

use axum::response::Response;
use tharsis::subscription::Draft;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, schema::Schema},
};

use super::{made, registration::Registration};
use crate::{
    Problem,
    api::{
        etag::IfMatch,
        input::{Input, Path},
    },
    desk::Desk,
    documents::MadeSubscriptionDocument,
    registering::{Changing, policy, same_host},
};

/// A registration of which nothing has to be said.
pub(crate) struct Change;

impl PartialSchema for Change {
    fn schema() -> RefOr<Schema> {
        let mut schema = Registration::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            object.required.clear();
            object.description = Some(
                "What is to be another: a merge patch (RFC 7396) over what there is.".to_owned(),
            );
        }
        schema
    }
}

impl ToSchema for Change {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("SubscriptionChange")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Registration::schemas(schemas);
    }
}

/// Changes what is said of a subscription, and leaves the rest.
///
/// A new URL proves first that it is there. Where it leads to another host, what the former one was told goes, and a secret that
/// is generated is shown this once.
#[utoipa::path(
    patch,
    path = "/v1/subscriptions/{id}",
    operation_id = "changeSubscription",
    tag = "subscriptions",
    params(
        ("id" = String, Path, format = "uuid", description = "Its id."),
        (
            "If-Match" = String, Header, pattern = r#"^(\*|"[0-9]{1,18}")$"#,
            description = "Which version is to be changed: the `ETag` that was answered, or `*` for whatever there is."
        ),
    ),
    request_body = Change,
    responses((
        status = 200, description = "It is changed.", body = MadeSubscriptionDocument<'_>,
        headers(("ETag" = String, description = "Its version."))
    )),
)]
pub(crate) async fn change(
    desk: Desk,
    Path(id): Path<String>,
    version: IfMatch,
    Input(said): Input<Registration>,
) -> Result<Response, Problem> {
    let present = desk.subscription(&id).await?;
    version.demand(present.version)?;
    let options = desk.options();
    let draft = said.over(Draft::from(&present.settings))?;
    let is_new = draft.url != present.settings.url.given();
    let policy = policy(&options.egress, &present.settings, is_new);
    let settings = draft.settings(&policy, &options.profiles)?;
    let profile = settings.profile.clone();
    let mut changing = Changing::new(&present, settings, said.headers()?, said.check())?;
    if changing.moves() {
        changing = changing.with_secret(said.chosen(&profile)?)?;
    } else if said.is_of_secret() {
        let hint = format!("replace the secret alone: POST /v1/subscriptions/{id}/rotate");
        return Err(same_host().hint(hint).into());
    }
    let changed = changing.make(desk.emitter(), desk.by()).await?;
    Ok(made(&changed, changing.chosen()))
}
