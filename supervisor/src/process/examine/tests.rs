use std::{
    fs::{self, File, Permissions},
    io::Read,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    super::{CommandSpec, ResolveProgress, StdinSpec, Stdio, resolving::Resolved, testing::Place},
    *,
};

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    /// A program of this name, which writes its other name.
    fn script(&self, name: &str, says: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\necho {says}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn examined(&self, spec: &CommandSpec) -> Result<Resolved, StartError> {
        let mut resolving = self.spawner.examine(spec);
        loop {
            match resolving.poll(Instant::now()) {
                ResolveProgress::Resolved(resolved) => return Ok(*resolved),
                ResolveProgress::Failed(error) => return Err(error),
                ResolveProgress::WaitUntil(_) => std::thread::yield_now(),
            }
        }
    }

    /// What is said by what was examined, after `meanwhile`.
    fn said(&self, spec: &CommandSpec, meanwhile: impl FnOnce()) -> Result<String, StartError> {
        let resolved = self.examined(spec)?;
        meanwhile();
        let spawning = self
            .spawner
            .start_resolved("examined", spec, StdinSpec::Null, resolved);
        let (process, stdio) = spawning.wait()?;
        let mut said = String::new();
        let Stdio::Pipes { stdout, .. } = stdio else {
            panic!("it has no terminal")
        };
        rustix::fs::fcntl_setfl(&stdout, rustix::fs::OFlags::empty()).unwrap();
        File::from(stdout).read_to_string(&mut said).unwrap();
        drop(process);
        Ok(said)
    }
}

fn spec(argv: &[&Path]) -> CommandSpec {
    let string = |path: &&Path| CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
    CommandSpec {
        timeout: Some(Duration::from_secs(30)),
        ..CommandSpec::new(argv.iter().map(string).collect())
    }
}

#[test]
fn a_program_is_known_by_its_own_path_whatever_links_lead_to_it() {
    let place = Place::new();
    let script = place.script("script", "script");
    let (link, echo) = (place.path("link"), place.path("echo"));
    symlink(&script, &link).unwrap();
    symlink("/bin/sh", &echo).unwrap();
    let real = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
    let resolved = place.examined(&spec(&[&link])).unwrap();
    let examined = resolved.examined().unwrap();
    assert_eq!(examined.named, real(&link));
    assert_eq!(examined.real, real(&script));
    assert_eq!(examined.interpreter.as_deref(), Some(&b"/bin/sh"[..]));
    assert_eq!(
        examined.directory,
        real(&place.path("")).strip_suffix(b"/").unwrap()
    );
    let resolved = place.examined(&spec(&[&echo])).unwrap();
    let examined = resolved.examined().unwrap();
    assert_eq!(
        examined.real,
        real(&Path::new("/bin/sh").canonicalize().unwrap())
    );
    assert_eq!(examined.interpreter, None);
}

#[test]
fn promise_1_what_was_judged_is_what_runs() {
    let place = Place::new();
    let one = place.script("one", "one");
    let other = place.script("other", "other");
    let link = place.path("link");
    symlink(&one, &link).unwrap();
    let said = place.said(&spec(&[&link]), || ()).unwrap();
    assert_eq!(said, "one\n");
    // The link leads elsewhere now; what was judged is what it led to.
    let said = place.said(&spec(&[&link]), || {
        fs::remove_file(&link).unwrap();
        symlink(&other, &link).unwrap();
    });
    assert_eq!(said.unwrap(), "one\n");
    // Another file is in its place, or the same one says something else now.
    let refused = |meanwhile: &dyn Fn()| {
        let error = place.said(&spec(&[&one]), meanwhile).unwrap_err();
        assert!(
            matches!(error, StartError::ProgramNotExecutable { .. }),
            "{error}"
        );
        assert!(error.to_string().contains("changed or replaced"), "{error}");
    };
    refused(&|| fs::rename(&other, &one).unwrap());
    refused(&|| drop(place.script("one", "changed")));
    refused(&|| {
        fs::remove_file(&one).unwrap();
        symlink("/bin/echo", &one).unwrap();
    });
}

#[test]
fn promise_1_binaries_are_executed_by_descriptor_with_the_name_they_were_called_by() {
    let place = Place::new();
    let (sh, link) = (place.path("sh"), place.path("link"));
    fs::copy("/bin/sh", &sh).unwrap();
    symlink(&sh, &link).unwrap();
    let mut command = spec(&[
        &link,
        Path::new("-c"),
        Path::new("echo $0; readlink /proc/$$/exe"),
    ]);
    let said = place.said(&command, || ()).unwrap();
    assert_eq!(said, format!("{}\n{}\n", link.display(), sh.display()));
    command.argv[0] = c"sh".into();
    assert!(place.said(&command, || ()).unwrap().starts_with("sh\n"));
}

#[test]
fn promise_1_the_folder_that_was_judged_is_where_it_runs() {
    let place = Place::new();
    let (folder, link) = (place.path("folder"), place.path("link"));
    fs::create_dir(&folder).unwrap();
    symlink(&folder, &link).unwrap();
    let command = CommandSpec {
        working_directory: Some(link.clone()),
        ..spec(&[Path::new("pwd"), Path::new("-P")])
    };
    let said = place.said(&command, || {
        fs::remove_file(&link).unwrap();
        symlink("/", &link).unwrap();
    });
    assert_eq!(said.unwrap(), format!("{}\n", folder.display()));
    fs::remove_file(&link).unwrap();
    symlink(&folder, &link).unwrap();
    let error = place.said(&command, || {
        fs::remove_dir(&folder).unwrap();
        symlink("/", &folder).unwrap();
    });
    assert!(
        matches!(error, Err(StartError::WorkingDirectory { .. })),
        "{error:?}"
    );
}

#[test]
fn what_is_no_file_is_not_executed() {
    let place = Place::new();
    for (path, missing) in [(place.path("none"), true), (place.path(""), false)] {
        let error = place.examined(&spec(&[&path])).unwrap_err();
        let is_missing = matches!(error, StartError::ProgramNotFound { .. });
        assert_eq!(is_missing, missing, "{error}");
    }
    let pipe = place.path("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o755);
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
    // Nobody waits for its other end.
    assert!(place.examined(&spec(&[&pipe])).is_err());
}

#[test]
fn a_descriptor_has_its_link() {
    for (fd, link) in [(0, "0"), (7, "7"), (10, "10"), (i32::MAX, "2147483647")] {
        let mut buffer = [0; LINK_BYTES];
        let expected = format!("/proc/self/fd/{link}");
        assert_eq!(
            descriptor_link(fd, &mut buffer).to_str(),
            Ok(expected.as_str())
        );
    }
}
