//! Which URLs may be registered and which addresses may be dialled.

mod address;
mod policy;
mod url;

pub use address::Denied;
pub use policy::Policy;
pub use url::PayloadUrl;
