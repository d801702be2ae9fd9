//! `sensemble events`: the journal of what happened and what was decided.

use std::{collections::VecDeque, time::Duration};

use client::{Admin, ClientError};
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
    /// Of what has happened, only the newest so many.
    #[arg(long, short = 'n', value_name = "EVENTS",
          value_parser = clap::value_parser!(u16).range(1..))]
    last: Option<u16>,
}

/// Prints it.
pub(crate) async fn run(options: Options, call: &Call) -> Result<Outcome, Failure> {
    let doing = || "the journal cannot be read".to_owned();
    let admin = call.admin().await.doing(doing)?;
    let mut request = v1::EventsRequest {
        after: options.after,
        task: options.task.unwrap_or_default(),
        ..Default::default()
    };
    if let Some(last) = options.last {
        for event in newest(&admin, &request, usize::from(last)).await.doing(doing)? {
            request.after = event.sequence;
            print(&event, call)?;
        }
        if !options.follow {
            return Ok(Outcome::Done);
        }
    }
    request.follow = options.follow;
    read(&admin, request, call).await
}

/// The newest `last` events of those asked for.
async fn newest(
    admin: &Admin,
    request: &v1::EventsRequest,
    last: usize,
) -> Result<VecDeque<v1::Event>, ClientError> {
    let mut events = admin.events(request.clone()).await?;
    let mut newest = VecDeque::new();
    while let Some(event) = events.next().await {
        newest.push_back(event?);
        if last < newest.len() {
            newest.pop_front();
        }
    }
    Ok(newest)
}

/// Prints what there is, and what comes where that is asked for.
async fn read(
    admin: &Admin,
    mut request: v1::EventsRequest,
    call: &Call,
) -> Result<Outcome, Failure> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    loop {
        let lost = match admin.events(request.clone()).await {
            Err(error) => error,
            Ok(mut events) => loop {
                match events.next().await {
                    None if !request.follow => return Ok(Outcome::Done),
                    None => break tonic::Status::unavailable("the stream ended").into(),
                    Some(Err(error)) => break error,
                    Some(Ok(event)) => {
                        backoff.reset();
                        // After a break it goes on where it stopped.
                        request.after = event.sequence;
                        print(&event, call)?;
                    }
                }
            },
        };
        // Who follows wants to see what happens after a restart too.
        let gone = matches!(lost.code(), Code::Unavailable | Code::Unknown | Code::Cancelled);
        if !(request.follow && gone) {
            return Err(lost).doing(|| "the journal cannot be read".to_owned());
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
