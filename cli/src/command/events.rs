//! `sensemble events`: the journal of what happened and what was decided.

use std::time::Duration;

use futures_util::StreamExt as _;
use proto::v1;
use runtime::backoff::Backoff;
use tonic::Code;

use crate::{
    command::{Call, view},
    failure::{Doing as _, Failure, Outcome},
    output,
};

/// What is wanted of the journal.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Go on with what happens from now.
    #[arg(long, short)]
    follow: bool,
    /// Only what is about this task.
    #[arg(long)]
    task: Option<String>,
    /// Only what came after this event.
    #[arg(long, default_value_t = 0, value_name = "SEQUENCE")]
    after: u64,
    /// The newest so many; all that are kept when absent.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    limit: u32,
}

/// Prints it.
pub(crate) async fn run(options: Options, call: &Call) -> Result<Outcome, Failure> {
    let doing = || "the journal cannot be read".to_owned();
    let admin = call.admin().await.doing(doing)?;
    let mut request = v1::EventsRequest {
        after: options.after,
        follow: options.follow,
        task: options.task.unwrap_or_default(),
        limit: options.limit,
    };
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let mut connected = false;
    loop {
        let lost = match admin.events(request.clone()).await {
            Err(error) => error,
            Ok(mut events) => {
                connected = true;
                loop {
                    match events.next().await {
                        None if !request.follow => return Ok(Outcome::Done),
                        None => break tonic::Status::unavailable("the stream ended").into(),
                        Some(Err(error)) => break error,
                        Some(Ok(event)) => {
                            backoff.reset();
                            // After a break it goes on where it stopped.
                            request.after = event.sequence;
                            request.limit = 0;
                            print(&event, call)?;
                        }
                    }
                }
            }
        };
        // Who follows wants to see what happens after a restart too.
        let gone = matches!(lost.code(), Code::Unavailable | Code::Unknown | Code::Cancelled);
        if !(request.follow && connected && gone) {
            return Err(lost).doing(doing);
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

fn print(event: &v1::Event, call: &Call) -> std::io::Result<()> {
    if call.json() {
        return output::json_line(&view::event(event));
    }
    let about: Vec<&str> = [event.task.as_str(), event.device.as_str()]
        .into_iter()
        .filter(|it| !it.is_empty())
        .collect();
    output::line(format_args!(
        "{:>6}  {}  {:<20}  {:<24}  {}",
        event.sequence,
        output::time(event.at_ms),
        event.kind,
        about.join(" on "),
        event.text
    ))
}
