use ipnet::IpNet;

/// What may be reached. The default is the public internet on ports 443 and 8443.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Ranges that may be dialled though they are not public.
    pub allow_addresses: Vec<IpNet>,
    /// Host names that may be registered though they are special (`localhost`).
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
