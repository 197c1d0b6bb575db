//! How far something is, as pages show it.

/// So much of it is through, as a bar and in words.
pub(crate) struct Progress {
    pub(crate) done: u64,
    /// `None`: nobody knows how much there is, and there is no bar.
    pub(crate) all: Option<u64>,
    pub(crate) sentence: String,
}

impl Progress {
    /// Of nothing there is no bar, and none is longer than all of it.
    pub(crate) fn of(done: u64, all: Option<u64>, sentence: impl Into<String>) -> Self {
        let all = all.filter(|all| *all > 0);
        Self {
            done: all.map_or(done, |all| done.min(all)),
            all,
            sentence: sentence.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_no_longer_than_all_of_it() {
        let bar = |done, all| {
            let progress = Progress::of(done, all, "");
            (progress.done, progress.all)
        };
        assert_eq!(bar(3, Some(12)), (3, Some(12)));
        assert_eq!(bar(13, Some(12)), (12, Some(12)));
        assert_eq!(bar(0, Some(0)), (0, None));
        assert_eq!(bar(3, None), (3, None));
    }
}
