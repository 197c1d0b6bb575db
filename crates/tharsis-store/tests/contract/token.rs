//! Access tokens: who may ask, what for, and until when.

use std::time::Duration;

use tharsis_core::{
    Timestamp, TokenId,
    erasure::Erasure,
    token::{Grant, Role, Token},
};
use tharsis_store::{By, Outbox, Registry, TokenDraft, TokenRecord, TokenState};

use crate::harness::{House, Store, client, code, seconds};

fn token(n: u8) -> Token {
    Token::generate([n; 32])
}

fn draft(name: &str, role: Role, of: Option<u8>, expires_at: Option<Timestamp>) -> TokenDraft {
    TokenDraft {
        name: name.to_owned(),
        grant: Grant {
            role,
            client: of.map(client),
        },
        expires_at,
    }
}

impl House {
    /// Makes the token of this number.
    async fn made(&self, n: u8, draft: &TokenDraft) -> TokenRecord {
        let token = token(n);
        let made = self
            .store
            .add_token(&token, draft, By::new("sre", self.now));
        made.await.expect("made")
    }

    /// Whom the token of this number lets in.
    async fn lets_in(&self, n: u8, now: Timestamp) -> Option<TokenRecord> {
        let hash = token(n).hash();
        let found = self.store.token(&hash, now);
        found.await.expect("looked up")
    }

    async fn tokens(&self, of: Option<u8>) -> Vec<TokenRecord> {
        let listed = self.store.tokens(of.map(client));
        listed.await.expect("a list")
    }

    /// Of one client each, and one for all of them.
    async fn with_tokens(store: Store) -> (Self, [TokenRecord; 3]) {
        let house = Self::new(store).await;
        let until = house.now + seconds(3_600);
        let ours = draft("our engine", Role::Publisher, Some(1), Some(until));
        let theirs = draft("their desk", Role::Operator, Some(2), None);
        let everywhere = draft("ops", Role::Admin, None, Some(until));
        let made = [
            house.made(1, &ours).await,
            house.made(2, &theirs).await,
            house.made(3, &everywhere).await,
        ];
        (house, made)
    }
}

pub(crate) async fn a_token_comes_back_as_it_was_made(store: Store) {
    let (house, [ours, theirs, everywhere]) = House::with_tokens(store).await;
    let until = house.now + seconds(3_600);
    let expected = TokenRecord {
        id: ours.id,
        prefix: token(1).prefix().to_owned(),
        name: "our engine".to_owned(),
        grant: Grant {
            role: Role::Publisher,
            client: Some(client(1)),
        },
        created_at: house.now,
        expires_at: Some(until),
        used_at: None,
        revoked_at: None,
    };
    assert_eq!(ours, expected);
    assert_eq!(house.lets_in(1, house.now).await, Some(ours.clone()));
    assert_eq!(house.lets_in(2, house.now).await, Some(theirs.clone()));
    assert_eq!(house.lets_in(3, house.now).await, Some(everywhere.clone()));
    assert_eq!(house.lets_in(4, house.now).await, None);

    // Newest first; of a client what is for it alone.
    let all = [everywhere, theirs.clone(), ours.clone()];
    assert_eq!(house.tokens(None).await, all);
    assert_eq!(house.tokens(Some(1)).await, [ours]);
    assert_eq!(house.tokens(Some(2)).await, [theirs]);
    assert_eq!(house.tokens(Some(3)).await, []);
    for role in Role::ALL {
        let n = 10 + role as u8;
        let made = house.made(n, &draft("any", role, None, None)).await;
        assert_eq!(house.lets_in(n, house.now).await, Some(made));
    }
}

pub(crate) async fn what_cannot_be_a_token_is_refused(store: Store) {
    let (house, [ours, ..]) = House::with_tokens(store).await;
    let refused = async |n: u8, draft: &TokenDraft| {
        let token = token(n);
        let refused = house
            .store
            .add_token(&token, draft, By::new("sre", house.now));
        code(refused.await)
    };
    for (name, expected) in [
        ("", "empty"),
        ("a\u{1b}[2J", "control_character"),
        ("nul\0", "control_character"),
        (&*"ü".repeat(129), "too_long"),
    ] {
        let wrong = draft(name, Role::Viewer, None, None);
        assert_eq!(refused(4, &wrong).await, expected);
    }
    for (expires_at, expected) in [
        (house.now, "already_expired"),
        (house.now - seconds(1), "already_expired"),
        (Timestamp::from_millis(i64::MAX), "bad_time"),
    ] {
        let wrong = draft("late", Role::Viewer, None, Some(expires_at));
        assert_eq!(refused(4, &wrong).await, expected);
    }
    let again = draft("again", Role::Admin, None, None);
    assert_eq!(refused(1, &again).await, "token_known");
    assert_eq!(house.lets_in(1, house.now).await, Some(ours));
    assert_eq!(house.tokens(None).await.len(), 3);
    assert_eq!(house.audit().await.len(), 3);

    let last = house.now + Duration::from_millis(1);
    let longest = draft(&"ü".repeat(128), Role::Viewer, Some(1), Some(last));
    let made = house.made(4, &longest).await;
    assert_eq!(house.tokens(Some(1)).await[0], made);
}

