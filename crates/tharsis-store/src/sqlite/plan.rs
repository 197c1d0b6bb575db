//! The ways that statements take through the tables: none walks one that grows with what was published.

use sqlx::{AssertSqlSafe, Row as _};

use super::{
    SqliteStore, campaign, command, due, filter, history, minute, order, publish, replay,
    retention, route, settle, settled, survey, token, unfinished, whereabouts,
};

/// Table-valued functions over an argument are walked, that is what they are for; so are subqueries of what was read.
const HOT: &[&str] = &[
    publish::PUBLISH,
    publish::EARLIER,
    route::INSERT_DELIVERIES,
    route::TAKE_POINTERS,
    route::UNFROZEN,
    route::FREEZE,
    route::REFUSE,
    due::DUE,
    due::LATER,
    settle::TAKE_OUT,
    settle::SET_ASIDE,
    settle::PUT_BACK,
    settle::RECORD,
    settle::MOVED,
    order::FIRST,
    order::NEXT,
    order::LET_GO,
    command::MAKE_DUE,
    command::RECORD_END,
    command::TAKE_OUT,
    campaign::NEXT,
    campaign::LET_GO,
    campaign::STATES,
    campaign::LAST_MINUTE,
    replay::FREE,
    replay::MAKE_DUE_AGAIN,
    replay::NEXT_EVENTS,
    replay::LOADS,
    filter::NEWEST_FIRST,
    filter::FRONTIER,
    filter::LAST_BEFORE,
    filter::FIRST_SINCE,
    filter::COUNT,
    filter::ENDED_BETWEEN,
    history::ROWS,
    history::ATTEMPTS_OF_ALL,
    token::FIND,
    minute::OF_ALL,
    minute::OF_CLIENT,
    minute::OF_SUBSCRIPTION,
    survey::FIRST_DUE,
    whereabouts::BEFORE,
    retention::HELD,
    retention::EXPIRING,
    retention::NEXT_EXCERPTS,
    retention::DELETE[0],
    retention::DELETE[1],
    retention::DELETE[2],
];

/// The steps that SQLite plans on an empty database: without statistics, as in service.
async fn plan(store: &SqliteStore, statement: &'static str) -> Vec<String> {
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
    sqlx::query(explain)
        .fetch_all(&store.0.reads)
        .await
        .expect("a plan")
        .iter()
        .map(|row| row.get("detail"))
        .collect()
}

async fn open() -> (SqliteStore, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = format!("sqlite://{}", folder.path().join("tharsis.db").display());
    (SqliteStore::open(&url).await.expect("opens"), folder)
}

/// Tables that are walked from one end to the other, by the names that the statement gives them.
fn walked(plan: &[String]) -> Vec<&str> {
    plan.iter()
        .filter_map(|step| step.strip_prefix("SCAN "))
        .filter(|step| !step.contains("VIRTUAL TABLE") && !step.starts_with("(subquery"))
        .filter(|step| *step != "CONSTANT ROW")
        // Whether it has any row.
        .filter(|step| !step.starts_with("tharsis_campaign_stop"))
        .collect()
}

#[tokio::test]
async fn no_table_is_walked() {
    let (store, _folder) = open().await;
    for statement in HOT {
        let plan = plan(&store, statement).await;
        let own: Vec<&str> = walked(&plan)
            .into_iter()
            // The rows of one lane that the subquery has read by its key.
            .filter(|table| !(*statement == due::DUE && *table == "d"))
            .collect();
        assert_eq!(own, [""; 0], "{statement}\n{plan:#?}");
    }
    // From the first key to the next and the next.
    assert_eq!(
        walked(&plan(&store, order::BLOCKED).await),
        ["d USING COVERING INDEX tharsis_delivery_order", "b", "b"]
    );
    assert_eq!(walked(&plan(&store, order::BLOCKED_OF).await), ["b", "b"]);
    // What was read of a campaign.
    assert_eq!(walked(&plan(&store, campaign::SLOWEST).await), ["t"]);
    // Replays that are not over.
    assert_eq!(
        walked(&plan(&store, retention::NEXT_EVENTS).await),
        ["r USING INDEX tharsis_replay_unfinished"]
    );
    // The registry, and what it has of each lane and event by their keys.
    assert_eq!(walked(&plan(&store, whereabouts::CANDIDATES).await), ["s"]);
    assert_eq!(walked(&plan(&store, survey::FIRST_UNROUTED).await), ["o"]);
    // The short ends of two tables, in the order of their keys: pointers up to the limit, and subscriptions.
    assert_eq!(walked(&plan(&store, route::POINTERS).await), ["o"]);
    assert_eq!(
        walked(&plan(&store, due::LANES).await),
        ["s USING INDEX tharsis_subscription_name"]
    );
}

