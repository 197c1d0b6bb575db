use std::{future::Future, time::Duration};

use bytes::Bytes;
use tharsis_core::{
    ClientId, DeliveryId, EventId, Invalid, ReplayId, SubscriptionId, Timestamp, TokenId,
    delivery::End,
    erasure::Erasure,
    secret::Secret,
    subscription::{Credentials, Held, Settings, Subscription, Target, header::OwnHeader},
    token::Token,
};

use crate::{
    AlertRecord, Attempt, AuditRecord, By, Campaign, CampaignReport, Deed, Depth, Erased, Gauges,
    KeyRecord, KeyRotated, Outlived, Replay, ReplayChoice, ReplayDraft, Retention, Stop,
    StoreError, Survey, Tally, TokenDraft, TokenRecord, Traffic, TransitionRecord, Unfinished,
    Whereabouts,
};

/// What people ask for: subscriptions and their secrets, the history, commands to the owner, and who may ask.
///
/// # Contract
/// - Each write is one transaction and bumps the registry's revision in it, commands too, so that a worker sees it within
///   one poll, and what is published after `add` returned is offered to the new subscription. Writes to tokens bump nothing:
///   no worker goes by them.
/// - Secrets and the values of headers are sealed before they are written (see [`tharsis_core::secret`]) and are returned
///   by `credentials` alone. A subscription of which one does not open reads as `Suspended { reason: "secret_unreadable" }`,
///   and its deliveries as held, until it is replaced or the right key is there.
/// - A subscription whose profile this process does not know reads as `Suspended { reason: "profile_unknown" }`, and its
///   deliveries as held: a process that knows it delivers them.
/// - The registry never touches a delivery: what is asked for (replay, retry, cancel) is written down as a command that
///   the owner carries out.
/// - Lists come newest event first and are paged by cursor. A cursor of another filter, or one that no list gave, is
///   refused with `bad_cursor`.
/// - Who asks for a change is kept in the audit, in the transaction of the change, with what was before and what is after.
/// - A removed subscription is found by nothing but the history, which keeps its name; its own name is free again.
pub trait Registry: Send + Sync + 'static {
    /// Adds a subscription whose check has passed. Refused with `name_taken` when another one of the client has this
    /// name (compared after NFC and case folding).
    fn add<'a>(
        &'a self,
        settings: &'a Settings,
        credentials: &'a Credentials,
        by: impl Into<By<'a>> + Send,
    ) -> impl Future<Output = Result<Subscription, StoreError>> + Send;

    /// One subscription.
    fn find(
        &self,
        id: SubscriptionId,
    ) -> impl Future<Output = Result<Subscription, StoreError>> + Send;

    /// All subscriptions that are not removed, of one client or of all, oldest first.
    fn list(
        &self,
        client: Option<ClientId>,
    ) -> impl Future<Output = Result<Vec<Subscription>, StoreError>> + Send;

    /// Replaces the settings of a subscription, whose receiver is asked anew then, and of its credentials what is given
    /// anew. Where the URL leads to another host, headers that are not given go, for they are not that host's; a secret that is
    /// not given is refused (`secret_of_another_host`), so that nobody loses one unasked. Refused with `not_changeable` when
    /// `client` or `profile` is another one: deliveries that wait were routed under these; with `changed_meanwhile` when it is
    /// not the [version](Anew::version) any more that it is to replace.
    fn set<'a>(
        &'a self,
        id: SubscriptionId,
        settings: &'a Settings,
        anew: Anew<'a>,
        by: impl Into<By<'a>> + Send,
    ) -> impl Future<Output = Result<Subscription, StoreError>> + Send;

    /// Holds its deliveries.
    fn pause<'a>(
        &'a self,
        id: SubscriptionId,
        by: impl Into<By<'a>> + Send,
    ) -> impl Future<Output = Result<Subscription, StoreError>> + Send;

    /// Lets them go again, also after it was suspended; of those that were held what is chosen. Where that is not all of them,
    /// it stays held until the owner has ended the others `cancelled`, in chunks. A receiver that did not answer well is sent one first, and the rest
    /// once it has answered that.
    fn resume<'a>(
        &'a self,
        id: SubscriptionId,
        held: Held,
        by: impl Into<By<'a>> + Send,
    ) -> impl Future<Output = Result<Subscription, StoreError>> + Send;

    /// Replaces its secret; `None` removes it. Refused with `secret_reused` when it is the present one. The one that was
    /// there goes on signing beside it `until` then, and so do those that do so already; refused with `one_signature` where
    /// the profile's header carries one signature only. Without `until` the new one signs alone at once.
    fn rotate<'a>(
        &'a self,
        id: SubscriptionId,
        secret: Option<&'a Secret>,
        until: Option<Timestamp>,
        by: impl Into<By<'a>> + Send,
    ) -> impl Future<Output = Result<Subscription, StoreError>> + Send;

    /// Removes it. The owner ends its unfinished deliveries `cancelled`.
    fn remove<'a>(
        &'a self,
        id: SubscriptionId,
        by: impl Into<By<'a>> + Send,
    ) -> impl Future<Output = Result<Removed, StoreError>> + Send;

    /// What its requests prove themselves with, for the check and the test send alone.
    fn credentials(
        &self,
        id: SubscriptionId,
    ) -> impl Future<Output = Result<Credentials, StoreError>> + Send;

    /// One event with the state of each of its deliveries.
    fn event(&self, id: EventId) -> impl Future<Output = Result<EventRecord, StoreError>> + Send;

    /// Deliveries that match, newest event first. A page looks back over a bounded number of rows, however few of them
    /// match: it may hold fewer than asked for, or none, and still have a next one. No delivery is told twice over the
    /// pages, or missed.
    fn deliveries<'a>(
        &'a self,
        filter: &'a DeliveryFilter,
        after: Option<&'a str>,
        limit: u32,
    ) -> impl Future<Output = Result<Page<DeliveryRow>, StoreError>> + Send;

    /// How many match.
    fn count<'a>(
        &'a self,
        filter: &'a DeliveryFilter,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// How many are unfinished, of one client or of all, and to one subscription or to all, where at most so many are counted.
    /// It looks at no event: what is past its expiry counts as waiting until a worker ends it.
    fn unfinished(
        &self,
        client: Option<ClientId>,
        subscription: Option<SubscriptionId>,
        most: u64,
    ) -> impl Future<Output = Result<Unfinished, StoreError>> + Send;

    /// One delivery with its attempts.
    fn delivery(
        &self,
        id: DeliveryId,
    ) -> impl Future<Output = Result<DeliveryDetail, StoreError>> + Send;

    /// The latest attempts of deliveries that match, of those that were settled since then, in the order in which they were;
    /// and how many there are before them. An attempt is settled when it is over: it may have begun before. Of
    /// [`DeliveryFilter::status`] an attempt has the end that came with it, else `retrying`.
    ///
    /// It is for those who follow: what was settled an instant ago may be seen a while later, and an end without a request
    /// takes the place of an earlier one. On SQLite of the successes at the first attempt only those are found that are among
    /// the some thousand attempts of the newest events; all else is, however old its event.
    fn settled<'a>(
        &'a self,
        filter: &'a DeliveryFilter,
        since: Timestamp,
        limit: u32,
    ) -> impl Future<Output = Result<Settled, StoreError>> + Send;

    /// What its receiver has been through, newest first, at most 100 transitions of the last 90 days.
    fn transitions(
        &self,
        id: SubscriptionId,
    ) -> impl Future<Output = Result<Vec<TransitionRecord>, StoreError>> + Send;

    /// What people were told and are to be told of the subscriptions of one client or of all, what is not told yet first, then
    /// the newest; at most 100 of 90 days.
    fn alerts(
        &self,
        client: Option<ClientId>,
    ) -> impl Future<Output = Result<Vec<AlertRecord>, StoreError>> + Send;

    /// Asks the owner to make one unfinished delivery due now. Refused with `delivery_ended` when it is finished.
    fn retry<'a>(
        &'a self,
        id: DeliveryId,
        by: impl Into<By<'a>> + Send,
    ) -> impl Future<Output = Result<CommandAccepted, StoreError>> + Send;

    /// Asks the owner to end one unfinished delivery `cancelled`. Refused with `delivery_ended` when it is finished.
    fn cancel<'a>(
        &'a self,
        id: DeliveryId,
        by: impl Into<By<'a>> + Send,
    ) -> impl Future<Output = Result<CommandAccepted, StoreError>> + Send;

    /// Writes a replay down. The owner works it off: each chosen delivery that has ended becomes due again with a new
    /// retry budget, not before its event's `not_before`. One that is unfinished already, or whose event has expired, or
    /// whose subscription is gone, or that ended `refused`, is skipped and counted; so is one that has ended under a replay
    /// which was not through when this one was asked for, or came later, so that of two replays of the same one sends it. A
    /// filter looks only at what has ended. A subscription has some hundred unfinished deliveries of a replay at a time.
    ///
    /// One of a [client](ReplayDraft::client) takes nothing of another's, whatever the filter: what is named of another
    /// client is not found, and a filter that names one is refused with `bad_choice`.
    fn replay<'a>(
        &'a self,
        draft: &'a ReplayDraft,
        by: impl Into<By<'a>> + Send,
    ) -> impl Future<Output = Result<Replay, StoreError>> + Send;

    /// Holds a replay: nothing more of it becomes due until it is resumed. Refused with `replay_over` when it is.
    fn pause_replay<'a>(
        &'a self,
        id: ReplayId,
        by: impl Into<By<'a>> + Send,
    ) -> impl Future<Output = Result<Replay, StoreError>> + Send;

    /// Lets it go on. Refused with `replay_over` when it is.
    fn resume_replay<'a>(
        &'a self,
        id: ReplayId,
        by: impl Into<By<'a>> + Send,
    ) -> impl Future<Output = Result<Replay, StoreError>> + Send;

    /// Calls it off for ever: what it made due already goes on. Refused with `replay_over` when it is.
    fn cancel_replay<'a>(
        &'a self,
        id: ReplayId,
        by: impl Into<By<'a>> + Send,
    ) -> impl Future<Output = Result<Replay, StoreError>> + Send;

    /// What is to be expected of a replay of this: how many there are for each subscription. Goes through all that can match,
    /// or looks at so many and a few more, matching or not, and then says that there may be more.
    fn tally<'a>(
        &'a self,
        choice: &'a ReplayChoice,
        looked: Option<usize>,
    ) -> impl Future<Output = Result<Tally, StoreError>> + Send;

    /// Who asked for what, newest first: of one client, or all of it. `after` is a page's [`next`](Page::next).
    fn audit<'a>(
        &'a self,
        client: Option<ClientId>,
        after: Option<&'a str>,
        limit: u32,
    ) -> impl Future<Output = Result<Page<AuditRecord>, StoreError>> + Send;

    /// Writes down what somebody asked for and was refused, for those who look for attacks. It changes nothing else.
    fn record<'a>(
        &'a self,
        deed: &'a Deed,
        by: impl Into<By<'a>> + Send,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// One replay.
    fn replay_state(&self, id: ReplayId)
    -> impl Future<Output = Result<Replay, StoreError>> + Send;

    /// The replays, newest first, at most 100: of one client those that are of it alone.
    fn replays(
        &self,
        client: Option<ClientId>,
    ) -> impl Future<Output = Result<Vec<Replay>, StoreError>> + Send;

    /// Holds what there is of a campaign and what comes, until it is resumed. One that is paused already stays so since
    /// then. Refused with `campaign_cancelled` when it is cancelled.
    fn pause_campaign<'a>(
        &'a self,
        campaign: &'a Campaign,
        by: impl Into<By<'a>> + Send,
    ) -> impl Future<Output = Result<Stop, StoreError>> + Send;

    /// Ends what there is of a campaign `cancelled`, held or not, and what comes as long as it is not resumed. One that is
    /// cancelled already stays so since then.
    fn cancel_campaign<'a>(
        &'a self,
        campaign: &'a Campaign,
        by: impl Into<By<'a>> + Send,
    ) -> impl Future<Output = Result<Stop, StoreError>> + Send;

    /// Lifts the stop of this very campaign, or recipient, and returns it if there was one. What was held goes on unless
    /// another stop holds it; what was cancelled stays so.
    fn resume_campaign<'a>(
        &'a self,
        campaign: &'a Campaign,
        by: impl Into<By<'a>> + Send,
    ) -> impl Future<Output = Result<Option<Stop>, StoreError>> + Send;

    /// How a campaign does. Goes through all events.
    fn campaign<'a>(
        &'a self,
        campaign: &'a Campaign,
    ) -> impl Future<Output = Result<CampaignReport, StoreError>> + Send;

    /// The clients that published events of a campaign of this name, or for whom one is stopped. Goes through all events.
    fn campaign_clients<'a>(
        &'a self,
        campaign: &'a str,
    ) -> impl Future<Output = Result<Vec<ClientId>, StoreError>> + Send;

    /// Whether some process owns delivery at present.
    fn owned(&self) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Where an event has got to, and what holds what is left of it. It goes by the event's key alone, and through the
    /// subscriptions of its client, however much was published.
    fn whereabouts(
        &self,
        id: EventId,
    ) -> impl Future<Output = Result<Whereabouts, StoreError>> + Send;

    /// Erases the events of somebody, routed or not, with what became of them; of a [client](Erasure::Client) its subscriptions
    /// too, and its tokens, those first, so that nobody publishes for it any more. What is not delivered is not sent any more, but for what is under way: what is recorded of that goes within two
    /// hours, by [`Outbox::forget`](crate::Outbox::forget). It may be asked for again where it was cut short. The audit keeps
    /// [whose](Erasure::subject) it was and how much. `tell` is told how far it has come.
    ///
    /// On SQLite what is deleted is overwritten in the file; on PostgreSQL that is for vacuum to do.
    fn erase<'a>(
        &'a self,
        whose: &'a Erasure,
        by: By<'a>,
        tell: &'a (dyn Fn(&Erased) + Sync),
    ) -> impl Future<Output = Result<Erased, StoreError>> + Send;

    /// What there is now that is [kept no longer](Retention). Goes through all that is as old.
    fn outlived<'a>(
        &'a self,
        retention: &'a Retention,
        now: Timestamp,
    ) -> impl Future<Output = Result<Outlived, StoreError>> + Send;

    /// How the database does, and what lies in it. Needs no key.
    fn survey(&self) -> impl Future<Output = Result<Survey, StoreError>> + Send;

    /// What lies in the database, in figures for whoever draws them over time. Needs the key, for what does not open is held.
    fn gauges(&self) -> impl Future<Output = Result<Gauges, StoreError>> + Send;

    /// What workers did in each minute from then on in which they did something, oldest first: for one client, or for all
    /// together. Kept for 48 hours; the last seconds are not in it yet.
    fn minutes(
        &self,
        client: Option<ClientId>,
        since: Timestamp,
    ) -> impl Future<Output = Result<Vec<Traffic>, StoreError>> + Send;

    /// What workers did for a subscription in each quarter of an hour that began from then on and in which they did something,
    /// oldest first. Gone where it was removed, and kept for 48 hours; the last seconds are not in it yet.
    fn quarters(
        &self,
        id: SubscriptionId,
        since: Timestamp,
    ) -> impl Future<Output = Result<Vec<Traffic>, StoreError>> + Send;

    /// How much waited in each minute from then on in which a worker was there, oldest first. Kept for 48 hours.
    fn depths(
        &self,
        since: Timestamp,
    ) -> impl Future<Output = Result<Vec<Depth>, StoreError>> + Send;

    /// The keys that secrets are sealed with: first the one that seals now, then those whose place others took, the latest
    /// first; at the end those that only this process has, or only what is sealed knows.
    fn keys(&self) -> impl Future<Output = Result<Vec<KeyRecord>, StoreError>> + Send;

    /// The id of the key that the next rotation takes: the newest of this process that the database does not know, else one
    /// that is made now and added to the key file. Refused with `key_not_prepared` where the keys were given to the process.
    fn prepare_key(&self) -> impl Future<Output = Result<String, StoreError>> + Send;

    /// Has the [prepared](Self::prepare_key) key seal from now on, then seals all anew with it that older ones have sealed,
    /// some at a time, while others read, write and deliver. It may be asked for again where it was cut short: where nothing
    /// is prepared, and something is sealed with an older key that is here, it goes on with that. `tell` is told how many
    /// values are sealed anew.
    ///
    /// A process needs the key before this is asked for, or has to find it in its key file; else it holds what was sealed
    /// anew (`secret_unreadable`).
    fn rotate_key<'a>(
        &'a self,
        by: By<'a>,
        tell: &'a (dyn Fn(u64) + Sync),
    ) -> impl Future<Output = Result<KeyRotated, StoreError>> + Send;

    /// Makes a token usable. Only its hash is kept, so it is not shown again. Refused with `empty`, `too_long` or
    /// `control_character` for its name, `already_expired` or `bad_time` for its end. The audit keeps it.
    fn add_token<'a>(
        &'a self,
        token: &'a Token,
        draft: &'a TokenDraft,
        by: By<'a>,
    ) -> impl Future<Output = Result<TokenRecord, StoreError>> + Send;

    /// The tokens, newest first, also those that are expired or revoked; of one client those that are for it alone.
    fn tokens(
        &self,
        client: Option<ClientId>,
    ) -> impl Future<Output = Result<Vec<TokenRecord>, StoreError>> + Send;

    /// Has it let nobody in any more, for ever. One that is revoked already stays so since then. The audit keeps it. Where a
    /// `client` is named, whose tokens alone may be revoked, another's is not found, nor is one that is for all of them.
    fn revoke_token<'a>(
        &'a self,
        client: Option<ClientId>,
        id: TokenId,
        by: By<'a>,
    ) -> impl Future<Output = Result<TokenRecord, StoreError>> + Send;

    /// The token of this [hash](Token::hash), if it lets somebody in: it is neither revoked nor expired, which it is from its
    /// last instant on.
    fn token<'a>(
        &'a self,
        hash: &'a [u8; 32],
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<TokenRecord>, StoreError>> + Send;

    /// Notes that it was used, in a transaction of its own. Writes once a minute at most, and nothing to the audit; of one that
    /// is gone there is nothing to note.
    fn used_token(
        &self,
        id: TokenId,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Whether any token lets somebody in.
    fn has_tokens(&self, now: Timestamp) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// What a subscription is given anew beside its settings, and in place of what.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anew<'a> {
    /// In place of the one that was there, and of those that went on signing beside it; `Some(None)` for none.
    pub secret: Option<Option<&'a Secret>>,
    /// In place of all that were there.
    pub headers: Option<&'a [OwnHeader]>,
    /// The version that it is to replace; whatever there is, where none is named.
    pub version: Option<u64>,
}

