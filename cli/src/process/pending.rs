//! Stands in for the rooms that are still being built.
#![expect(dead_code, clippy::unused_async, reason = "until those rooms publish their own")]

use std::{net::SocketAddr, path::PathBuf, time::Duration};

macro_rules! pending {
    ($name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        pub(super) mod $name {
            use super::*;
            pub(in super::super) struct Config { $(pub(in super::super) $field: $type),* }
            pub(in super::super) async fn run(_: Config, _: runtime::Drain) -> Result<runtime::Exit, std::io::Error> {
                Err(std::io::Error::other("not in this build"))
            }
        }
    };
}

pending!(scheduler {
    listen: SocketAddr,
    insecure: bool,
    data_dir: PathBuf,
    site: String,
    heartbeat: Duration,
    lease: Duration
});
pending!(training_worker {
    scheduler: String,
    job: String,
    attempt: u64,
    device: String,
    threads: usize
});
