use std::{sync::Arc, time::Duration};

use tharsis::{
    Emitter, Secret,
    egress::Policy,
    payload::nudge,
    profile::{MARS, Profiles},
    subscription::{Draft, Subscription},
};
use tharsis_receiver::{Answer, Authority, Options, Receiver, Sink, Verify};

use super::{
    events::CLIENTS,
    journal::{Journal, Sightings},
};
use crate::output::Failure;

/// A receiver and what is known of it.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) receiver: Receiver,
    pub(super) sightings: Arc<Sightings>,
    /// How many of the events it is to get.
    pub(super) expected: u64,
    pub(super) part: Part,
    secret: Secret,
}

/// The part that a receiver plays.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) client: &'static str,
    /// The only type it wants, if there is one.
    pub(super) event: Option<&'static str>,
    /// How it answers, in words.
    pub(super) answers: &'static str,
    fail_first: u32,
    delay: Duration,
}

/// Retries come soon, so that nobody waits for minutes.
pub(super) const RETRY: &str = "200ms,500ms,1s";

const PARTS: [Part; 3] = [
    Part {
        name: "Shop",
        client: CLIENTS[0],
        event: None,
        answers: "at once",
        fail_first: 0,
        delay: Duration::ZERO,
    },
    Part {
        name: "Shop nudges",
        client: CLIENTS[0],
        event: Some(nudge::TYPE),
        answers: "503 to the first 15",
        fail_first: 15,
        delay: Duration::ZERO,
    },
    Part {
        name: "Travel",
        client: CLIENTS[1],
        event: None,
        answers: "after 10 ms each",
        fail_first: 0,
        delay: Duration::from_millis(10),
    },
];

/// All receivers, each with a secret of its own.
pub(super) async fn all(
    authority: &Authority,
    journal: &Arc<Journal>,
) -> Result<Vec<Endpoint>, Failure> {
    let mut endpoints = Vec::new();
    for part in PARTS {
        endpoints.push(Endpoint::new(authority, journal, part).await?);
    }
    Ok(endpoints)
}

impl Endpoint {
    async fn new(
        authority: &Authority,
        journal: &Arc<Journal>,
        part: Part,
    ) -> Result<Self, Failure> {
        let mut random = [0; 20];
        getrandom::fill(&mut random).map_err(|error| Failure::because("no_randomness", &error))?;
        let secret = Secret::generate(random);
        let sightings = Arc::new(Sightings::default());
        let sink = {
            let (sightings, journal) = (sightings.clone(), journal.clone());
            Sink::Call(Arc::new(move |request| sightings.saw(&journal, &request)))
        };
        let receiver = Receiver::bind(Options {
            verify: Some(Verify {
                profile: Arc::new(MARS.clone()),
                secret: Some(secret.clone()),
                url: None,
            }),
            answer: Answer {
                fail_first: part.fail_first,
                delay: part.delay,
                ..Answer::default()
            },
            sink,
            ..Options::new(authority)
        })
        .await?;
        let wanted = journal.events().iter().filter(|event| {
            event.client().to_string() == part.client
                && part
                    .event
                    .is_none_or(|only| event.event_type().as_str() == only)
        });
        Ok(Self {
            expected: wanted.count() as u64,
            receiver,
            sightings,
            part,
            secret,
        })
    }

    /// Subscribes it, as an admin would: the HEAD goes out for real.
    pub(super) async fn subscribe(
        &self,
        emitter: &Emitter,
        policy: &Policy,
    ) -> Result<Subscription, Failure> {
        let settings = Draft {
            client: self.part.client.to_owned(),
            name: self.part.name.to_owned(),
            url: self.receiver.url("/hooks"),
            events: self.part.event.map(str::to_owned).into_iter().collect(),
            retry: Some(RETRY.to_owned()),
            ..Draft::default()
        }
        .settings(policy, &Profiles::default())?;
        Ok(emitter
            .subscribe(&settings, &self.secret.clone().into(), None)
            .await?)
    }
}
