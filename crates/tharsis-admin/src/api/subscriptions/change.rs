use axum::response::Response;
use tharsis::subscription::Draft;

use super::{made, registration::Registration};
use crate::{
    Problem,
    api::{
        etag::IfMatch,
        input::{Input, Path},
    },
    desk::Desk,
    registering::{Changing, policy, same_host},
};

/// Changes what is said, and leaves the rest. A new URL proves first that it is there. Where it leads to another host, what the
/// former one was told goes, and a secret that is generated is shown this once.
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
