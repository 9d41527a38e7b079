//! What of a command the audit log does not say: secrets, as far as a rule can know them. Pure. An environment is told by its
//! names alone; of arguments and texts for the shell, what is behind a name that stands for a secret is left out.

use std::borrow::Cow;

/// What stands in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// The longest word that is looked at, in bytes: what is behind is not told either.
const WORD_BYTES: usize = 16 * 1024;

/// A name that has one of these in it, in whatever case, with `-` or `_` or neither, is that of a secret.
const SECRETS: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
    "authorization",
    "cookie",
];

/// A name that is one of these is, too. Others have them in words that are none: `--author`, `--compass`.
const SHORT_SECRETS: [&str; 4] = ["pass", "pwd", "pw", "auth"];

/// How an authorization begins, before its secret.
const SCHEMES: [&str; 4] = ["bearer", "basic", "digest", "negotiate"];

/// How secrets begin that are known by that.
const BEGINNINGS: [&str; 9] = [
    "-----BEGIN ",
    "eyJ",
    "ghp_",
    "gho_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "AKIA",
];

/// Programs whose `-p`, or `-P`, is a password, perhaps in the same word.
const PASSWORD_BY_P: [&str; 9] = [
    "mysql",
    "mysqldump",
    "mysqladmin",
    "mariadb",
    "mariadb-dump",
    "sshpass",
    "7z",
    "zip",
    "unzip",
];

/// Options whose value is `USER:PASSWORD`.
const USER_OPTIONS: [&str; 3] = ["-u", "--user", "--proxy-user"];

/// The rules.
#[derive(Debug, Clone, Default)]
pub struct Redaction {
    /// Further parts of names, as [`SECRETS`] has them.
    words: Vec<String>,
}

/// What the word before says of this one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Nothing,
    Secret,
    /// `USER:PASSWORD`
    User,
    /// A text for a shell.
    Script,
}

/// Words, one after the other.
struct Reader<'a> {
    rules: &'a Redaction,
    next: Next,
    /// `-p` is a password.
    by_p: bool,
}

impl Redaction {
    /// The usual rules, and that a name with one of `words` in it is that of a secret.
    pub fn new(words: &[String]) -> Self {
        Self {
            words: words.iter().map(|word| plain(word)).collect(),
        }
    }

    /// Program and arguments, without secrets.
    pub fn arguments<'a>(&self, words: impl IntoIterator<Item = Cow<'a, str>>) -> Vec<String> {
        let mut reader = Reader::new(self);
        let words = words.into_iter();
        words.map(|word| reader.word(cut(&word))).collect()
    }

    /// A text for the shell, without secrets. Its words are told apart as a shell does, roughly: nothing is decided by it.
    pub fn text(&self, text: &str) -> String {
        let mut reader = Reader::new(self);
        let mut told = String::with_capacity(text.len());
        for piece in pieces(text) {
            match piece {
                Piece::Between(between) => told.push_str(between),
                Piece::Word(word) => told.push_str(&reader.word(cut(word))),
            }
        }
        told
    }

    fn is_secret(&self, name: &str) -> bool {
        let name = plain(name);
        let has = |word: &str| name.contains(word);
        SHORT_SECRETS.contains(&name.as_str())
            || SECRETS.iter().any(|word| has(word))
            || self.words.iter().any(|word| has(word))
    }
}

/// A name without case, `-`, `_` and `.`.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(|c| !matches!(c, '-' | '_' | '.'));
    letters.flat_map(char::to_lowercase).collect()
}

fn cut(word: &str) -> &str {
    &word[..word.floor_char_boundary(WORD_BYTES)]
}

impl<'a> Reader<'a> {
    fn new(rules: &'a Redaction) -> Self {
        Self {
            rules,
            next: Next::Nothing,
            by_p: false,
        }
    }

    fn word(&mut self, word: &str) -> String {
        let bare = word.trim_matches(['"', '\'']);
        match std::mem::take(&mut self.next) {
            Next::Secret if SCHEMES.contains(&plain(bare).as_str()) => {
                self.next = Next::Secret;
                return word.to_owned();
            }
            Next::Secret => return REDACTED.to_owned(),
            Next::User => return behind_colon(word),
            Next::Script => return self.rules.text(word),
            Next::Nothing => {}
        }
        if BEGINNINGS.iter().any(|known| bare.starts_with(known)) {
            return REDACTED.to_owned();
        }
        if let Some(told) = self.named(word) {
            return told;
        }
        if self.by_p && (bare.starts_with("-p") || bare.starts_with("-P")) {
            if bare.len() > 2 {
                return format!("{}{REDACTED}", &bare[..2]);
            }
            self.next = Next::Secret;
        }
        if SCHEMES[..2].contains(&plain(bare).as_str()) {
            self.next = Next::Secret;
        }
        self.option(bare);
        let program = bare.rsplit('/').next().unwrap_or(bare);
        self.by_p |= PASSWORD_BY_P.contains(&program);
        if bare.starts_with("-u") && !bare.starts_with("-u=") && bare.contains(':') {
            return behind_colon(word);
        }
        without_password(word)
    }

