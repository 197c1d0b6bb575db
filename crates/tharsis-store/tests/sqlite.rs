//! What is SQLite's own: the file and those beside it, other connections, other languages.

use std::{fs, path::Path, task::Poll, time::Duration};

use sqlx::{ConnectOptions, Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};
use tharsis_core::{
    ClientId, EventId, Invalid, Timestamp, WorkerId,
    delivery::End,
    egress::Policy,
    event::{Event, EventType, IdempotencyKey},
    profile::Profiles,
    secret::{Keyring, Secret},
    subscription::{Credentials, Draft, Settings, State, header::OwnHeader},
};
use tharsis_store::{
    Attempt, By, DeliveryFilter, Fate, LaneRead, Outbox, Registry, RouteTo, Routed, Settlement,
    Shards, Status, StoreError,
    sqlite::{self, SqliteStore},
};

const CLIENT: &str = "b4aeba4e-a4c0-4896-866a-56f8bcb372fc";
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

async fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(&url(path)).await.expect("opens")
}

/// A connection as any other program would have it.
async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .busy_timeout(Duration::from_millis(200))
        .connect()
        .await
        .expect("connects")
}

async fn run(conn: &mut SqliteConnection, statement: &'static str) {
    sqlx::query(statement).execute(conn).await.expect(statement);
}

async fn number(conn: &mut SqliteConnection, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement)
        .fetch_one(conn)
        .await
        .expect(statement)
}

fn code(error: &StoreError) -> &str {
    match error {
        StoreError::Invalid(invalid) => invalid.code,
        StoreError::Unusable { code, .. } => code,
        _ => "none",
    }
}

async fn refused(url: &str) -> String {
    let error = SqliteStore::open(url).await.expect_err("refused");
    code(&error).to_owned()
}

fn event(n: u32) -> Event {
    let text = format!(r#"{{"type":"ticket","client":"{CLIENT}","payload":{{"n":{n}}}}}"#);
    Event::parse(text.as_bytes()).expect("an event")
}

fn id(n: u8) -> EventId {
    EventId::new(NOW, [n; 10])
}

fn worker(n: u8) -> WorkerId {
    WorkerId::new(NOW, [n; 10])
}

fn settings() -> Settings {
    let draft = Draft {
        client: CLIENT.to_owned(),
        name: "hooks".to_owned(),
        url: "https://hooks.example.com/in".to_owned(),
        ..Draft::default()
    };
    let mut settings = draft
        .settings(&Policy::default(), &Profiles::default())
        .expect("settings");
    settings.events = vec![EventType::new("ticket").expect("a type")];
    settings
}

// === the file ===

#[tokio::test]
async fn a_file_of_somebody_else_is_switched_and_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("shop.db");
    let mut conn = connect(&path).await;
    run(&mut conn, "CREATE TABLE orders (id INTEGER PRIMARY KEY)").await;
    run(&mut conn, "INSERT INTO orders VALUES (7)").await;

    let store = open(&path).await;
    assert!(store.switched_to_wal());
    assert_eq!(store.path(), fs::canonicalize(&path).expect("a path"));
    assert_eq!(number(&mut conn, "SELECT id FROM orders").await, 7);
    let foreign = number(
        &mut conn,
        "SELECT count(*) FROM sqlite_schema
         WHERE name NOT LIKE 'tharsis%' AND name NOT LIKE 'sqlite%' AND name <> 'orders'",
    )
    .await;
    assert_eq!(foreign, 0);
    assert!(!open(&path).await.switched_to_wal(), "once");
    assert!(
        !open(&folder.path().join("new.db")).await.switched_to_wal(),
        "new files are not switched"
    );
}

#[tokio::test]
async fn a_file_that_must_exist_is_not_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    let options = sqlite::Options {
        must_exist: true,
        ..sqlite::Options::default()
    };
    let error = SqliteStore::open_with(&url(&path), options.clone())
        .await
        .expect_err("refused");
    assert_eq!(code(&error), "database_not_found");
    let left = folder.path().read_dir().expect("a folder").count();
    assert_eq!(left, 0, "nothing is left behind");

    let migrate = async || SqliteStore::migrate(&url(&path), sqlite::Options::default()).await;
    assert_eq!(
        migrate().await.expect("migrates"),
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
    assert_eq!(migrate().await.expect("migrates"), [""; 0]);
    SqliteStore::open_with(&url(&path), options)
        .await
        .expect("opens");
}

