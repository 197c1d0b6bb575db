//! All that can be seen of an outbox, in the database and in the model.

use std::collections::BTreeMap;

use tharsis_core::DeliveryId;
use tharsis_store::{DeliveryFilter, DeliveryRow, Outbox, Registry};

use crate::{
    answer::{Told, failed, in_order, pair, plain, same},
    database::Database,
    harness::seconds,
    story::Story,
};

impl<D: Database> Story<'_, D> {
    /// What is looked at after each command.
    pub(crate) async fn compare(&self) -> Told {
        let store = self.any();
        self.look(&DeliveryFilter::default()).await?;
        let left = store.remaining(self.now).await.map_err(failed)?;
        same("remaining", &left, &self.model.remaining(self.now))?;
        let list = store.list(None).await.map_err(failed)?;
        same("subscriptions", &list, &self.model.list(None))?;
        let replays = store.replays(None).await.map_err(failed)?;
        same("replays", &replays, &self.model.replays())?;
        for worker in 0..self.workers.len() {
            self.compare_lanes(worker).await?;
        }
        Ok(())
    }

    async fn compare_lanes(&self, n: usize) -> Told {
        let worker = &self.workers[n];
        let Some(lease) = &worker.lease else {
            return Ok(());
        };
        // Who only reads need not know yet that its lease is lost.
        let Ok(expected) = self.model.lanes(&lease.model) else {
            return Ok(());
        };
        let lanes = worker.store.lanes(&lease.store).await.map_err(failed)?;
        same("lanes", &in_order(&lanes), &in_order(&expected))?;
        let (whole, far) = (self.lanes(10_000), self.now + seconds(1_000_000));
        let found = worker.store.due(&lease.store, &whole, far).await;
        let found = found.map_err(failed)?;
        let expected = self.model.due(&lease.model, &whole, far);
        pair(&found.due, &expected.map_err(failed)?.due).map(drop)
    }

    /// A list is whole, in order and the same in pages.
    pub(crate) async fn look(&self, filter: &DeliveryFilter) -> Told {
        let store = self.any();
        let page = store.deliveries(filter, None, 10_000).await;
        let list = page.map_err(failed)?.items;
        if !list.is_sorted_by(|a, b| a.published_at >= b.published_at) {
            return Err(format!("the newest are not first: {list:#?}"));
        }
        let expected = self.model.deliveries(filter);
        let (found, expected) = (by_id(&list), by_id(&expected));
        for id in found.keys().chain(expected.keys()) {
            same("a line of the list", &found.get(id), &expected.get(id))?;
        }
        let count = store.count(filter).await.map_err(failed)?;
        same("their count", &count, &self.model.count(filter))?;
        if filter == &DeliveryFilter::default() {
            return Ok(());
        }
        let (mut paged, mut next) = (Vec::new(), None);
        loop {
            let page = store.deliveries(filter, next.as_deref(), 2).await;
            let page = page.map_err(failed)?;
            paged.extend(page.items);
            next = page.next;
            if next.is_none() {
                return same("the list in pages", &paged, &list);
            }
        }
    }

    /// What is looked at in the end.
    pub(crate) async fn compare_all(&self) -> Told {
        let store = self.any();
        for line in self.model.deliveries(&DeliveryFilter::default()) {
            let found = plain(store.delivery(line.id).await);
            same("a delivery", &found, &plain(self.model.delivery(line.id)))?;
        }
        for id in &self.events {
            let found = plain(store.event(*id).await);
            same("an event", &found, &plain(self.model.event(*id)))?;
        }
        for id in &self.replays {
            let found = plain(store.replay_state(*id).await);
            same("a replay", &found, &plain(self.model.replay_state(*id)))?;
        }
        Ok(())
    }
}

fn by_id(list: &[DeliveryRow]) -> BTreeMap<DeliveryId, &DeliveryRow> {
    list.iter().map(|row| (row.id, row)).collect()
}