    /// What an option says of the word behind it.
    fn option(&mut self, word: &str) {
        let Some(name) = word.strip_prefix('-') else {
            return;
        };
        let short = name.bytes().all(|byte| byte.is_ascii_alphabetic());
        if USER_OPTIONS.contains(&word) {
            self.next = Next::User;
        } else if short && name.ends_with('c') && !name.is_empty() {
            self.next = Next::Script;
        } else if self.rules.is_secret(name) {
            self.next = Next::Secret;
        }
    }

    /// A word with `NAME=VALUE` or `NAME: VALUE` in it, of a secret.
    fn named(&mut self, word: &str) -> Option<String> {
        for (at, separator) in word.match_indices(['=', ':']) {
            let before = word[..at].trim_end_matches(['"', '\'', ' ']);
            let is_end = |c: char| !(c.is_alphanumeric() || "-_.".contains(c));
            let name = before.rsplit(is_end).next();
            if !self.rules.is_secret(name.unwrap_or_default()) {
                continue;
            }
            let value = &word[at + separator.len()..];
            // The value is another word.
            if value.trim_matches(['"', '\'', ' ']).is_empty() {
                self.next = Next::Secret;
                return Some(word.to_owned());
            }
            // Other parameters of an address are no part of it.
            let rest = value.split_once('&').filter(|_| word.contains("://"));
            let rest = rest.and_then(|(_, rest)| Some(format!("&{}", self.named_rest(rest)?)));
            let rest = rest.unwrap_or_default();
            let before = without_password(&word[..at]);
            return Some(format!("{before}{separator}{REDACTED}{rest}"));
        }
        None
    }

    fn named_rest(&mut self, rest: &str) -> Option<String> {
        self.named(rest).or_else(|| Some(rest.to_owned()))
    }
}

/// `USER:PASSWORD` without the second.
fn behind_colon(word: &str) -> String {
    match word.split_once(':') {
        Some((user, _)) => format!("{user}:{REDACTED}"),
        None => word.to_owned(),
    }
}

/// A word with an address in it, `https://USER:PASSWORD@HOST`, without the password.
fn without_password(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else {
        return word.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some(at) = rest[..end].rfind('@') else {
        return word.to_owned();
    };
    let (user, host) = (&rest[..at], &rest[at..]);
    match user.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:{REDACTED}{host}"),
        // A token, in place of a name.
        None if scheme.ends_with("http") || scheme.ends_with("https") => {
            format!("{scheme}://{REDACTED}{host}")
        }
        None => word.to_owned(),
    }
}

enum Piece<'a> {
    Word(&'a str),
    Between(&'a str),
}

/// The words of a text and what is between them. What is quoted belongs to its word.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut from, mut quote, mut in_word) = (0, None, false);
    for (at, letter) in text.char_indices() {
        let is_between = quote.is_none() && (letter.is_whitespace() || ";|&()<>`".contains(letter));
        if is_between == in_word && at > from {
            pieces.push(piece(&text[from..at], in_word));
            from = at;
        }
        in_word = !is_between;
        quote = match quote {
            None if letter == '"' || letter == '\'' => Some(letter),
            Some(open) if open == letter => None,
            quote => quote,
        };
    }
    if from < text.len() {
        pieces.push(piece(&text[from..], in_word));
    }
    pieces
}