#[tokio::test]
async fn urls_are_read_strictly() {
    for bad in [
        "tharsis.db",
        "postgres://localhost/x",
        "sqlite:",
        "sqlite://",
        "sqlite:///tmp/",
        "sqlite::memory:",
        "sqlite://:memory:",
        "sqlite://x.db?mode=memory",
        "sqlite://x.db?mode=ro",
        "sqlite://file:x.db",
    ] {
        assert_eq!(refused(bad).await, "bad_database_url", "{bad}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let odd = folder.path().join("ä b%20c.db");
    SqliteStore::open(&format!("sqlite:{}", odd.display()))
        .await
        .expect("opens");
    assert!(odd.exists(), "the path is taken as it is");
    assert_eq!(
        refused(&url(&folder.path().join("none/x.db"))).await,
        "database_not_opened"
    );
    let text = folder.path().join("text.db");
    fs::write(
        &text,
        "this is no database, but long enough to be looked at as one".repeat(20),
    )
    .expect("written");
    assert_eq!(refused(&url(&text)).await, "not_a_database");
    let mut conn = connect(&folder.path().join("wide.db")).await;
    run(&mut conn, "PRAGMA encoding = 'UTF-16le'").await;
    run(&mut conn, "CREATE TABLE t (x)").await;
    assert_eq!(
        refused(&url(&folder.path().join("wide.db"))).await,
        "encoding_not_utf8"
    );
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    drop(open(&path).await);
    let mut conn = connect(&path).await;
    run(
        &mut conn,
        "INSERT INTO tharsis_migration (version, name) VALUES (999, 'from the future')",
    )
    .await;
    assert_eq!(refused(&url(&path)).await, "schema_too_new");
}

#[tokio::test]
async fn many_open_a_new_file_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    let opening: Vec<_> = (0..8)
        .map(|_| {
            let url = url(&path);
            tokio::spawn(async move { SqliteStore::open(&url).await })
        })
        .collect();
    for one in opening {
        one.await.expect("no panic").expect("opens");
    }
    let mut conn = connect(&path).await;
    assert_eq!(
        number(&mut conn, "SELECT count(*) FROM tharsis_key").await,
        1
    );
    assert_eq!(
        number(&mut conn, "SELECT count(*) FROM tharsis_migration").await,
        14
    );
}

// === the key ===

#[tokio::test]
async fn the_key_file_is_made_once_and_needed_from_then_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, key) = (folder.path().join("t.db"), folder.path().join("t.db.key"));
    drop(open(&path).await);
    let text = fs::read_to_string(&key).expect("a key");
    // Named, so that it can be told from those that are added.
    let (key_text, named) = text.split_once(" # ").expect("a remark");
    assert_eq!((key_text.len(), text.lines().count()), (64, 1));
    let keys = Keyring::parse(key_text.as_bytes()).expect("a key");
    assert!(keys.find(named.trim_end()).is_some(), "{named}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        for file in [&path, &key] {
            let mode = fs::metadata(file).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        }
    }
    drop(open(&path).await);
    assert_eq!(fs::read_to_string(&key).expect("a key"), text, "the same");

    fs::remove_file(&key).expect("removed");
    assert_eq!(refused(&url(&path)).await, "key_missing");
    assert!(
        !key.exists(),
        "never made anew for a database that knows its key"
    );
    fs::write(&key, "00".repeat(32)).expect("written");
    assert_eq!(refused(&url(&path)).await, "key_wrong");
    fs::write(&key, &text[..40]).expect("written");
    assert_eq!(refused(&url(&path)).await, "key_wrong");
    fs::write(&key, &text).expect("written");
    drop(open(&path).await);
}

#[tokio::test]
async fn a_file_of_several_keys_must_hold_the_one_that_seals() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, key) = (folder.path().join("t.db"), folder.path().join("t.db.key"));
    let [first, second] = ["5a", "b7"].map(|byte| byte.repeat(32));
    fs::write(&key, &first).expect("written");
    drop(open(&path).await);
    fs::write(&key, format!("{second}\n# and the first\n{first}")).expect("written");
    drop(open(&path).await);
    fs::write(&key, format!("{second}\n")).expect("written");
    assert_eq!(refused(&url(&path)).await, "key_wrong");

    // Given to the process, they need no file.
    let given = |text: &str| sqlite::Options {
        keys: Some(Keyring::parse(text.as_bytes()).expect("keys")),
        ..sqlite::Options::default()
    };
    fs::remove_file(&key).expect("removed");
    let both = format!("{first},{second}");
    let store = SqliteStore::open_with(&url(&path), given(&both)).await;
    let store = store.expect("opens");
    let before = store.keys().await.expect("the keys");
    let rotated = store.rotate_key(By::new("sre", NOW), &|_| ()).await;
    let rotated = rotated.expect("the other one is here");
    assert_eq!((&rotated.key, rotated.is_made), (&before[1].id, false));
    let another = store.rotate_key(By::new("sre", NOW), &|_| ()).await;
    assert_eq!(
        code(&another.expect_err("there is no other")),
        "key_not_prepared"
    );
    assert!(!key.exists());
    drop(store);
    let retired = SqliteStore::open_with(&url(&path), given(&first)).await;
    assert_eq!(code(&retired.expect_err("retired")), "key_wrong");
    SqliteStore::open_with(&url(&path), given(&second))
        .await
        .expect("opens");
}

#[tokio::test]
async fn a_first_key_is_made_once_and_before_the_database_if_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, key) = (folder.path().join("t.db"), folder.path().join("t.db.key"));
    let init = async || {
        SqliteStore::init_key(&url(&path), sqlite::Options::default(), By::new("sre", NOW)).await
    };
    let known = async || SqliteStore::known_key(&url(&path), sqlite::Options::default()).await;
    assert_eq!(known().await.expect("asked"), None);
    let made = init().await.expect("made");
    assert!(key.exists() && !path.exists());
    assert_eq!(
        code(&init().await.expect_err("it is there")),
        "key_file_exists"
    );
    assert_eq!(known().await.expect("asked"), None);
    drop(open(&path).await);
    assert_eq!(known().await.expect("asked"), Some(made));
    assert_eq!(code(&init().await.expect_err("known")), "key_known");
    fs::remove_file(&key).expect("removed");
    assert_eq!(code(&init().await.expect_err("known")), "key_known");
    assert!(!key.exists());

    // The database was made to forget it.
    let mut conn = connect(&path).await;
    run(&mut conn, "DELETE FROM tharsis_key").await;
    let made = init().await.expect("made");
    let store = open(&path).await;
    assert_eq!(store.keys().await.expect("the keys")[0].id, made);
    let audit = store.audit(None, None, 100).await.expect("the audit").items;
    assert_eq!((&*audit[0].action, &audit[0].subject), ("key.made", &made));
}

#[tokio::test]
async fn a_key_that_was_put_there_before_is_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, key) = (folder.path().join("t.db"), folder.path().join("t.db.key"));
    fs::write(&key, "5a".repeat(32)).expect("written");
    drop(open(&path).await);
    assert_eq!(fs::read_to_string(&key).expect("a key"), "5a".repeat(32));
    // What an interrupted start left behind stands in nobody's way.
    let other = folder.path().join("u.db");
    fs::write(folder.path().join("u.db.key.new"), "half").expect("written");
    drop(open(&other).await);
    assert!(!folder.path().join("u.db.key.new").exists());
}

