//! A word as it could be typed into a shell. Pure.

/// `word`, in quotes if it needs them.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_shell_would_change_is_quoted() {
        for (word, quoted) in [
            ("a-b_c.d/e", "a-b_c.d/e"),
            ("", "''"),
            ("ls -l", "'ls -l'"),
            ("it's", r"'it'\''s'"),
            ("$x", "'$x'"),
        ] {
            assert_eq!(quote(word), quoted);
        }
    }
}
