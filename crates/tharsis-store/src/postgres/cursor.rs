//! How far pointers have been routed. It is a hint alone: an event can be committed behind it, by a transaction that took
//! its number earlier; and while some long transaction is open, what was routed lies there dead, and takes time to pass.
//!
//! So reading goes on from where it was a moment ago, and begins anew when nothing more comes, as long as that takes a
//! small part of the time. What was read and not routed is read again.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use crate::{SHARDS, Shard, Shards};

/// Numbers are given in this order and committed in any: so far back it is looked each time.
const A_MOMENT: Duration = Duration::from_millis(500);

/// While there is always more to read, what came late is looked for so often.
const NOW_AND_THEN: Duration = Duration::from_secs(2);

/// Beginning anew may take one part of so many.
const PART: u32 = 20;

/// But what came late is not left for longer, however long that takes.
const LONGEST: Duration = Duration::from_secs(60);

/// Before every pointer.
const START: i64 = -1;

type Marks = [i64; SHARDS as usize];

/// How far pointers have been routed.
#[derive(Debug, Clone)]
pub(super) struct Cursor {
    /// Of each shard nothing is left up to this number, as far as we know.
    done: Marks,
    /// As it was half a moment ago, and a moment ago.
    younger: Marks,
    older: Marks,
    aged: Option<Instant>,
    /// The newest number that had been given when it was last looked.
    given: Option<i64>,
    last: LastRead,
    turn: Turn,
    /// When it began anew, and how long that took.
    anew: Option<(Instant, Duration)>,
}

/// What the last read gave and what of it is not routed yet, and what follows for the next one when it is.
#[derive(Debug, Clone, Default)]
struct LastRead {
    open: BTreeSet<(Shard, i64)>,
    turn: Turn,
}

/// How the next read is shared out.
#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    /// The last one did not come to an end.
    has_more: bool,
    /// Shards that had more than their part of it, and what the others had together.
    full: u32,
    others: u32,
    /// The shard to begin with, so that each comes first in its turn.
    first: u8,
}

impl Default for Cursor {
    fn default() -> Self {
        const NOTHING: Marks = [START; SHARDS as usize];
        Self {
            done: NOTHING,
            younger: NOTHING,
            older: NOTHING,
            aged: None,
            given: None,
            last: LastRead::default(),
            turn: Turn::default(),
            anew: None,
        }
    }
}

/// What to read: of each shard what comes after the number beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) shards: Vec<i16>,
    pub(super) after: Vec<i64>,
    /// Of one shard at most so many.
    pub(super) part: i64,
    anew: bool,
    began: Instant,
}

impl Cursor {
    /// What to read of these shards, of which `limit` pointers are wanted in all.
    pub(super) fn reading(&self, shards: Shards, limit: u32, now: Instant) -> Reading {
        let anew = self.is_to_begin_anew(now);
        let after = |shard: Shard| match () {
            () if anew => START,
            () if self.turn.has_more => self.done[usize::from(shard.0)],
            () => self.older[usize::from(shard.0)],
        };
        let (later, first): (Vec<Shard>, Vec<Shard>) =
            shards.iter().partition(|shard| shard.0 < self.turn.first);
        let order = || first.iter().chain(&later).copied();
        Reading {
            shards: order().map(|shard| shard.0.into()).collect(),
            after: order().map(after).collect(),
            part: i64::from(self.turn.part(limit)),
            anew,
            began: now,
        }
    }

    fn is_to_begin_anew(&self, now: Instant) -> bool {
        let Some((at, took)) = self.anew else {
            return true;
        };
        let pause = (took * PART).min(LONGEST);
        now >= at
            + if self.turn.has_more {
                pause.max(NOW_AND_THEN)
            } else {
                pause
            }
    }