#[tokio::test]
async fn no_secret_lies_open_in_the_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    let store = open(&path).await;
    let secret = Secret::generate([0x3c; 20]);
    let credentials = Credentials {
        secret: Some(secret.clone()),
        headers: vec![OwnHeader::new("x-shop-token", secret.expose()).expect("a header")],
        ..Credentials::default()
    };
    store
        .add(&settings(), &credentials, NOW)
        .await
        .expect("added");
    for file in fs::read_dir(folder.path()).expect("a folder") {
        let bytes = fs::read(file.expect("a file").path()).expect("bytes");
        let found = bytes
            .windows(40)
            .any(|window| window == secret.expose().as_bytes());
        assert!(!found, "the secret and the header are sealed");
    }
}

#[tokio::test]
async fn a_secret_of_another_row_does_not_open_and_holds_its_subscription() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    let store = open(&path).await;
    let first = store
        .add(&settings(), &Secret::generate([1; 20]).into(), NOW)
        .await
        .expect("added");
    let mut other = settings();
    other.name = "other".to_owned();
    let second = store
        .add(&other, &Secret::generate([2; 20]).into(), NOW)
        .await
        .expect("added");
    let mut conn = connect(&path).await;
    run(
        &mut conn,
        "UPDATE tharsis_secret SET sealed = (SELECT sealed FROM tharsis_secret WHERE subscription = 1)
         WHERE subscription = 2",
    )
    .await;

    let unreadable = State::Suspended {
        reason: "secret_unreadable".to_owned(),
    };
    let snapshot = store.snapshot().await.expect("a snapshot");
    let states: Vec<_> = snapshot
        .targets
        .iter()
        .map(|(_, t)| t.subscription.state.clone())
        .collect();
    assert_eq!(states, [State::Active, unreadable.clone()]);
    assert!(snapshot.targets[1].1.credentials.secret.is_none());
    assert_eq!(
        store.find(second.id).await.expect("found").state,
        unreadable
    );

    // Its deliveries are held, not waited for.
    let lease = hold(&store, 1).await;
    store.publish(&[event(1)]).await.expect("published");
    route_all(&store, &lease).await;
    let left = store.remaining(lease.clock).await.expect("counted");
    assert_eq!((left.pending, left.held), (1, 1));
    let mut held = DeliveryFilter::default();
    held.status = vec![Status::Held];
    let list = store.deliveries(&held, None, 10).await.expect("a list");
    assert_eq!(
        list.items
            .iter()
            .map(|row| row.id.subscription)
            .collect::<Vec<_>>(),
        [second.id]
    );
    // A new secret lets it go again.
    store
        .rotate(second.id, Some(&Secret::generate([3; 20])), None, NOW)
        .await
        .expect("rotated");
    assert_eq!(
        store.find(second.id).await.expect("found").state,
        State::Active
    );
    assert_eq!(
        store.find(first.id).await.expect("found").state,
        State::Active
    );
}

// === the owner ===

#[tokio::test]
async fn one_process_owns_and_the_other_is_told_which() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    let (first, second) = (open(&path).await, open(&path).await);
    let lease = hold(&first, 1).await;
    assert!(second.owned().await.expect("asked"));

    let error = second
        .hold(worker(2), Shards::default())
        .await
        .expect_err("owned");
    assert_eq!(code(&error), "already_owned");
    let told = error.to_string();
    assert!(
        told.contains(&format!("pid {}", std::process::id())),
        "{told}"
    );
    first.release(&lease, None).await.expect("given back");
    assert!(!second.owned().await.expect("asked"));
    let next = hold(&second, 2).await;
    assert!(next.epoch > lease.epoch);
    // A lock goes with its process.
    drop(second);
    hold(&first, 1).await;
}

#[tokio::test]
async fn the_owner_is_the_one_worker() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    let (owner, other) = (open(&path).await, open(&path).await);
    assert_eq!(other.workers().await.expect("asked"), []);

    let lease = owner
        .hold(worker(1), Shards::default())
        .await
        .expect("the lease");
    for store in [&owner, &other] {
        let workers = store.workers().await.expect("asked");
        let [one] = &workers[..] else {
            panic!("{workers:?}")
        };
        assert_eq!((one.id, one.pid), (worker(1), std::process::id()));
        assert_eq!((one.shards, one.since), (64, lease.clock));
        assert_eq!(one.version, env!("CARGO_PKG_VERSION"));
        assert!(!one.host.is_empty());
        assert_eq!(one.lease_age, None, "it lasts as long as the process");
    }
    owner.release(&lease, None).await.expect("given back");
    assert_eq!(other.workers().await.expect("asked"), []);
}

#[tokio::test]
async fn an_owner_whose_file_was_deleted_is_fenced() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    let (first, second) = (open(&path).await, open(&path).await);
    first
        .add(&settings(), &Credentials::default(), NOW)
        .await
        .expect("added");
    let old = hold(&first, 1).await;
    first.publish(&[event(1)]).await.expect("published");
    fs::remove_file(folder.path().join("t.db.owner")).expect("removed");
    let new = hold(&second, 2).await;

    let plan = plan(&first, &old).await;
    assert!(matches!(
        first.route(&old, &plan).await,
        Err(StoreError::LeaseLost)
    ));
    assert!(matches!(
        first.hold(worker(1), Shards::default()).await,
        Err(StoreError::LeaseLost)
    ));
    second.route(&new, &plan).await.expect("routed");
}

