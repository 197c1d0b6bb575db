use std::collections::HashMap;

use tharsis_core::ClientId;
use tharsis_store::{Named, Stop, StopState};

/// The campaigns, or recipients in them, of which nothing is sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stops {
    by_client: HashMap<ClientId, HashMap<String, OfCampaign>>,
    /// As the registry says it. One that was lifted and set anew meanwhile is another.
    all: Vec<Stop>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct OfCampaign {
    whole: Option<StopState>,
    recipients: HashMap<String, StopState>,
}

impl Stops {
    pub(super) fn new(stops: &[Stop]) -> Self {
        let mut by_client: HashMap<_, HashMap<_, OfCampaign>> = HashMap::new();
        for stop in stops {
            let of = by_client
                .entry(stop.campaign.client)
                .or_default()
                .entry(stop.campaign.name.clone())
                .or_default();
            match &stop.campaign.recipient {
                None => of.whole = Some(stop.state),
                Some(recipient) => {
                    of.recipients.insert(recipient.clone(), stop.state);
                }
            }
        }
        Self {
            by_client,
            all: stops.to_vec(),
        }
    }

    /// What stops an event of this client. Where its campaign is paused and its recipient cancelled, or the other way round,
    /// it is cancelled.
    pub(super) fn of(&self, client: ClientId, named: &Named) -> Option<StopState> {
        let campaign = named.campaign.as_deref()?;
        let of = self.by_client.get(&client)?.get(campaign)?;
        let recipient = named.recipient.as_deref();
        let recipient = recipient.and_then(|recipient| of.recipients.get(recipient).copied());
        if recipient == Some(StopState::Cancelled) {
            return recipient;
        }
        of.whole.or(recipient)
    }
}

#[cfg(test)]
mod tests {
    use tharsis_core::Timestamp;
    use tharsis_store::Campaign;

    use super::*;
    use crate::engine::samples::client;

    #[test]
    fn a_stop_is_of_one_clients_campaign_or_of_one_recipient_in_it_and_cancelled_goes_first() {
        let stop = |recipient: Option<&str>, state| Stop {
            seq: 1,
            campaign: Campaign {
                client: client(1),
                name: "spring".to_owned(),
                recipient: recipient.map(str::to_owned),
            },
            state,
            since: Timestamp::from_millis(1),
        };
        let of = |stops: &Stops, n, campaign: &str, recipient: Option<&str>| {
            let named = Named {
                campaign: Some(campaign.into()),
                recipient: recipient.map(Into::into),
            };
            stops.of(client(n), &named)
        };
        let (paused, cancelled) = (Some(StopState::Paused), Some(StopState::Cancelled));
        let one = Stops::new(&[stop(Some("ann"), StopState::Paused)]);
        assert_eq!(of(&one, 1, "spring", Some("ann")), paused);
        assert_eq!(of(&one, 1, "spring", Some("bob")), None);
        assert_eq!(of(&one, 1, "spring", None), None);
        assert_eq!(of(&one, 1, "autumn", Some("ann")), None);
        assert_eq!(of(&one, 2, "spring", Some("ann")), None);

        let both = Stops::new(&[
            stop(None, StopState::Paused),
            stop(Some("ann"), StopState::Cancelled),
        ]);
        assert_eq!(of(&both, 1, "spring", None), paused);
        assert_eq!(of(&both, 1, "spring", Some("ann")), cancelled);
        let all = Stops::new(&[
            stop(None, StopState::Cancelled),
            stop(Some("ann"), StopState::Paused),
        ]);
        assert_eq!(of(&all, 1, "spring", Some("ann")), cancelled);
    }
}
