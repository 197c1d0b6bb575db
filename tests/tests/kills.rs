//! `kill -9` at any moment loses nothing, and invents nothing.

use std::{
    collections::{HashMap, HashSet},
    env,
    time::Duration,
};

use tharsis::Timestamp;
use tharsis_tests::{ALPHA, Inbox, Journal, Publisher, Subscribe, World, mark_of, pause};

/// An answer is settled at the latest so long after it came: the longest wait for a group of settles.
const FLUSH_WINDOW: Duration = Duration::from_millis(20);
/// What a busy machine, or a publisher that holds the database, may add.
const ALLOWANCE: Duration = Duration::from_secs(1);
/// A request that was on its way when the worker was killed is read a little later.
const ON_ITS_WAY: Duration = Duration::from_millis(250);

/// What the journals say must, may and must not be received.
#[derive(Default)]
struct Promised {
    committed: HashSet<String>,
    intended: HashSet<String>,
    doomed: HashSet<String>,
}

#[test]
fn fifty_kills_of_the_worker_lose_nothing_and_every_duplicate_is_explained() {
    let world = World::new();
    let kills = env::var("THARSIS_TEST_KILLS").map_or(50, |kills| kills.parse().expect("a number"));
    let everything = world.receiver("everything").start();
    let nudges = world.receiver("nudges").start();
    world.subscribe(&Subscribe::new(ALPHA, &everything));
    world.subscribe(&Subscribe::new(ALPHA, &nudges).event("nudge"));

    let mut random = world.random();
    let mut publishers = [
        Publisher::start(&world, "mixed", ALPHA),
        Publisher::start(&world, "mixed", ALPHA),
    ];
    let mut journals = Vec::new();
    let mut killed_at = Vec::new();
    let mut lives_with_work = 0;
    for round in 0..kills {
        let before = everything.count();
        let worker = world.spawn_run();
        // A long life now and then, so that not every receipt lies shortly before a kill.
        let longest = if round % 10 == 9 { 3_000 } else { 600 };
        pause(Duration::from_millis(random.u64(20..longest)));
        // One publisher in three rounds dies too: at any moment, or surely inside a transaction.
        match round % 6 {
            2 => {
                let other = Publisher::start(&world, "mixed", ALPHA);
                let publisher = std::mem::replace(&mut publishers[random.usize(0..2)], other);
                publisher.process.kill9();
                journals.push(publisher.journal);
            }
            5 => {
                let mut publisher = Publisher::start(&world, "held", ALPHA);
                publisher.wait_until_it("holds");
                pause(Duration::from_millis(random.u64(0..100)));
                publisher.process.kill9();
                journals.push(publisher.journal);
            }
            _ => {}
        }
        killed_at.push(worker.kill9());
        lives_with_work += usize::from(everything.count() > before);
    }
    journals.extend(publishers.map(Publisher::stop));
    world.run_until_idle();

    let promised = Promised::read(&journals);
    assert!(
        promised.committed.len() > 10 * kills,
        "the publishers were at work: {}",
        promised.committed.len()
    );
    assert!(
        promised.doomed.len() > kills,
        "and rolled back: {}",
        promised.doomed.len()
    );
    assert!(
        2 * lives_with_work > kills,
        "most workers lived to deliver: {lives_with_work} of {kills}"
    );
    for journal in &journals {
        assert_eq!(journal.steps("failed"), Vec::<String>::new());
    }
    promised.assert_kept(&everything);
    // What one subscription got was published, so the other must have got its part of it.
    let is_nudge = |body: &[u8]| body.starts_with(b"{\"nudgeUserId\"");
    assert_eq!(marks(&nudges, |_| true), marks(&everything, is_nudge));
    for inbox in [&everything, &nudges] {
        assert_duplicates_are_explained(inbox, &killed_at);
    }
    // Every answer was a success, so one that was settled ended its delivery: what came twice was settled once.
    for delivery in world.deliveries(&["--limit=1000000"]) {
        assert_eq!(
            (&delivery["status"], &delivery["attempts"]),
            (&"delivered".into(), &1.into()),
            "{delivery}"
        );
    }
    assert_eq!(world.integrity(), "ok");
}