#[tokio::test]
async fn asking_who_owns_disturbs_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    let (first, second) = (open(&path).await, open(&path).await);
    let asking = tokio::spawn(async move {
        for _ in 0..2_000 {
            second.owned().await.expect("asked");
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..100 {
        let lease = hold(&first, 1).await;
        first.release(&lease, None).await.expect("given back");
    }
    asking.await.expect("no panic");
}

// === publishing on other connections ===

#[tokio::test]
async fn an_event_in_the_callers_transaction_goes_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    let store = open(&path).await;
    let mut conn = connect(&path).await;
    run(&mut conn, "CREATE TABLE orders (id INTEGER PRIMARY KEY)").await;
    let lease = hold(&store, 1).await;
    assert!(changed(&store, &lease).await);

    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.expect("begun");
    run(&mut tx, "INSERT INTO orders VALUES (1)").await;
    let published = SqliteStore::publish_in(&mut tx, &event(1), id(1))
        .await
        .expect("published");
    assert_eq!((published.id, published.duplicate), (id(1), false));
    tx.rollback().await.expect("rolled back");
    assert_eq!(store.remaining(NOW).await.expect("counted").unrouted, 0);
    assert!(!changed(&store, &lease).await);

    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.expect("begun");
    run(&mut tx, "INSERT INTO orders VALUES (1)").await;
    SqliteStore::publish_in(&mut tx, &event(1), id(2))
        .await
        .expect("published");
    assert_eq!(
        store.remaining(NOW).await.expect("counted").unrouted,
        0,
        "not before the commit"
    );
    tx.commit().await.expect("committed");
    assert!(changed(&store, &lease).await);
    assert_eq!(store.remaining(NOW).await.expect("counted").unrouted, 1);
    let record = store.event(id(2)).await.expect("an event");
    assert_eq!(
        (&record.payload[..], record.routed),
        (&br#"{"n":1}"#[..], false)
    );

    // The same keys count on both ways.
    let again = store.publish(&[event(1)]).await.expect("published");
    assert_eq!(
        again[0].as_ref().map(|p| (p.id, p.duplicate)),
        Ok((id(2), true))
    );
    let again = SqliteStore::publish_in(&mut conn, &event(1), id(3))
        .await
        .expect("published");
    assert_eq!((again.id, again.duplicate), (id(2), true));
}

#[tokio::test]
async fn it_works_however_the_caller_began() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    let store = open(&path).await;
    let unrouted = async || store.remaining(NOW).await.expect("counted").unrouted;
    let mut conn = connect(&path).await;

    SqliteStore::publish_in(&mut conn, &event(1), id(1))
        .await
        .expect("alone");
    assert_eq!(unrouted().await, 1);
    run(&mut conn, "BEGIN").await;
    SqliteStore::publish_in(&mut conn, &event(2), id(2))
        .await
        .expect("by a statement");
    assert_eq!(unrouted().await, 1);
    run(&mut conn, "COMMIT").await;
    assert_eq!(unrouted().await, 2);
    let mut tx = conn.begin().await.expect("begun");
    SqliteStore::publish_in(&mut tx, &event(3), id(3))
        .await
        .expect("deferred");
    let mut inner = tx.begin().await.expect("a savepoint");
    SqliteStore::publish_in(&mut inner, &event(4), id(4))
        .await
        .expect("in a savepoint");
    inner.rollback().await.expect("rolled back");
    tx.commit().await.expect("committed");
    assert_eq!(unrouted().await, 3);
}

#[tokio::test]
async fn a_conflict_leaves_the_callers_transaction_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    let store = open(&path).await;
    let mut conn = connect(&path).await;
    run(&mut conn, "CREATE TABLE orders (id INTEGER PRIMARY KEY)").await;
    let keyed = |n| event(n).with_key(IdempotencyKey::new("k").expect("a key"));
    SqliteStore::publish_in(&mut conn, &keyed(1), id(1))
        .await
        .expect("published");

    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.expect("begun");
    run(&mut tx, "INSERT INTO orders VALUES (1)").await;
    let error = SqliteStore::publish_in(&mut tx, &keyed(2), id(2))
        .await
        .expect_err("refused");
    assert_eq!(code(&error), "idempotency_conflict");
    let never = event(3).with_not_before(Timestamp::from_millis(i64::MAX));
    let never = never.expect("an event");
    let error = SqliteStore::publish_in(&mut tx, &never, id(2)).await;
    assert_eq!(code(&error.expect_err("refused")), "bad_time");
    // An id twice is a mistake of the caller's.
    SqliteStore::publish_in(&mut tx, &event(3), id(1))
        .await
        .expect_err("taken");
    SqliteStore::publish_in(&mut tx, &event(3), id(3))
        .await
        .expect("published");
    tx.commit().await.expect("committed");
    assert_eq!(number(&mut conn, "SELECT count(*) FROM orders").await, 1);
    assert_eq!(store.remaining(NOW).await.expect("counted").unrouted, 2);
}

#[tokio::test]
async fn a_reader_that_became_old_is_told_to_begin_as_a_writer() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    let store = open(&path).await;
    let mut conn = connect(&path).await;

    // Its snapshot is of before the other's commit.
    let mut tx = conn.begin().await.expect("begun");
    number(&mut tx, "SELECT count(*) FROM tharsis_event").await;
    store.publish(&[event(1)]).await.expect("published");
    let error = SqliteStore::publish_in(&mut tx, &event(2), id(2))
        .await
        .expect_err("too late");
    assert_eq!(code(&error), "begin_immediate");
    tx.rollback().await.expect("rolled back");

    // Another one writes at the moment.
    let mut other = connect(&path).await;
    let mut tx = conn.begin().await.expect("begun");
    number(&mut tx, "SELECT count(*) FROM tharsis_event").await;
    run(&mut other, "BEGIN IMMEDIATE").await;
    let error = SqliteStore::publish_in(&mut tx, &event(2), id(2))
        .await
        .expect_err("in the way");
    assert_eq!(code(&error), "begin_immediate");
    tx.rollback().await.expect("rolled back");
    run(&mut other, "ROLLBACK").await;

    // One that has not read yet does not become a reader by publishing.
    let mut tx = conn.begin().await.expect("begun");
    store.publish(&[event(3)]).await.expect("published");
    SqliteStore::publish_in(&mut tx, &event(4), id(4))
        .await
        .expect("published");
    tx.commit().await.expect("committed");
}

