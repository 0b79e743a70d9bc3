//! Names of ports, as this machine calls them.

use std::io;

use crate::kernel::services;

/// The names (`man 5 services`). What other name services know is not asked: that may take the
/// network.
const SERVICES: &str = "/etc/services";

/// The TCP port that is called `name`; `None` if none is.
pub fn tcp_port(name: &str) -> io::Result<Option<u16>> {
    let services = std::fs::read(SERVICES)?;
    Ok(services::tcp_port(&services, name))
}
