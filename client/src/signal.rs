//! Signals by name and number, as Linux has them on x86 and Arm. Pure.

use std::{fmt, num::NonZeroU8, str::FromStr};

use remex::v1;
use thiserror::Error;

/// The first real-time signal that programs may use; the C library keeps 32 and 33 to itself.
const RTMIN: u8 = 34;
const RTMAX: u8 = 64;

/// A signal: 1 to 64.
///
/// ```
/// use remex_client::Signal;
///
/// assert_eq!("TERM".parse(), Ok(Signal::TERM));
/// assert_eq!("SIGTERM".parse(), Ok(Signal::TERM));
/// assert_eq!("15".parse(), Ok(Signal::TERM));
/// assert_eq!(Signal::new(37).unwrap().to_string(), "SIGRTMIN+3");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(NonZeroU8);

impl Signal {
    /// Hang-up.
    pub const HUP: Self = Self::named(1);
    /// Interrupt, as by Ctrl-C.
    pub const INT: Self = Self::named(2);
    /// Quit, as by Ctrl-\.
    pub const QUIT: Self = Self::named(3);
    /// Kill: cannot be caught.
    pub const KILL: Self = Self::named(9);
    /// Write to a pipe that nobody reads.
    pub const PIPE: Self = Self::named(13);
    /// Termination request.
    pub const TERM: Self = Self::named(15);

    const fn named(number: u8) -> Self {
        match NonZeroU8::new(number) {
            Some(number) => Self(number),
            None => panic!("0 is no signal"),
        }
    }

    /// The signal with this number; `None` outside 1 to 64.
    pub fn new(number: i32) -> Option<Self> {
        let number = u8::try_from(number).ok().filter(|&n| n <= RTMAX)?;
        NonZeroU8::new(number).map(Self)
    }

    /// Its number, 1 to 64.
    pub const fn number(self) -> u8 {
        self.0.get()
    }
}

/// `SIGTERM`, `SIGRTMIN+3`.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number();
        match v1::Signal::try_from(i32::from(number)) {
            Ok(named) => write!(f, "SIG{}", name(named)),
            Err(_) if number == RTMIN => f.write_str("SIGRTMIN"),
            Err(_) if number > RTMIN => write!(f, "SIGRTMIN+{}", number - RTMIN),
            Err(_) => write!(f, "SIG{number}"),
        }
    }
}

fn name(signal: v1::Signal) -> &'static str {
    let name = signal.as_str_name();
    name.strip_prefix("SIGNAL_").unwrap_or(name)
}

/// The text names no signal.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no signal: write for example TERM, SIGTERM or 15")]
pub struct UnknownSignal(String);

impl FromStr for Signal {
    type Err = UnknownSignal;

    fn from_str(text: &str) -> Result<Self, UnknownSignal> {
        let unknown = || UnknownSignal(text.to_owned());
        if let Ok(number) = text.parse() {
            return Self::new(number).ok_or_else(unknown);
        }
        let upper = text.to_ascii_uppercase();
        let short = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(named) = v1::Signal::from_str_name(&format!("SIGNAL_{short}")) {
            return Self::new(named.into()).ok_or_else(unknown);
        }
        real_time(short).and_then(Self::new).ok_or_else(unknown)
    }
}

/// `RTMIN`, `RTMIN+3`, `RTMAX`, `RTMAX-3`.
fn real_time(short: &str) -> Option<i32> {
    let (base, rest, sign) = match short.split_at_checked(5)? {
        ("RTMIN", rest) => (RTMIN, rest, '+'),
        ("RTMAX", rest) => (RTMAX, rest, '-'),
        _ => return None,
    };
    let base = i32::from(base);
    if rest.is_empty() {
        return Some(base);
    }
    let digits = rest.strip_prefix(sign)?;
    let distance = i32::from(digits.parse::<u8>().ok()?);
    let number = if sign == '+' {
        base + distance
    } else {
        base - distance
    };
    (number >= i32::from(RTMIN)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_survives_its_name_and_its_number() {
        for number in 1..=64 {
            let signal = Signal::new(number).unwrap();
            assert_eq!(number.to_string().parse(), Ok(signal));
            if !(32..34).contains(&number) {
                assert_eq!(signal.to_string().parse(), Ok(signal), "{signal}");
            }
        }
        assert_eq!(Signal::new(64).unwrap().to_string(), "SIGRTMIN+30");
        assert_eq!("sigrtmax-1".parse(), Ok(Signal::new(63).unwrap()));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "0",
            "65",
            "-1",
            "SIG",
            "UNSPECIFIED",
            "RTMIN-1",
            "RTMIN+31",
            "RTMAX-31",
            "SIGSIGTERM",
        ] {
            let parsed = text.parse::<Signal>();
            assert_eq!(parsed, Err(UnknownSignal(text.to_owned())), "{text}");
        }
    }
}
