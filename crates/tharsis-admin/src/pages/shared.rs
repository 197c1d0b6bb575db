//! What pages count that is costly, shared by all who look at them.

use tharsis::{
    ClientId,
    store::{Campaign, CampaignReport},
};

use super::{counting::Counting, figures::Figures, recent::Recent, replays::Look};

#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) figures: Recent<Figures>,
    pub(crate) campaigns: Counting<Campaign, CampaignReport>,
    /// Whose deliveries those see who ask, and what they ask for.
    pub(crate) looks: Counting<(Option<ClientId>, String), Look>,
}
