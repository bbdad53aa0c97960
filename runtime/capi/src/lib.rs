//! The C interface: opaque handles, status codes, messages by thread, memory of the caller's.
//!
//! `docs/c.md` says who owns what and which calls may meet; `include/hipflask.h` is made from this.

mod model;
mod session;
mod status;

pub use model::*;
pub use session::*;
pub use status::*;
