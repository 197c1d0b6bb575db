use std::{
    net::{Ipv6Addr, TcpListener},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// The port of HTTPS.
pub(super) const HTTPS: u16 = 443;

/// Takes connections to the port of HTTPS at every address of a host where nobody else listens, and only counts them.
#[derive(Debug)]
pub(super) struct Trap {
    listener: TcpListener,
    caught: AtomicU64,
}

impl Trap {
    /// Sets it on the host that this runs on.
    pub(super) async fn set() -> Self {
        // At this one it hears of IPv4 too.
        let any = (Ipv6Addr::UNSPECIFIED, HTTPS).into();
        let listener = super::listen(any).and_then(tokio::net::TcpListener::into_std);
        Self {
            listener: listener.expect("the host is new"),
            caught: AtomicU64::new(0),
        }
    }

    /// How many it has caught so far. The kernel finishes each before anybody looks.
    pub(super) fn caught(&self) -> u64 {
        while self.listener.accept().is_ok() {
            self.caught.fetch_add(1, Relaxed);
        }
        self.caught.load(Relaxed)
    }
}