    /// A look found that the first pointers of these shards are these: a read is to find them, too. `given` is the newest
    /// number that anybody had been given.
    pub(super) fn looked(
        &mut self,
        reading: &Reading,
        found: &[(Shard, i64)],
        given: i64,
        now: Instant,
    ) {
        self.took(reading, now);
        self.go_back_to(found);
        self.pass(reading, found, given);
        self.age(now);
    }

    /// A read gave these, in the order in which it was asked for the shards. Where `is_cut` there was more.
    pub(super) fn read(
        &mut self,
        reading: &Reading,
        found: &[(Shard, i64)],
        is_cut: bool,
        given: i64,
        now: Instant,
    ) {
        self.took(reading, now);
        self.go_back_to(found);
        if !is_cut {
            self.pass(reading, found, given);
        }
        self.last = LastRead {
            open: found.iter().copied().collect(),
            turn: Turn::after(reading, found, is_cut),
        };
    }

    fn go_back_to(&mut self, found: &[(Shard, i64)]) {
        for (shard, seq) in found {
            let at = usize::from(shard.0);
            for marks in [&mut self.done, &mut self.younger, &mut self.older] {
                marks[at] = marks[at].min(seq - 1);
            }
        }
    }

    /// A shard in which nothing was found has nothing up to what had been given before it was looked: what lies dead in it
    /// needs not be passed again.
    fn pass(&mut self, reading: &Reading, found: &[(Shard, i64)], given: i64) {
        let Some(before) = self.given.replace(given) else {
            return;
        };
        let found: Shards = found.iter().map(|(shard, _)| *shard).collect();
        let asked = reading.shards.iter().filter_map(|n| u8::try_from(*n).ok());
        for shard in asked.map(Shard).filter(|shard| !found.contains(*shard)) {
            let at = usize::from(shard.0);
            self.done[at] = self.done[at].max(before);
            if reading.anew {
                self.younger[at] = self.younger[at].max(before);
                self.older[at] = self.older[at].max(before);
            }
        }
    }

    /// These are routed: what was read before them in their shards is, too, unless it is still open.
    pub(super) fn routed(&mut self, keys: &[(Shard, i64)], now: Instant) {
        for (shard, seq) in keys {
            self.last.open.remove(&(*shard, *seq));
        }
        for (shard, seq) in keys {
            let open = self
                .last
                .open
                .range((*shard, i64::MIN)..=(*shard, *seq))
                .next();
            let at = usize::from(shard.0);
            self.done[at] = self.done[at].max(open.map_or(*seq, |(_, open)| open - 1));
        }
        if self.last.open.is_empty() {
            self.turn = self.last.turn;
        }
        self.age(now);
    }

    fn age(&mut self, now: Instant) {
        if self.aged.is_none_or(|aged| now >= aged + A_MOMENT) {
            self.older = self.younger;
            self.younger = self.done;
            self.aged = Some(now);
        }
    }

    fn took(&mut self, reading: &Reading, now: Instant) {
        if reading.anew {
            self.anew = Some((now, now - reading.began));
        }
    }
}

impl Turn {
    fn after(reading: &Reading, found: &[(Shard, i64)], is_cut: bool) -> Self {
        let mut counts = [0_i64; SHARDS as usize];
        for (shard, _) in found {
            counts[usize::from(shard.0)] += 1;
        }
        let cut = found.last().filter(|_| is_cut).map(|(shard, _)| *shard);
        let is_full =
            |shard: u8| counts[usize::from(shard)] >= reading.part || cut == Some(Shard(shard));
        let (full, others): (Vec<u8>, Vec<u8>) = (0..SHARDS).partition(|shard| is_full(*shard));
        let others: i64 = others.iter().map(|shard| counts[usize::from(*shard)]).sum();
        Self {
            has_more: !full.is_empty(),
            full: u32::try_from(full.len()).unwrap_or(u32::from(SHARDS)),
            others: u32::try_from(others).unwrap_or(u32::MAX),
            first: cut.map_or(0, |shard| (shard.0 + 1) % SHARDS),
        }
    }

