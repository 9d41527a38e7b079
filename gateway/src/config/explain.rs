//! A listener in one sentence, for `--check` and the log. Pure.

use std::{borrow::Cow, fmt};

use remex_client::wire::{Ack, Endian, Filename, SIZE_KEYS, Wire};
use remex_daemon::net::{Address, Users, authority};

use super::{DatagramService, Drain, Exec, Framing, Kind, ListenerConfig, StreamService};

impl ListenerConfig {
    /// What it does, and for whom; `users` are those of this machine that may connect.
    pub fn explain(&self, users: &Users) -> String {
        let what: Cow<'_, str> = match &self.kind {
            Kind::Stream { service, .. } => match service {
                StreamService::Exec {
                    wire,
                    exec,
                    framing,
                } => format!("runs commands{framing}, replies as {}, {exec}", layout(wire)).into(),
                StreamService::Echo { .. } => "sends back what it gets, upper-cased".into(),
            },
            Kind::Datagram { service, .. } => match service {
                DatagramService::Exec { max_datagram, exec } => format!(
                    "runs the command of each datagram, replies with one of up to {max_datagram} bytes, {exec}"
                )
                .into(),
                DatagramService::Echo => "sends back each datagram, upper-cased".into(),
                DatagramService::Time { charset, format } => {
                    let format = match format {
                        Some(format) => format!("as {format}"),
                        None => "in the format of each datagram".to_owned(),
                    };
                    format!("tells the time {format}, {}", charset.name()).into()
                }
            },
        };
        format!("{}: {what}; for {}.", self.url(), self.who(users))
    }

    /// Its address as a URL, without the keys.
    pub fn url(&self) -> String {
        match &self.kind {
            Kind::Stream { address, .. } => match address {
                Address::Tcp(address) => format!("tcp://{}", authority(*address)),
                Address::Unix(address) => format!("unix://{}", address.path.display()),
            },
            Kind::Datagram { address, .. } => format!("udp://{}", authority(*address)),
        }
    }

    fn who(&self, users: &Users) -> String {
        if let Kind::Stream { address, .. } = &self.kind
            && (self.is_loopback() || self.allow.is_empty())
        {
            return address.explain(users);
        }
        let users = users.explain();
        if self.is_loopback() {
            return users;
        }
        let forged = matches!(
            &self.kind,
            Kind::Datagram {
                service: DatagramService::Exec { .. } | DatagramService::Time { .. },
                ..
            }
        );
        if self.allow.is_empty() && forged {
            return format!("{users}, and no other machine, since allow= names none");
        }
        if self.allow.is_empty() {
            return format!("{users}, and every other machine that reaches it");
        }
        let networks: Vec<_> = self.allow.iter().map(ToString::to_string).collect();
        format!("{users}, and other machines of {}", networks.join(", "))
    }
}

fn layout(wire: &Wire) -> Cow<'static, str> {
    let order = |endian: &Endian| match endian {
        Endian::Little => "",
        Endian::Big => " (big-endian)",
    };
    match wire {
        Wire::JsonHeader {
            size_key,
            endian,
            filename,
        } => {
            let named = match filename {
                Filename::Fixed => "",
                Filename::LastWord => " and the command's last word as filename",
            };
            let size_key = size_key.as_deref().unwrap_or(SIZE_KEYS[0]);
            let order = order(endian);
            format!("json-header{order} with the size in {size_key}{named}").into()
        }
        Wire::Length { endian } => format!("length{}", order(endian)).into(),
        Wire::AsciiLength { ack: Ack::Wait } => "ascii-length with an acknowledgement".into(),
        Wire::AsciiLength { ack: Ack::Pause } => "ascii-length with a pause".into(),
        Wire::Raw { reply_end: None } => "raw output".into(),
        Wire::Raw {
            reply_end: Some(end),
        } => format!("raw output with {end:#04x} behind it").into(),
    }
}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(end) = self.request_end {
            write!(f, " that end with {end:#04x}")?;
        }
        if !self.gather.is_zero() {
            write!(f, " gathered for {:?}", self.gather)?;
        }
        Ok(())
    }
}

impl fmt::Display for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.charset.name())?;
        match self.timeout {
            None => f.write_str(", no timeout")?,
            Some(timeout) => write!(f, ", timeout {timeout:?}")?,
        }
        if self.drain == Drain::Eof {
            f.write_str(", output awaited to its end")?;
        }
        if let Some(shell) = &self.shell {
            write!(f, ", shell {shell}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sentence_a_listener() {
        for (url, sentence) in [
            (
                "tcp://127.0.0.1:8080/exec",
                "tcp://127.0.0.1:8080: runs commands, replies as json-header with the size in total_size, UTF-8, no timeout; for WHO.",
            ),
            (
                "udp://0.0.0.0:9/exec?charset=gbk&max_datagram=1024&shell=/bin/bash&allow=192.0.2.0/24&users=joe",
                "udp://0.0.0.0:9: runs the command of each datagram, replies with one of up to 1024 bytes, GBK, timeout 30s, shell /bin/bash; for WHO, and other machines of 192.0.2.0/24.",
            ),
            (
                "unix:/run/x.sock?service=exec&wire=length&endian=big&timeout=5s&drain=eof&users=*",
                "unix:///run/x.sock: runs commands, replies as length (big-endian), UTF-8, timeout 5s, output awaited to its end; for WHO, as far as its mode 0600 lets them.",
            ),
            (
                "tcp://127.0.0.1:9/exec?wire=raw&request_end=0x00&reply_end=0x04&gather=20ms",
                "tcp://127.0.0.1:9: runs commands that end with 0x00 gathered for 20ms, replies as raw output with 0x04 behind it, UTF-8, no timeout; for WHO.",
            ),
            (
                "tcp://127.0.0.1:9/exec?filename=last-word",
                "tcp://127.0.0.1:9: runs commands, replies as json-header with the size in total_size and the command's last word as filename, UTF-8, no timeout; for WHO.",
            ),
            (
                "udp://127.0.0.1:13/time?format=%25H:%25M:%25S",
                "udp://127.0.0.1:13: tells the time as %H:%M:%S, UTF-8; for WHO.",
            ),
            (
                "udp://[::]:13/time",
                "udp://[::]:13: tells the time in the format of each datagram, UTF-8; for WHO, and no other machine, since allow= names none.",
            ),
            (
                "unix:/run/x.sock?service=echo&mode=0666",
                "unix:///run/x.sock: sends back what it gets, upper-cased; for WHO.",
            ),
            (
                "tcp://[::ffff:0.0.0.0]:13/echo",
                "tcp://0.0.0.0:13: sends back what it gets, upper-cased; for WHO, and every other machine that reaches it.",
            ),
            (
                "tcp://[::]:13/echo?allow=fe80::%25lo/64,2001:db8::1",
                "tcp://[::]:13: sends back what it gets, upper-cased; for WHO, and other machines of fe80::%1/64, 2001:db8::1/128.",
            ),
            (
                "udp://[::]:13/echo",
                "udp://[::]:13: sends back each datagram, upper-cased; for WHO, and every other machine that reaches it.",
            ),
        ] {
            let listener: ListenerConfig = url.parse().unwrap();
            let users = Users::parse("4321").unwrap();
            let sentence = sentence.replace("WHO", &users.explain());
            assert_eq!(listener.explain(&users), sentence);
        }
    }
}