#[tokio::test]
async fn keys_are_skipped_from_one_to_the_next() {
    let (store, _folder) = open().await;
    for (statement, step, times) in [
        (
            order::BLOCKED,
            "SEARCH d USING COVERING INDEX tharsis_delivery_order ((subscription,order_key)>(?,?))",
            2,
        ),
        (
            order::BLOCKED_OF,
            "SEARCH d USING COVERING INDEX tharsis_delivery_order (subscription=? AND order_key>?)",
            3,
        ),
    ] {
        let plan = plan(&store, statement).await;
        let steps = plan.iter().filter(|other| *other == step).count();
        assert_eq!(steps, times, "{plan:#?}");
    }
}

#[tokio::test]
async fn a_campaign_is_found_by_its_index() {
    let (store, _folder) = open().await;
    for (statement, times) in [
        (campaign::STATES, 3),
        (campaign::LAST_MINUTE, 1),
        (campaign::SLOWEST, 1),
    ] {
        let plan = plan(&store, statement).await;
        let step = "SEARCH e USING INDEX tharsis_event_campaign (campaign=? AND client=?)";
        let steps = plan.iter().filter(|other| *other == step).count();
        assert_eq!(steps, times, "{plan:#?}");
    }
}

#[tokio::test]
async fn lanes_and_figures_are_read_by_their_key() {
    let (store, _folder) = open().await;
    for (statement, step) in [
        (
            due::DUE,
            "SEARCH tharsis_delivery USING PRIMARY KEY (subscription=? AND lane=? AND (due_at,event)>(?,?) AND due_at<?)",
        ),
        (
            minute::OF_CLIENT,
            "SEARCH tharsis_minute USING INDEX tharsis_minute_of (client=? AND at>?)",
        ),
        (
            minute::OF_SUBSCRIPTION,
            "SEARCH tharsis_quarter USING PRIMARY KEY (subscription=? AND at>?)",
        ),
        (
            settle::TAKE_OUT,
            "SEARCH tharsis_delivery USING PRIMARY KEY (subscription=? AND lane=? AND due_at=? AND event=?)",
        ),
    ] {
        let plan = plan(&store, statement).await;
        assert!(plan.iter().any(|s| s == step), "{plan:#?}");
        assert!(!plan.iter().any(|s| s.contains("TEMP B-TREE")), "{plan:#?}");
    }
}

#[tokio::test]
async fn what_is_unfinished_is_counted_by_the_key_of_the_lanes() {
    let (store, _folder) = open().await;
    let plan = plan(&store, unfinished::UNFINISHED).await;
    let lanes = "SEARCH d USING PRIMARY KEY (subscription=?)";
    assert!(plan.iter().any(|step| step == lanes), "{plan:#?}");
    // The registry, what was read of its lanes, and what is alike in that.
    for table in walked(&plan) {
        assert!(["s", "r", "g"].contains(&table), "{table}\n{plan:#?}");
    }
}

#[tokio::test]
async fn lists_come_in_order_without_sorting() {
    let (store, _folder) = open().await;
    let plan = plan(&store, filter::NEWEST_FIRST).await;
    let merges = plan.iter().filter(|step| step.starts_with("MERGE")).count();
    assert_eq!(merges, 2, "three parts, each in order\n{plan:#?}");
    // Of one delivery, its few attempts are sorted; nothing else is.
    let sorts = plan
        .iter()
        .filter(|step| step.starts_with("USE TEMP B-TREE"))
        .count();
    let of_one = plan
        .iter()
        .filter(|step| {
            *step == "SEARCH tharsis_attempt USING PRIMARY KEY (event=? AND subscription=?)"
        })
        .count();
    assert_eq!(sorts, of_one, "{plan:#?}");
}

/// Of the attempts only the end is read, and of what is not plain an index of its own. `k` is what was found there.
#[tokio::test]
async fn what_was_settled_lately_is_found_without_a_walk() {
    let (store, _folder) = open().await;
    for statement in [settled::SETTLED, settled::COUNT] {
        let plan = plan(&store, statement).await;
        let step = "SEARCH tharsis_attempt USING INDEX tharsis_attempt_notable (at>?)";
        assert!(plan.iter().any(|s| s == step), "{plan:#?}");
        assert_eq!(walked(&plan), ["tharsis_attempt", "k"], "{plan:#?}");
    }
}