fn piece(text: &str, is_word: bool) -> Piece<'_> {
    if is_word {
        Piece::Word(text)
    } else {
        Piece::Between(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(words: &[&str]) -> String {
        let words = words.iter().map(|word| Cow::Borrowed(*word));
        Redaction::default().arguments(words).join(" ")
    }

    #[test]
    fn arguments_that_are_secrets_are_left_out() {
        for (words, told) in [
            (
                &["app", "--password", "x9", "-v"][..],
                "app --password [redacted] -v",
            ),
            (
                &["app", "--db-password=x9", "-v"],
                "app --db-password=[redacted] -v",
            ),
            (&["app", "--API_KEY", "x9"], "app --API_KEY [redacted]"),
            (
                &["env", "PGPASSWORD=x 9", "psql"],
                "env PGPASSWORD=[redacted] psql",
            ),
            (&["app", "-auth", "x9"], "app -auth [redacted]"),
            (
                &["curl", "-H", "Authorization: Bearer x9", "h"],
                "curl -H Authorization:[redacted] h",
            ),
            (
                &["curl", "-H", "X-Api-Key: x9"],
                "curl -H X-Api-Key:[redacted]",
            ),
            (&["curl", "-u", "me:x9", "h"], "curl -u me:[redacted] h"),
            (&["curl", "-ume:x9", "h"], "curl -ume:[redacted] h"),
            (
                &["git", "clone", "https://me:x9@h/p?q#f"],
                "git clone https://me:[redacted]@h/p?q#f",
            ),
            (
                &["git", "clone", "https://x9@h/p"],
                "git clone https://[redacted]@h/p",
            ),
            (
                &["curl", "https://h/?a=1&token=x9&b=2"],
                "curl https://h/?a=1&token=[redacted]&b=2",
            ),
            (
                &["curl", "https://h/?token=x9&secret=x9"],
                "curl https://h/?token=[redacted]&secret=[redacted]",
            ),
            (
                &["curl", "-d", "{\"password\":\"x9\"}"],
                "curl -d {\"password\":[redacted]",
            ),
            (
                &["/usr/bin/mysql", "-px9", "-h", "h"],
                "/usr/bin/mysql -p[redacted] -h h",
            ),
            (&["sshpass", "-p", "x9", "ssh"], "sshpass -p [redacted] ssh"),
            (&["app", "eyJhbGciOi.x9.x9"], "app [redacted]"),
            (
                &["app", "-----BEGIN PRIVATE KEY-----\nx9"],
                "app [redacted]",
            ),
            (
                &["sh", "-c", "mysql -px9 && rm -rf /srv"],
                "sh -c mysql -p[redacted] && rm -rf /srv",
            ),
            (
                &["bash", "-lc", "TOKEN=x9; ls"],
                "bash -lc TOKEN=[redacted]; ls",
            ),
        ] {
            assert_eq!(arguments(words), told, "{words:?}");
            assert!(!arguments(words).contains("x9"), "{words:?}");
        }
    }

    #[test]
    fn arguments_that_are_none_are_told() {
        for words in [
            &["ls", "-l", "/etc"][..],
            &["git", "log", "--author=me", "--pretty=oneline"],
            &["ssh", "-p", "2222", "host"],
            &["ssh", "ssh://git@host/x"],
            &["app", "a:b", "c=d", "-c", "x", "--compass", "north"],
            &["rsync", "host:/a", "/b"],
            &[""],
        ] {
            assert_eq!(arguments(words), words.join(" "));
        }
    }

    #[test]
    fn texts_for_the_shell_are_told_but_for_their_secrets() {
        let redaction = Redaction::default();
        for (text, told) in [
            (
                "export TOKEN='x9 x9'; rm -rf /srv",
                "export TOKEN=[redacted]; rm -rf /srv",
            ),
            (
                "curl -H \"Authorization: Bearer x9\" h | tee log",
                "curl -H \"Authorization:[redacted] h | tee log",
            ),
            (
                "curl -H Authorization: Bearer x9; ls",
                "curl -H Authorization: Bearer [redacted]; ls",
            ),
            (
                "app --password \"x9 x9\" && echo done",
                "app --password [redacted] && echo done",
            ),
            ("(mysql -px9)", "(mysql -p[redacted])"),
            ("echo it's", "echo it's"),
            ("", ""),
        ] {
            assert_eq!(redaction.text(text), told, "{text}");
        }
    }

    #[test]
    fn further_words_are_those_of_secrets_too() {
        let redaction = Redaction::new(&["Pin-Code".to_owned()]);
        let words = ["app", "--my_pin_code", "x9", "pincode=x9"];
        let told = redaction.arguments(words.map(Cow::Borrowed));
        assert_eq!(
            told.join(" "),
            "app --my_pin_code [redacted] pincode=[redacted]"
        );
        assert!(Redaction::default().text("app --pincode x9").contains("x9"));
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_typed_ends_well_and_behind_a_secrets_name_nothing_is_told(
            text in ".*",
            words in proptest::collection::vec(".*", 0..6),
            value in "[0-9]{6}[a-z0-9]{6}",
        ) {
            let redaction = Redaction::default();
            let _ = redaction.text(&text);
            let all = words.iter().map(|word| Cow::Borrowed(word.as_str()));
            proptest::prop_assert_eq!(redaction.arguments(all).len(), words.len());
            let told = redaction.arguments(["app", "--password", &value].map(Cow::Borrowed));
            proptest::prop_assert!(!told.concat().contains(&value));
        }
    }
}
