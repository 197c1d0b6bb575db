use std::{
    thread,
    time::{Duration, Instant},
};

/// Waits until `condition` gives something, and gives it; panics with `what` when `bound` is over first.
#[track_caller]
pub fn wait_until<T>(what: &str, bound: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(
            begin.elapsed() < bound,
            "waited {bound:?} in vain until {what}"
        );
        pause(Duration::from_millis(5));
    }
}

/// Lets time pass where other processes are watched.
#[expect(clippy::disallowed_methods, reason = "stories run outside any runtime")]
pub fn pause(time: Duration) {
    thread::sleep(time);
}
