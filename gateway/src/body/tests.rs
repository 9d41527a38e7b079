//! Bodies: their order, their bounds, their digests.

use std::os::unix::fs::FileExt;

use encoding_rs::GBK;
use md5::{Digest, Md5};

use super::{Source::*, *};

const MEMORY_BYTES: usize = 16;

fn policy(most_bytes: u64, folder: Option<&tempfile::TempDir>) -> Policy {
    Policy {
        charset: Charset::UTF_8,
        most_bytes,
        memory_bytes: MEMORY_BYTES,
        memory: Memory::new(1 << 20),
        reserve_bytes: 0,
        running_bytes: 0,
        transit_bytes: 0,
        spool: folder.map(|folder| Spool::new(folder.path().to_owned(), 1 << 20)),
        digest: true,
    }
}

async fn collect(policy: Policy, output: &[(Source, &[u8])], tail: &Tail) -> Body {
    let mut collector = Collector::new(policy);
    for (source, bytes) in output {
        collector.push(*source, bytes).await;
    }
    collector.finish(tail).await
}

fn read(piece: &Piece) -> Vec<u8> {
    if let Piece::Memory(bytes) = piece {
        return bytes.to_vec();
    }
    let (file, bytes) = piece.file().unwrap();
    let mut read = vec![0; usize::try_from(bytes).unwrap()];
    file.read_exact_at(&mut read, 0).unwrap();
    read
}

fn check(body: &Body, expected: &[u8]) {
    let whole: Vec<u8> = body.pieces.iter().flat_map(read).collect();
    assert_eq!(
        whole.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
    assert_eq!(body.stdout_bytes + body.stderr_bytes, whole.len() as u64);
    let digest: [u8; 16] = Md5::digest(&whole).into();
    assert_eq!(body.md5, digest);
}

#[tokio::test]
async fn stderr_follows_stdout_however_they_came() {
    let output: [(Source, &[u8]); 4] = [
        (Stderr, b"x"),
        (Stdout, b"a"),
        (Stderr, b"y"),
        (Stdout, b"b"),
    ];
    let body = collect(policy(100, None), &output, &Tail::default()).await;
    check(&body, b"abxy");
    assert_eq!((body.stdout_bytes, body.stderr_bytes), (2, 2));
    assert!(!body.truncated);
    assert_eq!(body.into_bytes(), "abxy");
}

#[tokio::test]
async fn nothing_is_nothing_unless_something_must_be() {
    let body = collect(policy(100, None), &[], &Tail::default()).await;
    check(&body, b"");
    let tail = Tail {
        if_empty: Some("(no output, exit code 0)".to_owned()),
        ..Tail::default()
    };
    let body = collect(policy(100, None), &[], &tail).await;
    check(&body, b"(no output, exit code 0)");
    let body = collect(policy(100, None), &[(Stderr, b"e")], &tail).await;
    check(&body, b"e");
}

#[tokio::test]
async fn a_remark_is_a_line_of_its_own() {
    let tail = Tail {
        remark: Some("remex: 没有".to_owned()),
        if_empty: Some("(no output)".to_owned()),
    };
    let body = collect(policy(100, None), &[], &tail).await;
    check(&body, "remex: 没有\n".as_bytes());
    let gbk = Policy {
        charset: Charset::for_label("gbk").unwrap(),
        ..policy(100, None)
    };
    let body = collect(gbk, &[(Stdout, "目".as_bytes())], &tail).await;
    check(&body, &GBK.encode("目\nremex: 没有\n").0);
    assert_eq!(body.stdout_bytes, 2);
}

#[tokio::test]
async fn long_output_is_spooled_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let policy = policy(1 << 20, Some(&folder));
    let spool = policy.spool.clone().unwrap();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut collector = Collector::new(policy);
    for number in 0..100_u8 {
        stdout.extend([number; 7]);
        collector.push(Stdout, &[number; 7]).await;
        stderr.extend([200 - number; 3]);
        collector.push(Stderr, &[200 - number; 3]).await;
    }
    let body = collector.finish(&Tail::default()).await;
    assert!(body.pieces.iter().all(|piece| piece.file().is_some()));
    assert_eq!(spool.used_bytes(), 1000);
    stdout.extend(stderr);
    check(&body, &stdout);
    drop(body);
    assert_eq!(spool.used_bytes(), 0);
}

