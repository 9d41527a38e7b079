//! The keys that are for remex itself where the command has the terminal, as ssh has them: at the beginning of a line, a
//! tilde and one key more; and where it was attached to, as docker has it, Ctrl-P Ctrl-Q anywhere. Pure.

use std::mem;

/// What such keys ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// `~.`: end the command, and remex.
    Leave,
    /// `~^Z`: stop remex, as Ctrl-Z would if the terminal were not the command's.
    Suspend,
    /// Ctrl-P Ctrl-Q: leave the command alone.
    Detach,
}

const CTRL_P: u8 = 0x10;
const CTRL_Q: u8 = 0x11;
const CTRL_Z: u8 = 0x1a;

/// Where what is typed stands.
#[derive(Debug)]
pub(super) struct Escapes {
    begins_line: bool,
    /// Ctrl-P Ctrl-Q is looked for.
    detaches: bool,
    pending: Pending,
}

/// The key that was typed last, if it is held back for what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    Nothing,
    /// At the beginning of a line.
    Tilde,
    CtrlP,
}

impl Escapes {
    pub(super) fn new(detaches: bool) -> Self {
        Self {
            begins_line: true,
            detaches,
            pending: Pending::Nothing,
        }
    }

    /// Takes the keys for remex out of `typed`.
    pub(super) fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, Vec<Key>) {
        let mut passed = Vec::with_capacity(typed.len() + 1);
        let mut keys = Vec::new();
        for &byte in typed {
            let pending = mem::replace(&mut self.pending, Pending::Nothing);
            let key = match (pending, byte) {
                (Pending::CtrlP, CTRL_Q) => Some(Key::Detach),
                (Pending::Tilde, b'.') => Some(Key::Leave),
                (Pending::Tilde, CTRL_Z) => Some(Key::Suspend),
                _ => None,
            };
            match key {
                Some(key) => keys.push(key),
                None => self.pass(pending, byte, &mut passed),
            }
        }
        (passed, keys)
    }

    /// Passes `byte` on, unless it is held back, behind what was.
    fn pass(&mut self, pending: Pending, byte: u8, passed: &mut Vec<u8>) {
        match pending {
            Pending::Nothing => {}
            // The second of two is the one that is typed.
            Pending::Tilde if byte == b'~' => {}
            Pending::Tilde => passed.push(b'~'),
            Pending::CtrlP => {
                passed.push(CTRL_P);
                self.begins_line = false;
            }
        }
        if self.detaches && byte == CTRL_P {
            self.pending = Pending::CtrlP;
        } else if self.begins_line && byte == b'~' && pending != Pending::Tilde {
            self.pending = Pending::Tilde;
        } else {
            passed.push(byte);
            self.begins_line = matches!(byte, b'\r' | b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of what is `typed`, in whichever two pieces it comes, `passed` goes on and `keys` are found.
    #[track_caller]
    fn assert_filtered(detaches: bool, typed: &[u8], passed: &[u8], keys: &[Key]) {
        for cut in 0..=typed.len() {
            let mut escapes = Escapes::new(detaches);
            let (mut got, mut found) = escapes.filter(&typed[..cut]);
            let (rest, more) = escapes.filter(&typed[cut..]);
            got.extend(rest);
            found.extend(more);
            let shown = typed.escape_ascii();
            assert_eq!((&*got, &*found), (passed, keys), "{shown}, cut at {cut}");
        }
    }

    #[test]
    fn keys_are_taken_at_the_beginning_of_a_line_alone() {
        use Key::{Leave, Suspend};
        for (typed, passed, keys) in [
            (&b"~."[..], &b""[..], &[Leave][..]),
            (b"ls\r~.", b"ls\r", &[Leave]),
            (b"ls\n~\x1als\r", b"ls\nls\r", &[Suspend]),
            (b"~~.\r", b"~.\r", &[]),
            (b"~~~.", b"~~.", &[]),
            (b"a~.", b"a~.", &[]),
            (b"cd ~\r~x", b"cd ~\r~x", &[]),
            (b"\r~\r~.", b"\r~\r", &[Leave]),
            (b"~\x1a~.", b"", &[Suspend, Leave]),
            (b"\x03~.", b"\x03~.", &[]),
        ] {
            assert_filtered(false, typed, passed, keys);
        }
    }

    #[test]
    fn ctrl_p_ctrl_q_leaves_where_it_is_looked_for() {
        use Key::{Detach, Leave};
        for (typed, passed, keys) in [
            (&b"\x10\x11"[..], &b""[..], &[Detach][..]),
            (b"ls\x10\x11", b"ls", &[Detach]),
            (b"\x10x", b"\x10x", &[]),
            (b"\x10\x10\x11", b"\x10", &[Detach]),
            (b"\x11\x10", b"\x11", &[]),
            (b"~\x10\x11", b"~", &[Detach]),
            (b"\x10~.", b"\x10~.", &[]),
            (b"\r~.", b"\r", &[Leave]),
        ] {
            assert_filtered(true, typed, passed, keys);
        }
        let (passed, keys) = Escapes::new(false).filter(b"\x10\x11");
        assert_eq!((&*passed, keys.len()), (&b"\x10\x11"[..], 0));
    }
}
