//! Who is signed in: sessions of browsers, in the memory of this process, none longer than its token.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tharsis::Timestamp;

/// One that is not used for so long is over.
const IDLE: Duration = Duration::from_secs(60 * 60);

/// So is one that is as old, however much it is used.
const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);

/// So many are kept. Beyond that the one goes that was not used for the longest.
const MOST: usize = 10_000;

/// So many of one token: whoever signs in again and again ends none but those of their own token.
const EACH: usize = 16;

/// 256 random bits, as text: what a browser proves with that a session is its own, or that a form is of it. It cannot be
/// printed.
#[derive(Clone)]
pub(crate) struct Pass(String);

impl Pass {
    pub(crate) fn generate(random: [u8; 32]) -> Self {
        Self(BASE64_URL_SAFE_NO_PAD.encode(random))
    }

    /// The whole of it, for the browser that is to have it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Whether this is what was given, in constant time.
    pub(crate) fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// What a session is kept under: the SHA-256 of its pass, of which nobody can tell the pass.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

impl Key {
    pub(crate) fn of(pass: &str) -> Self {
        Self(Sha256::digest(pass.as_bytes()).into())
    }
}

/// A session that is not over.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) key: Key,
    /// The hash of the token that it stands for.
    pub(crate) token: [u8; 32],
    /// What its forms bear.
    pub(crate) csrf: Pass,
}

/// All of them.
pub(crate) struct Sessions {
    most: usize,
    kept: Mutex<HashMap<Key, Kept>>,
}

struct Kept {
    token: [u8; 32],
    csrf: Pass,
    used: Timestamp,
    /// From then on it is over.
    ends: Timestamp,
    /// To be told on the next page, once.
    notice: Option<String>,
}

impl Kept {
    fn is_over(&self, at: Timestamp) -> bool {
        self.ends <= at || self.used + IDLE <= at
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self::with_most(MOST)
    }
}

impl Sessions {
    fn with_most(most: usize) -> Self {
        Self {
            most,
            kept: Mutex::default(),
        }
    }

    /// Begins one for the token of this hash, which lets nobody in from `expires_at` on.
    pub(crate) fn begin(
        &self,
        pass: &Pass,
        csrf: Pass,
        token: [u8; 32],
        expires_at: Option<Timestamp>,
        at: Timestamp,
    ) {
        let mut kept = self.kept();
        make_room(&mut kept, EACH, at, |session| session.token == token);
        make_room(&mut kept, self.most, at, |_| true);
        let longest = at + LONGEST;
        let session = Kept {
            token,
            csrf,
            used: at,
            ends: expires_at.map_or(longest, |end| end.min(longest)),
            notice: None,
        };
        kept.insert(Key::of(pass.expose()), session);
    }

    /// The one of this pass, which is used by that.
    pub(crate) fn find(&self, pass: &str, at: Timestamp) -> Option<Session> {
        let found = self.look(pass, at)?;
        if let Some(session) = self.kept().get_mut(&found.key) {
            session.used = at;
        }
        Some(found)
    }

    /// The one of this pass, where nobody uses it by that.
    pub(crate) fn look(&self, pass: &str, at: Timestamp) -> Option<Session> {
        let key = Key::of(pass);
        let mut kept = self.kept();
        let session = kept.get(&key)?;
        if session.is_over(at) {
            kept.remove(&key);
            return None;
        }
        Some(Session {
            key,
            token: session.token,
            csrf: session.csrf.clone(),
        })
    }

    /// Ends it, if it is there.
    pub(crate) fn end(&self, key: Key) {
        self.kept().remove(&key);
    }

    /// Has the next page say this.
    pub(crate) fn tell(&self, key: Key, notice: String) {
        if let Some(session) = self.kept().get_mut(&key) {
            session.notice = Some(notice);
        }
    }