#[tokio::test]
async fn other_databases_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    drop(open(&path).await);
    let mut conn = connect(&folder.path().join("shop.db")).await;
    let error = SqliteStore::publish_in(&mut conn, &event(1), id(1))
        .await
        .expect_err("no tables");
    assert_eq!(code(&error), "tables_missing");
    sqlx::query("ATTACH ?1 AS outbox")
        .bind(path.to_str())
        .execute(&mut conn)
        .await
        .expect("attached");
    let error = SqliteStore::publish_in(&mut conn, &event(1), id(1))
        .await
        .expect_err("attached");
    assert_eq!(code(&error), "attached_database");
    assert!(error.to_string().contains("outbox"), "{error}");
}

// === other languages ===

/// The statements of the documentation.
const BY_SQL: [&str; 4] = [
    "BEGIN IMMEDIATE",
    "INSERT INTO tharsis_event (type, client, payload)
     VALUES ('ticket', unhex(replace('b4aeba4e-a4c0-4896-866a-56f8bcb372fc', '-', '')), '{\"price\": 9.50}')",
    "INSERT INTO tharsis_outbox (event) VALUES (last_insert_rowid())",
    "COMMIT",
];

#[tokio::test]
async fn events_inserted_by_sql_are_frozen_when_they_are_routed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    let store = open(&path).await;
    let lease = hold(&store, 1).await;
    store
        .add(&settings(), &Credentials::default(), NOW)
        .await
        .expect("added");
    let mut conn = connect(&path).await;
    for statement in BY_SQL {
        run(&mut conn, statement).await;
    }
    run(
        &mut conn,
        "INSERT INTO tharsis_event (type, client, payload, campaign, expires_at)
         SELECT type, client, '{\"n\": 9007199254740993}', 'spring', 1900000000000 FROM tharsis_event",
    )
    .await;
    run(
        &mut conn,
        "INSERT INTO tharsis_outbox (event) VALUES (last_insert_rowid())",
    )
    .await;

    let pointers = store.pointers(&lease, 10).await.expect("pointers").events;
    assert_eq!(pointers.len(), 2);
    let client: ClientId = CLIENT.parse().expect("a client");
    assert_eq!(
        (pointers[0].client, &*pointers[0].event_type),
        (client, "ticket")
    );
    assert_eq!(
        pointers[0].unfrozen.as_deref(),
        Some(&br#"{"price": 9.50}"#[..])
    );
    assert_eq!(pointers[0].event.as_uuid().get_version_num(), 7);
    let age = lease
        .clock
        .since(pointers[0].published_at)
        .max(pointers[0].published_at.since(lease.clock));
    assert!(age < Duration::from_secs(60), "{age:?}");
    assert_eq!(
        pointers[1].expires_at,
        Some(Timestamp::from_millis(1_900_000_000_000))
    );

    let plan = plan(&store, &lease).await;
    store.route(&lease, &plan).await.expect("routed");
    store.route(&lease, &plan).await.expect("nothing to do");
    let due = due(&store, &lease).await;
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].payload, r#"{"price":9.5}"#);
    let record = store.event(pointers[1].event).await.expect("an event");
    let refusal = record.refused.expect("refused");
    assert_eq!(
        (refusal.code.is_empty(), refusal.field.as_deref()),
        (false, Some("n"))
    );
    assert_eq!((record.routed, record.deliveries.len()), (true, 0));
    assert_eq!(record.campaign.as_deref(), Some("spring"));
    assert_eq!(
        record.payload, r#"{"n": 9007199254740993}"#,
        "as it was given"
    );
}

#[tokio::test]
async fn what_sql_must_not_insert_is_refused_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    drop(open(&path).await);
    let mut conn = connect(&path).await;
    for statement in [
        "INSERT INTO tharsis_event (type, client, payload) VALUES ('', zeroblob(16), '{}')",
        "INSERT INTO tharsis_event (type, client, payload) VALUES ('a b', zeroblob(16), '{}')",
        "INSERT INTO tharsis_event (type, client, payload) VALUES ('ü', zeroblob(16), '{}')",
        "INSERT INTO tharsis_event (type, client, payload) VALUES (CAST(x'61ff' AS TEXT), zeroblob(16), '{}')",
        "INSERT INTO tharsis_event (type, client, payload) VALUES (CAST(x'610062' AS TEXT), zeroblob(16), '{}')",
        "INSERT INTO tharsis_event (type, client, payload) VALUES ('ticket', 'b4aeba4e-a4c0-4896-866a-56f8bcb372fc', '{}')",
        "INSERT INTO tharsis_event (type, client, payload) VALUES ('ticket', zeroblob(15), '{}')",
        "INSERT INTO tharsis_event (type, client, payload) VALUES ('ticket', zeroblob(16), x'7b7d')",
        "INSERT INTO tharsis_event (type, client, payload) VALUES ('ticket', zeroblob(16), NULL)",
        "INSERT INTO tharsis_event (type, client, payload, not_before) VALUES ('ticket', zeroblob(16), '{}', 'now')",
        "INSERT INTO tharsis_event (type, client, payload, id) VALUES ('ticket', zeroblob(16), '{}', 'short')",
    ] {
        sqlx::query(statement)
            .execute(&mut conn)
            .await
            .expect_err(statement);
    }
}

