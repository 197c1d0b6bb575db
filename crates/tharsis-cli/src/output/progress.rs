use std::{
    future::Future,
    io::{self, Write},
    pin::pin,
    sync::LazyLock,
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a line says something new, in a second.
pub(crate) const HERTZ: u64 = 4;

/// The terminal's part that moves. One for the process, so that whoever else writes to standard error keeps clear of it.
static LINES: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8)));

/// One line on the terminal that says how far something is; it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    /// One that is not shown, for when somebody types.
    pub(crate) fn silent() -> Self {
        Self(None)
    }

    pub(super) fn new(shown: bool) -> Self {
        Self(shown.then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}")
                .expect("the template is constant and well-formed");
            LINES.add(ProgressBar::no_length().with_style(style))
        }))
    }

    /// Does `work`, and lets the line say how far it is four times a second.
    pub(crate) async fn during<T>(
        self,
        work: impl Future<Output = T>,
        mut say: impl FnMut() -> String,
    ) -> T {
        let Some(line) = &self.0 else {
            return work.await;
        };
        let mut work = pin!(work);
        let mut tick = tokio::time::interval(Duration::from_millis(1_000 / HERTZ));
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = tick.tick() => {
                    line.set_message(say());
                    line.tick();
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(line) = &self.0 {
            line.finish_and_clear();
        }
    }
}

/// Standard error, above the moving line. Each write is shown by itself, so it should be whole lines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aside;

impl Write for Aside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.suspend(|| io::stderr().lock().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
