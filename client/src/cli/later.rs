//! What a later version brings. It is refused by its name, so that nobody takes it for a typing error, or for done.

/// Options of TLS and tokens.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Credentials {
    #[arg(long, hide = true, value_name = "FILE")]
    ca: Option<String>,
    #[arg(long, hide = true, value_name = "FILE")]
    cert: Option<String>,
    #[arg(long, hide = true, value_name = "FILE")]
    key: Option<String>,
    #[arg(long, hide = true, value_name = "FILE")]
    token_file: Option<String>,
}

impl Credentials {
    /// None was typed.
    pub(crate) fn check(&self) -> Result<(), String> {
        refuse([
            ("--ca", self.ca.is_some()),
            ("--cert", self.cert.is_some()),
            ("--key", self.key.is_some()),
            ("--token-file", self.token_file.is_some()),
        ])
    }
}

/// Names the first that was `typed`.
fn refuse<const N: usize>(options: [(&str, bool); N]) -> Result<(), String> {
    match options.into_iter().find(|(_, typed)| *typed) {
        Some((option, _)) => Err(format!("{option} is not yet in this version; leave it out")),
        None => Ok(()),
    }
}
