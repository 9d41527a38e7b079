//! A command's environment: what is passed on of the server's, a user's login variables, and what the caller adds.

use std::{
    ffi::{CString, OsString},
    os::unix::ffi::OsStrExt,
};

use super::{
    spec::{CommandSpec, TerminalSpec},
    user::User,
};

/// Variables of the server's environment that commands get, besides `LC_*` and those that it is told to pass on.
const PASSED: [&str; 7] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ"];

/// PATH of a user's login environment, as login(1) sets it.
const LOGIN_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
const ROOT_LOGIN_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `NAME=VALUE` each, with no name twice.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment(Vec<CString>);

impl Environment {
    /// What of `variables`, the server's own, commands get.
    pub(super) fn passed(
        variables: impl Iterator<Item = (OsString, OsString)>,
        more: &[String],
    ) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            let text = name.to_string_lossy();
            let passes = PASSED.contains(&&*text)
                || text.starts_with("LC_")
                || more.iter().any(|passed| passed == &*text);
            if passes {
                environment.set(name.as_bytes(), value.as_bytes());
            }
        }
        environment
    }

    /// The environment of `spec`, run as `user` if one is named; `self` is what is passed on.
    pub(super) fn of(&self, spec: &CommandSpec, user: Option<&User>) -> Self {
        let mut environment = Self::default();
        if !spec.clear_environment {
            environment = self.clone();
            if let Some(user) = user {
                environment.log_in(user);
            }
            for variable in &spec.passed {
                environment.put(variable.clone());
            }
        }
        if let Some(TerminalSpec { term, .. }) = &spec.terminal {
            environment.set(b"TERM", term.as_bytes());
        }
        environment.add(&spec.environment);
        environment
    }

    /// Sets one variable. One that holds a NUL cannot be, and is not.
    pub(super) fn set(&mut self, name: &[u8], value: &[u8]) {
        if let Ok(variable) = CString::new([name, b"=", value].concat()) {
            self.put(variable);
        }
    }

    /// The value of a variable.
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find_map(|variable| {
            variable
                .to_bytes()
                .strip_prefix(name.as_bytes())?
                .strip_prefix(b"=")
        })
    }

    /// All of them, `NAME=VALUE` each.
    pub(super) fn into_variables(self) -> Vec<CString> {
        self.0
    }

    fn log_in(&mut self, user: &User) {
        let path = if user.uid == 0 {
            ROOT_LOGIN_PATH
        } else {
            LOGIN_PATH
        };
        let shell = match user.shell.as_bytes() {
            b"" => b"/bin/sh",
            shell => shell,
        };
        self.set(b"PATH", path.as_bytes());
        self.set(b"HOME", user.home.as_os_str().as_bytes());
        self.set(b"USER", user.name.as_bytes());
        self.set(b"LOGNAME", user.name.as_bytes());
        self.set(b"SHELL", shell);
    }

    /// Adds the caller's variables, which have no name twice: each is compared with what was there before, not with all of
    /// the others, of which there may be tens of thousands.
    fn add(&mut self, variables: &[CString]) {
        let others = self.0.len();
        for variable in variables {
            let name = name(variable);
            match self.0[..others]
                .iter_mut()
                .find(|other| self::name(other) == name)
            {
                Some(other) => *other = variable.clone(),
                None => self.0.push(variable.clone()),
            }
        }
    }

    /// Sets one of the few that the server itself sets.
    fn put(&mut self, variable: CString) {
        let name = name(&variable);
        match self.0.iter_mut().find(|other| self::name(other) == name) {
            Some(other) => *other = variable,
            None => self.0.push(variable),
        }
    }
}

fn name(variable: &CString) -> &[u8] {
    let bytes = variable.to_bytes();
    bytes.split(|&byte| byte == b'=').next().unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(environment: &[&str], clear_environment: bool) -> CommandSpec {
        CommandSpec {
            environment: environment
                .iter()
                .map(|variable| CString::new(*variable).unwrap())
                .collect(),
            clear_environment,
            ..CommandSpec::new(vec![c"true".into()])
        }
    }

    fn passed() -> Environment {
        let own = [
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("SECRET", "s"),
            ("EXTRA", "e"),
        ];
        let own = own
            .into_iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Environment::passed(own, &["EXTRA".into()])
    }

    fn list(environment: &Environment) -> Vec<&str> {
        environment
            .0
            .iter()
            .map(|variable| variable.to_str().unwrap())
            .collect()
    }

    #[test]
    fn only_named_variables_are_passed_on() {
        assert_eq!(list(&passed()), ["PATH=/bin", "LC_ALL=C", "EXTRA=e"]);
    }

    #[test]
    fn the_callers_variables_win_and_none_stands_twice() {
        let environment = passed().of(&spec(&["PATH=/a=b", "NEW="], false), None);
        assert_eq!(
            list(&environment),
            ["PATH=/a=b", "LC_ALL=C", "EXTRA=e", "NEW="]
        );
        assert_eq!(environment.get("PATH"), Some(b"/a=b".as_slice()));
        assert_eq!(environment.get("PAT"), None);
    }

    #[test]
    fn clearing_leaves_only_the_callers() {
        assert_eq!(list(&passed().of(&spec(&["A=1"], true), None)), ["A=1"]);
    }

    #[test]
    fn what_is_passed_on_of_the_call_is_like_what_is_of_the_servers_environment() {
        let of = |environment, clear| {
            let spec = CommandSpec {
                passed: vec![c"TRACEPARENT=call".into(), c"EXTRA=call".into()],
                ..spec(environment, clear)
            };
            passed().of(&spec, None)
        };
        assert_eq!(
            list(&of(&["EXTRA=caller"], false)),
            ["PATH=/bin", "LC_ALL=C", "EXTRA=caller", "TRACEPARENT=call"]
        );
        assert_eq!(list(&of(&[], true)), [""; 0]);
    }

    #[test]
    fn pitfall_52_many_variables_take_no_time() {
        let many: Vec<_> = (0..65_000).map(|number| format!("V{number}=1")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let begin = std::time::Instant::now();
        let environment = passed().of(&spec(&many, false), None);
        assert_eq!(environment.0.len(), 3 + many.len());
        // It was 30 s; 50 ms are usual.
        assert!(begin.elapsed() < std::time::Duration::from_secs(5));
    }

    #[test]
    fn a_user_gets_a_login_environment() {
        let user = User::find("root").unwrap();
        let environment = passed().of(&spec(&[], false), Some(&user));
        assert_eq!(environment.get("PATH"), Some(ROOT_LOGIN_PATH.as_bytes()));
        assert_eq!(environment.get("LOGNAME"), Some(b"root".as_slice()));
        assert_eq!(environment.get("LC_ALL"), Some(b"C".as_slice()));
    }
}
