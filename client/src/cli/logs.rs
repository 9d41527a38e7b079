//! `remex logs`: the output of an execution, as one who only looks.

use remex_client::{Attach, Client, Error, Event, Execution, Exit, Stream};

use super::{
    Failure, complete, escape,
    failure::status_of,
    ids, json, print,
    server::{Server, ServerArgs},
};

/// Show the output of an execution that outlives its callers.
///
/// With -f, remex exits with the command's exit code.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// Follow it to its end, through lost connections and restarts of remexd.
    #[arg(short, long)]
    follow: bool,
    /// Print events as JSON, one a line, in place of the output; see `remex help run`.
    #[arg(long)]
    json: bool,
    /// Begin behind this event.
    #[arg(
        long,
        value_name = "SEQUENCE",
        default_value_t = 0,
        hide_default_value = true
    )]
    after: u64,
    /// The execution: its id, or the beginning of one.
    #[arg(value_name = "ID", add = complete::ids(&complete::ANY))]
    id: String,
}

pub(crate) async fn logs(server: &Server, args: &Args) -> Result<u8, Failure> {
    let client = server.connect().await?;
    let id = ids::one(&client, &args.id).await?;
    let attach = Attach::to(id).after(args.after).observer();
    let attach = if args.follow {
        attach.resume()
    } else {
        attach.no_follow()
    };
    if args.follow {
        return follow(&client, attach, args.json).await;
    }
    show(&client, attach, args.json).await?;
    Ok(0)
}

/// Shows all to its end, and answers with its exit code.
pub(super) async fn follow(client: &Client, attach: Attach, as_json: bool) -> Result<u8, Failure> {
    let id = attach.execution_id().to_owned();
    let exit = match show(client, attach, as_json).await? {
        Some(exit) => exit,
        // It has ended, and `--after` is its end.
        None => client.wait(id).await?,
    };
    status_of(&exit)
}

/// Shows what there is to be seen, and answers with how it ended, if it has.
async fn show(client: &Client, attach: Attach, as_json: bool) -> Result<Option<Exit>, Failure> {
    let mut execution = client.attach(attach).await?;
    let lost = |execution: &Execution, error: Error| Failure::while_attached(error, execution.id());
    loop {
        let event = match execution.next().await {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(None),
            Err(error) => return Err(lost(&execution, error)),
        };
        if as_json {
            print::bytes(&json::event(execution.id(), execution.position(), &event))?;
        } else {
            pass_on(&event)?;
        }
        match event {
            Event::Exited(exit) => return Ok(Some(exit)),
            Event::Interrupted { why } => {
                let said = escape::line(&why);
                print::note(&format!("{said}; looking for the server"));
            }
            Event::Resumed => print::note("connected again"),
            _ => {}
        }
    }
}

fn pass_on(event: &Event) -> Result<(), Failure> {
    match event {
        Event::Output {
            stream: Stream::Stderr,
            data,
            ..
        } => print::error_bytes(data),
        Event::Output { data, .. } => print::bytes(data),
        Event::Gap { .. } => {
            if let Some(bytes) = event.missing_bytes() {
                print::note(&format!("{bytes} bytes of output are missing here"));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
