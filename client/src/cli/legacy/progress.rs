//! What is seen of a slow reply on a terminal: that it is waited for, and how much of it has come. It goes to stderr, and
//! gives way to the reply itself where that goes to the same terminal.

use std::{
    io::{IsTerminal, stdout},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A reply that comes sooner needs no word.
pub(super) const SLOW: Duration = Duration::from_millis(500);
/// Time between two drawings.
const TICK: Duration = Duration::from_millis(200);

const WAITING: &str = "{spinner} waiting for the reply {elapsed}";
const UNKNOWN_SIZE: &str = "{spinner} {binary_bytes} {binary_bytes_per_sec} {elapsed}";
const KNOWN_SIZE: &str =
    "{wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";

pub(super) struct Progress {
    bar: ProgressBar,
    /// The reply goes to a terminal too.
    gives_way: bool,
    is_shown: bool,
}

impl Progress {
    /// Of a command that is about to be sent.
    pub(super) fn new() -> Self {
        Self {
            bar: ProgressBar::hidden().with_style(style(WAITING)),
            gives_way: stdout().is_terminal(),
            is_shown: false,
        }
    }

    /// It takes its time. Nothing is drawn unless stderr is a terminal.
    pub(super) fn slow(&mut self) {
        if !self.is_shown && !self.bar.is_finished() {
            self.is_shown = true;
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.bar.enable_steady_tick(TICK);
        }
    }

    /// The reply begins, with a body of this size if that is known.
    pub(super) fn announced(&self, body_bytes: Option<u64>) {
        match body_bytes {
            Some(bytes) => {
                self.bar.set_style(style(KNOWN_SIZE));
                self.bar.set_length(bytes);
            }
            None => self.bar.set_style(style(UNKNOWN_SIZE)),
        }
    }

    /// So much of the body has come, and is about to be printed.
    pub(super) fn received(&mut self, bytes: usize) {
        if self.gives_way {
            return self.bar.finish_and_clear();
        }
        self.bar.inc(bytes as u64);
        if self.bar.elapsed() >= SLOW {
            self.slow();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are those above, which a test reads; a plain spinner is what would be left.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_can_be_read() {
        for template in [WAITING, UNKNOWN_SIZE, KNOWN_SIZE] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
