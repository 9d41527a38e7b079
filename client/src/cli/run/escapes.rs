//! The keys that are for remex itself where the command has the terminal, as ssh has them: at the beginning of a line, a
//! tilde and one key more. Pure.

/// What such keys ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// `~.`: end the command, and remex.
    Leave,
    /// `~^Z`: stop remex, as Ctrl-Z would if the terminal were not the command's.
    Suspend,
}

const CTRL_Z: u8 = 0x1a;

/// Where what is typed stands.
#[derive(Debug)]
pub(super) struct Escapes {
    begins_line: bool,
    /// A tilde was typed at the beginning of a line, and is held back for what follows it.
    tilde: bool,
}

impl Default for Escapes {
    fn default() -> Self {
        Self {
            begins_line: true,
            tilde: false,
        }
    }
}

impl Escapes {
    /// Takes the keys for remex out of `typed`.
    pub(super) fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, Vec<Key>) {
        let mut passed = Vec::with_capacity(typed.len() + 1);
        let mut keys = Vec::new();
        for &byte in typed {
            if std::mem::take(&mut self.tilde) {
                match byte {
                    b'.' => {
                        keys.push(Key::Leave);
                        continue;
                    }
                    CTRL_Z => {
                        keys.push(Key::Suspend);
                        continue;
                    }
                    b'~' => {}
                    _ => passed.push(b'~'),
                }
            } else if self.begins_line && byte == b'~' {
                self.tilde = true;
                continue;
            }
            passed.push(byte);
            self.begins_line = matches!(byte, b'\r' | b'\n');
        }
        (passed, keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            for cut in 0..=typed.len() {
                let mut escapes = Escapes::default();
                let (mut got, mut found) = escapes.filter(&typed[..cut]);
                let (rest, more) = escapes.filter(&typed[cut..]);
                got.extend(rest);
                found.extend(more);
                let shown = typed.escape_ascii();
                assert_eq!((&*got, &*found), (passed, keys), "{shown}, cut at {cut}");
            }
        }
    }
}