#[tokio::test]
async fn one_bad_row_by_sql_stops_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    let store = open(&path).await;
    let lease = hold(&store, 1).await;
    store
        .add(&settings(), &Credentials::default(), NOW)
        .await
        .expect("added");
    let mut conn = connect(&path).await;
    // Pointers without events, a payload that is no UTF-8, and a type that a check would have refused.
    run(
        &mut conn,
        "INSERT INTO tharsis_outbox (event) VALUES (-5), (-4), (-3)",
    )
    .await;
    run(
        &mut conn,
        "INSERT INTO tharsis_event (type, client, payload)
         VALUES ('ticket', unhex('b4aeba4ea4c04896866a56f8bcb372fc'), CAST(x'7b22ff227d' AS TEXT))",
    )
    .await;
    run(
        &mut conn,
        "INSERT INTO tharsis_outbox (event) VALUES (last_insert_rowid())",
    )
    .await;
    run(&mut conn, "PRAGMA ignore_check_constraints = ON").await;
    run(
        &mut conn,
        "INSERT INTO tharsis_event (type, client, payload)
         VALUES (CAST(x'610062' AS TEXT), unhex('b4aeba4ea4c04896866a56f8bcb372fc'), '{}')",
    )
    .await;
    run(
        &mut conn,
        "INSERT INTO tharsis_outbox (event) VALUES (last_insert_rowid())",
    )
    .await;
    store.publish(&[event(1)]).await.expect("published");

    let pointers = store.pointers(&lease, 2).await.expect("pointers").events;
    assert_eq!(pointers.len(), 2);
    assert_eq!(pointers[0].unfrozen.as_deref(), Some(&b"{\"\xff\"}"[..]));
    route_all(&store, &lease).await;
    assert_eq!(due(&store, &lease).await.len(), 1);
    assert!(
        store
            .event(pointers[0].event)
            .await
            .expect("an event")
            .refused
            .is_some()
    );
    assert_eq!(store.remaining(NOW).await.expect("counted").unrouted, 0);
}

#[tokio::test]
async fn a_pointer_inserted_again_makes_no_second_delivery() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    let store = open(&path).await;
    let lease = hold(&store, 1).await;
    store
        .add(&settings(), &Credentials::default(), NOW)
        .await
        .expect("added");
    let mut conn = connect(&path).await;
    store
        .publish(&[event(1), event(2)])
        .await
        .expect("published");
    // And one that is refused.
    run(
        &mut conn,
        "INSERT INTO tharsis_event (type, client, payload)
         VALUES ('ticket', unhex('b4aeba4ea4c04896866a56f8bcb372fc'), '{')",
    )
    .await;
    run(&mut conn, "INSERT INTO tharsis_outbox VALUES (3)").await;
    route_all(&store, &lease).await;
    let first = due(&store, &lease).await;
    assert_eq!(first.len(), 2);
    store
        .settle(&lease, &[delivered(&first[1], lease.clock)])
        .await
        .expect("settled");

    let again = "INSERT INTO tharsis_outbox SELECT seq FROM tharsis_event";
    run(&mut conn, again).await;
    store.publish(&[event(4)]).await.expect("published");
    route_all(&store, &lease).await;
    // Nor an end, where routing would end it now.
    run(&mut conn, "DELETE FROM tharsis_outbox").await;
    run(&mut conn, again).await;
    let mut ending = plan(&store, &lease).await;
    for to in ending.iter_mut().flat_map(|routed| &mut routed.to) {
        to.ends = Some((End::Expired, "expired"));
    }
    store.route(&lease, &ending).await.expect("routed");

    let seqs: Vec<i64> = due(&store, &lease)
        .await
        .iter()
        .map(|d| d.position.seq)
        .collect();
    assert_eq!(seqs, [1, 4]);
    let detail = store.delivery(first[1].id).await.expect("a delivery");
    assert_eq!(detail.row.status, Status::Ended(End::Delivered));
    assert_eq!(detail.attempts.len(), 1);
    assert_eq!(
        number(&mut conn, "SELECT count(*) FROM tharsis_attempt").await,
        1
    );
    assert_eq!(store.remaining(NOW).await.expect("counted").unrouted, 0);
}

#[tokio::test]
async fn an_event_changed_since_it_was_read_is_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    let store = open(&path).await;
    let lease = hold(&store, 1).await;
    store
        .add(&settings(), &Credentials::default(), NOW)
        .await
        .expect("added");
    let mut conn = connect(&path).await;
    for statement in BY_SQL {
        run(&mut conn, statement).await;
    }
    store.publish(&[event(1)]).await.expect("published");
    let plan = plan(&store, &lease).await;
    run(
        &mut conn,
        "UPDATE tharsis_event SET type = 'other' WHERE seq = 1",
    )
    .await;

    store.route(&lease, &plan).await.expect("routed");
    assert_eq!(due(&store, &lease).await.len(), 1, "nothing unfrozen");
    assert_eq!(store.remaining(NOW).await.expect("counted").unrouted, 1);
    route_all(&store, &lease).await;
    let due = due(&store, &lease).await;
    let types: Vec<&str> = due.iter().map(|d| &*d.event_type).collect();
    assert_eq!(types, ["other", "ticket"]);
}

#[tokio::test]
async fn large_payloads_by_sql_are_read_in_parts() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    let store = open(&path).await;
    let lease = hold(&store, 1).await;
    store
        .add(&settings(), &Credentials::default(), NOW)
        .await
        .expect("added");
    let mut conn = connect(&path).await;
    run(
        &mut conn,
        "INSERT INTO tharsis_event (type, client, payload)
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30)
         SELECT 'ticket', unhex('b4aeba4ea4c04896866a56f8bcb372fc'),
                '{\"n\":\"' || hex(zeroblob(iif(i = 3, 200000, 100000))) || '\"}'
         FROM n",
    )
    .await;
    run(
        &mut conn,
        "INSERT INTO tharsis_outbox SELECT seq FROM tharsis_event",
    )
    .await;

    let read = store.pointers(&lease, 500).await.expect("pointers").events;
    let text = |n: usize| read[n].unfrozen.as_ref().map(|text| text.len());
    assert_eq!((text(1), read[1].size), (Some(200_008), 200_008));
    assert_eq!(
        (text(2), read[2].size),
        (Some(0), 400_008),
        "over the limit"
    );
    assert_eq!(read.len(), 21, "four MiB, and one without text");
    route_all(&store, &lease).await;
    assert_eq!(store.remaining(NOW).await.expect("counted").unrouted, 0);
    assert_eq!(due(&store, &lease).await.len(), 29);
    let refused = store.event(read[2].event).await.expect("an event");
    assert!(refused.refused.is_some());
}

