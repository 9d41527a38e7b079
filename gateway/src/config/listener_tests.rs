//! URLs of listeners, good and bad.

use std::time::Duration;

use remex_client::wire::{Ack, Endian, Filename, Wire};
use remex_daemon::net::{Address, AddressError};

use super::*;
use crate::wire::Charset;

fn parse(url: &str) -> ListenerConfig {
    url.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn problem(url: &str) -> Problem {
    url.parse::<ListenerConfig>().unwrap_err().problem
}

fn stream(url: &str) -> (Wire, Exec) {
    match parse(url).kind {
        Kind::Stream {
            service: StreamService::Exec { wire, exec, .. },
            ..
        } => (wire, exec),
        kind => panic!("{kind:?}"),
    }
}

#[test]
fn the_contracts_examples() {
    let (wire, exec) =
        stream("tcp://127.0.0.1:8080/exec?wire=json-header&charset=gbk&size_key=data_size");
    let expected = Wire::JsonHeader {
        size_key: Some("data_size".to_owned()),
        endian: Endian::Little,
        filename: Filename::Fixed,
    };
    assert_eq!(
        (wire, exec.charset),
        (expected, Charset::for_label("gbk").unwrap())
    );
    let echo = parse("udp://127.0.0.1:8081/echo");
    assert_eq!(echo.name(), "udp-echo");
    let unix = parse("unix:///run/remex/legacy.sock?service=exec");
    assert_eq!(unix.name(), "unix-exec");
    assert_eq!(unix.url(), "unix:///run/remex/legacy.sock");
    assert!(unix.is_loopback());
}

#[test]
fn defaults_are_the_tutorials() {
    let (wire, exec) = stream("tcp://127.0.0.1:8080/exec");
    assert_eq!(
        wire,
        Wire::JsonHeader {
            size_key: None,
            endian: Endian::Little,
            filename: Filename::Fixed,
        }
    );
    assert_eq!(
        exec,
        Exec {
            charset: Charset::UTF_8,
            timeout: None,
            drain: Drain::Exit,
            shell: None
        }
    );
    let udp = parse("udp://127.0.0.1:8080/exec");
    assert_eq!(
        udp.exec().and_then(|exec| exec.timeout),
        Some(Duration::from_secs(30))
    );
    assert!(matches!(
        udp.kind,
        Kind::Datagram {
            service: DatagramService::Exec {
                max_datagram: 65_507,
                ..
            },
            ..
        }
    ));
}

#[test]
fn every_wire_has_its_keys() {
    let (wire, _) = stream("tcp://[::1]:0/exec?wire=length&endian=big");
    assert_eq!(
        wire,
        Wire::Length {
            endian: Endian::Big
        }
    );
    let (wire, _) = stream("tcp://[::1]:0/exec?wire=ascii-length");
    assert_eq!(wire, Wire::AsciiLength { ack: Ack::Wait });
    let (wire, _) = stream("tcp://[::1]:0/exec?ack=pause&wire=ascii-length");
    assert_eq!(wire, Wire::AsciiLength { ack: Ack::Pause });
    let (wire, exec) =
        stream("tcp://[::1]:0/exec?wire=raw&timeout=1m&drain=eof&shell=/opt/my%20sh");
    assert_eq!(wire, Wire::Raw { reply_end: None });
    assert_eq!(exec.timeout, Some(Duration::from_mins(1)));
    assert_eq!(exec.drain, Drain::Eof);
    assert_eq!(exec.shell.as_deref(), Some("/opt/my sh"));
}

#[test]
fn who_may_is_part_of_it() {
    let listener = parse("tcp://0.0.0.0:1/echo?users=joe,1001&allow=192.0.2.0/24,10.0.0.1");
    assert_eq!(listener.users.as_deref(), Some("joe,1001"));
    assert_eq!(listener.allow.len(), 2);
    assert!(!listener.is_loopback());
    match parse("unix:/p?service=echo&mode=0660&group=adm").kind {
        Kind::Stream {
            address: Address::Unix(address),
            ..
        } => {
            assert_eq!(address.mode, 0o660);
            assert_eq!(address.group.as_deref(), Some("adm"));
        }
        kind => panic!("{kind:?}"),
    }
}

#[test]
fn what_is_wrong_is_named() {
    let text = str::to_owned;
    let misplaced = |key: &str, what: &str| Problem::MisplacedKey {
        key: key.to_owned(),
        what: what.to_owned(),
    };
    for (url, expected) in [
        ("", Problem::Scheme),
        ("127.0.0.1:8080", Problem::Scheme),
        ("http://127.0.0.1:8080/exec", Problem::Scheme),
        ("tcp:127.0.0.1:8080/exec", Problem::Scheme),
        ("tcp://127.0.0.1:8080", Problem::NoService),
        ("tcp://127.0.0.1:8080/", Problem::NoService),
        ("unix:/p", Problem::NoUnixService),
        (
            "tcp://127.0.0.1:1/run",
            Problem::UnknownService(text("run")),
        ),
        (
            "udp://127.0.0.1:1/x/exec",
            Problem::UnknownService(text("x/exec")),
        ),
        ("tcp://127.0.0.1:1/time", Problem::TimeOverStream),
        ("tcp://127.0.0.1:1/exec#x", Problem::Fragment),
        (
            "tcp://127.0.0.1:1/exec?wier=raw",
            Problem::UnknownKey(text("wier")),
        ),
        (
            "tcp://127.0.0.1:1/exec?wire=raw&wire=raw",
            Problem::RepeatedKey(text("wire")),
        ),
        (
            "tcp://127.0.0.1:1/exec?service=exec",
            misplaced("service", "tcp-exec"),
        ),
        (
            "tcp://127.0.0.1:1/exec?mode=0600",
            misplaced("mode", "tcp-exec"),
        ),
        (
            "tcp://127.0.0.1:1/exec?max_datagram=1024",
            misplaced("max_datagram", "tcp-exec"),
        ),
        (
            "tcp://127.0.0.1:1/exec?ack=wait",
            misplaced("ack", "tcp-exec"),
        ),
        (
            "tcp://127.0.0.1:1/exec?wire=raw&size_key=x",
            misplaced("size_key", "tcp-exec"),
        ),
        (
            "tcp://127.0.0.1:1/echo?wire=raw",
            misplaced("wire", "tcp-echo"),
        ),
        (
            "udp://127.0.0.1:1/exec?wire=raw",
            misplaced("wire", "udp-exec"),
        ),
        (
            "tcp://127.0.0.1:1/exec?wire=length&reply_end=0x04",
            misplaced("reply_end", "tcp-exec"),
        ),
        (
            "udp://127.0.0.1:1/exec?request_end=0x00",
            misplaced("request_end", "udp-exec"),
        ),
        (
            "tcp://127.0.0.1:1/exec?wire=raw&filename=last-word",
            misplaced("filename", "tcp-exec"),
        ),
        (
            "udp://127.0.0.1:1/exec?format=%25H",
            misplaced("format", "udp-exec"),
        ),
        (
            "udp://127.0.0.1:1/time?gather=1s",
            misplaced("gather", "udp-time"),
        ),
        (
            "udp://127.0.0.1:1/echo?charset=gbk",
            misplaced("charset", "udp-echo"),
        ),
        (
            "unix:/p?service=exec&allow=10.0.0.1",
            misplaced("allow", "a Unix socket"),
        ),
        (
            "tcp://example.org:1/exec",
            Problem::Address(AddressError::Host(text("example.org"))),
        ),
        (
            "unix:/p?service=exec&mode=9",
            Problem::Address(AddressError::Mode(text("9"))),
        ),
    ] {
        assert_eq!(problem(url), expected, "{url}");
    }
}

#[test]
fn what_can_never_apply_is_refused() {
    for (url, why) in [
        (
            "tcp://127.0.0.1:1/exec?allow=10.0.0.0/8",
            "none reaches tcp://127.0.0.1:1",
        ),
        (
            "udp://[::1]:1/time?allow=2001:db8::/32",
            "none reaches udp://[::1]:1",
        ),
        (
            "tcp://0.0.0.0:1/echo?allow=2001:db8::/32",
            "one speaks IPv4",
        ),
        ("tcp://[::]:1/echo?allow=192.0.2.0/24", "one speaks IPv4"),
        (
            "tcp://0.0.0.0:1/echo?allow=192.0.2.0/24,127.0.0.1",
            "by users=",
        ),
        (
            "tcp://[::]:1/echo?allow=::ffff:192.0.2.1",
            "one speaks IPv4",
        ),
        (
            "tcp://0.0.0.0:1/echo?allow=::ffff:127.0.0.0/104",
            "allow=127.0.0.0/8: local processes",
        ),
        (
            "tcp://[::]:1/echo?allow=ff02::1",
            "no machine's own address",
        ),
        (
            "tcp://0.0.0.0:1/echo?allow=fe80::%25lo/64",
            "allow=fe80::%1/64: no machine",
        ),
        (
            "tcp://[::ffff:127.0.0.1]:1/echo?allow=192.0.2.1",
            "none reaches tcp://127.0.0.1:1",
        ),
        ("tcp://[::]:1/echo?allow=fe80::%25none/64", "allow is addr"),
    ] {
        let error = url.parse::<ListenerConfig>().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    for url in [
        "tcp://0.0.0.0:1/echo?allow=0.0.0.0/0",
        "udp://[::]:1/echo?allow=::/0",
        "tcp://0.0.0.0:1/echo?allow=::ffff:192.0.2.0/120",
        "tcp://[::ffff:0.0.0.0]:1/echo?allow=192.0.2.0/24",
        "tcp://[::]:1/echo?allow=fe80::%25lo/64,fe80::%lo,FE80::9%251",
    ] {
        assert!(url.parse::<ListenerConfig>().is_ok(), "{url}");
    }
}

#[test]
fn addresses_have_every_form_of_ipv6() {
    for (url, address) in [
        ("tcp://[::FFFF:127.0.0.1]:1/echo", "tcp://127.0.0.1:1"),
        ("udp://[0:0::1]:1/echo", "udp://[::1]:1"),
        ("tcp://[fe80::1%25lo]:1/echo", "tcp://[fe80::1%251]:1"),
        ("udp://[FE80::1%lo]:1/echo", "udp://[fe80::1%251]:1"),
        (
            "tcp://[fe80::1%251]:1/echo?gather=1",
            "tcp://[fe80::1%251]:1",
        ),
    ] {
        let listener: ListenerConfig = url.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(listener.url(), address, "{url}");
    }
    let error = "tcp://[fe80::1%25none]:1/echo"
        .parse::<ListenerConfig>()
        .unwrap_err();
    assert!(
        error.to_string().contains("`none` is no network interface"),
        "{error}"
    );
}

#[test]
fn wrong_values_say_what_would_be_right() {
    for (pair, message) in [
        (
            "wire=xml",
            "wire=xml: wire is json-header or length or ascii-length or raw",
        ),
        (
            "charset=klingon",
            "charset=klingon: charset is a charset's WHATWG label",
        ),
        (
            "timeout=soon",
            "timeout=soon: timeout is a time such as 30s",
        ),
        ("size_key=md5", "size_key=md5: size_key is 1 to 64 letters"),
        ("drain=no", "drain=no: drain is exit or eof"),
        ("allow=lan", "allow=lan: allow is addresses or networks"),
        ("shell=", "shell=: shell is a program"),
        (
            "shell=a%00b",
            "shell=a%00b: shell is UTF-8 text without control characters",
        ),
        ("shell=a%ff", "shell=a%ff: shell is UTF-8 text"),
        ("users=", "users=: users is names, numbers or *"),
    ] {
        let url = format!("tcp://127.0.0.1:1/exec?{pair}");
        let error = url.parse::<ListenerConfig>().unwrap_err().to_string();
        let expected = format!("legacy listener {url}: {message}");
        assert!(error.starts_with(&expected), "{error}");
    }
}