    /// What this page is to say.
    pub(crate) fn told(&self, key: Key) -> Option<String> {
        self.kept().get_mut(&key)?.notice.take()
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Key, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where there are so many of these, what is over goes; where that does not do, the idlest of them.
fn make_room(
    kept: &mut HashMap<Key, Kept>,
    most: usize,
    at: Timestamp,
    is_one: impl Fn(&Kept) -> bool,
) {
    let count = |kept: &HashMap<Key, Kept>| kept.values().filter(|one| is_one(one)).count();
    if count(kept) >= most {
        kept.retain(|_, session| !session.is_over(at));
    }
    if count(kept) >= most {
        let these = kept.iter().filter(|(_, session)| is_one(session));
        let idlest = these.min_by_key(|(_, session)| session.used);
        if let Some(key) = idlest.map(|(key, _)| *key) {
            kept.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: [u8; 32] = [9; 32];

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + minutes * 60_000)
    }

    fn pass(n: u8) -> Pass {
        Pass::generate([n; 32])
    }

    fn begun(sessions: &Sessions, n: u8, minutes: i64) -> Pass {
        let pass = pass(n);
        sessions.begin(
            &pass,
            Pass::generate([n + 100; 32]),
            TOKEN,
            None,
            at(minutes),
        );
        pass
    }

    fn is_there(sessions: &Sessions, pass: &Pass, minutes: i64) -> bool {
        sessions.find(pass.expose(), at(minutes)).is_some()
    }

    #[test]
    fn it_is_found_by_its_pass_alone() {
        let sessions = Sessions::default();
        let own = begun(&sessions, 1, 0);
        let found = sessions.find(own.expose(), at(0)).expect("it is there");
        assert_eq!(found.token, TOKEN);
        assert!(!is_there(&sessions, &pass(2), 0));
        for wrong in ["", " ", &own.expose()[1..]] {
            assert!(sessions.find(wrong, at(0)).is_none());
        }
        // Nothing that is kept leads to it.
        assert_eq!(own.expose().len(), 43);
        assert_eq!(format!("{own:?}"), "[REDACTED]");
        sessions.end(found.key);
        assert!(!is_there(&sessions, &own, 0));
    }

    #[test]
    fn one_that_is_not_used_for_an_hour_is_over() {
        let sessions = Sessions::default();
        let idle = begun(&sessions, 1, 0);
        let used = begun(&sessions, 2, 0);
        assert!(is_there(&sessions, &used, 59));
        assert!(!is_there(&sessions, &idle, 60));
        assert!(is_there(&sessions, &used, 118));
        assert!(!is_there(&sessions, &used, 178));
    }

    #[test]
    fn one_that_is_only_looked_for_is_not_used_by_that() {
        let sessions = Sessions::default();
        let pass = begun(&sessions, 1, 0);
        for minutes in [1, 59] {
            assert!(sessions.look(pass.expose(), at(minutes)).is_some());
        }
        assert!(sessions.look(pass.expose(), at(60)).is_none());
        assert!(!is_there(&sessions, &pass, 0));
    }

    #[test]
    fn one_is_over_after_twelve_hours_however_much_it_is_used() {
        let sessions = Sessions::default();
        let used = begun(&sessions, 1, 0);
        for minutes in (0..12 * 60).step_by(30) {
            assert!(is_there(&sessions, &used, minutes), "{minutes}");
        }
        assert!(!is_there(&sessions, &used, 12 * 60));
    }

    #[test]
    fn one_is_never_longer_than_its_token() {
        let sessions = Sessions::default();
        let brief = pass(1);
        sessions.begin(&brief, pass(2), TOKEN, Some(at(5)), at(0));
        assert!(is_there(&sessions, &brief, 4));
        assert!(!is_there(&sessions, &brief, 5));
    }

    #[test]
    fn there_are_no_more_than_so_many_and_the_idlest_goes() {
        let sessions = Sessions::with_most(3);
        let first = begun(&sessions, 1, 0);
        let second = begun(&sessions, 2, 1);
        let third = begun(&sessions, 3, 2);
        assert!(is_there(&sessions, &first, 3));
        let fourth = begun(&sessions, 4, 4);
        assert!(!is_there(&sessions, &second, 5));
        for one in [&first, &third, &fourth] {
            assert!(is_there(&sessions, one, 5));
        }
        // What is over goes first.
        assert!(is_there(&sessions, &first, 60));
        let fifth = begun(&sessions, 5, 65);
        for one in [&first, &fifth] {
            assert!(is_there(&sessions, one, 65));
        }
        assert_eq!(sessions.kept().len(), 2);
    }

    #[test]
    fn whoever_signs_in_again_and_again_ends_sessions_of_their_own_token_alone() {
        let sessions = Sessions::default();
        let other = pass(200);
        sessions.begin(&other, pass(201), [8; 32], None, at(0));
        let own: Vec<_> = (1..=20)
            .map(|n| begun(&sessions, n, i64::from(n)))
            .collect();
        assert_eq!(sessions.kept().len(), EACH + 1);
        assert!(is_there(&sessions, &other, 21));
        let (idlest, rest) = own.split_at(own.len() - EACH);
        assert!(idlest.iter().all(|pass| !is_there(&sessions, pass, 21)));
        assert!(rest.iter().all(|pass| is_there(&sessions, pass, 21)));
    }

    #[test]
    fn a_form_of_another_session_is_none_of_this_one() {
        let sessions = Sessions::default();
        let [one, other] = [1, 2].map(|n| begun(&sessions, n, 0));
        let [one, other] =
            [one, other].map(|pass| sessions.find(pass.expose(), at(0)).expect("it is there"));
        assert!(one.csrf.is(one.csrf.expose()));
        for wrong in ["", other.csrf.expose(), &one.csrf.expose()[1..]] {
            assert!(!one.csrf.is(wrong));
        }
    }

    #[test]
    fn what_is_to_be_told_is_told_once() {
        let sessions = Sessions::default();
        let pass = begun(&sessions, 1, 0);
        let key = Key::of(pass.expose());
        assert_eq!(sessions.told(key), None);
        sessions.tell(key, "It is paused.".to_owned());
        assert_eq!(sessions.told(key).as_deref(), Some("It is paused."));
        assert_eq!(sessions.told(key), None);
    }
}