// === many at once ===

#[tokio::test]
async fn a_transaction_dropped_midway_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    let store = open(&path).await;
    let lease = hold(&store, 1).await;
    store
        .add(&settings(), &Credentials::default(), NOW)
        .await
        .expect("added");
    let mut conn = connect(&path).await;

    // Stopped ever later, until it is through.
    let mut finished = 0;
    for turns in 0..1_000 {
        let events = [event(turns)];
        let publishing = store.publish(&events);
        finished += u32::from(stop_after(turns % 50, publishing).await);
        let state = sqlx::query(
            "SELECT (SELECT count(*) FROM tharsis_event), (SELECT count(*) FROM tharsis_outbox),
                    (SELECT count(*) FROM tharsis_idempotency)",
        )
        .fetch_one(&mut conn)
        .await
        .expect("a count");
        let (events, pointers, keys): (i64, i64, i64) = (state.get(0), state.get(1), state.get(2));
        assert_eq!((pointers, keys), (events, events), "all of it or nothing");
        if finished >= 20 {
            break;
        }
    }
    assert!(finished >= 20);
    // The lock of the file is free again, for others too.
    run(&mut conn, "PRAGMA busy_timeout = 5000").await;
    run(&mut conn, "BEGIN IMMEDIATE").await;
    run(&mut conn, "ROLLBACK").await;

    route_all(&store, &lease).await;
    let due = due(&store, &lease).await;
    let settlements: Vec<_> = due.iter().map(|d| delivered(d, lease.clock)).collect();
    for turns in 0..40 {
        stop_after(turns, store.settle(&lease, &settlements)).await;
        let state = sqlx::query(
            "SELECT (SELECT count(*) FROM tharsis_delivery), (SELECT count(*) FROM tharsis_attempt)",
        )
        .fetch_one(&mut conn)
        .await
        .expect("a count");
        let (unfinished, attempts): (i64, i64) = (state.get(0), state.get(1));
        assert!(
            unfinished == 0 || attempts == 0,
            "{unfinished} unfinished, {attempts} attempts"
        );
        if attempts > 0 {
            return;
        }
    }
    assert_eq!(
        store.settle(&lease, &settlements).await.expect("settled"),
        []
    );
}

#[tokio::test]
async fn the_owner_notices_what_was_published_though_nobody_waited_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    let store = open(&path).await;
    let lease = hold(&store, 1).await;
    let mut conn = connect(&path).await;
    let count = "SELECT count(*) FROM tharsis_event";
    let mut abandoned = 0;
    for turns in 0..1_000 {
        changed(&store, &lease).await;
        let before = number(&mut conn, count).await;
        let events = [event(turns)];
        let finished = stop_after(turns % 20, store.publish(&events)).await;
        // Asks in a turn of its own, after all that was under way.
        let changed = changed(&store, &lease).await;
        let published = number(&mut conn, count).await > before;
        assert!(changed || !published, "after {} turns", turns % 20);
        abandoned += u32::from(published && !finished);
        if abandoned == 5 {
            return;
        }
    }
    assert!(abandoned > 0);
}

#[test]
fn a_transaction_dropped_outside_of_a_runtime_locks_nobody_out() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    let store = runtime.block_on(open(&path));
    let mut other = runtime.block_on(connect(&path));
    let mut stopped = 0;
    for round in 0..40 {
        let settings = Settings {
            name: format!("round {round}"),
            ..settings()
        };
        let nothing = Credentials::default();
        let mut adding = Box::pin(store.add(&settings, &nothing, NOW));
        // How often it is woken until it is through differs; once it surely is.
        let added = runtime.block_on(stop_after(round % 8, adding.as_mut()));
        drop(adding);
        runtime.block_on(async {
            run(&mut other, "BEGIN IMMEDIATE").await;
            run(&mut other, "ROLLBACK").await;
            store.publish(&[event(round)]).await.expect("published");
        });
        let events = "SELECT count(*) FROM tharsis_event";
        let events = runtime.block_on(number(&mut other, events));
        assert_eq!(events, i64::from(round) + 1, "in no transaction of before");
        stopped += u32::from(!added);
    }
    assert!((5..40).contains(&stopped), "{stopped}");
}

#[tokio::test]
async fn one_who_was_stopped_at_the_head_of_the_queue_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    let store = open(&path).await;
    let stopped = fs::File::create(folder.path().join("t.db.queue")).expect("a file");
    stopped.lock().expect("locked");
    let events = [event(1)];
    let publishing = store.publish(&events);
    tokio::time::timeout(Duration::from_secs(10), publishing)
        .await
        .expect("long before the end of patience")
        .expect("published");
}

