//! `/v1/campaigns`: how a campaign does, and stopping it.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tharsis::{
    ClientId, Invalid, Registry,
    store::{Campaign, Stop},
};
use utoipa::ToSchema;

use super::{
    input::{Input, Path, word},
    query::{OfClient, Parameters},
};
use crate::{
    Problem,
    desk::Desk,
    documents::{CampaignChangedDocument, CampaignReportDocument},
    only_client,
};

/// What became of a campaign's deliveries, and whether it is stopped.
///
/// It goes through all events, which takes a moment where there are millions.
#[utoipa::path(
    get,
    path = "/v1/campaigns/{campaign}",
    operation_id = "getCampaign",
    tag = "campaigns",
    params(
        ("campaign" = String, Path, description = "Its name."),
        OfClient,
        ("recipient" = Option<String>, Query, min_length = 1, description = "Of this recipient alone."),
    ),
    responses((status = 200, description = "The campaign.", body = CampaignReportDocument<'_>)),
)]
pub(crate) async fn show(
    desk: Desk,
    Path(name): Path<String>,
    mut asked: Parameters,
) -> Result<Response, Problem> {
    let (client, recipient) = (asked.word("client")?, asked.text("recipient")?);
    asked.end()?;
    let campaign = campaign(&desk, name, client, recipient).await?;
    let report = desk.registry().campaign(&campaign).await?;
    Ok(Json(CampaignReportDocument::of(&campaign, &report)).into_response())
}

/// Whose campaign is meant, and whom of it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CampaignChoice)]
pub(crate) struct Which {
    /// Needed where several clients have a campaign of this name.
    #[schema(format = "uuid")]
    client: Option<String>,
    /// This one alone; null: everybody.
    #[schema(min_length = 1)]
    recipient: Option<String>,
}

impl Which {
    async fn campaign(self, desk: &Desk, name: String) -> Result<Campaign, Problem> {
        let client = word("client", self.client.as_deref())?;
        campaign(desk, name, client, self.recipient).await
    }
}

/// Holds what there is of a campaign, and what comes.
#[utoipa::path(
    post,
    path = "/v1/campaigns/{campaign}/pause",
    operation_id = "pauseCampaign",
    tag = "campaigns",
    params(("campaign" = String, Path, description = "Its name.")),
    request_body = Which,
    responses((status = 200, description = "It is paused.", body = CampaignChangedDocument<'_>)),
)]
pub(crate) async fn pause(
    desk: Desk,
    Path(name): Path<String>,
    Input(which): Input<Which>,
) -> Result<Response, Problem> {
    let campaign = which.campaign(&desk, name).await?;
    let stop = desk.registry().pause_campaign(&campaign, desk.by()).await?;
    changed(&desk, &campaign, Some(&stop)).await
}

/// Lets a campaign go again.
#[utoipa::path(
    post,
    path = "/v1/campaigns/{campaign}/resume",
    operation_id = "resumeCampaign",
    tag = "campaigns",
    params(("campaign" = String, Path, description = "Its name.")),
    request_body = Which,
    responses((status = 200, description = "It runs.", body = CampaignChangedDocument<'_>)),
)]
pub(crate) async fn resume(
    desk: Desk,
    Path(name): Path<String>,
    Input(which): Input<Which>,
) -> Result<Response, Problem> {
    let campaign = which.campaign(&desk, name).await?;
    (desk.registry())
        .resume_campaign(&campaign, desk.by())
        .await?;
    changed(&desk, &campaign, None).await
}

/// Ends what there is of a campaign as cancelled, and what comes.
#[utoipa::path(
    post,
    path = "/v1/campaigns/{campaign}/cancel",
    operation_id = "cancelCampaign",
    tag = "campaigns",
    params(("campaign" = String, Path, description = "Its name.")),
    request_body = Which,
    responses((status = 200, description = "It is cancelled.", body = CampaignChangedDocument<'_>)),
)]
pub(crate) async fn cancel(
    desk: Desk,
    Path(name): Path<String>,
    Input(which): Input<Which>,
) -> Result<Response, Problem> {
    let campaign = which.campaign(&desk, name).await?;
    let stop = (desk.registry())
        .cancel_campaign(&campaign, desk.by())
        .await?;
    changed(&desk, &campaign, Some(&stop)).await
}

/// The campaign of this name: the caller's client's, that of the client that is asked for, or of the only one that has one.
pub(crate) async fn campaign(
    desk: &Desk,
    name: String,
    client: Option<ClientId>,
    recipient: Option<String>,
) -> Result<Campaign, Problem> {
    named("campaign", &name)?;
    // Nobody is not everybody.
    if let Some(recipient) = &recipient {
        named("recipient", recipient)?;
    }
    let client = match desk.client(client)? {
        Some(client) => client,
        None => {
            let clients = desk.registry().campaign_clients(&name).await?;
            only_client(&name, &clients, "client")?
        }
    };
    Ok(Campaign {
        client,
        name,
        recipient,
    })
}

/// No event bears another one.
fn named(field: &str, text: &str) -> Result<(), Invalid> {
    let refused = |code, message: &str| Err(Invalid::new(code, message.to_owned()).at(field));
    match text.chars().count() {
        0 => refused("empty", "is empty"),
        256.. => refused("too_long", "is longer than 255 characters"),
        _ if text.chars().any(char::is_control) => {
            refused("control_character", "holds a control character")
        }
        _ => Ok(()),
    }
}

async fn changed(
    desk: &Desk,
    campaign: &Campaign,
    stop: Option<&Stop>,
) -> Result<Response, Problem> {
    let owned = desk.registry().owned().await?;
    Ok(Json(CampaignChangedDocument::of(campaign, stop, owned)).into_response())
}
