//! The filter of system calls that make sockets. Pure.
//!
//! Landlock knows TCP alone, and a network namespace neither files that are sockets nor machines' own channels (vsock), so
//! every other kind of socket is refused here. So are other ways to one: io_uring makes sockets unseen by a filter, and a pair
//! of datagram sockets sends to addresses.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// From here on are the numbers of x32, which are other names for the same system calls.
const X32: u32 = 0x4000_0000;

/// Ends the filter with the action in `k`.
pub(super) const RETURN: u16 = 0x06;

/// Which sockets a command may have. A pair of streams is a pipe, which all may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sockets {
    /// Those of its own network namespace.
    OfNamespace,
    /// TCP; and it may listen.
    Tcp { listens: bool },
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The filter's instructions; `None`: this machine's kind has none.
pub(super) fn program(sockets: Sockets) -> Option<Vec<u64>> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).ok()?;
    let denied = SeccompAction::Errno(libc::EACCES.cast_unsigned());
    let rules = rules(sockets)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, denied, arch).ok()?;
    let program = BpfProgram::try_from(filter).ok()?;
    let program = program
        .iter()
        .map(|one| instruction(one.code, one.jt, one.jf, one.k));
    Some(no_x32().into_iter().chain(program).collect())
}

/// As the kernel's `struct sock_filter` lies in memory.
pub(super) const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> u64 {
    let (code, k) = (code.to_ne_bytes(), k.to_ne_bytes());
    u64::from_ne_bytes([code[0], code[1], jt, jf, k[0], k[1], k[2], k[3]])
}

/// Comes first: what follows knows the other numbers alone.
fn no_x32() -> [u64; 3] {
    const LOAD_NUMBER: u16 = 0x20;
    const IF_AT_LEAST: u16 = 0x35;
    let absent = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
    [
        instruction(LOAD_NUMBER, 0, 0, 0),
        instruction(IF_AT_LEAST, 0, 1, X32),
        instruction(RETURN, 0, 0, absent),
    ]
}

fn rules(sockets: Sockets) -> Option<Rules> {
    // Of socket and socketpair: family, type, protocol.
    let mut socket = Vec::new();
    match sockets {
        Sockets::OfNamespace => {
            let families = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
            socket.push(is_none_of(0, &families)?);
        }
        Sockets::Tcp { .. } => {
            socket.push(is_none_of(0, &[libc::AF_INET, libc::AF_INET6])?);
            socket.extend(is_no_type_of(&[libc::SOCK_STREAM])?);
            // 0 is TCP here. MPTCP, SCTP and SMC have numbers of their own.
            socket.push(is_none_of(2, &[0, libc::IPPROTO_TCP])?);
        }
    }
    let mut pair = vec![is_none_of(0, &[libc::AF_UNIX])?];
    pair.extend(is_no_type_of(&[libc::SOCK_STREAM, libc::SOCK_SEQPACKET])?);
    let mut rules = Rules::from([
        (libc::SYS_socket, socket),
        (libc::SYS_socketpair, pair),
        (libc::SYS_io_uring_setup, Vec::new()),
        (libc::SYS_io_uring_enter, Vec::new()),
        (libc::SYS_io_uring_register, Vec::new()),
    ]);
    if let Sockets::Tcp { listens } = sockets {
        // It connects, and Landlock is not asked.
        let fast_open = |argument| has_flag(argument, libc::MSG_FASTOPEN).map(|rule| vec![rule]);
        rules.insert(libc::SYS_sendto, fast_open(3)?);
        rules.insert(libc::SYS_sendmsg, fast_open(2)?);
        rules.insert(libc::SYS_sendmmsg, fast_open(3)?);
        if !listens {
            // A socket that listens without being bound gets a port of the kernel's choice.
            rules.insert(libc::SYS_listen, Vec::new());
        }
    }
    Some(rules)
}

fn is_none_of(argument: u8, values: &[i32]) -> Option<SeccompRule> {
    let values = values
        .iter()
        .map(|value| condition(argument, SeccompCmpOp::Ne, *value));
    SeccompRule::new(values.collect::<Option<_>>()?).ok()
}

/// The kernel looks at the lowest 4 bits, above which are flags.
fn is_no_type_of(types: &[i32]) -> Option<Vec<SeccompRule>> {
    const MASK: u64 = 0xf;
    let others = (0..16).filter(|kind| !types.contains(kind));
    let rules = others.map(|kind| {
        let is = condition(1, SeccompCmpOp::MaskedEq(MASK), kind)?;
        SeccompRule::new(vec![is]).ok()
    });
    rules.collect()
}

fn has_flag(argument: u8, flag: i32) -> Option<SeccompRule> {
    let mask = SeccompCmpOp::MaskedEq(flag.cast_unsigned().into());
    SeccompRule::new(vec![condition(argument, mask, flag)?]).ok()
}

/// On the half of an argument that is an int.
fn condition(argument: u8, op: SeccompCmpOp, value: i32) -> Option<SeccompCondition> {
    let value = value.cast_unsigned().into();
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_is_one_that_the_kernel_takes() {
        for sockets in [
            Sockets::OfNamespace,
            Sockets::Tcp { listens: false },
            Sockets::Tcp { listens: true },
        ] {
            let program = program(sockets).unwrap();
            assert!((3..4096).contains(&program.len()), "{}", program.len());
        }
    }

    #[test]
    fn an_instruction_is_laid_out_as_the_kernel_has_it() {
        let bytes = instruction(0x0102, 3, 4, 0x0506_0708).to_ne_bytes();
        assert_eq!(bytes[..2], 0x0102_u16.to_ne_bytes());
        assert_eq!(bytes[2..4], [3, 4]);
        assert_eq!(bytes[4..], 0x0506_0708_u32.to_ne_bytes());
    }
}
