//! What publishers do.

use tharsis_core::{
    EventId, Timestamp,
    event::{Event, IdempotencyKey},
};
use tharsis_store::{Outbox, Pointer, Published, Registry, model::Given};

use super::{Story, campaign, give_up};
use crate::{
    answer::{Told, failed, same},
    command::{Draft, How},
    database::Database,
    harness::{client, enveloped, seconds},
};

impl<D: Database> Story<'_, D> {
    pub(super) async fn publish(&mut self, how: How, drafts: &[Draft]) -> Told {
        let events: Vec<Event> = drafts.iter().map(|draft| self.event(draft)).collect();
        for once in how.times() {
            if let Some(micros) = once {
                give_up(micros, self.any().publish(&events)).await;
            }
            let answers = self.any().publish(&events).await.map_err(failed)?;
            let mut given = Vec::new();
            for answer in &answers {
                let id = match answer {
                    Ok(published) => published.id,
                    Err(_) => EventId::from_uuid(sqlx::types::Uuid::nil()),
                };
                let published_at = match self.any().event(id).await {
                    Ok(event) => event.published_at,
                    Err(_) => Timestamp::default(),
                };
                given.push(Given { id, published_at });
            }
            let expected = self.model.publish(&events, |place| given[place]);
            // Who gave up may have published.
            let says =
                |published: &Published| (published.id, once.is_some() || published.duplicate);
            let answers: Vec<_> = answers
                .iter()
                .map(|one| one.as_ref().map(says).map_err(|why| why.code))
                .collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|one| one.as_ref().map(says).map_err(|why| why.code))
                .collect();
            same("published", &answers, &expected)?;
            for (id, _) in answers.into_iter().flatten() {
                if !self.events.contains(&id) {
                    self.events.push(id);
                }
            }
        }
        Ok(())
    }

    fn event(&self, draft: &Draft) -> Event {
        let mut fields = String::new();
        if let Some(n) = draft.campaign {
            fields = format!(r#""campaign":"{}","#, campaign(n));
        }
        let after = |s: Option<u16>| s.map(|s| self.now + seconds(u64::from(s)));
        let starts = after(draft.starts);
        // Not before it starts: such an event is refused before it comes to a store.
        let expires =
            after(draft.expires).map(|at| starts.map_or(at, |from| at.max(from + seconds(1))));
        if let Some(at) = expires {
            fields += &format!(r#""expires_at":"{at}","#);
        }
        let mut event = enveloped(client(draft.client), draft.n.into(), &fields);
        if let Some(key) = draft.key {
            event = event.with_key(IdempotencyKey::new(&format!("key-{key}")).expect("a key"));
        }
        match starts {
            Some(at) => event.with_not_before(at).expect("it expires later"),
            None => event,
        }
    }

    pub(super) async fn publish_by_sql(&mut self, of: u8, n: u8, expires: Option<u16>) -> Told {
        // Another one each time, for SQLite knows no keys here.
        let text = format!(r#"{{ "n": {n}, "of": {} }}"#, self.events.len());
        let expires = expires.map(|s| self.now + seconds(u64::from(s)));
        let id = self.database.publish(client(of), &text, expires).await;
        let published_at = self.any().event(id).await.map_err(failed)?.published_at;
        let size = text.len();
        let payload = bytes::Bytes::from(text);
        self.model.insert(payload.clone(), |seq| Pointer {
            seq,
            event: id,
            client: client(of),
            event_type: "ticket".into(),
            published_at,
            not_before: None,
            expires_at: expires,
            size,
            unfrozen: Some(payload),
            named: None,
        });
        self.events.push(id);
        Ok(())
    }
}
