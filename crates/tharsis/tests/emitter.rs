//! The emitter on a file, as far as that needs no receiver.

use std::{future::pending, path::Path, time::Duration};

use prometheus_client::encoding::text;
use tempfile::TempDir;
use tharsis::{
    CheckMethod, Emitter, Event, Options, Registry, Remaining, Secret,
    egress::Policy,
    profile::Profiles,
    sqlx::{Connection, PgConnection, SqliteConnection},
    subscription::{Credentials, Draft},
};

const CLIENT: &str = "36011017-0e00-4e29-a054-7a1fbb8b60a2";

fn url(folder: &Path) -> String {
    format!("sqlite://{}", folder.join("engine.db").display())
}

async fn open() -> (TempDir, Emitter) {
    let folder = tempfile::tempdir().unwrap();
    let emitter = Emitter::open(&url(folder.path()), Options::default())
        .await
        .unwrap();
    (folder, emitter)
}

fn ticket(key: &str, price: f64) -> Event {
    let text = format!(
        r#"{{"type":"ticket","client":"{CLIENT}","key":"{key}","payload":{{"price":{price}}}}}"#
    );
    Event::parse(text.as_bytes()).unwrap()
}

fn unrouted(unrouted: u64) -> Remaining {
    Remaining {
        unrouted,
        ..Remaining::default()
    }
}

#[tokio::test]
async fn publishing_again_returns_the_first_id() {
    let (_folder, emitter) = open().await;
    let first = emitter.publish(&ticket("a", 0.5)).await.unwrap();
    let again = emitter.publish(&ticket("a", 0.5)).await.unwrap();
    assert_eq!((first.duplicate, again.duplicate), (false, true));
    assert_eq!(first.id, again.id);
    let refused = emitter.publish(&ticket("a", 0.6)).await.unwrap_err();
    assert_eq!(refused.code(), "idempotency_conflict");
    assert_eq!(emitter.remaining().await.unwrap(), unrouted(1));
}

#[tokio::test]
async fn of_many_events_the_refused_one_is_told_in_its_place() {
    let (_folder, emitter) = open().await;
    let published = emitter
        .publish_all(&[ticket("a", 0.5), ticket("a", 0.6), ticket("b", 0.6)])
        .await
        .unwrap();
    assert!(
        matches!(&published[..], [Ok(_), Err(refused), Ok(_)] if refused.code == "idempotency_conflict")
    );
    assert_eq!(emitter.remaining().await.unwrap(), unrouted(2));
}

#[tokio::test]
async fn what_is_published_and_what_is_refused_is_counted() {
    let (_folder, emitter) = open().await;
    emitter.publish(&ticket("a", 0.5)).await.unwrap();
    emitter.publish(&ticket("a", 0.5)).await.unwrap();
    let events = [ticket("a", 0.6), ticket("b", 0.6), ticket("c", 0.6)];
    emitter.publish_all(&events).await.unwrap();

    let mut registry = prometheus_client::registry::Registry::default();
    emitter.metrics().register(&mut registry);
    let mut told = String::new();
    text::encode(&mut told, &registry).unwrap();
    for line in [
        "tharsis_events_published_total 3",
        "tharsis_events_refused_total 1",
        r#"tharsis_store_seconds_count{operation="publish"} 3"#,
        r#"tharsis_store_failures_total{operation="publish"} 0"#,
    ] {
        assert!(told.lines().any(|found| found == line), "{line} in {told}");
    }
}

#[tokio::test]
async fn what_is_rolled_back_was_never_published() {
    let (folder, emitter) = open().await;
    let mut connection = SqliteConnection::connect(&url(folder.path()))
        .await
        .unwrap();

    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
    emitter
        .publish_in(&mut transaction, &ticket("a", 0.5))
        .await
        .unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(emitter.remaining().await.unwrap(), unrouted(0));

    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
    emitter
        .publish_in(&mut transaction, &ticket("a", 0.5))
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    emitter.wake();
    assert_eq!(emitter.remaining().await.unwrap(), unrouted(1));
}

#[tokio::test]
async fn a_connection_to_the_other_kind_of_database_is_refused() {
    let postgres = std::env::var("TEST_DATABASE_URL").expect(
        "TEST_DATABASE_URL is not set: `export TEST_DATABASE_URL=$(scripts/postgres start)`",
    );
    let (folder, emitter) = open().await;
    let mut connection = PgConnection::connect(&postgres).await.unwrap();
    let refused = emitter
        .publish_in(&mut connection, &ticket("a", 0.5))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), "other_database");
    assert_eq!(emitter.remaining().await.unwrap(), unrouted(0));
    drop(folder);
}