impl<'a> Anew<'a> {
    /// What becomes of the credentials of the present subscription, where that is the one that is to be replaced.
    pub(crate) fn on(self, present: &Target, settings: &Settings) -> Result<Replaced<'a>, Invalid> {
        if self
            .version
            .is_some_and(|version| version != present.subscription.version)
        {
            return Err(Invalid::new(
                "changed_meanwhile",
                "it is not what was read: somebody has changed it since",
            )
            .hint("read it again, and make the change to what it is now"));
        }
        let moves = present.subscription.settings.url.host() != settings.url.host();
        if moves && self.secret.is_none() && present.credentials.secret.is_some() {
            return Err(Invalid::new(
                "secret_of_another_host",
                "is what the former host was told, and the URL leads to another one",
            )
            .at("secret")
            .hint("give the new host a secret of its own, or none"));
        }
        if let Some(secret) = self.secret {
            settings.accepts(secret)?;
        }
        Ok(Replaced {
            secret: self.secret.or_else(|| moves.then_some(None)),
            headers: self.headers.or_else(|| moves.then_some(&[][..])),
        })
    }
}

/// What is written of credentials: `None` where they stay.
pub(crate) struct Replaced<'a> {
    pub(crate) secret: Option<Option<&'a Secret>>,
    pub(crate) headers: Option<&'a [OwnHeader]>,
}

