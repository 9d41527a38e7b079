//! The names of the trees that are to live on after their execution, in a file of the state folder, so that the next start
//! knows what of a crash's leftovers to leave alone.
//!
//! A name is one record of fixed size, written with one pwrite(2): no file is made or opened when a command ends.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::state_file;

/// Most trees that are remembered at a time. What more of them live on does so until a crash.
pub(super) const MAX_SURVIVORS: usize = 16_384;

/// The file's name.
const FILE: &str = "survivors";

/// Bytes of a record: a name, blanks, and the end of the line.
const RECORD_BYTES: usize = 64;

/// The file, and which of its records are free.
#[derive(Debug)]
pub(super) struct Survivors {
    path: PathBuf,
    file: File,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    free: Vec<Slot>,
    /// Records up to here have been used.
    end: usize,
}

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(usize);

impl Survivors {
    /// Opens the file in `state_dir`, and returns whom it names. One that cannot be read is set aside, with what is whole in
    /// it taken over.
    pub(super) fn open(state_dir: &Path) -> io::Result<(Self, Vec<(String, Slot)>)> {
        let path = state_dir.join(FILE);
        let names = match state_file::read(&path, MAX_SURVIVORS * RECORD_BYTES) {
            Ok(None) => Vec::new(),
            Ok(Some(bytes)) => {
                let (names, is_whole) = parse(&bytes);
                if !is_whole {
                    state_file::set_aside(&path, &"not all of it are names")?;
                }
                names
            }
            Err(error) => {
                state_file::set_aside(&path, &error)?;
                Vec::new()
            }
        };
        // Without holes.
        let text: String = names.iter().map(|name| record(name)).collect();
        state_file::replace(&path, text.as_bytes())?;
        let survivors = Self {
            file: open_for_writing(&path)?,
            path,
            taken: Mutex::new(Taken {
                free: Vec::new(),
                end: names.len(),
            }),
        };
        let slots = (0..names.len()).map(Slot);
        Ok((survivors, names.into_iter().zip(slots).collect()))
    }

    /// Remembers `name`, which the next start leaves alone.
    pub(super) fn remember(&self, name: &str) -> io::Result<Slot> {
        if !is_name(name) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let slot = {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            match taken.free.pop() {
                Some(slot) => slot,
                None if taken.end < MAX_SURVIVORS => {
                    taken.end += 1;
                    Slot(taken.end - 1)
                }
                None => return Err(io::ErrorKind::QuotaExceeded.into()),
            }
        };
        write(&self.file, slot, name).inspect_err(|_| self.free(slot))?;
        Ok(slot)
    }

    /// A descriptor for [`Self::forget`], in the calling thread's own table.
    pub(super) fn eraser(&self) -> io::Result<File> {
        open_for_writing(&self.path)
    }

    /// Forgets who is in `slot`, through an [`Self::eraser`].
    pub(super) fn forget(&self, eraser: &File, slot: Slot) {
        // A name that stays there does no harm: nobody has it any more.
        if write(eraser, slot, "").is_ok() {
            self.free(slot);
        }
    }

    fn free(&self, slot: Slot) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.free.push(slot);
    }
}

fn open_for_writing(path: &Path) -> io::Result<File> {
    state_file::open(path, File::options().write(true))
}

fn write(file: &File, slot: Slot, name: &str) -> io::Result<()> {
    let offset = slot.0 as u64 * RECORD_BYTES as u64;
    file.write_all_at(record(name).as_bytes(), offset)
}

fn record(name: &str) -> String {
    let width = RECORD_BYTES - 1;
    format!("{name:width$}\n")
}

/// The names in `bytes`, and whether there is nothing else.
fn parse(bytes: &[u8]) -> (Vec<String>, bool) {
    let mut names = Vec::new();
    let mut is_whole = true;
    for record in bytes.chunks(RECORD_BYTES) {
        let text = std::str::from_utf8(record).ok();
        let text = text.filter(|text| text.len() == RECORD_BYTES);
        match text
            .and_then(|text| text.strip_suffix('\n'))
            .map(str::trim_end)
        {
            Some("") => {}
            Some(name) if is_name(name) => names.push(name.to_owned()),
            _ => is_whole = false,
        }
    }
    (names, is_whole)
}

/// Whether it is the name of a group or an execution: never a path.
fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..RECORD_BYTES).contains(&name.len()) && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn names(state_dir: &Path) -> Vec<String> {
        let (_, names) = Survivors::open(state_dir).unwrap();
        names.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn names_are_there_at_the_next_start_until_they_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let (survivors, before) = Survivors::open(dir.path()).unwrap();
        assert!(before.is_empty());
        let one = survivors.remember("1").unwrap();
        survivors.remember("2").unwrap();
        let eraser = survivors.eraser().unwrap();
        survivors.forget(&eraser, one);
        assert_eq!(survivors.remember("3").unwrap(), one);
        assert_eq!(names(dir.path()), ["3", "2"]);
        assert!(survivors.remember("../x").is_err());
        assert!(survivors.remember(&"x".repeat(RECORD_BYTES)).is_err());
    }

    #[test]
    fn one_too_many_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (survivors, _) = Survivors::open(dir.path()).unwrap();
        for number in 0..16_384 {
            survivors.remember(&number.to_string()).unwrap();
        }
        assert!(survivors.remember("x").is_err());
        survivors.forget(&survivors.eraser().unwrap(), Slot(7));
        assert_eq!(survivors.remember("x").unwrap(), Slot(7));
    }

    #[test]
    fn pitfall_66_a_damaged_file_is_set_aside_and_what_is_whole_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let whole = record("17");
        for damaged in [
            [whole.as_bytes(), &[0xff; 20]].concat(),
            [whole.as_bytes(), b"18"].concat(),
            [whole.as_bytes(), record("a/b").as_bytes()].concat(),
            [whole.as_bytes(), &[0; RECORD_BYTES]].concat(),
        ] {
            fs::write(&path, &damaged).unwrap();
            assert_eq!(names(dir.path()), ["17"]);
            let aside = dir.path().join("survivors.damaged");
            assert_eq!(fs::read(aside).unwrap(), damaged);
            assert_eq!(names(dir.path()), ["17"]);
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(names(dir.path()).is_empty());
        assert!(dir.path().join("survivors.damaged").is_dir());
    }
}
