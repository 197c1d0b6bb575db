//! Tokens that were looked up a moment ago.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tharsis::{
    Timestamp,
    store::{TokenRecord, TokenState},
};

/// So long what was looked up is taken as it was: a token that is revoked lets somebody in no longer than that.
const FRESH: Duration = Duration::from_secs(1);

/// More are not kept.
const MANY: usize = 1_024;

type Hash = [u8; 32];

/// By their hashes, with when they were looked up.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<HashMap<Hash, (Arc<TokenRecord>, Timestamp)>>);

impl Known {
    /// One that lets somebody in at this instant.
    pub(crate) fn get(&self, hash: &Hash, at: Timestamp) -> Option<Arc<TokenRecord>> {
        let known = self.tokens();
        let (record, read_at) = known.get(hash)?;
        // A clock that is set back makes nothing last longer.
        let is_fresh = *read_at <= at && at < *read_at + FRESH;
        (is_fresh && record.state(at) == TokenState::Usable).then(|| record.clone())
    }

    pub(crate) fn put(&self, hash: Hash, record: &Arc<TokenRecord>, at: Timestamp) {
        let mut known = self.tokens();
        if known.len() >= MANY {
            known.clear();
        }
        known.insert(hash, (record.clone(), at));
    }

    /// One of them was revoked here.
    pub(crate) fn forget(&self) {
        self.tokens().clear();
    }

    fn tokens(&self) -> MutexGuard<'_, HashMap<Hash, (Arc<TokenRecord>, Timestamp)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tharsis::{
        TokenId,
        token::{Grant, Role},
    };

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + millis)
    }

    fn record(expires_at: Option<Timestamp>) -> Arc<TokenRecord> {
        Arc::new(TokenRecord {
            id: TokenId::new(at(0), [1; 10]),
            prefix: "abcdefgh".to_owned(),
            name: "till".to_owned(),
            grant: Grant {
                role: Role::Publisher,
                client: None,
            },
            created_at: at(0),
            expires_at,
            used_at: None,
            revoked_at: None,
        })
    }

    #[test]
    fn one_is_known_for_a_second_and_never_beyond_its_end() {
        let known = Known::default();
        let (hash, other) = ([1; 32], [2; 32]);
        known.put(hash, &record(None), at(0));
        known.put(other, &record(Some(at(500))), at(0));
        let is_known = |hash: &Hash, millis| known.get(hash, at(millis)).is_some();
        assert!(is_known(&hash, 0) && is_known(&hash, 999));
        assert!(!is_known(&hash, 1_000) && !is_known(&hash, -1));
        assert!(is_known(&other, 499) && !is_known(&other, 500));
        assert!(!is_known(&[3; 32], 0));
        known.forget();
        assert!(!is_known(&hash, 0));
    }

    #[test]
    fn no_more_are_kept_than_a_bound() {
        let known = Known::default();
        for n in 0..5_000_u16 {
            let mut hash = [0; 32];
            hash[..2].copy_from_slice(&n.to_be_bytes());
            known.put(hash, &record(None), at(0));
            assert!(known.get(&hash, at(0)).is_some());
            assert!(known.tokens().len() <= MANY);
        }
    }
}
