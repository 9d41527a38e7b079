//! What a signal does to a command that runs: it is forwarded, until the third Ctrl-C. Pure.

use remex_client::Signal;

/// The Ctrl-C that kills.
const LAST_INTERRUPT: u32 = 3;

/// Counts Ctrl-Cs.
#[derive(Debug, Default)]
pub(super) struct Patience {
    interrupts: u32,
}

/// What to do with a signal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Send it to the command.
    Forward,
    /// Kill the command, and leave soon.
    Kill,
    /// Leave now.
    Leave,
}

impl Patience {
    pub(super) fn on_signal(&mut self, signal: Signal) -> Action {
        if self.is_over() {
            return Action::Leave;
        }
        if signal == Signal::INT {
            self.interrupts += 1;
        }
        if self.is_over() {
            Action::Kill
        } else {
            Action::Forward
        }
    }

    /// Whether the command was killed.
    pub(super) fn is_over(&self) -> bool {
        self.interrupts >= LAST_INTERRUPT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_interrupt_kills_and_whatever_follows_leaves() {
        let mut patience = Patience::default();
        for signal in [
            Signal::INT,
            Signal::TERM,
            Signal::INT,
            Signal::HUP,
            Signal::QUIT,
        ] {
            assert_eq!(patience.on_signal(signal), Action::Forward);
        }
        assert!(!patience.is_over());
        assert_eq!(patience.on_signal(Signal::INT), Action::Kill);
        assert!(patience.is_over());
        assert_eq!(patience.on_signal(Signal::TERM), Action::Leave);
    }
}