#[tokio::test]
async fn a_cut_is_told_and_fits() {
    let text = "x".repeat(99);
    for (bytes, expected) in [
        (99, "x".repeat(99)),
        (100, format!("{}y", "x".repeat(99))),
        (
            101,
            format!("{}\n[remex: cut, 69 of 101 bytes]", "x".repeat(69)),
        ),
    ] {
        let errors = "y".repeat(bytes - 99);
        let output: [(Source, &[u8]); 2] = [(Stderr, errors.as_bytes()), (Stdout, text.as_bytes())];
        let body = collect(policy(100, None), &output, &Tail::default()).await;
        check(&body, expected.as_bytes());
        assert_eq!(body.truncated, bytes > 100);
    }
}

#[tokio::test]
async fn a_cut_is_told_of_a_spooled_body_too() {
    let folder = tempfile::tempdir().unwrap();
    let output: [(Source, &[u8]); 3] =
        [(Stdout, &[b'o'; 70]), (Stderr, &[b'e'; 70]), (Stdout, b"p")];
    let body = collect(policy(130, Some(&folder)), &output, &Tail::default()).await;
    let expected = format!(
        "{}p{}\n[remex: cut, 99 of 141 bytes]",
        "o".repeat(70),
        "e".repeat(28)
    );
    check(&body, expected.as_bytes());
    let body = collect(policy(62, Some(&folder)), &output, &Tail::default()).await;
    let expected = format!("{}\n[remex: cut, 32 of 141 bytes]", "o".repeat(32));
    check(&body, expected.as_bytes());
}

#[tokio::test]
async fn what_the_disk_does_not_take_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let small = Policy {
        spool: Some(Spool::new(folder.path().to_owned(), 20)),
        ..policy(1000, None)
    };
    let output: [(Source, &[u8]); 2] = [(Stdout, &[b'o'; 16]), (Stdout, &[b'p'; 16])];
    let body = collect(small, &output, &Tail::default()).await;
    // What memory held is kept.
    check(&body, &[[b'o'; 16], [b'p'; 16]].concat());
    assert!(!body.truncated);
}

/// PITFALLS: a spool that is missing loses even what memory held.
#[tokio::test]
async fn pitfall_63_a_missing_spool_keeps_what_memory_held() {
    for (chunks, kept) in [(1, 16), (2, 16), (5, 16)] {
        let missing = Policy {
            spool: Some(Spool::new("/nonexistent".into(), 1 << 20)),
            ..policy(1000, None)
        };
        let output = vec![(Stdout, &[b'o'; 16][..]); chunks];
        let body = collect(missing, &output, &Tail::default()).await;
        let note = format!("\n[remex: cut, {kept} of {} bytes]", 16 * chunks);
        let note = if chunks == 1 { "" } else { &note };
        check(&body, format!("{}{note}", "o".repeat(kept)).as_bytes());
        assert_eq!(body.truncated, chunks > 1);
    }
}

#[tokio::test]
async fn replies_share_their_memory_and_spool_beyond_it() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::new(20);
    let mut bodies = Vec::new();
    for _ in 0..4 {
        let shared = Policy {
            memory: memory.clone(),
            ..policy(1000, Some(&folder))
        };
        let body = collect(shared, &[(Stdout, &[b'o'; 9])], &Tail::default()).await;
        check(&body, &[b'o'; 9]);
        assert!(memory.used_bytes() <= 20);
        bodies.push(body);
    }
    let in_memory: Vec<_> = bodies.iter().map(Body::is_in_memory).collect();
    assert_eq!(in_memory, [true, true, false, false]);
    drop(bodies);
    assert_eq!(memory.used_bytes(), 0);
}

#[tokio::test]
async fn what_the_server_lost_is_told() {
    let mut collector = Collector::new(policy(1000, None));
    collector.push(Stdout, b"ab").await;
    collector.miss(Stderr, 5);
    let body = collector.finish(&Tail::default()).await;
    check(&body, b"ab\n[remex: cut, 2 of 7 bytes]");
}