#[tokio::test]
async fn a_url_of_no_known_database_is_refused() {
    for url in ["engine.db", "mysql://u:s3cret@localhost/engine"] {
        let refused = Emitter::open(url, Options::default()).await.unwrap_err();
        assert_eq!(refused.code(), "bad_database_url");
        let told = format!("{refused} {:?}", refused.hint());
        assert!(told.contains("sqlite://") && told.contains("postgres://"));
        assert!(!told.contains("s3cret"), "{told}");
    }
    let options = Options {
        lease: Some(Duration::from_millis(999)),
        ..Options::default()
    };
    let refused = Emitter::open("postgres://localhost/engine", options).await;
    assert_eq!(refused.unwrap_err().code(), "lease_too_short");
}

#[tokio::test]
async fn a_file_that_must_exist_is_made_by_migrate_alone() {
    let folder = tempfile::tempdir().unwrap();
    let url = url(folder.path());
    let options = Options {
        must_exist: true,
        ..Options::default()
    };
    let missing = Emitter::open(&url, options.clone()).await.unwrap_err();
    assert_eq!(missing.code(), "database_not_found");
    let applied = Emitter::migrate(&url, &Options::default()).await.unwrap();
    assert_eq!(
        applied,
        [
            "outbox",
            "profiles",
            "rate",
            "health",
            "release",
            "campaign",
            "alert",
            "own_events",
            "order",
            "replay",
            "retention",
            "token",
            "minute",
            "settled",
        ]
    );
    let emitter = Emitter::open(&url, options).await.unwrap();
    assert!(emitter.workers().await.unwrap().is_empty());
    emitter.own().await.unwrap();
    assert_eq!(emitter.workers().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_url_where_nothing_listens_is_not_subscribed() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens on the discard port of loopback.
    let egress = Policy {
        allow_addresses: vec![Policy::range("127.0.0.0/8").unwrap()],
        allow_hosts: vec!["localhost".to_owned()],
        allow_ports: vec![9],
    };
    let draft = Draft {
        client: CLIENT.to_owned(),
        name: "Shop".to_owned(),
        url: "https://localhost:9/hooks".to_owned(),
        ..Draft::default()
    };
    let settings = draft.settings(&egress, &Profiles::default()).unwrap();
    let options = Options {
        egress,
        ..Options::default()
    };
    let emitter = Emitter::open(&url(folder.path()), options).await.unwrap();
    let failed = emitter
        .subscribe(&settings, &Credentials::default(), None)
        .await
        .unwrap_err();
    assert_eq!(failed.code(), "connect_refused");
    assert!(emitter.registry().list(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_the_profile_refuses_is_refused_before_anything_is_sent() {
    let (_folder, emitter) = open().await;
    let settings = |profile: &str| {
        let draft = Draft {
            client: CLIENT.to_owned(),
            name: "Shop".to_owned(),
            url: "https://hooks.shop.com/in".to_owned(),
            profile: Some(profile.to_owned()),
            ..Draft::default()
        };
        draft.settings(&Policy::default(), &Profiles::default())
    };
    let credentials = [Credentials::default(), Secret::generate([7; 20]).into()];
    for (profile, credentials, method, code) in [
        ("insightarc", &credentials[0], None, "secret_required"),
        (
            "insightarc",
            &credentials[1],
            Some(CheckMethod::Post),
            "check_not_allowed",
        ),
    ] {
        let settings = settings(profile).unwrap();
        let refused = emitter.subscribe(&settings, credentials, method).await;
        assert_eq!(refused.unwrap_err().code(), code);
    }
    assert!(emitter.registry().list(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn one_process_delivers_at_a_time() {
    let (folder, emitter) = open().await;
    emitter.own().await.unwrap();
    let second = Emitter::open(&url(folder.path()), Options::default())
        .await
        .unwrap();
    second.publish(&ticket("a", 0.5)).await.unwrap();
    let refused = second.run_until_idle(pending()).await.unwrap_err();
    assert_eq!(refused.code(), "already_owned");
    let summary = emitter.run_until_idle(pending()).await.unwrap();
    assert_eq!(summary.remaining, Remaining::default());
    second.run_until_idle(pending()).await.unwrap();
}

#[tokio::test]
async fn an_emitter_runs_once_at_a_time_and_a_run_that_is_dropped_frees_the_outbox() {
    let (folder, emitter) = open().await;
    emitter.own().await.unwrap();
    let clone = emitter.clone();
    let refused = tokio::select! {
        biased;
        _ = emitter.run(pending()) => unreachable!("nobody ends it"),
        second = clone.run(pending()) => second.unwrap_err(),
    };
    assert_eq!(refused.code(), "already_owned");

    let other = Emitter::open(&url(folder.path()), Options::default())
        .await
        .unwrap();
    other.own().await.unwrap();
}
