//! What goes through all there is: one at a time, and few wait for it.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// How long somebody waits for the place.
pub(crate) const WAIT: Duration = Duration::from_secs(5);

/// So many wait at once. Each of them holds a place among requests meanwhile.
const WAITING: usize = 16;

/// The one place.
#[derive(Debug)]
pub(crate) struct Heavy {
    place: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Default for Heavy {
    fn default() -> Self {
        Self {
            place: Arc::new(Semaphore::new(1)),
            waiting: Semaphore::new(WAITING),
        }
    }
}

impl Heavy {
    /// The place, where it is free, or becomes so within this time.
    pub(crate) async fn place(&self, wait: Duration) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.place);
        if let Ok(place) = Arc::clone(&place).try_acquire_owned() {
            return Some(place);
        }
        if wait.is_zero() {
            return None;
        }
        let _waits = self.waiting.try_acquire().ok()?;
        timeout(wait, place.acquire_owned()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn one_has_the_place_and_who_waits_gets_it_next() {
        let heavy = Heavy::default();
        let first = heavy.place(Duration::ZERO).await.expect("it is free");
        assert!(heavy.place(Duration::ZERO).await.is_none());
        assert!(heavy.place(Duration::from_millis(1)).await.is_none());
        let (waiting, freed) = tokio::join!(heavy.place(SOON), async {
            drop(first);
            // Who only tries does not come before who waits.
            heavy.place(Duration::ZERO).await
        });
        assert!(waiting.is_some());
        assert!(freed.is_none());
        drop(waiting);
        assert!(heavy.place(Duration::ZERO).await.is_some());
    }

    #[tokio::test]
    async fn few_wait_for_it() {
        let heavy = Arc::new(Heavy::default());
        let first = heavy.place(Duration::ZERO).await.expect("it is free");
        let waiting: Vec<_> = (0..WAITING)
            .map(|_| {
                let heavy = Arc::clone(&heavy);
                tokio::spawn(async move { heavy.place(SOON).await.is_some() })
            })
            .collect();
        while heavy.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(heavy.place(SOON).await.is_none());
        drop(first);
        for one in waiting {
            assert!(one.await.expect("it does not panic"));
        }
    }
}
