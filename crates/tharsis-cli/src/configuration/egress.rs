//! `[egress]`: to where something may be sent, and how it gets there.

use std::{net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use serde::Deserialize;
use tharsis::{dispatch::Proxy, egress::Policy};

use super::listed;
use crate::{arguments::Global, output::Failure};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(super) struct EgressTable {
    pub(super) allow_addresses: Vec<String>,
    pub(super) allow_hosts: Vec<String>,
    /// In place of the default.
    pub(super) allow_ports: Option<Vec<u16>>,
    /// Relative to the file's own folder.
    pub(super) ca_file: Option<PathBuf>,
    pub(super) source_addresses: Vec<String>,
    /// In place of the source addresses, where others stand before them.
    pub(super) seen_from: Vec<String>,
    pub(super) proxy: Option<String>,
}

pub(super) fn policy(
    flags: &Global,
    variable: &impl Fn(&str) -> Result<Option<String>, Failure>,
    file: &EgressTable,
) -> Result<Policy, Failure> {
    let mut policy = Policy::default();
    if let Some(ports) = &file.allow_ports {
        policy.allow_ports.clone_from(ports);
    }
    let mut allow_address = |range: &str, place: &str| {
        policy.allow_addresses.push(
            Policy::range(range)
                .map_err(|invalid| Failure::from(invalid).at(place).into_usage())?,
        );
        Ok::<_, Failure>(())
    };
    for range in &file.allow_addresses {
        allow_address(range, "egress.allow_addresses")?;
    }
    for range in listed(variable("THARSIS_EGRESS_ALLOW_ADDRESSES")?) {
        allow_address(&range, "THARSIS_EGRESS_ALLOW_ADDRESSES")?;
    }
    for range in &flags.egress_allow_address {
        allow_address(range, "--egress-allow-address")?;
    }
    policy.allow_hosts.extend(file.allow_hosts.iter().cloned());
    policy
        .allow_hosts
        .extend(listed(variable("THARSIS_EGRESS_ALLOW_HOSTS")?));
    policy
        .allow_hosts
        .extend(flags.egress_allow_host.iter().cloned());
    for port in listed(variable("THARSIS_EGRESS_ALLOW_PORTS")?) {
        let port = port.parse().map_err(|_| {
            Failure::usage("bad_environment", "is no list of ports")
                .at("THARSIS_EGRESS_ALLOW_PORTS")
        })?;
        policy.allow_ports.push(port);
    }
    policy.allow_ports.extend(&flags.egress_allow_port);
    Ok(policy)
}

/// What is set under one of two names, the first of which goes before the other.
pub(super) fn either(
    variable: &impl Fn(&str) -> Result<Option<String>, Failure>,
    name: &'static str,
    file: &[String],
    key: &'static str,
) -> Result<(Vec<String>, &'static str), Failure> {
    Ok(match variable(name)? {
        Some(text) => (listed(Some(text)), name),
        None => (file.to_vec(), key),
    })
}

pub(super) fn source_addresses(
    variable: &impl Fn(&str) -> Result<Option<String>, Failure>,
    file: &EgressTable,
) -> Result<Vec<IpAddr>, Failure> {
    let (listed, place) = either(
        variable,
        "THARSIS_EGRESS_SOURCE_ADDRESSES",
        &file.source_addresses,
        "egress.source_addresses",
    )?;
    let address = |text: &String| {
        text.parse::<IpAddr>().map_err(|_| {
            Failure::usage("bad_address", "is no IP address")
                .at(place)
                .hint("write addresses of this machine, as 203.0.114.7")
        })
    };
    listed.iter().map(address).collect()
}

pub(super) fn seen_from(
    variable: &impl Fn(&str) -> Result<Option<String>, Failure>,
    file: &EgressTable,
    source_addresses: &[IpAddr],
) -> Result<Vec<IpNet>, Failure> {
    let (listed, place) = either(
        variable,
        "THARSIS_EGRESS_SEEN_FROM",
        &file.seen_from,
        "egress.seen_from",
    )?;
    if listed.is_empty() {
        return Ok(source_addresses.iter().copied().map(IpNet::from).collect());
    }
    let range = |text: &String| {
        Policy::range(text).map_err(|invalid| Failure::from(invalid).at(place).into_usage())
    };
    listed.iter().map(range).collect()
}

pub(super) fn proxy(
    variable: &impl Fn(&str) -> Result<Option<String>, Failure>,
    file: &EgressTable,
) -> Result<Option<Proxy>, Failure> {
    const VARIABLE: &str = "THARSIS_EGRESS_PROXY";
    let (text, place) = match variable(VARIABLE)? {
        Some(text) => (text, VARIABLE),
        None => match &file.proxy {
            Some(text) => (text.clone(), "egress.proxy"),
            None => return Ok(None),
        },
    };
    Proxy::parse(&text)
        .map(Some)
        .map_err(|invalid| Failure::from(invalid).at(place).into_usage())
}
