//! Which URLs may be registered and which addresses may be dialled.
//!
//! Whoever may register a URL chooses what our network talks to, so this is the wall against forged requests: the text
//! of a URL is judged once, at registration ([`PayloadUrl::parse`]); the addresses behind its name are judged anew before
//! every connection ([`Policy::vet`]), because names change what they mean.
//!
//! # Examples
//! ```
//! use tharsis_core::egress::{PayloadUrl, Policy};
//!
//! let policy = Policy::default();
//! let url = PayloadUrl::parse(b"https://hooks.example.com/in?token=42", &policy)?;
//! assert_eq!(url.to_string(), "https://hooks.example.com/…");
//!
//! let refused = PayloadUrl::parse(b"https://169.254.169.254/", &policy).unwrap_err();
//! assert_eq!(refused.code, "host_ip_literal");
//!
//! let private = policy.vet(&["10.0.0.5".parse()?], &[]).unwrap_err();
//! assert_eq!(private.code, "address_not_global");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod host;
mod policy;
mod ranges;
mod url;

pub use address::{Denied, MAX_ADDRESSES};
pub use policy::Policy;
pub use url::{MAX_URL, PayloadUrl};
