//! What may take longer to count than anybody waits for a page: the count goes on then, and who comes again has it.

use std::{collections::HashMap, hash::Hash, sync::Arc, time::Duration};

use axum::http::StatusCode;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::Problem;

/// So long it is kept for whoever comes again.
const KEPT: Duration = Duration::from_secs(10);

/// So many are remembered; of more, those that nobody came for are forgotten.
const REMEMBERED: usize = 1_000;

/// Counts, and what they are told apart by.
pub(crate) struct Counting<K, T>(Mutex<HashMap<K, Place<T>>>);

/// One counts, and those who come meanwhile wait for it.
type Place<T> = Arc<Mutex<Option<Counted<T>>>>;

struct Counted<T> {
    /// Or why there are none.
    figures: Result<Arc<T>, Problem>,
    at: Instant,
    /// Nobody has seen it: who began it had to go.
    is_awaited: bool,
}

impl<T> Counted<T> {
    fn is_good(&self) -> bool {
        self.is_awaited && self.at.elapsed() < KEPT
    }

    /// It is shown: nobody else is to have it who comes later.
    fn seen(&mut self) -> Result<Arc<T>, Problem> {
        self.is_awaited = false;
        self.figures.clone()
    }
}

impl<K, T> Default for Counting<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, T: Send + Sync + 'static> Counting<K, T> {
    /// What is counted, or was for somebody who had to come again; nothing where it takes longer than this.
    pub(crate) async fn within(
        &self,
        patience: Duration,
        key: K,
        count: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<Option<Arc<T>>, Problem> {
        let began = Instant::now();
        let place = self.place(key).await;
        let Ok(mut held) = Arc::clone(&place).try_lock_owned() else {
            let Ok(mut counted) = timeout(patience, place.lock()).await else {
                return Ok(None);
            };
            let new = counted.as_mut().filter(|counted| counted.at >= began);
            return new.map(Counted::seen).transpose();
        };
        if let Some(counted) = held.take().filter(Counted::is_good) {
            return counted.figures.map(Some);
        }
        let counting = tokio::spawn(async move {
            let figures = count.await.map(Arc::new);
            *held = Some(Counted {
                figures: figures.clone(),
                at: Instant::now(),
                is_awaited: began.elapsed() >= patience,
            });
            figures
        });
        match timeout(patience, counting).await {
            Ok(Ok(figures)) => {
                // It may have ended in the very moment in which they were to go.
                if let Ok(mut seen) = place.try_lock() {
                    *seen = None;
                }
                figures.map(Some)
            }
            Ok(Err(_)) => Err(Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "not_counted",
                "the count came to an end before it was through",
            )),
            Err(_) => Ok(None),
        }
    }

    /// What is being counted of these was changed meanwhile.
    pub(crate) async fn forget(&self, is_meant: impl Fn(&K) -> bool) {
        self.0.lock().await.retain(|key, _| !is_meant(key));
    }

    async fn place(&self, key: K) -> Place<T> {
        let mut all = self.0.lock().await;
        if all.len() >= REMEMBERED {
            // Whoever is counting holds it.
            all.retain(|_, place| match place.try_lock() {
                Ok(counted) => counted.as_ref().is_some_and(Counted::is_good),
                Err(_) => true,
            });
        }
        Arc::clone(all.entry(key).or_default())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// What is told to somebody who waits for a second and a half, where the count takes so many seconds.
    async fn told(counting: &Counting<&str, u64>, seconds: u32, number: u64) -> Option<u64> {
        let count = async move {
            sleep(SECOND * seconds).await;
            Ok(number)
        };
        let told = counting.within(SECOND * 3 / 2, "a", count).await;
        told.expect("a number").map(|told| *told)
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_too_long_is_there_once_for_who_comes_again() {
        let counting = Counting::default();
        let began = Instant::now();
        assert_eq!(told(&counting, 4, 1).await, None);
        assert_eq!(began.elapsed(), SECOND * 3 / 2);
        assert_eq!(told(&counting, 4, 2).await, None, "there is one count");
        assert_eq!(told(&counting, 4, 3).await, Some(1), "they wait for it");
        assert_eq!(began.elapsed(), SECOND * 4);
        assert_eq!(told(&counting, 0, 4).await, Some(4), "that one is old");
        assert_eq!(told(&counting, 2, 5).await, None);
        sleep(SECOND).await;
        assert_eq!(told(&counting, 0, 6).await, Some(5), "nobody has seen it");
        assert_eq!(told(&counting, 0, 7).await, Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_has_what_is_old() {
        let counting = Counting::default();
        assert_eq!(told(&counting, 1, 1).await, Some(1));
        assert_eq!(told(&counting, 0, 2).await, Some(2));
        assert_eq!(told(&counting, 2, 3).await, None);
        sleep(SECOND + KEPT).await;
        assert_eq!(told(&counting, 0, 4).await, Some(4));
        // What was changed is counted anew, though it is being counted.
        assert_eq!(told(&counting, 4, 5).await, None);
        counting.forget(|key| *key == "b").await;
        assert_eq!(told(&counting, 0, 6).await, None);
        counting.forget(|key| *key == "a").await;
        assert_eq!(told(&counting, 0, 6).await, Some(6));
        sleep(SECOND * 4).await;
        assert_eq!(told(&counting, 0, 7).await, Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_unseen_is_told_once_to_who_comes_again() {
        let counting = Counting::default();
        let failing = async {
            sleep(SECOND * 3).await;
            Err(Problem::not_found("path"))
        };
        let unseen = counting.within(SECOND, "a", failing).await;
        assert_eq!(unseen.expect("it is being counted"), None);
        sleep(SECOND * 3).await;
        let again = counting.within(SECOND, "a", async { Ok(0) }).await;
        assert!(again.is_err(), "{again:?}");
        assert_eq!(told(&counting, 0, 1).await, Some(1));
        let failing = async { Err(Problem::not_found("path")) };
        assert!(counting.within(SECOND, "a", failing).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn few_are_remembered() {
        let counting = Counting::default();
        for key in 0..REMEMBERED + 10 {
            let count = async { Ok(0_u64) };
            let told = counting.within(SECOND, key, count).await;
            assert!(told.is_ok_and(|told| told.is_some()));
        }
        assert!(counting.0.lock().await.len() <= REMEMBERED);
    }
}