    /// What one shard may have of a read, so that there is room for the others and for some that come anew.
    fn part(self, limit: u32) -> u32 {
        if self.full == 0 {
            return limit.max(1);
        }
        let room = limit / 8 + self.others.saturating_mul(2).min(limit / 2);
        ((limit - room) / self.full).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);
    const FIVE: Shard = Shard(5);

    /// A cursor beside what is in the table.
    struct Story {
        cursor: Cursor,
        now: Instant,
        rows: Vec<(Shard, i64)>,
        given: i64,
        /// How long it takes to begin anew.
        anew: Duration,
    }

    impl Story {
        fn new() -> Self {
            Self {
                cursor: Cursor::default(),
                now: Instant::now(),
                rows: Vec::new(),
                given: 0,
                anew: MILLI,
            }
        }

        fn read(&mut self, limit: u32) -> Vec<(Shard, i64)> {
            self.rows.sort_by_key(|(_, seq)| *seq);
            let newest = self.rows.last().map_or(0, |(_, seq)| *seq);
            self.given = self.given.max(newest);
            let reading = self.cursor.reading(Shards::ALL, limit, self.now);
            let mut found = Vec::new();
            for (shard, after) in reading.shards.iter().zip(&reading.after) {
                let part = usize::try_from(reading.part).expect("a limit");
                let its = self
                    .rows
                    .iter()
                    .filter(|(s, seq)| i16::from(s.0) == *shard && seq > after);
                found.extend(its.take(part).copied());
            }
            found.truncate(limit as usize);
            self.now += if reading.anew { self.anew } else { MILLI };
            let is_cut = found.len() == limit as usize;
            self.cursor
                .read(&reading, &found, is_cut, self.given, self.now);
            found
        }

        fn route(&mut self, limit: u32) -> usize {
            let found = self.read(limit);
            self.rows.retain(|row| !found.contains(row));
            self.cursor.routed(&found, self.now);
            found.len()
        }

        fn looks_from(&self) -> i64 {
            let reading = self.cursor.reading(Shards::ALL, 1, self.now);
            let mut marks = reading.shards.iter().zip(&reading.after);
            let five = marks.find(|(shard, _)| **shard == i16::from(FIVE.0));
            *five.expect("it is among them").1
        }
    }

    #[test]
    fn a_backlog_is_read_from_where_it_was_left() {
        let mut story = Story::new();
        story.anew = MILLI * 500;
        story.rows.extend((0..1_000).map(|seq| (FIVE, seq)));
        assert_eq!(story.route(100), 100);
        while !story.rows.is_empty() {
            let from = story.looks_from();
            assert!(from >= 99, "not from the start: {from}");
            assert!(story.route(100) >= 87 || story.rows.is_empty());
        }
    }

    #[test]
    fn what_was_read_and_not_routed_is_read_again() {
        let mut story = Story::new();
        story.anew = MILLI * 500;
        story.rows.extend((0..50).map(|seq| (FIVE, seq)));
        story.rows.extend((0..50).map(|seq| (Shard(6), seq)));
        story.route(10);
        let first = story.read(20);
        assert_eq!(story.read(20), first);
        // Of some only the later ones are routed.
        let later = first[5..].to_vec();
        story.rows.retain(|row| !later.contains(row));
        story.cursor.routed(&later, story.now);
        let again = story.read(20);
        assert_eq!(again[..5], first[..5]);
    }

    #[test]
    fn what_is_committed_late_is_found_soon() {
        let mut story = Story::new();
        story.anew = MILLI * 500;
        story.rows.push((FIVE, 10));
        story.route(100);
        story.rows.push((FIVE, 9));
        assert_eq!(story.route(100), 1, "a moment is looked back");
        story.now += A_MOMENT * 4;
        story.rows.push((FIVE, 20));
        story.route(100);
        story.now += A_MOMENT;
        story.rows.push((FIVE, 21));
        story.route(100);
        story.now += A_MOMENT;
        story.rows.push((FIVE, 22));
        story.route(100);
        story.rows.push((FIVE, 8));
        assert_eq!(story.route(100), 0, "it is far behind");
        story.now += story.anew * PART;
        assert_eq!(story.route(100), 1, "begun anew");
    }