/// What a removal left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Unfinished deliveries that the owner will end `cancelled`.
    pub unfinished: u64,
}

/// What a command found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandAccepted {
    /// Whether an owner is there to carry it out now.
    pub owned: bool,
}

/// Which deliveries. Empty fields do not restrict.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DeliveryFilter {
    /// Any of these.
    pub status: Vec<Status>,
    /// Any of these.
    pub subscription: Vec<SubscriptionId>,
    /// Of this client.
    pub client: Option<ClientId>,
    /// Any of these types.
    pub event_type: Vec<String>,
    /// Of this campaign.
    pub campaign: Option<String>,
    /// Of this event.
    pub event: Option<EventId>,
    /// Published at or after.
    pub since: Option<Timestamp>,
    /// Published before.
    pub until: Option<Timestamp>,
    /// Ended, with an attempt that began at or after.
    pub ended_since: Option<Timestamp>,
}

/// The state of a delivery as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Never attempted yet, and nothing holds it but its time.
    Pending,
    /// Attempted, and waiting for its next attempt.
    Retrying,
    /// Its subscription is paused or suspended, or its breaker open, or it went aside with its campaign.
    Held,
    /// It ended. Unfinished ones whose event has expired, by the database's clock, are told as `expired` too, whatever holds
    /// them: they are never sent.
    Ended(End),
}

