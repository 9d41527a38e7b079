//! Where spans go, out of a flag, the configuration's file or OpenTelemetry's own variables.

use std::env;

use http::Uri;
use remex_daemon::{ConfigError, File, Origin, Text, text};
use toml::Spanned;

use super::checked;
use crate::traces::{ENDPOINT_VARIABLES, TraceSettings, handed_over};

/// The settings; `pass_env` is what of variables commands get.
pub(super) fn settings(
    flag: Option<&String>,
    key: Option<Spanned<String>>,
    pass_env: &[String],
    file: Option<&File>,
) -> Result<TraceSettings, ConfigError> {
    let named = text("--otlp-endpoint", flag, key, file);
    let endpoint = checked(named.or_else(of_environment), endpoint)?;
    let (handed_over, _) = handed_over(pass_env);
    Ok(TraceSettings {
        endpoint,
        handed_over,
    })
}

/// What the environment says, unless it says that there are to be no traces.
fn of_environment<'a>() -> Option<Text<'a>> {
    let is =
        |variable, value: &str| env::var(variable).is_ok_and(|set| set.eq_ignore_ascii_case(value));
    if !cfg!(feature = "otlp")
        || is("OTEL_SDK_DISABLED", "true")
        || is("OTEL_TRACES_EXPORTER", "none")
    {
        return None;
    }
    let mut set = ENDPOINT_VARIABLES.into_iter().filter_map(|variable| {
        let text = env::var(variable).ok().filter(|text| !text.is_empty())?;
        Some((text, Origin::Flag(variable)))
    });
    set.next()
}

/// A collector's address, as OpenTelemetry writes it.
fn endpoint(text: &str) -> Result<String, &'static str> {
    const WHY: &str = "is no http://HOST:PORT or https://HOST:PORT; spans go over gRPC, whose port is mostly 4317";
    if !cfg!(feature = "otlp") {
        return Err("this remexd was built without the feature otlp");
    }
    let uri: Uri = text.parse().map_err(|_| WHY)?;
    let is_one = matches!(uri.scheme_str(), Some("http" | "https"))
        && matches!(uri.path(), "" | "/")
        && uri.query().is_none()
        && uri
            .authority()
            .is_some_and(|host| !host.as_str().contains('@'));
    if is_one {
        Ok(text.to_owned())
    } else {
        Err(WHY)
    }
}

#[cfg(all(test, feature = "otlp"))]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_a_host_and_a_port() {
        for good in [
            "http://127.0.0.1:4317",
            "https://otlp.example:4317/",
            "http://[::1]:4317",
        ] {
            assert_eq!(endpoint(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "127.0.0.1:4317",
            "grpc://127.0.0.1:4317",
            "http://",
            "http://127.0.0.1:4318/v1/traces",
            "http://user:secret@127.0.0.1:4317",
            "unix:/run/otlp",
        ] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}
