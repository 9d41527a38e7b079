//! What a library says too low for the log, and a daemon has to know, since the library has no other way to tell.

use std::fmt::{self, Debug, Write};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    layer::{Context, Filter},
};

/// A line of a library's at level `debug` or above, whatever the level of the log is.
#[derive(Debug, Clone, Copy)]
pub struct Overheard {
    /// The module that says it.
    pub target: &'static str,
    /// How it begins.
    pub beginning: &'static str,
    /// Is given the rest.
    pub hear: fn(&str),
}

/// Listens for such lines.
pub(super) struct Listening(pub(super) &'static [Overheard]);

impl Listening {
    /// What it is to be shown. All else stays as cheap as if nobody listened.
    pub(super) fn filter<S>(&self) -> impl Filter<S> + use<S> {
        let targets = self.0.iter().map(|line| (line.target, LevelFilter::DEBUG));
        Targets::new().with_targets(targets)
    }
}

impl<S: Subscriber> Layer<S> for Listening {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let target = event.metadata().target();
        let mut message = Message::default();
        for line in self.0.iter().filter(|line| line.target == target) {
            if message.0.is_empty() {
                event.record(&mut message);
            }
            if let Some(rest) = message.0.strip_prefix(line.beginning) {
                (line.hear)(rest);
            }
        }
    }
}

/// An event's text.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            // Writing to a String cannot fail.
            let _: fmt::Result = write!(self.0, "{value:?}");
        }
    }
}