/// One line of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryRow {
    /// Its name.
    pub id: DeliveryId,
    /// Of its event.
    pub event_type: String,
    /// Of its event.
    pub client: ClientId,
    /// Of its event.
    pub campaign: Option<String>,
    /// The name of its subscription.
    pub subscription_name: String,
    /// Its state.
    pub status: Status,
    /// Attempts made.
    pub attempts: u32,
    /// The code of the last outcome.
    pub code: Option<String>,
    /// When its event was published.
    pub published_at: Timestamp,
    /// When the last attempt began.
    pub last_at: Option<Timestamp>,
    /// When the next one is due.
    pub due_at: Option<Timestamp>,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Hand it over to get the rows after these; `None` at the end.
    pub next: Option<String>,
    /// Where it was searched for no longer before the page was full: back to what was published then.
    pub searched_until: Option<Timestamp>,
}

/// One attempt as the history holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRecord {
    /// What was done and what came of it.
    pub attempt: Attempt,
    /// How the delivery ended with it.
    pub end: Option<End>,
    /// When the next attempt was due.
    pub due_at: Option<Timestamp>,
}

/// One attempt of many deliveries' with what it was for.
#[derive(Debug, Clone, PartialEq)]
pub struct SettledAttempt {
    /// Of its delivery.
    pub id: DeliveryId,
    /// Of its event.
    pub event_type: String,
    /// Of its event.
    pub client: ClientId,
    /// Of its event.
    pub campaign: Option<String>,
    /// The name of its subscription.
    pub subscription_name: String,
    /// What was done and what came of it.
    pub record: AttemptRecord,
}

