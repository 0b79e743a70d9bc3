//! An IPv6 wildcard listener that takes IPv4 clients too (facts Q10), and does not accept.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Driver, Expected, Running, Scenario};
use super::{running, server};

pub(super) static SCENARIO: Scenario = Scenario {
    id: "dual-stack",
    summary: "an IPv6 wildcard listener has three IPv4 clients and one IPv6 client waiting",
    finding: Some("accept-queue-leak"),
    cause: Some("acceptor-blocked"),
    demo: false,
    expected: Expected {
        accept_queue: 4..=4,
        ..Expected::QUIET
    },
    serve,
    work: None,
    drive,
};

fn serve(driver: &mut Driver<'_>) -> io::Result<()> {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let listener = server::listen_at(any, 128)?;
    driver.listening(&listener)?;
    server::park()
}

fn drive(case: &mut Running) -> io::Result<()> {
    let port = case.address().port();
    for _ in 0..3 {
        case.keep(running::connect(SocketAddr::from((
            Ipv4Addr::LOCALHOST,
            port,
        )))?);
    }
    case.keep(running::connect(SocketAddr::from((
        Ipv6Addr::LOCALHOST,
        port,
    )))?);
    Ok(())
}