pub(crate) async fn a_token_ends_at_its_very_instant(store: Store) {
    let (house, [ours, theirs, _]) = House::with_tokens(store).await;
    let until = house.now + seconds(3_600);
    let last = until - Duration::from_millis(1);
    assert_eq!(house.lets_in(1, last).await, Some(ours.clone()));
    assert_eq!(ours.state(last), TokenState::Usable);
    for over in [until, until + seconds(1)] {
        assert_eq!(house.lets_in(1, over).await, None);
        assert_eq!(ours.state(over), TokenState::Expired);
        assert_eq!(house.lets_in(2, over).await, Some(theirs.clone()));
    }
    assert_eq!(house.tokens(Some(1)).await, [ours], "it is listed");
}

pub(crate) async fn a_token_that_is_revoked_lets_nobody_in(store: Store) {
    let (house, [ours, theirs, everywhere]) = House::with_tokens(store).await;
    let at = house.now + seconds(5);
    let revoked = house
        .store
        .revoke_token(None, ours.id, By::new("head of ops", at))
        .await;
    let revoked = revoked.expect("revoked");
    let expected = TokenRecord {
        revoked_at: Some(at),
        ..ours.clone()
    };
    assert_eq!(revoked, expected);
    assert_eq!(revoked.state(house.now), TokenState::Revoked);
    // Whatever the clock of whoever asks says.
    for now in [house.now, at, at + seconds(1)] {
        assert_eq!(house.lets_in(1, now).await, None);
    }
    assert_eq!(house.lets_in(2, at).await, Some(theirs.clone()));

    // Once is enough: it stays so since then.
    let again = (house.store)
        .revoke_token(None, ours.id, By::new("somebody", at + seconds(60)))
        .await;
    assert_eq!(again.expect("revoked"), revoked);
    let all = [everywhere.clone(), theirs, revoked];
    assert_eq!(house.tokens(None).await, all);
    let nobodys = TokenId::new(house.now, [7; 10]);
    let missing = house
        .store
        .revoke_token(None, nobodys, By::new("sre", at))
        .await;
    assert_eq!(code(missing), "no token");

    let audit = house.audit().await;
    let told: Vec<_> = (audit.iter())
        .map(|entry| (&*entry.action, &*entry.actor, entry.at))
        .collect();
    let made = ("token.made", "sre", house.now);
    assert_eq!(
        told,
        [("token.revoked", "head of ops", at), made, made, made]
    );
    assert_eq!(audit[0].subject, ours.id.to_string());
    assert_eq!(audit[1].subject, everywhere.id.to_string());
    let detail =
        |n: usize| -> serde_json::Value { serde_json::from_str(&audit[n].detail).expect("JSON") };
    let expected = serde_json::json!({
        "role": "publisher",
        "prefix": token(1).prefix(),
        "expires_at": ours.expires_at.map(|at| at.to_string()),
    });
    assert_eq!((detail(0), detail(3)), (expected.clone(), expected));
    let theirs = detail(2);
    assert_eq!(theirs["expires_at"], serde_json::Value::Null);
    let whose = [0, 1].map(|n| audit[n].client);
    assert_eq!(whose, [Some(client(1)), None]);
    for n in 1..=3 {
        assert!(!format!("{audit:?}").contains(token(n).expose()));
    }
}

pub(crate) async fn a_use_is_noted_once_a_minute(store: Store) {
    let (house, [ours, theirs, _]) = House::with_tokens(store).await;
    let used = async |id: TokenId, after: u64| {
        let noted = house.store.used_token(id, house.now + seconds(after));
        noted.await.expect("noted");
        let tokens = house.tokens(None).await;
        let at = |id| {
            let token = tokens.iter().find(|token| token.id == id);
            let at = token.expect("it is there").used_at;
            at.map(|at| at.since(house.now).as_secs())
        };
        (at(ours.id), at(theirs.id))
    };
    assert_eq!(used(ours.id, 0).await, (Some(0), None));
    assert_eq!(used(ours.id, 59).await, (Some(0), None));
    assert_eq!(used(ours.id, 60).await, (Some(0), None));
    assert_eq!(used(ours.id, 61).await, (Some(61), None));
    assert_eq!(used(theirs.id, 62).await, (Some(61), Some(62)));
    // One whose clock is behind takes nothing back.
    assert_eq!(used(ours.id, 3).await, (Some(61), Some(62)));
    // One that is gone is no failure of whoever used it a moment ago.
    let nobodys = TokenId::new(house.now, [7; 10]);
    assert_eq!(used(nobodys, 200).await, (Some(61), Some(62)));
    let entry = house.lets_in(1, house.now).await.expect("usable");
    assert_eq!(entry.used_at, Some(house.now + seconds(61)));
    assert_eq!(house.audit().await.len(), 3);
}