impl SettledAttempt {
    /// When it was over.
    pub fn settled_at(&self) -> Timestamp {
        self.record.attempt.at + self.record.attempt.duration
    }
}

/// What was settled lately.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// The latest, in the order in which they were settled.
    pub items: Vec<SettledAttempt>,
    /// How many there are before them.
    pub left_out: u64,
}

/// How long before it was settled an attempt may have begun where no request may take longer than so many milliseconds.
pub(crate) fn begun_before(longest_ms: i64) -> Duration {
    const MORE: Duration = Duration::from_secs(5);
    Duration::from_millis(longest_ms.unsigned_abs()) + MORE
}

/// A delivery with its attempts, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryDetail {
    /// The line of the list.
    pub row: DeliveryRow,
    /// Its attempts.
    pub attempts: Vec<AttemptRecord>,
}

/// An event as the outbox holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRecord {
    /// Its name.
    pub id: EventId,
    /// Its type.
    pub event_type: String,
    /// On whose behalf.
    pub client: ClientId,
    /// Its campaign.
    pub campaign: Option<String>,
    /// Whom it is about.
    pub recipient: Option<String>,
    /// When it was published.
    pub published_at: Timestamp,
    /// No attempt before.
    pub not_before: Option<Timestamp>,
    /// No attempt at or after.
    pub expires_at: Option<Timestamp>,
    /// Whether it has been routed.
    pub routed: bool,
    /// Why it could not be frozen.
    pub refused: Option<Refusal>,
    /// The bytes.
    pub payload: Bytes,
    /// Its deliveries.
    pub deliveries: Vec<DeliveryRow>,
}

/// Why an event could not be frozen: an [`Invalid`](tharsis_core::Invalid) as the outbox keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Stable code.
    pub code: String,
    /// Path of the field, where there is one.
    pub field: Option<String>,
    /// One sentence, lower case, without a full stop.
    pub message: String,
}
