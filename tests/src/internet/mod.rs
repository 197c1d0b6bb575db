//! An internet of a story's own, of two hosts.

mod host;
mod names;
mod trap;

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpSocket, TcpStream},
};

pub use self::names::{Names, Says};
use self::{
    host::Host,
    trap::{HTTPS, Trap},
};

/// What the engine's host has on the cable, and what it has beside that, as hosts do.
const ENGINE: [&str; 2] = ["93.184.215.10/24", "2606:4700:10::10/64"];
const ENGINE_TOO: [&str; 3] = ["10.0.0.5/32", "169.254.169.254/32", "fd00::5/128"];

/// What everything outside has on the cable: the way out, and the name server.
const OUTSIDE: [&str; 2] = ["93.184.215.1/24", "2606:4700:10::1/64"];

/// Two hosts in network namespaces of their own, joined by a cable, with addresses that look public and that only they
/// have: the engine's, where the processes of its world run under the egress policy as it is by default, and one that
/// is everything outside, whatever address that has. There are a name server, which says what it is told to, receivers,
/// and a trap at every other address.
///
/// It wants Linux and the right to make namespaces, and is removed when it is dropped.
#[derive(Debug)]
pub struct Internet {
    engine: Host,
    outside: Host,
    names: Names,
    traps: [Trap; 2],
    files: PathBuf,
}

impl Internet {
    /// Lays the cable.
    #[track_caller]
    pub(crate) fn lay() -> Self {
        static LAID: AtomicU32 = AtomicU32::new(0);
        let laid = LAID.fetch_add(1, Relaxed);
        let name = |host| format!("tharsis-{}-{laid}-{host}", process::id());
        let (engine, outside) = (Host::new(name("engine")), Host::new(name("outside")));
        ip(&format!(
            "link add cable netns {} type veth peer name cable netns {}",
            engine.name(),
            outside.name()
        ));
        for (host, addresses) in [(&engine, ENGINE), (&outside, OUTSIDE)] {
            host.ip("link set lo up");
            host.ip("link set cable up");
            for address in addresses {
                host.has(address, "cable");
            }
        }
        for address in ENGINE_TOO {
            engine.has(address, "lo");
        }
        for [ours, theirs] in [["", "93.184.215.1"], ["-6 ", "2606:4700:10::1"]] {
            engine.ip(&format!("{ours}route add default via {theirs}"));
            // What comes over the cable has come to the right place, wherever it wants to go.
            outside.ip(&format!("{ours}route add local default dev lo table main"));
        }
        let files = PathBuf::from("/etc/netns").join(engine.name());
        let internet = Self {
            names: outside.run(Names::serve([OUTSIDE[0], OUTSIDE[1]].map(address))),
            traps: [&engine, &outside].map(|host| host.run(Trap::set())),
            engine,
            outside,
            files,
        };
        fs::create_dir_all(&internet.files).expect("root can write to /etc");
        internet.write(
            "resolv.conf",
            &format!("nameserver {}\n", address(OUTSIDE[0])),
        );
        internet
    }

    /// The name server.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The addresses of the engine's host that look public.
    pub fn own(&self) -> [IpAddr; 2] {
        ENGINE.map(address)
    }

    /// What stands in the hosts file of the engine's host.
    pub fn hosts_file(&self, text: &str) {
        self.write("hosts", text);
    }

    /// From now on what is sent to this address is lost.
    pub fn swallow(&self, address: &str) {
        self.outside.ip(&format!("route add blackhole {address}"));
    }

    /// From now on this address cannot be reached, and who tries is told.
    pub fn cut_off(&self, address: &str) {
        self.outside.ip(&format!("route add unreachable {address}"));
    }

    /// How many connections the engine's host has begun so far, established or not, but for those to the name server.
    pub fn begun(&self) -> u64 {
        self.engine.connections_begun() - self.names.connections()
    }

    /// How many were made so far to where no receiver is, on either host.
    pub fn trapped(&self) -> u64 {
        self.traps.iter().map(Trap::caught).sum()
    }

    /// Tries to connect from the engine's host, past the program.
    #[expect(
        clippy::disallowed_methods,
        reason = "it proves that a connection would be seen"
    )]
    pub fn knock(&self, address: IpAddr) -> bool {
        let connecting = TcpStream::connect((address, HTTPS));
        self.engine.run(connecting).is_ok()
    }

    /// These addresses outside, at the port of HTTPS, lead to this one of the outside host's loopback.
    pub(crate) fn lead(&self, addresses: &[IpAddr], to: SocketAddr) {
        for address in addresses {
            self.outside.has(&address.to_string(), "lo");
            self.outside.run(lead(SocketAddr::new(*address, HTTPS), to));
        }
    }

    /// The host where receivers are.
    pub(crate) fn outside(&self) -> &Host {
        &self.outside
    }

    /// `program`, to be run on the engine's host with its files.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.engine.name()]);
        command.arg(program);
        command
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.files.join(file), text).expect("the folder is ours");
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        // It may not have come to that; others may have files there.
        let _ = fs::remove_dir_all(&self.files);
        let _ = self.files.parent().map(fs::remove_dir);
    }
}

/// Listens, and passes on what comes.
async fn lead(from: SocketAddr, to: SocketAddr) {
    let listener = listen(from).unwrap_or_else(|error| panic!("{from}: {error}"));
    tokio::spawn(async move {
        while let Ok((mut theirs, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Ok(mut ours) = connect(to).await {
                    // Either side may leave whenever it wants.
                    let _ = copy_bidirectional(&mut theirs, &mut ours).await;
                }
            });
        }
    });
}

/// At one address beside a trap that listens at all of them: the kernel takes the one that fits best.
fn listen(address: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(128)
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is made here is the way to a receiver, and not a request"
)]
async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect(to).await
}

/// Of an address and the length of its network.
fn address(with_length: &str) -> IpAddr {
    let (address, _) = with_length.split_once('/').expect("it has a length");
    address.parse().expect("it is an address")
}

/// Runs `ip` with these arguments.
#[track_caller]
fn ip(arguments: &str) {
    let done = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .expect("`ip` is installed; `scripts/install iproute2` does it");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "this story wants the right to make network namespaces, as root has it: `ip {arguments}`: {said}"
    );
}
