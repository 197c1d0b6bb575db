use std::net::IpAddr;

use ipnet::IpNet;

use crate::Invalid;

/// What may be reached. The default is the public internet on ports 443 and 8443.
///
/// Whatever is opened is opened by name: there is no switch for all of it, and addresses in URLs stay refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Ranges that may be dialled though they are not public.
    pub allow_addresses: Vec<IpNet>,
    /// Host names that may be registered though they are special (`localhost`). Case does not matter.
    pub allow_hosts: Vec<String>,
    /// Ports that may be registered.
    pub allow_ports: Vec<u16>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            allow_addresses: Vec::new(),
            allow_hosts: Vec::new(),
            allow_ports: vec![443, 8443],
        }
    }
}

impl Policy {
    /// Reads a range as an operator writes it: `127.0.0.0/8`, or one address.
    ///
    /// # Errors
    /// `bad_address_range`.
    ///
    /// # Examples
    /// ```
    /// use tharsis_core::egress::Policy;
    ///
    /// let mut policy = Policy::default();
    /// policy.allow_addresses.push(Policy::range("127.0.0.0/8")?);
    /// assert!(policy.verdict("127.0.0.1".parse().unwrap()).is_ok());
    /// # Ok::<(), tharsis_core::Invalid>(())
    /// ```
    pub fn range(text: &str) -> Result<IpNet, Invalid> {
        text.parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| {
                Invalid::new("bad_address_range", "is no range of addresses")
                    .hint("write it like 127.0.0.0/8, fd00::/8 or 192.168.1.7")
            })
    }
}