pub(crate) async fn whether_anybody_is_let_in_is_told(store: Store) {
    let house = House::new(store).await;
    let is_any = async |after: u64| {
        let is_any = house.store.has_tokens(house.now + seconds(after));
        is_any.await.expect("told")
    };
    assert!(!is_any(0).await);
    let until = house.now + seconds(10);
    let ours = draft("ours", Role::Viewer, Some(1), Some(until));
    house.made(1, &ours).await;
    assert!(is_any(9).await);
    assert!(!is_any(10).await, "it is over");
    let theirs = draft("theirs", Role::Viewer, Some(2), None);
    let theirs = house.made(2, &theirs).await;
    assert!(is_any(1_000_000).await);
    (house.store)
        .revoke_token(None, theirs.id, By::new("sre", house.now))
        .await
        .expect("revoked");
    assert!(!is_any(1_000_000).await, "it is revoked");
    assert!(is_any(9).await);
}

pub(crate) async fn the_tokens_of_a_client_go_with_it(store: Store) {
    let (house, [ours, theirs, everywhere]) = House::with_tokens(store).await;
    let revoked = house
        .store
        .revoke_token(None, ours.id, By::new("sre", house.now))
        .await;
    revoked.expect("revoked");
    let another = draft("another", Role::Viewer, Some(1), None);
    house.made(4, &another).await;
    let whose = Erasure::Client(client(1));
    let erased = house
        .store
        .erase(&whose, By::new("sre", house.now), &|_| ())
        .await;
    assert_eq!(erased.expect("erased").subscriptions, 1, "and nothing else");
    assert_eq!(house.tokens(Some(1)).await, []);
    assert_eq!(house.tokens(None).await, [everywhere, theirs.clone()]);
    for gone in [1, 4] {
        assert_eq!(house.lets_in(gone, house.now).await, None);
    }
    assert_eq!(house.lets_in(2, house.now).await, Some(theirs));
    let missing = house
        .store
        .revoke_token(None, ours.id, By::new("sre", house.now))
        .await;
    assert_eq!(code(missing), "no token");
}

pub(crate) async fn no_worker_is_told_of_tokens(store: Store) {
    let house = House::new(store).await;
    let revision = async || house.store.snapshot().await.expect("a snapshot").revision;
    let before = revision().await;
    let ours = draft("ours", Role::Viewer, Some(1), None);
    let ours = house.made(1, &ours).await;
    let used = house.store.used_token(ours.id, house.now).await;
    used.expect("noted");
    let revoked = house
        .store
        .revoke_token(None, ours.id, By::new("sre", house.now))
        .await;
    revoked.expect("revoked");
    assert_eq!(revision().await, before);
}

pub(crate) async fn whoever_is_of_one_client_revokes_its_tokens_alone(store: Store) {
    let (house, [ours, theirs, everywhere]) = House::with_tokens(store).await;
    let revoke = async |of: Option<u8>, id: TokenId| {
        let by = By::new("their admin", house.now);
        house.store.revoke_token(of.map(client), id, by).await
    };
    for other in [ours.id, everywhere.id] {
        assert_eq!(code(revoke(Some(2), other).await), "no token");
    }
    assert_eq!(house.lets_in(1, house.now).await, Some(ours.clone()));
    assert_eq!(house.lets_in(3, house.now).await, Some(everywhere.clone()));
    assert_eq!(house.audit().await.len(), 3, "nothing was done");

    let revoked = revoke(Some(2), theirs.id).await.expect("revoked");
    assert_eq!(revoked.revoked_at, Some(house.now));
    assert_eq!(house.lets_in(2, house.now).await, None);
    assert_eq!(code(revoke(Some(1), theirs.id).await), "no token");
    let again = revoke(Some(2), theirs.id).await;
    assert_eq!(again.expect("revoked"), revoked);
    let everywhere = revoke(None, everywhere.id).await;
    everywhere.expect("revoked");
    assert_eq!(house.lets_in(3, house.now).await, None);
    assert_eq!(house.lets_in(1, house.now).await, Some(ours));
    assert_eq!(house.audit().await.len(), 5);
}
