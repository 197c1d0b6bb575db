//! Campaigns: how one does, and stopping it.

use std::sync::Arc;

use askama::Template;
use axum::{
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use form_urlencoded::{Serializer, byte_serialize};
use tharsis::{
    ClientId, Registry, Timestamp,
    store::{Campaign, CampaignReport, Slow, Stop, StopState},
    token::Permission,
};

use super::{
    fields::{Fact, Input, told},
    form::Form,
    layout::{self, Frame},
    markup::{Badge, Kept, Moment},
    progress::Progress,
    visit::{Path, Visit},
};
use crate::{
    Problem, api,
    documents::delivered_per_second,
    text::{count, counted, measured},
};

/// So many recipients that are stopped by themselves are shown.
const RECIPIENTS: usize = 50;

/// So many reasons of what is dead are shown, the most frequent.
const REASONS: usize = 20;

#[derive(Template)]
#[template(path = "campaigns.html")]
struct Find {
    frame: Frame,
    /// Where it is about no field.
    problem: Option<String>,
    inputs: Vec<Input>,
}

impl Find {
    fn new(visit: &Visit, typed: &Form, problem: Option<&Problem>) -> Self {
        let mut inputs = vec![
            Input::new("campaign", "Campaign")
                .hint("its name, as events bear it")
                .required(),
        ];
        if visit.sees_all() {
            inputs.push(
                Input::new("client", "Client")
                    .hint("its id; needed where several have a campaign of this name"),
            );
        }
        inputs.push(Input::new("recipient", "Recipient").hint("this one alone; empty: everybody"));
        let inputs: Vec<Input> = (inputs.into_iter())
            .map(|input| input.after(typed, problem))
            .collect();
        let is_beside = inputs.iter().any(|input| input.problem.is_some());
        Self {
            frame: visit.frame("Campaigns"),
            problem: problem.filter(|_| !is_beside).map(told),
            inputs,
        }
    }
}

/// Asks which one is meant, and leads to it.
pub(crate) async fn find(visit: Visit, asked: Form) -> Result<Response, Problem> {
    if let Some(name) = asked.text("campaign") {
        let whose = asked.clone().with("campaign", "").query();
        return Ok(Redirect::to(&format!("{}?{whose}", path(name))).into_response());
    }
    // What is another's is not there.
    visit.desk.client(asked.word("client")?)?;
    layout::answer(StatusCode::OK, &Find::new(&visit, &asked, None))
}

/// The campaign of this name, and of whom and for whom a form says it is.
async fn campaign(visit: &Visit, name: &str, asked: &Form) -> Result<Campaign, Problem> {
    let client: Option<ClientId> = asked.word("client")?;
    let recipient = asked.exact("recipient").map(str::to_owned);
    api::campaigns::campaign(&visit.desk, name.to_owned(), client, recipient).await
}

#[derive(Template)]
#[template(path = "campaign.html")]
struct One {
    frame: Frame,
    state: Badge,
    since: Option<Moment>,
    /// Where all of it is, where that is what is stopped.
    stopped_with: Option<String>,
    progress: Progress,
    facts: Vec<Fact>,
    /// Deliveries by what became of them.
    counts: Vec<Count>,
    /// Those that are dead, by the code of the last outcome.
    reasons: Vec<Fact>,
    slowest: Vec<Slowest>,
    /// Those that are stopped by themselves.
    recipients: Vec<Stopped>,
    /// Recipients that are stopped too.
    left_out: usize,
    deliveries: String,
    steer: Option<Steer>,
}

/// So many deliveries in a status.
struct Count {
    status: Badge,
    count: String,
}

/// A subscription that takes long to answer.
struct Slowest {
    href: String,
    name: String,
    requests: String,
    mean: String,
    p95: String,
}

/// A recipient that is stopped.
struct Stopped {
    href: String,
    name: String,
    state: Badge,
    since: Moment,
}

/// What may be done with it, and where.
struct Steer {
    path: String,
    client: String,
    recipient: Kept,
    may_pause: bool,
    may_resume: bool,
    /// Where it is asked whether that is meant.
    cancel: Option<String>,
}

/// How it does. Where it is not known which one is meant, that is asked for again.
pub(crate) async fn show(
    visit: Visit,
    Path(name): Path<String>,
    asked: Form,
) -> Result<Response, Problem> {
    let found = campaign(&visit, &name, &asked).await;
    match found {
        Ok(campaign) => match report(&visit, &campaign).await? {
            Some(report) => layout::answer(StatusCode::OK, &One::new(&visit, &campaign, &report)),
            None => {
                let page = Counting {
                    frame: visit.passing_frame(&*campaign.name),
                };
                layout::answer(StatusCode::OK, &page).map(layout::again)
            }
        },
        Err(problem) if problem.status().is_client_error() => {
            let typed = asked.with("campaign", &name);
            let page = Find::new(&visit, &typed, Some(&problem));
            layout::answer_to(&problem, &page)
        }
        Err(problem) => Err(problem),
    }
}

/// In the place of the page, while it is counted what the page tells.
#[derive(Template)]
#[template(path = "campaign_counting.html")]
struct Counting {
    frame: Frame,
}

async fn report(
    visit: &Visit,
    campaign: &Campaign,
) -> Result<Option<Arc<CampaignReport>>, Problem> {
    let counting = {
        let (visit, campaign) = (visit.clone(), campaign.clone());
        async move {
            let _turn = visit.turn().await?;
            Ok(visit.desk.registry().campaign(&campaign).await?)
        }
    };
    let campaigns = &visit.shared().campaigns;
    let report = campaigns.within(visit.patience(), campaign.clone(), counting);
    report.await
}

impl One {
    fn new(visit: &Visit, campaign: &Campaign, report: &CampaignReport) -> Self {
        let now = visit.now();
        let Campaign { client, name, .. } = campaign;
        let stop = report.stop.as_ref();
        let recipients = report.recipients.iter();
        Self {
            frame: visit.frame(&**name),
            state: Badge::of(stop.map_or("running", |stop| stop.state.as_str())),
            since: stop.map(|stop| Moment::of(stop.since, now)),
            stopped_with: (stop.filter(|stop| stop.campaign != *campaign))
                .map(|stop| place_of(&stop.campaign)),
            progress: progress(report),
            facts: facts(campaign, report),
            counts: counts(report),
            reasons: reasons(report),
            slowest: report.slowest.iter().map(Slowest::from).collect(),
            recipients: recipients
                .take(RECIPIENTS)
                .map(|stop| Stopped::of(stop, now))
                .collect(),
            left_out: report.recipients.len().saturating_sub(RECIPIENTS),
            deliveries: format!("/deliveries?{}", deliveries(*client, name)),
            steer: visit
                .may(Permission::Operate)
                .then(|| Steer::of(campaign, stop)),
        }
    }
}

impl From<&Slow> for Slowest {
    fn from(slow: &Slow) -> Self {
        Self {
            href: format!("/subscriptions/{}", slow.subscription),
            name: slow.name.clone(),
            requests: count(slow.attempts),
            mean: measured(slow.mean),
            p95: measured(slow.p95),
        }
    }
}

impl Stopped {
    fn of(stop: &Stop, now: Timestamp) -> Self {
        Self {
            href: place_of(&stop.campaign),
            name: stop.campaign.recipient.clone().unwrap_or_default(),
            state: Badge::of(stop.state.as_str()),
            since: Moment::of(stop.since, now),
        }
    }
}

impl Steer {
    fn of(campaign: &Campaign, stop: Option<&Stop>) -> Self {
        let path = path(&campaign.name);
        let recipient = campaign.recipient.as_deref();
        // A recipient may be stopped by itself too where all of it is.
        let own = stop.filter(|stop| stop.campaign == *campaign);
        let own = own.map(|stop| stop.state);
        let may_cancel = own != Some(StopState::Cancelled);
        Self {
            client: campaign.client.to_string(),
            recipient: Kept::from(recipient.unwrap_or_default()),
            may_pause: own.is_none(),
            may_resume: stop.is_some(),
            cancel: may_cancel
                .then(|| format!("{path}/cancel?{}", whose(campaign.client, recipient))),
            path,
        }
    }
}

fn dead(report: &CampaignReport) -> u64 {
    report.dead.values().sum()
}

/// How many of its deliveries are through, however they ended.
fn progress(report: &CampaignReport) -> Progress {
    let ended =
        report.delivered + report.expired + report.cancelled + report.refused + dead(report);
    let all = ended + report.pending + report.held;
    let sentence = match all {
        0 => "There is no delivery of it so far.".to_owned(),
        all => format!(
            "{} of {} ended.",
            count(ended),
            counted(all, "delivery has", "deliveries have")
        ),
    };
    Progress::of(ended, Some(all), sentence)
}

fn facts(campaign: &Campaign, report: &CampaignReport) -> Vec<Fact> {
    let mut facts = vec![Fact::new("Client", campaign.client.to_string())];
    facts.extend((campaign.recipient.as_deref()).map(|one| Fact::new("Recipient", one)));
    facts.push(Fact::new(
        "Published",
        counted(report.published, "event", "events"),
    ));
    facts.push(Fact::new(
        "Last minute",
        format!(
            "{} delivered, {:.1} a second",
            count(report.delivered_last_minute),
            delivered_per_second(report)
        ),
    ));
    facts
}

fn counts(report: &CampaignReport) -> Vec<Count> {
    let counts = [
        ("delivered", report.delivered),
        ("pending", report.pending),
        ("held", report.held),
        ("expired", report.expired),
        ("cancelled", report.cancelled),
        ("refused", report.refused),
        ("dead", dead(report)),
    ];
    let counts = counts.map(|(word, number)| Count {
        status: Badge::of(word),
        count: count(number),
    });
    counts.into()
}

fn reasons(report: &CampaignReport) -> Vec<Fact> {
    let mut dead: Vec<_> = report.dead.iter().collect();
    dead.sort_by_key(|(_, number)| std::cmp::Reverse(**number));
    let shown = dead.into_iter().take(REASONS);
    shown
        .map(|(code, number)| Fact::new(&**code, count(*number)))
        .collect()
}

/// Holds what there is of it, and what comes.
pub(crate) async fn pause(
    visit: Visit,
    Path(name): Path<String>,
    chosen: Form,
) -> Result<Response, Problem> {
    let campaign = campaign(&visit, &name, &chosen).await?;
    let desk = &visit.desk;
    desk.registry().pause_campaign(&campaign, desk.by()).await?;
    let what = "It is paused: what is queued is held, and so is what comes.";
    changed(&visit, &campaign, what).await
}

/// Lets it go again.
pub(crate) async fn resume(
    visit: Visit,
    Path(name): Path<String>,
    chosen: Form,
) -> Result<Response, Problem> {
    let campaign = campaign(&visit, &name, &chosen).await?;
    let desk = &visit.desk;
    let lifted = (desk.registry())
        .resume_campaign(&campaign, desk.by())
        .await?;
    let what = match lifted.map(|stop| stop.state) {
        Some(StopState::Paused) => "It goes on, with what was held.",
        Some(StopState::Cancelled) => "It goes on with what comes: what was cancelled stays so.",
        None => "It was not stopped by itself.",
    };
    changed(&visit, &campaign, what).await
}

#[derive(Template)]
#[template(path = "campaign_cancel.html")]
struct Cancellation {
    frame: Frame,
    path: String,
    name: String,
    recipient: Option<String>,
    client: String,
    /// The same, as a form sends it.
    sent: Kept,
    /// Where it is.
    back: String,
}

/// Asks whether it is meant.
pub(crate) async fn cancellation(
    visit: Visit,
    Path(name): Path<String>,
    asked: Form,
) -> Result<Response, Problem> {
    let campaign = campaign(&visit, &name, &asked).await?;
    let page = Cancellation {
        frame: visit.frame("Cancel a campaign"),
        path: path(&campaign.name),
        back: place_of(&campaign),
        client: campaign.client.to_string(),
        sent: Kept::from(campaign.recipient.as_deref().unwrap_or_default()),
        name: campaign.name,
        recipient: campaign.recipient,
    };
    layout::answer(StatusCode::OK, &page)
}

/// Ends what there is of it as cancelled, and what comes.
pub(crate) async fn cancel(
    visit: Visit,
    Path(name): Path<String>,
    chosen: Form,
) -> Result<Response, Problem> {
    let campaign = campaign(&visit, &name, &chosen).await?;
    let desk = &visit.desk;
    (desk.registry())
        .cancel_campaign(&campaign, desk.by())
        .await?;
    let what = "It is cancelled: what is queued ends, held or not, and so does what comes.";
    changed(&visit, &campaign, what).await
}

/// The workers carry it out.
async fn changed(visit: &Visit, campaign: &Campaign, what: &str) -> Result<Response, Problem> {
    // What is done to all of it is told with a recipient of it, and the other way round.
    let is_of_it =
        |known: &Campaign| known.client == campaign.client && known.name == campaign.name;
    visit.shared().campaigns.forget(is_of_it).await;
    visit.tell(match visit.desk.registry().owned().await? {
        true => what.to_owned(),
        false => format!("{what} Nothing delivers at present: what is queued follows later."),
    });
    Ok(Redirect::to(&place_of(campaign)).into_response())
}

/// The page of a campaign, or of a recipient of it.
pub(crate) fn place(client: ClientId, name: &str, recipient: Option<&str>) -> String {
    format!("{}?{}", path(name), whose(client, recipient))
}

fn place_of(campaign: &Campaign) -> String {
    place(
        campaign.client,
        &campaign.name,
        campaign.recipient.as_deref(),
    )
}

fn path(name: &str) -> String {
    let name: String = byte_serialize(name.as_bytes()).collect();
    // In a path a plus sign is no space.
    format!("/campaigns/{}", name.replace('+', "%20"))
}

fn whose(client: ClientId, recipient: Option<&str>) -> String {
    let mut query = Serializer::new(String::new());
    query.append_pair("client", &client.to_string());
    query.extend_pairs(recipient.map(|recipient| ("recipient", recipient)));
    query.finish()
}

/// Which deliveries are of it, as their list is asked.
fn deliveries(client: ClientId, name: &str) -> String {
    let client = client.to_string();
    let mut query = Serializer::new(String::new());
    query.extend_pairs([("campaign", name), ("client", &*client)]);
    query.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_name_of_any_text_is_one_part_of_a_path() {
        assert_eq!(path("spring"), "/campaigns/spring");
        assert_eq!(path("a b+c/d?é"), "/campaigns/a%20b%2Bc%2Fd%3F%C3%A9");
        let client = ClientId::new(Timestamp::from_millis(1), [1; 10]);
        assert_eq!(
            place(client, "spring", Some("ann & bob")),
            format!("/campaigns/spring?client={client}&recipient=ann+%26+bob")
        );
    }

    #[test]
    fn all_that_has_ended_is_through() {
        let report = CampaignReport {
            delivered: 900,
            held: 90,
            cancelled: 1,
            dead: BTreeMap::from([("http_404".to_owned(), 2), ("http_500".to_owned(), 7)]),
            ..CampaignReport::default()
        };
        let progress = progress(&report);
        assert_eq!((progress.done, progress.all), (910, Some(1_000)));
        assert_eq!(progress.sentence, "910 of 1,000 deliveries have ended.");
        let reasons = reasons(&report);
        let codes: Vec<_> = reasons.iter().map(|reason| &*reason.name).collect();
        assert_eq!(codes, ["http_500", "http_404"]);
    }

    #[test]
    fn of_no_delivery_there_is_no_bar() {
        let progress = progress(&CampaignReport::default());
        assert_eq!((progress.done, progress.all), (0, None));
    }

    #[test]
    fn a_recipient_may_be_stopped_by_itself_where_all_of_it_is() {
        let all = Campaign {
            client: ClientId::new(Timestamp::from_millis(1), [1; 10]),
            name: "spring".to_owned(),
            recipient: None,
        };
        let stop = |state| Stop {
            seq: 1,
            campaign: all.clone(),
            state,
            since: Timestamp::from_millis(1),
        };
        let may = |campaign: &Campaign, stop: Option<&Stop>| {
            let steer = Steer::of(campaign, stop);
            (steer.may_pause, steer.may_resume, steer.cancel.is_some())
        };
        assert_eq!(may(&all, None), (true, false, true));
        let paused = stop(StopState::Paused);
        assert_eq!(may(&all, Some(&paused)), (false, true, true));
        let cancelled = stop(StopState::Cancelled);
        assert_eq!(may(&all, Some(&cancelled)), (false, true, false));
        let ann = Campaign {
            recipient: Some("ann".to_owned()),
            ..all.clone()
        };
        assert_eq!(may(&ann, Some(&cancelled)), (true, true, true));
    }
}