/// Retries and a replay go on where they were, whatever was killed.
#[test]
fn retries_and_replays_survive_kills_too() {
    const EVENTS: usize = 400;
    const REFUSED_AT_FIRST: u32 = 700;
    let world = World::new();
    let shop = world
        .receiver("shop")
        .answers(503)
        .after(REFUSED_AT_FIRST, 200)
        .start();
    world.subscribe(&Subscribe::new(ALPHA, &shop).retry("30ms,60ms,60ms,60ms,60ms,60ms,60ms,60ms"));
    let lines = world.predictions(ALPHA, EVENTS);
    world.publish(&lines);
    let mut random = world.random();
    let mut kill = |times: usize| {
        for _ in 0..times {
            let worker = world.spawn_run();
            pause(Duration::from_millis(random.u64(20..250)));
            worker.kill9();
        }
    };
    kill(15);
    world.run_until_idle();
    assert_eq!(
        world
            .deliveries(&["--status=delivered", "--limit=1000"])
            .len(),
        EVENTS
    );

    let before = shop.count();
    let replay = world.ask(["replay", "--client", ALPHA, "--yes"]);
    kill(10);
    world.run_until_idle();
    let replay = world.ask(["replay", "show", replay["id"].as_str().expect("an id")]);
    assert_eq!(
        (&replay["state"], &replay["replayed"], &replay["skipped"]),
        (&"done".into(), &EVENTS.into(), &0.into())
    );
    shop.assert_received(&lines);
    let again: HashSet<String> = shop.marks().split_off(before).into_iter().collect();
    assert_eq!(again.len(), EVENTS, "each came again");
    for delivery in world.deliveries(&["--limit=1000"]) {
        let shown = world.ask(["delivery", "show", delivery["id"].as_str().expect("an id")]);
        let history = shown["history"].as_array().expect("a history");
        let ends = history
            .iter()
            .filter(|attempt| attempt["end"] == "delivered")
            .count();
        assert_eq!(ends, 2, "once by itself and once by the replay: {shown}");
    }
}

impl Promised {
    fn read(journals: &[Journal]) -> Self {
        let mut promised = Self::default();
        for journal in journals {
            promised.committed.extend(journal.steps("committed"));
            promised.intended.extend(journal.steps("intends"));
            promised.doomed.extend(journal.steps("dooms"));
        }
        promised
    }

    /// Published ⊆ received; nothing that was rolled back, and nothing that nobody meant to publish, is received.
    #[track_caller]
    fn assert_kept(&self, inbox: &Inbox) {
        inbox.assert_all_verified();
        let received = marks(inbox, |_| true);
        let lost: Vec<_> = self.committed.difference(&received).collect();
        assert!(
            lost.is_empty(),
            "{} of {} are lost, such as {}",
            lost.len(),
            self.committed.len(),
            lost[0]
        );
        let invented: Vec<_> = received.difference(&self.intended).collect();
        assert!(
            invented.is_empty(),
            "{} were rolled back or made up, such as {}",
            invented.len(),
            invented[0]
        );
        assert!(self.intended.is_disjoint(&self.doomed));
    }
}

/// The marks of the bodies that are of this kind.
fn marks(inbox: &Inbox, of_kind: impl Fn(&[u8]) -> bool) -> HashSet<String> {
    (inbox.posts().iter())
        .filter(|post| of_kind(&post.body))
        .map(|post| mark_of(&post.body))
        .collect()
}

/// A duplicate has one cause here: the worker was killed between the answer and its settlement.
#[track_caller]
fn assert_duplicates_are_explained(inbox: &Inbox, killed_at: &[Timestamp]) {
    let mut receipts: HashMap<String, Vec<Timestamp>> = HashMap::new();
    for post in inbox.posts() {
        receipts
            .entry(mark_of(&post.body))
            .or_default()
            .push(post.at);
    }
    for (mark, at) in receipts {
        for pair in at.windows(2) {
            let explains = |kill: &&Timestamp| {
                **kill + ON_ITS_WAY >= pair[0]
                    && kill.since(pair[0]) <= FLUSH_WINDOW + ALLOWANCE
                    && **kill < pair[1]
            };
            assert!(
                killed_at.iter().any(|kill| explains(&kill)),
                "{} got {mark} at {} and again at {}, and no kill explains it",
                inbox.name,
                pair[0],
                pair[1]
            );
        }
    }
}
