//! Which addresses a name leads to, and whether they may be dialled.

#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::op::ResponseCode,
};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tharsis_core::{Invalid, delivery::codes, egress::Policy};

use super::{
    ClientError,
    failure::Failure,
    phase::{self, Phase},
};

/// An answer is believed for no longer, whatever its own time to live says: the next connection asks again.
const MAX_TTL: Duration = Duration::from_secs(300);

/// To one name server at once: an A and an AAAA for each of 256 requests in flight.
const MAX_QUESTIONS: usize = 512;

/// A name that did not exist may exist at the first retry.
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(4);

/// Resolves names the way this machine does (its name servers, its hosts file), and hands out no address that has not
/// been vetted.
#[derive(Clone)]
pub(super) struct VettedResolver {
    dns: TokioResolver,
    asks_for: AsksFor,
}

/// Whose names are asked for.
#[derive(Debug, Clone)]
pub(super) enum AsksFor {
    /// Of receivers. Where there is a source address, only those of its family can be reached.
    Receivers {
        egress: Arc<Policy>,
        source: Option<IpAddr>,
    },
    /// Of the proxy, which is the operator's own; it asks for the receivers'. Whoever asks for another name here has gone
    /// around the proxy, and gets nothing.
    Proxy {
        host: String,
        source: Option<IpAddr>,
    },
}

impl fmt::Debug for VettedResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VettedResolver").finish_non_exhaustive()
    }
}

impl VettedResolver {
    /// With the name servers and hosts file of this machine.
    pub(super) fn of_this_machine(asks_for: AsksFor) -> Result<Self, ClientError> {
        let (config, options) = match hickory_resolver::system_conf::read_system_conf() {
            // Without the file only the name server of this machine is asked: resolv.conf(5).
            Err(NetError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                let server = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
                (
                    ResolverConfig::from_name_servers(vec![server]),
                    ResolverOpts::default(),
                )
            }
            read => read.map_err(|error| unusable(&error))?,
        };
        Self::new(config, options, asks_for).map_err(|error| unusable(&error))
    }

    fn new(
        config: ResolverConfig,
        mut options: ResolverOpts,
        asks_for: AsksFor,
    ) -> Result<Self, NetError> {
        options.positive_max_ttl = Some(MAX_TTL);
        options.negative_max_ttl = Some(MAX_NEGATIVE_TTL);
        options.try_tcp_on_error = true;
        options.max_active_requests = MAX_QUESTIONS;
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        Ok(Self {
            dns: builder.build()?,
            asks_for,
        })
    }

    /// The same look-ups for an exit of its own.
    pub(super) fn sending_from(&self, address: Option<IpAddr>) -> Self {
        let mut resolver = self.clone();
        match &mut resolver.asks_for {
            AsksFor::Receivers { source, .. } | AsksFor::Proxy { source, .. } => *source = address,
        }
        resolver
    }

    pub(super) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Failure> {
        match &self.asks_for {
            AsksFor::Receivers { egress, source } => {
                let found = if is_localhost(host) {
                    loopback(egress)
                } else {
                    self.look_up(host).await?
                };
                vet(egress, *source, found)
            }
            AsksFor::Proxy { host: own, .. } if !host.eq_ignore_ascii_case(own) => {
                Err(Failure::internal("a request went around the proxy"))
            }
            AsksFor::Proxy { source, .. } => {
                let mut found = if is_localhost(host) {
                    LOOPBACK.to_vec()
                } else {
                    self.look_up(host).await?
                };
                keep_family(&mut found, *source);
                Ok(found)
            }
        }
    }

    async fn look_up(&self, host: &str) -> Result<Vec<IpAddr>, Failure> {
        // The dot at the end keeps the search domains of this machine out: a name means the same everywhere.
        let found = self.dns.lookup_ip(format!("{host}.")).await;
        let found = found.map_err(|error| lookup_failure(&error))?;
        Ok(found.iter().collect())
    }
}

/// RFC 6761, section 6.3: `localhost` is never asked for.
const LOOPBACK: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// Where only one of its two addresses is allowed, that one is meant.
fn loopback(egress: &Policy) -> Vec<IpAddr> {
    let mut allowed = LOOPBACK.to_vec();
    allowed.retain(|address| egress.verdict(*address).is_ok());
    if allowed.is_empty() {
        LOOPBACK.to_vec()
    } else {
        allowed
    }
}

impl Resolve for VettedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            phase::reached(Phase::Dns);
            let addresses = resolver.addresses(name.as_str()).await?;
            phase::reached(Phase::Tcp);
            let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

/// All addresses of a name, if all of them may be dialled, without those that this machine has no route to, or none from
/// the source address.
pub(super) fn vet(
    egress: &Policy,
    source: Option<IpAddr>,
    addresses: Vec<IpAddr>,
) -> Result<Vec<IpAddr>, Failure> {
    egress.vet(&addresses, &[]).map_err(refused)?;
    let mut reachable = Vec::with_capacity(addresses.len());
    for address in addresses {
        match source_for(address) {
            // Whoever reaches an address from that same address is this machine.
            Ok(source) if source == address => {
                egress.vet(&[address], &[source]).map_err(refused)?;
                reachable.push(address);
            }
            Ok(_) => reachable.push(address),
            Err(error) if Failure::is_local_resource(&error) => {
                return Err(Failure::ours(codes::LOCAL_RESOURCE, &error));
            }
            Err(_) => {}
        }
    }
    keep_family(&mut reachable, source);
    if reachable.is_empty() {
        return Err(Failure::theirs(
            codes::CONNECT_UNREACHABLE,
            "this machine has no route to any address of the name",
        ));
    }
    Ok(reachable)
}

/// What is of the other family cannot be reached from a source address.
fn keep_family(addresses: &mut Vec<IpAddr>, source: Option<IpAddr>) {
    if let Some(source) = source {
        addresses.retain(|address| address.is_ipv4() == source.is_ipv4());
    }
}

/// The address that this machine would send from. Connecting a datagram socket asks the routing table and sends nothing.
fn source_for(address: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((address, 9))?;
    Ok(socket.local_addr()?.ip())
}

fn is_localhost(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

fn refused(invalid: Invalid) -> Failure {
    Failure::theirs(invalid.code, invalid.message)
}

fn lookup_failure(error: &NetError) -> Failure {
    let code = match error {
        NetError::Io(error) if Failure::is_local_resource(error) => {
            return Failure::ours(codes::LOCAL_RESOURCE, error);
        }
        // More questions are under way than the resolver takes.
        NetError::Busy => return Failure::ours(codes::LOCAL_RESOURCE, error),
        NetError::Timeout => codes::TIMEOUT_DNS,
        error if error.is_nx_domain() => codes::DNS_NO_SUCH_NAME,
        NetError::Dns(DnsError::NoRecordsFound(none))
            if none.response_code == ResponseCode::NoError =>
        {
            codes::DNS_NO_ADDRESS
        }
        _ => codes::DNS_FAILURE,
    };
    Failure::theirs(code, error.to_string())
}

fn unusable(error: &NetError) -> ClientError {
    ClientError {
        code: "resolver_unusable",
        message: format!("the resolver configuration of this machine cannot be used: {error}"),
        hint: "mend /etc/resolv.conf: it needs a line `nameserver ADDRESS`".to_owned(),
    }
}
