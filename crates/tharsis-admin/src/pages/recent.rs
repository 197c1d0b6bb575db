//! What is costly to count, shared by all who look: it takes at most a fifth of the time, however many they are.

use std::{collections::HashMap, sync::Arc};

use tharsis::ClientId;
use tokio::{sync::Mutex, time::Instant};

use crate::Problem;

/// What was counted stays good for so many times as long as it took.
const REST: u32 = 4;

/// So many clients are remembered; of more, those whose figures are no longer good are forgotten.
const REMEMBERED: usize = 1_000;

/// Figures of each client, and of all of them.
pub(crate) struct Recent<T>(Mutex<HashMap<Option<ClientId>, Shared<T>>>);

/// One counts, and those who come meanwhile wait for it.
type Shared<T> = Arc<Mutex<Option<Counted<T>>>>;

struct Counted<T> {
    figures: Arc<T>,
    good_until: Instant,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Recent<T> {
    /// What was counted a moment ago, or what is counted now.
    pub(crate) async fn of(
        &self,
        client: Option<ClientId>,
        count: impl Future<Output = Result<T, Problem>>,
    ) -> Result<Arc<T>, Problem> {
        let shared = self.shared(client).await;
        let mut shared = shared.lock().await;
        let began = Instant::now();
        if let Some(counted) = shared.as_ref().filter(|counted| began < counted.good_until) {
            return Ok(Arc::clone(&counted.figures));
        }
        let figures = Arc::new(count.await?);
        let ended = Instant::now();
        *shared = Some(Counted {
            figures: Arc::clone(&figures),
            good_until: ended + (ended - began) * REST,
        });
        Ok(figures)
    }

    async fn shared(&self, client: Option<ClientId>) -> Shared<T> {
        let mut all = self.0.lock().await;
        if all.len() >= REMEMBERED {
            let now = Instant::now();
            // Whoever is counting holds it.
            all.retain(|_, shared| match shared.try_lock() {
                Ok(counted) => (counted.as_ref()).is_some_and(|counted| now < counted.good_until),
                Err(_) => true,
            });
        }
        Arc::clone(all.entry(client).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep_until;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_took_a_second_is_good_for_four() {
        let recent = Recent::default();
        let began = Instant::now();
        let count = |number: u64| async move {
            sleep_until(Instant::now() + Duration::from_secs(1)).await;
            Ok(number)
        };
        let told = async |number| *recent.of(None, count(number)).await.expect("a number");
        let both = tokio::join!(told(1), told(2));
        assert_eq!(both, (1, 1), "who comes meanwhile waits for it");
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        sleep_until(began + Duration::from_millis(4_900)).await;
        assert_eq!(told(3).await, 1);
        sleep_until(began + Duration::from_secs(5)).await;
        assert_eq!(told(4).await, 4);
        let client = "36011017-0e00-4e29-a054-7a1fbb8b60a2"
            .parse()
            .expect("an id");
        let another = recent.of(Some(client), count(5)).await;
        assert_eq!(*another.expect("a number"), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_counted_is_counted_by_the_next() {
        let recent = Recent::default();
        let failed = recent.of(None, async { Err(Problem::not_found("path")) });
        assert!(failed.await.is_err());
        let counted = recent.of(None, async { Ok(1) }).await;
        assert_eq!(*counted.expect("a number"), 1);
    }
}