/// Lets a future go on so often as something happens that it waits for, then drops it. Returns whether it was through.
async fn stop_after(turns: u32, future: impl Future) -> bool {
    let mut future = Box::pin(future);
    let mut left = turns;
    std::future::poll_fn(|cx| {
        if future.as_mut().poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        left = left.saturating_sub(1);
        if left == 0 {
            Poll::Ready(false)
        } else {
            Poll::Pending
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_publish_beside_an_owner_and_nobody_is_locked_out() {
    const EACH: u32 = 60;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.db");
    let owner = open(&path).await;
    let lease = hold(&owner, 1).await;
    owner
        .add(&settings(), &Credentials::default(), NOW)
        .await
        .expect("added");
    let mut publishers = tokio::task::JoinSet::new();
    for publisher in 0..8 {
        // Each with connections of its own, as other processes have them.
        let store = open(&path).await;
        publishers.spawn(async move {
            for n in 0..EACH {
                let published = store
                    .publish(&[event(publisher * 1_000 + n)])
                    .await
                    .expect("never locked out");
                assert!(!published[0].as_ref().expect("not refused").duplicate);
            }
        });
    }
    let mut delivered_count = 0;
    while delivered_count < 8 * EACH as usize {
        route_all(&owner, &lease).await;
        let due = due(&owner, &lease).await;
        let settlements: Vec<_> = due.iter().map(|d| delivered(d, lease.clock)).collect();
        assert_eq!(
            owner.settle(&lease, &settlements).await.expect("settled"),
            []
        );
        delivered_count += due.len();
    }
    while let Some(publisher) = publishers.join_next().await {
        publisher.expect("no panic");
    }
    assert_eq!(
        owner.remaining(lease.clock).await.expect("counted"),
        tharsis_store::Remaining::default()
    );
}

// === verbs ===

async fn hold(store: &SqliteStore, n: u8) -> tharsis_store::Lease {
    let lease = store.hold(worker(n), Shards::default()).await;
    lease.expect("the lease")
}

/// Whether the owner is told of something.
async fn changed(store: &SqliteStore, lease: &tharsis_store::Lease) -> bool {
    store.changed(lease).await.expect("asked").anything
}

async fn plan(store: &SqliteStore, lease: &tharsis_store::Lease) -> Vec<Routed> {
    let subscription: Vec<i64> = store
        .snapshot()
        .await
        .expect("a snapshot")
        .targets
        .iter()
        .map(|(n, _)| *n)
        .collect();
    store
        .pointers(lease, 500)
        .await
        .expect("pointers")
        .events
        .into_iter()
        .map(|pointer| {
            let frozen: Option<Result<Box<Event>, Invalid>> = pointer
                .unfrozen
                .as_deref()
                .map(|text| Event::freeze(&pointer.event_type, pointer.client, text).map(Box::new));
            let is_refused = matches!(frozen, Some(Err(_)));
            Routed {
                seq: pointer.seq,
                to: subscription
                    .iter()
                    .filter(|_| !is_refused)
                    .map(|&subscription| RouteTo {
                        subscription,
                        due_at: lease.clock,
                        ends: None,
                    })
                    .collect(),
                frozen,
            }
        })
        .collect()
}

async fn route_all(store: &SqliteStore, lease: &tharsis_store::Lease) {
    loop {
        let plan = plan(store, lease).await;
        if plan.is_empty() {
            return;
        }
        store.route(lease, &plan).await.expect("routed");
    }
}

async fn due(store: &SqliteStore, lease: &tharsis_store::Lease) -> Vec<tharsis_store::Due> {
    let lane = LaneRead {
        subscription: 1,
        after: None,
        limit: 500,
        named: false,
    };
    store
        .due(lease, &[lane], lease.clock)
        .await
        .expect("due")
        .due
}

fn delivered(due: &tharsis_store::Due, at: Timestamp) -> Settlement {
    Settlement {
        position: due.position,
        event: due.id.event,
        attempts: due.attempts,
        attempt: Some(Attempt {
            number: due.attempts + 1,
            at,
            duration: Duration::from_millis(3),
            code: "http_200".to_owned(),
            status: Some(200),
            excerpt: Vec::new(),
            detail: None,
        }),
        fate: Fate::Ended(End::Delivered),
        key: None,
        suspend: None,
        certificate_ends: None,
    }
}

#[tokio::test]
async fn what_was_published_while_the_clock_was_ahead_is_found_by_its_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("tharsis.db");
    let store = open(&path).await;
    let added = store.add(&settings(), &Credentials::default(), NOW).await;
    added.expect("added");
    // A minute apart, and the clock is set back by half an hour after the tenth.
    let mut conn = connect(&path).await;
    run(
        &mut conn,
        "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 100)
         INSERT INTO tharsis_event (seq, type, client, published_at, payload)
         SELECT n, 'ticket', (SELECT client FROM tharsis_subscription),
                1700000000000 + (n - 30 * (n > 10)) * 60000, '{}'
         FROM number",
    )
    .await;
    run(
        &mut conn,
        "INSERT INTO tharsis_delivery (subscription, lane, due_at, event, attempts, tries)
         SELECT 1, 0, published_at, seq, 0, 0 FROM tharsis_event",
    )
    .await;
    let minutes = |minute: i64| Timestamp::from_millis(NOW.as_millis() + minute * 60_000);
    let all: Vec<i64> = (1..=100).map(|n| n - 30 * i64::from(n > 10)).collect();
    for (since, until) in [
        (None, Some(5)),
        (Some(5), None),
        (Some(-10), Some(6)),
        (Some(70), Some(71)),
    ] {
        let mut filter = DeliveryFilter::default();
        filter.since = since.map(minutes);
        filter.until = until.map(minutes);
        let is_in = |at: &&i64| since.is_none_or(|s| **at >= s) && until.is_none_or(|u| **at < u);
        let expected = all.iter().filter(is_in).count();
        let list = store.deliveries(&filter, None, 200).await.expect("a list");
        assert_eq!(list.items.len(), expected, "{since:?} {until:?}");
        let count = store.count(&filter).await.expect("a count");
        assert_eq!(count, expected as u64, "{since:?} {until:?}");
    }
    let mut beyond = DeliveryFilter::default();
    for (since, until) in [(Some(71), None), (None, Some(-19))] {
        beyond.since = since.map(minutes);
        beyond.until = until.map(minutes);
        let list = store.deliveries(&beyond, None, 200).await.expect("a list");
        assert_eq!((list.items.len(), list.next), (0, None));
    }
}