    #[test]
    fn beginning_anew_takes_a_small_part_of_the_time() {
        let mut story = Story::new();
        story.anew = MILLI * 100;
        story.route(10);
        let began = story.now;
        let mut anew = 0;
        while story.now < began + Duration::from_secs(20) {
            anew += u32::from(story.cursor.is_to_begin_anew(story.now));
            story.route(10);
            story.now += MILLI * 20;
        }
        assert!((8..=10).contains(&anew), "{anew}");
    }

    #[test]
    fn what_lies_dead_in_a_quiet_shard_is_passed_once_or_twice() {
        let mut story = Story::new();
        story.anew = Duration::from_secs(1);
        // All that this worker was not there to see, routed long ago.
        story.given = 1_000_000;
        assert_eq!(story.looks_from(), START);
        story.route(10);
        story.route(10);
        story.now += A_MOMENT;
        story.route(10);
        story.now += A_MOMENT;
        story.route(10);
        assert_eq!(story.looks_from(), 1_000_000);
        // And what comes is found as ever.
        story.rows.push((FIVE, 1_000_001));
        assert_eq!(story.route(10), 1);
    }

    #[test]
    fn what_came_late_is_not_left_for_longer_than_a_minute() {
        let mut story = Story::new();
        story.anew = Duration::from_secs(30);
        story.route(10);
        assert!(!story.cursor.is_to_begin_anew(story.now));
        assert!(story.cursor.is_to_begin_anew(story.now + LONGEST));
    }

    #[test]
    fn while_there_is_more_it_begins_anew_every_few_seconds() {
        let mut story = Story::new();
        story.rows.extend((0..100_000).map(|seq| (FIVE, 10 + seq)));
        story.route(10);
        let began = story.now;
        story.rows.push((FIVE, 1));
        while story.rows.contains(&(FIVE, 1)) {
            story.route(10);
            assert!(story.now <= began + NOW_AND_THEN + MILLI * 2);
        }
        assert!(story.now >= began + NOW_AND_THEN / 2, "and not before");
    }

    #[test]
    fn a_busy_client_leaves_room_for_the_others() {
        let mut story = Story::new();
        for busy in [2, 3, 5] {
            story
                .rows
                .extend((0..10_000).map(|seq| (Shard(busy), seq * 64)));
        }
        for _ in 0..4 {
            story.route(100);
        }
        let quiet = (Shard(60), 50_000);
        story.rows.push(quiet);
        story.route(100);
        story.route(100);
        assert!(!story.rows.contains(&quiet));
    }

    #[test]
    fn few_wanted_of_many_come_in_turns() {
        let mut story = Story::new();
        story
            .rows
            .extend((0..64).flat_map(|shard| (0..10).map(move |n| (Shard(shard), n * 64))));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..64 {
            let found = story.read(4);
            story.rows.retain(|row| !found.contains(row));
            story.cursor.routed(&found, story.now);
            seen.extend(found.iter().map(|(shard, _)| *shard));
        }
        assert_eq!(seen.len(), 64);
    }

    #[test]
    fn what_a_look_finds_a_read_finds() {
        let mut story = Story::new();
        story.anew = Duration::from_secs(1);
        for n in 0..5 {
            story.rows.push((FIVE, 100 + n));
            story.route(10);
            story.now += A_MOMENT;
        }
        story.rows.push((FIVE, 7));
        story.now += story.anew * PART;
        let look = story.cursor.reading(Shards::ALL, 1, story.now);
        story.now += story.anew;
        story
            .cursor
            .looked(&look, &[(FIVE, 7)], story.given, story.now);
        assert_eq!(story.read(10), [(FIVE, 7)]);
    }
}
