use std::{
    fs,
    future::Future,
    process::Command,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// A network namespace, with a thread in it on which all that is asynchronous there goes on.
#[derive(Debug)]
pub(crate) struct Host {
    name: String,
    runtime: Handle,
    /// Both taken when it is dropped.
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    #[track_caller]
    pub(super) fn new(name: String) -> Self {
        super::ip(&format!("netns add {name}"));
        let (end, ended) = oneshot::channel::<()>();
        let (tell, told) = mpsc::channel();
        let of_thread = name.clone();
        let thread = thread::spawn(move || {
            enter(&of_thread);
            let runtime = Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("there are descriptors");
            tell.send(runtime.handle().clone())
                .expect("it is waited for");
            // It is sent or dropped, and both end it.
            let _ = runtime.block_on(ended);
        });
        Self {
            name,
            runtime: told.recv().expect("the thread has entered the namespace"),
            end: Some(end),
            thread: Some(thread),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// `ip` in it.
    #[track_caller]
    pub(super) fn ip(&self, arguments: &str) {
        super::ip(&format!("-n {} {arguments}", self.name));
    }

    /// From now on it has this address.
    #[track_caller]
    pub(super) fn has(&self, address: &str, device: &str) {
        // Else it asks for a second whether somebody else has it.
        let at_once = if address.contains(':') { " nodad" } else { "" };
        self.ip(&format!("address add {address} dev {device}{at_once}"));
    }

    /// Runs this in it.
    #[track_caller]
    pub(crate) fn run<F>(&self, future: F) -> F::Output
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let (tell, told) = mpsc::channel();
        self.runtime.spawn(async move {
            // Nobody waits for it where the story has failed meanwhile.
            let _ = tell.send(future.await);
        });
        told.recv().expect("nothing panics there")
    }

    /// How many connections were begun in it, of whatever process.
    pub(super) fn connections_begun(&self) -> u64 {
        let table = self.run(async { fs::read_to_string("/proc/thread-self/net/snmp") });
        let table = table.expect("the kernel counts");
        // A line of names, and one of values.
        let mut lines = (table.lines()).filter_map(|line| line.strip_prefix("Tcp: "));
        let mut fields = || lines.next().unwrap_or_default().split(' ');
        let (names, values) = (fields(), fields());
        names
            .zip(values)
            .find_map(|(name, value)| (name == "ActiveOpens").then(|| value.parse().ok())?)
            .expect("it counts the connections that are begun")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.end.take());
        // What panicked there has been reported.
        let _ = self.thread.take().map(JoinHandle::join);
        // With the last that is in it the namespace goes, and what it has of the cable.
        let _ = Command::new("ip")
            .args(["netns", "delete", &self.name])
            .status();
    }
}

/// The calling thread goes into the namespace.
#[cfg(target_os = "linux")]
fn enter(name: &str) {
    use std::os::fd::AsFd as _;

    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

    let file = fs::File::open(format!("/run/netns/{name}")).expect("it was just made");
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .expect("whoever may make one may enter it");
}

#[cfg(not(target_os = "linux"))]
fn enter(_: &str) {
    panic!("only Linux has network namespaces");
}
