//! Which rules allow everything, whatever their author meant: those of programs that run what they are told. Pure.

use super::{
    pattern::Pattern,
    rule::{AccessPolicy, Effect, Named, ProgramPattern, Rule, base_name},
};

/// Programs that run commands, or write files, that their arguments, their input or their keys tell them: shells,
/// interpreters, wrappers, editors, pagers and other tools with a way out.
const COMMANDING: &[&str] = &[
    "ash",
    "at",
    "awk",
    "bash",
    "batch",
    "bun",
    "busybox",
    "bzip2",
    "capsh",
    "chroot",
    "chrt",
    "csh",
    "dash",
    "deno",
    "docker",
    "ed",
    "elvish",
    "emacs",
    "env",
    "ex",
    "expect",
    "fakeroot",
    "find",
    "fish",
    "flock",
    "gawk",
    "gcc",
    "gdb",
    "git",
    "guile",
    "ionice",
    "irb",
    "java",
    "jshell",
    "julia",
    "ksh",
    "ld.so",
    "less",
    "ltrace",
    "lua",
    "luajit",
    "make",
    "man",
    "mawk",
    "mksh",
    "more",
    "mysql",
    "nano",
    "nawk",
    "nice",
    "node",
    "nohup",
    "nsenter",
    "nvim",
    "parallel",
    "perl",
    "php",
    "pip",
    "pkexec",
    "podman",
    "psql",
    "pwsh",
    "python",
    "rake",
    "rsync",
    "ruby",
    "run-parts",
    "runuser",
    "rvim",
    "sash",
    "scp",
    "screen",
    "script",
    "sed",
    "setarch",
    "setpriv",
    "setsid",
    "sftp",
    "sh",
    "socat",
    "sqlite",
    "ssh",
    "start-stop-daemon",
    "stdbuf",
    "strace",
    "su",
    "sudo",
    "systemctl",
    "systemd-run",
    "tar",
    "taskset",
    "tcl",
    "tclsh",
    "tcsh",
    "telnet",
    "time",
    "timeout",
    "tmux",
    "toybox",
    "unshare",
    "vi",
    "view",
    "vim",
    "vimdiff",
    "watch",
    "wish",
    "xargs",
    "yash",
    "zsh",
];

/// Variables by which whoever sets them has code run in programs that mean no such thing.
const COMMANDING_VARIABLES: &[&str] = &[
    "BASH_ENV",
    "BASH_FUNC_x%%",
    "CDPATH",
    "DYLD_INSERT_LIBRARIES",
    "EDITOR",
    "ENV",
    "GCONV_PATH",
    "GIT_SSH_COMMAND",
    "GLIBC_TUNABLES",
    "HOME",
    "IFS",
    "JAVA_TOOL_OPTIONS",
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "LESSOPEN",
    "LOCPATH",
    "MANPAGER",
    "NLSPATH",
    "NODE_OPTIONS",
    "PAGER",
    "PATH",
    "PERL5LIB",
    "PERL5OPT",
    "PROMPT_COMMAND",
    "PS4",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "RUBYLIB",
    "RUBYOPT",
    "SHELLOPTS",
    "TERMINFO",
    "TZ",
    "VISUAL",
    "XDG_CONFIG_HOME",
];

/// Why a rule allows everything that the user may do whom its commands run as; `None`: nothing here says so.
pub fn breadth(rule: &Rule) -> Option<String> {
    if rule.effect == Effect::Deny {
        return None;
    }
    if rule.what.shell == Some(true) {
        return Some("it allows text for the shell".to_owned());
    }
    let programs = match rule.what.programs.as_ref()? {
        Named::Any => return Some("it allows any program".to_owned()),
        Named::These(programs) => programs,
    };
    let variable = match &rule.what.environment {
        Some(Named::Any) => Some("any variable"),
        Some(Named::These(names)) => names.iter().find_map(commanding_variable),
        None => None,
    };
    if let (Some(name), false) = (variable, programs.is_empty()) {
        return Some(format!("it allows {name} in the environment"));
    }
    let is_open = match &rule.what.arguments {
        None => false,
        Some(Named::Any) => true,
        Some(Named::These(patterns)) => !patterns.iter().all(Pattern::is_exact),
    };
    // A shell or an editor without arguments reads commands from its input.
    let program = programs.iter().find_map(commanding_program)?;
    let written_out = matches!(&rule.what.arguments, Some(Named::These(all)) if !all.is_empty());
    (is_open || !written_out).then(|| format!("{program} runs what it is told"))
}

/// The rules that do, with why.
pub fn broad(policy: &AccessPolicy) -> impl Iterator<Item = (&Rule, String)> {
    let rules = policy.rules.iter();
    rules.filter_map(|rule| Some((rule, breadth(rule)?)))
}

/// The first variable that `pattern` matches and that has anything run.
pub(super) fn commanding_variable(pattern: &Pattern) -> Option<&'static str> {
    let mut names = COMMANDING_VARIABLES.iter();
    names.find(|name| pattern.matches(name.as_bytes())).copied()
}

/// The program, or what links from it lead to, if that is one that runs what it is told.
fn commanding_program(program: &ProgramPattern) -> Option<String> {
    let named = program.path.as_str().as_bytes();
    let paths = [Some(named), program.real.as_deref()];
    paths.into_iter().flatten().find_map(|path| {
        let name = String::from_utf8_lossy(base_name(path)).into_owned();
        let versionless =
            name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
        let is_commanding = |name: &str| COMMANDING.contains(&name);
        let pattern = Pattern::parse(&name)
            .ok()
            .filter(|pattern| !pattern.is_exact());
        let is_one_of = pattern.is_some_and(|pattern| {
            COMMANDING
                .iter()
                .any(|name| pattern.matches(name.as_bytes()))
        });
        (is_commanding(&name) || is_commanding(versionless) || is_one_of)
            .then(|| String::from_utf8_lossy(path).into_owned())
    })
}
