use std::{fmt, net::IpAddr};

use super::{
    Policy,
    ranges::{self, GLOBAL_UNICAST},
};
use crate::Invalid;

/// The most addresses of one name that are looked at; a name with more is refused.
pub const MAX_ADDRESSES: usize = 64;

/// Why an address is not dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    /// The range it lies in, as its registry names it.
    pub range: &'static str,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lies in {}", self.range)
    }
}

impl std::error::Error for Denied {}

impl Policy {
    /// Whether this address may be dialled: it is public, or the operator allowed its range.
    ///
    /// IPv4 is open but for the special ranges; IPv6 is closed but for `2000::/3` without its special ranges. An
    /// IPv4-mapped address is allowed only where the operator allowed the IPv4 address in it: no honest name has one.
    ///
    /// # Errors
    /// The range that denies it.
    pub fn verdict(&self, address: IpAddr) -> Result<(), Denied> {
        if self.allows(address) {
            return Ok(());
        }
        let range = match (ranges::denied(address), address) {
            (Some(range), _) => range.name,
            (None, IpAddr::V6(v6)) if !GLOBAL_UNICAST.contains(&v6) => "IPv6 outside 2000::/3",
            (None, _) => return Ok(()),
        };
        Err(Denied { range })
    }

    /// Whether all addresses of a name may be dialled. One that may not refuses the whole name, since picking the good
    /// ones would let whoever holds the name probe what else is there.
    ///
    /// `own` are the addresses of this machine: a public one of them leads back to us as surely as loopback does.
    ///
    /// # Errors
    /// `dns_no_address`, `dns_too_many_addresses`, `address_not_global`, `address_is_self`.
    pub fn vet(&self, addresses: &[IpAddr], own: &[IpAddr]) -> Result<(), Invalid> {
        if addresses.is_empty() {
            return Err(Invalid::new("dns_no_address", "the name has no address")
                .hint("give it an A or AAAA record"));
        }
        if addresses.len() > MAX_ADDRESSES {
            return Err(Invalid::new(
                "dns_too_many_addresses",
                format!("the name has more than {MAX_ADDRESSES} addresses"),
            ));
        }
        for &address in addresses {
            self.verdict(address).map_err(|denied| {
                Invalid::new(
                    "address_not_global",
                    format!("the name leads to {address}, which is not public: it {denied}"),
                )
                .hint("point the name at public addresses, or let the operator allow the range: --egress-allow-address")
            })?;
            let canonical = address.to_canonical();
            if own.iter().any(|o| o.to_canonical() == canonical) && !self.allows(address) {
                return Err(Invalid::new(
                    "address_is_self",
                    format!("the name leads to {address}, an address of this machine"),
                )
                .hint("point the name at the receiver, or let the operator allow the range: --egress-allow-address"));
            }
        }
        Ok(())
    }

    fn allows(&self, address: IpAddr) -> bool {
        let canonical = address.to_canonical();
        self.allow_addresses
            .iter()
            .any(|net| net.contains(&canonical) || net.contains(&address))
    }
}
